//! Stage 9: the tag that the frame leaves with (802.1Q-2022, 8.6.7 and 6.9).
//!
//! A push or a pop moves the frame's start and the two addresses; the payload stays where it is.

use std::hint::cold_path;

use super::Entry;
use crate::{
    counters::DropReason,
    mem::{Frame, Region},
    wire::{
        parse::{TAGGED_HEADER_SIZE, Tag, hides_another},
        vlan::TAG_SIZE,
    },
};

/// Bytes of destination and source.
const ADDRESSES_SIZE: usize = 12;

/// Addresses and tag, which every frame has room for that has a tag or has been given one: bytes
/// of a known number, so that whether they are in the chunk is asked once.
type Start = [u8; ADDRESSES_SIZE + TAG_SIZE];

/// Gives the frame this tag, or none, and nothing else.
///
/// # Errors
/// When the frame cannot leave so; it is unchanged then.
#[inline(always)]
pub(super) fn rewrite(
    frame: &mut Frame,
    region: &Region,
    entry: &Entry,
    tag: Option<Tag>,
) -> Result<(), DropReason> {
    match (entry.tag, tag) {
        (None, None) => Ok(()),
        (None, Some(tag)) => push(frame, region, tag),
        (Some(_), None) => pop(frame, region),
        (Some(old), Some(tag)) => {
            let start = start(frame, region)?;
            start[ADDRESSES_SIZE..].copy_from_slice(&tag.with_priority_of(old).to_bytes());
            Ok(())
        }
    }
}

#[inline]
fn push(frame: &mut Frame, region: &Region, tag: Tag) -> Result<(), DropReason> {
    frame
        .grow_front(TAG_SIZE as u16)
        .map_err(|_| DropReason::TooLong)?;
    let start = start(frame, region)?;
    let [_, _, _, _, addresses @ ..] = *start;
    start[..ADDRESSES_SIZE].copy_from_slice(&addresses);
    start[ADDRESSES_SIZE..].copy_from_slice(&tag.to_bytes());
    Ok(())
}

#[inline]
fn pop(frame: &mut Frame, region: &Region) -> Result<(), DropReason> {
    let write = |header: &mut [u8; TAGGED_HEADER_SIZE]| {
        // What would come to light is a tag for whoever receives the frame: VLAN hopping.
        if hides_another(header) {
            cold_path();
            return Err(DropReason::HiddenTag);
        }
        let [addresses @ .., _, _, _, _, _, _] = *header;
        header[TAG_SIZE..TAG_SIZE + ADDRESSES_SIZE].copy_from_slice(&addresses);
        Ok(())
    };
    let popped = region.shrink_front::<TAG_SIZE, _, _>(frame, write);
    popped.ok_or(DropReason::Truncated)?
}

#[inline]
fn start<'a>(frame: &'a mut Frame, region: &'a Region) -> Result<&'a mut Start, DropReason> {
    let head = region.head_mut(frame);
    head.first_chunk_mut().ok_or(DropReason::Truncated)
}
