//! Lists as tables for people: aligned columns without lines, as wide as they need to be.

use comfy_table::{CellAlignment, Table, presets::NOTHING};
use serde::Serialize;
use switch_core::config::units::{rate_text, size_text};

use crate::api::{
    AclRule, Counter, FdbEntry, Flow, Network, Policer, Port, Queue, Reloaded, Removed, Worker,
};

/// JSON for programs, and still readable.
pub fn json(value: &impl Serialize) -> String {
    // What comes from JSON, or from plain structures, can be written as JSON.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// A column's title and where its content stands.
pub(super) type Column = (&'static str, CellAlignment);

pub(super) const fn left(title: &'static str) -> Column {
    (title, CellAlignment::Left)
}

pub(super) const fn right(title: &'static str) -> Column {
    (title, CellAlignment::Right)
}

/// Rows under titles; without rows, a sentence.
pub(super) fn table(columns: &[Column], rows: Vec<Vec<String>>, nothing: &str) -> String {
    if rows.is_empty() {
        return format!("{nothing}\n");
    }
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table.set_header(columns.iter().map(|(title, _)| *title));
    for (index, (_, alignment)) in columns.iter().enumerate() {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(*alignment);
            column.set_padding((0, 2));
        }
    }
    table.add_rows(rows);
    let lines = table.lines();
    lines.fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

pub(super) fn list(names: &[String]) -> String {
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(",")
    }
}

/// The table of ports.
pub fn ports(ports: &[Port]) -> String {
    let columns = [
        left("NAME"),
        left("DEVICE"),
        left("ROLE"),
        left("STATE"),
        left("MODE"),
        right("QUEUES"),
        right("MTU"),
        right("RX-FRAMES"),
        right("TX-FRAMES"),
        right("DROPS"),
        left("REASON"),
    ];
    let row = |port: &Port| {
        let mode = match (&port.mode, port.zero_copy) {
            (Some(mode), true) => format!("{mode},zero-copy"),
            (mode, _) => or_dash(mode.as_ref()),
        };
        vec![
            port.name.clone(),
            port.device.clone(),
            port.role.clone(),
            port.state.name().to_owned(),
            mode,
            port.queues.to_string(),
            or_dash(port.mtu),
            port.rx_frames.to_string(),
            port.tx_frames.to_string(),
            port.drops.values().sum::<u64>().to_string(),
            port.reason.clone().unwrap_or_default(),
        ]
    };
    let nothing = "no ports: the configuration has no [[port]]";
    table(&columns, ports.iter().map(row).collect(), nothing)
}

/// The table of networks.
pub fn networks(networks: &[Network]) -> String {
    let columns = [
        left("NAME"),
        right("VID"),
        right("FDB-ENTRIES"),
        right("FLOODED-FRAMES"),
        left("PORTS"),
    ];
    let row = |network: &Network| {
        vec![
            network.name.clone(),
            or_dash(network.vid),
            network.fdb_entries.to_string(),
            network.flooded_frames.to_string(),
            list(&network.ports),
        ]
    };
    let nothing = "no networks: the configuration has no [[network]]";
    table(&columns, networks.iter().map(row).collect(), nothing)
}

/// The table of forwarding entries.
pub fn fdb(entries: &[FdbEntry]) -> String {
    let columns = [
        left("NETWORK"),
        right("VID"),
        left("MAC"),
        left("PORT"),
        left("KIND"),
        right("AGE-S"),
    ];
    let row = |entry: &FdbEntry| {
        vec![
            entry.network.clone(),
            or_dash(entry.vid),
            entry.mac.clone(),
            entry.port.clone(),
            entry.kind.clone(),
            or_dash(entry.age_s),
        ]
    };
    let nothing = "no addresses are known";
    table(&columns, entries.iter().map(row).collect(), nothing)
}

/// The table of policers.
pub fn policers(policers: &[Policer]) -> String {
    let columns = [
        left("SCOPE"),
        left("DIRECTION"),
        left("POLICER"),
        right("RATE"),
        right("BURST"),
        right("GREEN-FRAMES"),
        right("YELLOW-FRAMES"),
        right("RED-FRAMES"),
        left("EXCEED"),
        left("VIOLATE"),
    ];
    let row = |policer: &Policer| {
        vec![
            policer.scope.clone(),
            policer.direction.clone(),
            policer.policer.clone(),
            rate_text(policer.rate_bps),
            size_text(policer.burst_bytes),
            policer.green_frames.to_string(),
            policer.yellow_frames.to_string(),
            policer.red_frames.to_string(),
            policer.exceed.clone(),
            or_dash(policer.violate.as_ref()),
        ]
    };
    let nothing = "no policers: no port or network names one";
    table(&columns, policers.iter().map(row).collect(), nothing)
}

/// The table of rules.
pub fn acl(rules: &[AclRule]) -> String {
    let columns = [
        left("ACL"),
        right("RULE"),
        left("NAME"),
        right("FRAMES"),
        right("BYTES"),
        left("TEXT"),
    ];
    let row = |rule: &AclRule| {
        vec![
            rule.acl.clone(),
            or_dash(rule.rule),
            or_dash(rule.name.as_ref()),
            rule.frames.to_string(),
            rule.bytes.to_string(),
            rule.text.clone(),
        ]
    };
    let nothing = "no access control lists: the configuration has no [[acl]]";
    table(&columns, rules.iter().map(row).collect(), nothing)
}

/// The table of flows.
pub fn flows(flows: &[Flow]) -> String {
    let columns = [
        left("DIRECTION"),
        left("PORT"),
        left("SENDER"),
        left("NETWORK"),
        left("VERDICT"),
        right("FRAMES"),
        right("BYTES"),
        right("AGE-S"),
        right("IDLE-S"),
        left("FLOW"),
    ];
    let row = |flow: &Flow| {
        vec![
            flow.direction.clone(),
            flow.port.clone(),
            flow.sender.clone(),
            flow.network.clone(),
            flow.verdict.clone(),
            flow.frames.to_string(),
            flow.bytes.to_string(),
            flow.age_s.to_string(),
            flow.idle_s.to_string(),
            fields(flow),
        ]
    };
    let nothing = "no flows: nothing was seen lately where an access control list is attached";
    table(&columns, flows.iter().map(row).collect(), nothing)
}

/// What all frames of a flow have in common, as far as rules ask for it.
fn fields(flow: &Flow) -> String {
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let all = [
        ("source_mac", flow.source_mac.clone()),
        ("destination_mac", flow.destination_mac.clone()),
        ("ethertype", flow.ethertype.clone()),
        ("pcp", number(flow.pcp.map(u64::from))),
        ("source", flow.source.clone()),
        ("destination", flow.destination.clone()),
        ("protocol", number(flow.protocol.map(u64::from))),
        ("source_port", number(flow.source_port.map(u64::from))),
        (
            "destination_port",
            number(flow.destination_port.map(u64::from)),
        ),
        (
            "tcp_flags",
            flow.tcp_flags.map(|flags| format!("{flags:#04x}")),
        ),
        ("dscp", number(flow.dscp.map(u64::from))),
        ("fragment", flow.fragment.clone()),
    ];
    let known = all
        .iter()
        .filter_map(|(key, value)| Some(format!("{key} {}", value.as_ref()?)));
    let known: Vec<String> = known.collect();
    if known.is_empty() {
        "any".to_owned()
    } else {
        known.join(" ")
    }
}

/// The tables of all that has a rate.
pub fn qos(policers: &[Policer], queues: &[Queue]) -> String {
    let queues = if queues.is_empty() {
        String::new()
    } else {
        format!("\n{}", self::queues(queues))
    };
    format!("{}{queues}", self::policers(policers))
}

/// The table of queues.
pub fn queues(queues: &[Queue]) -> String {
    let columns = [
        left("PORT"),
        left("SCHEDULER"),
        right("QUEUE"),
        left("CLASSES"),
        left("SERVICE"),
        right("MIN"),
        right("MAX"),
        right("WAITING"),
        right("LIMIT"),
        right("SENT-FRAMES"),
        right("FULL-FRAMES"),
        right("LATE-FRAMES"),
    ];
    let row = |queue: &Queue| {
        let classes: Vec<_> = queue.classes.iter().map(ToString::to_string).collect();
        let weight = queue.weight.map(|weight| format!("weight {weight}"));
        vec![
            queue.port.clone(),
            queue.scheduler.clone(),
            queue.queue.to_string(),
            list(&classes),
            weight.unwrap_or_else(|| queue.service.clone()),
            or_dash(queue.min_rate_bps.map(rate_text)),
            or_dash(queue.max_rate_bps.or(queue.port_rate_bps).map(rate_text)),
            size_text(queue.waiting_bytes),
            size_text(queue.limit_bytes),
            queue.sent_frames.to_string(),
            queue.full_frames.to_string(),
            queue.late_frames.to_string(),
        ]
    };
    let nothing = "no queues: no port names a scheduler";
    table(&columns, queues.iter().map(row).collect(), nothing)
}

/// The table of workers.
pub fn workers(workers: &[Worker]) -> String {
    let columns = [
        right("INDEX"),
        right("CORE"),
        right("FRAMES"),
        right("BURSTS"),
        right("IDLE-%"),
        left("PORTS"),
    ];
    let row = |worker: &Worker| {
        vec![
            worker.index.to_string(),
            or_dash(worker.core),
            worker.frames.to_string(),
            worker.bursts.to_string(),
            format!("{:.1}", worker.idle_percent),
            list(&worker.ports),
        ]
    };
    table(&columns, workers.iter().map(row).collect(), "no workers")
}

/// The table of counters; those that are 0 on demand.
pub fn counters(counters: &[Counter], all: bool) -> String {
    let columns = [left("SCOPE"), left("NAME"), right("VALUE"), left("TEXT")];
    let shown = counters.iter().filter(|counter| all || counter.value != 0);
    let row = |counter: &Counter| {
        vec![
            counter.scope.clone(),
            counter.name.clone(),
            counter.value.to_string(),
            counter.text.clone(),
        ]
    };
    let nothing = "nothing has been counted yet; --all shows counters that are 0";
    table(&columns, shown.map(row).collect(), nothing)
}

/// What a reload changed.
pub fn reloaded(reloaded: &Reloaded) -> String {
    let parts = [
        ("ports added", &reloaded.ports_added),
        ("ports removed", &reloaded.ports_removed),
        ("ports attached anew", &reloaded.ports_reattached),
        ("ports changed", &reloaded.ports_changed),
        ("networks added", &reloaded.networks_added),
        ("networks removed", &reloaded.networks_removed),
        ("networks changed", &reloaded.networks_changed),
        ("access control lists changed", &reloaded.acls_changed),
    ];
    let lines: String = parts
        .iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(title, names)| format!("{title}: {}\n", names.join(", ")))
        .collect();
    if lines.is_empty() {
        "the same ports and networks as before\n".to_owned()
    } else {
        lines
    }
}

