//! The other way in of an uplink that the host uses as well: an AF_PACKET socket.
//!
//! The XDP program can give a frame to the host's stack or to the engine, not to both. Broadcasts
//! and multicasts that both need go to the stack, and this socket hears them there: group frames
//! that the device received, and nothing else. It also keeps the device promiscuous, so that a NIC
//! delivers frames for the guests' addresses.
//!
//! # Who may own a frame
//! The chunks that the next frame will be read into are the queue's own. The kernel writes to them
//! only during recvmsg(2); the frame that was read moves to the burst.

use std::{
    io,
    mem::{MaybeUninit, zeroed},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    sync::Arc,
};

use arrayvec::ArrayVec;

use super::xdp::{QueueCounters, system};
use crate::{
    limits::{CHUNK_SIZE, HEADROOM, MAX_FRAME_SIZE},
    mem::{Burst, ChunkAddress, Frame, FrameCache, Pool, Region},
    wire::{ethernet::ETHERNET_HEADER_SIZE, vlan::TAG_SIZE},
};

/// Bytes of a frame in one chunk.
const SEGMENT_SIZE: usize = CHUNK_SIZE - HEADROOM;
/// Chunks that the longest frame needs.
const SEGMENTS: usize = MAX_FRAME_SIZE.div_ceil(SEGMENT_SIZE);
/// Calls of `receive` that are left out after one that found nothing, so that a busy worker does
/// not spend a system call each turn on a socket that is nearly always empty.
const PAUSE: u8 = 8;
/// Bytes of frames that may wait in the kernel.
const RECEIVE_BUFFER_SIZE: i32 = 4 << 20;

// include/uapi/linux/if_packet.h
const PACKET_ADD_MEMBERSHIP: i32 = 1;
const PACKET_STATISTICS: i32 = 6;
const PACKET_AUXDATA: i32 = 8;
const PACKET_IGNORE_OUTGOING: i32 = 23;
const PACKET_MR_PROMISC: u16 = 1;
const PACKET_BROADCAST: u32 = 1;
const PACKET_MULTICAST: u32 = 2;
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;

/// `struct packet_mreq`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Membership {
    ifindex: i32,
    kind: u16,
    address_size: u16,
    address: [u8; 8],
}

/// `struct tpacket_auxdata`.
#[derive(Clone, Copy)]
#[repr(C)]
struct AuxData {
    status: u32,
    size: u32,
    captured_size: u32,
    mac_offset: u16,
    net_offset: u16,
    vlan_tci: u16,
    vlan_tpid: u16,
}

/// `struct tpacket_stats`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Statistics {
    packets: u32,
    drops: u32,
}

// SAFETY: integers only.
unsafe impl system::Plain for Statistics {}

/// Room for one control message with [`AuxData`], aligned as `struct cmsghdr` is.
type Control = [u64; 8];

const _: () = assert!(size_of::<Control>() >= size_of::<libc::cmsghdr>() + size_of::<AuxData>());

