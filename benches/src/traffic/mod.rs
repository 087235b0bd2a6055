//! A generator and a sink of frames.
//!
//! The generator is an XDP program that the kernel runs on frames which nobody has received, and
//! which sends them by a device; it paces itself inside the kernel. The sink is an XDP program on
//! the device where they should arrive. Both are usable by themselves, as `shunt-bench gen` and
//! `shunt-bench sink`, and from a program:
//!
//! ```no_run
//! use std::time::Duration;
//! use shunt_benches::traffic::{Device, Generator, Length, Rate, Shape, Sink, SinkMode};
//!
//! # fn main() -> anyhow::Result<()> {
//! let near = Device::open(Some("left"), "guest0")?;
//! let far = Device::open(Some("right"), "guest0")?;
//! let mut sink = Sink::attach(&far, SinkMode::Native)?;
//! let shape = Shape { flows: 64, ..Shape::new(60) };
//! let mut generator = Generator::new(&near, &shape)?;
//! let length = Length::Time(Duration::from_secs(1));
//! let sent = generator.run(Rate::PerSecond(100_000.0), length, Some(0))?;
//! let received = sink.take()?;
//! println!("{} of {} arrived", received.frames, sent.accepted);
//! # Ok(())
//! # }
//! ```
//!
//! Sizes are bytes without FCS in the library, and with FCS on the command line, as RFC 2544 has
//! them: a frame of 64 bytes there is one of 60 here.

mod command;
mod device;
mod generator;
mod histogram;
mod live;
mod options;
mod packet;
mod pktgen;
mod shape;
mod sink;
mod sys;

pub use command::{generate, sink};
pub use device::Device;
pub use generator::{Generator, Length, Rate, Sent, Via};
pub use histogram::Histogram;
pub use options::{GenOptions, SinkOptions};
pub use shape::{IMIX, Shape, Size};
pub use sink::{Distinct, Received, Sink, SinkMode};
