//! A frame: the move-only handle of one chunk, or of a chain of them.

use std::{fmt, ptr::NonNull, slice};

use arrayvec::ArrayVec;

use super::{pool::ChunkAddress, region::Region};
use crate::limits::{BURST, CHUNK_LINK_SIZE, CHUNK_SIZE, MAX_FRAME_SIZE, MAX_SEGMENTS};

/// Frames that travel together.
pub type Burst = ArrayVec<Frame, BURST>;

/// One frame in the region. The handle owns its chunks; moving it moves the frame, and one register
/// holds it.
///
/// A frame of more than one segment is a chain: the first bytes of each chunk, which no frame
/// byte ever reaches, hold the place of the next segment.
#[derive(PartialEq, Eq)]
pub struct Frame(u64);

/// The fields of a frame's word, from the lowest bit on. The upper three never overflow into one
/// another, so that moving the start is one addition to all of them. The size is uppermost, so that
/// words compare as sizes do.
///
/// ```text
/// 63...48  47......43  42......32  31...0
/// size     segments    head size   start
/// ```
const HEAD_SIZE_SHIFT: u32 = 32;
const SEGMENTS_SHIFT: u32 = HEAD_SIZE_SHIFT + CHUNK_SIZE.ilog2();
const SIZE_SHIFT: u32 = 48;
const HEAD_SIZE_MASK: u16 = CHUNK_SIZE as u16 - 1;
const SEGMENTS_MASK: u64 = (1 << (SIZE_SHIFT - SEGMENTS_SHIFT)) - 1;
const ONE_SEGMENT: u64 = 1 << SEGMENTS_SHIFT;
/// Of the start, the place in its chunk.
const OFFSET_MASK: u64 = CHUNK_SIZE as u64 - 1;

const _: () = assert!(CHUNK_SIZE - CHUNK_LINK_SIZE <= HEAD_SIZE_MASK as usize);
const _: () = assert!(MAX_SEGMENTS as u64 <= SEGMENTS_MASK);
// A frame is made no longer than that, and then grows no further than to its chunk's start.
const _: () = assert!(MAX_FRAME_SIZE + CHUNK_SIZE <= u16::MAX as usize);

/// By how much the word changes when the start moves forward by one byte.
const ONE_BYTE_FORWARD: u64 = 1_u64
    .wrapping_sub(1 << SIZE_SHIFT)
    .wrapping_sub(1 << HEAD_SIZE_SHIFT);

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("Frame");
        fields
            .field("start", &self.start())
            .field("size", &self.size())
            .field("head_size", &self.head_size())
            .field("segments", &self.segments());
        fields.finish()
    }
}

/// Bytes in front of every frame that are never frame bytes and never a link's: its note.
const NOTE_SIZE: u32 = 1;

const _: () = assert!(size_of::<Link>() + NOTE_SIZE as usize <= CHUNK_LINK_SIZE);

/// The place of a further segment, as it is written at a chunk's start.
#[derive(Clone, Copy)]
#[repr(C)]
struct Link {
    start: u32,
    size: u32,
}

const _: () = assert!(size_of::<Link>() <= CHUNK_LINK_SIZE);

/// The chunk has no room in front of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHeadroom;

impl Frame {
    /// The handle of one segment that starts at `start` in the region.
    ///
    /// For rings and pools alone: whoever calls this must own the chunk.
    ///
    /// # Panics
    /// When the segment is not inside one chunk, behind the link.
    #[inline]
    pub(crate) fn from_segment(start: u32, size: u16) -> Self {
        let offset = start as usize % CHUNK_SIZE;
        assert!(offset >= CHUNK_LINK_SIZE && offset + size as usize <= CHUNK_SIZE);
        let size = u64::from(size);
        Self(ONE_SEGMENT | size << HEAD_SIZE_SHIFT | size << SIZE_SHIFT | u64::from(start))
    }

    /// Bytes of the whole frame, all segments together, without FCS.
    #[must_use]
    #[inline]
    pub fn size(&self) -> usize {
        (self.0 >> SIZE_SHIFT) as usize
    }

    /// Whether the whole frame has more bytes than so many.
    #[must_use]
    #[inline]
    pub fn is_longer_than(&self, size: u16) -> bool {
        let longest = u64::from(size) << SIZE_SHIFT | ((1 << SIZE_SHIFT) - 1);
        self.0 > longest
    }

