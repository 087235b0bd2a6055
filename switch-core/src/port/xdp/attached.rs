//! What XDP programs a device has, whoever put them there: asked and taken off by rtnetlink.
//!
//! No frame comes by here, and the one `unsafe` block makes a socket. BPF links cannot answer
//! this, because older kernels and `ip link` attach without one.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _},
};

use super::program::Mode;

/// A device and the XDP programs on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    /// The device's name.
    pub device: String,
    /// The id of each program, as `bpftool prog` shows it, and the mode that it runs in.
    pub programs: Vec<(Mode, u32)>,
}

// include/uapi/linux/if_link.h, in the enum of IFLA_XDP_*.
const IFLA_XDP_FD: u16 = 1;
const IFLA_XDP_FLAGS: u16 = 3;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;
const IFLA_XDP_SKB_PROG_ID: u16 = 6;
const IFLA_XDP_HW_PROG_ID: u16 = 7;
const IFLA_XDP_EXPECTED_FD: u16 = 8;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const XDP_FLAGS_HW_MODE: u32 = 1 << 3;
const XDP_FLAGS_REPLACE: u32 = 1 << 4;
/// Leaves the statistics out of the answer (include/uapi/linux/rtnetlink.h).
const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;

/// Bytes of a netlink header: length, type, flags, sequence number, port.
const HEADER_SIZE: usize = 16;
/// Bytes of `struct ifinfomsg`.
const IFINFO_SIZE: usize = 16;
/// More than a device's attributes ever take, those of the virtual functions being not asked for.
const ANSWER_SIZE: usize = 64 * 1024;

/// Asks which programs the device has, in the calling thread's network namespace.
///
/// # Errors
/// ENODEV when there is no such device; else what the netlink socket said.
pub(super) fn query(ifindex: u32) -> io::Result<Attached> {
    let mut attributes = Vec::new();
    push(
        &mut attributes,
        libc::IFLA_EXT_MASK,
        &RTEXT_FILTER_SKIP_STATS.to_ne_bytes(),
    );
    let answer = ask(libc::RTM_GETLINK, 0, ifindex, &attributes)?;
    let mut attached = Attached {
        device: String::new(),
        programs: Vec::new(),
    };
    for (kind, value) in attributes_of(&answer) {
        match kind {
            libc::IFLA_IFNAME => {
                let name = value.strip_suffix(&[0]).unwrap_or(value);
                attached.device = String::from_utf8_lossy(name).into_owned();
            }
            libc::IFLA_XDP => attached.programs = programs_of(value),
            _ => {}
        }
    }
    Ok(attached)
}

fn programs_of(nested: &[u8]) -> Vec<(Mode, u32)> {
    let program = |(kind, value): (u16, &[u8])| {
        let mode = match kind {
            IFLA_XDP_DRV_PROG_ID => Mode::Native,
            IFLA_XDP_SKB_PROG_ID => Mode::Generic,
            IFLA_XDP_HW_PROG_ID => Mode::Hardware,
            _ => return None,
        };
        Some((mode, u32::from_ne_bytes(*value.first_chunk()?)))
    };
    attributes_of(nested)
        .filter_map(program)
        .filter(|(_, id)| *id != 0)
        .collect()
}

/// Takes a program off that no BPF link holds there, if it is still the one on the device.
///
/// # Errors
/// EBUSY when a link holds it; EEXIST when the device has another one by now.
pub(super) fn detach(ifindex: u32, mode: Mode, program: BorrowedFd<'_>) -> io::Result<()> {
    let flags = XDP_FLAGS_REPLACE
        | match mode {
            Mode::Native => XDP_FLAGS_DRV_MODE,
            Mode::Generic => XDP_FLAGS_SKB_MODE,
            Mode::Hardware => XDP_FLAGS_HW_MODE,
        };
    let mut nested = Vec::new();
    push(&mut nested, IFLA_XDP_FD, &(-1i32).to_ne_bytes());
    push(
        &mut nested,
        IFLA_XDP_EXPECTED_FD,
        &program.as_raw_fd().to_ne_bytes(),
    );
    push(&mut nested, IFLA_XDP_FLAGS, &flags.to_ne_bytes());
    let mut attributes = Vec::new();
    push(
        &mut attributes,
        libc::IFLA_XDP | libc::NLA_F_NESTED as u16,
        &nested,
    );
    ask(
        libc::RTM_SETLINK,
        libc::NLM_F_ACK as u16,
        ifindex,
        &attributes,
    )
    .map(drop)
}

