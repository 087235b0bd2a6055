//! The switch as the API shows it.

use switch_core::{
    config::{
        AttachedAcls, Name, Policed,
        snapshot::{EgressTag, PortRules, Ruleset},
    },
    counters::DropReason,
    engine::{Entry, Kind},
    limits::{NetworkIndex, PortIndex, WorkerIndex},
    wire::vlan::Vid,
};

use super::{
    addresses::{no_network, no_port},
    port::Port,
    problem::Problem,
    switch::Switch,
    tally::Tally,
    view_qos,
};
use crate::api;

/// All ports, in the order of the file.
pub fn ports(switch: &Switch) -> Vec<api::Port> {
    let ports = switch.ports.iter();
    ports.map(|port| port_of(switch, port)).collect()
}

fn port_of(switch: &Switch, port: &Port) -> api::Port {
    let attachment = port.attachment();
    let totals = switch.engine.port_totals(port.index);
    api::Port {
        name: port.name().to_owned(),
        device: port.device().to_owned(),
        role: port.role().name().to_owned(),
        state: port.state,
        reason: port.reason.clone(),
        mode: attachment.map(|attachment| attachment.mode.name().to_owned()),
        zero_copy: attachment.is_some_and(|attachment| attachment.zero_copy),
        queues: attachment.map_or(0, |attachment| attachment.queues),
        mtu: port.link.as_ref().map(|link| link.mtu),
        rx_frames: totals.rx_frames,
        rx_bytes: totals.rx_bytes,
        tx_frames: totals.tx_frames,
        tx_bytes: totals.tx_bytes,
        drops: drops(switch, port)
            .map(|(name, _, count)| (name.to_owned(), count))
            .collect(),
    }
}

/// The name, the text and the count of every reason.
fn drops(switch: &Switch, port: &Port) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
    let totals = switch.engine.port_totals(port.index);
    let tally = port.tally();
    let too_long = tally.too_long;
    let totals_of_errors = totals.dropped(DropReason::TxError);
    let reasons = DropReason::ALL.iter().map(move |reason| {
        // Such frames are already dropped where they are put together, by the queue.
        let before = if *reason == DropReason::TooLong {
            too_long
        } else {
            0
        };
        (
            reason.name(),
            reason.text(),
            totals.dropped(*reason) + before,
        )
    });
    let kinds = Tally::kinds().filter(|kind| kind.is_drop);
    // What a veth did not take from a TX ring it counts too, and the engine as an error.
    let is_veth = port.link.as_ref().is_some_and(|link| link.kind == "veth");
    let told = if is_veth { totals_of_errors } else { 0 };
    let outside = kinds.map(move |kind| {
        let told = if kind.name == "device_tx_dropped" {
            told
        } else {
            0
        };
        (kind.name, kind.text, tally.get(kind).saturating_sub(told))
    });
    reasons.chain(outside)
}

/// All about one port.
///
/// # Errors
/// When there is none of this name.
pub fn port(switch: &Switch, name: &str) -> Result<api::PortDetail, Problem> {
    let port = switch.port(name).ok_or_else(|| no_port(name))?;
    let rules = switch.engine.rules();
    let port_rules = rules.port(port.index).ok_or_else(|| no_port(name))?;
    let attachment = port.attachment();
    // An uplink has one more queue, for group frames, after those of its device.
    let queues = attachment.map_or(0, |attachment| attachment.queues);
    let owners = switch.engine.owners(port.index).iter().take(queues);
    let untagged = port_rules
        .untagged
        .and_then(|network| rules.network(network));
    Ok(api::PortDetail {
        port: port_of(switch, port),
        ifindex: port.link.as_ref().map(|link| link.ifindex),
        mode_reason: attachment
            .and_then(|it| it.mode_reason())
            .map(str::to_owned),
        multi_buffer: attachment.is_some_and(|attachment| attachment.multi_buffer),
        untagged: untagged.map(|network| network.name.to_string()),
        networks: memberships(rules, port_rules),
        tpid: format!("{:#06x}", port_rules.tpid as u16),
        isolated: port_rules.isolated,
        mac_limit: port_rules.mac_limit,
        fdb_entries: switch.engine.fdb().port_count(port.index),
        workers: owners.map(|worker| worker.get()).collect(),
        class: port.config.classes.default.get(),
        class_from: view_qos::sources(port.config.classes.sources),
        mark: view_qos::sources(port.config.marks.places()),
        policers: view_qos::policers_of(switch, port),
        egress_queues: view_qos::queues_of(switch, port),
        policy: switch
            .config
            .port(name)
            .map(|port| attached(&port.acls, &port.policed))
            .unwrap_or_default(),
    })
}

