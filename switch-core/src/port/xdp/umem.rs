//! The region as the UMEM of a socket: registered by each socket for itself, so that a port with
//! zero copy and one without can share it (docs/decisions/umem-registration.md).

use std::{io, os::fd::BorrowedFd};

use super::system;
use crate::{
    limits::{CHUNK_SIZE, HEADROOM},
    mem::Region,
};

/// `XDP_PACKET_HEADROOM` (include/uapi/linux/bpf.h): what the kernel leaves in front of a frame in
/// any case, in bytes. The UMEM's own headroom comes on top.
const XDP_PACKET_HEADROOM: usize = 256;

const _: () = assert!(HEADROOM >= XDP_PACKET_HEADROOM);

/// Registers the region as the UMEM of this socket (`XDP_UMEM_REG`).
///
/// # Errors
/// What the kernel said; ENOBUFS when the pages would pass `RLIMIT_MEMLOCK`.
pub(super) fn register(socket: BorrowedFd<'_>, region: &Region) -> io::Result<()> {
    let registration = libc::xdp_umem_reg {
        addr: region.base().as_ptr() as u64,
        len: region.size() as u64,
        chunk_size: CHUNK_SIZE as u32,
        headroom: (HEADROOM - XDP_PACKET_HEADROOM) as u32,
        flags: 0,
        tx_metadata_len: 0,
    };
    system::set_option(socket, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)
}
