//! The system calls of the test kit that have no safe form in the standard library.
//!
//! Nothing here holds memory or a frame: each function takes a borrowed descriptor and gives it
//! back untouched, and the kernel keeps no pointer to the caller's memory after a call.
#![allow(
    unsafe_code,
    reason = "setns, geteuid, raw sockets and bpf(2) have no safe form in the standard library"
)]

use std::{
    fs::File,
    io,
    mem::zeroed,
    os::{
        fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    process::Child,
    time::{Duration, SystemTime},
};

use libbpf_rs::libbpf_sys::{
    self, BPF_ALU64, BPF_CALL, BPF_EXIT, BPF_JMP, BPF_K, BPF_MOV, bpf_insn,
};
pub use libc::{SIGHUP, SIGINT, SIGTERM};

/// Where tap devices are made.
const TUN: &str = "/dev/net/tun";

/// Moves the calling thread, and only it, into a network namespace (setns(2)).
///
/// # Errors
/// What the kernel said: EPERM without `CAP_SYS_ADMIN`, EINVAL for something else than a namespace.
pub fn enter_network_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed, and setns touches no memory.
    match unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether this process is root, which namespaces and BPF need.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// An AF_XDP socket with an RX ring, bound to nothing: what an XSKMAP takes, and no frame reaches.
///
/// # Errors
/// What the kernel said: EAFNOSUPPORT without AF_XDP, EPERM without `CAP_NET_RAW`.
pub fn xdp_socket() -> io::Result<OwnedFd> {
    let ring_size: u32 = 64;
    // SAFETY: socket touches no memory of ours; the new descriptor has no other owner; setsockopt
    // reads the four bytes of `ring_size` and keeps no pointer.
    unsafe {
        let socket = libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error());
        }
        let socket = OwnedFd::from_raw_fd(socket);
        match libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_XDP,
            libc::XDP_RX_RING,
            (&raw const ring_size).cast(),
            size_of_val(&ring_size) as libc::socklen_t,
        ) {
            0 => Ok(socket),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Sends a signal to a child that has not been waited for, so that its pid is its own.
///
/// # Errors
/// What the kernel said.
pub fn signal(child: &Child, signal: i32) -> io::Result<()> {
    // SAFETY: kill touches no memory; the pid is of a child of ours.
    check(unsafe { libc::kill(child.id() as libc::pid_t, signal) })
}

/// Binds the calling thread, and only it, to one core.
///
/// # Errors
/// What the kernel said: EINVAL for a core that is not there.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    // SAFETY: the set is plain data, for which all zeros is the empty set; CPU_SET checks nothing,
    // so the assertion does.
    unsafe {
        assert!(core < libc::CPU_SETSIZE as usize, "no such core: {core}");
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(core, &mut set);
        check(libc::sched_setaffinity(
            0,
            size_of_val(&set),
            &raw const set,
        ))
    }
}

/// A packet socket bound to one device of the calling thread's network namespace: it gets every
/// frame that comes in by the device, and none that goes out.
///
/// # Errors
/// What the kernel said: EPERM without `CAP_NET_RAW`, ENODEV without the device.
pub fn packet_socket(ifindex: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // Protocol 0 until it is bound: no frame of another device gets in before.
    // SAFETY: socket touches no memory of ours, and the new descriptor has no other owner.
    let socket = unsafe {
        let socket = libc::socket(libc::AF_PACKET, kind, 0);
        check(socket)?;
        OwnedFd::from_raw_fd(socket)
    };
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA, 1)?;
    set_option(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, 1)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, 32 << 20)?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, 4 << 20)?;
    // SAFETY: the address is plain data of the size that is told, and read only during the call.
    unsafe {
        let mut address: libc::sockaddr_ll = zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = ifindex as i32;
        check(libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        ))?;
    }
    Ok(socket)
}

