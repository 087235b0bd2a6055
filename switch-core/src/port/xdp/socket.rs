//! An AF_XDP socket: opened, given its UMEM and rings, and bound to one queue of a device.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use super::{
    mapping::Mapping,
    ring::{CompletionRing, Consumer, FillRing, Producer, Ring, RxRing, TxRing, XdpDesc},
    system, umem,
};
use crate::{
    limits::{COMPLETION_RING_SIZE, FILL_RING_SIZE, RX_RING_SIZE, TX_RING_SIZE},
    mem::Region,
};

/// `XDP_MAX_TX_SKB_BUDGET` (include/uapi/linux/if_xdp.h, Linux 6.17): frames a copy-mode kick
/// sends.
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;
/// Bytes of socket buffers that frames in flight may take: a full TX ring of segments, each in a
/// page of its own, twice. The kernel doubles it once more for its bookkeeping.
const SEND_BUFFER_SIZE: i32 = (TX_RING_SIZE * 4096 * 2) as i32;
/// How long to wait between two attempts to bind a queue that is busy.
const BIND_PAUSE: Duration = Duration::from_millis(5);

/// Which queue to open, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpConfig {
    /// The device, in the network namespace of the calling thread.
    pub ifindex: u32,
    /// Its queue, from 0. A queue past the device's TX queues would send nothing, silently: the
    /// caller knows how many there are.
    pub queue: u32,
    /// Whether to use zero copy where the driver has it; copy mode otherwise.
    pub zero_copy: bool,
    /// Whether frames longer than one chunk takes are received, in segments (Linux 6.6). Needs an
    /// XDP program that is loaded with `BPF_F_XDP_HAS_FRAGS`.
    pub multi_buffer: bool,
    /// How long to try when the queue is in use: the kernel frees it some time after its last
    /// socket was closed.
    pub bind_timeout: Duration,
}

impl XdpConfig {
    /// A queue of a device, with all that the driver and the kernel can do.
    #[must_use]
    pub fn new(ifindex: u32, queue: u32) -> Self {
        Self {
            ifindex,
            queue,
            zero_copy: true,
            multi_buffer: true,
            bind_timeout: Duration::from_secs(2),
        }
    }
}

/// Why a queue could not be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// EAFNOSUPPORT at socket(2).
    #[error(
        "this kernel has no AF_XDP: it needs one that is built with CONFIG_XDP_SOCKETS=y \
         (see /boot/config-$(uname -r) or /proc/config.gz)"
    )]
    NoAfXdp,
    /// EPERM.
    #[error(
        "not allowed to open an AF_XDP socket: run as root, or with the capabilities \
         CAP_NET_RAW, CAP_NET_ADMIN and CAP_BPF"
    )]
    NotAllowed,
    /// ENOBUFS at `XDP_UMEM_REG`.
    #[error(
        "the frames' memory ({size} bytes) may not be locked: raise the limit (`ulimit -l \
         unlimited`, or LimitMEMLOCK=infinity in the systemd unit), or give CAP_IPC_LOCK"
    )]
    MemoryLock {
        /// Bytes of the region.
        size: usize,
    },
    /// ENODEV.
    #[error("the device with index {ifindex} is gone from this network namespace")]
    NoDevice {
        /// The device.
        ifindex: u32,
    },
    /// EBUSY until the deadline.
    #[error(
        "queue {queue} is in use by another AF_XDP socket, still after {} ms: stop the program \
         that has it (`bpftool net` and `ss --xdp` may name it)", waited.as_millis()
    )]
    Busy {
        /// The queue.
        queue: u32,
        /// How long we tried.
        waited: Duration,
    },
    /// EINVAL at bind.
    #[error(
        "the device takes no AF_XDP socket on queue {queue}: `ethtool -l DEVICE` shows how many \
         queues it has"
    )]
    NoQueue {
        /// The queue.
        queue: u32,
    },
    /// Anything else.
    #[error("{step}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Makes an error of the step at hand.
fn at(step: &'static str) -> impl Fn(io::Error) -> OpenError {
    move |source| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => OpenError::NotAllowed,
        _ => OpenError::System { step, source },
    }
}

/// A bound socket: its four rings and its descriptor. Dropping it lets go of the queue.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) rings: Rings,
    pub(super) fd: OwnedFd,
    /// Whether the driver works on our memory itself (`XDP_OPTIONS_ZEROCOPY`).
    pub(super) zero_copy: bool,
    /// Whether long frames come in segments (`XDP_USE_SG`).
    pub(super) multi_buffer: bool,
}

/// The rings of one socket.
#[derive(Debug)]
pub(super) struct Rings {
    pub(super) fill: FillRing,
    pub(super) completion: CompletionRing,
    pub(super) rx: RxRing,
    pub(super) tx: TxRing,
}

impl Socket {
    /// Opens a socket over the region and binds it.
    pub(super) fn open(region: &Region, config: &XdpConfig) -> Result<Self, OpenError> {
        let fd = socket()?;
        umem::register(fd.as_fd(), region).map_err(|source| match source.raw_os_error() {
            Some(libc::ENOBUFS) => OpenError::MemoryLock {
                size: region.size(),
            },
            _ => at("cannot register the frames' memory (XDP_UMEM_REG)")(source),
        })?;
        let rings = rings(fd.as_fd())?;
        raise_limits(fd.as_fd())?;
        let multi_buffer = bind(fd.as_fd(), config)?;
        let options: libc::xdp_options =
            system::option(fd.as_fd(), libc::SOL_XDP, libc::XDP_OPTIONS)
                .map_err(at("cannot read the socket's mode (XDP_OPTIONS)"))?;
        Ok(Self {
            rings,
            fd,
            zero_copy: options.flags & libc::XDP_OPTIONS_ZEROCOPY != 0,
            multi_buffer,
        })
    }
}

