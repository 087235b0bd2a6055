//! Who may use how much: token buckets, meters, policers and storm control.
//!
//! Nothing here reads a clock or allocates while frames pass: the time is a number of nanoseconds
//! since the switch was started, and it may go back a little, since each worker has its own.

pub mod bucket;
pub mod meter;
pub mod policer;
pub mod storm;

#[cfg(all(test, not(loom)))]
mod meter_tests;
