//! From a frame as it was to leave back to the frame as it came.

use switch_core::{
    config::snapshot::{EgressTag, Ruleset},
    limits::PortIndex,
    wire::{
        layer2::Layer2,
        parse::Tag,
        vlan::{TAG_SIZE, Tci, Vid},
    },
};

/// A frame as it came in, if this is how it was to leave by another port: with the tag that its
/// network has at the port where it came in.
pub fn as_it_came(
    rules: &Ruleset,
    (from, to): (PortIndex, PortIndex),
    bytes: &[u8],
) -> Option<Vec<u8>> {
    if from == to {
        return None;
    }
    let (from, to) = (rules.port(from)?, rules.port(to)?);
    let tag = Layer2::parse(bytes).ok()?.tag;
    let left = match tag {
        Some(tag) => EgressTag::Tagged(Vid::new(tag.tci().vid_bits()).ok()?),
        None => EgressTag::Untagged,
    };
    let mut networks = to.networks();
    let network = networks.find(|network| to.egress(*network) == left)?;
    let (macs, behind) = bytes.split_at_checked(12)?;
    let behind = behind.get(if tag.is_some() { TAG_SIZE } else { 0 }..)?;
    let tag = match from.egress(network) {
        EgressTag::Tagged(vid) => {
            let tci = tag.map_or(Tci(0), |tag| tag.tci()).with_vid(vid);
            Some(Tag::new(from.tpid, tci).to_bytes())
        }
        _ => None,
    };
    Some([macs, tag.as_ref().map_or(&[][..], |tag| tag), behind].concat())
}
