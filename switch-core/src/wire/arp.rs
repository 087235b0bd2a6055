//! ARP for IPv4 over Ethernet (RFC 826), as far as a policy asks for it.

use super::{ethernet::Mac, packet::Malformed};

/// EtherType of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// Bytes of a message about IPv4 over Ethernet.
pub const ARP_SIZE: usize = 28;

/// Hardware type Ethernet, protocol type IPv4, and the lengths of their addresses.
const ETHERNET_AND_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 for a request, 2 for a reply (`ar$op`).
    pub operation: u16,
    /// Whose binding the message states: the hardware address (`ar$sha`).
    pub sender_mac: Mac,
    /// The protocol address that goes with it (`ar$spa`); 0.0.0.0 in a probe (RFC 5227).
    pub sender: [u8; 4],
    /// The protocol address that is asked for, or answered to (`ar$tpa`).
    pub target: [u8; 4],
}

impl Arp {
    /// Reads the message behind the Ethernet header.
    ///
    /// # Errors
    /// When it is too short, or not about IPv4 over Ethernet.
    #[inline]
    pub fn parse(payload: &[u8]) -> Result<Self, Malformed> {
        let bytes = payload.first_chunk::<ARP_SIZE>().ok_or(Malformed::Arp)?;
        let (kind, rest) = bytes.split_at(ETHERNET_AND_IPV4.len());
        if kind != ETHERNET_AND_IPV4 {
            return Err(Malformed::Arp);
        }
        let [o0, o1, m0, m1, m2, m3, m4, m5, s0, s1, s2, s3, ..] = *rest else {
            return Err(Malformed::Arp);
        };
        let target = rest.last_chunk::<4>().copied().ok_or(Malformed::Arp)?;
        Ok(Self {
            operation: u16::from_be_bytes([o0, o1]),
            sender_mac: Mac([m0, m1, m2, m3, m4, m5]),
            sender: [s0, s1, s2, s3],
            target,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; ARP_SIZE] = [
        0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2,
    ];

    #[test]
    fn a_request() {
        let expected = Arp {
            operation: 1,
            sender_mac: Mac([2, 0, 0, 0, 0, 1]),
            sender: [10, 0, 0, 1],
            target: [10, 0, 0, 2],
        };
        let padded = [&REQUEST[..], &[0; 18]].concat();
        assert_eq!(Arp::parse(&REQUEST), Ok(expected));
        assert_eq!(Arp::parse(&padded), Ok(expected));
    }

    #[test]
    fn truncated_at_every_length_and_of_another_kind() {
        for length in 0..ARP_SIZE {
            let parsed = Arp::parse(&REQUEST[..length]);
            assert_eq!(parsed, Err(Malformed::Arp), "{length} bytes");
        }
        for at in 0..ETHERNET_AND_IPV4.len() {
            let mut other = REQUEST;
            other[at] ^= 0x10;
            assert_eq!(Arp::parse(&other), Err(Malformed::Arp), "byte {at}");
        }
    }
}
