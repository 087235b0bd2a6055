//! Stages 3 and 4: may this frame come from its port, and pass the access control lists of port and
//! network? The lists at its way out are asked the same way, in [`leave`](super::leave).
//!
//! Only frames of ports with security, lists or policers come here. What a frame carries is read
//! where somebody asks for it; a packet that cannot be read passes no list. What was said about a
//! flow is kept twice: with all fields that the lists ask for in the flow table, and for ordinary
//! frames by a [`shortcut`](super::shortcut) that leads past all these stages.

use super::{
    Context, Entry, Received, classify,
    gate::{Gate, Newcomers},
    shortcut::{Counted, Owner, Reading, Scene, Settling, Shortcuts, Unknown},
};
use crate::{
    acl::{list::Hits, pack::Packed},
    config::{
        policy::{Direction, FlowPlace, Pair, Policy},
        snapshot::PortRules,
    },
    counters::DropReason,
    limits::{NetworkIndex, PortIndex},
    mem::{Burst, Frame, Region},
    table::{
        fdb::View,
        flow::{self, Ticket},
    },
};

/// What guard, lists, or the flow table in their place, have said of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) enum Said {
    /// It may pass.
    Allowed,
    /// It may not; what comes next is asked about anew.
    Refused(DropReason),
    /// What is said of all frames of its flow, which so may take a shortcut.
    OfFlow(Result<(), DropReason>, Flow),
}

impl Said {
    /// About a frame that no list is asked about.
    pub(super) const NOTHING: Self = Self::OfFlow(Ok(()), None);

    /// About a frame whose flow is not kept.
    #[inline(always)]
    pub(super) fn of_frame(allowed: bool, reason: DropReason) -> Self {
        match allowed {
            true => Self::Allowed,
            false => Self::Refused(reason),
        }
    }

    /// Whether the frame may pass.
    pub(super) fn allowed(&self) -> Result<(), DropReason> {
        match self {
            Self::Allowed => Ok(()),
            Self::Refused(reason) => Err(*reason),
            Self::OfFlow(allowed, _) => *allowed,
        }
    }

    /// The flow that may take a shortcut.
    pub(super) fn flow(self) -> Option<Flow> {
        match self {
            Self::Allowed | Self::Refused(_) => None,
            Self::OfFlow(_, flow) => Some(flow),
        }
    }

    /// Enters it, and gives the flow.
    pub(super) fn enter(self, entry: &mut Entry) -> Option<Flow> {
        if let Err(reason) = self.allowed() {
            entry.drop(reason);
        }
        self.flow()
    }
}

/// Stages 1 to 4 for a port that policy concerns: enters the frames of a burst, and lets those in
/// that the security of the port, and the lists of the port and of their networks, allow. Gives
/// what is left to be policed.
#[cold]
#[inline(never)]
pub(super) fn enter(
    received: &Received<'_>,
    stations: &View<'_>,
    (burst, region): (&Burst, &Region),
    entries: &mut [Entry],
    shortcuts: Option<&mut Shortcuts>,
) -> Counted {
    let context = received.context;
    // Without flows there is nothing to lead to.
    let mut known = shortcuts
        .filter(|_| context.flows.is_some())
        .map(|shortcuts| Known {
            reading: reading(context, way_in(received), received.rules),
            shortcuts,
        });
    let mut newcomers = Newcomers::new(received, stations);
    let mut policed = Counted::default();
    let (mut frames, mut entries) = (burst.as_slice(), entries);
    loop {
        let mut is_unknown = false;
        if let Some(Known { shortcuts, reading }) = &mut known {
            let enter_unknown = &mut |unknown: Unknown<'_>, size, entry: &mut Entry| {
                newcomers.enter(unknown, size, entry)
            };
            let scene = Scene {
                reading,
                stations,
                region,
            };
            let run = shortcuts.take_run(scene, frames, entries, enter_unknown);
            policed.add(run.count, run.bytes);
            is_unknown = run.is_unknown;
            (frames, entries) = (&frames[run.count..], &mut entries[run.count..]);
        }
        let (Some((frame, other_frames)), Some((entry, other_entries))) =
            (frames.split_first(), entries.split_first_mut())
        else {
            return policed;
        };
        let flow = newcomers.last.take().unwrap_or_else(|| {
            let known = known.as_mut();
            enter_other(
                received,
                stations,
                (frame, region),
                entry,
                known,
                is_unknown,
            )
        });
        if let (Some(flow), Some(Known { shortcuts, reading })) = (flow, &mut known) {
            let owner = (received.ingress, flow);
            insert(context, shortcuts, reading, (frame, region), entry, owner);
        }
        if entry.is_undecided() {
            policed.add(1, frame.size());
        }
        (frames, entries) = (other_frames, other_entries);
    }
}

/// The shortcuts, and how frames of the burst find theirs.
struct Known<'a> {
    shortcuts: &'a mut Shortcuts,
    reading: Reading,
}

