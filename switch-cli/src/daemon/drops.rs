//! The last frames that a port lost, with the rule that would drop such a frame now.

use std::{iter, time::Duration};

use switch_core::{engine::RecentDrop, limits::PortIndex};
use tokio::sync::SemaphorePermit;

use super::{
    problem::Problem,
    switch::Switch,
    traces::{Still, aside},
};
use crate::{
    api::trace::{Dropped, FrameView, Trace, TraceDrop, TraceRule},
    frame::{hex, text},
    trace::{came::as_it_came, explain},
};

/// Most frames that are shown: each is traced on a copy of the whole switch.
const MOST: usize = 16;

/// Frames that were dropped, and the switch that is asked whether it still would.
pub struct Lost {
    still: Still,
    recent: Vec<RecentDrop>,
    elapsed: Duration,
}

/// The last frames that were dropped at a port, the last one first, and a copy of the switch.
///
/// # Errors
/// When there is no such port, or no memory for the copy.
pub fn copy(switch: &Switch, name: &str) -> Result<Lost, Problem> {
    let port = switch.indices.port(name).ok_or_else(|| {
        let error = format!("there is no port {name:?}");
        Problem::not_found(error, "`shunt get ports` shows all")
    })?;
    let mut recent = switch.engine.recent_drops(port);
    recent.truncate(MOST);
    Ok(Lost {
        still: Still::of(switch)?,
        recent,
        elapsed: switch.engine.elapsed(),
    })
}

/// What became of the frames, and would become of such frames now. It is over when the client has
/// gone.
///
/// # Errors
/// When there is no thread or no memory for it.
pub async fn run(lost: Lost, turn: SemaphorePermit<'static>) -> Result<Vec<Dropped>, Problem> {
    aside(turn, move |is_wanted| lost.describe(is_wanted)).await?
}

impl Lost {
    fn describe(&self, is_wanted: &dyn Fn() -> bool) -> Result<Vec<Dropped>, Problem> {
        let wanted = self.recent.iter().take_while(|_| is_wanted());
        wanted.map(|drop| self.describe_one(drop)).collect()
    }

    fn describe_one(&self, drop: &RecentDrop) -> Result<Dropped, Problem> {
        let age = self
            .elapsed
            .saturating_sub(Duration::from_nanos(drop.at_ns));
        let (again, rule) = self.again(drop)?.unzip();
        let rule = rule.flatten();
        let is_there = |port: &PortIndex| self.still.names().rules.port(*port).is_some();
        Ok(Dropped {
            age_s: (age.as_secs_f64() * 1000.0).round() / 1000.0,
            reason: drop.reason.name().to_owned(),
            text: drop.reason.text().to_owned(),
            from: drop
                .ingress
                .filter(is_there)
                .map(|port| self.still.names().port(port)),
            frame: FrameView {
                bytes: drop.size,
                text: text::line(&drop.head, drop.size),
                hex: hex::encode(&drop.head),
            },
            still_dropped: again.is_some(),
            rule,
            key: again.and_then(|drop| drop.key),
        })
    }

    /// How such a frame would be dropped there for that reason now, and the rule that denies it;
    /// none if it would not. Bytes that were not kept are 0: rules look so far only behind several
    /// IPv6 extension headers.
    fn again(&self, drop: &RecentDrop) -> Result<Option<(TraceDrop, Option<TraceRule>)>, Problem> {
        let rules = self.still.names().rules;
        let is_there = |port: &PortIndex| rules.port(*port).is_some();
        let Some(ingress) = drop.ingress.filter(is_there) else {
            return Ok(None);
        };
        // Of its own, so that none finds what another one has taught it.
        let copy = self.still.copy.duplicate();
        let mut copy = copy.map_err(|error| {
            Problem::refused(
                format!("no memory for a copy of the switch: {error}"),
                "try again",
            )
        })?;
        let mut kept = drop.head.clone();
        kept.resize(drop.size, 0);
        // Some are dropped as they came, some as they were to leave.
        let came = as_it_came(rules, (ingress, drop.port), &kept);
        let mut forms = iter::once(kept).chain(came);
        Ok(forms.find_map(|bytes| {
            let outcome = copy.forward(ingress, &bytes);
            let trace = explain(self.still.names(), ingress, &bytes, &outcome);
            self.as_then(drop, trace)
        }))
    }

    /// What a trace says of the drop, if that is the same one.
    fn as_then(&self, drop: &RecentDrop, trace: Trace) -> Option<(TraceDrop, Option<TraceRule>)> {
        let here = self.still.names().port(drop.port);
        let way = trace.egress.into_iter().find(|way| way.port == here);
        let (found, rules) = match way {
            Some(way) => (way.drop, way.rules),
            None => {
                let stages = trace.stages.into_iter();
                (trace.drop, stages.flat_map(|stage| stage.rules).collect())
            }
        };
        let found = found.filter(|it| it.reason == drop.reason.name() && it.port == here)?;
        let denies = rules.into_iter().rfind(|rule| rule.action == "deny");
        Some((found, denies))
    }
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
            let lost = copy(&switch, to).expect("a port");
            let found = lost.describe(&|| true).expect("a copy");
            let found: Vec<_> = found
                .iter()
                .map(|drop| (drop.reason.as_str(), drop.still_dropped))
                .collect();
            assert_eq!(found, [("mtu_exceeded", true)], "from {from}");
        }
    }
}
