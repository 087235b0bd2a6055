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
    table::fdb::{Fdb, Place},
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
    /// Where the forwarding database has the source, hashed once and asked for early.
    source: Place,
    /// Where it has the destination.
    destination: Place,
}

impl Entry {
    const EMPTY: Self = Self {
        header: Header::EMPTY,
        network: NetworkIndex::new(0),
        verdict: Verdict::Undecided,
        source: Place::EMPTY,
        destination: Place::EMPTY,
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
    // What a queue still had when its port went down must teach nothing: its addresses are being
    // forgotten, and a new one would lead frames to a dead port until it ages.
    let link = context.snapshot.link_up(ingress);
    let Some(rules) = link.and(context.snapshot.rules.port(ingress)) else {
        return dispatch::drop_all(context, ingress, DropReason::PortDown, burst, cache);
    };
    let mut table = [Entry::EMPTY; BURST];
    let entries = &mut table[..burst.len()];

    // 1. Parse; 2. classify: tag or port VLAN to network, acceptable frame types, ingress
    // filtering.
    classify::classify(context, rules, burst, cache.region(), entries);
    // 3. Secure, 4. look up the flow, 5. police: with the policy stages.
    for entry in entries.iter_mut().filter(|entry| entry.is_undecided()) {
        // 6. Learn the source; 7. find destinations. One frame after the other, so that what comes
        // out does not depend on how frames were cut into bursts; the tables were prefetched.
        entry.verdict = match learn::learn(context, ingress, rules, entry) {
            Ok(()) => destination::find(context, ingress, rules, entry),
            Err(reason) => Verdict::Drop(reason),
        };
    }
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