    #[inline]
    fn start(&self) -> u32 {
        self.0 as u32
    }

    /// Segments of the frame, at least one.
    #[must_use]
    #[inline]
    pub fn segments(&self) -> usize {
        (self.0 >> SEGMENTS_SHIFT & SEGMENTS_MASK) as usize
    }

    #[inline]
    fn head_size(&self) -> u16 {
        (self.0 >> HEAD_SIZE_SHIFT) as u16 & HEAD_SIZE_MASK
    }

    /// Where the first segment starts in the region, and its bytes: a descriptor for a ring.
    #[must_use]
    #[inline]
    pub fn head(&self) -> (u32, u16) {
        (self.start(), self.head_size())
    }

    /// The chunk of the first segment.
    #[must_use]
    #[inline]
    pub(crate) fn chunk(&self) -> ChunkAddress {
        ChunkAddress::containing(self.start())
    }

    /// Moves the frame's start forward: the first `count` bytes are no longer part of it.
    ///
    /// # Panics
    /// When the first segment has no more than `count` bytes.
    #[inline]
    pub fn shrink_front(&mut self, count: u16) {
        assert!(count < self.head_size());
        self.0 = self
            .0
            .wrapping_add(ONE_BYTE_FORWARD.wrapping_mul(count.into()));
    }

    /// Moves the frame's start back into the headroom by `count` bytes, whose content is whatever
    /// was there.
    ///
    /// # Errors
    /// When the chunk has less room in front.
    #[inline]
    pub fn grow_front(&mut self, count: u16) -> Result<(), NoHeadroom> {
        let offset = self.start() as usize % CHUNK_SIZE;
        if offset < CHUNK_LINK_SIZE + usize::from(count) {
            return Err(NoHeadroom);
        }
        self.0 = self
            .0
            .wrapping_sub(ONE_BYTE_FORWARD.wrapping_mul(count.into()));
        Ok(())
    }

    /// Sets the length of a frame of one segment.
    ///
    /// # Panics
    /// When the frame has several segments, or the chunk has no such room.
    pub fn set_size(&mut self, size: u16) {
        assert!(self.segments() == 1);
        *self = Self::from_segment(self.start(), size);
    }
}

impl Region {
    /// The bytes of the first segment: headers are here, since no header is split.
    #[must_use]
    #[inline]
    pub fn head<'a>(&'a self, frame: &'a Frame) -> &'a [u8] {
        let size = usize::from(frame.head_size());
        let start = self.in_chunk(frame.start());
        // SAFETY: the first segment ends in the chunk that it starts in, by `from_segment`, so that
        // the bytes are in the region, and the shared borrow of the handle that owns the
        // chunk keeps everybody from writing them.
        unsafe { slice::from_raw_parts(start.as_ptr(), size) }
    }

    /// The first `N` bytes from the start of a frame of one segment on; those past its end are what
    /// the chunk has there. None where the chunk ends before, or the frame has further segments.
    #[must_use]
    #[inline]
    pub fn front_of_one<'a, const N: usize>(&'a self, frame: &'a Frame) -> Option<&'a [u8; N]> {
        // Both at once: the number of segments is above the place in the chunk.
        let is_one_with_room = frame.0 & (SEGMENTS_MASK << SEGMENTS_SHIFT | OFFSET_MASK)
            <= ONE_SEGMENT | const { (CHUNK_SIZE - N) as u64 };
        if !is_one_with_room {
            return None;
        }
        let start = self.in_chunk(frame.start());
        // SAFETY: the bytes are in the frame's first chunk, by the test, and so in the region,
        // which was zero when it was mapped; the shared borrow of the handle that owns the chunk
        // keeps everybody from writing them.
        Some(unsafe { start.cast().as_ref() })
    }

    /// The bytes of the first segment, to write.
    #[must_use]
    #[inline]
    pub fn head_mut<'a>(&'a self, frame: &'a mut Frame) -> &'a mut [u8] {
        let size = usize::from(frame.head_size());
        let start = self.in_chunk(frame.start());
        // SAFETY: as for `head`; the unique borrow of the handle makes this the only access.
        unsafe { slice::from_raw_parts_mut(start.as_ptr(), size) }
    }

