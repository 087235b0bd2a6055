//! The ends of the switch that frames come from and go to, one queue of a device at a time.
//!
//! # Who may own a frame
//! `receive` turns chunks that the kernel had into [`Frame`](crate::mem::Frame) handles,
//! `transmit` turns handles into descriptors that the kernel has; in between nobody but the
//! handle's holder touches the bytes.
#![allow(unsafe_code, reason = "island: rings that are shared with the kernel")]

use std::os::fd::{AsRawFd as _, RawFd};

use crate::mem::{Burst, FrameCache};

pub mod core;
pub mod group;
pub mod sim;
#[cfg(all(test, not(loom)))]
mod testing;
pub mod wait;
pub mod xdp;

pub use group::PacketQueue;
pub use sim::{SimQueue, SimWire};
pub use xdp::XdpQueue;

/// One queue of a device that the engine serves. A closed list: matched once a burst.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a worker holds its queues in boxes, and the small one is for tests"
)]
pub enum Queue {
    /// Plain memory, for tests and benches.
    Sim(SimQueue),
    /// An AF_XDP socket on one queue of a device.
    Xdp(XdpQueue),
    /// The group frames that an uplink's program left to the host's stack; receives only.
    Group(PacketQueue),
}

/// What a kick found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kicked {
    /// Frames that the kernel dropped at transmission.
    pub errors: u64,
    /// Frames are left in the TX ring: kick again.
    pub pending: bool,
}

impl Queue {
    /// Moves received frames into the burst while it has room, and refills the fill ring.
    #[inline]
    pub fn receive(&mut self, cache: &mut FrameCache, burst: &mut Burst) {
        match self {
            Self::Sim(queue) => queue.receive(cache, burst),
            Self::Xdp(queue) => {
                queue.receive(cache, burst);
            }
            Self::Group(queue) => {
                queue.receive(cache, burst);
            }
        }
    }

    /// Takes frames from the front of the burst as far as the TX ring has room; the others stay.
    #[inline]
    pub fn transmit(&mut self, cache: &mut FrameCache, burst: &mut Burst) {
        match self {
            Self::Sim(queue) => queue.transmit(cache, burst),
            Self::Xdp(queue) => {
                queue.transmit(cache, burst);
            }
            Self::Group(_) => {}
        }
    }

    /// Lets the kernel send what is in the TX ring.
    pub fn kick(&mut self) -> Kicked {
        match self {
            Self::Sim(_) | Self::Group(_) => Kicked::default(),
            Self::Xdp(queue) => queue.kick(),
        }
    }

    /// A descriptor that is readable when frames have come; `None` where there is none to wait on.
    #[must_use]
    pub fn fd(&self) -> Option<RawFd> {
        match self {
            Self::Sim(_) => None,
            Self::Xdp(queue) => Some(queue.fd().as_raw_fd()),
            Self::Group(queue) => Some(queue.fd().as_raw_fd()),
        }
    }

    /// Brings the counters that the kernel keeps up to date: a system call, for once a second.
    pub fn refresh_statistics(&self) {
        match self {
            Self::Sim(_) => {}
            // They fail only when the socket is of no use any more; then nothing is counted there.
            Self::Xdp(queue) => drop(queue.refresh_statistics()),
            Self::Group(queue) => drop(queue.refresh_statistics()),
        }
    }

    /// Whether frames can be sent through it.
    #[must_use]
    pub fn can_transmit(&self) -> bool {
        match self {
            Self::Sim(_) => true,
            Self::Xdp(queue) => !queue.link_lost(),
            Self::Group(_) => false,
        }
    }

    /// Whether it has fewer chunks to receive into than it should, since the pool is empty.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        match self {
            Self::Sim(_) | Self::Group(_) => false,
            Self::Xdp(queue) => queue.is_starved(),
        }
    }

    /// Chunks of the region that are in the queue's rings or with the kernel.
    #[must_use]
    pub fn chunks_held(&self) -> usize {
        match self {
            Self::Sim(_) => 0,
            Self::Xdp(queue) => queue.in_flight().total(),
            Self::Group(queue) => queue.chunks_held(),
        }
    }

    /// Gives every chunk back and lets go of the device.
    pub fn close(self, cache: &mut FrameCache) {
        match self {
            Self::Sim(_) => {}
            Self::Xdp(queue) => queue.close(cache),
            Self::Group(queue) => queue.close(cache),
        }
    }
}