/// Why the socket could not be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    /// EPERM.
    #[error(
        "not allowed to open a packet socket: run as root, or with the capabilities CAP_NET_RAW \
         and CAP_NET_ADMIN"
    )]
    NotAllowed,
    /// EAFNOSUPPORT.
    #[error("this kernel has no packet sockets: it needs one that is built with CONFIG_PACKET=y")]
    NoSockets,
    /// ENODEV.
    #[error("the device with index {ifindex} is gone from this network namespace")]
    NoDevice {
        /// The device.
        ifindex: u32,
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

/// The socket of one uplink; one worker receives from it.
#[derive(Debug)]
pub struct PacketQueue {
    fd: OwnedFd,
    /// Where the next frame will be read into.
    spare: Spare,
    /// Calls to leave out.
    pause: u8,
    counters: Arc<QueueCounters>,
}

/// Chunks that go back to the pool when dropped.
#[derive(Debug)]
struct Spare {
    chunks: ArrayVec<ChunkAddress, SEGMENTS>,
    pool: Arc<Pool>,
}

impl Drop for Spare {
    fn drop(&mut self) {
        if !self.chunks.is_empty() {
            let mut cache = FrameCache::new(Arc::clone(&self.pool));
            self.chunks
                .drain(..)
                .for_each(|chunk| cache.put_chunk(chunk));
        }
    }
}

impl PacketQueue {
    /// Opens the socket on a device of the calling thread's namespace. `promiscuous` keeps the
    /// device in promiscuous mode for as long as the queue lives.
    ///
    /// # Errors
    /// Why not, and what to do about it.
    pub fn open(pool: &Arc<Pool>, ifindex: u32, promiscuous: bool) -> Result<Self, GroupError> {
        let error = |step| {
            move |source: io::Error| match source.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => GroupError::NotAllowed,
                Some(libc::EAFNOSUPPORT) => GroupError::NoSockets,
                Some(libc::ENODEV | libc::ENXIO) => GroupError::NoDevice { ifindex },
                _ => GroupError::System { step, source },
            }
        };
        // Without a protocol nothing is received before the filter is there and the device named.
        let fd = socket().map_err(error("cannot open a packet socket"))?;
        configure(fd.as_fd()).map_err(error("cannot set up the packet socket"))?;
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
            sll_ifindex: ifindex as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        system::bind(fd.as_fd(), &address).map_err(error("cannot bind the packet socket"))?;
        if promiscuous {
            let membership = Membership {
                ifindex: ifindex as i32,
                kind: PACKET_MR_PROMISC,
                address_size: 0,
                address: [0; 8],
            };
            set_link_option(fd.as_fd(), PACKET_ADD_MEMBERSHIP, &membership)
                .map_err(error("cannot make the device promiscuous"))?;
        }
        Ok(Self {
            fd,
            spare: Spare {
                chunks: ArrayVec::new(),
                pool: Arc::clone(pool),
            },
            pause: 0,
            counters: Arc::default(),
        })
    }

    /// Moves received frames to the end of the burst until it is full or there are no more, a
    /// system call for each. Gives the number of frames.
    ///
    /// After a call that found nothing the next few do nothing at all.
    pub fn receive(&mut self, cache: &mut FrameCache, burst: &mut Burst) -> usize {
        if self.pause > 0 {
            self.pause -= 1;
            return 0;
        }
        let before = burst.len();
        while !burst.is_full() {
            while !self.spare.chunks.is_full()
                && let Some(chunk) = cache.take_chunk()
            {
                self.spare.chunks.push(chunk);
            }
            let mut control = Control::default();
            let Ok(size) = read(
                self.fd.as_fd(),
                cache.region(),
                &mut self.spare.chunks,
                &mut control,
            ) else {
                // EAGAIN: nothing there. ENETDOWN: told once, and frames come again when it is up.
                self.pause = PAUSE;
                break;
            };
            burst.extend(self.frame(cache, size, &control));
        }
        burst.len() - before
    }

    /// Makes a frame of what was read, with the tag that the kernel took out of it.
    fn frame(&mut self, cache: &mut FrameCache, size: usize, control: &Control) -> Option<Frame> {
        let count = size.div_ceil(SEGMENT_SIZE);
        if size < ETHERNET_HEADER_SIZE {
            self.counters.rx_invalid.add(1);
            return None;
        }
        if count > self.spare.chunks.len() {
            self.counters.rx_too_long.add(1);
            return None;
        }
        let mut frame: Option<Frame> = None;
        let mut left = size;
        for chunk in self.spare.chunks.drain(..count) {
            let part = left.min(SEGMENT_SIZE);
            left -= part;
            let segment = Frame::from_segment(chunk.get() + HEADROOM as u32, part as u16);
            match &mut frame {
                None => frame = Some(segment),
                Some(head) => {
                    if let Err(segment) = cache.region().append(head, segment) {
                        // As many chunks as are spare hold a little more than the longest frame.
                        cache.free(segment);
                        self.counters.rx_too_long.add(1);
                        frame.take().into_iter().for_each(|frame| cache.free(frame));
                        break;
                    }
                }
            }
        }
        let mut frame = frame?;
        if let Some(tag) = stripped_tag(control)
            && !insert_tag(cache.region(), &mut frame, tag)
        {
            self.counters.rx_too_long.add(1);
            cache.free(frame);
            return None;
        }
        Some(frame)
    }

    /// The descriptor, for poll(2).
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Chunks of the region that wait for frames.
    #[must_use]
    pub fn chunks_held(&self) -> usize {
        self.spare.chunks.len()
    }

    /// What became of frames here, for anybody to keep and read.
    #[must_use]
    pub fn counters(&self) -> &Arc<QueueCounters> {
        &self.counters
    }

    /// Adds the frames that the kernel dropped because nobody took them in time
    /// (`PACKET_STATISTICS`) to `kernel_rx_ring_full`: one system call.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn refresh_statistics(&self) -> io::Result<()> {
        let statistics: Statistics =
            system::option(self.fd(), libc::SOL_PACKET, PACKET_STATISTICS)?;
        // The kernel starts from 0 again after each reading.
        let drops = u64::from(statistics.drops);
        self.counters.kernel_rx_ring_full.add(drops);
        Ok(())
    }

    /// Closes the socket, which ends the promiscuous mode, and gives the chunks back.
    pub fn close(mut self, cache: &mut FrameCache) {
        for chunk in self.spare.chunks.drain(..) {
            cache.put_chunk(chunk);
        }
    }
}

