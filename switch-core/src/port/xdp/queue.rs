//! One queue of a device: frames in, frames out, and an account of every chunk.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
};

use super::{
    lent::{Lent, is_segment},
    ring::XdpDesc,
    socket::{OpenError, Rings, Socket, XdpConfig},
    system,
};
use crate::{
    counters::Counter,
    limits::{CHUNK_SIZE, COMPLETION_RING_SIZE, FILL_RING_SIZE, RX_RING_SIZE, TX_RING_SIZE},
    mem::{Burst, ChunkAddress, Frame, FrameCache, Pool, Region},
    port::Kicked,
    wire::ethernet::ETHERNET_HEADER_SIZE,
};

/// Most chunks that a queue lends for reception, wherever they are: the RX ring can never overflow.
const RX_CHUNKS: usize = FILL_RING_SIZE;
/// Most chunks that a queue lends for transmission: the completion ring always has room for all.
const TX_CHUNKS: usize = TX_RING_SIZE;
/// System calls of one kick: each drop (EBUSY) takes one.
const KICK_CALLS: usize = 64;
/// Calls of one kick that found the device busy (EAGAIN), before the worker does something else.
const KICK_PATIENCE: usize = 3;

const _: () = assert!(RX_CHUNKS <= RX_RING_SIZE && TX_CHUNKS <= COMPLETION_RING_SIZE);

/// How the device is, as far as the last system call told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It takes frames.
    Up,
    /// It is down (ENETDOWN); the socket stays bound and works again when it is up.
    Down,
    /// It was deleted or moved to another namespace (ENXIO): the socket is of no more use.
    Gone,
}

/// What became of frames and descriptors in a queue. Written by the worker that owns the queue,
/// read by anybody.
#[derive(Debug, Default)]
pub struct QueueCounters {
    /// Received frames that were longer than the engine takes (drop reason `too_long`).
    pub rx_too_long: Counter,
    /// Received descriptors that named no chunk that the kernel had, or bytes outside of one.
    pub rx_invalid: Counter,
    /// Frames that the kernel refused or the device dropped (drop reason `tx_error`).
    pub tx_errors: Counter,
    /// Completions of a chunk that the kernel did not have.
    pub completion_invalid: Counter,
    /// `XDP_STATISTICS`: frames dropped because nobody had bound the queue, or too long.
    pub kernel_rx_dropped: Counter,
    /// `XDP_STATISTICS`: chunks in the fill ring that the kernel refused.
    pub kernel_rx_invalid_descs: Counter,
    /// `XDP_STATISTICS`: descriptors in the TX ring that the kernel refused.
    pub kernel_tx_invalid_descs: Counter,
    /// `XDP_STATISTICS`: frames dropped because the RX ring was full.
    pub kernel_rx_ring_full: Counter,
    /// `XDP_STATISTICS`: times that the kernel found no chunk in the fill ring.
    pub kernel_rx_fill_ring_empty: Counter,
    /// `XDP_STATISTICS`: times that the kernel found nothing in the TX ring.
    pub kernel_tx_ring_empty: Counter,
}

/// How many chunks of a queue are where. Those in the kernel's hands are what is lent and not seen
/// in a ring; while frames move, a chunk may be counted on one side or the other of such a border.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    /// In the fill ring, not yet taken by the kernel.
    pub fill_ring: usize,
    /// In the kernel, to be filled with received frames.
    pub rx_kernel: usize,
    /// In the RX ring, not yet taken by us.
    pub rx_ring: usize,
    /// Segments of a frame of which the last one is still to come.
    pub assembling: usize,
    /// In the TX ring, not yet taken by the kernel.
    pub tx_ring: usize,
    /// In the kernel, being transmitted.
    pub tx_kernel: usize,
    /// In the completion ring, not yet taken by us.
    pub completion_ring: usize,
    /// Transmitted from, and kept for the next frames.
    pub warm: usize,
}

impl InFlight {
    /// All chunks of the queue: what a pool lacks because of it. Always exact.
    #[must_use]
    pub fn total(&self) -> usize {
        self.fill_ring
            + self.rx_kernel
            + self.rx_ring
            + self.assembling
            + self.tx_ring
            + self.tx_kernel
            + self.completion_ring
            + self.warm
    }
}

/// One queue of a device, received from and transmitted to by one worker.
#[derive(Debug)]
pub struct XdpQueue {
    // Fields are dropped in this order: the kernel lets go of the chunks before the pool has them.
    socket: Socket,
    lent: Lent,
    link: LinkState,
    /// The frame whose segments are arriving is dropped: skip to its end.
    discarding: bool,
    /// Frames that we refused ourselves, for the next kick to tell.
    refused: u64,
    counters: Arc<QueueCounters>,
}

