//! A fast source of frames: an XDP program that the kernel runs on frames which nobody has sent,
//! and which redirects them out of a guest's device. One core makes some millions a second.
//!
//! What does not work panics, with the place in the test.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use crate::{
    sys,
    traffic::Frame,
    world::{GUEST_DEVICE, Guest, device_count},
};

/// Frames of one system call, which takes some tens of milliseconds to begin and end, and cannot
/// be ended before.
const CHUNK: u32 = 500_000;

/// A source of copies of one frame at a guest's device.
#[derive(Debug)]
pub struct Generator<'a> {
    guest: &'a Guest,
    program: OwnedFd,
    frame: Vec<u8>,
}

/// What a generator has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Frames that were made.
    pub made: u64,
    /// Frames that the guest's device has refused since the far end had no room for them.
    pub refused: u64,
    /// How long it took.
    pub took: Duration,
}

impl<'a> Generator<'a> {
    /// A source for frames of 60 bytes from one guest to another.
    #[must_use]
    #[track_caller]
    pub fn new(guest: &'a Guest, to: &Guest) -> Self {
        let ifindex = guest.namespace.ifindex(GUEST_DEVICE).expect("ifindex");
        Self {
            guest,
            program: sys::redirecting_program(ifindex).expect("load the generator"),
            frame: Frame::new(to.mac, guest.mac).bytes(),
        }
    }

    /// Sends as fast as one core can, for so long and a little longer.
    #[must_use]
    #[track_caller]
    pub fn flood(&self, core: usize, length: Duration) -> Sent {
        let refused = || device_count(&self.guest.namespace, GUEST_DEVICE, "tx", "dropped");
        let before = refused();
        let flooded = self.guest.namespace.enter(|| {
            sys::pin_to_core(core).expect("pin");
            let begin = Instant::now();
            let mut made = 0;
            while begin.elapsed() < length {
                let run = sys::run_on_live_frames(self.program.as_fd(), &self.frame, CHUNK);
                run.expect("run the generator");
                made += u64::from(CHUNK);
            }
            (made, begin.elapsed())
        });
        let (made, took) = flooded.expect("enter");
        Sent {
            made,
            refused: refused() - before,
            took,
        }
    }
}
