//! All about one thing, for people: a line for each fact.

use std::fmt::{Display, Write as _};

use switch_core::{
    config::units::{rate_text, size_text},
    engine::Class,
};

use super::render;
use crate::api::{AclDetail, Attached, Membership, NetworkDetail, PolicerDetail, Port, PortDetail};

/// Lines of a key and a value, the values below each other.
#[derive(Default)]
pub(super) struct Page(pub(super) String);

impl Page {
    pub(super) fn line(&mut self, key: &str, value: impl Display) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{:<15}{value}", format!("{key}:"));
    }

    pub(super) fn under(&mut self, key: &str, value: impl Display) {
        // As above.
        let _ = writeln!(self.0, "  {key:<28}{value}");
    }

    fn indented(&mut self, text: &str) {
        for line in text.lines() {
            // As above.
            let _ = writeln!(self.0, "  {line}");
        }
    }

    pub(super) fn title(&mut self, title: &str) {
        self.0.push_str(title);
        self.0.push_str(":\n");
    }
}

/// The page of a port.
pub fn port(detail: &PortDetail) -> String {
    let port = &detail.port;
    let mut page = Page::default();
    page.line("Name", &port.name);
    let index = detail.ifindex.map(|index| format!(" (index {index})"));
    page.line(
        "Device",
        format!("{}{}", port.device, index.unwrap_or_default()),
    );
    page.line("Role", &port.role);
    page.line("State", port.state.name());
    if let Some(reason) = &port.reason {
        page.line("Reason", reason);
    }
    if let Some(mode) = &port.mode {
        let copy = if port.zero_copy { "zero copy" } else { "copy" };
        let buffers = if detail.multi_buffer {
            ", jumbo frames"
        } else {
            ""
        };
        page.line("Mode", format!("{mode}, {copy}{buffers}"));
    }
    if let Some(reason) = &detail.mode_reason {
        page.line("Not native", reason);
    }
    let workers: Vec<_> = detail.workers.iter().map(ToString::to_string).collect();
    match workers.as_slice() {
        [] => page.line("Queues", port.queues),
        workers => page.line(
            "Queues",
            format!("{} (workers {})", port.queues, workers.join(", ")),
        ),
    }
    if let Some(mtu) = port.mtu {
        page.line("MTU", mtu);
    }
    page.line("Untagged", detail.untagged.as_deref().unwrap_or("dropped"));
    page.line("TPID", &detail.tpid);
    page.line("Isolated", if detail.isolated { "yes" } else { "no" });
    let limit = detail.mac_limit.map(|limit| format!(" of at most {limit}"));
    page.line(
        "Addresses",
        format!("{} learnt{}", detail.fdb_entries, limit.unwrap_or_default()),
    );
    class(&mut page, detail);
    page.title("Networks");
    for Membership { network, vid } in &detail.networks {
        page.under(network, tag(*vid));
    }
    attached(&mut page, &detail.policy);
    traffic(&mut page, port);
    rates(&mut page, detail);
    page.0
}

/// What was counted.
fn traffic(page: &mut Page, port: &Port) {
    page.title("Traffic");
    for (name, value) in [
        ("rx_frames", port.rx_frames),
        ("rx_bytes", port.rx_bytes),
        ("tx_frames", port.tx_frames),
        ("tx_bytes", port.tx_bytes),
    ] {
        page.under(name, value);
    }
    let drops = || port.drops.iter().filter(|(_, count)| **count != 0);
    if drops().next().is_some() {
        page.title("Drops");
        drops().for_each(|(reason, count)| page.under(reason, count));
    }
}

/// The port's policers and queues, where it has some.
fn rates(page: &mut Page, detail: &PortDetail) {
    if !detail.policers.is_empty() {
        page.title("Policers");
        page.indented(&render::policers(&detail.policers));
    }
    if !detail.egress_queues.is_empty() {
        page.title("Queues at egress");
        page.indented(&render::queues(&detail.egress_queues));
    }
}

/// What is said of classes; nothing of a port of best effort that believes and writes nothing.
fn class(page: &mut Page, detail: &PortDetail) {
    let best_effort = Class::BEST_EFFORT.get();
    if detail.class != best_effort || !detail.class_from.is_empty() {
        let from = detail.class_from.join(", ");
        let text = if from.is_empty() {
            detail.class.to_string()
        } else {
            format!("from {from}, or else {}", detail.class)
        };
        page.line("Class", text);
    }
    if !detail.mark.is_empty() {
        page.line("Marks", detail.mark.join(", "));
    }
}

