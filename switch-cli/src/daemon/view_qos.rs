//! Quality of service as the API shows it.

use switch_core::engine::{Colour, MeterRates, Policer};

use super::switch::Switch;
use crate::api;

/// All policers at work: those of ports, then those of networks, in the order of the file.
pub fn policers(switch: &Switch) -> Vec<api::Policer> {
    let rules = switch.engine.rules();
    let qos = &rules.qos;
    let ports = switch.config.ports.iter().flat_map(|port| {
        let index = rules
            .port_named(port.name.as_str())
            .map(|index| index.get());
        let scope = format!("port/{}", port.name);
        let places = [("from_port", &qos.from_port), ("to_port", &qos.to_port)];
        places.map(|(direction, policers)| (scope.clone(), direction, policers, index))
    });
    let networks = switch.config.networks.iter().flat_map(|network| {
        let index = rules.network_named(network.name.as_str());
        let index = index.map(|index| index.get());
        let scope = format!("network/{}", network.name);
        let places = [
            ("from_port", &qos.from_network),
            ("to_port", &qos.to_network),
        ];
        places.map(|(direction, policers)| (scope.clone(), direction, policers, index))
    });
    let at_work = ports
        .chain(networks)
        .filter_map(|(scope, direction, policers, index)| {
            let policer = policers.get(index?)?.as_deref()?;
            Some(policer_of(scope, direction, policer))
        });
    at_work.collect()
}

fn policer_of(scope: String, direction: &str, policer: &Policer) -> api::Policer {
    let rules = policer.rules();
    let (rate, burst, excess, peak) = match rules.rates {
        MeterRates::Plain { rate, burst } => (rate, burst, None, None),
        MeterRates::SingleRate { cir, cbs, ebs } => (cir, cbs, Some(ebs), None),
        MeterRates::TwoRate { cir, cbs, pir, pbs } => (cir, cbs, None, Some((pir, pbs))),
    };
    let plain = excess.is_none() && peak.is_none();
    let exceed = if plain { rules.red } else { rules.yellow };
    let [green, yellow, red] = Colour::ALL.map(|colour| policer.metered(colour));
    api::Policer {
        policer: rules.name.to_string(),
        scope,
        direction: direction.to_owned(),
        rate_bps: rate.bits_per_second(),
        burst_bytes: burst.bytes(),
        excess_burst_bytes: excess.map(|burst| burst.bytes()),
        peak_rate_bps: peak.map(|(rate, _)| rate.bits_per_second()),
        peak_burst_bytes: peak.map(|(_, burst)| burst.bytes()),
        colour_aware: rules.colour_aware,
        exceed: exceed.name().to_owned(),
        violate: (!plain).then(|| rules.red.name().to_owned()),
        green_frames: green.frames,
        green_bytes: green.bytes,
        yellow_frames: yellow.frames,
        yellow_bytes: yellow.bytes,
        red_frames: red.frames,
        red_bytes: red.bytes,
    }
}
