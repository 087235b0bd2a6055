//! The system calls of the `shunt` binary that have no safe form elsewhere: the ioctls of network
//! devices, and network namespaces.
//!
//! No frame and no shared memory passes through here. Each function owns its descriptors and its
//! buffers for the length of one call; what goes out is a value of the caller's own. The kernel
//! writes into a buffer only as far as its command says, and every command with its buffer is
//! built in this file, so no caller can hand over one that is too short.
#![allow(
    unsafe_code,
    reason = "ioctl(2) on devices and setns(2) have no safe form in the crates we use"
)]

use std::{
    ffi::{c_int, c_ulong},
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    thread,
};

/// `ETHTOOL_GSTRINGS` and its kin (include/uapi/linux/ethtool.h).
mod command {
    pub const GSTRINGS: u32 = 0x1b;
    pub const GSSET_INFO: u32 = 0x37;
    pub const GFEATURES: u32 = 0x3a;
    pub const SFEATURES: u32 = 0x3b;
    pub const GCHANNELS: u32 = 0x3c;
}

/// The string set of feature names, `ETH_SS_FEATURES`.
const STRINGS_FEATURES: u32 = 4;
/// Bytes of one string in a string set, `ETH_GSTRING_LEN`.
const STRING_SIZE: usize = 32;
/// Bytes of a device name with its terminating zero, `IFNAMSIZ`.
const NAME_SIZE: usize = libc::IFNAMSIZ;

/// Longest name of a network device, in bytes.
pub const DEVICE_NAME_MAX: usize = NAME_SIZE - 1;

/// Whether this process is root by its effective user.
#[cfg(test)]
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: geteuid has no arguments and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// Lets all threads allocate from one place, so that what one has freed serves the others, and is
/// given back. For a process whose busy threads do not allocate.
pub fn allocate_from_one_arena() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt changes a setting of the allocator and may be called at any time.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

/// Gives memory that was freed back to the kernel, which glibc by itself keeps for later.
pub fn release_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim touches only what the allocator knows to be free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Moves the calling thread, and only it, into a network namespace for good (setns(2)).
///
/// # Errors
/// What the kernel said: EPERM without `CAP_SYS_ADMIN` there, EINVAL for another kind of file.
pub fn enter_network_namespace(namespace: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as it is borrowed, and setns touches no memory.
    check(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) })
}

/// Calls a closure in a short-lived thread of its own inside a network namespace, and waits for it.
///
/// Sockets that the closure makes stay of that namespace and keep it alive for as long as they are
/// open. The mount namespace stays the caller's: /sys/class/net shows other devices. A panic of the
/// closure goes on in the caller.
///
/// # Errors
/// When the namespace cannot be entered or no thread can be made.
pub fn in_network_namespace<T: Send>(
    namespace: BorrowedFd<'_>,
    closure: impl FnOnce() -> T + Send,
) -> io::Result<T> {
    thread::scope(|scope| {
        let inside = thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, || {
                enter_network_namespace(namespace)?;
                Ok(closure())
            })?;
        match inside.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// The queues of a device that are in use (`ETHTOOL_GCHANNELS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Queues that receive.
    pub rx: u32,
    /// Queues that transmit.
    pub tx: u32,
}

/// The state of one feature of a device (`struct ethtool_get_features_block`, one bit of each).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// It can be changed on this device now.
    pub available: bool,
    /// It is asked for (`wanted_features`), in force or not.
    pub requested: bool,
    /// It is in force.
    pub active: bool,
}

/// A socket for device ioctls. It stays of the network namespace of the thread that opened it, so
/// the other methods can be called from any thread.
#[derive(Debug)]
pub struct ControlSocket(OwnedFd);

impl ControlSocket {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// # Errors
    /// When the process or the system is out of descriptors.
    pub fn open() -> io::Result<Self> {
        // AF_UNIX, because it is there even without IPv4; device ioctls work on every socket.
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        // SAFETY: socket has no pointer arguments.
        let fd = unsafe { libc::socket(libc::AF_UNIX, kind, 0) };
        check(fd.min(0))?;
        // SAFETY: the kernel has just made this descriptor, and nobody else has it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// The name of the device with this index.
    ///
    /// # Errors
    /// ENODEV when there is none.
    pub fn name(&self, ifindex: u32) -> io::Result<String> {
        let mut request = empty_request();
        request.ifr_ifru.ifru_ifindex = ifindex as c_int;
        // SAFETY: SIOCGIFNAME reads ifru_ifindex, which is set, and writes the name; both are
        // inside `request`.
        unsafe { self.ioctl(libc::SIOCGIFNAME, &mut request)? };
        let name = request.ifr_name.iter().take_while(|byte| **byte != 0);
        let name = name.map(|byte| *byte as u8).collect();
        String::from_utf8(name).map_err(io::Error::other)
    }

    /// The queues in use. None of a device without such a setting (tun, dummy, and many more).
    ///
    /// # Errors
    /// ENODEV when there is no such device.
    pub fn channels(&self, name: &str) -> io::Result<Option<Channels>> {
        // struct ethtool_channels: the command, four maxima, then the four counts in use.
        let mut data = [0u32; 9];
        data[0] = command::GCHANNELS;
        // SAFETY: the command's structure has nine words, and so has the buffer.
        match unsafe { self.ethtool(name, &mut data) } {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error),
        }
        let [.., rx, tx, _other, combined] = data;
        Ok(Some(Channels {
            rx: rx.saturating_add(combined),
            tx: tx.saturating_add(combined),
        }))
    }

