//! The test kit: namespaces, daemon, raw frames. The tests themselves are in `all.rs`.
//!
//! A test in namespaces looks like this:
//!
//! ```no_run
//! use shunt_tests::{config::Config, traffic::{Frame, check_crossing}, world::World};
//!
//! let world = World::new("example");
//! let (a, b) = (world.guest("a"), world.guest("b"));
//! let mut daemon = world.start(
//!     &Config::workers(1).private("lab").access("a", "lab").access("b", "lab"),
//! );
//! let frame = Frame::new(b.mac, a.mac).bytes();
//! check_crossing(&[&a.wire(), &b.wire()], 0, &frame, &[(1, frame.clone())]);
//! daemon.wait_drops("a", &[]);
//! daemon.stop();
//! ```

pub mod alloc;
pub mod attempts;
pub mod background;
pub mod config;
pub mod daemon;
pub mod flow;
pub mod generator;
pub mod guest;
pub mod netns;
pub mod peer;
pub mod process;
pub mod quiet;
pub mod sys;
pub mod traffic;
pub mod world;