/// Makes a tap device with this name in the calling thread's network namespace. It goes with the
/// descriptor, which a frame is written to and read from without a header before it.
///
/// # Errors
/// What the kernel said: EBUSY for a name that is taken.
///
/// # Panics
/// When the name is longer than 15 bytes.
pub fn tap(name: &str) -> io::Result<File> {
    let tun = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(TUN)?;
    // SAFETY: the request is plain data, for which all zeros is valid; the kernel reads and writes
    // it during the call only, and no further than its size.
    unsafe {
        let mut request: libc::ifreq = zeroed();
        assert!(name.len() < request.ifr_name.len(), "too long: {name}");
        for (to, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = byte as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
        check(libc::ioctl(
            tun.as_raw_fd(),
            libc::TUNSETIFF,
            &raw mut request,
        ))?;
    }
    Ok(tun)
}

/// Sends one frame by a packet socket, without waiting.
///
/// # Errors
/// What the kernel said: EAGAIN or ENOBUFS when its buffers are full, EMSGSIZE for a frame that is
/// longer than the MTU allows, ENETDOWN for a device that is down.
pub fn send(socket: BorrowedFd<'_>, frame: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads `frame` during the call, and no further than its length.
    let sent = unsafe {
        libc::send(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            libc::MSG_DONTWAIT,
        )
    };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    assert_eq!(
        sent as usize,
        frame.len(),
        "a packet socket sends all or nothing"
    );
    Ok(())
}

/// What a packet socket received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// How many bytes of the buffer the frame takes, without its outermost tag.
    pub length: usize,
    /// TPID and TCI of the outermost tag, which the kernel keeps beside the frame.
    pub tag: Option<(u16, u16)>,
    /// When the kernel had it, for a socket that [asks](stamp).
    pub stamp: Option<SystemTime>,
}

/// Lets a socket know when the kernel had each frame: when it came out of the device's driver, and
/// not when the program got to run.
///
/// # Errors
/// What the kernel said.
pub fn stamp(socket: &OwnedFd) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// Takes one frame out of a packet socket, if there is one.
///
/// # Errors
/// What the kernel said: ENETDOWN when the device went down. Then the socket goes on to work.
///
/// # Panics
/// When the frame is longer than the buffer.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Option<Received>> {
    // Room for the messages that the socket asks for, aligned as cmsghdr is.
    let mut control = [0u64; 16];
    let mut vector = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: the header points to the buffer and to `control`, with their lengths, both borrowed
    // for the call; the CMSG macros walk what the kernel has put there, whose payload is read
    // unaligned and only when it says that it is of the right kind.
    unsafe {
        let mut header: libc::msghdr = zeroed();
        header.msg_iov = &raw mut vector;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        let length = libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_TRUNC);
        if length < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(None),
                _ => Err(error),
            };
        }
        let length = length as usize;
        assert!(length <= buffer.len(), "a frame of {length} bytes");
        let (mut tag, mut stamp) = (None, None);
        let mut message = libc::CMSG_FIRSTHDR(&raw const header);
        while !message.is_null() {
            let kind = ((*message).cmsg_level, (*message).cmsg_type);
            if kind == (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
                let data: libc::tpacket_auxdata = libc::CMSG_DATA(message)
                    .cast::<libc::tpacket_auxdata>()
                    .read_unaligned();
                tag = tag_of(&data);
            }
            if kind == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) {
                let time: libc::timespec = libc::CMSG_DATA(message)
                    .cast::<libc::timespec>()
                    .read_unaligned();
                let time = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
                stamp = Some(SystemTime::UNIX_EPOCH + time);
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
        Ok(Some(Received { length, tag, stamp }))
    }
}

fn tag_of(data: &libc::tpacket_auxdata) -> Option<(u16, u16)> {
    let has = |flag: u32| data.tp_status & flag != 0;
    let tpid = match has(libc::TP_STATUS_VLAN_TPID_VALID) {
        true => data.tp_vlan_tpid,
        false => 0x8100,
    };
    has(libc::TP_STATUS_VLAN_VALID).then_some((tpid, data.tp_vlan_tci))
}

/// Frames that have come to a packet socket since the last call, and how many of them it had no
/// room for.
///
/// # Errors
/// What the kernel said.
pub fn packet_statistics(socket: BorrowedFd<'_>) -> io::Result<(u32, u32)> {
    // SAFETY: the kernel writes at most `size` bytes into plain data of that size.
    unsafe {
        let mut statistics: libc::tpacket_stats = zeroed();
        let mut size = size_of_val(&statistics) as libc::socklen_t;
        check(libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut size,
        ))?;
        Ok((statistics.tp_packets, statistics.tp_drops))
    }
}

/// Leaves a socket as little room as can be, so that it counts frames and keeps hardly any.
///
/// # Errors
/// What the kernel said.
pub fn keep_nothing(socket: &OwnedFd) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, 0)
}

