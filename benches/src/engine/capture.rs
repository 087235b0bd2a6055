//! Frames ready-made in memory.

use super::Workload;
use switch_core::limits::CHUNK_SIZE;

/// How far apart the frames of a capture lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spacing {
    /// One behind the other, each at the start of a cache line, so that a million fit.
    #[default]
    Packed,
    /// Each in a buffer of 2 KiB, as DPDK's `net_pcap` keeps those that it sends over and over.
    Buffers,
}

/// One frame of each flow of a workload, in a round that has no end.
#[derive(Debug)]
pub struct Capture {
    bytes: Box<[u8]>,
    /// From one frame to the next.
    stride: usize,
    frame_size: usize,
    /// Where the next frame is.
    next: usize,
}

impl Capture {
    /// Builds the frames.
    #[must_use]
    pub fn new(workload: &Workload, spacing: Spacing) -> Self {
        let stride = match spacing {
            Spacing::Packed => workload.frame_size.next_multiple_of(64),
            Spacing::Buffers => CHUNK_SIZE,
        };
        assert!(workload.frame_size <= stride);
        let mut bytes = vec![0; stride * workload.flows].into_boxed_slice();
        for (flow, place) in bytes.chunks_exact_mut(stride).enumerate() {
            place[..workload.frame_size].copy_from_slice(&workload.frame(flow));
        }
        Self {
            bytes,
            stride,
            frame_size: workload.frame_size,
            next: 0,
        }
    }

    /// The next frame of the round.
    #[inline]
    pub fn next_frame(&mut self) -> &[u8] {
        let frame = &self.bytes[self.next..][..self.frame_size];
        self.next += self.stride;
        if self.next == self.bytes.len() {
            self.next = 0;
        }
        frame
    }

    /// All frames of a round, for a peer that reads them from a file.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let frames = self.bytes.chunks_exact(self.stride);
        frames.map(|place| &place[..self.frame_size])
    }
}
