//! The system calls of the test kit that have no safe form in the standard library.
//!
//! Nothing here holds memory or a frame: each function takes a borrowed descriptor and gives it
//! back untouched.
#![allow(
    unsafe_code,
    reason = "setns, geteuid and AF_XDP sockets have no safe form in the standard library"
)]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

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
