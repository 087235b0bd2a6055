//! Frames that are ready to leave, by port, between the datapath and the rings.

use arrayvec::ArrayVec;

use crate::{
    limits::{MAX_PORTS, PortIndex},
    mem::{Burst, Frame},
};

/// One worker's frames to send. Emptied after each burst, so that a port's list, as long as a
/// burst, is always long enough: a frame of the burst goes to a port once at most.
#[derive(Debug)]
pub struct Outbox {
    bursts: Box<[Burst; MAX_PORTS]>,
    waiting: ArrayVec<PortIndex, MAX_PORTS>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            bursts: Box::new([const { Burst::new_const() }; MAX_PORTS]),
            waiting: ArrayVec::new(),
        }
    }
}

impl Outbox {
    /// Adds a frame for a port.
    ///
    /// # Panics
    /// When the port has a full burst waiting.
    #[inline]
    pub fn push(&mut self, port: PortIndex, frame: Frame) {
        self.extend(port, std::iter::once(frame));
    }

    /// Adds frames for a port.
    ///
    /// # Panics
    /// When the port has a full burst waiting, and there is one more.
    #[inline]
    pub fn extend(&mut self, port: PortIndex, frames: impl Iterator<Item = Frame>) {
        let burst = &mut self.bursts[port.get() % MAX_PORTS];
        let was_empty = burst.is_empty();
        for frame in frames {
            burst.push(frame);
        }
        if was_empty && !burst.is_empty() {
            self.waiting.push(port);
        }
    }

    /// Whether the port has a full burst waiting.
    #[must_use]
    pub fn is_full(&self, port: PortIndex) -> bool {
        self.bursts[port.get() % MAX_PORTS].is_full()
    }

    /// A port with frames, and its frames, which the caller has to take all.
    pub fn take(&mut self) -> Option<(PortIndex, &mut Burst)> {
        let port = self.waiting.pop()?;
        Some((port, &mut self.bursts[port.get() % MAX_PORTS]))
    }
}
