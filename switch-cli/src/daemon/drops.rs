//! The last frames that a port lost, with the rule that would drop such a frame now.

use std::time::Duration;

use switch_core::engine::RecentDrop;

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
        from: name(drop.ingress),
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
/// Bytes that were not kept are 0: no rule looks so far.
fn again(switch: &Switch, drop: &RecentDrop) -> Result<(bool, Option<TraceRule>), Problem> {
    let engine = &switch.engine;
    if engine.rules().port(drop.ingress).is_none() {
        return Ok((false, None));
    }
    let mut bytes = drop.head.clone();
    bytes.resize(drop.size, 0);
    let copy = engine.dry_run(drop.ingress);
    let mut copy = copy.map_err(|error| Problem::refused(error.to_string(), "try again"))?;
    let outcome = copy.forward(drop.ingress, &bytes);
    let names = Names {
        config: &switch.config,
        rules: engine.rules(),
        file: &switch.config_file.display().to_string(),
    };
    let trace = explain(names, drop.ingress, &bytes, &outcome);
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
