//! Stages 1 and 2: the header, and the network that the frame belongs to (802.1Q-2022, 8.6.1 and
//! 8.6.2).

use super::{Context, Entry, Verdict};
use crate::{
    config::snapshot::PortRules,
    counters::DropReason,
    limits::{MAX_FRAME_SIZE, NetworkIndex},
    mem::{Burst, Region},
    wire::parse::Header,
};

pub(super) fn classify(
    context: &Context<'_>,
    rules: &PortRules,
    burst: &Burst,
    region: &Region,
    entries: &mut [Entry],
) {
    let forward_reserved = context.snapshot.rules.forward_reserved;
    for (frame, entry) in burst.iter().zip(entries) {
        if frame.size() > MAX_FRAME_SIZE {
            entry.verdict = Verdict::Drop(DropReason::TooLong);
            continue;
        }
        let Ok(header) = Header::parse(region.head(frame)) else {
            entry.verdict = Verdict::Drop(DropReason::Truncated);
            continue;
        };
        entry.header = header;
        match network_of(&header, rules, forward_reserved) {
            Ok(network) => {
                entry.network = network;
                // All cache misses of the burst are under way before the first is waited for.
                entry.source = context.fdb.prefetch(network, header.source);
                entry.destination = context.fdb.prefetch(network, header.destination);
            }
            Err(reason) => entry.verdict = Verdict::Drop(reason),
        }
    }
}

/// The network of a frame that this port received.
fn network_of(
    header: &Header,
    rules: &PortRules,
    forward_reserved: bool,
) -> Result<NetworkIndex, DropReason> {
    if header.source.is_group() || header.source.is_null() {
        return Err(DropReason::SourceInvalid);
    }
    if header.destination.is_reserved() && !forward_reserved {
        return Err(DropReason::ReservedGroup);
    }
    let Some(tag) = header.tag else {
        return rules.untagged.ok_or(DropReason::UntaggedNotAccepted);
    };
    if tag.tpid != rules.tpid {
        // A foreign tag is not payload: at the far end it might be a tag again.
        return Err(match rules.tagged {
            None => DropReason::TaggedNotAccepted,
            Some(_) => DropReason::TpidMismatch,
        });
    }
    match tag.tci.vid_bits() {
        // Priority-tagged: treated as untagged, which a frame with a further tag is not.
        0 if header.has_further_tag() => Err(DropReason::HiddenTag),
        0 => rules.untagged.ok_or(DropReason::UntaggedNotAccepted),
        vid_bits => match &rules.tagged {
            None => Err(DropReason::TaggedNotAccepted),
            Some(_) if vid_bits == 4095 => Err(DropReason::VidReserved),
            Some(vids) => vids.get(vid_bits).ok_or(DropReason::VidNotMember),
        },
    }
}
