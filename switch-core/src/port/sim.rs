//! The simulated queue: frames come from and go to plain memory, with room that a test sets.
//!
//! It allocates nothing once its wire has carried the longest backlog, so that a test can hold the
//! whole loop around it to zero allocations. Its mutex is the simulation's, not the datapath's.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::mem::{Burst, FrameCache};

/// Frames in order, bytes back to back.
#[derive(Debug, Default)]
struct Backlog {
    bytes: VecDeque<u8>,
    sizes: VecDeque<usize>,
}

impl Backlog {
    fn push<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]>) {
        let before = self.bytes.len();
        for part in parts {
            self.bytes.extend(part);
        }
        self.sizes.push_back(self.bytes.len() - before);
    }

    /// Replaces the content of `frame` by the oldest frame.
    fn pop(&mut self, frame: &mut Vec<u8>) -> bool {
        let Some(size) = self.sizes.pop_front() else {
            return false;
        };
        let (front, back) = self.bytes.as_slices();
        let in_front = size.min(front.len());
        frame.clear();
        frame.extend_from_slice(&front[..in_front]);
        frame.extend_from_slice(&back[..size - in_front]);
        self.bytes.drain(..size);
        true
    }
}

#[derive(Debug)]
struct WireState {
    to_switch: Backlog,
    from_switch: Backlog,
    /// Frames that the TX side takes before it is full.
    room: usize,
}

/// The far end of a simulated queue, for the test to hold.
#[derive(Clone, Debug)]
pub struct SimWire(Arc<Mutex<WireState>>);

impl Default for SimWire {
    fn default() -> Self {
        Self::new()
    }
}

impl SimWire {
    /// A wire without frames and with endless room.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(WireState {
            to_switch: Backlog::default(),
            from_switch: Backlog::default(),
            room: usize::MAX,
        })))
    }

    fn state(&self) -> MutexGuard<'_, WireState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a frame to the switch.
    pub fn send(&self, frame: &[u8]) {
        self.state().to_switch.push(std::iter::once(frame));
    }

    /// Frames that were sent and that the switch has not taken.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.state().to_switch.sizes.len()
    }

    /// Replaces the content of `frame` by the oldest one that the switch has sent, if any.
    pub fn receive_into(&self, frame: &mut Vec<u8>) -> bool {
        self.state().from_switch.pop(frame)
    }

    /// The oldest frame that the switch has sent.
    #[must_use]
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut frame = Vec::new();
        self.receive_into(&mut frame).then_some(frame)
    }

    /// Lets the switch transmit so many more frames before its TX ring is full.
    pub fn set_room(&self, frames: usize) {
        self.state().room = frames;
    }

    /// Feeds what the switch has sent back to it, for benches that measure the switch alone.
    pub fn loop_back(&self) {
        let mut state = self.state();
        let WireState {
            to_switch,
            from_switch,
            ..
        } = &mut *state;
        if to_switch.sizes.is_empty() {
            std::mem::swap(to_switch, from_switch);
        }
    }
}

/// The switch's end of a simulated queue.
#[derive(Debug)]
pub struct SimQueue {
    wire: SimWire,
    scratch: Vec<u8>,
}

impl SimQueue {
    /// The switch's end of this wire.
    #[must_use]
    pub fn new(wire: SimWire) -> Self {
        Self {
            wire,
            scratch: Vec::new(),
        }
    }

    /// Moves waiting frames into the burst while it has room. A frame that is too long, or that
    /// finds no free chunk, is lost on the wire, as with a device.
    pub fn receive(&mut self, cache: &mut FrameCache, burst: &mut Burst) {
        let mut state = self.wire.state();
        while !burst.is_full() && state.to_switch.pop(&mut self.scratch) {
            burst.extend(cache.frame_from(&self.scratch));
        }
    }

    /// Takes frames from the front of the burst while there is room.
    pub fn transmit(&mut self, cache: &mut FrameCache, burst: &mut Burst) {
        let mut state = self.wire.state();
        let count = burst.len().min(state.room);
        state.room -= count;
        for frame in burst.drain(..count) {
            state.from_switch.push(cache.region().bytes(&frame));
            cache.free(frame);
        }
    }
}
