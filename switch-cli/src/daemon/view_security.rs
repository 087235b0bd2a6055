//! The security of ports as the API shows it.

use switch_core::{
    config::Security,
    counters::DropReason,
    engine::{Flapping, Storm, StormKind, StormRate},
};

use super::{port::Port, switch::Switch};
use crate::api;

/// What a port's own security drops frames for, in the order of a frame's way.
const REASONS: [DropReason; 12] = [
    DropReason::Malformed,
    DropReason::MacNotAllowed,
    DropReason::AddressNotAllowed,
    DropReason::DhcpServerGuard,
    DropReason::RouterGuard,
    DropReason::BpduGuard,
    DropReason::MacLimit,
    DropReason::StaticMoved,
    DropReason::MacFlapping,
    DropReason::BroadcastStorm,
    DropReason::MulticastStorm,
    DropReason::UnknownUnicastStorm,
];

/// All ports, in the order of the file.
pub fn ports(switch: &Switch) -> Vec<api::PortSecurity> {
    let ports = switch.ports.iter();
    ports.filter_map(|port| port_of(switch, port)).collect()
}

fn port_of(switch: &Switch, port: &Port) -> Option<api::PortSecurity> {
    let config = switch.config.port(port.name())?;
    let Security {
        allowed_macs,
        allowed_addresses,
        dhcp_server,
        router_advertisements,
        bpdus,
        storm: _,
    } = &config.security;
    let totals = switch.engine.port_totals(port.index);
    let drops = REASONS.map(|reason| (reason.name().to_owned(), totals.dropped(reason)));
    Some(api::PortSecurity {
        port: port.name().to_owned(),
        role: port.role().name().to_owned(),
        allowed_macs: allowed_macs.as_ref().map(|macs| texts(macs)),
        allowed_addresses: allowed_addresses.as_ref().map(|prefixes| texts(prefixes)),
        dhcp_server: *dhcp_server,
        router_advertisements: *router_advertisements,
        bpdus: *bpdus,
        isolated: config.isolated,
        mac_limit: config.mac_limit.map(Into::into),
        fdb_entries: switch.engine.fdb().port_count(port.index),
        storm: storms(switch.engine.rules().qos.storm(port.index)),
        flapping: flapping(switch, port),
        drops: drops.into(),
    })
}

fn texts(values: &[impl ToString]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn flapping(switch: &Switch, port: &Port) -> Vec<api::FlappingAddress> {
    let rules = switch.engine.rules();
    let Some(limits) = &rules.flaps else {
        return Vec::new();
    };
    let now = switch.engine.now();
    let all = switch.engine.fdb().flapping(now, limits).into_iter();
    let here = all.filter(|flapping| flapping.home == port.index);
    let mut here: Vec<Flapping> = here.collect();
    here.sort_unstable();
    let address = |flapping: Flapping| {
        let network = rules.network(flapping.network)?;
        Some(api::FlappingAddress {
            network: network.name.to_string(),
            mac: flapping.mac.to_string(),
            moves: flapping.moves,
            quarantine_left_s: flapping.quarantine_left_s,
        })
    };
    here.into_iter().filter_map(address).collect()
}

fn storms(storm: Option<&Storm>) -> Vec<api::StormControl> {
    let control = |kind: StormKind| {
        let storm = storm?;
        let rate = storm.rates().get(kind)?;
        let (frames, bits) = match rate {
            StormRate::Frames(rate) => (Some(rate.per_second()), None),
            StormRate::Bits(rate) => (None, Some(rate.bits_per_second())),
        };
        let [passed_frames, dropped_frames] = storm.counted(kind);
        Some(api::StormControl {
            kind: kind.name().to_owned(),
            rate_frames_per_s: frames,
            rate_bps: bits,
            passed_frames,
            dropped_frames,
        })
    };
    StormKind::ALL.into_iter().filter_map(control).collect()
}