/// How many forwarding entries were removed.
pub fn removed(removed: Removed) -> String {
    let plural = if removed.removed == 1 {
        "entry"
    } else {
        "entries"
    };
    format!("{} {plural} removed\n", removed.removed)
}

#[cfg(test)]
pub(in crate::client) mod tests {
    use super::*;
    use crate::api::State;

    pub fn port() -> Port {
        Port {
            name: "guest-a".into(),
            device: "veA".into(),
            role: "guest".into(),
            state: State::Up,
            reason: None,
            mode: Some("native".into()),
            zero_copy: false,
            queues: 2,
            mtu: Some(1500),
            rx_frames: 120_345,
            rx_bytes: 9_000_000,
            tx_frames: 7,
            tx_bytes: 420,
            drops: [("hidden_tag".to_owned(), 2), ("mac_limit".to_owned(), 1)].into(),
        }
    }

    #[test]
    fn flows_with_what_rules_ask_for() {
        let flow = Flow {
            worker: 1,
            direction: "from_port".into(),
            port: "guest-a".into(),
            sender: "guest-a".into(),
            network: "web".into(),
            verdict: "deny".into(),
            source_mac: None,
            destination_mac: None,
            ethertype: Some("0x0800".into()),
            source: Some("10.0.0.1".into()),
            destination: None,
            protocol: Some(6),
            source_port: None,
            destination_port: Some(25),
            tcp_flags: Some(2),
            dscp: None,
            fragment: Some("no".into()),
            pcp: None,
            frames: 12,
            bytes: 3456,
            age_s: 70,
            idle_s: 3,
        };
        insta::assert_snapshot!(flows(&[flow]));
    }

