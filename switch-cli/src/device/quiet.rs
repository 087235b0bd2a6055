//! Keeping the host's stack from sending on a device that the switch has.
//!
//! The frames that come in on such a device go to the switch, so the stack does not answer any.
//! By itself it sends nothing over IPv4, but IPv6 gives every device that is set up an address,
//! and announces it: duplicate address detection, router solicitation, multicast reports. These
//! would reach the guest past the switch.

use std::{fs, io, path::PathBuf};

use rtnetlink::packet_route::{AddressFamily, address::AddressScope};

use super::{Namespace, Result};

/// Whether a device has an IPv6 address that somebody gave it. Then IPv6 must stay: switching it
/// off would delete the address for good.
pub(super) async fn has_ipv6(namespace: &Namespace, ifindex: u32) -> Result<bool> {
    let request = namespace.netlink().address().get();
    let request = request.set_link_index_filter(ifindex);
    let addresses = namespace.list(|| request.execute(), || "list addresses".into());
    let addresses = addresses.await?;
    Ok(addresses.iter().any(|address| {
        address.header.family == AddressFamily::Inet6 && address.header.scope != AddressScope::Link
    }))
}

/// Whether IPv6 is off on a device of the calling thread's namespace; none without IPv6 in the
/// kernel.
pub(super) fn ipv6_disabled(device: &str) -> Option<bool> {
    let text = fs::read_to_string(path(device)).ok()?;
    Some(text.trim() != "0")
}

/// Switches IPv6 off or on again on a device of the calling thread's namespace. Where /proc/sys
/// is read-only, as in some containers, it stays as it is.
///
/// # Errors
/// When the kernel refuses for another reason.
pub(super) fn disable_ipv6(device: &str, disable: bool) -> io::Result<()> {
    match fs::write(path(device), if disable { "1" } else { "0" }) {
        Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn path(device: &str) -> PathBuf {
    PathBuf::from("/proc/sys/net/ipv6/conf")
        .join(device)
        .join("disable_ipv6")
}
