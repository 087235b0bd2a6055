//! A configuration that is valid: what the daemon works with.
//!
//! Values of these types come from [`super::parse`], which has checked all of it: every network
//! that is named exists, no name, device or VLAN is used twice, nothing private is on an uplink.

use std::{borrow::Borrow, fmt, net::IpAddr, num::NonZero, str::FromStr, sync::Arc};

use crate::{
    idle::Policy,
    qos::{classes::ClassRules, remark::MarkRules, storm::StormRates},
    table::fdb::FlapLimits,
    wire::{
        ethernet::Mac,
        vlan::{Tpid, Vid},
    },
};

mod acl;
mod lines;
mod qos;

pub use acl::{
    Acl, Action, Acts, AddressSet, Addresses, Families, Fragments, MacPattern, Match, NumberRange,
    Prefix, Protocol, Rule, TcpFlags, TransportMatch,
};
pub use lines::KeyLines;
pub use qos::{Policed, Policer, Scheduler};

/// The whole configuration of one switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What belongs to the switch as a whole.
    pub switch: Switch,
    /// The networks, in the order of the file.
    pub networks: Vec<Network>,
    /// The ports, in the order of the file.
    pub ports: Vec<Port>,
    /// The static entries of the forwarding databases, in the order of the file.
    pub statics: Vec<StaticEntry>,
    /// The policers, in the order of the file.
    pub policers: Vec<Policer>,
    /// The access control lists, in the order of the file.
    pub acls: Vec<Acl>,
    /// The sets of addresses that their rules name, in the order of the file.
    pub address_sets: Vec<AddressSet>,
    /// The schedulers, in the order of the file.
    pub schedulers: Vec<Scheduler>,
}

impl Config {
    /// The network with this name.
    #[must_use]
    pub fn network(&self, name: &str) -> Option<&Network> {
        self.networks
            .iter()
            .find(|network| network.name.as_str() == name)
    }

    /// The port with this name.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<&Port> {
        self.ports.iter().find(|port| port.name.as_str() == name)
    }
}

/// `[switch]`: what belongs to the switch as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    /// How many workers; none: one a core, at most [`crate::limits::MAX_WORKERS`].
    pub workers: Option<NonZero<usize>>,
    /// The core that each worker is pinned to, one for each of `workers`; empty: the daemon
    /// chooses.
    pub cores: Vec<usize>,
    /// How long an address is remembered after its last frame, in seconds.
    pub ageing_s: u32,
    /// What workers do as long as no frame comes.
    pub idle: Policy,
    /// Whether the region of frames lies in huge pages.
    pub huge_pages: bool,
    /// How many chunks the region has; none: [`crate::limits::chunks_needed`]. A multiple of
    /// [`crate::limits::SLAB_SIZE`].
    pub frames: Option<usize>,
    /// Whether frames to reserved group addresses (01-80-C2-00-00-0x) are forwarded.
    pub forward_reserved: bool,
    /// When an address moves between ports too often; none: never.
    pub flaps: Option<FlapLimits>,
}

impl Default for Switch {
    fn default() -> Self {
        Self {
            workers: None,
            cores: Vec::new(),
            ageing_s: crate::limits::DEFAULT_AGEING_S,
            idle: Policy::Sleep,
            huge_pages: false,
            frames: None,
            forward_reserved: false,
            flaps: None,
        }
    }
}

/// `[[network]]`: a broadcast domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The name, unique among networks.
    pub name: Name,
    /// The VLAN, unique among networks; none: private, never leaves the host.
    pub vlan: Option<Vid>,
    /// How much all its frames together may use.
    pub policed: Policed,
    /// What frames of this network have to pass, at every port.
    pub acls: AttachedAcls,
}

/// The access control lists of a port or network. None: everything passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachedAcls {
    /// For frames on their way into the switch, from the port.
    pub from_port: Option<Name>,
    /// For frames on their way out of the switch, to the port.
    pub to_port: Option<Name>,
}

