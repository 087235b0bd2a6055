//! Stage 5, and what belongs to it at egress: who may use how much.
//!
//! A frame's colour goes with it from where it comes in to where it leaves, beside the entries:
//! without policers there are no colours.

use arrayvec::ArrayVec;

use super::{Context, Entry, exit::Exit};
use crate::{
    counters::DropReason,
    limits::{BURST, PortIndex},
    mem::{Burst, Frame, Region},
    qos::{
        meter::Colour,
        storm::{Kind, Storm},
    },
    wire::vlan::{DEI_MASK, DEI_POSITION},
};

/// The colours of the frames of a burst, in their order; empty where they have none but what they
/// came with.
pub(super) type Colours = ArrayVec<Colour, BURST>;

/// Polices what came from a port. Frames that an earlier stage has dropped use nothing up.
pub(super) fn enter(
    context: &Context<'_>,
    ingress: PortIndex,
    burst: &Burst,
    entries: &mut [Entry],
    colours: &mut Colours,
) {
    let qos = &context.snapshot.rules.qos;
    if !qos.has_ingress() {
        return;
    }
    for (frame, entry) in burst.iter().zip(entries) {
        let mut colour = colour_received(entry);
        if entry.is_undecided() {
            for policer in qos.ingress(ingress, entry.destination.network()) {
                match policer.police(context.worker, context.now_ns, frame.size(), colour) {
                    Ok(after) => colour = after,
                    Err(_) => {
                        entry.drop(DropReason::PolicedFromPort);
                        break;
                    }
                }
            }
        }
        colours.push(colour);
    }
}

/// Storm control: whether a frame may go to all ports of its network.
///
/// # Errors
/// When too many such frames have come from its port.
#[cold]
pub(super) fn admit(
    context: &Context<'_>,
    storm: &Storm,
    entry: &Entry,
    size: usize,
) -> Result<(), DropReason> {
    let destination = entry.destination;
    let (kind, reason) = if destination.is_broadcast() {
        (Kind::Broadcast, DropReason::BroadcastStorm)
    } else if destination.is_group() {
        (Kind::Multicast, DropReason::MulticastStorm)
    } else {
        (Kind::UnknownUnicast, DropReason::UnknownUnicastStorm)
    };
    if storm.admits(kind, context.worker, context.now_ns, size) {
        Ok(())
    } else {
        Err(reason)
    }
}

/// The colour of the frame at this position when it is about to leave.
pub(super) fn colour_of(colours: &Colours, position: usize, entry: &Entry) -> Colour {
    let policed = colours.get(position).copied();
    policed.unwrap_or_else(|| colour_received(entry))
}

/// What the tag says of its drop eligibility (802.1Q-2022, 6.9.3).
fn colour_received(entry: &Entry) -> Colour {
    match entry.tag {
        Some(tag) if tag.tci().dei() => Colour::Yellow,
        _ => Colour::Green,
    }
}

/// Polices what is to go to a port, with the tag that it leaves with, if any.
///
/// # Errors
/// When it is over the rate.
pub(super) fn leave(
    context: &Context<'_>,
    region: &Region,
    frame: &mut Frame,
    entry: &Entry,
    exit: Exit,
    mut colour: Colour,
) -> Result<(), DropReason> {
    let qos = &context.snapshot.rules.qos;
    for policer in qos.egress(exit.port, entry.destination.network()) {
        colour = policer
            .police(context.worker, context.now_ns, frame.size(), colour)
            .map_err(|_| DropReason::PolicedToPort)?;
    }
    if exit.tag.is_some() && colour == Colour::Yellow {
        // 802.1Q-2022, 6.9.3: drop eligible.
        let head = region.head_mut(frame);
        *head.get_mut(DEI_POSITION).ok_or(DropReason::Truncated)? |= DEI_MASK;
    }
    Ok(())
}