fn socket() -> Result<OwnedFd, OpenError> {
    // SAFETY: plain system call.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        let source = io::Error::last_os_error();
        return Err(match source.raw_os_error() {
            Some(libc::EAFNOSUPPORT) => OpenError::NoAfXdp,
            _ => at("cannot open an AF_XDP socket")(source),
        });
    }
    // SAFETY: socket(2) has just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sizes the four rings and maps them.
fn rings(fd: BorrowedFd<'_>) -> Result<Rings, OpenError> {
    for (name, size) in [
        (libc::XDP_UMEM_FILL_RING, FILL_RING_SIZE),
        (libc::XDP_UMEM_COMPLETION_RING, COMPLETION_RING_SIZE),
        (libc::XDP_RX_RING, RX_RING_SIZE),
        (libc::XDP_TX_RING, TX_RING_SIZE),
    ] {
        system::set_option(fd, libc::SOL_XDP, name, &(size as u32))
            .map_err(at("cannot size a ring of the AF_XDP socket"))?;
    }
    let offsets: libc::xdp_mmap_offsets = system::option(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)
        .map_err(at("cannot read the rings' layout (XDP_MMAP_OFFSETS)"))?;
    Ok(Rings {
        fill: Producer::new(ring::<u64>(
            fd,
            libc::XDP_UMEM_PGOFF_FILL_RING as libc::off_t,
            &offsets.fr,
            FILL_RING_SIZE,
        )?),
        completion: Consumer::new(ring::<u64>(
            fd,
            libc::XDP_UMEM_PGOFF_COMPLETION_RING as libc::off_t,
            &offsets.cr,
            COMPLETION_RING_SIZE,
        )?),
        rx: Consumer::new(ring::<XdpDesc>(
            fd,
            libc::XDP_PGOFF_RX_RING,
            &offsets.rx,
            RX_RING_SIZE,
        )?),
        tx: Producer::new(ring::<XdpDesc>(
            fd,
            libc::XDP_PGOFF_TX_RING,
            &offsets.tx,
            TX_RING_SIZE,
        )?),
    })
}

fn ring<T>(
    fd: BorrowedFd<'_>,
    page_offset: libc::off_t,
    offsets: &libc::xdp_ring_offset,
    size: usize,
) -> Result<Ring<T>, OpenError> {
    let error = at("cannot map a ring of the AF_XDP socket");
    let mapped_size = offsets.desc as usize + size * size_of::<T>();
    let mapping = Mapping::new(fd, page_offset, mapped_size).map_err(&error)?;
    Ring::mapped(mapping, offsets, size as u32)
        .ok_or_else(|| error(io::Error::other("the kernel's layout does not fit")))
}

/// Lets a kick send a whole ring, and as many frames be in flight.
fn raise_limits(fd: BorrowedFd<'_>) -> Result<(), OpenError> {
    match system::set_option(
        fd,
        libc::SOL_XDP,
        XDP_MAX_TX_SKB_BUDGET,
        &(TX_RING_SIZE as u32),
    ) {
        // An older kernel sends 32 frames a kick, says EAGAIN, and is kicked again.
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {}
        result => result.map_err(at("cannot raise XDP_MAX_TX_SKB_BUDGET"))?,
    }
    let size = SEND_BUFFER_SIZE;
    system::set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &size)
        .or_else(|_| system::set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, &size))
        .map_err(at("cannot raise the send buffer (SO_SNDBUF)"))
}

/// Binds, and says whether with multi-buffer.
///
/// Without `XDP_COPY` the kernel takes zero copy if the driver has it, and copies otherwise.
fn bind(fd: BorrowedFd<'_>, config: &XdpConfig) -> Result<bool, OpenError> {
    let mut flags = libc::XDP_USE_NEED_WAKEUP;
    if !config.zero_copy {
        flags |= libc::XDP_COPY;
    }
    if config.multi_buffer {
        match bind_with(fd, config, flags | libc::XDP_USE_SG) {
            Ok(()) => return Ok(true),
            // A kernel before 6.6 does not know the flag.
            Err(OpenError::NoQueue { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    bind_with(fd, config, flags).map(|()| false)
}

/// Binds with these flags, again and again while the queue is busy and time is left.
fn bind_with(fd: BorrowedFd<'_>, config: &XdpConfig, flags: u16) -> Result<(), OpenError> {
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: flags,
        sxdp_ifindex: config.ifindex,
        sxdp_queue_id: config.queue,
        sxdp_shared_umem_fd: 0,
    };
    let (ifindex, queue) = (config.ifindex, config.queue);
    let begin = Instant::now();
    loop {
        let Err(source) = system::bind(fd, &address) else {
            return Ok(());
        };
        let waited = begin.elapsed();
        match source.raw_os_error() {
            Some(libc::EBUSY) if waited < config.bind_timeout => thread::sleep(BIND_PAUSE),
            Some(libc::EBUSY) => return Err(OpenError::Busy { queue, waited }),
            Some(libc::EINVAL) => return Err(OpenError::NoQueue { queue }),
            Some(libc::ENODEV) => return Err(OpenError::NoDevice { ifindex }),
            _ => return Err(at("cannot bind the AF_XDP socket to the queue")(source)),
        }
    }
}