/// `[[port]]`: a device given to the switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// The name, unique among ports.
    pub name: Name,
    /// The interface, unique among ports.
    pub device: Device,
    /// What is behind the device.
    pub role: Role,
    /// The networks that the port is a member of.
    pub membership: Membership,
    /// The tag protocol of this port's tags.
    pub tpid: Tpid,
    /// Which frames are let in.
    pub accept: AcceptableFrames,
    /// Whether frames to other isolated ports are dropped.
    pub isolated: bool,
    /// Most addresses that are learned here; none: no limit.
    pub mac_limit: Option<NonZero<u32>>,
    /// How the switch gets the device's frames.
    pub attach: Attach,
    /// How many queues are served, at most [`crate::limits::MAX_QUEUES`]; none: all of the device.
    pub queues: Option<NonZero<usize>>,
    /// How much it may use.
    pub policed: Policed,
    /// What frames of this port have to pass.
    pub acls: AttachedAcls,
    /// What may come from this port at all.
    pub security: Security,
    /// The traffic class of frames that come from it.
    pub classes: ClassRules,
    /// What is written into frames that leave by it.
    pub marks: MarkRules,
    /// How frames to it wait; none: they do not.
    pub scheduler: Option<Name>,
    /// Where the file says what may come from this port.
    pub lines: KeyLines,
}

/// What a port may say about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// The MAC addresses that it may use and claim; none: any.
    pub allowed_macs: Option<Vec<Mac>>,
    /// The IP addresses that it may use and claim; none: any.
    pub allowed_addresses: Option<Vec<Prefix>>,
    /// Whether it may have a DHCP or DHCPv6 server.
    pub dhcp_server: bool,
    /// Whether it may send router advertisements and redirects.
    pub router_advertisements: bool,
    /// Whether it may send BPDUs, as a bridge does.
    pub bpdus: bool,
    /// How much of what goes to all it may send.
    pub storm: StormRates,
}

impl Default for Security {
    /// Anything.
    fn default() -> Self {
        Self {
            allowed_macs: None,
            allowed_addresses: None,
            dhcp_server: true,
            router_advertisements: true,
            bpdus: true,
            storm: StormRates::default(),
        }
    }
}

/// What is behind a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A virtual machine or a container.
    Guest,
    /// A NIC towards the physical network.
    Uplink,
    /// The host's own IP stack, on an interface that the daemon makes.
    Host(HostInterface),
}

impl Role {
    /// The word of the configuration file.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Uplink => "uplink",
            Self::Host(_) => "host",
        }
    }
}

/// How the host's own interface is set up.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HostInterface {
    /// Its IP addresses.
    pub addresses: Vec<IpPrefix>,
    /// Its MAC address; none: the kernel chooses.
    pub mac: Option<Mac>,
}

/// The networks that a port is a member of. At least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    /// An access port of one network: untagged frames, in and out.
    Access(Name),
    /// A port that knows tags.
    Trunk(Trunk),
}

/// The networks of a trunk: a native one, tagged ones, or both. No VID occurs twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trunk {
    /// The network of untagged frames (PVID).
    pub native: Option<Native>,
    /// The networks of tagged frames, `*` resolved.
    pub tagged: Vec<Tagged>,
}

/// The network of a trunk's untagged frames.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Native {
    /// The network.
    pub network: Name,
    /// The VID its frames leave with (`native_tagged`); none: they leave untagged.
    pub tagged_as: Option<Vid>,
}

/// A network that crosses a trunk tagged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The network.
    pub network: Name,
    /// Its VID on this port; another one than the network's where it is translated.
    pub vid: Vid,
}

impl Membership {
    /// All networks, the native one first.
    pub fn networks(&self) -> impl Iterator<Item = &Name> {
        let (first, tagged) = match self {
            Self::Access(network) => (Some(network), [].as_slice()),
            Self::Trunk(trunk) => (
                trunk.native.as_ref().map(|native| &native.network),
                trunk.tagged.as_slice(),
            ),
        };
        first
            .into_iter()
            .chain(tagged.iter().map(|tagged| &tagged.network))
    }

    /// Whether the port is a member of this network.
    #[must_use]
    pub fn contains(&self, network: &str) -> bool {
        self.networks().any(|name| name.as_str() == network)
    }
}

/// Acceptable frame types (802.1Q-2022, 6.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptableFrames {
    /// Admit all frames.
    All,
    /// Admit only VLAN-tagged frames.
    Tagged,
    /// Admit only untagged and priority-tagged frames.
    Untagged,
}

/// How the switch gets a device's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attach {
    /// The best that this version can do for the device.
    Auto,
    /// An XDP program on the device itself.
    Xdp,
}

/// A static entry of a forwarding database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticEntry {
    /// The network whose database it is.
    pub network: Name,
    /// The address, an individual one.
    pub mac: Mac,
    /// The port behind which the address is, a member of the network.
    pub port: Name,
}

