//! The system calls on sockets that the standard library has no safe form of.
//!
//! Each takes a borrowed descriptor and plain values, and keeps nothing.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd},
    ptr,
};

/// `setsockopt(2)` with the bytes of `value`.
///
/// # Errors
/// What the kernel said.
pub(in crate::port) fn set_option<T: Copy>(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
    value: &T,
) -> io::Result<()> {
    // SAFETY: the kernel reads at most the given size from a valid reference. Callers pass integers
    // and kernel structures; a padding byte would at worst show the kernel an old stack byte.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            ptr::from_ref(value).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A kernel structure of integers, for which all bytes zero, and any other bytes, are a value.
///
/// # Safety
/// Any bit pattern is a valid value of the type.
pub(in crate::port) unsafe trait Plain: Copy {}

// SAFETY: integers only.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: integers only.
unsafe impl Plain for libc::xdp_options {}
// SAFETY: integers only.
unsafe impl Plain for libc::xdp_statistics {}
// SAFETY: an integer.
unsafe impl Plain for i32 {}

/// `getsockopt(2)`. What the kernel does not write (an older one knows less) is zero.
///
/// # Errors
/// What the kernel said.
pub(in crate::port) fn option<T: Plain>(
    socket: BorrowedFd<'_>,
    level: i32,
    name: i32,
) -> io::Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut size = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `size` bytes to memory of that size.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            value.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed, then written in part or whole; any bytes are a `Plain` value.
    Ok(unsafe { value.assume_init() })
}

/// `bind(2)` to an address structure.
///
/// # Errors
/// What the kernel said.
pub(in crate::port) fn bind<T: Copy>(socket: BorrowedFd<'_>, address: &T) -> io::Result<()> {
    // SAFETY: the kernel reads at most the given size from a valid reference.
    let result = unsafe {
        libc::bind(
            socket.as_raw_fd(),
            ptr::from_ref(address).cast(),
            size_of::<T>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Tells the kernel that a TX ring has entries: an empty `sendto(2)` that does not wait.
///
/// # Errors
/// What the kernel said.
#[inline]
pub(super) fn kick(socket: BorrowedFd<'_>) -> io::Result<()> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: no buffer and no address.
    let result = unsafe { libc::sendto(socket.as_raw_fd(), ptr::null(), 0, flags, ptr::null(), 0) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Tells the kernel that a fill ring has entries, and asks at the same time whether the device is
/// there: an empty `recvfrom(2)` that does not wait.
///
/// # Errors
/// What the kernel said.
#[inline]
pub(super) fn wake_receiver(socket: BorrowedFd<'_>) -> io::Result<()> {
    let none = ptr::null_mut();
    // SAFETY: no buffer and no address.
    let result = unsafe {
        libc::recvfrom(
            socket.as_raw_fd(),
            none,
            0,
            libc::MSG_DONTWAIT,
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
