//! The flows of all workers, for people.

use std::net::IpAddr;

use super::Engine;
use crate::{
    acl::{
        key::Field,
        pack::{Packed, WORDS},
    },
    config::policy::{Direction, FlowPlace},
    limits::{NetworkIndex, PortIndex, WorkerIndex},
    table::flow::{Events, Flow},
    wire::{
        arp::ETHERTYPE_ARP,
        ethernet::Mac,
        ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Fragment},
    },
};

/// A flow: frames that policy treats alike at one place. A field that no rule there asks for is
/// none, and frames of the flow may differ in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowRecord {
    /// Who keeps it; frames that come by several queues may be at several workers.
    pub worker: WorkerIndex,
    /// Into the switch or out of it.
    pub direction: Direction,
    /// The port where it enters or leaves.
    pub port: PortIndex,
    /// Whose frames these are; the same as `port` on the way in.
    pub sender: PortIndex,
    /// The network.
    pub network: NetworkIndex,
    /// It may pass.
    pub allowed: bool,
    /// The counters of the rules that it meets here.
    pub hits: Vec<u32>,
    /// Source MAC address.
    pub source_mac: Option<Mac>,
    /// Destination MAC address.
    pub destination_mac: Option<Mac>,
    /// The EtherType behind the outer tag.
    pub ethertype: Option<u16>,
    /// IP source, or ARP's sender.
    pub source: Option<IpAddr>,
    /// IP destination, or ARP's target.
    pub destination: Option<IpAddr>,
    /// IP protocol, or ARP operation.
    pub protocol: Option<u8>,
    /// Source port, or ICMP type; none where it is no part of the frames, too.
    pub source_port: Option<u16>,
    /// Destination port, or ICMP code; the same.
    pub destination_port: Option<u16>,
    /// TCP flags.
    pub tcp_flags: Option<u8>,
    /// Differentiated services code point.
    pub dscp: Option<u8>,
    /// Whole packets or fragments.
    pub fragment: Option<Fragment>,
    /// Priority code point.
    pub pcp: Option<u8>,
    /// Frames so far.
    pub frames: u64,
    /// Bytes so far, as they were received.
    pub bytes: u64,
    /// Seconds since the first frame.
    pub age_s: u32,
    /// Seconds since the last frame.
    pub idle_s: u32,
}

impl Engine {
    /// The flows that are not idle, worker by worker.
    #[must_use]
    pub fn flows(&self) -> Vec<FlowRecord> {
        let now = self.now();
        let tables = self.shared.flows.iter().enumerate();
        let flows = tables.flat_map(|(worker, table)| {
            let flows = table
                .get()
                .into_iter()
                .flat_map(move |table| table.flows(now));
            flows.map(move |flow| (WorkerIndex::new(worker), flow))
        });
        flows
            .filter_map(|(worker, flow)| self.record(worker, &flow))
            .collect()
    }

    /// What has happened in a worker's flow table; none where it has none.
    #[must_use]
    pub fn flow_events(&self, worker: WorkerIndex) -> Option<Events> {
        let table = self.shared.flows.get(worker.get())?.get()?;
        Some(table.events())
    }

    /// A flow in words; none of an earlier configuration.
    fn record(&self, worker: WorkerIndex, flow: &Flow) -> Option<FlowRecord> {
        let place = FlowPlace::of_word(flow.key[WORDS]);
        if !place.is_of_generation(self.policy_generation) {
            return None;
        }
        let policy = self.rules.policy.as_ref()?;
        let mask = policy
            .pair(place.direction, place.port, place.network)
            .mask();
        let key = Packed(*flow.key.first_chunk()?);
        let field = |field| (mask.get(field) != 0).then(|| key.get(field));
        let transport = key.get(Field::Transport) != 0 || mask.get(Field::Transport) == 0;
        let number = |port| field(port).filter(|_| transport).map(|port| port as u16);
        let now = self.now();
        Some(FlowRecord {
            worker,
            direction: place.direction,
            port: place.port,
            sender: flow.sender,
            network: place.network,
            allowed: flow.verdict.allowed,
            hits: flow.verdict.hits().to_vec(),
            source_mac: field(Field::SourceMac).map(Mac::from_u64),
            destination_mac: field(Field::DestinationMac).map(Mac::from_u64),
            ethertype: field(Field::Ethertype).map(|ethertype| ethertype as u16),
            source: address(&key, &mask, Field::SourceHigh, Field::SourceLow),
            destination: address(&key, &mask, Field::DestinationHigh, Field::DestinationLow),
            protocol: field(Field::Protocol).map(|protocol| protocol as u8),
            source_port: number(Field::SourcePort),
            destination_port: number(Field::DestinationPort),
            tcp_flags: field(Field::TcpFlags).map(|flags| flags as u8),
            dscp: field(Field::Dscp).map(|dscp| dscp as u8),
            fragment: field(Field::Fragment).map(|fragment| match fragment {
                0 => Fragment::No,
                1 => Fragment::First,
                _ => Fragment::Later,
            }),
            pcp: field(Field::Pcp).map(|pcp| pcp as u8),
            frames: flow.frames,
            bytes: flow.bytes,
            age_s: now.since(flow.first_seen),
            idle_s: now.since(flow.last_seen),
        })
    }
}

/// The address in two fields, by the EtherType, which every rule about addresses asks for, too.
fn address(key: &Packed, mask: &Packed, high: Field, low: Field) -> Option<IpAddr> {
    let (upper, lower) = (key.get(high), key.get(low));
    match key.get(Field::Ethertype) as u16 {
        ETHERTYPE_IPV6 if mask.get(high) != 0 => {
            let number = u128::from(upper) << 64 | u128::from(lower);
            Some(IpAddr::V6(number.into()))
        }
        ETHERTYPE_IPV4 | ETHERTYPE_ARP if mask.get(low) != 0 => {
            Some(IpAddr::V4((lower as u32).into()))
        }
        _ => None,
    }
}
