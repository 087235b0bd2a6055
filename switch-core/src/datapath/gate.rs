//! Stages 3 and 4 at a way in: what the guard of the port, and the lists of port and network, say
//! of a frame.

use super::policy::{Asked, Said, ask, pass};
use super::{Context, Received};
use crate::{
    acl::{
        guard::{Guard, Refused},
        list::Hits,
        pack::Packed,
    },
    config::policy::{Direction, FlowPlace, Pair, Policy},
    counters::DropReason,
    limits::{NetworkIndex, PortIndex},
    wire::{layer2::Layer2, ordinary::Ordinary, packet::Packet},
};

/// What stands at a way in.
pub(super) struct Gate<'a> {
    context: &'a Context<'a>,
    guard: Option<&'a Guard>,
    pair: Pair<'a>,
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
        Self {
            context,
            guard: policy.guard(ingress),
            pair: policy.pair(Direction::FromPort, ingress, network),
            place,
            word: place.to_word(),
        }
    }

    /// That of frames without a tag; none where the port does not accept them, or no policy asks
    /// anything of frames.
    #[inline(never)]
    pub(super) fn of_untagged(received: &Received<'a>) -> Option<Self> {
        let Received {
            context,
            ingress,
            rules,
        } = *received;
        let policy = context.snapshot.rules.policy.as_deref()?;
        Some(Self::new(context, policy, ingress, rules.untagged?))
    }

    /// The network of the frames.
    pub(super) fn network(&self) -> NetworkIndex {
        self.place.network
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
    #[inline(always)]
    pub(super) fn judge_ordinary(&self, packet: &Ordinary, size: usize) -> Said {
        if let Some(guard) = self.guard
            && let Err(refused) = guard.check_ordinary(packet)
        {
            return Said::Refused(reason_of(refused));
        }
        if self.pair.is_empty() {
            return Said::NOTHING;
        }
        let asked = self.asked(Packed::of_ordinary(self.place.network, packet), size);
        if let Some(list) = self.pair.only()
            && self.waits(&asked)
        {
            // Nearly all frames of unknown flows, in a flood of them.
            let Some((allowed, hit)) = list.decide_on_ordinary(&asked.fields) else {
                return self.ask(&asked);
            };
            self.context.counters.count_hit(hit, 1, size as u64);
            return Said::of_frame(allowed, DropReason::AclFromPort);
        }
        self.pass(&asked)
    }

    /// What the lists say of a frame whose flow is not kept.
    #[inline(never)]
    fn ask(&self, asked: &Asked) -> Said {
        let allowed = ask(self.context, &self.pair, asked, &mut Hits::new());
        Said::of_frame(allowed, DropReason::AclFromPort)
    }

    /// Whether the flow of a frame is not known, and is not kept either.
    #[inline(always)]
    fn waits(&self, asked: &Asked) -> bool {
        let Some(flows) = self.context.flows else {
            return true;
        };
        let home = flows.home(&self.pair.flow_key(&asked.fields, self.word));
        flows.waits(home, asked.sender, self.context.now)
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
