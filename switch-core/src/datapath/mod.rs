//! A frame's way through the switch.
//!
//! [`forward`] takes a burst that one port received through every stage together, and leaves each
//! frame in exactly one place: in the outbox of a port, or back in the cache, counted under a
//! [`DropReason`]. Stages decide and do not fail; they read no clock, make no system call, allocate
//! nothing and log nothing.

mod classify;
mod destination;
mod dispatch;
mod exit;
mod learn;
mod outbox;
mod policy;
mod qos;
mod rewrite;

pub use outbox::Outbox;

use arrayvec::ArrayVec;

use crate::{
    clock::Tick,
    config::snapshot::{PortRules, Role, Snapshot},
    counters::{DropReason, WorkerCounters},
    limits::{BURST, PortIndex, WorkerIndex},
    mem::{Burst, FrameCache, Region},
    table::{
        fdb::{Fdb, Place},
        flow::FlowTable,
    },
    wire::parse::Tag,
};
use dispatch::Egress;
use exit::{ExitIndex, Exits};

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

/// What is to be done with one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    /// To one port, by a way out that the burst knows.
    Forward(ExitIndex),
    /// To one port, which is down.
    Closed(PortIndex),
    /// To every port of its network that may have it.
    Flood,
    /// To nobody.
    Drop(DropReason),
}

/// A [`Decision`], or none yet, in one word: to compare those of neighbours is one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict(u32);

impl Verdict {
    /// No stage has decided yet.
    const UNDECIDED: Self = Self(0);
    const FLOOD: Self = Self(1 << 16);
    const FORWARD: u32 = 2 << 16;
    const CLOSED: u32 = 3 << 16;
    const DROP: u32 = 4 << 16;

    #[inline]
    fn forward(index: ExitIndex) -> Self {
        Self(Self::FORWARD | u32::from(index.get()))
    }

    fn closed(port: PortIndex) -> Self {
        Self(Self::CLOSED | port.get() as u32)
    }

    #[inline]
    fn drop(reason: DropReason) -> Self {
        Self(Self::DROP | reason as u32)
    }

    /// The decision.
    ///
    /// # Panics
    /// When there is none.
    fn decision(self) -> Decision {
        let operand = self.0 & 0xffff;
        match self.0 - operand {
            Self::FORWARD => Decision::Forward(ExitIndex::new(operand as u16)),
            Self::CLOSED => Decision::Closed(PortIndex::new(operand as usize)),
            Self::DROP => Decision::Drop(DropReason::ALL[operand as usize]),
            _ if self == Self::FLOOD => Decision::Flood,
            _ => unreachable!("stage 7 decides about every frame"),
        }
    }
}

/// One frame's place in the burst's table: what is known of it so far.
#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    /// Where the forwarding database has the source, hashed once and asked for early.
    source: Place<'a>,
    /// Where it has the destination.
    destination: Place<'a>,
    /// The outer tag, where the frame has one.
    tag: Option<Tag>,
    verdict: Verdict,
}

impl Entry<'_> {
    #[inline]
    fn is_undecided(&self) -> bool {
        self.verdict == Verdict::UNDECIDED
    }
}

/// The frames of a burst.
type Entries<'a> = ArrayVec<Entry<'a>, BURST>;

/// What policy notes about the frames of a burst, in their order, beside the entries: it is large,
/// and without policy it costs nothing but its place on the stack.
struct Notes {
    inspected: policy::Inspected,
    colours: qos::Colours,
}

impl Notes {
    fn new() -> Self {
        Self {
            inspected: policy::Inspected::new(),
            colours: qos::Colours::new(),
        }
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
    // 1. Parse; 2. classify: tag or port VLAN to network, acceptable frame types, ingress
    // filtering.
    let mut entries = Entries::new();
    classify::classify(context, rules, burst, cache.region(), &mut entries);
    // 3. Secure, 4. look up the flow, 5. police: only where the configuration asks for it.
    let mut notes = Notes::new();
    if context.snapshot.rules.concerns(ingress).from_port {
        apply_policy(
            context,
            ingress,
            burst,
            cache.region(),
            &mut entries,
            &mut notes,
        );
    }
    // 6. Learn the source; 7. find destinations.
    let mut exits = Exits::new();
    let received = Received {
        context,
        ingress,
        rules,
    };
    decide(&received, &mut entries, &mut exits);
    // 8. Copy to mirrors. 9. Tag for each egress port, 10. queue.
    let egress = Egress {
        context,
        ingress,
        rules,
        notes: &notes,
        cache,
        outbox,
    };
    egress.dispatch(burst, &entries, &exits);
}

/// Stages 3 to 5, for a port that policy concerns.
#[cold]
#[inline(never)]
fn apply_policy(
    context: &Context<'_>,
    ingress: PortIndex,
    burst: &Burst,
    region: &Region,
    entries: &mut [Entry<'_>],
    notes: &mut Notes,
) {
    let inspected = &mut notes.inspected;
    policy::enter(context, ingress, burst, region, entries, inspected);
    qos::enter(context, ingress, burst, entries, &mut notes.colours);
}

/// Stages 6 and 7. One frame after the other, so that what comes out does not depend on how frames
/// were cut into bursts; the tables were prefetched.
#[inline(always)]
fn decide(received: &Received<'_>, entries: &mut [Entry<'_>], exits: &mut Exits) {
    let stations = received.context.fdb.at(received.context.now);
    for entry in entries.iter_mut().filter(|entry| entry.is_undecided()) {
        entry.verdict = match learn::learn(received, &stations, entry) {
            Ok(()) => destination::find(received, &stations, entry, exits),
            Err(reason) => Verdict::drop(reason),
        };
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
