//! A burst's way through rings: those of an AF_XDP queue, and those between two workers.

use std::sync::Arc;

use arrayvec::ArrayVec;
use switch_core::{
    handoff::{Handed, Handoff},
    limits::{BURST, PortIndex, WorkerIndex, chunks_needed},
    mem::{Burst, FrameCache, HugePages, Pool, Region},
    port::xdp::{PlainKernel, XdpQueue},
};

fn pool() -> Arc<Pool> {
    let region = Region::new(chunks_needed(2, 2), HugePages::No).expect("a region");
    Pool::new(Arc::new(region))
}

/// A cache with a pool of its own.
///
/// # Panics
/// When the machine has no memory for it.
#[must_use]
pub fn cache() -> FrameCache {
    FrameCache::new(pool())
}

/// A burst that the kernel delivers and that goes out again by the queue that it came in by.
#[derive(Debug)]
pub struct RingTrip {
    queue: XdpQueue,
    kernel: PlainKernel,
    cache: FrameCache,
    burst: Burst,
}

impl RingTrip {
    /// A queue with full fill ring.
    ///
    /// # Panics
    /// When the machine has no memory for it.
    #[must_use]
    pub fn new() -> Self {
        let pool = pool();
        let (queue, kernel) = PlainKernel::with_queue(&pool).expect("/dev/null");
        Self {
            queue,
            kernel,
            cache: FrameCache::new(pool),
            burst: Burst::new(),
        }
    }

    /// The kernel's part: sends what is in the TX ring, and receives a burst.
    ///
    /// # Panics
    /// When the queue has lost chunks.
    pub fn play_kernel(&mut self) {
        self.kernel.complete();
        assert_eq!(self.kernel.deliver(BURST, 60), BURST, "chunks to fill");
    }

    /// The worker's part: takes the burst out of the RX ring, lends chunks to the fill ring, takes
    /// those of the completion ring back, and puts the burst into the TX ring.
    ///
    /// # Panics
    /// When a frame was lost.
    #[inline(never)]
    pub fn turn(&mut self) {
        let received = self.queue.receive(&mut self.cache, &mut self.burst);
        let transmitted = self.queue.transmit(&mut self.cache, &mut self.burst);
        assert!(received == BURST && transmitted == BURST);
    }
}

impl Default for RingTrip {
    fn default() -> Self {
        Self::new()
    }
}

/// A burst that goes from one worker to another.
#[derive(Debug)]
pub struct HandoffTrip {
    from: Handoff,
    to: Handoff,
    burst: Burst,
    handed: ArrayVec<Handed, BURST>,
    _cache: FrameCache,
}

impl HandoffTrip {
    /// Two workers' ends, and a burst at the first.
    ///
    /// # Panics
    /// When the machine has no memory for it.
    #[must_use]
    pub fn new() -> Self {
        let [from, to] = ends();
        let mut cache = cache();
        Self {
            from,
            to,
            burst: burst(&mut cache),
            handed: ArrayVec::new(),
            _cache: cache,
        }
    }

    /// The first worker hands the burst over, and the second takes it.
    ///
    /// # Panics
    /// When a frame was lost.
    #[inline(never)]
    pub fn turn(&mut self) {
        let port = PortIndex::new(0);
        let sent = self.from.send(WorkerIndex::new(1), port, &mut self.burst);
        self.to.receive(&mut self.handed);
        assert!(sent == BURST && self.handed.len() == BURST);
    }

    /// The burst is at the first worker again.
    pub fn put_back(&mut self) {
        let frames = self.handed.drain(..).map(|handed| handed.frame);
        self.burst.extend(frames);
    }
}

impl Default for HandoffTrip {
    fn default() -> Self {
        Self::new()
    }
}

/// The ends of two workers.
///
/// # Panics
/// Never: there are two.
#[must_use]
pub fn ends() -> [Handoff; 2] {
    let ends = Handoff::mesh(2).try_into();
    ends.expect("two ends for two workers")
}

/// A full burst of frames from this cache.
///
/// # Panics
/// When the pool has no such number of chunks.
#[must_use]
pub fn burst(cache: &mut FrameCache) -> Burst {
    let frames = (0..BURST).map(|_| cache.frame_from(&[0; 60]).expect("a free frame"));
    frames.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_come_round() {
        let mut rings = RingTrip::new();
        let mut handoff = HandoffTrip::new();
        for _ in 0..100 {
            rings.play_kernel();
            rings.turn();
            handoff.turn();
            handoff.put_back();
        }
    }
}
