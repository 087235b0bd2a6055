//! The floor of what AF_XDP costs: a forwarder with xsk-rs that does nothing but forward.
//!
//! # Who may own a frame
//! One UMEM holds all frames. Each is in `free`, in a ring that the kernel reads, in one that it
//! writes, or in a burst between the two; what is taken out of one place is put into the next
//! before anything else happens.
#![allow(
    unsafe_code,
    reason = "xsk-rs leaves it to its user that a frame is in one place at a time"
)]

use std::{num::NonZeroU32, os::fd::AsRawFd as _};

use anyhow::{Context as _, Result, ensure};
use shunt_tests::sys;
use xsk_rs::{
    CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue, Umem,
    config::{BindFlags, QueueSize, SocketConfig, UmemConfig, XdpFlags},
};

use super::signals;

/// The name of the hidden subcommand.
pub const SUBCOMMAND: &str = "peer-xsk";
/// What it prints when it forwards.
pub const READY: &str = "forwarding";

/// Entries of each ring, as the switch has.
const RING_SIZE: u32 = 1024;
/// Bytes of a frame's chunk, as the switch has.
const CHUNK_SIZE: u32 = 2048;
/// Frames that move together.
const BURST: usize = 64;
/// All frames: both fill rings and both TX rings full.
const FRAME_COUNT: u32 = 4 * RING_SIZE;
/// Turns between two looks at whether a signal has come.
const LOOK_TURNS: u32 = 1024;
/// `XDP_MAX_TX_SKB_BUDGET` (include/uapi/linux/if_xdp.h): frames that one sendto(2) sends.
const MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// What `shunt-bench peer-xsk` is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The two devices, in this namespace
    #[arg(num_args = 2, required = true)]
    devices: Vec<String>,
    /// The core to run on
    #[arg(long)]
    core: usize,
}

/// Forwards between two devices until a signal comes.
///
/// # Errors
/// When a socket cannot be bound.
pub fn run(options: &Options) -> Result<()> {
    signals::catch()?;
    sys::pin_to_core(options.core).context("pin")?;
    let ring = QueueSize::new(RING_SIZE)?;
    let umem = UmemConfig::builder()
        .frame_size(CHUNK_SIZE.try_into()?)
        .fill_queue_size(ring)
        .comp_queue_size(ring)
        .build()?;
    let count = NonZeroU32::new(FRAME_COUNT).context("some frames")?;
    let (umem, mut free) = Umem::new(umem, count, false)?;
    let open = |device: &String| End::open(&umem, device, ring);
    let ends: Vec<End> = options.devices.iter().map(open).collect::<Result<_>>()?;
    let Ok([mut a, mut b]) = <[End; 2]>::try_from(ends) else {
        anyhow::bail!("two devices");
    };
    println!("{READY}");
    let mut turn = 0_u32;
    loop {
        turn = turn.wrapping_add(1);
        a.forward_to(&mut b, &mut free)?;
        b.forward_to(&mut a, &mut free)?;
        if turn.is_multiple_of(LOOK_TURNS) && signals::has_come() {
            break;
        }
    }
    Ok(())
}

/// A socket on the first queue of a device.
struct End {
    fill: FillQueue,
    completion: CompQueue,
    rx: RxQueue,
    tx: TxQueue,
    /// Frames that were sent and have not come back.
    in_flight: usize,
}

impl End {
    fn open(umem: &Umem, device: &str, ring: QueueSize) -> Result<Self> {
        let config = SocketConfig::builder()
            .rx_queue_size(ring)
            .tx_queue_size(ring)
            .xdp_flags(XdpFlags::XDP_FLAGS_DRV_MODE)
            .bind_flags(BindFlags::XDP_COPY | BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        // SAFETY: each of our two sockets is on another device, and has rings of its own.
        let (tx, rx, rings) = unsafe { Socket::new(config, umem, &device.parse()?, 0) }
            .with_context(|| format!("bind {device}"))?;
        let (fill, completion) = rings.context("a socket on a new device has rings of its own")?;
        let budget = RING_SIZE;
        // SAFETY: the kernel reads the four bytes during the call. Kernels that do not know the
        // option refuse it, and then 32 frames a call are sent.
        let result = unsafe {
            libc::setsockopt(
                tx.fd().as_raw_fd(),
                libc::SOL_XDP,
                MAX_TX_SKB_BUDGET,
                (&raw const budget).cast(),
                size_of_val(&budget) as libc::socklen_t,
            )
        };
        if result != 0 {
            eprintln!(
                "{device}: 32 frames a call: {}",
                std::io::Error::last_os_error()
            );
        }
        Ok(Self {
            fill,
            completion,
            rx,
            tx,
            in_flight: 0,
        })
    }

    /// Moves one burst from here to there; gives how many frames.
    fn forward_to(&mut self, to: &mut Self, free: &mut Vec<FrameDesc>) -> Result<usize> {
        self.refill(free);
        to.reclaim(free);
        let mut burst = [FrameDesc::default(); BURST];
        // Only as many as can be sent: nothing is dropped here.
        let room = (RING_SIZE as usize - to.in_flight).min(BURST);
        // SAFETY: the ring of this UMEM.
        let count = unsafe { self.rx.consume(&mut burst[..room]) };
        if count > 0 {
            // SAFETY: the kernel has given us these frames, and nobody else has them.
            let sent = unsafe { to.tx.produce(&burst[..count]) };
            ensure!(sent == count, "the ring has room for what is not in flight");
            to.in_flight += count;
        }
        // Also when nothing is new: what a busy kernel left in the ring needs another call.
        if to.in_flight > 0 && to.tx.needs_wakeup() {
            to.tx.wakeup()?;
        }
        Ok(count)
    }

    /// Gives the kernel frames to receive into.
    fn refill(&mut self, free: &mut Vec<FrameDesc>) {
        let begin = free.len().saturating_sub(BURST);
        // SAFETY: frames of this UMEM that nobody else has; those that the ring has no room for
        // stay where they are, at the begin of the rest.
        let filled = unsafe { self.fill.produce(&free[begin..]) };
        free.drain(begin..begin + filled);
    }

    /// Takes frames back that have been sent.
    fn reclaim(&mut self, free: &mut Vec<FrameDesc>) {
        let mut back = [FrameDesc::default(); BURST];
        // SAFETY: the ring of this UMEM; the kernel is done with what is in there.
        let count = unsafe { self.completion.consume(&mut back) };
        self.in_flight -= count;
        free.extend(&back[..count]);
    }
}