impl XdpQueue {
    /// Opens the queue, and fills its fill ring from the pool. Frames arrive when the descriptor is
    /// put into the XDP program's map.
    ///
    /// # Errors
    /// Why it cannot be opened, and what to do about it.
    pub fn open(pool: &Arc<Pool>, config: &XdpConfig) -> Result<Self, OpenError> {
        let socket = Socket::open(pool.region(), config)?;
        let mut queue = Self::new(socket, pool, config);
        queue.refill(&mut FrameCache::new(Arc::clone(pool)));
        Ok(queue)
    }

    pub(super) fn new(socket: Socket, pool: &Arc<Pool>, config: &XdpConfig) -> Self {
        let zero_copy = socket.zero_copy.then_some(*config);
        Self {
            socket,
            lent: Lent::new(Arc::clone(pool), zero_copy),
            link: LinkState::Up,
            discarding: false,
            refused: 0,
            counters: Arc::default(),
        }
    }

    /// Moves received frames to the end of the burst until it is full or the ring empty, and lends
    /// the kernel free chunks in their place; takes transmitted chunks back, too. Gives the number
    /// of frames.
    pub fn receive(&mut self, cache: &mut FrameCache, burst: &mut Burst) -> usize {
        let before = burst.len();
        while !burst.is_full()
            && let Some(desc) = self.rings().rx.pop()
        {
            let segment = self.accept(cache, desc);
            let more = desc.options & libc::XDP_PKT_CONTD != 0;
            let frame = if more || self.discarding || self.lent.assembling.is_some() {
                self.assemble(cache, segment, more)
            } else {
                segment
            };
            burst.extend(frame);
        }
        self.rings().rx.release();
        self.reclaim(cache);
        self.refill(cache);
        burst.len() - before
    }

    /// The segment that a descriptor of the RX ring names, if it may.
    fn accept(&mut self, cache: &mut FrameCache, desc: XdpDesc) -> Option<Frame> {
        let Some(chunk) = self.lent.rx.remove(desc.addr) else {
            self.counters.rx_invalid.add(1);
            return None;
        };
        let offset = desc.addr as usize % CHUNK_SIZE;
        if !is_segment(offset, desc.len as usize) {
            self.counters.rx_invalid.add(1);
            cache.put_chunk(chunk);
            return None;
        }
        let start = chunk.get() + offset as u32;
        prefetch(cache.region(), start);
        Some(Frame::from_segment(start, desc.len as u16))
    }

    /// Adds a segment to the frame that is arriving, and gives the frame when that was its last.
    /// A frame that misses a segment, or gets too long, is dropped as a whole.
    fn assemble(
        &mut self,
        cache: &mut FrameCache,
        segment: Option<Frame>,
        more: bool,
    ) -> Option<Frame> {
        let arriving = self.lent.assembling.take();
        match (arriving, segment) {
            (arriving, Some(segment)) if self.discarding => {
                debug_assert!(arriving.is_none());
                cache.free(segment);
            }
            (None, Some(segment)) => self.lent.assembling = Some(segment),
            (Some(mut frame), Some(segment)) => match cache.region().append(&mut frame, segment) {
                Ok(()) => self.lent.assembling = Some(frame),
                Err(segment) => {
                    self.counters.rx_too_long.add(1);
                    self.discarding = true;
                    cache.free(segment);
                    cache.free(frame);
                }
            },
            (arriving, None) => {
                self.discarding = true;
                if let Some(frame) = arriving {
                    cache.free(frame);
                }
            }
        }
        if more {
            return None;
        }
        self.discarding = false;
        self.lent.assembling.take()
    }

    /// Lends the kernel chunks to receive into, as many as it lacks.
    pub(super) fn refill(&mut self, cache: &mut FrameCache) {
        let Rings { fill, .. } = &mut self.socket.rings;
        let lack = RX_CHUNKS.saturating_sub(self.lent.rx.count()) as u32;
        for _ in 0..lack.min(fill.free(lack)) {
            let Some(chunk) = cache.take_chunk() else {
                break;
            };
            fill.push(u64::from(self.lent.rx.insert(chunk)));
        }
        fill.publish();
        if fill.needs_wakeup() {
            self.check_link();
        }
    }

    /// Whether the pool had too few chunks to fill the fill ring with.
    #[must_use]
    pub fn is_starved(&self) -> bool {
        self.lent.rx.count() < RX_CHUNKS
    }