    #[test]
    fn rules_of_lists() {
        let rule = |rule, name: Option<&str>, text: &str| AclRule {
            acl: "guests".into(),
            rule,
            line: rule.map(|rule| 10 * rule),
            name: name.map(str::to_owned),
            action: "deny".into(),
            text: text.into(),
            frames: 12,
            bytes: 3456,
        };
        let rules = [
            rule(
                Some(1),
                Some("no-mail"),
                "deny protocol tcp destination_port 25",
            ),
            rule(None, None, "deny by default"),
        ];
        insta::assert_snapshot!(acl(&rules));
    }

    #[test]
    fn ports_as_a_table() {
        let missing = Port {
            name: "up0".into(),
            device: "eth1".into(),
            role: "uplink".into(),
            state: State::Missing,
            reason: Some("there is no interface eth1; the port comes up when it appears".into()),
            mode: None,
            queues: 0,
            mtu: None,
            drops: [].into(),
            rx_frames: 0,
            ..port()
        };
        let nic = Port {
            zero_copy: true,
            ..port()
        };
        insta::assert_snapshot!(ports(&[port(), missing, nic]));
        insta::assert_snapshot!(ports(&[]));
    }

    #[test]
    fn ports_as_json() {
        insta::assert_snapshot!(json(&[port()]));
    }

