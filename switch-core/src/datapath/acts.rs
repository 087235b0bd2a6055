//! What rules of access control lists do with frames besides allowing them: class, rate, marks.
//!
//! Only where a configuration has such rules. The lists have allowed the frame before. Which rules
//! it met on the way is kept with its shortcut; of a frame without one they are asked once more.

use std::ops::Deref;

use super::{Context, Entry, Received, policy, qos::Mark, shortcut::Shortcuts};
use crate::{
    acl::{list::Hits, pack::Packed},
    config::policy::FlowPlace,
    mem::{Frame, Region},
    wire::{layer2::Layer2, packet::Packet},
};

/// A frame is over the rate of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OverRate;

/// The counters of the rules that a frame meets.
pub(super) enum Met<'a> {
    /// Those that are kept with its shortcut.
    Known(&'a [u32]),
    Asked(Hits),
}

impl Deref for Met<'_> {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        match self {
            Self::Known(counters) => counters,
            Self::Asked(hits) => hits,
        }
    }
}

/// The rules that a frame, which is as it came in, meets at a port; none where no rule does more
/// than allow, and of what lists cannot read.
pub(super) fn met<'a>(
    received: &Received<'_>,
    place: FlowPlace,
    (frame, region): (&Frame, &Region),
    entry: &Entry,
    shortcuts: Option<&'a Shortcuts>,
) -> Option<Met<'a>> {
    let context = received.context;
    let rules = &context.snapshot.rules;
    let listed = rules.policy.as_deref().filter(|_| rules.qos.has_acts())?;
    let network = entry.network();
    let pair = listed.pair(place.direction, place.port, network);
    if pair.is_empty() {
        return None;
    }
    let reading = policy::reading(context, place, received.rules);
    if let Some(found) = shortcuts.and_then(|known| known.find(&reading, (frame, region))) {
        return Some(Met::Known(found.verdict.hits()));
    }
    let head = region.head(frame);
    let header = Layer2::parse(head).ok()?;
    let packet = Packet::of_frame(&header, head, frame.size()).ok()?;
    let mut hits = Hits::new();
    pair.allows(&Packed::new(network, &header, &packet), &mut hits);
    Some(Met::Asked(hits))
}

/// Does with a frame of this size what the rules do that it has met. Of several that say the same
/// of it the last has the last word; each measures it.
///
/// # Errors
/// When the frame is over the rate of one of them.
pub(super) fn obey(
    context: &Context<'_>,
    met: &[u32],
    size: usize,
    mark: &mut Mark,
) -> Result<(), OverRate> {
    let qos = &context.snapshot.rules.qos;
    for acts in met.iter().filter_map(|hit| qos.acts(*hit)) {
        mark.class = acts.class.unwrap_or(mark.class);
        mark.pcp = acts.pcp.or(mark.pcp);
        mark.dscp = acts.dscp.or(mark.dscp);
        if let Some(policer) = &acts.policer {
            mark.colour = policer
                .police(context.worker, context.now_ns, size, mark.colour)
                .map_err(|_| OverRate)?;
        }
    }
    Ok(())
}
