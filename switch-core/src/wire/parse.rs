//! The fields of a frame that the datapath decides on, read once.

use std::num::NonZero;

use super::{
    ethernet::{ETHERNET_HEADER_SIZE, PackedMac},
    vlan::{TAG_SIZE, Tci, Tpid},
};

/// The layer 2 header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Destination address.
    pub destination: PackedMac,
    /// Source address.
    pub source: PackedMac,
    /// The outer tag, where the frame has one.
    pub tag: Option<Tag>,
}

/// The outer VLAN tag, and whether it hides another one. One word, since every frame carries it
/// through all stages: the tag's four bytes as a little-endian load leaves them, and a bit that is
/// 0 in either TPID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(NonZero<u32>);

const _: () = assert!((Tpid::Customer.to_wire() | Tpid::Service.to_wire()) & 1 << 8 == 0);

impl Tag {
    const HIDES_ANOTHER: u32 = 1 << 8;
    /// PCP and DEI: the upper half of the third byte.
    const PRIORITY: u32 = 0x00f0_0000;

    /// The tag of these fields.
    #[must_use]
    #[inline]
    pub const fn new(tpid: Tpid, tci: Tci, hides_another: bool) -> Self {
        let hides = if hides_another {
            Self::HIDES_ANOTHER
        } else {
            0
        };
        let wire = tpid.to_wire() as u32 | (tci.0.swap_bytes() as u32) << 16;
        Self(NonZero::new(wire | hides).expect("no TPID is 0"))
    }

    /// The four bytes that stand for it in a frame.
    #[must_use]
    #[inline]
    pub const fn to_bytes(self) -> [u8; TAG_SIZE] {
        (self.0.get() & !Self::HIDES_ANOTHER).to_le_bytes()
    }

    /// The same TPID and VID with the PCP and DEI of another tag besides those that it has.
    #[must_use]
    #[inline]
    pub fn with_priority_of(self, other: Self) -> Self {
        Self(self.0 | other.0.get() & Self::PRIORITY)
    }

    /// Whether this is the tag's protocol.
    #[must_use]
    #[inline]
    pub const fn is_of(self, tpid: Tpid) -> bool {
        (self.0.get() & !Self::HIDES_ANOTHER) as u16 == tpid.to_wire()
    }

    /// The same tag in front of another one.
    #[cold]
    #[inline(never)]
    fn hiding_another(self) -> Self {
        Self(self.0 | Self::HIDES_ANOTHER)
    }

    /// Tag protocol.
    #[must_use]
    #[inline]
    pub const fn tpid(self) -> Tpid {
        if self.is_of(Tpid::Customer) {
            Tpid::Customer
        } else {
            Tpid::Service
        }
    }

    /// Priority, drop eligibility, VID.
    #[must_use]
    #[inline]
    pub const fn tci(self) -> Tci {
        Tci(((self.0.get() >> 16) as u16).swap_bytes())
    }

    /// Whether another tag follows.
    #[must_use]
    #[inline]
    pub const fn hides_another(self) -> bool {
        self.0.get() & Self::HIDES_ANOTHER != 0
    }
}

/// The frame ends inside its Ethernet header or its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

impl Header {
    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    /// When there are too few bytes.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, Truncated> {
        let (header, rest) = bytes
            .split_first_chunk::<ETHERNET_HEADER_SIZE>()
            .ok_or(Truncated)?;
        // Two loads that overlap: destination and two bytes more, source and the EtherType.
        let [low @ .., _, _, _, _, _, _] = header;
        let [_, _, _, _, _, _, high @ ..] = header;
        let high = u64::from_le_bytes(*high);
        let ethertype = (high >> 48) as u16;
        let tag = match Tpid::from_wire(ethertype) {
            None => None,
            Some(_) => Some(tag_of(ethertype, rest)?),
        };
        Ok(Self {
            destination: PackedMac::from_le(u64::from_le_bytes(*low)),
            source: PackedMac::from_le(high),
            tag,
        })
    }
}

#[inline]
fn tag_of(tpid: u16, behind_tpid: &[u8]) -> Result<Tag, Truncated> {
    let behind = u32::from_le_bytes(*behind_tpid.first_chunk::<TAG_SIZE>().ok_or(Truncated)?);
    let tag = NonZero::new(u32::from(tpid) | behind << 16).map(Tag);
    let tag = tag.ok_or(Truncated)?;
    Ok(match Tpid::from_wire((behind >> 16) as u16) {
        None => tag,
        Some(_) => tag.hiding_another(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ethernet::Mac;

    const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn check(behind_macs: &[u8], expected: Result<Option<Tag>, Truncated>) {
        let bytes = [&MACS, behind_macs].concat();
        let header = Header::parse(&bytes);
        assert_eq!(header.map(|header| header.tag), expected);
        if let Ok(header) = header {
            assert_eq!(Mac::from(header.destination), Mac([2, 0, 0, 0, 0, 1]));
            assert_eq!(Mac::from(header.source), Mac([2, 0, 0, 0, 0, 2]));
        }
    }

    #[test]
    fn tagged_and_untagged() {
        let tag = |tpid, tci, hides| Ok(Some(Tag::new(tpid, Tci(tci), hides)));
        check(&[8, 0], Ok(None));
        check(&[0x91, 0, 0, 20], Ok(None));
        check(&[0x00, 0x81, 0, 20], Ok(None));
        check(
            &[0x81, 0, 0xb0, 20, 8, 6],
            tag(Tpid::Customer, 0xb014, false),
        );
        check(
            &[0x88, 0xa8, 0, 20, 0x81, 0, 0, 30],
            tag(Tpid::Service, 20, true),
        );
        check(&[0x81, 0, 0, 20, 0x88, 0xa8], tag(Tpid::Customer, 20, true));
        check(&[0x81, 0, 0, 20, 0x81, 0], tag(Tpid::Customer, 20, true));
    }

    #[test]
    fn truncated_at_every_length() {
        let bytes = [&MACS[..], &[0x81, 0, 0, 20, 8, 0]].concat();
        for length in 0..bytes.len() {
            let header = Header::parse(&bytes[..length]);
            assert_eq!(header, Err(Truncated), "{length} bytes");
        }
        assert!(Header::parse(&bytes).is_ok());
    }

    #[test]
    fn a_tag_keeps_its_fields() {
        for tpid in [Tpid::Customer, Tpid::Service] {
            for tci in [0, 1, 0x8000, 0xffff] {
                for hides in [false, true] {
                    let tag = Tag::new(tpid, Tci(tci), hides);
                    let fields = (tag.tpid(), tag.tci().0, tag.hides_another());
                    assert_eq!(fields, (tpid, tci, hides));
                    assert!(tag.is_of(tpid));
                    let ([p0, p1], [c0, c1]) = ((tpid as u16).to_be_bytes(), tci.to_be_bytes());
                    assert_eq!(tag.to_bytes(), [p0, p1, c0, c1]);
                    let other = Tag::new(Tpid::Customer, Tci(0x5abc), false);
                    let expected = Tci(tci & 0x0fff | 0x5000);
                    let lowest = Tag::new(tpid, Tci(tci & 0x0fff), hides);
                    let both = lowest.with_priority_of(other);
                    assert_eq!(both, Tag::new(tpid, expected, hides));
                }
            }
        }
    }
}