/// Sends one request about a device and gives the attributes of the answer.
fn ask(kind: u16, flags: u16, ifindex: u32, attributes: &[u8]) -> io::Result<Vec<u8>> {
    let mut request = Vec::with_capacity(HEADER_SIZE + IFINFO_SIZE + attributes.len());
    let size = (HEADER_SIZE + IFINFO_SIZE + attributes.len()) as u32;
    request.extend(size.to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((libc::NLM_F_REQUEST as u16 | flags).to_ne_bytes());
    request.extend([0; 8]);
    // struct ifinfomsg: family and type unspecified, the index at its fifth byte.
    request.extend([0; 4]);
    request.extend(ifindex.to_ne_bytes());
    request.extend([0; 8]);
    request.extend(attributes);

    let mut socket = netlink()?;
    // A netlink socket without an address talks to the kernel: one message a call.
    socket.write_all(&request)?;
    let mut answer = vec![0; ANSWER_SIZE];
    let size = socket.read(&mut answer)?;
    answer.truncate(size);
    let kind = answer
        .get(4..6)
        .and_then(|bytes| bytes.first_chunk().copied());
    if kind.map(u16::from_ne_bytes) == Some(libc::NLMSG_ERROR as u16) {
        let code = answer
            .get(HEADER_SIZE..)
            .and_then(|bytes| bytes.first_chunk().copied());
        return match code.map(i32::from_ne_bytes) {
            Some(0) => Ok(Vec::new()),
            Some(code) => Err(io::Error::from_raw_os_error(-code)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        };
    }
    Ok(answer.split_off((HEADER_SIZE + IFINFO_SIZE).min(size)))
}

fn netlink() -> io::Result<File> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: socket touches no memory of ours; nobody but the file owns the new descriptor.
    unsafe {
        match libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(File::from_raw_fd(fd)),
        }
    }
}

/// Appends one attribute: length without padding, type, value, padding to four bytes.
fn push(attributes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    attributes.extend((4 + value.len() as u16).to_ne_bytes());
    attributes.extend(kind.to_ne_bytes());
    attributes.extend(value);
    attributes.resize(attributes.len().next_multiple_of(4), 0);
}

/// The attributes one after another, up to the first that is cut off.
fn attributes_of(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let [a, b, c, d] = *bytes.first_chunk()?;
        let size = usize::from(u16::from_ne_bytes([a, b]));
        let value = bytes.get(4..size)?;
        bytes = bytes.get(size.next_multiple_of(4)..).unwrap_or_default();
        Some((
            u16::from_ne_bytes([c, d]) & libc::NLA_TYPE_MASK as u16,
            value,
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_as_written_and_a_cut_one_ends_them() {
        let mut bytes = Vec::new();
        push(&mut bytes, 3, b"eth1\0");
        push(
            &mut bytes,
            43 | libc::NLA_F_NESTED as u16,
            &7u32.to_ne_bytes(),
        );
        assert_eq!(bytes.len(), 12 + 8);
        let all: Vec<_> = attributes_of(&bytes).collect();
        assert_eq!(all, [(3, &b"eth1\0"[..]), (43, &7u32.to_ne_bytes()[..])]);
        for size in 0..bytes.len() {
            assert!(attributes_of(&bytes[..size]).count() < 2, "cut to {size}");
        }
        // A length below the header's own would never get on.
        assert_eq!(attributes_of(&[0, 0, 1, 0]).count(), 0);
    }

    #[test]
    fn programs_are_named_by_mode() {
        let mut nested = Vec::new();
        push(&mut nested, 2, &[4]);
        push(&mut nested, IFLA_XDP_DRV_PROG_ID, &7u32.to_ne_bytes());
        push(&mut nested, IFLA_XDP_SKB_PROG_ID, &9u32.to_ne_bytes());
        push(&mut nested, IFLA_XDP_HW_PROG_ID, &0u32.to_ne_bytes());
        assert_eq!(
            programs_of(&nested),
            [(Mode::Native, 7), (Mode::Generic, 9)]
        );
    }

    #[test]
    fn a_device_that_does_not_exist_is_said_to() {
        let error = query(i32::MAX as u32).expect_err("no such device");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV));
    }
}
