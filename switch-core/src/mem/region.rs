//! The region: one anonymous memory file that holds all frames and is every socket's UMEM.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr::NonNull,
};

use crate::limits::CHUNK_SIZE;

const _: () = assert!(PAGE_SIZE.is_multiple_of(CHUNK_SIZE));

/// Bytes of an ordinary page.
const PAGE_SIZE: usize = 4096;
/// Bytes of a huge page on the machines that have `MFD_HUGE_2MB`.
const HUGE_PAGE_SIZE: usize = 2 << 20;

/// Whether the region is made of 2 MiB pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HugePages {
    /// Ordinary pages.
    #[default]
    No,
    /// 2 MiB pages, which the operator has reserved (`vm.nr_hugepages`).
    Yes,
}

/// A mapped memory file, cut into chunks of [`CHUNK_SIZE`] bytes.
#[derive(Debug)]
pub struct Region {
    base: NonNull<u8>,
    size: usize,
    file: OwnedFd,
}

// SAFETY: the mapping is valid from any thread until the region is dropped; its bytes are reached
// only through handles that own their chunk (module comment).
unsafe impl Send for Region {}
// SAFETY: as above; the region itself hands out nothing but its address and size.
unsafe impl Sync for Region {}

impl Region {
    /// Maps a region of at least so many chunks, rounded up to whole pages.
    ///
    /// # Errors
    /// When the kernel has no memory (or no huge pages left: reserve some by `vm.nr_hugepages`),
    /// or when the region would pass 4 GiB, the range of a chunk's address.
    pub fn new(chunks: usize, huge_pages: HugePages) -> io::Result<Self> {
        let (page_size, flags) = match huge_pages {
            HugePages::No => (PAGE_SIZE, 0),
            HugePages::Yes => (HUGE_PAGE_SIZE, libc::MFD_HUGETLB | libc::MFD_HUGE_2MB),
        };
        let size = chunks
            .max(1)
            .checked_mul(CHUNK_SIZE)
            .and_then(|size| size.checked_next_multiple_of(page_size))
            .filter(|size| u32::try_from(*size).is_ok())
            .ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the region must stay below 4 GiB",
                )
            })?;
        // SAFETY: the name is a C string; the call has no other memory argument.
        let fd = unsafe { libc::memfd_create(c"shunt-frames".as_ptr(), libc::MFD_CLOEXEC | flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: memfd_create has just returned this descriptor, and nobody else owns it.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: plain system call on an owned descriptor; the size fits off_t (below 4 GiB).
        if unsafe { libc::ftruncate(file.as_raw_fd(), size as libc::off_t) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            base: map(&file, size)?,
            size,
            file,
        })
    }

    /// The address of the first byte, to register as UMEM.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Chunks.
    #[must_use]
    pub fn chunks(&self) -> usize {
        self.size / CHUNK_SIZE
    }

    /// The memory file, for a process that maps the same frames.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The address of what is at `offset`, from where on all bytes of the chunk are in the region,
    /// which is made of whole chunks.
    ///
    /// # Panics
    /// When there is no such chunk: somebody made a handle up.
    #[inline]
    pub(super) fn in_chunk(&self, offset: u32) -> NonNull<u8> {
        let offset = offset as usize;
        assert!(offset < self.size);
        // SAFETY: offset is inside the mapping, by the assertion.
        unsafe { self.base.add(offset) }
    }

    /// The address of `size` bytes at `offset`.
    ///
    /// # Panics
    /// When they are not inside the region: somebody made a handle up.
    #[inline]
    pub(super) fn at(&self, offset: u32, size: usize) -> NonNull<u8> {
        let offset = offset as usize;
        assert!(offset + size <= self.size);
        // SAFETY: offset + size is inside the mapping, by the assertion.
        unsafe { self.base.add(offset) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: base and size are those of the mapping that `new` made; no handle outlives the
        // region, because whoever uses one holds an `Arc` of it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.size) };
    }
}

fn map(file: &OwnedFd, size: usize) -> io::Result<NonNull<u8>> {
    // Populated at once: a page fault in a worker's loop would be a system call in disguise.
    // SAFETY: a fresh shared mapping of an owned file; the kernel chooses the address.
    let base = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_POPULATE,
            file.as_raw_fd(),
            0,
        )
    };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mapped at address 0"))
}
