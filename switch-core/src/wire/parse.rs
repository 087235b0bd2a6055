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

/// The outer VLAN tag as it stands in the frame, and whether it hides another one. One word, since
/// every frame carries it through all stages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(NonZero<u32>);

impl Tag {
    const PRESENT: NonZero<u32> = NonZero::new(1 << 31).unwrap();
    const SERVICE: u32 = 1 << 30;
    const HIDES_ANOTHER: u32 = 1 << 29;

    /// The tag of these fields.
    #[must_use]
    #[inline]
    pub const fn new(tpid: Tpid, tci: Tci, hides_another: bool) -> Self {
        let service = match tpid {
            Tpid::Customer => 0,
            Tpid::Service => Self::SERVICE,
        };
        let hides = if hides_another {
            Self::HIDES_ANOTHER
        } else {
            0
        };
        Self(NonZero::new(Self::PRESENT.get() | service | hides | tci.0 as u32).unwrap())
    }

    /// Tag protocol.
    #[must_use]
    #[inline]
    pub const fn tpid(self) -> Tpid {
        if self.0.get() & Self::SERVICE == 0 {
            Tpid::Customer
        } else {
            Tpid::Service
        }
    }

    /// Priority, drop eligibility, VID.
    #[must_use]
    #[inline]
    pub const fn tci(self) -> Tci {
        Tci(self.0.get() as u16)
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
        let tag = match Tpid::from_wire((high >> 48) as u16) {
            None => None,
            Some(tpid) => Some(tag_of(tpid, rest)?),
        };
        Ok(Self {
            destination: PackedMac::from_le(u64::from_le_bytes(*low)),
            source: PackedMac::from_le(high),
            tag,
        })
    }
}

#[inline]
fn tag_of(tpid: Tpid, behind_tpid: &[u8]) -> Result<Tag, Truncated> {
    let [c0, c1, e0, e1] = *behind_tpid.first_chunk::<TAG_SIZE>().ok_or(Truncated)?;
    let tci = Tci(u16::from_be_bytes([c0, c1]));
    let next = Tpid::from_wire(u16::from_le_bytes([e0, e1]));
    Ok(Tag::new(tpid, tci, next.is_some()))
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
                }
            }
        }
    }
}
