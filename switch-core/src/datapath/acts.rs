//! What rules of access control lists do with frames besides allowing them: class, rate, marks.
//!
//! Only where a configuration has such rules. The lists have allowed the frame before; they are
//! asked once more which rules it met on the way, since nothing that is kept of a flow says that of
//! every frame.

use super::{Context, Entry, qos::Mark};
use crate::{
    acl::{list::Hits, pack::Packed},
    config::policy::Direction,
    limits::PortIndex,
    mem::{Frame, Region},
    wire::{layer2::Layer2, packet::Packet},
};

/// A frame is over the rate of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OverRate;

/// Does with a frame, which is as it came in, what the rules do that it meets at a port. Of several
/// that say the same of it the last has the last word; each measures it.
///
/// # Errors
/// When the frame is over the rate of one of them.
pub(super) fn obey(
    context: &Context<'_>,
    (direction, port): (Direction, PortIndex),
    region: &Region,
    frame: &Frame,
    entry: &Entry,
    mark: &mut Mark,
) -> Result<(), OverRate> {
    let rules = &context.snapshot.rules;
    let (Some(policy), true) = (rules.policy.as_deref(), rules.qos.has_acts()) else {
        return Ok(());
    };
    let network = entry.destination.network();
    let pair = policy.pair(direction, port, network);
    if pair.is_empty() {
        return Ok(());
    }
    let head = region.head(frame);
    let Ok(header) = Layer2::parse(head) else {
        return Ok(());
    };
    let Ok(packet) = Packet::of_frame(&header, head, frame.size()) else {
        return Ok(());
    };
    let mut hits = Hits::new();
    pair.allows(&Packed::new(network, &header, &packet), &mut hits);
    for acts in hits.iter().filter_map(|hit| rules.qos.acts(*hit)) {
        mark.class = acts.class.unwrap_or(mark.class);
        mark.pcp = acts.pcp.or(mark.pcp);
        mark.dscp = acts.dscp.or(mark.dscp);
        if let Some(policer) = &acts.policer {
            mark.colour = policer
                .police(context.worker, context.now_ns, frame.size(), mark.colour)
                .map_err(|_| OverRate)?;
        }
    }
    Ok(())
}
