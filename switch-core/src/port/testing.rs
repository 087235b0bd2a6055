//! What tests of real sockets need: a namespace with a veth pair, a steering program, a far end.
//!
//! Root only: without it the namespace cannot be made, and the test fails.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    process::Command,
    sync::Arc,
    thread,
};

use super::xdp::system;
use crate::{
    limits::{MAX_FRAME_SIZE, chunks_needed},
    mem::{HugePages, Pool, Region},
};

/// EtherType of our test frames: local experimental (802-2014, 9.2.3).
pub(super) const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

/// Runs the test in a namespace with a veth pair `veA`, `veB` of that MTU and so many queues.
pub(super) fn with_veth(mtu: u32, queues: u32, test: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            // SAFETY: affects this thread's namespace alone.
            let result = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(
                result, 0,
                "this test makes a network namespace: run it as root"
            );
            // No frames but ours; fails where the kernel has no IPv6, and so sends none.
            let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
            ip(&format!(
                "link add veA mtu {mtu} numrxqueues {queues} numtxqueues {queues} type veth \
                 peer name veB mtu {mtu} numrxqueues {queues} numtxqueues {queues}"
            ));
            ip("link set veA up");
            ip("link set veB up");
            test();
        });
        if let Err(panic) = inside.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

pub(super) fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status();
    assert!(status.expect("iproute2").success(), "ip {arguments}");
}

pub(super) fn ifindex(device: &str) -> u32 {
    let name = std::ffi::CString::new(device).expect("a name");
    // SAFETY: a C string.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert!(index > 0, "no device {device}");
    index
}

fn checked(result: i64) -> i32 {
    assert!(result >= 0, "{}", std::io::Error::last_os_error());
    result as i32
}

fn owned(result: i64) -> OwnedFd {
    // SAFETY: the system call has just returned this descriptor.
    unsafe { OwnedFd::from_raw_fd(checked(result)) }
}

/// `bpf(2)`; the attributes are the words of `union bpf_attr` (include/uapi/linux/bpf.h).
fn bpf(command: i32, attributes: &[u32; 32]) -> i64 {
    // SAFETY: the attributes are as long as said; pointers in them outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            attributes.as_ptr(),
            size_of_val(attributes),
        )
    }
}

fn halves(pointer: *const u8) -> [u32; 2] {
    [pointer as usize as u32, (pointer as usize >> 32) as u32]
}

/// An XDP program on a device that steers each frame to the socket of its queue, or passes it.
pub(super) struct Steering {
    map: OwnedFd,
    _program: OwnedFd,
    _link: OwnedFd,
}

impl Steering {
    pub(super) fn attach(ifindex: u32) -> Self {
        let mut create = [0; 32];
        create[..4].copy_from_slice(&[17, 4, 4, 64]); // BPF_MAP_TYPE_XSKMAP, u32 to u32
        let map = owned(bpf(0, &create));
        // Bytes of an instruction: opcode, registers (source, destination), offset, immediate.
        let program: [u64; 6] = [
            0x0010_1261,                             // r2 = ctx->rx_queue_index
            0x1118 | (map.as_raw_fd() as u64) << 32, // r1 = map
            0,
            0x03b7 | 2 << 32,  // r3 = XDP_PASS
            0x0085 | 51 << 32, // bpf_redirect_map(r1, r2, r3)
            0x0095,            // return its verdict
        ];
        let license = c"Dual MIT/GPL";
        let mut load = [0; 32];
        load[..2].copy_from_slice(&[6, program.len() as u32]); // BPF_PROG_TYPE_XDP
        load[2..4].copy_from_slice(&halves(program.as_ptr().cast()));
        load[4..6].copy_from_slice(&halves(license.as_ptr().cast()));
        load[11] = 1 << 5; // BPF_F_XDP_HAS_FRAGS
        load[17] = 37; // BPF_XDP
        let program = owned(bpf(5, &load));
        let mut link = [0; 32];
        link[..4].copy_from_slice(&[program.as_raw_fd() as u32, ifindex, 37, 1 << 2]);
        let link = owned(bpf(28, &link));
        Self {
            map,
            _program: program,
            _link: link,
        }
    }

    pub(super) fn steer(&self, number: u32, socket: BorrowedFd<'_>) {
        let fd = socket.as_raw_fd();
        let mut update = [0; 32];
        update[0] = self.map.as_raw_fd() as u32;
        update[2..4].copy_from_slice(&halves((&raw const number).cast()));
        update[4..6].copy_from_slice(&halves((&raw const fd).cast()));
        checked(bpf(2, &update));
    }
}

/// A raw socket on the other end of the wire.
pub(super) struct Wire(File);

impl Wire {
    pub(super) fn open(device: &str) -> Self {
        let protocol = u16::from_be_bytes(ETHERTYPE).to_be();
        // SAFETY: plain system call.
        let fd = owned(i64::from(unsafe {
            libc::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(protocol))
        }));
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: protocol,
            sll_ifindex: ifindex(device) as i32,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        system::bind(fd.as_fd(), &address).expect("bind");
        let timeout = libc::timeval {
            tv_sec: 2,
            tv_usec: 0,
        };
        let set = |name, value: &i32| {
            system::set_option(fd.as_fd(), libc::SOL_SOCKET, name, value).expect("option");
        };
        set(libc::SO_RCVBUFFORCE, &(16 << 20));
        set(libc::SO_SNDBUFFORCE, &(16 << 20));
        system::set_option(fd.as_fd(), libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)
            .expect("timeout");
        Self(fd.into())
    }

    pub(super) fn send(&self, frame: &[u8]) {
        assert_eq!((&self.0).write(frame).expect("send"), frame.len());
    }

    pub(super) fn receive(&self) -> Vec<u8> {
        let mut frame = vec![0; 2 * MAX_FRAME_SIZE];
        let size = (&self.0).read(&mut frame).expect("a frame within 2 s");
        frame.truncate(size);
        frame
    }
}

pub(super) fn frame(size: usize, seed: usize) -> Vec<u8> {
    let mut frame: Vec<u8> = (0..size)
        .map(|index| (index * 7 + seed + (index >> 8)) as u8)
        .collect();
    frame[..6].copy_from_slice(&[0x02, 0, 0, 0, 0, 1]);
    frame[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 2]);
    frame[12..14].copy_from_slice(&ETHERTYPE);
    frame
}

pub(super) fn pool() -> Arc<Pool> {
    let region = Region::new(chunks_needed(1, 2), HugePages::No).expect("a region");
    Pool::new(Arc::new(region))
}
