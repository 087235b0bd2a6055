//! The system calls of generator and sink that have no safe form in the standard library.
//!
//! Nothing here holds a frame: each function takes borrowed descriptors and slices, and the kernel
//! keeps no pointer to the caller's memory after a call.
#![allow(
    unsafe_code,
    reason = "signals, packet sockets and values of maps have no safe form"
)]

use std::{
    ffi::CString,
    io,
    mem::zeroed,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr::null_mut,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use bench_ebpf::{Plan, Progress};

/// Most frames of one call of [`send`].
pub const MOST_FRAMES: usize = 64;

/// A value of a map that is plain data.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Plain<T>(pub T);

// SAFETY: it is made of integers only, without padding, so all bit patterns are valid.
unsafe impl aya::Pod for Plain<Plan> {}
// SAFETY: as above.
unsafe impl aya::Pod for Plain<Progress> {}

const _: () = assert!(size_of::<Plan>() == 8 * 8 + 8 + 24 + 6 * 4);
const _: () = assert!(size_of::<Progress>() == 13 * 8);

/// The index of a device in the calling thread's namespace.
///
/// # Errors
/// What the kernel said: ENODEV.
pub fn ifindex(device: &str) -> io::Result<u32> {
    let name = CString::new(device)?;
    // SAFETY: it reads the name up to its zero byte.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        ifindex => Ok(ifindex),
    }
}

/// The number of the calling thread, for [`interrupt`].
#[must_use]
pub fn thread_number() -> i32 {
    // SAFETY: it takes nothing and touches no memory.
    unsafe { libc::gettid() }
}

/// Set by the first SIGINT or SIGTERM after [`catch_interrupts`].
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_interrupt(_signal: i32) {
    INTERRUPTED.store(true, Relaxed);
}

extern "C" fn ignore(_signal: i32) {}

/// Lets SIGINT and SIGTERM be noted from now on, instead of ending this process.
///
/// # Errors
/// What the kernel said.
pub fn catch_interrupts() -> io::Result<&'static AtomicBool> {
    handle(libc::SIGINT, note_interrupt)?;
    handle(libc::SIGTERM, note_interrupt)?;
    Ok(&INTERRUPTED)
}

/// Lets a system call of a thread of this process return early, if it is in one that can.
/// [`prepare_to_be_interrupted`] comes before. A thread that has ended does not mind.
pub fn interrupt(thread: i32) {
    // SAFETY: tgkill touches no memory, and can only reach this process. The number of a thread
    // that has ended may belong to a new one of ours: the handler does nothing to it.
    unsafe {
        libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGUSR1);
    }
}

/// Makes SIGUSR1 do nothing but interrupt.
///
/// # Errors
/// What the kernel said.
pub fn prepare_to_be_interrupted() -> io::Result<()> {
    handle(libc::SIGUSR1, ignore)
}

fn handle(signal: i32, handler: extern "C" fn(i32)) -> io::Result<()> {
    // SAFETY: the action is plain data, for which all zeros is valid: no flag, so that system
    // calls are not begun again; the handlers do nothing that a handler must not.
    check(unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = handler as *const () as libc::sighandler_t;
        libc::sigaction(signal, &raw const action, null_mut())
    })
}

/// A packet socket that sends by a device of the calling thread's namespace, past its queueing
/// discipline, and receives nothing.
///
/// # Errors
/// What the kernel said: EPERM without `CAP_NET_RAW`.
pub fn packet_sender(ifindex: u32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    let bypass: i32 = 1;
    // SAFETY: socket touches no memory of ours, and the new descriptor has no other owner; the
    // option and the address are plain data of the sizes told, read only during the calls.
    unsafe {
        let socket = libc::socket(libc::AF_PACKET, kind, 0);
        check(socket)?;
        let socket = OwnedFd::from_raw_fd(socket);
        check(libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const bypass).cast(),
            size_of_val(&bypass) as libc::socklen_t,
        ))?;
        let mut address: libc::sockaddr_ll = zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_ifindex = ifindex as i32;
        check(libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        ))?;
        Ok(socket)
    }
}

/// Sends frames by a packet socket, in order. Gives how many it took: at least one, unless it
/// took none and says why.
///
/// # Errors
/// What the kernel said about the first frame: ENOBUFS when the device refused it, EMSGSIZE for
/// one that is longer than its MTU allows.
///
/// # Panics
/// For more than [`MOST_FRAMES`].
pub fn send(socket: BorrowedFd<'_>, frames: &[&[u8]]) -> io::Result<usize> {
    assert!(
        frames.len() <= MOST_FRAMES,
        "{} frames at once",
        frames.len()
    );
    // SAFETY: headers and vectors are plain data, for which all zeros is valid; each points to a
    // frame with its length, and all are borrowed until the call is over.
    let sent = unsafe {
        let mut vectors: [libc::iovec; MOST_FRAMES] = zeroed();
        let mut headers: [libc::mmsghdr; MOST_FRAMES] = zeroed();
        for (at, frame) in frames.iter().enumerate() {
            vectors[at].iov_base = frame.as_ptr().cast_mut().cast();
            vectors[at].iov_len = frame.len();
            headers[at].msg_hdr.msg_iov = &raw mut vectors[at];
            headers[at].msg_hdr.msg_iovlen = 1;
        }
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            frames.len() as u32,
            0,
        )
    };
    check(sent).map(|()| sent as usize)
}

/// Nanoseconds of the monotonic clock, which is also that of the XDP programs.
#[must_use]
pub fn now_ns() -> u64 {
    // SAFETY: the time is plain data of the right size, written during the call only.
    unsafe {
        let mut time: libc::timespec = zeroed();
        libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time);
        time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
    }
}

fn check(result: i32) -> io::Result<()> {
    match result {
        0.. => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
