//! Stages 1 and 2: the header, and the network that the frame belongs to (802.1Q-2022, 8.6.1 and
//! 8.6.2).

use std::hint::cold_path;

use super::{Context, Entry};
use crate::{
    config::snapshot::{PortRules, Vids},
    counters::DropReason,
    limits::{MAX_FRAME_SIZE, NetworkIndex},
    mem::{Burst, Region},
    table::fdb::View,
    wire::{
        parse::{Behind, Header, TAGGED_HEADER_SIZE, Tag, Truncated, addresses, hides_another},
        vlan::Tpid,
    },
};

#[inline(never)]
pub(super) fn classify(
    context: &Context<'_>,
    rules: &PortRules,
    stations: &View<'_>,
    burst: &Burst,
    region: &Region,
    entries: &mut [Entry],
) {
    let (vids, tpid) = (rules.vids(), rules.tpid);
    for (frame, entry) in burst.iter().zip(entries) {
        debug_assert!(frame.size() <= MAX_FRAME_SIZE, "no longer one can be made");
        let head = region.head(frame);
        if !enter(rules, vids, tpid, stations, head, entry) {
            enter_any(context, rules, stations, head, entry);
        }
    }
}

/// The same for one frame, given its first bytes.
pub(super) fn classify_one(
    context: &Context<'_>,
    rules: &PortRules,
    stations: &View<'_>,
    head: &[u8],
    entry: &mut Entry,
) {
    if !enter(rules, rules.vids(), rules.tpid, stations, head, entry) {
        enter_any(context, rules, stations, head, entry);
    }
}

/// Enters a frame from one station to another with no tag or an ordinary one: nearly every frame.
/// False, and nothing is done, where it needs a closer look.
#[inline(always)]
fn enter(
    rules: &PortRules,
    vids: Vids<'_>,
    tpid: Tpid,
    stations: &View<'_>,
    head: &[u8],
    entry: &mut Entry,
) -> bool {
    let Some(start) = head.first_chunk() else {
        return false;
    };
    // Each kind on its own, so that which it is need not be asked again.
    let behind = Behind::addresses_of(start);
    if behind.is_tag_of(tpid) {
        // A VID that means no network stands for 0 and 4095 too.
        match vids.get(behind.vid_bits()) {
            Some(network) => enter_ordinary(stations, start, network, behind.tag(), entry),
            None => false,
        }
    } else if behind.is_tag_of(tpid.other()) {
        cold_path();
        false
    } else {
        match rules.untagged {
            Some(network) => enter_ordinary(stations, start, network, None, entry),
            None => false,
        }
    }
}

#[inline(always)]
fn enter_ordinary(
    stations: &View<'_>,
    start: &[u8; TAGGED_HEADER_SIZE],
    network: NetworkIndex,
    tag: Option<Tag>,
    entry: &mut Entry,
) -> bool {
    let (destination, source) = addresses(start);
    // A branch each: to put both answers together first would cost more than the second branch.
    if destination.is_group() {
        cold_path();
        return false;
    }
    if !source.is_station() {
        cold_path();
        return false;
    }
    let header = Header {
        destination,
        source,
        tag,
    };
    *entry = known(stations, &header, network);
    true
}

/// Enters any frame: all that is to be known of it, or why it goes no further.
#[inline(never)]
fn enter_any(
    context: &Context<'_>,
    rules: &PortRules,
    stations: &View<'_>,
    head: &[u8],
    entry: &mut Entry,
) {
    let header = Header::parse(head).map_err(|Truncated| DropReason::Truncated);
    let entered = header.and_then(|header| {
        let network = judge(context, rules, &header, head)?;
        Ok(known(stations, &header, network))
    });
    match entered {
        Ok(known) => *entry = known,
        Err(reason) => entry.drop(reason),
    }
}

/// All that is to be known of a frame.
#[inline(always)]
fn known(stations: &View<'_>, header: &Header, network: NetworkIndex) -> Entry {
    // All cache misses of the burst are under way before the first is waited for.
    let source = stations.prefetch(network, header.source);
    let destination = stations.prefetch(network, header.destination);
    Entry::new(source, destination, header.tag)
}

/// The network of a frame with an ordinary tag.
fn network_of(tag: Tag, rules: &PortRules, vids: Vids<'_>) -> Option<NetworkIndex> {
    // A VID that means no network stands for 0 and 4095 too.
    if tag.is_of(rules.tpid) {
        vids.get(tag.tci().vid_bits())
    } else {
        None
    }
}

/// The network of any frame.
///
/// # Errors
/// When it goes no further: for its addresses, or else for its tag.
fn judge(
    context: &Context<'_>,
    rules: &PortRules,
    header: &Header,
    head: &[u8],
) -> Result<NetworkIndex, DropReason> {
    if !header.source.is_station() {
        return Err(DropReason::SourceInvalid);
    }
    if header.destination.is_reserved() && !context.snapshot.rules.forward_reserved {
        return Err(DropReason::ReservedGroup);
    }
    match header.tag {
        None => rules.untagged.ok_or(DropReason::UntaggedNotAccepted),
        Some(tag) => match network_of(tag, rules, rules.vids()) {
            Some(network) => Ok(network),
            None => network_of_odd(tag, rules, head),
        },
    }
}

/// For a priority-tagged frame, or to say why the tag is not accepted.
fn network_of_odd(tag: Tag, rules: &PortRules, head: &[u8]) -> Result<NetworkIndex, DropReason> {
    if !tag.is_of(rules.tpid) {
        // A foreign tag is not payload: at the far end it might be a tag again.
        return Err(match rules.tagged {
            None => DropReason::TaggedNotAccepted,
            Some(_) => DropReason::TpidMismatch,
        });
    }
    match tag.tci().vid_bits() {
        // Priority-tagged: treated as untagged, which a frame with a further tag is not.
        0 if head.first_chunk().is_some_and(hides_another) => Err(DropReason::HiddenTag),
        0 => rules.untagged.ok_or(DropReason::UntaggedNotAccepted),
        _ if rules.tagged.is_none() => Err(DropReason::TaggedNotAccepted),
        4095 => Err(DropReason::VidReserved),
        _ => Err(DropReason::VidNotMember),
    }
}
