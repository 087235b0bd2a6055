//! Stage 9: may this frame pass the access control lists at its way out?
//!
//! Asked of each copy of a frame that goes to a port with lists, before it is tagged for it. What
//! was said about a flow is kept as at a way in: see [`policy`](super::policy).

use super::{
    Context, Entry, Received,
    exit::Exit,
    policy::{Asked, insert, pass, reading},
    shortcut::{Found, Shortcuts},
};
use crate::{
    acl::pack::Packed,
    config::policy::{Direction, FlowPlace},
    counters::DropReason,
    limits::{NetworkIndex, PortIndex},
    mem::{Frame, Region},
    wire::{layer2::Layer2, packet::Packet},
};

/// The place where frames of a network leave.
pub(super) fn way_out(context: &Context<'_>, port: PortIndex, network: NetworkIndex) -> FlowPlace {
    let generation = context.snapshot.policy_generation;
    FlowPlace::new(Direction::ToPort, port, network, generation)
}

/// Whether a frame may leave by a port; it is still as it came in.
///
/// # Errors
/// When it may not.
pub(super) fn leave(
    received: &Received<'_>,
    (frame, region): (&Frame, &Region),
    network: NetworkIndex,
    exit: Exit,
    mut shortcuts: Option<&mut Shortcuts>,
) -> Result<(), DropReason> {
    let context = received.context;
    let Some(policy) = context.snapshot.rules.policy.as_deref() else {
        return Ok(());
    };
    let pair = policy.pair(Direction::ToPort, exit.port, network);
    if pair.is_empty() {
        return Ok(());
    }
    let reason = DropReason::AclToPort;
    let (head, size) = (region.head(frame), frame.size());
    let place = way_out(context, exit.port, network);
    let reading = reading(context, place, received.rules);
    if let Some(shortcuts) = &mut shortcuts
        && let Some(Found { index, verdict }) = shortcuts.find(&reading, (frame, region))
    {
        let said = verdict.allowed.then_some(()).ok_or(reason);
        shortcuts.count(index, size);
        return said;
    }
    let header = Layer2::parse(head).map_err(|_| DropReason::Truncated)?;
    let packet = Packet::of_frame(&header, head, size).map_err(|_| DropReason::Malformed)?;
    let asked = Asked {
        fields: Packed::new(network, &header, &packet),
        size,
        sender: received.ingress,
    };
    let said = pass(context, &pair, place, &asked, reason);
    if let (Some(shortcuts), Some(flow)) = (shortcuts, said.flow()) {
        let owner = (received.ingress, flow);
        insert(
            context,
            shortcuts,
            &reading,
            (frame, region),
            &Entry::NOTHING,
            owner,
        );
    }
    said.allowed()
}
