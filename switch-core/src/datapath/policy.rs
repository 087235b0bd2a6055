//! Stages 3 and 4: may this frame come from its port, and pass the access control lists of port and
//! network? The lists at its way out are asked the same way, in [`leave`](super::leave).
//!
//! Only frames of ports with security, lists or policers come here. What a frame carries is read
//! where somebody asks for it; a packet that cannot be read passes no list. What was said about a
//! flow is kept twice: with all fields that the lists ask for in the flow table, and for ordinary
//! frames by a [`shortcut`](super::shortcut) that leads past all these stages.

use super::{
    Context, Entry, Received, classify,
    shortcut::{Counted, Owner, Reading, Settling, Shortcuts},
};
use crate::{
    acl::{
        guard::{Guard, Refused},
        list::Hits,
        pack::Packed,
    },
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
    wire::{layer2::Layer2, ordinary::Ordinary, packet::Packet},
};

/// What a list, or the flow table in its place, has said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said {
    pub(super) allowed: Result<(), DropReason>,
    /// Frames like this one may take a shortcut; and the flow, where there is a list.
    pub(super) shortcut: Option<Option<(Ticket, flow::Verdict)>>,
}

impl Said {
    /// About a frame that no list is asked about.
    const NOTHING: Self = Self {
        allowed: Ok(()),
        shortcut: Some(None),
    };

