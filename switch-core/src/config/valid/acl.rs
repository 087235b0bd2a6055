//! Access control lists that are valid: every set and network that they name exists, and no rule
//! contradicts itself.

use std::{fmt, net::IpAddr};

use super::Name;
pub use crate::acl::list::Action;
use crate::qos::classes::Class;

/// `[[acl]]`: rules in order, of which the first that allows or denies decides.
#[derive(Clone, Debug)]
pub struct Acl {
    /// The name, unique among lists.
    pub name: Name,
    /// What is done with a frame that no rule decides about: it is allowed or denied.
    pub default: Action,
    /// In their order.
    pub rules: Vec<Rule>,
    /// The line of its header in the file, from 1.
    pub line: usize,
}

impl PartialEq for Acl {
    /// A list that only stands elsewhere in the file is the same.
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.default, &self.rules) == (&other.name, other.default, &other.rules)
    }
}

impl Eq for Acl {}

/// `[[acl.rule]]`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The name, unique in its list.
    pub name: Option<Name>,
    /// What it does.
    pub action: Action,
    /// What it says, in one line.
    pub text: String,
    /// The line of its header in the file, from 1.
    pub line: usize,
    /// The frames that it is about.
    pub matches: Match,
    /// What it does besides.
    pub acts: Acts,
}

/// What a rule does with a frame besides allowing or counting it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acts {
    /// Gives it this traffic class.
    pub class: Option<Class>,
    /// Measures it by a policer of this rule alone.
    pub police: Option<Name>,
    /// Writes this into its tag where it leaves with one.
    pub mark_pcp: Option<u8>,
    /// Writes this into its packet where it leaves.
    pub mark_dscp: Option<u8>,
}

impl PartialEq for Rule {
    /// A rule that only stands elsewhere in the file is the same.
    fn eq(&self, other: &Self) -> bool {
        let key = |rule: &Self| (rule.name.clone(), rule.action);
        let same = key(self) == key(other) && self.text == other.text;
        same && self.matches == other.matches && self.acts == other.acts
    }
}

impl Eq for Rule {}

/// Conditions, all of which a frame meets. An empty list is no condition; of a list that is not
/// empty, one element is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// Source MAC address.
    pub source_mac: Vec<MacPattern>,
    /// Destination MAC address.
    pub destination_mac: Vec<MacPattern>,
    /// Protocols that addresses and other conditions are about; none: of any kind.
    pub families: Option<Families>,
    /// EtherTypes without conditions about addresses.
    pub ethertype: Vec<NumberRange>,
    /// Networks.
    pub networks: Vec<Name>,
    /// Priority code points.
    pub pcp: Vec<NumberRange>,
    /// ARP operations.
    pub arp_operation: Vec<NumberRange>,
    /// Source or sender addresses.
    pub source: Vec<Addresses>,
    /// Destination or target addresses.
    pub destination: Vec<Addresses>,
    /// IP protocols.
    pub protocol: Vec<Protocol>,
    /// Ports, ICMP and TCP flags: what only the transport header says.
    pub transport: TransportMatch,
    /// Differentiated services code points.
    pub dscp: Vec<NumberRange>,
    /// Fragments.
    pub fragment: Option<Fragments>,
}

/// Conditions on the transport header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportMatch {
    /// Source ports or ICMP types.
    pub source: Vec<NumberRange>,
    /// Destination ports or ICMP codes.
    pub destination: Vec<NumberRange>,
    /// TCP flags.
    pub tcp_flags: Option<TcpFlags>,
}

impl TransportMatch {
    /// Whether there is any.
    #[must_use]
    pub fn any(&self) -> bool {
        !self.source.is_empty() || !self.destination.is_empty() || self.tcp_flags.is_some()
    }
}

/// What a rule with conditions about addresses and the like is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Families {
    /// IPv4.
    pub ipv4: bool,
    /// IPv6.
    pub ipv6: bool,
    /// ARP.
    pub arp: bool,
}

impl Families {
    /// What both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            ipv4: self.ipv4 && other.ipv4,
            ipv6: self.ipv6 && other.ipv6,
            arp: self.arp && other.arp,
        }
    }

    /// None at all.
    #[must_use]
    pub const fn is_none(self) -> bool {
        !self.ipv4 && !self.ipv6 && !self.arp
    }
}

/// MAC addresses of which some bits are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MacPattern {
    /// The bits, first byte highest; 0 where the mask is.
    pub address: u64,
    /// The bits that count.
    pub mask: u64,
}

/// Numbers from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NumberRange {
    /// The smallest.
    pub first: u16,
    /// The largest.
    pub last: u16,
}

impl NumberRange {
    /// The numbers between two, both included.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Self {
        Self { first, last }
    }
}

impl From<u16> for NumberRange {
    fn from(number: u16) -> Self {
        Self::new(number, number)
    }
}

/// IP protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protocol(pub NumberRange);

/// Addresses: a prefix, or a set that may be shared by many rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// All with this prefix.
    Prefix(Prefix),
    /// All of this set, by its position in [`super::Config::address_sets`].
    Set(usize),
}

/// `[[address_set]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressSet {
    /// The name, unique among sets of addresses.
    pub name: Name,
    /// What is in it.
    pub prefixes: Vec<Prefix>,
}

/// Which fragments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragments {
    /// Whole packets.
    No,
    /// The first part of a packet.
    First,
    /// A further part, without a transport header.
    Later,
    /// First and later parts.
    Any,
}

/// Which TCP flags have to be set or clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags {
    /// The bits that count, FIN lowest.
    pub mask: u8,
    /// What they are.
    pub value: u8,
}

impl TcpFlags {
    /// The names, lowest bit first (RFC 9293, 3.1).
    pub const NAMES: [&'static str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
}

/// An IP prefix without bits behind its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    length: u8,
}

impl Prefix {
    /// The prefix of this length.
    ///
    /// # Errors
    /// When bits behind the length are set; gives the prefix without them.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, Self> {
        let clean = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                IpAddr::V4((v4.to_bits() & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                IpAddr::V6((v6.to_bits() & mask).into())
            }
        };
        let prefix = Self {
            address: clean,
            length,
        };
        if clean == address {
            Ok(prefix)
        } else {
            Err(prefix)
        }
    }

    /// Whether it is one of IPv4.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// Its first and its last address as numbers, IPv4 in the lower 32 bits.
    #[must_use]
    pub fn bounds(&self) -> (u128, u128) {
        let (first, size) = match self.address {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()), 32),
            IpAddr::V6(v6) => (v6.to_bits(), 128),
        };
        let host = size - u32::from(self.length);
        let more = u128::MAX.checked_shr(128 - host).unwrap_or(0);
        (first, first | more)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        let check = |text: &str, length: u8, first: u128, last: u128| {
            let prefix = Prefix::new(text.parse().expect("an address"), length).expect("clean");
            assert_eq!(prefix.bounds(), (first, last), "{text}/{length}");
        };
        check("0.0.0.0", 0, 0, 0xffff_ffff);
        check("10.0.0.0", 8, 0x0a00_0000, 0x0aff_ffff);
        check("10.1.2.3", 32, 0x0a01_0203, 0x0a01_0203);
        check("::", 0, 0, u128::MAX);
        check("fd00::", 8, 0xfd << 120, (0xfe << 120) - 1);
        check("fd00::1", 128, (0xfd << 120) + 1, (0xfd << 120) + 1);
        let wrong = Prefix::new("10.0.0.1".parse().expect("an address"), 24);
        assert_eq!(
            wrong.map_err(|right| right.to_string()),
            Err("10.0.0.0/24".into())
        );
    }
}
