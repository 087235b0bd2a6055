//! The security of ports: a table of all, a page about one.

use switch_core::config::units::rate_text;

use super::{
    describe::Page,
    render::{left, list, or_dash, right, table},
};
use crate::api::{FlappingAddress, PortSecurity, StormControl};

/// The table of ports with what they may say about themselves.
pub fn ports(ports: &[PortSecurity]) -> String {
    let columns = [
        left("PORT"),
        left("MACS"),
        left("ADDRESSES"),
        left("MAY-SEND"),
        right("FDB-ENTRIES"),
        right("BROADCAST"),
        right("MULTICAST"),
        right("UNKNOWN-UNICAST"),
        right("QUARANTINED"),
        left("DROPS"),
    ];
    let row = |port: &PortSecurity| {
        let limit = port.mac_limit.map(|limit| format!("/{limit}"));
        let [broadcast, multicast, unknown] =
            ["broadcast", "multicast", "unknown_unicast"].map(|kind| storm(port, kind));
        vec![
            port.port.clone(),
            some_of(port.allowed_macs.as_deref()),
            some_of(port.allowed_addresses.as_deref()),
            services(port),
            format!("{}{}", port.fdb_entries, limit.unwrap_or_default()),
            broadcast,
            multicast,
            unknown,
            quarantined(port),
            drops(port),
        ]
    };
    let nothing = "no ports: the configuration has no [[port]]";
    table(&columns, ports.iter().map(row).collect(), nothing)
}

/// The first of a list, and how many more there are: JSON has all.
fn some_of(values: Option<&[String]>) -> String {
    match values {
        None => "any".to_owned(),
        Some([]) => "none".to_owned(),
        Some([only]) => only.clone(),
        Some([first, rest @ ..]) => format!("{first},+{}", rest.len()),
    }
}

fn services(port: &PortSecurity) -> String {
    let words = [
        ("dhcp", port.dhcp_server),
        ("ra", port.router_advertisements),
        ("bpdus", port.bpdus),
    ];
    let may = words.iter().filter(|(_, may)| *may);
    let may: Vec<_> = may.map(|(word, _)| (*word).to_owned()).collect();
    list(&may)
}

fn storm(port: &PortSecurity, kind: &str) -> String {
    let limit = port.storm.iter().find(|control| control.kind == kind);
    let text = |control: &StormControl| match (control.rate_frames_per_s, control.rate_bps) {
        (Some(frames), _) => Some(format!("{frames} frames/s")),
        (None, bits) => bits.map(rate_text),
    };
    or_dash(limit.and_then(text))
}

/// How many addresses have to stay, and how long at most.
fn quarantined(port: &PortSecurity) -> String {
    let left = port
        .flapping
        .iter()
        .filter_map(|address| address.quarantine_left_s);
    let longest = left.clone().max();
    or_dash(longest.map(|longest| format!("{} ({longest} s)", left.count())))
}

fn drops(port: &PortSecurity) -> String {
    let some = port.drops.iter().filter(|(_, count)| **count > 0);
    let some: Vec<_> = some
        .map(|(reason, count)| format!("{reason}={count}"))
        .collect();
    list(&some)
}

