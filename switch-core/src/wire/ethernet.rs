//! MAC addresses (IEEE 802-2014, clause 8) and the header of an Ethernet frame (802.3, clause 3).

use std::{fmt, str::FromStr};

/// Bytes of the Ethernet header: destination, source, EtherType.
pub const ETHERNET_HEADER_SIZE: usize = 14;

/// A 48-bit MAC address, in transmission order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// The broadcast address, ff:ff:ff:ff:ff:ff.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// The null address, which no station has (802-2014, 8.2.2).
    pub const NULL: Self = Self([0; 6]);

    /// The null address.
    #[must_use]
    pub const fn is_null(self) -> bool {
        matches!(self.0, [0, 0, 0, 0, 0, 0])
    }

    /// The group bit: multicast and broadcast.
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// One of the addresses 01-80-C2-00-00-00 to -0F that a bridge does not relay
    /// (802.1Q-2022, Table 8-1): spanning tree, pause, LACP, 802.1X, LLDP.
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0x00, 0x00, last] if last < 0x10)
    }

    /// The address as a number below 2^48, first byte highest.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The address with this number; the upper 16 bits are not looked at.
    #[must_use]
    pub const fn from_u64(number: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = number.to_be_bytes();
        Self([a, b, c, d, e, f])
    }
}

/// A MAC address in a register: the first byte lowest, as a little-endian load leaves it, and the
/// upper 16 bits 0. What the datapath compares and hashes; [`Mac`] is for everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedMac(u64);

impl PackedMac {
    const MASK: u64 = (1 << 48) - 1;
    /// 01-80-C2-00-00-00, and the bits that all sixteen reserved addresses have in common.
    const RESERVED: u64 = 0x0000_00c2_8001;
    const RESERVED_MASK: u64 = 0xf0ff_ffff_ffff;

    /// The address in the first six of these bytes, the first byte lowest.
    #[must_use]
    #[inline]
    pub const fn from_le(bytes: u64) -> Self {
        Self(bytes & Self::MASK)
    }

    /// The number, below 2^48.
    #[must_use]
    #[inline]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// [`Mac::to_u64`]: the first byte highest.
    #[must_use]
    #[inline]
    pub const fn to_u64(self) -> u64 {
        self.0.swap_bytes() >> 16
    }

    /// [`Mac::is_group`].
    #[must_use]
    #[inline]
    pub const fn is_group(self) -> bool {
        self.0 & 1 != 0
    }

    /// All ones.
    #[must_use]
    #[inline]
    pub const fn is_broadcast(self) -> bool {
        self.0 == Self::MASK
    }

    /// Neither null nor a group address: one that a station can have.
    #[must_use]
    #[inline]
    pub const fn is_station(self) -> bool {
        !self.is_group() && self.0 != 0
    }

    /// [`Mac::is_reserved`].
    #[must_use]
    #[inline]
    pub const fn is_reserved(self) -> bool {
        self.0 & Self::RESERVED_MASK == Self::RESERVED
    }
}

impl From<Mac> for PackedMac {
    #[inline]
    fn from(Mac([a, b, c, d, e, f]): Mac) -> Self {
        Self(u64::from_le_bytes([a, b, c, d, e, f, 0, 0]))
    }
}

impl From<PackedMac> for Mac {
    #[inline]
    fn from(packed: PackedMac) -> Self {
        let [a, b, c, d, e, f, ..] = packed.0.to_le_bytes();
        Self([a, b, c, d, e, f])
    }
}

impl fmt::Display for PackedMac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Mac::from(*self), out)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// A text that is no MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address: six pairs of hex digits are expected, as in 52:54:00:12:34:56")]
pub struct InvalidMac;

impl FromStr for Mac {
    type Err = InvalidMac;

    /// Reads `52:54:00:12:34:56` or `52-54-00-12-34-56`.
    fn from_str(text: &str) -> Result<Self, InvalidMac> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut bytes = [0; 6];
        let mut parts = text.split(separator);
        for byte in &mut bytes {
            let part = parts.next().ok_or(InvalidMac)?;
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(InvalidMac);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| InvalidMac)?;
        }
        if parts.next().is_some() {
            Err(InvalidMac)
        } else {
            Ok(Self(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_number_name_the_same_address() {
        let check = |text: &str, expected: Option<[u8; 6]>| {
            let mac = text.parse::<Mac>().ok();
            assert_eq!(mac, expected.map(Mac), "{text}");
            if let Some(mac) = mac {
                assert_eq!(Mac::from_u64(mac.to_u64()), mac);
                assert_eq!(mac.to_string().parse(), Ok(mac));
            }
        };
        check("52:54:00:12:34:ab", Some([0x52, 0x54, 0, 0x12, 0x34, 0xab]));
        check("52-54-00-12-34-AB", Some([0x52, 0x54, 0, 0x12, 0x34, 0xab]));
        for wrong in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "5:254:00:12:34:56",
            "+1:00:00:00:00:00",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_packed_address_is_the_same_address() {
        let check = |bytes: [u8; 6]| {
            let mac = Mac(bytes);
            let packed = PackedMac::from(mac);
            assert_eq!(Mac::from(packed), mac);
            let [a, b, c, d, e, f] = bytes;
            let behind = u64::from_le_bytes([a, b, c, d, e, f, 0xff, 0xff]);
            assert_eq!(PackedMac::from_le(behind), packed, "{mac}");
            assert_eq!(
                packed.is_station(),
                !mac.is_null() && !mac.is_group(),
                "{mac}"
            );
            assert_eq!(packed.is_group(), mac.is_group(), "{mac}");
            assert_eq!(packed.to_u64(), mac.to_u64(), "{mac}");
            assert_eq!(packed.is_reserved(), mac.is_reserved(), "{mac}");
        };
        check([0; 6]);
        check([0xff; 6]);
        check([0x52, 0x54, 0, 0x12, 0x34, 0xab]);
        for last in 0..=255 {
            check([0x01, 0x80, 0xc2, 0, 0, last]);
        }
        for bit in 0..48 {
            check(Mac::from_u64(1 << bit).0);
            let flipped = 0x0180_c200_0005 ^ 1_u64 << bit;
            check(Mac::from_u64(flipped).0);
        }
    }

    #[test]
    fn groups_and_reserved_addresses() {
        assert!(Mac::BROADCAST.is_group() && !Mac::BROADCAST.is_reserved());
        assert!(Mac([0x01, 0x80, 0xc2, 0, 0, 0x0f]).is_reserved());
        assert!(!Mac([0x01, 0x80, 0xc2, 0, 0, 0x10]).is_reserved());
        assert!(!Mac([0x02, 0, 0, 0, 0, 1]).is_group());
    }
}
