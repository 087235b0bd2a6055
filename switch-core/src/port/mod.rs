//! The ends of the switch that frames come from and go to, one queue of a device at a time.
//!
//! # Who may own a frame
//! `receive` turns chunks that the kernel had into [`Frame`](crate::mem::Frame) handles,
//! `transmit` turns handles into descriptors that the kernel has; in between nobody but the handle's
//! holder touches the bytes.
#![allow(unsafe_code, reason = "island: rings that are shared with the kernel")]

use std::os::fd::RawFd;

use crate::mem::{Burst, FrameCache};

pub mod core;
pub mod sim;
pub mod wait;
pub mod xdp;

pub use sim::{SimQueue, SimWire};

/// One queue of a device that the engine serves. A closed list: matched once a burst.
#[derive(Debug)]
pub enum Queue {
    /// Plain memory, for tests and benches.
    Sim(SimQueue),
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
        }
    }

    /// Takes frames from the front of the burst as far as the TX ring has room; the others stay.
    #[inline]
    pub fn transmit(&mut self, cache: &mut FrameCache, burst: &mut Burst) {
        match self {
            Self::Sim(queue) => queue.transmit(cache, burst),
        }
    }

    /// Lets the kernel send what is in the TX ring.
    pub fn kick(&mut self) -> Kicked {
        match self {
            Self::Sim(_) => Kicked::default(),
        }
    }

    /// A descriptor that is readable when frames have come; `None` where there is none to wait on.
    #[must_use]
    pub fn fd(&self) -> Option<RawFd> {
        match self {
            Self::Sim(_) => None,
        }
    }

    /// Whether frames can be sent through it.
    #[must_use]
    pub fn can_transmit(&self) -> bool {
        match self {
            Self::Sim(_) => true,
        }
    }

    /// Chunks of the region that are in the queue's rings or with the kernel.
    #[must_use]
    pub fn chunks_held(&self) -> usize {
        match self {
            Self::Sim(_) => 0,
        }
    }

    /// Gives every chunk back and lets go of the device.
    pub fn close(self, cache: &mut FrameCache) {
        let _ = cache;
        match self {
            Self::Sim(_) => {}
        }
    }
}