/// A flow that was found in the flow table; none where no list is asked.
pub(super) type Flow = Option<(Ticket, flow::Verdict)>;

/// A frame of a flow whose shortcut is out of the ordinary, or that goes through the stages, at
/// once where it is said that there is no shortcut; gives the flow if it is to be kept.
#[inline(never)]
fn enter_other(
    received: &Received<'_>,
    stations: &View<'_>,
    (frame, region): (&Frame, &Region),
    entry: &mut Entry,
    known: Option<&mut Known<'_>>,
    is_unknown: bool,
) -> Option<Flow> {
    let may_be_kept = known.is_some();
    if let Some(Known { shortcuts, reading }) = known
        && !is_unknown
    {
        let scene = Scene {
            reading,
            stations,
            region,
        };
        if shortcuts.take_other(scene, frame, entry) {
            return None;
        }
    }
    let said = enter_anew(received, stations, (frame, region), entry);
    said.enter(entry).filter(|_| may_be_kept)
}

/// The place where a frame comes in; its network follows from its tag.
pub(super) fn way_in(received: &Received<'_>) -> FlowPlace {
    let generation = received.context.snapshot.policy_generation;
    let any_network = NetworkIndex::new(0);
    FlowPlace::new(
        Direction::FromPort,
        received.ingress,
        any_network,
        generation,
    )
}

/// How frames are read at a place that came from a port with these rules.
pub(super) fn reading(context: &Context<'_>, place: FlowPlace, rules: &PortRules) -> Reading {
    let policy = context.snapshot.rules.policy.as_deref();
    let asks_tcp_flags = policy.is_some_and(Policy::asks_tcp_flags);
    Reading::new(place, rules.tpid, asks_tcp_flags)
}

/// Keeps what has become of a frame for others of its flow, given the sender and the flow.
pub(super) fn insert(
    context: &Context<'_>,
    shortcuts: &mut Shortcuts,
    reading: &Reading,
    frame: (&Frame, &Region),
    entry: &Entry,
    (port, flow): (PortIndex, Option<(Ticket, flow::Verdict)>),
) {
    let (counters, now) = (context.counters, context.now);
    let Some(flows) = context.flows else {
        return;
    };
    let seen = now;
    let owner = Owner { port, flow, seen };
    let settling = Settling {
        counters,
        flows,
        now,
    };
    shortcuts.insert(reading, frame, entry, owner, &settling);
}

/// The stages themselves.
#[inline(always)]
fn enter_anew(
    received: &Received<'_>,
    stations: &View<'_>,
    (frame, region): (&Frame, &Region),
    entry: &mut Entry,
) -> Said {
    let Received {
        context,
        ingress,
        rules,
    } = *received;
    let head = region.head(frame);
    classify::classify_one(context, rules, stations, head, entry);
    let policy = context.snapshot.rules.policy.as_deref();
    let Some(policy) = policy.filter(|_| entry.is_undecided()) else {
        return Said::NOTHING;
    };
    let gate = Gate::new(context, policy, ingress, entry.network());
    gate.judge(head, frame.size())
}

/// What lists are asked about.
pub(super) struct Asked {
    pub(super) fields: Packed,
    pub(super) size: usize,
    pub(super) sender: PortIndex,
}

/// Lets the lists of a place decide about a frame, or the flow table, which has asked them before.
#[inline(never)]
pub(super) fn pass(
    context: &Context<'_>,
    pair: &Pair<'_>,
    place: FlowPlace,
    asked: &Asked,
    reason: DropReason,
) -> Said {
    let Some(flows) = context.flows else {
        return Said::of_frame(ask(context, pair, asked, &mut Hits::new()), reason);
    };
    let sought = flows.seek(pair.flow_key(&asked.fields, place.to_word()));
    if let Some((verdict, ticket)) = flows.find(&sought, asked.size, context.now) {
        let counters = context.counters;
        counters.count_hits(verdict.hits(), 1, asked.size as u64);
        let allowed = verdict.allowed.then_some(()).ok_or(reason);
        return Said::OfFlow(allowed, Some((ticket, verdict)));
    }
    let (sender, now) = (asked.sender, context.now);
    let mut hits = Hits::new();
    let allowed = ask(context, pair, asked, &mut hits);
    if hits.len() <= flow::MOST_HITS
        && let Some(vacancy) = flows.admit(&sought, sender, now)
        && let Some(kept) = hits.first()
    {
        let verdict = flow::Verdict::new(allowed, kept, hits.len());
        flows.insert(&sought, vacancy, sender, &verdict, asked.size, now);
    }
    Said::of_frame(allowed, reason)
}

/// Lets the lists decide, and counts which rules the frame met.
#[inline(always)]
pub(super) fn ask(context: &Context<'_>, pair: &Pair<'_>, asked: &Asked, hits: &mut Hits) -> bool {
    let allowed = pair.allows(&asked.fields, hits);
    context.counters.count_hits(hits, 1, asked.size as u64);
    allowed
}
