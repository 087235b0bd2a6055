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

/// The outer VLAN tag. One word, since every frame carries it through all stages: the tag's four
/// bytes as a little-endian load leaves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(NonZero<u32>);

/// Bytes of the header of a tagged frame: addresses, outer tag, and the EtherType behind it.
pub const TAGGED_HEADER_SIZE: usize = ETHERNET_HEADER_SIZE + TAG_SIZE;

const _: () = assert!((Tpid::Customer.to_wire() & Tpid::Service.to_wire()) & 1 << 7 != 0);

impl Tag {
    /// PCP and DEI: the upper half of the third byte.
    const PRIORITY: u32 = 0x00f0_0000;
    /// A bit that every TPID has, so that no tag is 0.
    const ALWAYS: NonZero<u32> = NonZero::new(1 << 7).expect("not 0");

    /// The tag of these fields.
    #[must_use]
    #[inline]
    pub const fn new(tpid: Tpid, tci: Tci) -> Self {
        let wire = tpid.to_wire() as u32 | (tci.0.swap_bytes() as u32) << 16;
        Self(NonZero::new(wire).expect("no TPID is 0"))
    }

    /// The four bytes that stand for it in a frame.
    #[must_use]
    #[inline]
    pub const fn to_bytes(self) -> [u8; TAG_SIZE] {
        self.0.get().to_le_bytes()
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
        self.0.get() as u16 == tpid.to_wire()
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
        Tci(self.0.get().swap_bytes() as u16)
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
        match bytes.first_chunk() {
            Some(start) => Ok(Self::of(start)),
            None => Self::parse_short(bytes),
        }
    }

    /// The header at the start of a frame that has room for a tag.
    #[must_use]
    #[inline]
    pub fn of(start: &[u8; TAGGED_HEADER_SIZE]) -> Self {
        let (destination, source) = addresses(start);
        let behind = Behind::addresses_of(start);
        let tpid = Tpid::from_wire(behind.0 as u16);
        Self {
            destination,
            source,
            tag: tpid.map(|_| Tag(Tag::ALWAYS | behind.0)),
        }
    }

    #[cold]
    fn parse_short(bytes: &[u8]) -> Result<Self, Truncated> {
        let mut start = [0; TAGGED_HEADER_SIZE];
        start[..bytes.len()].copy_from_slice(bytes);
        let header = Self::of(&start);
        if bytes.len() < ETHERNET_HEADER_SIZE || header.tag.is_some() {
            return Err(Truncated);
        }
        Ok(header)
    }
}

/// Destination and source at the start of a frame.
#[must_use]
#[inline]
pub fn addresses(start: &[u8; TAGGED_HEADER_SIZE]) -> (PackedMac, PackedMac) {
    // Two loads that overlap: destination and two bytes behind it, source and two before it.
    let [low @ .., _, _, _, _, _, _, _, _, _, _] = start;
    let [_, _, _, _, high @ .., _, _, _, _, _, _] = start;
    let source = PackedMac::from_le(u64::from_le_bytes(*high) >> 16);
    (PackedMac::from_le(u64::from_le_bytes(*low)), source)
}

/// The four bytes behind the addresses, of which nobody has said yet whether they are a tag. For
/// those who know which protocol to expect: to ask for that first is cheaper than to tell all
/// apart.
#[derive(Clone, Copy, Debug)]
pub struct Behind(u32);

impl Behind {
    /// Those of a frame that starts so.
    #[must_use]
    #[inline]
    pub fn addresses_of(start: &[u8; TAGGED_HEADER_SIZE]) -> Self {
        // One load: bytes named one by one would be put together again where they are used.
        let [_, _, _, _, _, _, _, _, _, _, _, _, behind @ .., _, _] = start;
        Self(u32::from_le_bytes(*behind))
    }

    /// Whether they are a tag of this protocol.
    #[must_use]
    #[inline]
    pub const fn is_tag_of(self, tpid: Tpid) -> bool {
        self.0 as u16 == tpid.to_wire()
    }

    /// The twelve VID bits, if they are a tag.
    #[must_use]
    #[inline]
    pub const fn vid_bits(self) -> u16 {
        (self.0.swap_bytes() & 0xfff) as u16
    }

    /// The tag that they are; to be asked after [`is_tag_of`](Self::is_tag_of).
    #[must_use]
    #[inline]
    pub fn tag(self) -> Option<Tag> {
        NonZero::new(self.0).map(Tag)
    }
}

/// Whether another tag follows the outer one of a tagged frame.
#[must_use]
#[inline]
pub fn hides_another(header: &[u8; TAGGED_HEADER_SIZE]) -> bool {
    let [.., a, b] = *header;
    Tpid::from_wire(u16::from_le_bytes([a, b])).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ethernet::Mac;

    const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn check(behind_macs: &[u8], expected: Result<Option<(Tag, bool)>, Truncated>) {
        let bytes = [&MACS, behind_macs].concat();
        let header = Header::parse(&bytes);
        let with_hidden = |tag| {
            (
                tag,
                hides_another(bytes.first_chunk().expect("it is tagged")),
            )
        };
        assert_eq!(header.map(|header| header.tag.map(with_hidden)), expected);
        if let Ok(header) = header {
            assert_eq!(Mac::from(header.destination), Mac([2, 0, 0, 0, 0, 1]));
            assert_eq!(Mac::from(header.source), Mac([2, 0, 0, 0, 0, 2]));
        }
    }

    #[test]
    fn tagged_and_untagged() {
        let tag = |tpid, tci, hides| Ok(Some((Tag::new(tpid, Tci(tci)), hides)));
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
    fn what_is_behind_the_addresses_is_a_tag_of_one_protocol() {
        for behind_macs in [
            [8, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0],
            [0x91, 0, 0, 20, 8, 0],
            [0x81, 0, 0xb0, 20, 8, 6],
            [0x88, 0xa8, 0, 20, 0x81, 0],
            [0x00, 0x81, 0, 20, 8, 0],
        ] {
            let bytes = [&MACS[..], &behind_macs].concat();
            let header = Header::parse(&bytes).expect("long enough");
            let behind = Behind::addresses_of(bytes.first_chunk().expect("long enough"));
            for tpid in [Tpid::Customer, Tpid::Service] {
                let tag = header.tag.filter(|tag| tag.is_of(tpid));
                assert_eq!(behind.is_tag_of(tpid), tag.is_some(), "{behind_macs:x?}");
                if let Some(tag) = tag {
                    assert_eq!(behind.tag(), Some(tag));
                    assert_eq!(behind.vid_bits(), tag.tci().vid_bits());
                }
            }
        }
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
                let tag = Tag::new(tpid, Tci(tci));
                assert_eq!((tag.tpid(), tag.tci().0), (tpid, tci));
                assert!(tag.is_of(tpid));
                let ([p0, p1], [c0, c1]) = ((tpid as u16).to_be_bytes(), tci.to_be_bytes());
                assert_eq!(tag.to_bytes(), [p0, p1, c0, c1]);
                let other = Tag::new(Tpid::Customer, Tci(0x5abc));
                let expected = Tci(tci & 0x0fff | 0x5000);
                let lowest = Tag::new(tpid, Tci(tci & 0x0fff));
                let both = lowest.with_priority_of(other);
                assert_eq!(both, Tag::new(tpid, expected));
            }
        }
    }
}
