//! A worker without queues, and the frames for it: what the benches without I/O run.
//!
//! - [`Workload`] says which frames: how many flows and addresses, which tags;
//! - [`Capture`] holds them ready-made in memory, so that nobody measures how they are built;
//! - [`Worker`] is what a worker of the switch has but for its queues, with the tables in the sizes
//!   of the product. A burst gets in by [`Worker::fill`], which copies it from the capture as a
//!   driver would write it, or by [`Worker::put_back`], which moves handles only; it goes through
//!   the datapath by [`Worker::turn`];
//! - [`Table`] is a forwarding database alone;
//! - [`trips`] are a burst's ways through rings;
//! - [`measure`] runs all that for a while and says what a frame costs.

mod capture;
mod measure;
mod table;
mod topology;
pub mod trips;
mod worker;
mod workload;

pub use capture::{Capture, Spacing};
pub use measure::{Cost, Measurement, Options, measure, run};
pub use table::Table;
pub use topology::{Kind, station};
pub use worker::{FRAMES_PER_TICK, Worker};
pub use workload::{Policy, Workload};
