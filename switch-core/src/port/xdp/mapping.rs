//! Memory that is mapped from a socket: where the kernel keeps a ring.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
    ptr::NonNull,
};

/// A mapping, unmapped when dropped. It holds the socket's file open: a socket is released only
/// when its descriptor is closed and all mappings are gone.
#[derive(Debug)]
pub(super) struct Mapping {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: the mapping is valid from any thread.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `size` bytes of the socket at one of the `XDP_PGOFF_*` offsets.
    ///
    /// # Errors
    /// What the kernel said.
    pub(super) fn new(fd: BorrowedFd<'_>, offset: libc::off_t, size: usize) -> io::Result<Self> {
        // SAFETY: a fresh shared mapping of an open socket; the kernel chooses the address.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_POPULATE,
                fd.as_raw_fd(),
                offset,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at 0"))?;
        Ok(Self { base, size })
    }

    /// The address of `count` values at `offset`; `None` when they are not inside or not aligned.
    pub(super) fn place<T>(&self, offset: u64, count: usize) -> Option<NonNull<T>> {
        let offset = usize::try_from(offset).ok()?;
        let end = size_of::<T>().checked_mul(count)?.checked_add(offset)?;
        if end > self.size {
            return None;
        }
        // SAFETY: the offset is inside the mapping, as just checked.
        let place = unsafe { self.base.add(offset) }.cast::<T>();
        place.is_aligned().then_some(place)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and size are those of the mapping that `new` made, and the ring that holds
        // pointers into it goes with it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.size) };
    }
}