fn socket() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: plain system call.
    let fd = unsafe { libc::socket(libc::AF_PACKET, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: socket(2) has just returned this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets group frames through that the device received, with their tags on the side.
fn configure(fd: BorrowedFd<'_>) -> io::Result<()> {
    let statement = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let reception = (libc::SKF_AD_OFF + libc::SKF_AD_PKTTYPE) as u32;
    let jump_if_equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, reception),
        statement(jump_if_equal, 1, 0, PACKET_BROADCAST),
        statement(jump_if_equal, 0, 1, PACKET_MULTICAST),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
        statement(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // The kernel copies the filter that the program points to, which lives until the call is over.
    system::set_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
    set_link_option(fd, PACKET_AUXDATA, &1_i32)?;
    set_link_option(fd, PACKET_IGNORE_OUTGOING, &1_i32)?;
    let size = RECEIVE_BUFFER_SIZE;
    system::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &size)
        .or_else(|_| system::set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &size))
}

fn set_link_option<T: Copy>(fd: BorrowedFd<'_>, name: i32, value: &T) -> io::Result<()> {
    system::set_option(fd, libc::SOL_PACKET, name, value)
}

/// Reads one frame into the chunks, each behind the usual headroom. Gives the size that it has,
/// which may be more than there was room for.
fn read(
    fd: BorrowedFd<'_>,
    region: &Region,
    chunks: &mut [ChunkAddress],
    control: &mut Control,
) -> io::Result<usize> {
    let mut parts = [MaybeUninit::<libc::iovec>::uninit(); SEGMENTS];
    for (part, chunk) in parts.iter_mut().zip(&*chunks) {
        let offset = chunk.get() as usize + HEADROOM;
        assert!(offset + SEGMENT_SIZE <= region.size());
        part.write(libc::iovec {
            // SAFETY: inside the region, by the assertion.
            iov_base: unsafe { region.base().add(offset) }.as_ptr().cast(),
            iov_len: SEGMENT_SIZE,
        });
    }
    // SAFETY: null pointers and zero sizes are a valid, empty header.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = parts.as_mut_ptr().cast();
    message.msg_iovlen = chunks.len() as _;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(control) as _;
    // SAFETY: the parts name chunks that the caller owns, none twice; as many parts are initialised
    // as the header says; all of it lives until the call is over.
    let size = unsafe {
        libc::recvmsg(
            fd.as_raw_fd(),
            &raw mut message,
            libc::MSG_DONTWAIT | libc::MSG_TRUNC,
        )
    };
    if message.msg_controllen == 0 {
        *control = Control::default();
    }
    usize::try_from(size).map_err(|_| io::Error::last_os_error())
}

/// The tag, TPID and TCI, that the kernel keeps beside the frame.
fn stripped_tag(control: &Control) -> Option<[u8; TAG_SIZE]> {
    let header_size = size_of::<libc::cmsghdr>();
    // SAFETY: larger than the header and aligned for it; integers only. The message's data follows
    // the header, whose size is a multiple of 8.
    let (header, aux) = unsafe {
        let base = control.as_ptr().cast::<u8>();
        (
            ptr::read(base.cast::<libc::cmsghdr>()),
            ptr::read(base.add(header_size).cast::<AuxData>()),
        )
    };
    let is_aux = header.cmsg_level == libc::SOL_PACKET
        && header.cmsg_type == PACKET_AUXDATA
        && header.cmsg_len >= header_size + size_of::<AuxData>();
    if !is_aux || aux.status & TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let tpid = match aux.status & TP_STATUS_VLAN_TPID_VALID {
        0 => 0x8100,
        _ => aux.vlan_tpid,
    };
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), aux.vlan_tci.to_be_bytes());
    Some([a, b, c, d])
}

