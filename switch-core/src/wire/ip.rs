//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers, extension headers and fragments included.
//!
//! A header that lies about its length, that is cut short, or that hides what follows behind more
//! extension headers than anybody needs, is malformed: who decides by its fields must not guess.

use super::packet::Malformed;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Bytes of an IPv4 header without options.
pub const IPV4_SIZE: usize = 20;
/// Bytes of the IPv6 header.
pub const IPV6_SIZE: usize = 40;
/// Most extension headers of one packet. RFC 8200, 4.1, has an order with six of them.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// Protocol numbers (IANA) that decide where the transport header is.
pub mod protocol {
    /// IPv6 Hop-by-Hop Options.
    pub const HOP_BY_HOP: u8 = 0;
    /// Internet Control Message.
    pub const ICMP: u8 = 1;
    /// Transmission Control.
    pub const TCP: u8 = 6;
    /// User Datagram.
    pub const UDP: u8 = 17;
    /// IPv6 Routing header.
    pub const ROUTING: u8 = 43;
    /// IPv6 Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = 51;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// IPv6 Destination Options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Stream Control Transmission.
    pub const SCTP: u8 = 132;
}

/// Whether a packet is a part of another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// A whole packet; an IPv6 atomic fragment too (RFC 6946).
    #[default]
    No,
    /// The first part, which has the transport header.
    First,
    /// A further part, which has none.
    Later,
}

/// An IP header with all that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip {
    /// Source address; IPv4 in the lower 32 bits.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// DSCP and ECN: type of service, or traffic class.
    pub traffic_class: u8,
    /// What follows the last header that was understood.
    pub protocol: u8,
    /// Part of another packet?
    pub fragment: Fragment,
    /// Where the payload begins, from the IP header's first byte.
    pub payload_start: usize,
    /// Where it ends, Ethernet padding not included.
    pub payload_end: usize,
}

/// TCP fragments with this offset, in units of 8 bytes, would overwrite the flags that a filter has
/// let pass (RFC 1858, 3.2.2; RFC 3128).
const FLAGS_OFFSET: u16 = 1;

impl Ip {
    /// Reads an IPv4 header. `available` is how many bytes of the frame there are from here, of
    /// which `bytes` are at hand.
    ///
    /// # Errors
    /// When it is cut short or lies.
    #[inline]
    pub fn parse_v4(bytes: &[u8], available: usize) -> Result<Self, Malformed> {
        let header = bytes.first_chunk::<IPV4_SIZE>().ok_or(Malformed::Ip)?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let address = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let header_size = usize::from(header[0] & 0x0f) * 4;
        let total = usize::from(word(2));
        let honest = header[0] >> 4 == 4
            && header_size >= IPV4_SIZE
            && header_size <= total.min(bytes.len())
            && total <= available;
        if !honest {
            return Err(Malformed::Ip);
        }
        let (offset, more) = (word(6) & 0x1fff, word(6) & 0x2000 != 0);
        if offset == FLAGS_OFFSET && header[9] == protocol::TCP {
            return Err(Malformed::Fragment);
        }
        Ok(Self {
            source: address(12).into(),
            destination: address(16).into(),
            traffic_class: header[1],
            protocol: header[9],
            fragment: fragment(offset, more),
            payload_start: header_size,
            payload_end: total,
        })
    }

    /// Reads an IPv6 header and its extension headers, up to the transport header, the first that
    /// it does not know, or that of a later fragment.
    ///
    /// # Errors
    /// When a header is cut short or lies, or there are too many.
    #[inline]
    pub fn parse_v6(bytes: &[u8], available: usize) -> Result<Self, Malformed> {
        let header = bytes.first_chunk::<IPV6_SIZE>().ok_or(Malformed::Ip)?;
        let total = IPV6_SIZE + usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[0] >> 4 != 6 || total > available {
            return Err(Malformed::Ip);
        }
        let address = |at: usize| {
            let bytes = header[at..].first_chunk::<16>();
            bytes.map_or(0, |bytes| u128::from_be_bytes(*bytes))
        };
        let mut ip = Self {
            source: address(8),
            destination: address(24),
            traffic_class: header[0] << 4 | header[1] >> 4,
            protocol: header[6],
            fragment: Fragment::No,
            payload_start: IPV6_SIZE,
            payload_end: total,
        };
        ip.skip_extensions(&bytes[..bytes.len().min(total)])?;
        Ok(ip)
    }

    /// Moves on to the header behind the extension headers.
    fn skip_extensions(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        for position in 0..=MAX_EXTENSION_HEADERS {
            let unit = match self.protocol {
                protocol::HOP_BY_HOP if position > 0 => return Err(Malformed::Extension),
                protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => 8,
                protocol::AUTHENTICATION => 4,
                protocol::FRAGMENT => 0,
                _ => return Ok(()),
            };
            let rest = bytes.get(self.payload_start..).unwrap_or_default();
            let [next, length, o0, o1, ..] = *rest else {
                return Err(Malformed::Extension);
            };
            // RFC 8200, 4.3 to 4.6, counts units of 8 bytes behind the first; RFC 4302, 2.2, units
            // of 4 behind the first two. A fragment header is always 8 bytes.
            let size = 8 + usize::from(length) * unit;
            if rest.len() < size || position == MAX_EXTENSION_HEADERS {
                return Err(Malformed::Extension);
            }
            if self.protocol == protocol::FRAGMENT {
                self.enter_fragment(next, u16::from_be_bytes([o0, o1]))?;
            }
            self.protocol = next;
            self.payload_start += size;
            if self.fragment == Fragment::Later {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes note of a fragment header: 13 bits of offset, 2 reserved, 1 for more to come.
    fn enter_fragment(&mut self, next: u8, offset_and_more: u16) -> Result<(), Malformed> {
        let (offset, more) = (offset_and_more >> 3, offset_and_more & 1 != 0);
        let again = self.fragment != Fragment::No;
        if again || (offset == FLAGS_OFFSET && next == protocol::TCP) {
            return Err(Malformed::Fragment);
        }
        self.fragment = fragment(offset, more);
        Ok(())
    }
}

fn fragment(offset: u16, more: bool) -> Fragment {
    match (offset, more) {
        (0, false) => Fragment::No,
        (0, true) => Fragment::First,
        _ => Fragment::Later,
    }
}
