//! Quality of service as the API shows it.

use switch_core::engine::{ClassSource, Colour, MeterRates, Policer, PortQueues, Service};

use super::{port::Port, problem::Problem, switch::Switch};
use crate::api;

/// All policers at work: those of ports, then of networks, then of rules, in the order of the file.
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
    at_work.chain(rule_policers(switch)).collect()
}

/// The policers of rules.
fn rule_policers(switch: &Switch) -> impl Iterator<Item = api::Policer> + '_ {
    let rules = switch.engine.rules();
    let lists = switch.config.acls.iter().zip(&rules.hits);
    lists.flat_map(move |(acl, hits)| {
        hits.iter().enumerate().filter_map(move |(index, hit)| {
            let policer = rules.qos.acts(*hit)?.policer.as_deref()?;
            let scope = format!("acl/{}/{}", acl.name, index + 1);
            Some(policer_of(scope, "any", policer))
        })
    })
}

/// All about one policer.
///
/// # Errors
/// When there is none of this name.
pub fn describe(switch: &Switch, name: &str) -> Result<api::PolicerDetail, Problem> {
    let configured = switch.config.policers.iter();
    if !configured.map(|it| it.name.as_str()).any(|it| it == name) {
        let error = format!("there is no policer {name:?}");
        return Err(Problem::not_found(
            error,
            "`shunt get qos` shows those at work",
        ));
    }
    let places = policers(switch).into_iter();
    Ok(api::PolicerDetail {
        name: name.to_owned(),
        places: places.filter(|place| place.policer == name).collect(),
    })
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

/// The policers of a port itself.
pub fn policers_of(switch: &Switch, port: &Port) -> Vec<api::Policer> {
    let scope = format!("port/{}", port.name());
    let mut all = policers(switch);
    all.retain(|policer| policer.scope == scope);
    all
}

/// All queues, by port in the order of the file.
pub fn queues(switch: &Switch) -> Vec<api::Queue> {
    let ports = switch.ports.iter();
    ports.flat_map(|port| queues_of(switch, port)).collect()
}

/// The queues of a port.
pub fn queues_of(switch: &Switch, port: &Port) -> Vec<api::Queue> {
    let queues = switch.engine.rules().qos.queues(port.index);
    let all = queues.into_iter().flat_map(|queues| {
        let positions = 0..queues.rules().queues.len();
        positions.map(|position| queue_of(port.name(), queues, position))
    });
    all.collect()
}

/// What a list of the places of classes is in the configuration.
pub fn sources(sources: [Option<ClassSource>; 2]) -> Vec<String> {
    let words = sources.into_iter().flatten().map(|source| match source {
        ClassSource::Pcp => "pcp",
        ClassSource::Dscp => "dscp",
    });
    words.map(str::to_owned).collect()
}

fn queue_of(port: &str, queues: &PortQueues, position: usize) -> api::Queue {
    let (scheduler, counters) = (queues.rules(), &queues.counters()[position]);
    let rules = &scheduler.queues[position];
    let (waiting_frames, waiting_bytes) = counters.waiting();
    let weight = match rules.service {
        Service::Strict => None,
        Service::Weighted(weight) => Some(weight),
    };
    let has = |class: &u8| rules.classes & 1 << class != 0;
    api::Queue {
        port: port.to_owned(),
        scheduler: scheduler.name.to_string(),
        queue: position,
        classes: (0..8).filter(has).collect(),
        service: rules.service.name().to_owned(),
        weight,
        port_rate_bps: scheduler.shaper.map(|(rate, _)| rate.bits_per_second()),
        min_rate_bps: rules.min_rate.map(|rate| rate.bits_per_second()),
        max_rate_bps: rules.max_rate.map(|rate| rate.bits_per_second()),
        limit_bytes: rules.limit_bytes,
        drop: if rules.codel.is_some() {
            "codel"
        } else {
            "tail"
        }
        .to_owned(),
        waiting_frames,
        waiting_bytes,
        queued_frames: counters.queued_frames.get(),
        queued_bytes: counters.queued_bytes.get(),
        sent_frames: counters.sent_frames.get(),
        sent_bytes: counters.sent_bytes.get(),
        full_frames: counters.full_frames.get(),
        late_frames: counters.late_frames.get(),
    }
}
