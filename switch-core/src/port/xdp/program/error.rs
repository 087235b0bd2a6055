//! Why a program could not be loaded, attached or changed, and what people can do about it.

use std::{error::Error, io};

use aya::{EbpfError, maps::MapError, programs::ProgramError as AyaError};
use xdp_ebpf::{MAX_HOST_ADDRESSES, MAX_QUEUES};

use super::Mode;

/// Why a program could not be loaded, attached or changed; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// The process may not use BPF.
    #[error(
        "no privilege to {0}: run as root, or with the capabilities CAP_BPF, CAP_PERFMON and \
         CAP_NET_ADMIN (before kernel 5.11 a low `ulimit -l` looks the same)"
    )]
    NoPrivilege(&'static str),
    /// The kernel was built without BPF.
    #[error("this kernel has no BPF: it needs CONFIG_BPF_SYSCALL, as every distribution's has")]
    NoBpf,
    /// The kernel was built without AF_XDP.
    #[error("this kernel has no AF_XDP: it needs CONFIG_XDP_SOCKETS, and version 4.18 or later")]
    NoXdpSockets,
    /// The kernel refused the program.
    #[error("the kernel refused the XDP program: {}", chain(.0))]
    Load(EbpfError),
    /// There is no such device in this network namespace.
    #[error("there is no device with index {ifindex}: it may have been deleted, see `ip link`")]
    NoDevice {
        /// The index that was asked for.
        ifindex: u32,
    },
    /// Somebody else's program is on the device. It was left alone.
    #[error(
        "{device} already has an XDP program of somebody else: `{name}`, id {id}, {mode}; it is \
         left alone. If nobody needs it: ip link set dev {device} {} off (if that says `busy`, a \
         BPF link holds it: stop the program that owns it, see bpftool link show)",
        mode.iproute2()
    )]
    Foreign {
        /// The device.
        device: String,
        /// The program's name, as far as the kernel tells.
        name: String,
        /// The program's id.
        id: u32,
        /// The mode that it runs in.
        mode: Mode,
    },
    /// A program of ours is on the device, and another process holds it there.
    #[error(
        "{device} is in use by another shunt, whose program `{name}` (id {id}) is attached: stop \
         that one first, or take the device out of one of the configurations"
    )]
    InUse {
        /// The device.
        device: String,
        /// The program's name.
        name: String,
        /// The program's id.
        id: u32,
    },
    /// Neither mode is possible on this device.
    #[error("{device} takes no XDP program; native: {native}; generic: {generic}")]
    Attach {
        /// The device.
        device: String,
        /// Why not in native mode.
        native: String,
        /// Why not in generic mode.
        generic: String,
    },
    /// A queue past [`MAX_QUEUES`].
    #[error("queue {queue} is past the {MAX_QUEUES} that a program steers to")]
    QueueTooLarge {
        /// The queue.
        queue: u32,
    },
    /// More addresses than [`MAX_HOST_ADDRESSES`].
    #[error("{count} addresses of the host are more than the {MAX_HOST_ADDRESSES} of the map")]
    TooManyAddresses {
        /// How many were given.
        count: usize,
    },
    /// A map could not be read or written.
    #[error("cannot {action}: {}", chain(.error))]
    Map {
        /// What was to be done.
        action: &'static str,
        /// What the kernel said.
        error: MapError,
    },
    /// The device could not be asked about its programs.
    #[error("cannot ask the kernel which XDP programs the device has: {0}")]
    Query(io::Error),
}

/// Wraps what a map said with what was to be done.
pub(super) fn map_error(action: &'static str) -> impl FnOnce(MapError) -> ProgramError {
    move |error| ProgramError::Map { action, error }
}

/// Tells the usual causes of a failed load apart.
pub(super) fn load_error(error: EbpfError) -> ProgramError {
    let is_sockets = match &error {
        EbpfError::MapError(MapError::CreateError { name, .. }) => name == "SOCKETS",
        EbpfError::MapError(MapError::Unsupported { .. }) => true,
        _ => false,
    };
    match errno(&error) {
        Some(libc::EPERM | libc::EACCES) if !is_verifier(&error) => {
            ProgramError::NoPrivilege("load BPF programs")
        }
        Some(libc::ENOSYS) => ProgramError::NoBpf,
        Some(libc::EINVAL | libc::EOPNOTSUPP) | None if is_sockets => ProgramError::NoXdpSockets,
        _ => ProgramError::Load(error),
    }
}

/// Whether the verifier has spoken: it refuses with EACCES too.
fn is_verifier(error: &EbpfError) -> bool {
    matches!(
        error,
        EbpfError::ProgramError(AyaError::LoadError { verifier_log, .. })
            if !verifier_log.to_string().trim().is_empty()
    )
}

/// Why the kernel refused to attach the program, and what can be done about it.
pub(super) fn refusal(error: &AyaError, device: &str) -> String {
    match errno(error) {
        Some(libc::EOPNOTSUPP) => "the driver has no native XDP".to_owned(),
        Some(libc::ENOSPC) => format!(
            "{device} has fewer RX queues than its peer has TX queues: give it more \
             (ethtool -L {device} rx N) or the peer fewer"
        ),
        Some(libc::ERANGE) => format!(
            "the MTU of {device} or its peer is too large for one buffer, and kernel or driver \
             take no frames of several: lower it (ip link set dev {device} mtu 1500)"
        ),
        Some(libc::ENOMEM) => format!(
            "the driver has no memory or no TX queues left for XDP: use fewer queues \
             (ethtool -L {device} combined N)"
        ),
        Some(libc::EBUSY | libc::EEXIST) => format!(
            "{device} has got another XDP program just now, see `ip -d link show dev {device}`"
        ),
        _ => chain(error),
    }
}

/// The error and its causes in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.dedup();
    texts.join(": ")
}

/// The error number at the root of an error, if there is one.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    causes(error).find_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error())
}

/// The error, its cause, and so on.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let next = |error: &&'a (dyn Error + 'static)| (*error).source();
    std::iter::successors(Some(error), next)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel answers when a map is made, in words for people.
    fn told(map: &str, errno: i32) -> String {
        let error = MapError::CreateError {
            name: map.into(),
            io_error: io::Error::from_raw_os_error(errno),
        };
        load_error(error.into()).to_string()
    }

    #[test]
    fn what_a_kernel_lacks_is_named() {
        // An unknown type of map: XSKMAP without CONFIG_XDP_SOCKETS.
        let text = told("SOCKETS", libc::EINVAL);
        assert!(text.starts_with("this kernel has no AF_XDP"), "{text}");
        assert!(text.contains("CONFIG_XDP_SOCKETS"), "{text}");
        // Any other map is of a type that every kernel with BPF has.
        let text = told("COUNTS", libc::EINVAL);
        assert!(
            text.starts_with("the kernel refused the XDP program"),
            "{text}"
        );
        let text = told("COUNTS", libc::ENOSYS);
        assert!(text.starts_with("this kernel has no BPF"), "{text}");
    }

    #[test]
    fn missing_privilege_is_named() {
        for (map, errno) in [("SOCKETS", libc::EPERM), ("COUNTS", libc::EACCES)] {
            let text = told(map, errno);
            assert!(
                text.starts_with("no privilege to load BPF programs"),
                "{text}"
            );
            assert!(text.contains("run as root"), "{text}");
        }
    }
}
