//! Who may use how much, and who goes first: token buckets, meters, policers and storm control;
//! traffic classes, marking, and the scheduler of a port's queues.
//!
//! Nothing here reads a clock or allocates while frames pass: the time is a number of nanoseconds
//! since the switch was started, and it may go back a little, since each worker has its own.

pub mod bucket;
pub mod classes;
pub mod codel;
pub mod meter;
pub mod policer;
pub mod queues;
pub mod remark;
pub mod scheduler;
pub mod shaper;
pub mod storm;

#[cfg(all(test, not(loom)))]
mod meter_tests;
#[cfg(all(test, not(loom)))]
mod scheduler_tests;
