//! A frame's way through the switch.
//!
//! [`forward`] takes a burst that one port received through every stage together, and leaves each
//! frame in exactly one place: in the outbox of a port, or back in the cache, counted under a
//! [`DropReason`]. Stages decide and do not fail; they read no clock, make no system call, allocate
//! nothing and log nothing.

mod classify;
mod destination;
mod dispatch;
mod learn;
mod outbox;
mod rewrite;

pub use outbox::Outbox;

use crate::{
    clock::Tick,
    config::snapshot::{EgressTag, PortRules, Role, Snapshot},
    counters::{DropReason, WorkerCounters},
    limits::{BURST, NetworkIndex, PortIndex},
    mem::{Burst, FrameCache},
    table::fdb::Fdb,
    wire::parse::Header,
};

/// What all frames of a burst have in common.
#[derive(Debug)]
pub struct Context<'a> {
    /// Rules and links.
    pub snapshot: &'a Snapshot,
    /// Where stations are; shared by all workers.
    pub fdb: &'a Fdb,
    /// This worker's counters.
    pub counters: &'a WorkerCounters,
    /// The time of the burst.
    pub now: Tick,
}

/// What is to be done with one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// No stage has decided yet.
    Undecided,
    /// To one port.
    Forward(PortIndex, EgressTag),
    /// To every port of its network that may have it.
    Flood,
    /// To nobody.
    Drop(DropReason),
}

/// One frame's place in the burst's table: what is known of it so far.
#[derive(Clone, Copy, Debug)]
struct Entry {
    header: Header,
    network: NetworkIndex,
    verdict: Verdict,
}

impl Entry {
    const EMPTY: Self = Self {
        header: Header::EMPTY,
        network: NetworkIndex::new(0),
        verdict: Verdict::Undecided,
    };

    fn is_undecided(&self) -> bool {
        self.verdict == Verdict::Undecided
    }
}

/// Forwards all frames of `burst`, which `ingress` received; afterwards the burst is empty.
pub fn forward(
    context: &Context<'_>,
    ingress: PortIndex,
    burst: &mut Burst,
    cache: &mut FrameCache,
    outbox: &mut Outbox,
) {
    let Some(rules) = context.snapshot.rules.port(ingress) else {
        return dispatch::drop_all(context, ingress, DropReason::PortDown, burst, cache);
    };
    let mut table = [Entry::EMPTY; BURST];
    let entries = &mut table[..burst.len()];

    // 1. Parse; 2. classify: tag or port VLAN to network, acceptable frame types, ingress filtering.
    classify::classify(context, rules, burst, cache.region(), entries);
    // 3. Secure, 4. look up the flow, 5. police: with the policy stages.
    // 6. Learn the source.
    learn::learn(context, ingress, rules, entries);
    // 7. Find destinations.
    destination::find(context, ingress, rules, entries);
    // 8. Copy to mirrors. 9. Tag for each egress port, 10. queue.
    dispatch::dispatch(context, ingress, rules, burst, entries, cache, outbox);
}

/// Whether a frame may go from one port to the other at all, whatever its destination.
fn may_pass(from: &PortRules, uplink: bool, isolated: bool) -> Result<(), DropReason> {
    if from.role == Role::Uplink && uplink {
        Err(DropReason::UplinkToUplink)
    } else if from.isolated && isolated {
        Err(DropReason::Isolated)
    } else {
        Ok(())
    }
}
