//! What nearly every frame carries, read by few loads: a whole packet of TCP or UDP over IPv4
//! without options. [`Packet`](super::packet::Packet) says the same of it, and knows everything
//! else.

use super::{
    ethernet::{ETHERNET_HEADER_SIZE, PackedMac},
    ip::{ETHERTYPE_IPV4, IPV4_SIZE, protocol},
    l4::{TCP_SIZE, UDP_SIZE},
    parse::{Behind, addresses},
    vlan::{TAG_SIZE, Tpid},
};

/// A packet's fields, at layers 2 to 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ordinary {
    /// Destination MAC address.
    pub destination: PackedMac,
    /// Source MAC address.
    pub source: PackedMac,
    /// Priority code point of the outer tag; 0 without one.
    pub pcp: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// TCP or UDP.
    pub protocol: u8,
    /// TCP's flags; 0 of UDP.
    pub tcp_flags: u8,
    /// IP source in the upper half, destination in the lower one.
    pub addresses: u64,
    /// Source port in the upper half, destination port in the lower one.
    pub ports: u32,
}

/// EtherType, IP and the longer of both transport headers, whether or not the frame has that.
const SIZE: usize = ETHERTYPE_SIZE + IPV4_SIZE + TCP_SIZE;
const ETHERTYPE_SIZE: usize = 2;
/// IPv4, version 4, a header of 20 bytes.
const PLAIN_IPV4: u32 = (ETHERTYPE_IPV4 as u32) << 8 | 0x45;
/// The offset of a fragment, and whether there are more.
const FRAGMENT_BITS: u16 = 0x3fff;

impl Ordinary {
    /// Reads a frame, of which `head` are the bytes of the first segment and `size` those of all.
    /// None where it has anything else, or a mistake.
    #[must_use]
    #[inline(always)]
    pub fn read(head: &[u8], size: usize) -> Option<Self> {
        let start = head.first_chunk()?;
        let behind = Behind::addresses_of(start);
        let is_tagged = behind.is_tag_of(Tpid::Customer) || behind.is_tag_of(Tpid::Service);
        let tag_size = if is_tagged { TAG_SIZE } else { 0 };
        let tag = if is_tagged { behind.tag() } else { None };
        let header_size = ETHERNET_HEADER_SIZE + tag_size;
        let bytes = head.get(header_size - ETHERTYPE_SIZE..)?.first_chunk()?;
        let total = usize::from(u16_at(bytes, 4));
        if u32_at(bytes, 0) >> 8 != PLAIN_IPV4
            || u16_at(bytes, 8) & FRAGMENT_BITS != 0
            || total + header_size > size
        {
            return None;
        }
        // Of a lie about the total length nothing is left.
        let payload = total.saturating_sub(IPV4_SIZE);
        let kind = bytes[11];
        let (length, shortest, tcp_flags) = match kind {
            protocol::UDP => (usize::from(u16_at(bytes, 26)), UDP_SIZE, 0),
            protocol::TCP => (usize::from(bytes[34] >> 4) * 4, TCP_SIZE, bytes[35]),
            _ => return None,
        };
        if length < shortest || length > payload {
            return None;
        }
        let (destination, source) = addresses(start);
        Some(Self {
            destination,
            source,
            pcp: tag.map_or(0, |tag| (tag.tci().0 >> 13) as u8),
            traffic_class: bytes[3],
            protocol: kind,
            tcp_flags,
            addresses: u64::from_be_bytes(bytes_at(bytes, 14)),
            ports: u32_at(bytes, 22),
        })
    }

    /// The IP source address.
    #[must_use]
    #[inline]
    pub const fn source_address(&self) -> u32 {
        (self.addresses >> 32) as u32
    }

    /// The IP destination address.
    #[must_use]
    #[inline]
    pub const fn destination_address(&self) -> u32 {
        self.addresses as u32
    }

    /// The source port.
    #[must_use]
    #[inline]
    pub const fn source_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }

    /// The destination port.
    #[must_use]
    #[inline]
    pub const fn destination_port(&self) -> u16 {
        self.ports as u16
    }
}

#[inline(always)]
fn bytes_at<const N: usize>(bytes: &[u8; SIZE], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("at a constant place")
}

#[inline(always)]
fn u16_at(bytes: &[u8; SIZE], at: usize) -> u16 {
    u16::from_be_bytes(bytes_at(bytes, at))
}

#[inline(always)]
fn u32_at(bytes: &[u8; SIZE], at: usize) -> u32 {
    u32::from_be_bytes(bytes_at(bytes, at))
}

#[cfg(test)]
#[path = "ordinary_tests.rs"]
mod tests;