    /// The names of all features that this kernel knows; their positions are those of
    /// [`features`](Self::features).
    ///
    /// # Errors
    /// ENODEV when there is no such device.
    pub fn feature_names(&self, name: &str) -> io::Result<Vec<String>> {
        // struct ethtool_sset_info: command, reserved, a mask of 64 bits, a count for each set.
        let mut info = [command::GSSET_INFO, 0, 0, 0, 0];
        set_u64(&mut info[2..4], 1 << STRINGS_FEATURES);
        // SAFETY: one bit of the mask is set, so the kernel writes one count, and there is room
        // for it.
        unsafe { self.ethtool(name, &mut info)? };
        let count = info[4] as usize;

        // struct ethtool_gstrings: command, set, count, strings.
        let mut data = vec![0u32; 3 + count * STRING_SIZE / 4];
        data[..3].copy_from_slice(&[command::GSTRINGS, STRINGS_FEATURES, count as u32]);
        // SAFETY: the kernel writes the count of strings that it has just told. It is the same for
        // every device and at all times: the number of features that this kernel was built with.
        unsafe { self.ethtool(name, &mut data)? };
        let bytes: Vec<u8> = data[3..]
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect();
        let text = |string: &[u8]| {
            let end = string.iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&string[..end.unwrap_or(STRING_SIZE)]).into_owned()
        };
        Ok(bytes.chunks_exact(STRING_SIZE).map(text).collect())
    }

    /// The state of the first `count` features.
    ///
    /// # Errors
    /// ENODEV when there is no such device.
    pub fn features(&self, name: &str, count: usize) -> io::Result<Vec<Feature>> {
        // struct ethtool_gfeatures: command, the number of blocks, then for each block of 32
        // features the words available, requested, active and never changed.
        let blocks = count.div_ceil(32);
        let mut data = vec![0u32; 2 + blocks * 4];
        data[..2].copy_from_slice(&[command::GFEATURES, blocks as u32]);
        // SAFETY: the kernel writes no more blocks than the second word counts, and there is room
        // for so many.
        unsafe { self.ethtool(name, &mut data)? };
        let state = |index: usize| {
            let block = &data[2 + index / 32 * 4..][..4];
            let bit = |word: u32| word >> (index % 32) & 1 != 0;
            Feature {
                available: bit(block[0]) && !bit(block[3]),
                requested: bit(block[1]),
                active: bit(block[2]),
            }
        };
        Ok((0..count).map(state).collect())
    }

    /// Asks for features to be on or off, by their positions among `count` of them. Those that
    /// the device cannot change stay as they are, which is no error: look with
    /// [`features`](Self::features).
    ///
    /// # Errors
    /// EPERM without `CAP_NET_ADMIN`, ENODEV when there is no such device.
    pub fn set_features(
        &self,
        name: &str,
        count: usize,
        changes: &[(usize, bool)],
    ) -> io::Result<()> {
        // struct ethtool_sfeatures: command, the number of blocks, then for each block the words
        // valid and requested.
        let blocks = count.div_ceil(32);
        let mut data = vec![0u32; 2 + blocks * 2];
        data[..2].copy_from_slice(&[command::SFEATURES, blocks as u32]);
        for &(index, on) in changes {
            let block = &mut data[2 + index / 32 * 2..][..2];
            block[0] |= 1 << (index % 32);
            block[1] |= u32::from(on) << (index % 32);
        }
        // SAFETY: the kernel reads the blocks that the second word counts and writes nothing.
        unsafe { self.ethtool(name, &mut data) }
    }

    /// Runs an ethtool command; what it gives back is in `data` then.
    ///
    /// # Safety
    /// `data` must begin with a command and be as long as the structure of that command with what
    /// the kernel appends to it.
    unsafe fn ethtool(&self, name: &str, data: &mut [u32]) -> io::Result<()> {
        let mut request = request_for(name)?;
        request.ifr_ifru.ifru_data = data.as_mut_ptr().cast();
        // SAFETY: `ifru_data` points to `data`, which is borrowed mutably for the whole call and
        // long enough by this function's own contract.
        unsafe { self.ioctl(libc::SIOCETHTOOL as c_ulong, &mut request) }
    }

    /// # Safety
    /// `request` must hold what the ioctl reads, valid pointers included.
    unsafe fn ioctl(&self, number: c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: all device ioctls take a pointer to an ifreq; what it holds is the caller's duty.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), number as _, request) })
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn empty_request() -> libc::ifreq {
    libc::ifreq {
        ifr_name: [0; NAME_SIZE],
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_ifindex: 0 },
    }
}

fn request_for(name: &str) -> io::Result<libc::ifreq> {
    if name.is_empty() || name.len() > DEVICE_NAME_MAX || name.contains('\0') {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    let mut request = empty_request();
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as _;
    }
    Ok(request)
}

/// Writes a 64-bit number into two 32-bit words as it lies in memory.
fn set_u64(words: &mut [u32], number: u64) {
    let [a, b, c, d, e, f, g, h] = number.to_ne_bytes();
    words[0] = u32::from_ne_bytes([a, b, c, d]);
    words[1] = u32::from_ne_bytes([e, f, g, h]);
}
