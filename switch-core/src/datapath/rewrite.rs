//! Stage 9: the tag that the frame leaves with (802.1Q-2022, 8.6.7 and 6.9).
//!
//! A push or a pop moves the frame's start and the two addresses; the payload stays where it is.

use super::Entry;
use crate::{
    counters::DropReason,
    mem::{Frame, Region},
    wire::vlan::{TAG_SIZE, Tci, Tpid, Vid},
};

/// Bytes of destination and source.
const ADDRESSES_SIZE: usize = 12;

/// Gives the frame this tag, or none, and nothing else.
///
/// # Errors
/// When the frame cannot leave so; it is unchanged then.
#[inline(always)]
pub(super) fn rewrite(
    frame: &mut Frame,
    region: &Region,
    entry: &Entry<'_>,
    tag: Option<(Tpid, Vid)>,
) -> Result<(), DropReason> {
    match (entry.tag, tag) {
        (None, None) => Ok(()),
        (None, Some((tpid, vid))) => push(frame, region, tpid, vid),
        // What would come to light is a tag for whoever receives the frame: VLAN hopping.
        (Some(old), None) if old.hides_another() => Err(DropReason::HiddenTag),
        (Some(_), None) => {
            pop(frame, region);
            Ok(())
        }
        (Some(old), Some((tpid, vid))) => {
            write_tag(region.head_mut(frame), tpid, old.tci().with_vid(vid));
            Ok(())
        }
    }
}

#[inline]
fn push(frame: &mut Frame, region: &Region, tpid: Tpid, vid: Vid) -> Result<(), DropReason> {
    frame
        .grow_front(TAG_SIZE as u16)
        .map_err(|_| DropReason::TooLong)?;
    let bytes = region.head_mut(frame);
    if let Some(start) = bytes.first_chunk_mut::<16>() {
        let [_, _, _, _, addresses @ ..] = *start;
        start[..ADDRESSES_SIZE].copy_from_slice(&addresses);
    }
    write_tag(bytes, tpid, Tci(vid.get()));
    Ok(())
}

#[inline]
fn pop(frame: &mut Frame, region: &Region) {
    if let Some(start) = region.head_mut(frame).first_chunk_mut::<16>() {
        let [addresses @ .., _, _, _, _] = *start;
        start[TAG_SIZE..].copy_from_slice(&addresses);
    }
    frame.shrink_front(TAG_SIZE as u16);
}

#[inline]
fn write_tag(bytes: &mut [u8], tpid: Tpid, tci: Tci) {
    let [p0, p1] = (tpid as u16).to_be_bytes();
    let [c0, c1] = tci.0.to_be_bytes();
    bytes[ADDRESSES_SIZE..][..TAG_SIZE].copy_from_slice(&[p0, p1, c0, c1]);
}
