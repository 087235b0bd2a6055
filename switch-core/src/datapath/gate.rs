//! Stages 3 and 4 at a way in: what the guard of the port, and the lists of port and network, say
//! of a frame.

use std::hint::cold_path;

use super::{
    Context, Entry, Received,
    policy::{Asked, Flow, Said, pass},
    shortcut::Unknown,
};
use crate::{
    acl::{
        guard::{Guard, Refused},
        list::List,
        pack::Packed,
    },
    config::policy::{Direction, FlowPlace, Pair, Policy, flow_key},
    counters::DropReason,
    limits::{NetworkIndex, PortIndex},
    table::{
        fdb::View,
        flow::{FlowTable, Newcomer, Verdict},
    },
    wire::{layer2::Layer2, ordinary::Ordinary, packet::Packet},
};

/// What stands at a way in.
pub(super) struct Gate<'a> {
    context: &'a Context<'a>,
    guard: Option<&'a Guard>,
    pair: Pair<'a>,
    /// The flows and the list, where a single one is asked, and of its rules one alone.
    simple: Option<(&'a FlowTable, &'a List)>,
    place: FlowPlace,
    /// The place as a word of a flow's key.
    word: u64,
}

impl<'a> Gate<'a> {
    /// That of frames of a network that come from a port.
    pub(super) fn new(
        context: &'a Context<'a>,
        policy: &'a Policy,
        ingress: PortIndex,
        network: NetworkIndex,
    ) -> Self {
        let generation = context.snapshot.policy_generation;
        let place = FlowPlace::new(Direction::FromPort, ingress, network, generation);
        let pair = policy.pair(Direction::FromPort, ingress, network);
        Self {
            context,
            guard: policy.guard(ingress),
            pair,
            simple: context
                .flows
                .zip(pair.only().filter(|list| list.decides_alone())),
            place,
            word: place.to_word(),
        }
    }

    /// That of frames without a tag; none where the port does not accept them, or no policy asks
    /// anything of frames.
    #[inline(never)]
    fn of_untagged(received: &Received<'a>) -> Option<Self> {
        let Received {
            context,
            ingress,
            rules,
        } = *received;
        let policy = context.snapshot.rules.policy.as_deref()?;
        Some(Self::new(context, policy, ingress, rules.untagged?))
    }

    /// Whether a frame may enter.
    pub(super) fn judge(&self, head: &[u8], size: usize) -> Said {
        if self.guard.is_none() && self.pair.is_empty() {
            return Said::NOTHING;
        }
        match Ordinary::read(head, size) {
            Some(packet) => self.judge_ordinary(&packet, size),
            None => self.judge_other(head, size),
        }
    }

    /// Whether a frame may enter that carries an ordinary packet.
    fn judge_ordinary(&self, packet: &Ordinary, size: usize) -> Said {
        if let Some(guard) = self.guard
            && let Err(refused) = guard.check_ordinary(packet)
        {
            return Said::Refused(reason_of(refused));
        }
        if self.pair.is_empty() {
            return Said::NOTHING;
        }
        let fields = Packed::of_ordinary(self.place.network, packet);
        self.pass(&self.asked(fields, size))
    }

    /// What is said of the frame of a flow that is not known, where one list decides alone and the
    /// flow table sees at once what is to become of the flow; none, and nothing is done, where that
    /// takes a closer look.
    #[inline(always)]
    fn judge_newcomer(&self, packet: &Ordinary, size: usize) -> Option<Result<(), DropReason>> {
        let (flows, list) = self.simple?;
        if let Some(guard) = self.guard
            && guard.check_ordinary(packet).is_err()
        {
            cold_path();
            return None;
        }
        let fields = Packed::of_ordinary(self.place.network, packet);
        let (sender, now) = (self.place.port, self.context.now);
        let key = flow_key(&fields, list.mask(), self.word);
        let entering = match flows.newcomer(key, sender, size, now) {
            Newcomer::Enters(entering) => Some(entering),
            Newcomer::Waits => None,
            Newcomer::Unclear => {
                cold_path();
                return None;
            }
        };
        let (allowed, hit) = list.decide_on_ordinary(&fields);
        self.context.counters.count_hit(hit, 1, size as u64);
        if let Some(entering) = entering {
            entering.finish(&Verdict::of_rule(allowed, hit));
        }
        Some(allowed.then_some(()).ok_or(DropReason::AclFromPort))
    }

