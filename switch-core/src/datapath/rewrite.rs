//! Stage 9: the tag that the frame leaves with (802.1Q-2022, 8.6.7 and 6.9).
//!
//! A push or a pop moves the frame's start and the two addresses; the payload stays where it is.

use crate::{
    config::snapshot::EgressTag,
    counters::DropReason,
    mem::{Frame, Region},
    wire::{
        parse::Header,
        vlan::{TAG_SIZE, Tci, Tpid, Vid},
    },
};

/// Bytes of destination and source.
const ADDRESSES_SIZE: usize = 12;

/// Gives the frame the tag, or none, that `tag` says, and nothing else.
///
/// # Errors
/// When the frame cannot leave so; it is unchanged then.
#[inline]
pub(super) fn rewrite(
    frame: &mut Frame,
    region: &Region,
    header: &Header,
    tag: EgressTag,
    tpid: Tpid,
) -> Result<(), DropReason> {
    match (header.tag, tag) {
        (_, EgressTag::NotMember) => Err(DropReason::NoDestination),
        (None, EgressTag::Untagged) => Ok(()),
        (None, EgressTag::Tagged(vid)) => push(frame, region, tpid, vid),
        // What would come to light is a tag for whoever receives the frame: VLAN hopping.
        (Some(_), EgressTag::Untagged) if header.has_further_tag() => Err(DropReason::HiddenTag),
        (Some(_), EgressTag::Untagged) => {
            pop(frame, region);
            Ok(())
        }
        (Some(old), EgressTag::Tagged(vid)) => {
            write_tag(region.head_mut(frame), tpid, old.tci.with_vid(vid));
            Ok(())
        }
    }
}

fn push(frame: &mut Frame, region: &Region, tpid: Tpid, vid: Vid) -> Result<(), DropReason> {
    frame
        .grow_front(TAG_SIZE as u16)
        .map_err(|_| DropReason::TooLong)?;
    let bytes = region.head_mut(frame);
    bytes.copy_within(TAG_SIZE..TAG_SIZE + ADDRESSES_SIZE, 0);
    write_tag(bytes, tpid, Tci(vid.get()));
    Ok(())
}

fn pop(frame: &mut Frame, region: &Region) {
    region
        .head_mut(frame)
        .copy_within(..ADDRESSES_SIZE, TAG_SIZE);
    frame.shrink_front(TAG_SIZE as u16);
}

fn write_tag(bytes: &mut [u8], tpid: Tpid, tci: Tci) {
    let [p0, p1] = (tpid as u16).to_be_bytes();
    let [c0, c1] = tci.0.to_be_bytes();
    bytes[ADDRESSES_SIZE..][..TAG_SIZE].copy_from_slice(&[p0, p1, c0, c1]);
}
