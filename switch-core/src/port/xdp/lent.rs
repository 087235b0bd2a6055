//! The chunks that a queue has given to the kernel, so that none is lost and none believed twice.

use std::{mem, sync::Arc};

use arrayvec::ArrayVec;

use super::socket::{Socket, XdpConfig};
use crate::{
    limits::{CHUNK_SIZE, HEADROOM, WARM_CHUNKS},
    mem::{ChunkAddress, Frame, FrameCache, HugePages, Pool, Region},
};

/// A set of chunks of the region: a bit for each.
#[derive(Debug)]
pub(super) struct ChunkSet {
    words: Box<[u64]>,
    count: usize,
}

impl ChunkSet {
    /// An empty set over so many chunks.
    fn new(chunks: usize) -> Self {
        Self {
            words: vec![0; chunks.div_ceil(64)].into_boxed_slice(),
            count: 0,
        }
    }

    /// Chunks in the set.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Moves a chunk into the set and gives the offset that it had.
    #[inline]
    pub(super) fn insert(&mut self, chunk: ChunkAddress) -> u32 {
        let address = chunk.get();
        let index = address as usize / CHUNK_SIZE;
        let (word, bit) = (&mut self.words[index / 64], 1 << (index % 64));
        debug_assert!(*word & bit == 0, "a chunk cannot be lent twice");
        *word |= bit;
        self.count += 1;
        address
    }

    /// Moves the chunk that holds this byte of the region out of the set; `None` when it is not in
    /// there, or the byte not in the region.
    #[inline]
    pub(super) fn remove(&mut self, offset: u64) -> Option<ChunkAddress> {
        let index = usize::try_from(offset).ok()? / CHUNK_SIZE;
        let (word, bit) = (self.words.get_mut(index / 64)?, 1 << (index % 64));
        if *word & bit == 0 {
            return None;
        }
        *word &= !bit;
        self.count -= 1;
        Some(ChunkAddress::containing((index * CHUNK_SIZE) as u32))
    }

    /// Moves all chunks out, each into `give`.
    fn drain(&mut self, mut give: impl FnMut(ChunkAddress)) {
        for (position, word) in self.words.iter_mut().enumerate() {
            let mut bits = mem::take(word);
            while bits != 0 {
                let index = position * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                self.count -= 1;
                give(ChunkAddress::containing((index * CHUNK_SIZE) as u32));
            }
        }
    }
}

/// What the pool has to get back from a queue. Gives it back when dropped, which must be after the
/// socket: until then the kernel may write to the chunks.
#[derive(Debug)]
pub(super) struct Lent {
    /// For reception: in the fill ring, in the kernel, in the RX ring.
    pub(super) rx: ChunkSet,
    /// For transmission: in the TX ring, in the kernel, in the completion ring.
    pub(super) tx: ChunkSet,
    /// The segments so far of a frame whose last one is still to come.
    pub(super) assembling: Option<Frame>,
    /// Not lent, but kept: what was transmitted from last, so that this core's cache has it.
    warm: ArrayVec<ChunkAddress, WARM_CHUNKS>,
    /// The queue, if its device worked on our memory itself and may go on for a moment.
    zero_copy: Option<XdpConfig>,
    pool: Arc<Pool>,
}

impl Lent {
    /// Nothing lent from this pool. `zero_copy` names the queue if it is in that mode.
    pub(super) fn new(pool: Arc<Pool>, zero_copy: Option<XdpConfig>) -> Self {
        let chunks = pool.region().chunks();
        Self {
            rx: ChunkSet::new(chunks),
            tx: ChunkSet::new(chunks),
            assembling: None,
            warm: ArrayVec::new(),
            zero_copy,
            pool,
        }
    }

    /// Chunks that the pool has to get back.
    pub(super) fn count(&self) -> usize {
        let assembling = self.assembling.as_ref().map_or(0, Frame::segments);
        self.rx.count() + self.tx.count() + assembling + self.warm.len()
    }

    /// Chunks that are kept for the next frames.
    pub(super) fn warm_count(&self) -> usize {
        self.warm.len()
    }

    /// Takes a chunk that was transmitted from.
    #[inline]
    pub(super) fn transmitted(&mut self, cache: &mut FrameCache, chunk: ChunkAddress) {
        // A driver that works on our memory itself reads it from there, and no core is asked.
        if self.zero_copy.is_none() && !self.warm.is_full() {
            self.warm.push(chunk);
        } else {
            cache.put_chunk(chunk);
        }
    }