    /// Moves frames into the TX ring, from the front of the burst, as many as fit whole; the others
    /// stay. Gives the number moved. The kernel sees them at once and sends them after a [`kick`].
    ///
    /// A queue whose device is down or gone takes none, and asks each time whether it still is.
    ///
    /// [`kick`]: Self::kick
    pub fn transmit(&mut self, cache: &mut FrameCache, burst: &mut Burst) -> usize {
        if self.link != LinkState::Up && self.check_link() != LinkState::Up {
            return 0;
        }
        let segments: usize = burst.iter().map(Frame::segments).sum();
        if segments > self.transmit_room() {
            self.reclaim(cache);
        }
        let free = self.rings().tx.free(segments as u32) as usize;
        let mut room = free.min(self.transmit_room());
        let mut count = 0;
        while let Some(frame) = burst.get(count)
            && let Some(rest) = room.checked_sub(frame.segments())
        {
            room = rest;
            count += 1;
        }
        for frame in burst.drain(..count) {
            self.push(cache, frame);
        }
        self.rings().tx.publish();
        count
    }

    /// Chunks that may still be lent for transmission. Those that are kept are counted with them,
    /// so that a queue never holds more than the region has for it.
    fn transmit_room(&self) -> usize {
        TX_CHUNKS.saturating_sub(self.lent.tx.count() + self.lent.warm_count())
    }

    /// Writes the descriptors of one frame, for which there is room.
    fn push(&mut self, cache: &mut FrameCache, frame: Frame) {
        if usize::from(frame.head().1) < ETHERNET_HEADER_SIZE {
            // The kernel would refuse the descriptor, or a driver do who knows what.
            self.refused += 1;
            return cache.free(frame);
        }
        let frame = self.lent.warm(cache, frame);
        let mut left = frame.segments();
        for (start, size) in cache.region().segments(&frame) {
            left -= 1;
            self.lent.tx.insert(ChunkAddress::containing(start));
            self.socket.rings.tx.push(XdpDesc {
                addr: u64::from(start),
                len: u32::from(size),
                options: if left > 0 { libc::XDP_PKT_CONTD } else { 0 },
            });
        }
    }

    /// Makes the kernel send what is in the TX ring. What it does not take now, because the device
    /// is busy, stays there for the next kick (`pending`); so it does while the device is down, but
    /// then another kick is of no use before the next `transmit`.
    pub fn kick(&mut self) -> Kicked {
        let mut kicked = Kicked {
            errors: std::mem::take(&mut self.refused),
            pending: false,
        };
        let tx = &self.socket.rings.tx;
        if self.link != LinkState::Gone && tx.pending() > 0 && tx.needs_wakeup() {
            self.send(&mut kicked);
        }
        self.counters.tx_errors.add(kicked.errors);
        kicked
    }

    fn send(&mut self, kicked: &mut Kicked) {
        let mut patience = KICK_PATIENCE;
        for _ in 0..KICK_CALLS {
            let told = Told::by(system::kick(self.socket.fd.as_fd()));
            self.note(told);
            match told {
                Told::Done | Told::Down | Told::Gone => return,
                Told::Dropped => kicked.errors += 1,
                Told::Again => {
                    patience -= 1;
                    if patience == 0 {
                        break;
                    }
                }
            }
        }
        kicked.pending = true;
    }

    fn note(&mut self, told: Told) {
        self.link = match told {
            Told::Done | Told::Again | Told::Dropped => LinkState::Up,
            Told::Down => LinkState::Down,
            Told::Gone => LinkState::Gone,
        };
    }

    /// Takes the chunks of transmitted frames back. Gives their number.
    pub fn reclaim(&mut self, cache: &mut FrameCache) -> usize {
        let completion = &mut self.socket.rings.completion;
        let mut count = 0;
        while let Some(address) = completion.pop() {
            match self.lent.tx.remove(address) {
                Some(chunk) => {
                    self.lent.transmitted(cache, chunk);
                    count += 1;
                }
                None => self.counters.completion_invalid.add(1),
            }
        }
        completion.release();
        count
    }