fn memberships(rules: &Ruleset, port: &PortRules) -> Vec<api::Membership> {
    let tags = port.egress.iter().enumerate();
    let member = |(index, tag): (usize, &EgressTag)| {
        let network = rules.network(NetworkIndex::new(index))?;
        Some(api::Membership {
            network: network.name.to_string(),
            vid: vid_of(*tag)?,
        })
    };
    tags.filter_map(member).collect()
}

/// The VID of a tag; nothing for a port that is no member.
fn vid_of(tag: EgressTag) -> Option<Option<u16>> {
    match tag {
        EgressTag::NotMember => None,
        EgressTag::Untagged => Some(None),
        EgressTag::Tagged(vid) => Some(Some(vid.get())),
    }
}

/// All networks, in the order of the file.
pub fn networks(switch: &Switch) -> Vec<api::Network> {
    let networks = switch.config.networks.iter();
    networks
        .filter_map(|network| network_of(switch, network.name.as_str()))
        .collect()
}

fn network_of(switch: &Switch, name: &str) -> Option<api::Network> {
    let rules = switch.engine.rules();
    let index = rules.network_named(name)?;
    let network = rules.network(index)?;
    let members = network.members.iter();
    Some(api::Network {
        name: name.to_owned(),
        vid: network.vid.map(Vid::get),
        ports: members
            .map(|member| port_name(rules, member.port))
            .collect(),
        fdb_entries: switch.engine.fdb().network_count(index),
        flooded_frames: switch.engine.flooded(index),
    })
}

fn port_name(rules: &Ruleset, port: PortIndex) -> String {
    let rules = rules.port(port);
    rules.map_or_else(|| format!("#{port}"), |port| port.name.to_string())
}

/// All about one network.
///
/// # Errors
/// When there is none of this name.
pub fn network(switch: &Switch, name: &str) -> Result<api::NetworkDetail, Problem> {
    let network = network_of(switch, name).ok_or_else(|| no_network(name))?;
    let rules = switch.engine.rules();
    let index = rules.network_named(name);
    let members = index.and_then(|index| rules.network(index));
    let members = members.iter().flat_map(|network| network.members.iter());
    let member = |member: &switch_core::config::snapshot::Member| {
        let port = switch.port_at(member.port)?;
        Some(api::Member {
            port: port.name().to_owned(),
            role: port.role().name().to_owned(),
            state: port.state,
            vid: vid_of(member.tag)?,
        })
    };
    Ok(api::NetworkDetail {
        network,
        members: members.filter_map(member).collect(),
        policy: switch
            .config
            .network(name)
            .map(|network| attached(&network.acls, &network.policed))
            .unwrap_or_default(),
    })
}

fn attached(acls: &AttachedAcls, policed: &Policed) -> api::Attached {
    let text = |name: &Option<Name>| name.as_ref().map(ToString::to_string);
    api::Attached {
        acl_from_port: text(&acls.from_port),
        acl_to_port: text(&acls.to_port),
        police_from_port: text(&policed.from_port),
        police_to_port: text(&policed.to_port),
    }
}

/// The forwarding databases, ordered by network, address and port.
pub fn fdb(switch: &Switch) -> Vec<api::FdbEntry> {
    let engine = &switch.engine;
    let rules = engine.rules();
    let entry = |entry: Entry| {
        // An entry of a network that is just being removed has no name any more.
        let network = rules.network(entry.network)?;
        Some(api::FdbEntry {
            network: network.name.to_string(),
            vid: network.vid.map(Vid::get),
            mac: entry.mac.to_string(),
            port: rules.port(entry.port)?.name.to_string(),
            kind: match entry.kind {
                Kind::Dynamic => "dynamic".to_owned(),
                Kind::Static => "static".to_owned(),
            },
            age_s: entry.age_s,
        })
    };
    let mut entries: Vec<_> = engine
        .fdb()
        .entries(engine.now())
        .filter_map(entry)
        .collect();
    // Two workers that learn one address at once may make it be there twice, for a moment.
    entries.sort();
    entries.dedup_by(|a, b| a.network == b.network && a.mac == b.mac);
    entries
}

