//! Rules that log: a line a second for each that was met meanwhile, however many frames that were.
//!
//! No frame is logged where it is forwarded: the counters of the rules say that something came and
//! how much, and the flow tables whose it was. So a flood costs the workers nothing.

use std::{collections::HashMap, fmt::Write as _};

use switch_core::{
    config::{Action, Config},
    counters::HitTotals,
    engine::{Engine, FlowRecord},
};

/// Most lines in a second; the rest is said in one more.
const MOST_LINES: usize = 32;
/// Most flows that a line names.
const MOST_FLOWS: usize = 3;

/// What is known of the last look.
#[derive(Debug, Default)]
pub struct RuleLog {
    /// By counter of hits.
    seen: HashMap<u32, HitTotals>,
}

/// A rule that was met since the last look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// The list, and the rule's position in it from 1.
    pub rule: String,
    /// Where it stands in the configuration.
    pub line: usize,
    /// What it says.
    pub text: String,
    /// Frames that met it.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whose they were, as far as the flow tables know; the last first.
    pub flows: Vec<String>,
}

impl RuleLog {
    /// Looks, once a second, and writes what is new into the log.
    pub fn look(&mut self, engine: &Engine, config: &Config, file: &str) {
        let met = self.news(engine, config);
        for Met {
            rule,
            line,
            text,
            frames,
            bytes,
            flows,
        } in met.iter().take(MOST_LINES)
        {
            let flows = flows.join("; ");
            let at = format!("{file}:{line}");
            tracing::info!(rule, at, frames, bytes, flows, "{text}");
        }
        if met.len() > MOST_LINES {
            let rules = met.len() - MOST_LINES;
            let frames: u64 = met.iter().skip(MOST_LINES).map(|met| met.frames).sum();
            tracing::info!(rules, frames, "and more rules that log");
        }
    }

    /// The rules that were met since the last look.
    fn news(&mut self, engine: &Engine, config: &Config) -> Vec<Met> {
        let mut news = Vec::new();
        let mut flows = None;
        // Only of rules that there are: a counter may be another rule's by the time it is back.
        let before = std::mem::take(&mut self.seen);
        let lists = config.acls.iter().zip(&engine.rules().hits);
        for (acl, hits) in lists {
            for (index, (rule, hit)) in acl.rules.iter().zip(hits).enumerate() {
                if rule.action != Action::Log {
                    continue;
                }
                let now = engine.hits(*hit);
                self.seen.insert(*hit, now);
                let before = before.get(hit).copied().unwrap_or_default();
                // It belongs to another rule, if two reloads came between two looks.
                let is_new = now.frames < before.frames || now.bytes < before.bytes;
                let since = if is_new { now } else { now.since(before) };
                if since.frames == 0 {
                    continue;
                }
                let flows = flows.get_or_insert_with(|| engine.flows());
                let name = rule.name.as_ref().map(|name| format!(" ({name})"));
                news.push(Met {
                    rule: format!(
                        "{} rule {}{}",
                        acl.name,
                        index + 1,
                        name.unwrap_or_default()
                    ),
                    line: rule.line,
                    text: rule.text.clone(),
                    frames: since.frames,
                    bytes: since.bytes,
                    flows: texts(engine, flows, *hit),
                });
            }
        }
        news
    }
}

/// The flows that met a rule of late.
fn texts(engine: &Engine, flows: &[FlowRecord], hit: u32) -> Vec<String> {
    let recent = flows
        .iter()
        .filter(|flow| flow.hits.contains(&hit) && flow.idle_s <= 1);
    let mut recent: Vec<_> = recent.collect();
    recent.sort_by_key(|flow| (flow.idle_s, flow.age_s));
    recent
        .iter()
        .take(MOST_FLOWS)
        .map(|flow| text(engine, flow))
        .collect()
}