/// Puts a tag behind the addresses; false when the frame gets too long by it.
fn insert_tag(region: &Region, frame: &mut Frame, tag: [u8; TAG_SIZE]) -> bool {
    const ADDRESSES: usize = 12;
    if frame.size() + TAG_SIZE > MAX_FRAME_SIZE || frame.grow_front(TAG_SIZE as u16).is_err() {
        return false;
    }
    let head = region.head_mut(frame);
    head.copy_within(TAG_SIZE..TAG_SIZE + ADDRESSES, 0);
    head[ADDRESSES..ADDRESSES + TAG_SIZE].copy_from_slice(&tag);
    true
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::port::testing::{Wire, frame, ifindex, ip, pool, with_veth};

    const BROADCAST: [u8; 6] = [0xff; 6];
    const GROUP: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 0xfb];

    fn to(destination: [u8; 6], size: usize) -> Vec<u8> {
        let mut frame = frame(size, size);
        frame[..6].copy_from_slice(&destination);
        frame
    }

    fn tagged(destination: [u8; 6], size: usize, tags: &[[u8; 4]]) -> Vec<u8> {
        let mut frame = to(destination, size);
        let end = 12 + tags.as_flattened().len();
        frame.splice(12..12, tags.as_flattened().iter().copied());
        assert_eq!(frame.len(), size + end - 12);
        frame
    }

    /// All that comes within a moment.
    fn receive(queue: &mut PacketQueue, cache: &mut FrameCache) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(100) {
            let mut burst = Burst::new();
            queue.receive(cache, &mut burst);
            for frame in burst {
                frames.push(cache.region().bytes(&frame).collect::<Vec<_>>().concat());
                cache.free(frame);
            }
        }
        frames
    }

    #[test]
    fn root_group_frames_arrive_with_their_tags_and_no_others() {
        with_veth(9000, 1, || {
            let pool = pool();
            let mut cache = FrameCache::new(Arc::clone(&pool));
            let mut queue = PacketQueue::open(&pool, ifindex("veA"), true).expect("open");
            let wire = Wire::open("veB");
            let expected = [
                to(BROADCAST, 60),
                to(GROUP, 1514),
                to(BROADCAST, 9014),
                tagged(GROUP, 60, &[[0x81, 0, 0xe0, 20]]),
                tagged(BROADCAST, 9014, &[[0x81, 0, 0x10, 0]]),
                tagged(BROADCAST, 64, &[[0x88, 0xa8, 0, 7], [0x81, 0, 0, 8]]),
            ];
            for frame in &expected {
                wire.send(&to([0x02, 0, 0, 0, 0, 9], 60)); // somebody else's
                wire.send(frame);
            }
            // What the host itself sends there is not received.
            Wire::open("veA").send(&to(BROADCAST, 61));
            assert!(receive(&mut queue, &mut cache) == expected);
            assert_eq!(
                pool.free_chunks() + cache.len() + queue.chunks_held(),
                pool.region().chunks()
            );
            queue.refresh_statistics().expect("statistics");
            assert_eq!(queue.counters().kernel_rx_ring_full.get(), 0);
            queue.close(&mut cache);
            drop(cache);
            assert_eq!(pool.free_chunks(), pool.region().chunks());
        });
    }

    #[test]
    fn root_the_device_is_promiscuous_as_long_as_the_queue_lives_and_comes_back_up() {
        with_veth(1500, 1, || {
            let promiscuous = || {
                let shown = std::process::Command::new("ip")
                    .args(["-d", "link", "show", "dev", "veA"])
                    .output()
                    .expect("iproute2");
                String::from_utf8_lossy(&shown.stdout).contains("promiscuity 1")
            };
            let pool = pool();
            let mut cache = FrameCache::new(Arc::clone(&pool));
            let mut queue = PacketQueue::open(&pool, ifindex("veA"), true).expect("open");
            assert!(promiscuous());
            ip("link set veA down");
            assert!(receive(&mut queue, &mut cache).is_empty());
            ip("link set veA up");
            // The kernel takes up to a second to let the far end send again.
            let wire = Wire::open("veB");
            let received = (0..50).find_map(|_| {
                wire.send(&to(BROADCAST, 60));
                Some(receive(&mut queue, &mut cache)).filter(|frames| !frames.is_empty())
            });
            assert_eq!(received, Some(vec![to(BROADCAST, 60)]));
            drop(queue);
            assert!(!promiscuous());
            drop(cache);
            assert_eq!(pool.free_chunks(), pool.region().chunks());
            let error = PacketQueue::open(&pool, 999_999, false).expect_err("no such device");
            assert!(matches!(error, GroupError::NoDevice { ifindex: 999_999 }));
        });
    }
}
