//! Stages 3 and 4, and 9 on the way out: may this frame come from its port, and pass the access
//! control lists of port and network?
//!
//! Only frames of ports with security, and of networks that a list is attached to somewhere, come
//! here. What they carry is read once; a packet that cannot be read passes no list.

use arrayvec::ArrayVec;

use super::{Context, Entry};
use crate::{
    acl::{
        guard::{Guard, Refused},
        list::Hits,
        pack::Packed,
    },
    config::policy::{Direction, FlowPlace, Pair, Policy},
    counters::DropReason,
    limits::{BURST, NetworkIndex, PortIndex},
    mem::{Burst, Region},
    table::flow,
    wire::{
        layer2::Layer2,
        packet::{Malformed, Packet},
    },
};

/// What is known of the frames of a burst, in their order; empty where nobody has to know. It is
/// large, and stays where it is: without policy it costs nothing but its place on the stack.
pub(super) type Inspected = ArrayVec<Inspection, BURST>;

/// What was found behind a frame's layer 2 header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inspection {
    fields: Result<Packed, Malformed>,
    size: usize,
    sender: PortIndex,
}

impl Inspection {
    /// Of a frame that was dropped before, or that no list is about.
    const NOTHING: Self = Self {
        fields: Err(Malformed::Ip),
        size: 0,
        sender: PortIndex::new(0),
    };
}

/// Reads the packets of a burst, and lets those in that the security of the port, and the lists of
/// the port and of their networks, allow.
pub(super) fn enter(
    context: &Context<'_>,
    ingress: PortIndex,
    burst: &Burst,
    region: &Region,
    entries: &mut [Entry],
    inspected: &mut Inspected,
) {
    let Some(policy) = context.snapshot.rules.policy.as_deref() else {
        return;
    };
    for (frame, entry) in burst.iter().zip(entries) {
        let mut inspection = Inspection::NOTHING;
        if entry.is_undecided() {
            let network = entry.destination.network();
            let judged = Received {
                context,
                policy,
                ingress,
                network,
            }
            .inspect(region.head(frame), frame.size(), &mut inspection);
            if let Err(reason) = judged {
                entry.drop(reason);
            }
        }
        inspected.push(inspection);
    }
}

/// Where a frame has come from.
struct Received<'a> {
    context: &'a Context<'a>,
    policy: &'a Policy,
    ingress: PortIndex,
    network: NetworkIndex,
}

impl Received<'_> {
    /// Whether a frame may enter; also notes what is known of it.
    fn inspect(
        &self,
        head: &[u8],
        size: usize,
        inspection: &mut Inspection,
    ) -> Result<(), DropReason> {
        let guard = self.policy.guard(self.ingress);
        if guard.is_none() && !self.policy.concerns(self.network) {
            return Ok(());
        }
        let header = Layer2::parse(head).map_err(|_| DropReason::Truncated)?;
        let packet = Packet::of_frame(&header, head, size);
        if let Some(guard) = guard {
            secure(guard, &header, packet, head)?;
        }
        *inspection = Inspection {
            fields: packet.map(|packet| Packed::new(self.network, &header, &packet)),
            size,
            sender: self.ingress,
        };
        let place = (self.ingress, self.network);
        pass(
            self.context,
            self.policy,
            Direction::FromPort,
            place,
            inspection,
        )
    }
}

/// Whether a frame may leave by a port.
///
/// # Errors
/// When it may not.
pub(super) fn leave(
    context: &Context<'_>,
    inspected: &Inspected,
    position: usize,
    port: PortIndex,
    network: NetworkIndex,
) -> Result<(), DropReason> {
    let Some(policy) = context.snapshot.rules.policy.as_deref() else {
        return Ok(());
    };
    // Of a frame that nobody has looked at, nothing is known that a list could allow.
    let inspection = inspected.get(position).unwrap_or(&Inspection::NOTHING);
    let place = (port, network);
    pass(context, policy, Direction::ToPort, place, inspection)
}

/// Stage 3: whether a frame may come from its port at all.
fn secure(
    guard: &Guard,
    header: &Layer2,
    packet: Result<Packet, Malformed>,
    head: &[u8],
) -> Result<(), DropReason> {
    let packet = packet.map_err(|_| DropReason::Malformed)?;
    guard
        .check(header, &packet, header.payload(head))
        .map_err(|refused| match refused {
            Refused::Malformed => DropReason::Malformed,
            Refused::Mac => DropReason::MacNotAllowed,
            Refused::Address => DropReason::AddressNotAllowed,
            Refused::DhcpServer => DropReason::DhcpServerGuard,
            Refused::Router => DropReason::RouterGuard,
            Refused::Bpdu => DropReason::BpduGuard,
        })
}

/// Lets the lists of a place decide about a frame, or the flow table, which has asked them before.
fn pass(
    context: &Context<'_>,
    policy: &Policy,
    direction: Direction,
    (port, network): (PortIndex, NetworkIndex),
    inspection: &Inspection,
) -> Result<(), DropReason> {
    let pair = policy.pair(direction, port, network);
    if pair.is_empty() {
        return Ok(());
    }
    let fields = inspection.fields.map_err(|_| DropReason::Malformed)?;
    let allowed = match context.flows {
        None => ask(context, &pair, &fields, inspection.size).0,
        Some(flows) => {
            let generation = context.snapshot.policy_generation;
            let place = FlowPlace::new(direction, port, network, generation);
            let [w0, w1, w2, w3, w4, w5, w6] = fields.masked(&pair.mask()).0;
            let key = [w0, w1, w2, w3, w4, w5, w6, place.to_word()];
            match flows.find(&key, inspection.size, context.now) {
                Some(verdict) => {
                    count(context, verdict.hits(), inspection.size);
                    verdict.allowed
                }
                None => {
                    let (allowed, hits) = ask(context, &pair, &fields, inspection.size);
                    if let Some(verdict) = flow::Verdict::new(allowed, &hits) {
                        let sender = inspection.sender;
                        flows.insert(&key, sender, &verdict, inspection.size, context.now);
                    }
                    allowed
                }
            }
        }
    };
    match (allowed, direction) {
        (true, _) => Ok(()),
        (false, Direction::FromPort) => Err(DropReason::AclFromPort),
        (false, Direction::ToPort) => Err(DropReason::AclToPort),
    }
}

/// Lets the lists decide.
#[cold]
fn ask(context: &Context<'_>, pair: &Pair<'_>, fields: &Packed, size: usize) -> (bool, Hits) {
    let mut hits = Hits::new();
    let allowed = pair.allows(&fields.unpack(), &mut hits);
    count(context, &hits, size);
    (allowed, hits)
}

fn count(context: &Context<'_>, hits: &[u32], size: usize) {
    for hit in hits {
        let counters = context.counters.hit(*hit);
        counters.frames.add(1);
        counters.bytes.add(size as u64);
    }
}