/// All workers.
pub fn workers(switch: &Switch) -> Vec<api::Worker> {
    let engine = &switch.engine;
    let worker = |(index, counters): (usize, &switch_core::counters::WorkerCounters)| {
        let worker = WorkerIndex::new(index);
        let served = |port: &&Port| engine.owners(port.index).contains(&worker);
        let ports = switch.ports.iter().filter(served);
        api::Worker {
            index,
            core: switch.cores.get(index).copied().flatten(),
            ports: ports.map(|port| port.name().to_owned()).collect(),
            frames: counters.frames.get(),
            bursts: counters.bursts.get(),
            idle_percent: switch.idle_percent(worker),
        }
    };
    engine.counters().iter().enumerate().map(worker).collect()
}

/// All counters: of ports, networks, workers and the switch.
pub fn counters(switch: &Switch) -> Vec<api::Counter> {
    let mut list = List::default();
    for port in &switch.ports {
        port_counters(&mut list, switch, port);
    }
    for network in networks(switch) {
        list.scope = format!("network/{}", network.name);
        list.add(
            "flooded_frames",
            network.flooded_frames,
            "Frames that went to all ports of the network.",
        );
    }
    for (index, worker) in switch.engine.counters().iter().enumerate() {
        list.scope = format!("worker/{index}");
        list.add("frames", worker.frames.get(), "Frames received.");
        list.add("bursts", worker.bursts.get(), "Bursts that they came in.");
        let text = "Frames made by copying one that goes to several ports.";
        list.add("copies", worker.copies.get(), text);
        let text = "Frames handed to another worker, which serves their port.";
        list.add("handed_off", worker.handed_off.get(), text);
        flow_counters(&mut list, switch, WorkerIndex::new(index));
    }
    fdb_counters(&mut list, switch);
    list.counters
}

fn port_counters(list: &mut List, switch: &Switch, port: &Port) {
    list.scope = format!("port/{}", port.name());
    let totals = switch.engine.port_totals(port.index);
    for (name, value, text) in [
        ("rx_frames", totals.rx_frames, "Frames received."),
        ("rx_bytes", totals.rx_bytes, "Bytes received, without FCS."),
        ("tx_frames", totals.tx_frames, "Frames put into TX rings."),
        (
            "tx_bytes",
            totals.tx_bytes,
            "Bytes put into TX rings, without FCS.",
        ),
    ] {
        list.add(name, value, text);
    }
    for (name, text, value) in drops(switch, port) {
        list.add(name, value, text);
    }
    let tally = port.tally();
    for kind in Tally::kinds().filter(|kind| !kind.is_drop) {
        list.add(kind.name, tally.get(kind), kind.text);
    }
}

/// What has happened in a worker's flow table, where the switch has policy.
fn flow_counters(list: &mut List, switch: &Switch, worker: WorkerIndex) {
    let Some(events) = switch.engine.flow_events(worker) else {
        return;
    };
    let text = "Frames whose flow policy had decided about before.";
    list.add("flows_found", events.found, text);
    list.add(
        "flows_entered",
        events.entered,
        "Flows entered into the flow table.",
    );
    let text = "Flows that made place for others before they were idle.";
    list.add("flows_evicted", events.evicted, text);
    let text = "Frames of new flows that had to wait for a place in the flow table.";
    list.add("flows_waited", events.waited, text);
}

fn fdb_counters(list: &mut List, switch: &Switch) {
    list.scope = "switch".to_owned();
    let events = switch.engine.fdb().events();
    for (name, value, text) in [
        ("fdb_learned", events.learned, "Addresses learnt."),
        (
            "fdb_moved",
            events.moved,
            "Addresses that went to another port.",
        ),
        (
            "fdb_evicted",
            events.evicted,
            "Addresses that made place for others.",
        ),
        (
            "fdb_no_room",
            events.no_room,
            "Addresses not learnt for want of a place.",
        ),
        (
            "fdb_aged",
            events.aged,
            "Addresses forgotten because of their age.",
        ),
        (
            "fdb_removed",
            events.removed,
            "Addresses removed or flushed.",
        ),
    ] {
        list.add(name, value, text);
    }
    let pool = switch.engine.pool();
    let text = "Chunks of the frames' region that nobody holds.";
    list.add("free_chunks", pool.free_chunks() as u64, text);
    let text = "Chunks of the frames' region.";
    list.add("chunks", pool.region().chunks() as u64, text);
}

#[derive(Default)]
struct List {
    scope: String,
    counters: Vec<api::Counter>,
}

impl List {
    fn add(&mut self, name: &str, value: u64, text: &str) {
        self.counters.push(api::Counter {
            name: name.to_owned(),
            scope: self.scope.clone(),
            value,
            text: text.to_owned(),
        });
    }
}
