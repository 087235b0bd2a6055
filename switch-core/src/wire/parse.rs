//! The fields of a frame that the datapath decides on, read once.

use super::{
    ethernet::{ETHERNET_HEADER_SIZE, Mac},
    vlan::{TAG_SIZE, Tci, Tpid},
};

/// The layer 2 header of a frame, with at most one tag; a further tag shows in `ethertype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Destination address.
    pub destination: Mac,
    /// Source address.
    pub source: Mac,
    /// The outer tag, where the frame has one.
    pub tag: Option<Tag>,
    /// The EtherType or length behind the outer tag.
    pub ethertype: u16,
}

/// A VLAN tag as it stands in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag {
    /// Tag protocol.
    pub tpid: Tpid,
    /// Priority, drop eligibility, VID.
    pub tci: Tci,
}

/// The frame ends inside its Ethernet header or its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truncated;

impl Header {
    /// What an unused place in a burst's table holds.
    pub const EMPTY: Self = Self {
        destination: Mac::NULL,
        source: Mac::NULL,
        tag: None,
        ethertype: 0,
    };

    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    /// When there are too few bytes.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, Truncated> {
        let (header, rest) = bytes
            .split_first_chunk::<ETHERNET_HEADER_SIZE>()
            .ok_or(Truncated)?;
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = *header;
        let outer = u16::from_be_bytes([t0, t1]);
        let (tag, ethertype) = match Tpid::from_ethertype(outer) {
            None => (None, outer),
            Some(tpid) => {
                let [c0, c1, e0, e1] = *rest.first_chunk::<TAG_SIZE>().ok_or(Truncated)?;
                let tci = Tci(u16::from_be_bytes([c0, c1]));
                (Some(Tag { tpid, tci }), u16::from_be_bytes([e0, e1]))
            }
        };
        let destination = Mac([d0, d1, d2, d3, d4, d5]);
        Ok(Self {
            destination,
            source: Mac([s0, s1, s2, s3, s4, s5]),
            tag,
            ethertype,
        })
    }

    /// Whether another tag follows the outer one.
    #[must_use]
    #[inline]
    pub fn has_further_tag(&self) -> bool {
        self.tag.is_some() && Tpid::from_ethertype(self.ethertype).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    fn check(behind_macs: &[u8], expected: Result<(Option<Tag>, u16), Truncated>) {
        let bytes = [&MACS, behind_macs].concat();
        let header = Header::parse(&bytes);
        assert_eq!(
            header.map(|header| (header.tag, header.ethertype)),
            expected
        );
        if let Ok(header) = header {
            assert_eq!(header.destination, Mac([2, 0, 0, 0, 0, 1]));
            assert_eq!(header.source, Mac([2, 0, 0, 0, 0, 2]));
        }
    }

    #[test]
    fn tagged_and_untagged() {
        let tag = |tpid, tci| {
            Some(Tag {
                tpid,
                tci: Tci(tci),
            })
        };
        check(&[8, 0], Ok((None, 0x0800)));
        check(
            &[0x81, 0, 0xb0, 20, 8, 6],
            Ok((tag(Tpid::Customer, 0xb014), 0x0806)),
        );
        check(
            &[0x88, 0xa8, 0, 20, 0x81, 0, 0, 30],
            Ok((tag(Tpid::Service, 20), 0x8100)),
        );
        check(&[0x91, 0, 0, 20], Ok((None, 0x9100)));
    }

    #[test]
    fn truncated_at_every_length() {
        let bytes = [&MACS[..], &[0x81, 0, 0, 20, 8, 0]].concat();
        for length in 0..bytes.len() {
            assert_eq!(
                Header::parse(&bytes[..length]),
                Err(Truncated),
                "{length} bytes"
            );
        }
        check(
            &[0x81, 0, 0, 20, 8, 0],
            Header::parse(&bytes).map(|h| (h.tag, h.ethertype)),
        );
    }

    #[test]
    fn a_further_tag_is_seen() {
        let parse = |rest: &[u8]| Header::parse(&[&MACS, rest].concat()).expect("long enough");
        assert!(parse(&[0x81, 0, 0, 20, 0x81, 0]).has_further_tag());
        assert!(parse(&[0x88, 0xa8, 0, 20, 0x81, 0]).has_further_tag());
        assert!(parse(&[0x81, 0, 0, 20, 0x88, 0xa8]).has_further_tag());
        assert!(!parse(&[0x81, 0, 0, 20, 8, 0]).has_further_tag());
        assert!(!parse(&[8, 0]).has_further_tag());
    }
}
