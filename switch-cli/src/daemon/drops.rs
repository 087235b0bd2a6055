//! The last frames that a port lost, with the rule that would drop such a frame now.

use std::{iter, time::Duration};

use switch_core::{
    config::snapshot::{EgressTag, Ruleset},
    engine::RecentDrop,
    limits::PortIndex,
    wire::{
        layer2::Layer2,
        parse::Tag,
        vlan::{TAG_SIZE, Tci, Vid},
    },
};

use super::{problem::Problem, switch::Switch};
use crate::{
    api::trace::{Dropped, FrameView, TraceRule},
    frame::{hex, text},
    trace::{Names, explain},
};

/// Most frames that are shown: each is traced on a copy of the whole switch.
const MOST: usize = 16;

/// The last frames that were dropped at a port, the last one first.
///
/// # Errors
/// When there is no such port, or no memory for the copy.
pub fn drops(switch: &Switch, name: &str) -> Result<Vec<Dropped>, Problem> {
    let port = switch.indices.port(name).ok_or_else(|| {
        let error = format!("there is no port {name:?}");
        Problem::not_found(error, "`shunt get ports` shows all")
    })?;
    let recent = switch.engine.recent_drops(port);
    recent
        .iter()
        .take(MOST)
        .map(|drop| describe(switch, drop))
        .collect()
}

fn describe(switch: &Switch, drop: &RecentDrop) -> Result<Dropped, Problem> {
    let engine = &switch.engine;
    let name = |port| engine.rules().port(port).map(|port| port.name.to_string());
    let age = engine
        .elapsed()
        .saturating_sub(Duration::from_nanos(drop.at_ns));
    let (still, rule) = again(switch, drop)?;
    Ok(Dropped {
        age_s: (age.as_secs_f64() * 1000.0).round() / 1000.0,
        reason: drop.reason.name().to_owned(),
        text: drop.reason.text().to_owned(),
        from: drop.ingress.and_then(name),
        frame: FrameView {
            bytes: drop.size,
            text: text::line(&drop.head, drop.size),
            hex: hex::encode(&drop.head),
        },
        still_dropped: still,
        rule,
    })
}

/// Whether such a frame would be dropped there for that reason now, and the rule that denies it.
/// Bytes that were not kept are 0: rules look so far only behind several IPv6 extension headers.
fn again(switch: &Switch, drop: &RecentDrop) -> Result<(bool, Option<TraceRule>), Problem> {
    let engine = &switch.engine;
    let is_there = |port: &PortIndex| engine.rules().port(*port).is_some();
    let Some(ingress) = drop.ingress.filter(is_there) else {
        return Ok((false, None));
    };
    let mut kept = drop.head.clone();
    kept.resize(drop.size, 0);
    // Some are dropped as they came, some as they were to leave.
    let came = as_it_came(engine.rules(), (ingress, drop.port), &kept);
    for bytes in iter::once(kept).chain(came) {
        let (still, rule) = trace(switch, drop, ingress, &bytes)?;
        if still {
            return Ok((still, rule));
        }
    }
    Ok((false, None))
}

/// A frame as it came in, if this is how it was to leave by another port: with the tag that its
/// network has at the port where it came in.
fn as_it_came(
    rules: &Ruleset,
    (from, to): (PortIndex, PortIndex),
    bytes: &[u8],
) -> Option<Vec<u8>> {
    if from == to {
        return None;
    }
    let (from, to) = (rules.port(from)?, rules.port(to)?);
    let tag = Layer2::parse(bytes).ok()?.tag;
    let left = match tag {
        Some(tag) => EgressTag::Tagged(Vid::new(tag.tci().vid_bits()).ok()?),
        None => EgressTag::Untagged,
    };
    let mut networks = to.networks();
    let network = networks.find(|network| to.egress(*network) == left)?;
    let (macs, behind) = bytes.split_at_checked(12)?;
    let behind = behind.get(if tag.is_some() { TAG_SIZE } else { 0 }..)?;
    let tag = match from.egress(network) {
        EgressTag::Tagged(vid) => {
            let tci = tag.map_or(Tci(0), |tag| tag.tci()).with_vid(vid);
            Some(Tag::new(from.tpid, tci).to_bytes())
        }
        _ => None,
    };
    Some([macs, tag.as_ref().map_or(&[][..], |tag| tag), behind].concat())
}

/// The same of these bytes.
fn trace(
    switch: &Switch,
    drop: &RecentDrop,
    ingress: PortIndex,
    bytes: &[u8],
) -> Result<(bool, Option<TraceRule>), Problem> {
    let engine = &switch.engine;
    let copy = engine.dry_run(ingress);
    let mut copy = copy.map_err(|error| Problem::refused(error.to_string(), "try again"))?;
    let outcome = copy.forward(ingress, bytes);
    let names = Names {
        config: &switch.config,
        rules: engine.rules(),
        file: &switch.config_file.display().to_string(),
    };
    let trace = explain(names, ingress, bytes, &outcome);
    let here = names.port(drop.port);
    let way = trace.egress.into_iter().find(|way| way.port == here);
    let (found, rules) = match way {
        Some(way) => (way.drop, way.rules),
        None => {
            let stages = trace.stages.into_iter();
            (trace.drop, stages.flat_map(|stage| stage.rules).collect())
        }
    };
    let still = found.is_some_and(|found| found.reason == drop.reason.name() && found.port == here);
    let denies = rules.into_iter().rfind(|rule| rule.action == "deny");
    Ok((still, denies.filter(|_| still)))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use switch_core::{
        config::{self, Indices},
        engine::{Engine, HugePages, Options},
        port::{Queue, SimQueue, SimWire},
    };

    use super::*;

    const CONFIG: &str = r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "access"
device = "d0"
network = "web"

[[port]]
name = "trunk"
device = "d1"
trunk = ["web"]
"#;

    /// A frame that is too long for the other port was given its tag, or lost it, before that was
    /// known: it is still dropped, whichever port it came from.
    #[test]
    fn what_was_rewritten_is_still_dropped() {
        let config = config::parse("test", CONFIG).expect("valid");
        for (from, to) in [("access", "trunk"), ("trunk", "access")] {
            let compiled = config::compile(&config, &Indices::new()).expect("compiled");
            let mut engine = Engine::manual(&Options {
                cores: vec![None],
                chunks: 256,
                huge_pages: HugePages::No,
                fdb_capacity: 64,
                hash_key: [1, 2],
                idle: Default::default(),
            })
            .expect("an engine");
            engine.apply(compiled.rules).expect("applied");
            let wire = SimWire::new();
            for (port, wire, mtu) in [(from, wire.clone(), 1500), (to, SimWire::new(), 1000)] {
                let queue = Queue::Sim(SimQueue::new(wire));
                let port = compiled.indices.port(port).expect("a port");
                engine.attach(port, vec![queue], mtu).expect("attached");
            }
            let mut frame = vec![0xff; 6];
            frame.extend([2, 0, 0, 0, 0, 1]);
            if from == "trunk" {
                frame.extend([0x81, 0, 0, 20]);
            }
            frame.extend([0x88, 0xb5]);
            frame.resize(1200, 0);
            wire.send(&frame);
            while engine.turn() > 0 {}
            let file = PathBuf::from("switch.toml");
            let switch = Switch::new(engine, config.clone(), file, compiled.indices, vec![None]);
            let found = drops(&switch, to).expect("a port");
            let found: Vec<_> = found
                .iter()
                .map(|drop| (drop.reason.as_str(), drop.still_dropped))
                .collect();
            assert_eq!(found, [("mtu_exceeded", true)], "from {from}");
        }
    }
}
