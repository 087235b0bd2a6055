//! Free chunks: a shared pool of slabs, and a cache for each worker.

use std::{fmt, sync::Arc};

use arrayvec::ArrayVec;
use crossbeam::queue::ArrayQueue;

use super::{frame::Frame, region::Region};
use crate::limits::{CACHE_SLABS, CHUNK_SIZE, HEADROOM, MAX_SEGMENTS, SLAB_SIZE};

/// The offset of a chunk in the region, a multiple of the chunk size. Owns the chunk, as a frame
/// does, but says nothing about its content.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkAddress(u32);

impl ChunkAddress {
    /// The chunk that holds this byte of the region.
    #[inline]
    pub(crate) fn containing(offset: u32) -> Self {
        Self(offset & !(CHUNK_SIZE as u32 - 1))
    }

    /// Offset in the region, in bytes.
    #[must_use]
    #[inline]
    pub fn get(&self) -> u32 {
        self.0
    }
}

type Slab = ArrayVec<ChunkAddress, SLAB_SIZE>;

/// All free chunks that no worker has in its cache: full slabs, and what was left of caches.
pub struct Pool {
    region: Arc<Region>,
    slabs: ArrayQueue<Slab>,
    /// Has room for every chunk, as `slabs` has, so that nothing is ever refused.
    loose: ArrayQueue<ChunkAddress>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Pool");
        fields
            .field("slabs", &self.slabs.len())
            .field("loose", &self.loose.len());
        fields.finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool of all chunks of a region.
    #[must_use]
    pub fn new(region: Arc<Region>) -> Arc<Self> {
        let chunks = region.chunks();
        let pool = Self {
            region,
            slabs: ArrayQueue::new((chunks / SLAB_SIZE).max(1)),
            loose: ArrayQueue::new(chunks),
        };
        let addresses: Vec<_> = (0..chunks)
            .map(|index| (index * CHUNK_SIZE) as u32)
            .collect();
        for part in addresses.chunks(SLAB_SIZE) {
            pool.put(part.iter().map(|address| ChunkAddress(*address)).collect());
        }
        Arc::new(pool)
    }

    fn put(&self, slab: Slab) {
        if slab.is_full() {
            assert!(
                self.slabs.push(slab).is_ok(),
                "there is room for all full slabs"
            );
            return;
        }
        for chunk in slab {
            assert!(
                self.loose.push(chunk).is_ok(),
                "there is room for all chunks"
            );
        }
    }

    /// A slab that is not empty, unless the pool is.
    fn take(&self) -> Option<Slab> {
        self.slabs.pop().or_else(|| {
            let slab: Slab = std::iter::from_fn(|| self.loose.pop())
                .take(SLAB_SIZE)
                .collect();
            Some(slab).filter(|slab| !slab.is_empty())
        })
    }

    /// The memory that the chunks are of.
    #[must_use]
    pub fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Chunks in the pool now. Exact when nobody trades with it.
    #[must_use]
    pub fn free_chunks(&self) -> usize {
        self.slabs.len() * SLAB_SIZE + self.loose.len()
    }
}

/// The free chunks that one worker has at hand.
#[derive(Debug)]
pub struct FrameCache {
    pool: Arc<Pool>,
    free: ArrayVec<ChunkAddress, { CACHE_SLABS * SLAB_SIZE }>,
}

impl FrameCache {
    /// An empty cache; it takes its first slab when it is first asked for a frame.
    #[must_use]
    pub fn new(pool: Arc<Pool>) -> Self {
        Self {
            pool,
            free: ArrayVec::new(),
        }
    }

    /// The memory that the frames are in.
    #[must_use]
    #[inline]
    pub fn region(&self) -> &Arc<Region> {
        &self.pool.region
    }