    /// Lets `write` change the first `N` bytes, then moves the frame's start forward by `COUNT` of
    /// them, unless that is an error; nothing where the first segment has fewer than `N`. What
    /// [`Frame::shrink_front`] asks is answered already.
    ///
    /// # Errors
    /// That of `write`.
    #[inline]
    pub fn shrink_front<const COUNT: usize, const N: usize, E>(
        &self,
        frame: &mut Frame,
        write: impl FnOnce(&mut [u8; N]) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        const { assert!(COUNT < N) };
        let written = write(self.head_mut(frame).first_chunk_mut::<N>()?);
        if written.is_ok() {
            let change = ONE_BYTE_FORWARD.wrapping_mul(COUNT as u64);
            frame.0 = frame.0.wrapping_add(change);
        }
        Some(written)
    }

    /// The places of all segments in order: offset in the region and bytes.
    pub fn segments<'a>(&'a self, frame: &'a Frame) -> impl Iterator<Item = (u32, u16)> + 'a {
        let mut next = Some(frame.head());
        let mut left = frame.segments();
        std::iter::from_fn(move || {
            let (start, size) = next.take()?;
            left -= 1;
            if left > 0 {
                let link = self.link(ChunkAddress::containing(start));
                // SAFETY: the frame owns this chunk, and `append` wrote its link.
                let Link { start, size } = unsafe { link.read() };
                next = Some((start, size as u16));
            }
            Some((start, size))
        })
    }

    /// The bytes of all segments in order.
    pub fn bytes<'a>(&'a self, frame: &'a Frame) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.segments(frame).map(|(start, size)| {
            let size = usize::from(size);
            // SAFETY: as for `head`: the frame owns every chunk of its chain.
            unsafe { slice::from_raw_parts(self.at(start, size).as_ptr(), size) }
        })
    }

    /// Puts a segment at the end of a frame.
    ///
    /// # Errors
    /// Gives the segment back when the frame would have too many segments or bytes.
    ///
    /// # Panics
    /// When `tail` is a chain itself.
    pub fn append(&self, frame: &mut Frame, tail: Frame) -> Result<(), Frame> {
        assert!(tail.segments() == 1);
        if frame.segments() == MAX_SEGMENTS || frame.size() + tail.size() > MAX_FRAME_SIZE {
            return Err(tail);
        }
        let last = self
            .segments(frame)
            .last()
            .map_or(frame.start(), |(start, _)| start);
        let link = Link {
            start: tail.start(),
            size: tail.size() as u32,
        };
        // SAFETY: the frame owns the chunk of its last segment, and no frame byte is in the link.
        unsafe { self.link(ChunkAddress::containing(last)).write(link) };
        frame.0 += ONE_SEGMENT + ((tail.size() as u64) << SIZE_SHIFT);
        let _moved_into_the_chain = tail;
        Ok(())
    }

    /// Notes something about a frame that is about to go elsewhere, in the byte in front of it: on
    /// the cache line where a tag was pushed or popped, and nothing to carry for frames without.
    /// The note stays until the frame's start moves.
    #[inline]
    pub fn set_note(&self, frame: &mut Frame, note: u8) {
        let place = self.note_place(frame);
        // SAFETY: the byte is in the frame's own chunk, and nobody else reads or writes that as
        // long as the handle is borrowed uniquely.
        unsafe { place.write(note) };
    }

    /// What was noted about the frame; whatever was there before, where nothing was.
    #[must_use]
    #[inline]
    pub fn note(&self, frame: &Frame) -> u8 {
        let place = self.note_place(frame);
        // SAFETY: as for `set_note`; the whole region is initialised memory.
        unsafe { place.read() }
    }

    /// The place of the note. Frames begin behind the link, so that it is in their chunk.
    #[inline]
    fn note_place(&self, frame: &Frame) -> NonNull<u8> {
        self.in_chunk(frame.start() - NOTE_SIZE)
    }

    fn link(&self, chunk: ChunkAddress) -> NonNull<Link> {
        self.at(chunk.get(), size_of::<Link>()).cast()
    }

    /// Writes `bytes` into a chunk behind the usual headroom and makes a frame of it.
    ///
    /// # Panics
    /// When they are longer than one chunk takes.
    #[must_use]
    #[inline]
    pub(crate) fn fill(&self, chunk: ChunkAddress, offset: usize, bytes: &[u8]) -> Frame {
        let mut frame = Frame::from_segment(chunk.get() + offset as u32, bytes.len() as u16);
        self.head_mut(&mut frame).copy_from_slice(bytes);
        frame
    }
}