    /// The descriptor: for poll(2) (readable when frames wait), and for the XDP program's map.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.socket.fd.as_fd()
    }

    /// Whether the driver moves frames from and to our memory itself.
    #[must_use]
    pub fn zero_copy(&self) -> bool {
        self.socket.zero_copy
    }

    /// Whether frames longer than a chunk takes are received.
    #[must_use]
    pub fn multi_buffer(&self) -> bool {
        self.socket.multi_buffer
    }

    /// Asks the kernel how the device is: one system call. poll(2) does not tell that a device is
    /// gone, and a queue that only receives has no kick to learn it from.
    pub fn check_link(&mut self) -> LinkState {
        self.note(Told::by(system::wake_receiver(self.fd())));
        self.link
    }

    /// How the device was at the last kick or check.
    #[must_use]
    pub fn link(&self) -> LinkState {
        self.link
    }

    /// Whether the device was gone at the last kick or check: close the queue.
    #[must_use]
    pub fn link_lost(&self) -> bool {
        self.link == LinkState::Gone
    }

    /// What became of frames here, for anybody to keep and read.
    #[must_use]
    pub fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }

    /// Reads `XDP_STATISTICS` into the counters: one system call, for the worker now and then.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn refresh_statistics(&self) -> io::Result<()> {
        let statistics: libc::xdp_statistics =
            system::option(self.fd(), libc::SOL_XDP, libc::XDP_STATISTICS)?;
        let QueueCounters {
            kernel_rx_dropped,
            kernel_rx_invalid_descs,
            kernel_tx_invalid_descs,
            kernel_rx_ring_full,
            kernel_rx_fill_ring_empty,
            kernel_tx_ring_empty,
            ..
        } = &*self.counters;
        for (counter, now) in [
            (kernel_rx_dropped, statistics.rx_dropped),
            (kernel_rx_invalid_descs, statistics.rx_invalid_descs),
            (kernel_tx_invalid_descs, statistics.tx_invalid_descs),
            (kernel_rx_ring_full, statistics.rx_ring_full),
            (
                kernel_rx_fill_ring_empty,
                statistics.rx_fill_ring_empty_descs,
            ),
            (kernel_tx_ring_empty, statistics.tx_ring_empty_descs),
        ] {
            counter.add(now.wrapping_sub(counter.get()));
        }
        Ok(())
    }

    /// Where the chunks of this queue are.
    #[must_use]
    pub fn in_flight(&self) -> InFlight {
        let rings = &self.socket.rings;
        let (rx, tx) = (self.lent.rx.count(), self.lent.tx.count());
        // Each is cut to what is left of the total, so that a ring that moves under our eyes, or a
        // corrupt position, cannot make the sum wrong.
        let fill_ring = (rings.fill.pending() as usize).min(rx);
        let rx_ring = (rings.rx.pending() as usize).min(rx - fill_ring);
        let tx_ring = (rings.tx.pending() as usize).min(tx);
        let completion_ring = (rings.completion.pending() as usize).min(tx - tx_ring);
        InFlight {
            fill_ring,
            rx_kernel: rx - fill_ring - rx_ring,
            rx_ring,
            assembling: self.lent.assembling.as_ref().map_or(0, Frame::segments),
            tx_ring,
            tx_kernel: tx - tx_ring - completion_ring,
            completion_ring,
            warm: self.lent.warm_count(),
        }
    }

    /// Closes the socket and gives every chunk back. Takes some milliseconds in the kernel: not for
    /// a worker. Dropping the queue does the same, into the pool.
    pub fn close(self, cache: &mut FrameCache) {
        let Self {
            socket, mut lent, ..
        } = self;
        drop(socket);
        lent.give_back(cache);
    }

    fn rings(&mut self) -> &mut Rings {
        &mut self.socket.rings
    }
}

/// Begins to fetch the cache line of a frame's headers. In copy mode another core has just written
/// it, so that the first look at it takes as long as hundreds of instructions; those of a burst
/// fetched together overlap.
#[inline]
fn prefetch(region: &Region, offset: u32) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let place = region.base().as_ptr().wrapping_add(offset as usize);
        // SAFETY: a hint, which touches no memory wherever the address points.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (region, offset);
}

/// What an empty `sendto` or `recvfrom` told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// All is sent, or on its way.
    Done,
    /// Some is left: call again.
    Again,
    /// The device dropped one frame, and the kernel stopped there: call again.
    Dropped,
    /// The device is down.
    Down,
    /// The device is gone.
    Gone,
}

impl Told {
    /// From the errors of `xsk_sendmsg` and `xsk_recvmsg` (net/xdp/xsk.c).
    fn by(result: io::Result<()>) -> Self {
        let Err(error) = result else {
            return Self::Done;
        };
        match error.raw_os_error() {
            Some(libc::EBUSY) => Self::Dropped,
            Some(libc::ENETDOWN) => Self::Down,
            // No memory or no buffer for an skb now, or interrupted: the frame is still there.
            Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM | libc::EINTR) => Self::Again,
            // ENXIO: not bound any more. What else there may be, this socket does not work.
            _ => Self::Gone,
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "queue_tests.rs"]
mod tests;