/// The page of a network.
pub fn network(detail: &NetworkDetail) -> String {
    let network = &detail.network;
    let mut page = Page::default();
    page.line("Name", &network.name);
    match network.vid {
        Some(vid) => page.line("VLAN", vid),
        None => page.line("VLAN", "none: private to this host"),
    }
    page.line("Addresses", network.fdb_entries);
    page.line("Flooded", format!("{} frames", network.flooded_frames));
    page.title("Ports");
    for member in &detail.members {
        let state = member.state.name();
        let text = format!("{:<8}{:<9}{}", member.role, state, tag(member.vid));
        page.under(&member.port, text);
    }
    attached(&mut page, &detail.policy);
    page.0
}

/// The policy of a port or a network, where there is any.
fn attached(page: &mut Page, policy: &Attached) {
    let Attached {
        acl_from_port,
        acl_to_port,
        police_from_port,
        police_to_port,
    } = policy;
    let lines = [
        ("acl_from_port", acl_from_port),
        ("police_from_port", police_from_port),
        ("acl_to_port", acl_to_port),
        ("police_to_port", police_to_port),
    ];
    let mut lines = lines
        .iter()
        .filter_map(|(key, name)| Some((key, name.as_ref()?)));
    if let Some(first) = lines.next() {
        page.title("Policy");
        for (key, name) in std::iter::once(first).chain(lines) {
            page.under(key, name);
        }
    }
}

/// The page of a policer.
pub fn policer(detail: &PolicerDetail) -> String {
    let mut page = Page::default();
    page.line("Name", &detail.name);
    let Some(any) = detail.places.first() else {
        page.line("Attached", "nowhere: it does nothing");
        return page.0;
    };
    page.line("Rate", rate_text(any.rate_bps));
    page.line("Burst", size_text(any.burst_bytes));
    if let Some(excess) = any.excess_burst_bytes {
        page.line("Excess burst", size_text(excess));
    }
    if let (Some(rate), Some(burst)) = (any.peak_rate_bps, any.peak_burst_bytes) {
        page.line("Peak rate", rate_text(rate));
        page.line("Peak burst", size_text(burst));
    }
    if any.colour_aware {
        page.line("Colours", "frames that come drop eligible are yellow");
    }
    page.line("Exceed", &any.exceed);
    if let Some(violate) = &any.violate {
        page.line("Violate", violate);
    }
    page.title("Places");
    for place in &detail.places {
        let way = match place.direction.as_str() {
            "from_port" => "police_from_port (into the switch)",
            _ => "police_to_port (out of the switch)",
        };
        page.under(&place.scope, way);
        for (colour, frames, bytes) in [
            ("green", place.green_frames, place.green_bytes),
            ("yellow", place.yellow_frames, place.yellow_bytes),
            ("red", place.red_frames, place.red_bytes),
        ] {
            if frames > 0 {
                page.under("", format!("{colour}: {frames} frames, {bytes} bytes"));
            }
        }
    }
    page.0
}

/// The page of an access control list.
pub fn acl(detail: &AclDetail) -> String {
    let mut page = Page::default();
    page.line("Name", &detail.name);
    page.line("Default", &detail.default);
    if let (Some(comparisons), Some(rules)) = (detail.worst_comparisons, detail.worst_rules) {
        let text = format!("{comparisons} comparisons, {rules} rules tried");
        page.line("Worst case", text);
    }
    if detail.attached.is_empty() {
        page.line("Attached", "nowhere: it does nothing");
    } else {
        page.title("Attached");
    }
    for place in &detail.attached {
        let way = match place.direction.as_str() {
            "from_port" => "acl_from_port (into the switch)",
            _ => "acl_to_port (out of the switch)",
        };
        page.under(&place.scope, way);
    }
    page.title("Rules");
    for rule in &detail.rules {
        let position = rule
            .rule
            .map_or_else(|| "-".to_owned(), |rule| rule.to_string());
        let line = rule
            .line
            .map(|line| format!(", line {line}"))
            .unwrap_or_default();
        let name = rule
            .name
            .as_ref()
            .map(|name| format!(" ({name})"))
            .unwrap_or_default();
        let (frames, bytes) = (rule.frames, rule.bytes);
        page.under(&format!("{position}{name}{line}"), &rule.text);
        page.under("", format!("{frames} frames, {bytes} bytes"));
    }
    page.0
}