    /// It may not pass, and what comes next is asked about anew.
    const fn refused(reason: DropReason) -> Self {
        Self {
            allowed: Err(reason),
            shortcut: None,
        }
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
    let mut policed = Counted::default();
    let (mut frames, mut entries) = (burst.as_slice(), entries);
    loop {
        let mut is_unknown = false;
        if let Some(Known { shortcuts, reading }) = &mut known {
            let run = shortcuts.take_run(reading, stations, (frames, region), entries);
            policed.add(run.count, run.bytes);
            is_unknown = run.is_unknown;
            (frames, entries) = (&frames[run.count..], &mut entries[run.count..]);
        }
        let (Some((frame, other_frames)), Some((entry, other_entries))) =
            (frames.split_first(), entries.split_first_mut())
        else {
            return policed;
        };
        let known = known.as_mut();
        enter_one(
            received,
            stations,
            (frame, region),
            entry,
            known,
            is_unknown,
        );
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

/// A frame that needs a closer look: a shortcut out of the ordinary, or the stages themselves, at
/// once where it is said that there is no shortcut.
#[inline(never)]
fn enter_one(
    received: &Received<'_>,
    stations: &View<'_>,
    (frame, region): (&Frame, &Region),
    entry: &mut Entry,
    known: Option<&mut Known<'_>>,
    is_unknown: bool,
) {
    let Some(Known { shortcuts, reading }) = known else {
        enter_anew(received, stations, (frame, region), entry);
        return;
    };
    if !is_unknown && shortcuts.take_other(reading, stations, (frame, region), entry) {
        return;
    }
    let said = enter_anew(received, stations, (frame, region), entry);
    let context = received.context;
    if let Some(flow) = said.shortcut {
        let sender = received.ingress;
        insert(
            context,
            shortcuts,
            reading,
            (frame, region),
            entry,
            (sender, flow),
        );
    }
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
    let place = (ingress, entry.network());
    let said = inspect(context, policy, place, head, frame.size());
    if let Err(reason) = said.allowed {
        entry.drop(reason);
    }
    said
}

/// Whether a frame may enter.
fn inspect(
    context: &Context<'_>,
    policy: &Policy,
    (ingress, network): (PortIndex, NetworkIndex),
    head: &[u8],
    size: usize,
) -> Said {
    let guard = policy.guard(ingress);
    let pair = policy.pair(Direction::FromPort, ingress, network);
    if guard.is_none() && pair.is_empty() {
        return Said::NOTHING;
    }
    let gate = Gate {
        context,
        guard,
        pair,
        ingress,
        network,
    };
    match Ordinary::read(head, size) {
        Some(packet) => gate.judge_ordinary(&packet, size),
        None => gate.judge_other(head, size),
    }
}

/// What stands at a way in.
struct Gate<'a> {
    context: &'a Context<'a>,
    guard: Option<&'a Guard>,
    pair: Pair<'a>,
    ingress: PortIndex,
    network: NetworkIndex,
}

impl Gate<'_> {
    /// Whether a frame may enter that carries an ordinary packet.
    #[inline(always)]
    fn judge_ordinary(&self, packet: &Ordinary, size: usize) -> Said {
        if let Some(guard) = self.guard
            && let Err(refused) = guard.check_ordinary(packet)
        {
            return Said::refused(reason_of(refused));
        }
        self.ask(Packed::of_ordinary(self.network, packet), size)
    }

    /// The same for any frame.
    #[inline(never)]
    fn judge_other(&self, head: &[u8], size: usize) -> Said {
        let Ok(header) = Layer2::parse(head) else {
            return Said::refused(DropReason::Truncated);
        };
        let Ok(packet) = Packet::of_frame(&header, head, size) else {
            return Said::refused(DropReason::Malformed);
        };
        if let Some(guard) = self.guard
            && let Err(refused) = guard.check(&header, &packet, header.payload(head))
        {
            return Said::refused(reason_of(refused));
        }
        self.ask(Packed::new(self.network, &header, &packet), size)
    }

    /// What the lists say of a frame that the guard lets in.
    #[inline(always)]
    fn ask(&self, fields: Packed, size: usize) -> Said {
        let Self {
            context,
            pair,
            ingress,
            network,
            ..
        } = self;
        if pair.is_empty() {
            return Said::NOTHING;
        }
        let asked = Asked {
            fields,
            size,
            sender: *ingress,
        };
        let generation = context.snapshot.policy_generation;
        let place = FlowPlace::new(Direction::FromPort, *ingress, *network, generation);
        pass(context, pair, place, &asked, DropReason::AclFromPort)
    }
}

/// Why a frame is dropped that may not come from its port at all.
fn reason_of(refused: Refused) -> DropReason {
    match refused {
        Refused::Malformed => DropReason::Malformed,
        Refused::Mac => DropReason::MacNotAllowed,
        Refused::Address => DropReason::AddressNotAllowed,
        Refused::DhcpServer => DropReason::DhcpServerGuard,
        Refused::Router => DropReason::RouterGuard,
        Refused::Bpdu => DropReason::BpduGuard,
    }
}

/// What lists are asked about.
pub(super) struct Asked {
    pub(super) fields: Packed,
    pub(super) size: usize,
    pub(super) sender: PortIndex,
}

/// Lets the lists of a place decide about a frame, or the flow table, which has asked them before.
pub(super) fn pass(
    context: &Context<'_>,
    pair: &Pair<'_>,
    place: FlowPlace,
    asked: &Asked,
    reason: DropReason,
) -> Said {
    let said = |allowed: bool, shortcut| Said {
        allowed: if allowed { Ok(()) } else { Err(reason) },
        shortcut,
    };
    let Some(flows) = context.flows else {
        return said(ask(context, pair, asked, &mut Hits::new()), None);
    };
    let [w0, w1, w2, w3, w4, w5, w6] = pair.masked(&asked.fields).0;
    let key = [w0, w1, w2, w3, w4, w5, w6, place.to_word()];
    let sought = flows.seek(key);
    if let Some((verdict, ticket)) = flows.find(&sought, asked.size, context.now) {
        let counters = context.counters;
        counters.count_hits(verdict.hits(), 1, asked.size as u64);
        return said(verdict.allowed, Some(Some((ticket, verdict))));
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
    said(allowed, None)
}

/// Lets the lists decide, and counts which rules the frame met.
fn ask(context: &Context<'_>, pair: &Pair<'_>, asked: &Asked, hits: &mut Hits) -> bool {
    let allowed = pair.allows(&asked.fields, hits);
    context.counters.count_hits(hits, 1, asked.size as u64);
    allowed
}
