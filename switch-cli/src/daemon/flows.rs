//! The flow tables as the API shows them.

use switch_core::{engine::FlowRecord, wire::ip::Fragment};

use super::switch::Switch;
use crate::api;

/// The flows of all workers, those with the most bytes first.
pub fn flows(switch: &Switch) -> Vec<api::Flow> {
    let records = switch.engine.flows();
    let mut flows: Vec<_> = records
        .iter()
        .filter_map(|flow| flow_of(switch, flow))
        .collect();
    flows.sort_by_key(|flow| std::cmp::Reverse(flow.bytes));
    flows
}

/// Nothing of a flow whose port or network is just being removed.
fn flow_of(switch: &Switch, flow: &FlowRecord) -> Option<api::Flow> {
    let rules = switch.engine.rules();
    let port = |index| rules.port(index).map(|port| port.name.to_string());
    Some(api::Flow {
        worker: flow.worker.get(),
        direction: flow.direction.name().to_owned(),
        port: port(flow.port)?,
        sender: port(flow.sender)?,
        network: rules.network(flow.network)?.name.to_string(),
        verdict: if flow.allowed { "allow" } else { "deny" }.to_owned(),
        source_mac: flow.source_mac.map(|mac| mac.to_string()),
        destination_mac: flow.destination_mac.map(|mac| mac.to_string()),
        ethertype: flow.ethertype.map(|ethertype| format!("{ethertype:#06x}")),
        source: flow.source.map(|address| address.to_string()),
        destination: flow.destination.map(|address| address.to_string()),
        protocol: flow.protocol,
        source_port: flow.source_port,
        destination_port: flow.destination_port,
        tcp_flags: flow.tcp_flags,
        dscp: flow.dscp,
        fragment: flow.fragment.map(|fragment| {
            let word = match fragment {
                Fragment::No => "no",
                Fragment::First => "first",
                Fragment::Later => "later",
            };
            word.to_owned()
        }),
        pcp: flow.pcp,
        frames: flow.frames,
        bytes: flow.bytes,
        age_s: flow.age_s,
        idle_s: flow.idle_s,
    })
}