fn tag(vid: Option<u16>) -> String {
    vid.map_or_else(|| "untagged".to_owned(), |vid| format!("tagged {vid}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AclPlace, AclRule, Member, Network, Policer, Port, State};

    #[test]
    fn a_port() {
        let port_detail = PortDetail {
            port: Port {
                name: "firewall".into(),
                device: "veF".into(),
                role: "guest".into(),
                state: State::Up,
                reason: Some("the other end's offloads: run ethtool there".into()),
                mode: Some("generic".into()),
                zero_copy: false,
                queues: 2,
                mtu: Some(1500),
                rx_frames: 10,
                rx_bytes: 1000,
                tx_frames: 20,
                tx_bytes: 2000,
                drops: [("hidden_tag".to_owned(), 2), ("mac_limit".to_owned(), 0)].into(),
            },
            ifindex: Some(12),
            mode_reason: Some("the driver has no native XDP".into()),
            multi_buffer: true,
            untagged: Some("backstage".into()),
            networks: vec![
                Membership {
                    network: "backstage".into(),
                    vid: None,
                },
                Membership {
                    network: "web".into(),
                    vid: Some(20),
                },
            ],
            tpid: "0x8100".into(),
            isolated: false,
            mac_limit: Some(16),
            fdb_entries: 3,
            workers: vec![0, 1],
            class: 3,
            class_from: vec!["dscp".to_owned()],
            mark: vec!["pcp".to_owned()],
            policers: Vec::new(),
            egress_queues: vec![render::tests::queue()],
            policy: Attached {
                acl_from_port: Some("guests".into()),
                police_to_port: Some("slow".into()),
                ..Attached::default()
            },
        };
        insta::assert_snapshot!(port(&port_detail));
    }

    #[test]
    fn a_list() {
        let rule = |rule: Option<usize>, name: Option<&str>, text: &str| AclRule {
            acl: "guests".into(),
            rule,
            line: rule.map(|rule| 10 * rule),
            name: name.map(str::to_owned),
            action: "deny".into(),
            text: text.into(),
            frames: 12,
            bytes: 3456,
        };
        let detail = AclDetail {
            name: "guests".into(),
            default: "deny".into(),
            attached: vec![
                AclPlace {
                    scope: "port/guest-a".into(),
                    direction: "from_port".into(),
                },
                AclPlace {
                    scope: "network/web".into(),
                    direction: "to_port".into(),
                },
            ],
            worst_comparisons: Some(3),
            worst_rules: Some(2),
            rules: vec![
                rule(
                    Some(1),
                    Some("no-mail"),
                    "deny protocol tcp destination_port 25",
                ),
                rule(None, None, "deny by default"),
            ],
        };
        insta::assert_snapshot!(acl(&detail));
    }

    #[test]
    fn a_network() {
        let detail = NetworkDetail {
            network: Network {
                name: "web".into(),
                vid: Some(20),
                ports: vec!["firewall".into()],
                fdb_entries: 3,
                flooded_frames: 4,
            },
            members: vec![Member {
                port: "firewall".into(),
                role: "guest".into(),
                state: State::Down,
                vid: Some(20),
            }],
            policy: Attached::default(),
        };
        insta::assert_snapshot!(network(&detail));
    }

    #[test]
    fn a_policer() {
        let place = Policer {
            policer: "slow".into(),
            scope: "port/guest-a".into(),
            direction: "from_port".into(),
            rate_bps: 8_000_000,
            burst_bytes: 65_536,
            excess_burst_bytes: None,
            peak_rate_bps: Some(16_000_000),
            peak_burst_bytes: Some(100_000),
            colour_aware: true,
            exceed: "mark".into(),
            violate: Some("drop".into()),
            green_frames: 3,
            green_bytes: 300,
            yellow_frames: 0,
            yellow_bytes: 0,
            red_frames: 1,
            red_bytes: 1500,
        };
        let detail = |places: Vec<Policer>| PolicerDetail {
            name: "slow".into(),
            places,
        };
        insta::assert_snapshot!(policer(&detail(vec![place])));
        insta::assert_snapshot!(policer(&detail(Vec::new())));
    }
}
