//! The layer 2 header as a policy asks for it: read apart from what every frame is asked.

use super::{
    ethernet::{ETHERNET_HEADER_SIZE, PackedMac},
    parse::{Header, Tag, Truncated},
    vlan::{TAG_SIZE, Tpid},
};

/// The layer 2 header of a frame, with its EtherType.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer2 {
    /// Destination address.
    pub destination: PackedMac,
    /// Source address.
    pub source: PackedMac,
    /// The outer tag, where the frame has one.
    pub tag: Option<Tag>,
    /// The EtherType behind the outer tag, or a length; a further tag's TPID is one, too.
    pub ethertype: u16,
}

impl Layer2 {
    /// Reads the header at the start of `bytes`.
    ///
    /// # Errors
    /// When there are too few bytes.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Self, Truncated> {
        let header = Header::parse(bytes)?;
        let size = size_with(header.tag);
        let ethertype = bytes.get(size - 2..size).and_then(<[u8]>::first_chunk);
        Ok(Self {
            destination: header.destination,
            source: header.source,
            tag: header.tag,
            ethertype: u16::from_be_bytes(*ethertype.ok_or(Truncated)?),
        })
    }

    /// Bytes of the header.
    #[must_use]
    #[inline]
    pub const fn size(&self) -> usize {
        size_with(self.tag)
    }

    /// Whether another tag follows the outer one.
    #[must_use]
    #[inline]
    pub const fn has_further_tag(&self) -> bool {
        self.tag.is_some() && Tpid::from_ethertype(self.ethertype).is_some()
    }

    /// What of these bytes, the frame's first, is behind the header.
    #[must_use]
    #[inline]
    pub fn payload<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        bytes.get(self.size()..).unwrap_or_default()
    }
}

const fn size_with(tag: Option<Tag>) -> usize {
    match tag {
        Some(_) => ETHERNET_HEADER_SIZE + TAG_SIZE,
        None => ETHERNET_HEADER_SIZE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ethernet::Mac;

    const MACS: [u8; 12] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];

    #[test]
    fn the_ethertype_is_the_one_behind_the_outer_tag() {
        let check = |behind_macs: &[u8], ethertype: u16, size: usize, further: bool| {
            let bytes = [&MACS, behind_macs].concat();
            let header = Layer2::parse(&bytes).expect("a whole header");
            assert_eq!(header.source, Mac([2, 0, 0, 0, 0, 2]).into());
            assert_eq!(header.destination, Mac([2, 0, 0, 0, 0, 1]).into());
            assert_eq!((header.ethertype, header.size()), (ethertype, size));
            assert_eq!(header.payload(&bytes), &bytes[size..]);
            assert_eq!(header.has_further_tag(), further);
            for length in 0..size {
                assert_eq!(Layer2::parse(&bytes[..length]), Err(Truncated));
            }
        };
        check(&[8, 6, 1, 2], 0x0806, 14, false);
        check(&[0x81, 0, 0, 20, 0x86, 0xdd, 1], 0x86dd, 18, false);
        check(&[0x81, 0, 0, 20, 0x88, 0xa8, 0, 1], 0x88a8, 18, true);
    }
}