/// The name of a network or a port. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// A text that is no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 63 of the characters A-Z a-z 0-9 _ . -")]
pub struct InvalidName;

impl Name {
    /// Most characters of a name.
    pub const MAX_SIZE: usize = 63;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Name> for Arc<str> {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let known = |c: u8| c.is_ascii_alphanumeric() || b"_.-".contains(&c);
        let fits = (1..=Self::MAX_SIZE).contains(&text.len()) && text.bytes().all(known);
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName)
        }
    }
}

/// The name of a network interface, as `dev_valid_name` (net/core/dev.c) has it. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device(Arc<str>);

/// A text that no network interface can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an interface name has 1 to 15 bytes, without spaces, `/` and `:`, and is not `.` or `..`")]
pub struct InvalidDevice;

impl Device {
    /// Most bytes of an interface name: `IFNAMSIZ` (include/uapi/linux/if.h) without the NUL.
    pub const MAX_SIZE: usize = 15;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Device {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        // Control characters the kernel would take; no one means them, and terminals obey them.
        let refused = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | ':');
        let fits = (1..=Self::MAX_SIZE).contains(&text.len()) && !text.contains(refused);
        if fits && !matches!(text, "." | "..") {
            Ok(Self(text.into()))
        } else {
            Err(InvalidDevice)
        }
    }
}

macro_rules! text_like {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }
    };
}

text_like!(Name);
text_like!(Device);

/// An IP address of an interface and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpPrefix {
    address: IpAddr,
    length: u8,
}

/// A text that is no address with a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIpPrefix {
    /// No prefix length, or one that the family does not have.
    #[error("the length of the prefix is missing or too large")]
    Length,
    /// No address.
    #[error("not an IP address")]
    Address,
    /// Not an address that an interface can have: unspecified or multicast.
    #[error("not an address that an interface can have")]
    Group,
}

impl IpPrefix {
    /// The interface's address.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// The length of the network's prefix in bits.
    #[must_use]
    pub const fn length(self) -> u8 {
        self.length
    }
}

impl FromStr for IpPrefix {
    type Err = InvalidIpPrefix;

    /// Reads `10.0.0.1/24` or `fd00::1/64`.
    fn from_str(text: &str) -> Result<Self, InvalidIpPrefix> {
        let (address, length) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().map_err(|_| InvalidIpPrefix::Address)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let digits = length.bytes().all(|digit| digit.is_ascii_digit());
        let length = length
            .parse()
            .ok()
            .filter(|length| digits && *length <= most);
        let length = length.ok_or(InvalidIpPrefix::Length)?;
        if address.is_unspecified() || address.is_multicast() {
            return Err(InvalidIpPrefix::Group);
        }
        Ok(Self { address, length })
    }
}

impl fmt::Display for IpPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |text: &str, good: bool| {
            assert_eq!(text.parse::<Name>().is_ok(), good, "{text:?}");
        };
        check("a", true);
        check("guest-a.eth_0", true);
        check(&"x".repeat(63), true);
        check(&"x".repeat(64), false);
        for wrong in ["", "*", "a b", "a/b", "naïve", "a\n"] {
            check(wrong, false);
        }
    }

    #[test]
    fn devices() {
        let check = |text: &str, good: bool| {
            assert_eq!(text.parse::<Device>().is_ok(), good, "{text:?}");
        };
        check("eth1", true);
        check("enp3s0f0np0.100", true);
        check("sixteen-bytes-xx", false);
        for wrong in ["", ".", "..", "a b", "a/b", "a:1", "a\u{7}", "a\u{a0}b"] {
            check(wrong, false);
        }
    }

    #[test]
    fn prefixes() {
        let check = |text: &str, expected: Result<(), InvalidIpPrefix>| {
            let read = text.parse::<IpPrefix>();
            assert_eq!(read.map(|_| ()), expected, "{text}");
            if let Ok(prefix) = read {
                assert_eq!(prefix.to_string(), text);
            }
        };
        check("10.0.0.1/24", Ok(()));
        check("fd00::1/64", Ok(()));
        check("10.0.0.1/33", Err(InvalidIpPrefix::Length));
        check("10.0.0.1", Err(InvalidIpPrefix::Length));
        check("10.0.0.1/+8", Err(InvalidIpPrefix::Length));
        check("10.0.0/24", Err(InvalidIpPrefix::Address));
        check("0.0.0.0/0", Err(InvalidIpPrefix::Group));
        check("ff02::1/64", Err(InvalidIpPrefix::Group));
    }
}