    /// Moves a frame of one segment into a chunk that the kernel has just read another one from, if
    /// there is one. The kernel copies the frame once more, by a mapping of its own, and finds what
    /// it needs in this core's caches: that saves more than our copy costs, for frames of any size
    /// (docs/decisions/afxdp-path.md). The chunk that the frame came in is free at once.
    #[inline]
    pub(super) fn warm(&mut self, cache: &mut FrameCache, frame: Frame) -> Frame {
        // One that a tag was pushed onto may be longer than what is behind the headroom.
        if frame.segments() > 1 || frame.size() > CHUNK_SIZE - HEADROOM {
            return frame;
        }
        let Some(chunk) = self.warm.pop() else {
            return frame;
        };
        let region = cache.region();
        let copy = region.fill(chunk, HEADROOM, region.head(&frame));
        cache.free(frame);
        copy
    }

    /// Gives everything back, after the socket was closed.
    pub(super) fn give_back(&mut self, cache: &mut FrameCache) {
        if let Some(config) = self.zero_copy.take() {
            wait_until_released(&config);
        }
        if let Some(frame) = self.assembling.take() {
            cache.free(frame);
        }
        self.warm.drain(..).for_each(|chunk| cache.put_chunk(chunk));
        self.rx.drain(|chunk| cache.put_chunk(chunk));
        self.tx.drain(|chunk| cache.put_chunk(chunk));
        assert!(self.count() == 0, "every chunk is back");
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.count() > 0 {
            self.give_back(&mut FrameCache::new(Arc::clone(&self.pool)));
        }
    }
}

/// Waits until the kernel has let go of a queue whose socket was closed.
///
/// In zero-copy mode the driver works on our chunks until a work queue of the kernel has taken them
/// from it, some time after close(2) (net/xdp/xsk_buff_pool.c). Until then binding that queue
/// again, in whatever mode, gives EBUSY: so we bind it, over a few chunks of its own. After the
/// timeout, or when the device is gone, there is nothing left to wait for.
pub(super) fn wait_until_released(config: &XdpConfig) {
    const CHUNKS: usize = 64;
    let _nothing_to_do_about_an_error = Region::new(CHUNKS, HugePages::No).map(|region| {
        let probe = XdpConfig {
            zero_copy: false,
            multi_buffer: false,
            ..*config
        };
        Socket::open(&region, &probe).map(drop)
    });
}

/// Whether a frame byte may be at this offset of a chunk, as far as `size` bytes.
#[inline]
pub(super) fn is_segment(offset: usize, size: usize) -> bool {
    size > 0 && offset >= crate::limits::CHUNK_LINK_SIZE && offset + size <= CHUNK_SIZE
}

const _: () = assert!(HEADROOM >= crate::limits::CHUNK_LINK_SIZE);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn chunk(index: u32) -> ChunkAddress {
        ChunkAddress::containing(index * CHUNK_SIZE as u32)
    }

    #[test]
    fn a_set_knows_its_chunks_and_no_others() {
        let mut set = ChunkSet::new(130);
        for index in [0, 63, 64, 129] {
            assert_eq!(set.insert(chunk(index)), index * CHUNK_SIZE as u32);
        }
        assert_eq!(set.count(), 4);
        let inside = 64 * CHUNK_SIZE as u64 + 300;
        assert_eq!(set.remove(inside), Some(chunk(64)));
        assert_eq!(set.remove(inside), None, "only once");
        for nowhere in [CHUNK_SIZE as u64, 1 << 31, 1 << 32, 1 << 48, u64::MAX] {
            assert_eq!(set.remove(nowhere), None);
        }
        let mut left = Vec::new();
        set.drain(|chunk| left.push(chunk));
        assert_eq!(left, [chunk(0), chunk(63), chunk(129)]);
        assert_eq!(set.count(), 0);
    }

    #[test]
    fn a_driver_that_reads_our_memory_itself_warms_nothing() {
        let region = Region::new(crate::limits::SLAB_SIZE, HugePages::No).expect("a region");
        let pool = Pool::new(Arc::new(region));
        let mut cache = FrameCache::new(Arc::clone(&pool));
        for (zero_copy, kept) in [(None, 1), (Some(XdpConfig::new(0, 0)), 0)] {
            let mut lent = Lent::new(Arc::clone(&pool), zero_copy);
            let chunk = cache.take_chunk().expect("a chunk");
            lent.transmitted(&mut cache, chunk);
            assert_eq!((lent.warm_count(), lent.count()), (kept, kept));
        }
        drop(cache);
        assert_eq!(pool.free_chunks(), crate::limits::SLAB_SIZE);
    }
}