/// A flow in words: who sends it, and what the lists ask of it.
fn text(engine: &Engine, flow: &FlowRecord) -> String {
    let sender = engine.rules().port(flow.sender);
    let mut text = format!("from {}", sender.map_or("-", |port| &*port.name));
    // Writing to a string cannot fail.
    let _ = match (flow.source, flow.destination) {
        (Some(source), Some(destination)) => write!(text, " {source} > {destination}"),
        (Some(source), None) => write!(text, " {source} > any"),
        (None, Some(destination)) => write!(text, " any > {destination}"),
        (None, None) => Ok(()),
    };
    let numbers = [
        (" protocol", flow.protocol.map(u16::from)),
        (" source port", flow.source_port),
        (" port", flow.destination_port),
    ];
    for (name, number) in numbers {
        let _ = number.map_or(Ok(()), |number| write!(text, "{name} {number}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use switch_core::{
        config::{Compiled, Indices, compile, parse},
        engine::{HugePages, Options},
        port::{Queue, SimQueue, SimWire},
    };

    use super::*;
    use crate::frame::hex;

    const CONFIG: &str = r#"
[[network]]
name = "web"

[[port]]
name = "a"
device = "veA"
network = "web"
acl_from_port = "list"

[[port]]
name = "b"
device = "veB"
network = "web"

[[acl]]
name = "list"
default = "allow"

[[acl.rule]]
name = "ping"
action = "log"
protocol = "icmp"

[[acl.rule]]
action = "deny"
protocol = "icmp"

[[acl.rule]]
action = "log"
ethertype = "arp"
"#;

    /// A switch whose port "a" is on a wire.
    fn engine(compiled: Compiled) -> (Engine, SimWire) {
        let options = Options {
            cores: vec![None],
            chunks: 256,
            huge_pages: HugePages::No,
            fdb_capacity: 64,
            hash_key: [1, 2],
            idle: Default::default(),
        };
        let mut engine = Engine::manual(&options).expect("an engine");
        engine.apply(compiled.rules).expect("applied");
        let wire = SimWire::new();
        let queue = Queue::Sim(SimQueue::new(wire.clone()));
        let port = compiled.indices.port("a").expect("a port");
        engine.attach(port, vec![queue], 1500).expect("attached");
        (engine, wire)
    }

    /// A frame of so many bytes comes so many times.
    fn send(engine: &mut Engine, wire: &SimWire, digits: &str, size: usize, count: usize) {
        let mut frame = hex::decode(digits).expect("digits");
        frame.resize(size, 0);
        (0..count).for_each(|_| wire.send(&frame));
        while engine.turn() > 0 {}
    }

    const PING: &str = "ffffffffffff 020000000001 0800 45000020 00000000 40010000 0a000001 \
                        0a000002 08000000";
    const ARP: &str = "ffffffffffff 020000000001 0806 0001 0800 0604 0001 020000000001 0a000001 \
                       000000000000 0a000002";

    #[test]
    fn a_rule_that_was_met_is_told_once_with_all_frames() {
        let config = parse("test", CONFIG).expect("valid");
        let (mut engine, wire) = engine(compile(&config, &Indices::new()).expect("compiled"));
        let mut log = RuleLog::default();
        assert_eq!(log.news(&engine, &config), []);
        send(&mut engine, &wire, PING, 60, 3);
        let expected = Met {
            rule: "list rule 1 (ping)".into(),
            line: 20,
            text: "log protocol icmp".into(),
            frames: 3,
            bytes: 180,
            flows: vec!["from a protocol 1".into()],
        };
        assert_eq!(log.news(&engine, &config), [expected]);
        assert_eq!(log.news(&engine, &config), []);
    }

    /// A counter that was a rule's, and is another one's after two reloads, begins anew.
    #[test]
    fn a_rule_does_not_inherit_what_another_one_met() {
        let config = parse("test", CONFIG).expect("valid");
        let compiled = compile(&config, &Indices::new()).expect("compiled");
        let mut indices = compiled.indices.clone();
        let (mut engine, wire) = engine(compiled);
        let mut log = RuleLog::default();
        send(&mut engine, &wire, PING, 1400, 2);
        assert_eq!(log.news(&engine, &config).len(), 1);
        let (rest, _) = CONFIG.split_once("[[acl.rule]]").expect("rules");
        let other = "[[acl.rule]]\naction = \"log\"\nethertype = \"arp\"\nsource = \"10.0.0.1\"\n";
        let mut news = Vec::new();
        for text in [rest.to_owned(), format!("{rest}{other}")] {
            let config = parse("test", &text).expect("valid");
            let compiled = compile(&config, &indices).expect("compiled");
            indices = compiled.indices.clone();
            engine.apply(compiled.rules).expect("applied");
            send(&mut engine, &wire, ARP, 60, 3);
            news = log.news(&engine, &config);
        }
        let met: Vec<_> = news.iter().map(|met| (met.frames, met.bytes)).collect();
        assert_eq!(met, [(3, 180)]);
    }
}
