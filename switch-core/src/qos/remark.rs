//! Marking: what the next switch is told of a frame's class, in its tag and in its IP header.

use std::sync::Arc;

use super::classes::{Class, ClassMap, ClassSource};
use crate::wire::ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV4_SIZE, IPV6_SIZE};

/// What is written into the frames that leave by a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MarkRules {
    /// The PCP of tags.
    pub pcp: bool,
    /// The DSCP of IPv4 and IPv6 headers.
    pub dscp: bool,
    /// The values for each class.
    pub map: Arc<ClassMap>,
}

impl MarkRules {
    /// Whether anything is written.
    #[must_use]
    pub fn write_something(&self) -> bool {
        self.pcp || self.dscp
    }

    /// What is written.
    #[must_use]
    pub fn places(&self) -> [Option<ClassSource>; 2] {
        [
            self.pcp.then_some(ClassSource::Pcp),
            self.dscp.then_some(ClassSource::Dscp),
        ]
    }

    /// The PCP for the tag of a frame of this class, if it is to be written.
    #[must_use]
    #[inline]
    pub fn pcp(&self, class: Class) -> Option<u8> {
        self.pcp.then(|| self.map.to_pcp[class.index()])
    }

    /// The DSCP for the packet in a frame of this class, if it is to be written.
    #[must_use]
    #[inline]
    pub fn dscp(&self, class: Class) -> Option<u8> {
        self.dscp.then(|| self.map.to_dscp[class.index()])
    }
}

/// Writes a DSCP into the IP header at the start of `bytes`, if there is one, and keeps its ECN
/// bits and its checksum right.
#[inline]
pub fn set_dscp(ethertype: u16, bytes: &mut [u8], dscp: u8) {
    match (ethertype, bytes.first().map(|first| first >> 4)) {
        (ETHERTYPE_IPV4, Some(4)) => {
            let Some(header) = bytes.first_chunk_mut::<IPV4_SIZE>() else {
                return;
            };
            let before = u16::from_be_bytes([header[0], header[1]]);
            header[1] = dscp << 2 | header[1] & 3;
            let after = u16::from_be_bytes([header[0], header[1]]);
            let checksum = u16::from_be_bytes([header[10], header[11]]);
            let [high, low] = updated(checksum, before, after).to_be_bytes();
            (header[10], header[11]) = (high, low);
        }
        (ETHERTYPE_IPV6, Some(6)) => {
            let Some(header) = bytes.first_chunk_mut::<IPV6_SIZE>() else {
                return;
            };
            // The version, the traffic class of 8 bits, and the flow label.
            header[0] = 0x60 | dscp >> 2;
            header[1] = dscp << 6 | header[1] & 0x3f;
        }
        _ => {}
    }
}

/// A checksum after one word of what it is over has changed (RFC 1624, 3, equation 3).
#[inline]
fn updated(checksum: u16, before: u16, after: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of all words of a header (RFC 1071), which is 0xffff when its checksum is right.
    fn sum(header: &[u8]) -> u16 {
        let words = header
            .chunks_exact(2)
            .map(|word| u16::from_be_bytes([word[0], word[1]]));
        let sum: u32 = words.map(u32::from).sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        ((sum & 0xffff) + (sum >> 16)) as u16
    }

    #[test]
    fn the_checksum_of_ipv4_stays_right_for_every_value() {
        for identification in [0_u16, 1, 0x7fff, 0xfffe, 0xffff, 0x1234] {
            for tos in 0..=255_u8 {
                let mut header = [
                    0x45, tos, 0, 20, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
                ];
                header[4..6].copy_from_slice(&identification.to_be_bytes());
                let checksum = (!sum(&header)).to_be_bytes();
                header[10..12].copy_from_slice(&checksum);
                for dscp in 0..64 {
                    let mut marked = header;
                    set_dscp(ETHERTYPE_IPV4, &mut marked, dscp);
                    assert_eq!(marked[1], dscp << 2 | tos & 3, "DSCP and ECN");
                    assert_eq!(sum(&marked), 0xffff, "{tos} {dscp} {identification}");
                }
            }
        }
    }

    #[test]
    fn ipv6_keeps_its_ecn_and_flow_label() {
        let mut header = [0xff; IPV6_SIZE];
        header[0] = 0x6f;
        set_dscp(ETHERTYPE_IPV6, &mut header, 46);
        assert_eq!(header[..4], [0x6b, 0xbf, 0xff, 0xff]);
        set_dscp(ETHERTYPE_IPV6, &mut header, 0);
        assert_eq!(header[..4], [0x60, 0x3f, 0xff, 0xff]);
    }

    #[test]
    fn what_has_no_ip_header_stays_as_it_is() {
        for (ethertype, bytes) in [
            (ETHERTYPE_IPV4, &[0x65; 40][..]),
            (ETHERTYPE_IPV4, &[0x45; 19]),
            (ETHERTYPE_IPV6, &[0x60; 39]),
            (0x0806, &[0x45; 40]),
            (ETHERTYPE_IPV4, &[]),
        ] {
            let mut marked = bytes.to_vec();
            set_dscp(ethertype, &mut marked, 46);
            assert_eq!(marked, bytes);
        }
    }
}
