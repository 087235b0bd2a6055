//! AF_XDP: the program on a device steers its frames into sockets, whose rings hand those of one
//! (device, queue) to us and back.
//!
//! # Who may own a frame
//! A chunk that goes into a fill or TX ring belongs to the kernel until its descriptor comes back
//! in an RX or completion ring. `lent` keeps a set of the chunks that a queue gave away in either
//! direction; a descriptor that the kernel shows for any other chunk is counted and never followed,
//! so that no chunk ever has two owners. When a socket is closed, and only then, what is still in
//! the sets is ours again. The rings' own memory is mapped from the kernel and lives as long as its
//! ring.
#![allow(
    unsafe_code,
    reason = "island: rings in memory that the kernel writes, and raw system calls"
)]

mod attached;
mod lent;
mod mapping;
mod plain;
pub mod program;
mod queue;
mod ring;
mod socket;
pub(in crate::port) mod system;
mod umem;

pub use plain::PlainKernel;
pub use queue::{InFlight, LinkState, QueueCounters, XdpQueue};
pub use socket::{OpenError, XdpConfig};

#[cfg(all(test, not(loom)))]
mod veth_tests;