    /// Free chunks at hand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.free.len()
    }

    /// Whether there is none at hand; the pool may have more.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    /// A free chunk, unless the pool is empty too.
    #[inline]
    pub fn take_chunk(&mut self) -> Option<ChunkAddress> {
        if self.free.is_empty() {
            self.free.extend(self.pool.take()?);
        }
        self.free.pop()
    }

    /// Puts a chunk back.
    #[inline]
    pub fn put_chunk(&mut self, chunk: ChunkAddress) {
        if self.free.is_full() {
            self.give_back(SLAB_SIZE);
        }
        self.free.push(chunk);
    }

    #[cold]
    fn give_back(&mut self, count: usize) {
        let from = self.free.len() - count.min(self.free.len());
        self.pool.put(self.free.drain(from..).collect());
    }

    /// A frame of one segment with the usual headroom and no bytes yet, unless the pool is empty.
    #[inline]
    pub fn allocate(&mut self) -> Option<Frame> {
        let chunk = self.take_chunk()?;
        Some(Frame::from_segment(chunk.get() + HEADROOM as u32, 0))
    }

    /// Takes all chunks of a frame back.
    #[inline]
    pub fn free(&mut self, frame: Frame) {
        if frame.segments() == 1 {
            return self.put_chunk(frame.chunk());
        }
        self.free_chain(&frame);
    }

    #[cold]
    fn free_chain(&mut self, frame: &Frame) {
        let region = Arc::clone(&self.pool.region);
        // The links are read before the first chunk is given away.
        let chunks: ArrayVec<_, MAX_SEGMENTS> = region
            .segments(frame)
            .map(|(start, _)| ChunkAddress::containing(start))
            .collect();
        for chunk in chunks {
            self.put_chunk(chunk);
        }
    }

    /// A second frame with the same bytes and as much headroom, unless there is no free chunk.
    #[inline]
    pub fn copy(&mut self, frame: &Frame) -> Option<Frame> {
        if frame.segments() > 1 {
            return self.copy_chain(frame);
        }
        let chunk = self.take_chunk()?;
        let region = &self.pool.region;
        let (start, _) = frame.head();
        Some(region.fill(chunk, start as usize % CHUNK_SIZE, region.head(frame)))
    }

    fn copy_chain(&mut self, frame: &Frame) -> Option<Frame> {
        let region = Arc::clone(&self.pool.region);
        let mut copy: Option<Frame> = None;
        for ((start, _), bytes) in region.segments(frame).zip(region.bytes(frame)) {
            let Some(chunk) = self.take_chunk() else {
                if let Some(part) = copy {
                    self.free(part);
                }
                return None;
            };
            let segment = region.fill(chunk, start as usize % CHUNK_SIZE, bytes);
            match &mut copy {
                None => copy = Some(segment),
                Some(head) => region.append(head, segment).expect("a copy is no longer"),
            }
        }
        copy
    }

    /// A frame with these bytes, in as many segments as it takes; `None` when there are too many
    /// bytes for a frame, or too few free chunks.
    #[inline]
    pub fn frame_from(&mut self, bytes: &[u8]) -> Option<Frame> {
        if bytes.len() > CHUNK_SIZE - HEADROOM {
            return self.chain_from(bytes);
        }
        let chunk = self.take_chunk()?;
        Some(self.pool.region.fill(chunk, HEADROOM, bytes))
    }

    fn chain_from(&mut self, bytes: &[u8]) -> Option<Frame> {
        let region = Arc::clone(&self.pool.region);
        let mut frame: Option<Frame> = None;
        let mut parts = bytes.chunks(CHUNK_SIZE - HEADROOM);
        let mut part = parts.next().or(Some(&[]));
        while let Some(bytes) = part {
            let segment = self
                .take_chunk()
                .map(|chunk| region.fill(chunk, HEADROOM, bytes));
            let rest = match (segment, &mut frame) {
                (Some(segment), None) => {
                    frame = Some(segment);
                    None
                }
                (Some(segment), Some(head)) => region.append(head, segment).err().map(Some),
                (None, _) => Some(None),
            };
            if let Some(rest) = rest {
                for frame in rest.into_iter().chain(frame) {
                    self.free(frame);
                }
                return None;
            }
            part = parts.next();
        }
        frame
    }
}

