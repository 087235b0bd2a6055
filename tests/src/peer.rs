//! An AF_XDP socket of other make, at the other end of the wire: xsk-rs over libxdp.
//!
//! # Who may own a frame
//! The peer has memory of its own. A frame of it is in `free`, or with the kernel; what was
//! received is copied out before its frame goes back. Nothing outside of this module sees an
//! address.
#![allow(
    unsafe_code,
    reason = "xsk-rs leaves it to its user that a frame is in one place at a time"
)]

use std::{
    collections::VecDeque,
    io::Write as _,
    num::NonZeroU32,
    os::fd::{AsRawFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result, ensure};
use xsk_rs::{
    CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem,
    config::{BindFlags, LibxdpFlags, QueueSize, SocketConfig, UmemConfig},
};

/// Entries of each ring, and frames for each direction.
const RING_SIZE: u32 = 512;
/// Bytes of a frame's chunk, other than ours.
const CHUNK_SIZE: u32 = 4096;
/// Bytes of a chunk that frame bytes can take: all but `XDP_PACKET_HEADROOM`.
const SEGMENT_SIZE: usize = CHUNK_SIZE as usize - 256;
/// `XDP_PKT_CONTD`: the frame goes on in the next descriptor.
const CONTINUED: u32 = 1;

/// One socket on one queue of a device.
#[derive(Debug)]
pub struct Peer {
    umem: Umem,
    fill: FillQueue,
    completion: CompQueue,
    rx: RxQueue,
    tx: TxQueue,
    free: VecDeque<FrameDesc>,
    /// The segments so far of a frame that is arriving.
    arriving: Vec<u8>,
}

impl Peer {
    /// Binds a queue of a device in the calling thread's namespace, in copy mode, with
    /// multi-buffer.
    /// The caller steers frames to [`fd`](Self::fd).
    ///
    /// # Errors
    /// What libxdp said.
    pub fn open(device: &str, queue: u32) -> Result<Self> {
        let ring_size = QueueSize::new(RING_SIZE)?;
        let umem = UmemConfig::builder()
            .frame_size(CHUNK_SIZE.try_into()?)
            .fill_queue_size(ring_size)
            .comp_queue_size(ring_size)
            .build()?;
        let count = NonZeroU32::new(2 * RING_SIZE).context("some frames")?;
        let (umem, frames) = Umem::new(umem, count, false)?;
        let flags = BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP | BindFlags::XDP_USE_SG;
        let config = SocketConfig::builder()
            .rx_queue_size(ring_size)
            .tx_queue_size(ring_size)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(flags)
            .build();
        // SAFETY: the first and only socket on this UMEM.
        let (tx, rx, rings) = unsafe { Socket::new(config, &umem, &device.parse()?, queue) }?;
        let (mut fill, completion) = rings.context("a new socket has rings of its own")?;
        let (receive, send) = frames.split_at(RING_SIZE as usize);
        // SAFETY: frames of this UMEM that nobody else has.
        let filled = unsafe { fill.produce(receive) };
        ensure!(filled == receive.len(), "the fill ring takes them all");
        Ok(Self {
            umem,
            fill,
            completion,
            rx,
            tx,
            free: send.iter().copied().collect(),
            arriving: Vec::new(),
        })
    }

    /// The socket, for the XDP program's map.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: open for as long as the socket, which is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.rx.fd().as_raw_fd()) }
    }

    /// Sends one frame, in as many segments as it takes; false when there are too few free frames
    /// now: receive what comes back, and try again.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn send(&mut self, bytes: &[u8]) -> Result<bool> {
        self.reclaim();
        let count = bytes.len().div_ceil(SEGMENT_SIZE);
        if self.free.len() < count {
            return Ok(false);
        }
        let mut segments: Vec<_> = self.free.drain(..count).collect();
        for (index, (segment, part)) in segments
            .iter_mut()
            .zip(bytes.chunks(SEGMENT_SIZE))
            .enumerate()
        {
            segment.set_options(if index + 1 < count { CONTINUED } else { 0 });
            // SAFETY: a free frame of this UMEM.
            let mut data = unsafe { self.umem.data_mut(segment) };
            let mut cursor = data.cursor();
            cursor.set_pos(0);
            cursor.write_all(part)?;
        }
        // SAFETY: frames of this UMEM, no longer in `free`.
        let sent = unsafe { self.tx.produce_and_wakeup(&segments) }?;
        ensure!(sent == count, "as many free frames as entries in the ring");
        Ok(true)
    }

    /// Takes the frames back that have been sent.
    fn reclaim(&mut self) {
        let mut back = [FrameDesc::default(); RING_SIZE as usize];
        // SAFETY: the ring of this UMEM; the kernel is done with what is in there.
        let count = unsafe { self.completion.consume(&mut back) };
        self.free.extend(&back[..count]);
    }

    /// All frames that have been received until now.
    ///
    /// # Errors
    /// When libxdp cannot take a frame back.
    pub fn receive(&mut self) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        let mut received = [FrameDesc::default(); RING_SIZE as usize];
        // SAFETY: the ring of this UMEM.
        let count = unsafe { self.rx.consume(&mut received) };
        for segment in &received[..count] {
            // SAFETY: the kernel has given this frame to us, and nobody writes to it.
            self.arriving
                .extend_from_slice(unsafe { self.umem.data(segment) }.contents());
            if !segment.has_more_frames() {
                frames.push(std::mem::take(&mut self.arriving));
            }
        }
        // SAFETY: frames that the kernel gave us, whose bytes are copied.
        let filled = unsafe { self.fill.produce(&received[..count]) };
        ensure!(
            filled == count,
            "the fill ring takes back what came from it"
        );
        Ok(frames)
    }
}
