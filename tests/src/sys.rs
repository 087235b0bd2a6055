//! The system calls of the test kit that have no safe form in the standard library.
//!
//! Nothing here holds memory or a frame: each function takes a borrowed descriptor and gives it
//! back untouched.
#![allow(
    unsafe_code,
    reason = "setns and geteuid have no safe form in the standard library"
)]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
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
