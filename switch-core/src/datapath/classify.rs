//! Stages 1 and 2: the header, and the network that the frame belongs to (802.1Q-2022, 8.6.1 and
//! 8.6.2).

use super::{Context, Entries, Entry, Verdict};
use crate::{
    config::snapshot::PortRules,
    counters::DropReason,
    limits::{MAX_FRAME_SIZE, NetworkIndex},
    mem::{Burst, Frame, Region},
    wire::{
        ethernet::PackedMac,
        parse::{Header, Tag},
    },
};

#[inline(never)]
pub(super) fn classify<'a>(
    context: &Context<'a>,
    rules: &PortRules,
    burst: &Burst,
    region: &Region,
    entries: &mut Entries<'a>,
) {
    for frame in burst {
        if let Err(reason) = enter(context, rules, frame, region, entries) {
            refuse(context, reason, entries);
        }
    }
}

/// Enters a frame with all that is to be known of it, or says why it goes no further.
#[inline(always)]
fn enter<'a>(
    context: &Context<'a>,
    rules: &PortRules,
    frame: &Frame,
    region: &Region,
    entries: &mut Entries<'a>,
) -> Result<(), DropReason> {
    debug_assert!(frame.size() <= MAX_FRAME_SIZE, "no longer one can be made");
    let header = Header::parse(region.head(frame)).map_err(|_| DropReason::Truncated)?;
    // Each kind on its own, so that which it is need not be asked again.
    if let Some(tag) = header.tag {
        check_addresses(context, &header)?;
        let network = network_of(tag, rules)?;
        add(context, &header, network, entries);
    } else {
        check_addresses(context, &header)?;
        let network = rules.untagged.ok_or(DropReason::UntaggedNotAccepted)?;
        add(context, &header, network, entries);
    }
    Ok(())
}

#[inline(always)]
fn add<'a>(
    context: &Context<'a>,
    header: &Header,
    network: NetworkIndex,
    entries: &mut Entries<'a>,
) {
    entries.push(Entry {
        // All cache misses of the burst are under way before the first is waited for.
        source: context.fdb.prefetch(network, header.source),
        destination: context.fdb.prefetch(network, header.destination),
        tag: header.tag,
        verdict: Verdict::UNDECIDED,
    });
}

#[cold]
#[inline(never)]
fn refuse<'a>(context: &Context<'a>, reason: DropReason, entries: &mut Entries<'a>) {
    entries.push(Entry {
        source: context.fdb.nowhere(),
        destination: context.fdb.nowhere(),
        tag: None,
        verdict: Verdict::drop(reason),
    });
}

#[inline(always)]
fn check_addresses(context: &Context<'_>, header: &Header) -> Result<(), DropReason> {
    if !header.source.is_station() {
        return Err(DropReason::SourceInvalid);
    }
    if header.destination.is_group() {
        check_group(context, header.destination)?;
    }
    Ok(())
}

#[cold]
#[inline(never)]
fn check_group(context: &Context<'_>, destination: PackedMac) -> Result<(), DropReason> {
    if destination.is_reserved() && !context.snapshot.rules.forward_reserved {
        return Err(DropReason::ReservedGroup);
    }
    Ok(())
}

/// The network of a tagged frame that this port received.
#[inline(always)]
fn network_of(tag: Tag, rules: &PortRules) -> Result<NetworkIndex, DropReason> {
    // A VID that means no network stands for 0 and 4095 too.
    if tag.is_of(rules.tpid)
        && let Some(vids) = &rules.tagged
        && let Some(network) = vids.get(tag.tci().vid_bits())
    {
        return Ok(network);
    }
    network_of_odd(tag, rules)
}

/// For a priority-tagged frame, or to say why the tag is not accepted.
#[cold]
#[inline(never)]
fn network_of_odd(tag: Tag, rules: &PortRules) -> Result<NetworkIndex, DropReason> {
    if !tag.is_of(rules.tpid) {
        // A foreign tag is not payload: at the far end it might be a tag again.
        return Err(match rules.tagged {
            None => DropReason::TaggedNotAccepted,
            Some(_) => DropReason::TpidMismatch,
        });
    }
    match tag.tci().vid_bits() {
        // Priority-tagged: treated as untagged, which a frame with a further tag is not.
        0 if tag.hides_another() => Err(DropReason::HiddenTag),
        0 => rules.untagged.ok_or(DropReason::UntaggedNotAccepted),
        _ if rules.tagged.is_none() => Err(DropReason::TaggedNotAccepted),
        4095 => Err(DropReason::VidReserved),
        _ => Err(DropReason::VidNotMember),
    }
}