    #[test]
    fn networks_as_a_table() {
        let web = Network {
            name: "web".into(),
            vid: Some(20),
            ports: vec!["guest-a".into(), "up0".into()],
            fdb_entries: 12,
            flooded_frames: 3,
        };
        let backstage = Network {
            name: "backstage".into(),
            vid: None,
            ports: vec![],
            ..web.clone()
        };
        insta::assert_snapshot!(networks(&[web, backstage]));
    }

    #[test]
    fn addresses_as_a_table() {
        let dynamic = FdbEntry {
            network: "web".into(),
            vid: Some(20),
            mac: "52:54:00:12:34:56".into(),
            port: "guest-a".into(),
            kind: "dynamic".into(),
            age_s: Some(17),
        };
        let bound = FdbEntry {
            network: "backstage".into(),
            vid: None,
            kind: "static".into(),
            age_s: None,
            ..dynamic.clone()
        };
        insta::assert_snapshot!(fdb(&[dynamic, bound]));
    }

    #[test]
    fn policers_as_a_table() {
        let plain = Policer {
            policer: "100M".into(),
            scope: "port/guest-a".into(),
            direction: "from_port".into(),
            rate_bps: 100_000_000,
            burst_bytes: 262_144,
            excess_burst_bytes: None,
            peak_rate_bps: None,
            peak_burst_bytes: None,
            colour_aware: false,
            exceed: "drop".into(),
            violate: None,
            green_frames: 12_345,
            green_bytes: 1_000_000,
            yellow_frames: 0,
            yellow_bytes: 0,
            red_frames: 17,
            red_bytes: 1_700,
        };
        let two_rates = Policer {
            policer: "gold".into(),
            scope: "network/web".into(),
            direction: "to_port".into(),
            peak_rate_bps: Some(1_500_000_000),
            peak_burst_bytes: Some(1_000_000),
            exceed: "mark".into(),
            violate: Some("drop".into()),
            yellow_frames: 3,
            ..plain.clone()
        };
        insta::assert_snapshot!(policers(&[plain, two_rates]));
        insta::assert_snapshot!(policers(&[]));
    }

    pub(in crate::client) fn queue() -> Queue {
        Queue {
            port: "up0".into(),
            scheduler: "wan".into(),
            queue: 0,
            classes: vec![5, 6, 7],
            service: "strict".into(),
            weight: None,
            port_rate_bps: Some(1_000_000_000),
            min_rate_bps: None,
            max_rate_bps: Some(200_000_000),
            limit_bytes: 131_072,
            drop: "tail".into(),
            waiting_frames: 0,
            waiting_bytes: 0,
            queued_frames: 12_345,
            queued_bytes: 1_000_000,
            sent_frames: 12_345,
            sent_bytes: 1_000_000,
            full_frames: 0,
            late_frames: 0,
        }
    }

    #[test]
    fn queues_as_a_table() {
        let strict = queue();
        let weighted = Queue {
            queue: 1,
            classes: vec![0, 1, 2, 3, 4],
            service: "weighted".into(),
            weight: Some(4),
            min_rate_bps: Some(50_000_000),
            max_rate_bps: None,
            drop: "codel".into(),
            waiting_frames: 10,
            waiting_bytes: 15_140,
            full_frames: 7,
            late_frames: 3,
            ..strict.clone()
        };
        insta::assert_snapshot!(queues(&[strict, weighted]));
        insta::assert_snapshot!(queues(&[]));
    }

    #[test]
    fn workers_as_a_table() {
        let worker = Worker {
            index: 0,
            core: Some(1),
            ports: vec!["guest-a".into()],
            frames: 1000,
            bursts: 40,
            idle_percent: 99.56,
        };
        insta::assert_snapshot!(workers(&[worker]));
    }

    #[test]
    fn counters_as_a_table() {
        let some = Counter {
            name: "hidden_tag".into(),
            scope: "port/guest-a".into(),
            value: 2,
            text: "A further tag would come to light.".into(),
        };
        let none = Counter {
            value: 0,
            ..some.clone()
        };
        insta::assert_snapshot!(counters(&[some, none.clone()], false));
        insta::assert_snapshot!(counters(&[none], false));
    }

    #[test]
    fn what_a_reload_says() {
        assert_eq!(
            reloaded(&Reloaded::default()),
            "the same ports and networks as before\n"
        );
        let some = Reloaded {
            ports_added: vec!["a".into(), "b".into()],
            networks_removed: vec!["old".into()],
            ..Reloaded::default()
        };
        insta::assert_snapshot!(reloaded(&some));
    }
}