/// The page of a port's security.
pub fn port(port: &PortSecurity) -> String {
    let mut page = Page::default();
    let all_of = |values: &Option<Vec<String>>| match values {
        None => "any".to_owned(),
        Some(values) => values.join(", "),
    };
    let may = |may: bool| {
        if may {
            "may come from here"
        } else {
            "are dropped"
        }
    };
    page.line("Port", &port.port);
    page.line("Role", &port.role);
    page.line("MACs", all_of(&port.allowed_macs));
    page.line("Addresses", all_of(&port.allowed_addresses));
    page.line("DHCP servers", may(port.dhcp_server));
    page.line("Routers", may(port.router_advertisements));
    page.line("BPDUs", may(port.bpdus));
    page.line("Isolated", if port.isolated { "yes" } else { "no" });
    let limit = port.mac_limit.map(|limit| format!(" of at most {limit}"));
    let learnt = format!("{} learnt{}", port.fdb_entries, limit.unwrap_or_default());
    page.line("Stations", learnt);
    if !port.storm.is_empty() {
        page.title("Storm control");
    }
    for storm in &port.storm {
        let bits = storm.rate_bps.map(rate_text);
        let frames = storm.rate_frames_per_s;
        let frames = frames.map(|frames| format!("{frames} frames/s"));
        let rate = frames.or(bits).unwrap_or_default();
        let (passed, dropped) = (storm.passed_frames, storm.dropped_frames);
        let text = format!("{rate}: {passed} frames passed, {dropped} dropped");
        page.under(&storm.kind, text);
    }
    if !port.flapping.is_empty() {
        page.title("Addresses that move");
    }
    for address in &port.flapping {
        let FlappingAddress {
            network,
            mac,
            moves,
            quarantine_left_s,
        } = address;
        let stays = quarantine_left_s.map(|left| format!(", stays here for {left} s"));
        let text = format!(
            "network {network}, moves: {moves}{}",
            stays.unwrap_or_default()
        );
        page.under(mac, text);
    }
    let drops = || port.drops.iter().filter(|(_, count)| **count != 0);
    if drops().next().is_some() {
        page.title("Drops");
        drops().for_each(|(reason, count)| page.under(reason, count));
    }
    page.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flapping(quarantine_left_s: Option<u32>) -> FlappingAddress {
        FlappingAddress {
            network: "web".into(),
            mac: "52:54:00:00:00:0a".into(),
            moves: 6,
            quarantine_left_s,
        }
    }

    #[test]
    fn a_bound_port_and_an_open_one() {
        let open = PortSecurity {
            port: "up0".into(),
            role: "uplink".into(),
            allowed_macs: None,
            allowed_addresses: None,
            dhcp_server: true,
            router_advertisements: true,
            bpdus: true,
            isolated: false,
            mac_limit: None,
            fdb_entries: 12,
            storm: Vec::new(),
            flapping: Vec::new(),
            drops: [("malformed".to_owned(), 0)].into(),
        };
        let control = |kind: &str, frames, bits| StormControl {
            kind: kind.to_owned(),
            rate_frames_per_s: frames,
            rate_bps: bits,
            passed_frames: 7,
            dropped_frames: 3,
        };
        let bound = PortSecurity {
            port: "guest-a".into(),
            role: "guest".into(),
            allowed_macs: Some(vec!["52:54:00:00:00:0a".into()]),
            allowed_addresses: Some(vec!["10.0.20.10/32".into(), "fd00:20::10/128".into()]),
            dhcp_server: false,
            router_advertisements: true,
            bpdus: false,
            mac_limit: Some(4),
            fdb_entries: 1,
            storm: vec![
                control("broadcast", Some(1000), None),
                control("unknown_unicast", None, Some(2_500_000)),
            ],
            flapping: [Some(42), None, Some(7)].map(flapping).into(),
            drops: [
                ("mac_not_allowed", 17),
                ("malformed", 0),
                ("router_guard", 2),
            ]
            .map(|(reason, count)| (reason.to_owned(), count))
            .into(),
            ..open.clone()
        };
        insta::assert_snapshot!(ports(&[bound, open]));
        insta::assert_snapshot!(ports(&[]), @"no ports: the configuration has no [[port]]");
    }

    #[test]
    fn the_security_of_a_port() {
        let port = PortSecurity {
            port: "guest-a".into(),
            role: "guest".into(),
            allowed_macs: Some(vec!["52:54:00:00:00:0a".into()]),
            allowed_addresses: None,
            dhcp_server: false,
            router_advertisements: false,
            bpdus: true,
            isolated: true,
            mac_limit: Some(4),
            fdb_entries: 1,
            storm: vec![StormControl {
                kind: "broadcast".into(),
                rate_frames_per_s: Some(100),
                rate_bps: None,
                passed_frames: 7,
                dropped_frames: 3,
            }],
            flapping: [Some(42), None].map(flapping).into(),
            drops: [
                ("mac_not_allowed".to_owned(), 2),
                ("bpdu_guard".to_owned(), 0),
            ]
            .into(),
        };
        insta::assert_snapshot!(super::port(&port));
    }
}