impl FrameCache {
    /// Gives all chunks back to the pool.
    pub fn flush(&mut self) {
        while !self.free.is_empty() {
            self.give_back(SLAB_SIZE);
        }
    }
}

impl Drop for FrameCache {
    fn drop(&mut self) {
        self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{limits::MAX_FRAME_SIZE, mem::HugePages};

    fn pool(chunks: usize) -> Arc<Pool> {
        Pool::new(Arc::new(
            Region::new(chunks, HugePages::No).expect("a small region"),
        ))
    }

    fn text(cache: &FrameCache, frame: &Frame) -> Vec<u8> {
        cache.region().bytes(frame).collect::<Vec<_>>().concat()
    }

    #[test]
    fn frames_come_and_go_without_loss() {
        let pool = pool(SLAB_SIZE * 12);
        let all = pool.free_chunks();
        let mut caches = [
            FrameCache::new(Arc::clone(&pool)),
            FrameCache::new(Arc::clone(&pool)),
        ];
        let mut frames = Vec::new();
        while let Some(frame) = caches[0].allocate() {
            frames.push(frame);
        }
        assert_eq!((frames.len(), pool.free_chunks()), (all, 0));
        // Another worker frees them, as it does after a hand-off.
        for frame in frames {
            caches[1].free(frame);
        }
        assert_eq!(pool.free_chunks() + caches[1].len(), all);
        drop(caches);
        assert_eq!(pool.free_chunks(), all);
    }

    #[test]
    fn a_frame_of_any_size_keeps_its_bytes() {
        let pool = pool(SLAB_SIZE * 2);
        let mut cache = FrameCache::new(Arc::clone(&pool));
        for size in [0, 1, 60, 1514, 1792, 1793, 3584, 9018, MAX_FRAME_SIZE] {
            let bytes: Vec<u8> = (0..size)
                .map(|index| index as u8 ^ (index >> 8) as u8)
                .collect();
            let frame = cache.frame_from(&bytes).expect("frames are free");
            assert_eq!(frame.size(), size);
            assert_eq!(
                frame.segments(),
                size.div_ceil(CHUNK_SIZE - HEADROOM).max(1)
            );
            let copy = cache.copy(&frame).expect("frames are free");
            assert_eq!(text(&cache, &frame), bytes);
            assert_eq!(text(&cache, &copy), bytes);
            cache.free(frame);
            cache.free(copy);
        }
        assert!(cache.frame_from(&vec![0; MAX_FRAME_SIZE + 1]).is_none());
        drop(cache);
        assert_eq!(pool.free_chunks(), SLAB_SIZE * 2);
    }

    #[test]
    fn an_empty_pool_refuses_and_loses_nothing() {
        let pool = pool(8);
        let mut cache = FrameCache::new(Arc::clone(&pool));
        let jumbo = vec![7; 9000];
        let frame = cache.frame_from(&jumbo).expect("six chunks of eight");
        assert!(cache.copy(&frame).is_none());
        assert!(cache.frame_from(&jumbo).is_none());
        cache.free(frame);
        drop(cache);
        assert_eq!(pool.free_chunks(), 8);
    }

    #[test]
    fn the_start_moves_within_the_headroom() {
        let pool = pool(2);
        let mut cache = FrameCache::new(pool);
        let mut frame = cache.frame_from(b"payload").expect("a frame");
        let mut grown = 0;
        while frame.grow_front(4).is_ok() {
            grown += 4;
        }
        assert_eq!(grown, HEADROOM - crate::limits::CHUNK_LINK_SIZE);
        frame.shrink_front(grown as u16 + 3);
        assert_eq!(text(&cache, &frame), b"load");
        cache.free(frame);
    }
}