    /// The same for any frame.
    #[inline(never)]
    fn judge_other(&self, head: &[u8], size: usize) -> Said {
        let Ok(header) = Layer2::parse(head) else {
            return Said::Refused(DropReason::Truncated);
        };
        let Ok(packet) = Packet::of_frame(&header, head, size) else {
            return Said::Refused(DropReason::Malformed);
        };
        if let Some(guard) = self.guard
            && let Err(refused) = guard.check(&header, &packet, header.payload(head))
        {
            return Said::Refused(reason_of(refused));
        }
        if self.pair.is_empty() {
            return Said::NOTHING;
        }
        let fields = Packed::new(self.place.network, &header, &packet);
        self.pass(&self.asked(fields, size))
    }

    #[inline(always)]
    fn asked(&self, fields: Packed, size: usize) -> Asked {
        Asked {
            fields,
            size,
            sender: self.place.port,
        }
    }

    /// What the lists say of a frame that the guard lets in.
    fn pass(&self, asked: &Asked) -> Said {
        let reason = DropReason::AclFromPort;
        pass(self.context, &self.pair, self.place, asked, reason)
    }
}

/// Frames of IPv4 without a tag of whose flows no shortcut is known.
pub(super) struct Newcomers<'a, 'p> {
    received: &'a Received<'p>,
    stations: &'a View<'a>,
    /// What stands at the way in of frames without a tag, if there is such a way, once one has
    /// come.
    gate: Option<Option<Gate<'p>>>,
    /// The last one has been entered, but not all is done: it was dropped, or this flow is to be
    /// kept.
    pub(super) last: Option<Option<Flow>>,
}

impl<'a, 'p> Newcomers<'a, 'p> {
    /// Those of a burst.
    pub(super) fn new(received: &'a Received<'p>, stations: &'a View<'a>) -> Self {
        Self {
            received,
            stations,
            gate: None,
            last: None,
        }
    }

    /// Stages 1 to 4, where such a frame is from one station to another. Whether it goes on, and
    /// nothing is left to be done.
    #[inline(always)]
    pub(super) fn enter(&mut self, unknown: Unknown<'_>, size: usize, entry: &mut Entry) -> bool {
        let packet = unknown.packet();
        let received = self.received;
        let gate = self.gate.get_or_insert_with(|| Gate::of_untagged(received));
        let Some(gate) = gate else {
            return false;
        };
        // A branch each: to put the answers together would cost more.
        if packet.destination.is_group() {
            cold_path();
            return false;
        }
        if !packet.source.is_station() {
            cold_path();
            return false;
        }
        // Its cache misses are under way while the lists are asked.
        let network = gate.place.network;
        let source = self.stations.prefetch(network, packet.source);
        let destination = self.stations.prefetch(network, packet.destination);
        *entry = Entry::new(source, destination, None);
        match gate.judge_newcomer(&packet, size) {
            Some(Ok(())) => true,
            Some(Err(reason)) => {
                cold_path();
                entry.drop(reason);
                self.last = Some(None);
                false
            }
            None => self.enter_other(unknown, size, entry),
        }
    }

    /// The same for one that takes a closer look. The packet is made anew, so that it need not be
    /// in memory for the others.
    #[inline(never)]
    fn enter_other(&mut self, unknown: Unknown<'_>, size: usize, entry: &mut Entry) -> bool {
        let Some(Some(gate)) = &self.gate else {
            return false;
        };
        let said = gate.judge_ordinary(&unknown.packet(), size);
        if let Said::Allowed = said {
            return true;
        }
        self.last = Some(said.enter(entry));
        false
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