/// Lets a packet socket hear frames of one EtherType only.
///
/// # Errors
/// What the kernel said.
pub fn hear_only(socket: &OwnedFd, ethertype: u16) -> io::Result<()> {
    let instruction = |code: u32, value: u32, otherwise: u8| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: otherwise,
        k: value,
    };
    let mut filter = [
        instruction(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 12, 0),
        instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            ethertype.into(),
            1,
        ),
        instruction(libc::BPF_RET | libc::BPF_K, u32::MAX, 0),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, program)
}

/// An XDP program that sends every frame by one device of the namespace in which it is run.
///
/// # Errors
/// What the kernel said: EPERM without `CAP_BPF`.
pub fn redirecting_program(ifindex: u32) -> io::Result<OwnedFd> {
    /// `bpf_redirect` (include/uapi/linux/bpf.h).
    const REDIRECT: i32 = 23;
    let instruction = |code: u32, register: u8, value: i32| {
        let mut instruction = bpf_insn {
            code: code as u8,
            imm: value,
            ..bpf_insn::default()
        };
        instruction.set_dst_reg(register);
        instruction
    };
    let program = [
        instruction(BPF_ALU64 | BPF_MOV | BPF_K, 1, ifindex as i32),
        instruction(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0),
        instruction(BPF_JMP | BPF_CALL, 0, REDIRECT),
        instruction(BPF_JMP | BPF_EXIT, 0, 0),
    ];
    let mut options = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as _,
        // It looks at no byte of a frame, so frames in several buffers are as good as others.
        prog_flags: libbpf_sys::BPF_F_XDP_HAS_FRAGS,
        ..libbpf_sys::bpf_prog_load_opts::default()
    };
    // SAFETY: names, instructions and options are read during the call, each to its end, which a
    // zero byte, the count or the size tells; the new descriptor has no other owner.
    unsafe {
        let program = libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_XDP,
            c"shunt_generator".as_ptr(),
            c"GPL".as_ptr(),
            program.as_ptr(),
            program.len() as _,
            &raw mut options,
        );
        if program < 0 {
            return Err(io::Error::from_raw_os_error(-program));
        }
        Ok(OwnedFd::from_raw_fd(program))
    }
}

/// Runs an XDP program on copies of a frame, as if the loopback device of the calling thread's
/// namespace had received them, and does with each what the program says.
///
/// # Errors
/// What the kernel said: EINVAL for a frame that is longer than a page takes.
pub fn run_on_live_frames(program: BorrowedFd<'_>, frame: &[u8], count: u32) -> io::Result<()> {
    let mut options = libbpf_sys::bpf_test_run_opts {
        sz: size_of::<libbpf_sys::bpf_test_run_opts>() as _,
        data_in: frame.as_ptr().cast(),
        data_size_in: frame.len() as u32,
        repeat: count as i32,
        flags: libbpf_sys::BPF_F_TEST_XDP_LIVE_FRAMES,
        batch_size: 64,
        ..Default::default()
    };
    // SAFETY: the kernel reads the frame during the call, no further than its length, and is
    // given no buffer to write to but the options themselves.
    let result =
        unsafe { libbpf_sys::bpf_prog_test_run_opts(program.as_raw_fd(), &raw mut options) };
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::from_raw_os_error(-result)),
    }
}

/// Waits until one of the sockets has something to receive, or for so long. Tells which have.
///
/// # Errors
/// What the kernel said.
pub fn wait_readable(sockets: &[BorrowedFd<'_>], timeout: Duration) -> io::Result<Vec<bool>> {
    let descriptor = |socket: &BorrowedFd<'_>| libc::pollfd {
        fd: socket.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let mut descriptors: Vec<_> = sockets.iter().map(descriptor).collect();
    // Rounded up, so that who waits for a short time does not spin.
    let timeout = timeout.as_micros().div_ceil(1000).min(60_000) as i32;
    // SAFETY: the array is as long as is told, and the kernel writes to it only during the call.
    let ready = unsafe {
        libc::poll(
            descriptors.as_mut_ptr(),
            descriptors.len() as libc::nfds_t,
            timeout,
        )
    };
    match check(ready) {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
        _ => Ok(descriptors.iter().map(|it| it.revents != 0).collect()),
    }
}

fn set_option<T>(socket: &OwnedFd, level: i32, name: i32, value: T) -> io::Result<()> {
    // SAFETY: the kernel reads `value`, and what it points to, during the call.
    check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    })
}

fn check(result: i32) -> io::Result<()> {
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
