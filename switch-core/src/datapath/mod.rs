//! A frame's way through the switch.
//!
//! [`forward`] takes a burst that one port received through every stage together, and leaves each
//! frame in exactly one place: in the outbox of a port, or back in the cache, counted under a
//! [`DropReason`]. Stages decide and do not fail; they read no clock, make no system call, allocate
//! nothing and log nothing.

mod acts;
mod classify;
mod destination;
mod dispatch;
pub mod dry_run;
mod entry;
mod exit;
mod gate;
mod learn;
mod leave;
mod outbox;
mod policy;
mod qos;
mod rewrite;
mod shortcut;

pub use entry::Entries;
pub use outbox::Outbox;

use crate::{
    clock::Tick,
    config::snapshot::{PortRules, Role, Snapshot},
    counters::{DropReason, WorkerCounters},
    limits::{PortIndex, WorkerIndex},
    mem::{Burst, FrameCache, Region},
    table::{
        fdb::{Fdb, View},
        flow::FlowTable,
    },
};
use dispatch::Egress;
use entry::{Decision, Entry, Verdict};
use exit::Exits;

/// What all frames of a burst have in common.
#[derive(Debug)]
pub struct Context<'a> {
    /// Rules and links.
    pub snapshot: &'a Snapshot,
    /// Where stations are; shared by all workers.
    pub fdb: &'a Fdb,
    /// This worker's counters.
    pub counters: &'a WorkerCounters,
    /// This worker.
    pub worker: WorkerIndex,
    /// This worker's flows; none: policy decides about each frame anew.
    pub flows: Option<&'a FlowTable>,
    /// The time of the burst.
    pub now: Tick,
    /// The same in nanoseconds since the start.
    pub now_ns: u64,
}

/// What the rare cases of stages 6 and 7 ask for: one register in the loop instead of three.
struct Received<'a> {
    context: &'a Context<'a>,
    ingress: PortIndex,
    rules: &'a PortRules,
}

/// Forwards all frames of `burst`, which `ingress` received; afterwards the burst is empty.
pub fn forward(
    context: &Context<'_>,
    ingress: PortIndex,
    burst: &mut Burst,
    entries: &mut Entries,
    cache: &mut FrameCache,
    outbox: &mut Outbox,
) {
    // What a queue still had when its port went down must teach nothing: its addresses are being
    // forgotten, and a new one would lead frames to a dead port until it ages.
    let link = context.snapshot.link_up(ingress);
    let Some(rules) = link.and(context.snapshot.rules.port(ingress)) else {
        return dispatch::drop_all(context, ingress, DropReason::PortDown, burst, cache);
    };
    // 1. Parse; 2. classify: tag or port VLAN to network, acceptable frame types, ingress
    // filtering.
    let count = burst.len();
    let stations = context.fdb.at(context.now);
    let received = Received {
        context,
        ingress,
        rules,
    };
    // 3. Secure, 4. look up the flow, 5. police: only where the configuration asks for it. What is
    // known of a flow includes what the first stages have said.
    let mut marks = qos::Marks::new();
    if context.snapshot.rules.concerns(ingress).from_port {
        let frames = (&*burst, &**cache.region());
        apply_policy(&received, &stations, frames, entries, &mut marks);
    } else {
        let (entries, _) = entries.of_burst(count);
        classify::classify(context, rules, &stations, burst, cache.region(), entries);
    }
    // 6. Learn the source; 7. find destinations.
    let mut exits = Exits::new();
    let (decided, _) = entries.of_burst(count);
    decide(&received, &stations, decided, &mut exits);
    // 8. Copy to mirrors. 9. Tag for each egress port, 10. queue.
    let (entries, shortcuts) = entries.of_burst(count);
    let egress = Egress {
        received: &received,
        marks: &marks,
        shortcuts,
        cache,
        outbox,
    };
    egress.dispatch(burst, entries, &exits);
}

/// Stages 1 to 5, for a port that policy concerns. Apart, so that the stages behind it have the
/// registers for themselves.
#[cold]
#[inline(never)]
fn apply_policy(
    received: &Received<'_>,
    stations: &View<'_>,
    frames: (&Burst, &Region),
    entries: &mut Entries,
    marks: &mut qos::Marks,
) {
    let (entries, mut shortcuts) = entries.of_burst(frames.0.len());
    let known = shortcuts.as_deref_mut();
    let policed = policy::enter(received, stations, frames, entries, known);
    let known = shortcuts.as_deref();
    qos::enter(received, frames, entries, policed, known, marks);
}

/// Stages 6 and 7. One frame after the other, so that what comes out does not depend on how frames
/// were cut into bursts; the tables were prefetched.
#[inline(always)]
fn decide(received: &Received<'_>, stations: &View<'_>, entries: &mut [Entry], exits: &mut Exits) {
    // Read once: a call in the loop might change what others have a reference to.
    let ingress = received.ingress;
    for entry in entries {
        let verdict = match known(ingress, stations, entry, exits) {
            Some(verdict) => verdict,
            None => find_out(received, stations, entry, exits),
        };
        entry.decide(verdict);
    }
}

/// What the stages come to for nearly every frame: there is nothing to learn about its source, and
/// another one has just gone where it goes. Not for a frame that was dropped, which has no source
/// any more.
#[inline(always)]
fn known(ingress: PortIndex, stations: &View<'_>, entry: &Entry, exits: &Exits) -> Option<Verdict> {
    if !stations.is_settled(entry.source, ingress) {
        return None;
    }
    let location = stations.lookup_at_home(entry.destination)?;
    exits.known(location)
}

/// The stages themselves.
#[inline(never)]
fn find_out(
    received: &Received<'_>,
    stations: &View<'_>,
    entry: &Entry,
    exits: &mut Exits,
) -> Verdict {
    if !entry.is_undecided() {
        return entry.verdict();
    }
    match learn::learn(received, stations, entry) {
        Ok(()) => destination::find(received, stations, entry, exits),
        Err(reason) => Verdict::drop(reason),
    }
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
