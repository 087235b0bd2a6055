//! A queue over plain memory, and the kernel's end of its rings: what the shipped ring code costs,
//! for benches that have neither root nor a device.

use std::{io, sync::Arc};

use super::{
    queue::XdpQueue,
    ring::{
        XdpDesc,
        testing::{self, KernelRings},
    },
    socket::XdpConfig,
};
use crate::{
    limits::{HEADROOM, TX_RING_SIZE},
    mem::{FrameCache, Pool},
};

/// What the kernel would do with the rings of one [`XdpQueue`], and nothing of what it would do
/// with the frames: nobody writes their bytes, and nobody reads them.
#[derive(Debug)]
pub struct PlainKernel(KernelRings);

impl PlainKernel {
    /// A queue with rings of the usual sizes and a full fill ring, as one that was opened has.
    ///
    /// # Errors
    /// When `/dev/null`, which stands in for the socket, cannot be opened.
    pub fn with_queue(pool: &Arc<Pool>) -> io::Result<(XdpQueue, Self)> {
        let (socket, kernel) = testing::socket(TX_RING_SIZE as u32, 0)?;
        let mut queue = XdpQueue::new(socket, pool, &XdpConfig::new(0, 0));
        queue.refill(&mut FrameCache::new(Arc::clone(pool)));
        Ok((queue, Self(kernel)))
    }

    /// Receives frames of `size` bytes: `count`, or as many as there are chunks in the fill ring
    /// and places in the RX ring. Gives the number.
    pub fn deliver(&mut self, count: usize, size: u16) -> usize {
        let mut delivered = 0;
        while delivered < count && self.0.rx.free(1) > 0 {
            let Some(chunk) = self.0.fill.pop() else {
                break;
            };
            self.0.rx.push(XdpDesc {
                addr: chunk + HEADROOM as u64,
                len: u32::from(size),
                options: 0,
            });
            delivered += 1;
        }
        self.0.fill.release();
        self.0.rx.publish();
        delivered
    }

    /// Sends all frames of the TX ring and completes them. Gives the number of descriptors.
    pub fn complete(&mut self) -> usize {
        let mut completed = 0;
        while let Some(desc) = self.0.tx.pop() {
            self.0.completion.push(desc.addr);
            completed += 1;
        }
        self.0.tx.release();
        self.0.completion.publish();
        completed
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{
        limits::{BURST, FILL_RING_SIZE, chunks_needed},
        mem::{Burst, HugePages, Region},
    };

    #[test]
    fn frames_go_round_and_every_chunk_comes_back() {
        let region = Region::new(chunks_needed(1, 1), HugePages::No).expect("a region");
        let pool = Pool::new(Arc::new(region));
        let chunks = pool.free_chunks();
        let mut cache = FrameCache::new(Arc::clone(&pool));
        let (mut queue, mut kernel) = PlainKernel::with_queue(&pool).expect("a queue");
        let mut burst = Burst::new();
        for _ in 0..3 * TX_RING_SIZE / BURST {
            assert_eq!(kernel.deliver(BURST, 60), BURST);
            assert_eq!(queue.receive(&mut cache, &mut burst), BURST);
            assert_eq!(queue.transmit(&mut cache, &mut burst), BURST);
            assert_eq!(kernel.complete(), BURST);
        }
        assert_eq!(kernel.deliver(usize::MAX, 60), FILL_RING_SIZE);
        assert_eq!(queue.kick().errors, 0);
        queue.close(&mut cache);
        drop(cache);
        assert_eq!(pool.free_chunks(), chunks);
    }
}
