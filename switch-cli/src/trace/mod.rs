//! What would become of a frame, in words: from what the engine says of indices and counters to
//! names, rules and lines of the configuration. For the daemon, and for a file alone.

pub mod came;
pub mod offline;
pub mod verdicts;

use switch_core::{
    config::{Action, Config, Port, snapshot::Ruleset},
    counters::DropReason,
    engine::{Class, Destination, Outcome, Policed, PolicerMet, RuleMet, Source, Stage, Way},
    limits::PortIndex,
    wire::{layer2::Layer2, packet::Packet, parse::Tag},
};

use crate::{
    api::trace::{
        Trace, TraceDrop, TraceEgress, TraceKey, TracePolicer, TraceQueue, TraceRule, TraceStage,
    },
    frame::text,
};

/// What names are taken from.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// The configuration in force.
    pub config: &'a Config,
    /// The same compiled.
    pub rules: &'a Ruleset,
    /// The file that it came from.
    pub file: &'a str,
}

/// The word of the configuration.
pub const fn word(action: Action) -> &'static str {
    match action {
        Action::Allow => "allow",
        Action::Deny => "deny",
        Action::Count => "count",
        Action::Log => "log",
    }
}

/// The keys of a port that may drop frames for this reason; the first that is written does.
const fn keys(reason: DropReason) -> &'static [&'static str] {
    use DropReason as R;
    match reason {
        R::MacNotAllowed => &["allowed_macs"],
        R::AddressNotAllowed => &["allowed_addresses"],
        R::DhcpServerGuard => &["dhcp_server", "security"],
        R::RouterGuard => &["router_advertisements", "security"],
        R::BpduGuard => &["bpdus", "security"],
        R::MacLimit => &["mac_limit"],
        R::Isolated => &["isolated"],
        R::BroadcastStorm => &["broadcast_limit", "security"],
        R::MulticastStorm => &["multicast_limit", "security"],
        R::UnknownUnicastStorm => &["unknown_unicast_limit", "security"],
        _ => &[],
    }
}

/// Explains what becomes of a frame.
pub fn explain(names: Names<'_>, ingress: PortIndex, bytes: &[u8], outcome: &Outcome) -> Trace {
    let explained = Explained {
        names,
        ingress,
        bytes,
        outcome,
    };
    let egress: Vec<TraceEgress> = outcome
        .ways
        .iter()
        .map(|way| explained.egress(way))
        .collect();
    let whole = outcome
        .dropped
        .map(|(_, reason)| explained.drop(reason, ingress));
    let leaves = egress.iter().any(|way| way.drop.is_none());
    let first = || egress.iter().find_map(|way| way.drop.clone());
    let drop = whole.or_else(|| if leaves { None } else { first() });
    let verdict = match (&drop, outcome.flooded) {
        (Some(_), _) => "dropped",
        (None, true) => "flooded",
        (None, false) => "forwarded",
    };
    Trace {
        from: names.port(ingress),
        frame: text::view(bytes),
        network: explained.network(),
        stages: explained.stages(),
        egress,
        verdict: verdict.to_owned(),
        drop,
    }
}

impl Names<'_> {
    /// The name of a port.
    pub fn port(self, port: PortIndex) -> String {
        let port = self.rules.port(port);
        port.map(|port| port.name.to_string()).unwrap_or_default()
    }

    fn configured(&self, port: PortIndex) -> Option<&Port> {
        let name = self.rules.port(port)?.name.clone();
        self.config.port(&name)
    }

    /// The key of a port that frames are dropped by for this reason.
    fn key(self, reason: DropReason, port: PortIndex) -> Option<TraceKey> {
        let lines = &self.configured(port)?.lines;
        let mut written = keys(reason).iter();
        let (key, line) = written.find_map(|key| Some((*key, lines.of(key)?)))?;
        Some(TraceKey {
            key: key.to_owned(),
            file: self.file.to_owned(),
            line,
        })
    }

    fn rule(self, met: RuleMet, scope: &str, direction: &str) -> Option<TraceRule> {
        let acl = self.config.acls.get(met.list)?;
        let rule = acl.rules.get(met.rule);
        let action = rule.map_or(acl.default, |rule| rule.action);
        let default = || format!("{} by default", word(acl.default));
        Some(TraceRule {
            acl: acl.name.to_string(),
            scope: scope.to_owned(),
            direction: direction.to_owned(),
            rule: rule.map(|_| met.rule + 1),
            name: rule.and_then(|rule| rule.name.as_ref().map(ToString::to_string)),
            action: word(action).to_owned(),
            text: rule.map_or_else(default, |rule| rule.text.clone()),
            file: self.file.to_owned(),
            line: rule.map_or(acl.line, |rule| rule.line),
        })
    }

    /// The rules that a frame met at a port, in the order in which lists and rules are asked: from
    /// a port the port's list is the first, to a port the network's.
    fn rules(
        self,
        met: &[RuleMet],
        port: PortIndex,
        network: &str,
        to_port: bool,
    ) -> Vec<TraceRule> {
        let direction = if to_port { "to_port" } else { "from_port" };
        let list = |acls: &switch_core::config::AttachedAcls| {
            let list = if to_port {
                &acls.to_port
            } else {
                &acls.from_port
            };
            list.clone()
        };
        let own = self.configured(port);
        let own = own.and_then(|port| Some((format!("port/{}", port.name), list(&port.acls)?)));
        let shared = self.config.network(network);
        let shared = shared.and_then(|it| Some((format!("network/{network}"), list(&it.acls)?)));
        let order = if to_port {
            [shared, own]
        } else {
            [own, shared]
        };
        let mut left = met.to_vec();
        let mut rules = Vec::new();
        for (scope, list) in order.into_iter().flatten() {
            let is_it = |rule: &RuleMet| {
                self.config
                    .acls
                    .get(rule.list)
                    .is_some_and(|acl| acl.name == list)
            };
            // A list that stands in both places was met twice.
            let mut seen = Vec::new();
            left.retain(|rule| {
                let take = is_it(rule) && !seen.contains(rule);
                if take {
                    seen.push(*rule);
                }
                !take
            });
            rules.extend(
                seen.into_iter()
                    .filter_map(|rule| self.rule(rule, &scope, direction)),
            );
        }
        rules
    }

    /// Where frames of a class wait for a port; none where it has no queues.
    fn queue(self, port: PortIndex, class: Class) -> Option<TraceQueue> {
        let rules = self.rules.qos.queues(port)?.rules();
        let queue = rules.queue_of(class);
        Some(TraceQueue {
            class: class.get(),
            scheduler: rules.name.to_string(),
            queue,
            service: rules.queues[queue].service.name().to_owned(),
            port_rate_bps: rules.shaper.map(|(rate, _)| rate.bits_per_second()),
        })
    }

    fn policers(self, met: &[PolicerMet]) -> Vec<TracePolicer> {
        let policer = |met: &PolicerMet| {
            let [green_frames, yellow_frames, red_frames] = met.frames;
            TracePolicer {
                policer: met.name.to_string(),
                scope: match met.of {
                    Policed::Port(port) => format!("port/{}", self.port(port)),
                    Policed::Network(network) => {
                        let network = self.rules.network(network);
                        let name = network.map(|it| it.name.to_string());
                        format!("network/{}", name.unwrap_or_default())
                    }
                    Policed::Rule(RuleMet { list, rule }) => {
                        let acl = self.config.acls.get(list).map(|acl| acl.name.as_str());
                        format!("acl/{}/{}", acl.unwrap_or_default(), rule + 1)
                    }
                },
                green_frames,
                yellow_frames,
                red_frames,
            }
        };
        met.iter().map(policer).collect()
    }
}

/// One frame, and what became of it.
struct Explained<'a> {
    names: Names<'a>,
    ingress: PortIndex,
    bytes: &'a [u8],
    outcome: &'a Outcome,
}

impl Explained<'_> {
    fn network(&self) -> Option<String> {
        let network = self.names.rules.network(self.outcome.network?)?;
        Some(network.name.to_string())
    }

    fn drop(&self, reason: DropReason, port: PortIndex) -> TraceDrop {
        TraceDrop {
            reason: reason.name().to_owned(),
            text: reason.text().to_owned(),
            port: self.names.port(port),
            key: self.names.key(reason, port),
        }
    }

    /// The stages that a frame goes through as one, as far as it gets.
    fn stages(&self) -> Vec<TraceStage> {
        let end = self.outcome.dropped;
        let last = end.map_or(Stage::Destination, |(stage, _)| stage);
        let reached = Stage::ALL.into_iter().take_while(|stage| *stage <= last);
        reached
            .map(|stage| {
                let dropped = end.filter(|(end, _)| *end == stage);
                let text = match dropped {
                    Some((_, reason)) => format!("{}: {}", reason.name(), reason.text()),
                    None => self.text(stage),
                };
                TraceStage {
                    stage: stage.name().to_owned(),
                    verdict: if dropped.is_some() {
                        "dropped"
                    } else {
                        "passed"
                    }
                    .to_owned(),
                    text,
                    rules: self.rules_of(stage),
                    policers: self.policers_of(stage),
                }
            })
            .collect()
    }

    fn rules_of(&self, stage: Stage) -> Vec<TraceRule> {
        let network = self.network().unwrap_or_default();
        match stage {
            Stage::Lists => self
                .names
                .rules(&self.outcome.rules, self.ingress, &network, false),
            _ => Vec::new(),
        }
    }

    fn policers_of(&self, stage: Stage) -> Vec<TracePolicer> {
        match stage {
            Stage::Police => self.names.policers(&self.outcome.policed),
            _ => Vec::new(),
        }
    }

    /// What a stage did that let the frame pass.
    fn text(&self, stage: Stage) -> String {
        let outcome = self.outcome;
        let ingress = self.names.port(self.ingress);
        let header = Layer2::parse(self.bytes).ok();
        let source = header
            .map(|header| header.source.to_string())
            .unwrap_or_default();
        let destination = header.map(|header| header.destination.to_string());
        let destination = destination.unwrap_or_default();
        match stage {
            Stage::Receive => format!("port {ingress} is up"),
            Stage::Classify => {
                let tag = header.and_then(|header| header.tag);
                let how = match tag.map(|tag| tag.tci().vid_bits()) {
                    None => "untagged".to_owned(),
                    Some(0) => "priority-tagged".to_owned(),
                    Some(vid) => format!("tagged with VID {vid}"),
                };
                let network = self.network().unwrap_or_default();
                format!("{how}: network {network}")
            }
            Stage::Secure => {
                let policy = self.names.rules.policy.as_ref();
                match policy.and_then(|policy| policy.guard(self.ingress)) {
                    Some(_) => format!("the security of port {ingress} has nothing against it"),
                    None => "the port has no security".to_owned(),
                }
            }
            Stage::Lists if outcome.rules.is_empty() => "no access control list".to_owned(),
            Stage::Lists => "allowed".to_owned(),
            Stage::Police if outcome.policed.is_empty() => "no policer".to_owned(),
            Stage::Police => "within the rate, or not to be dropped above it".to_owned(),
            Stage::Learn => match outcome.source {
                Some(Source::New) => format!("{source} is new: learnt here"),
                Some(Source::Moved { from }) => {
                    format!("{source} was behind {}: moved here", self.names.port(from))
                }
                Some(Source::NoRoom) => format!("{source} is not learnt: the table has no room"),
                Some(Source::Known) | None => format!("{source} is known here"),
            },
            Stage::Destination => match outcome.destination {
                Some(Destination::Behind(port)) if !outcome.flooded => {
                    format!("{destination} is behind {}", self.names.port(port))
                }
                Some(Destination::Group) => format!("{destination} is a group: flooded"),
                _ => format!("{destination} is not known: flooded"),
            },
            Stage::Leave => String::new(),
        }
    }

    fn egress(&self, way: &Way) -> TraceEgress {
        let network = self.network().unwrap_or_default();
        let sent = way.result.as_ref().ok();
        TraceEgress {
            port: self.names.port(way.port),
            frame: sent.map(|bytes| text::view(bytes)),
            rewrite: sent.map(|bytes| rewrite(self.bytes, bytes)),
            queue: way
                .class
                .and_then(|class| self.names.queue(way.port, class)),
            drop: way
                .result
                .as_ref()
                .err()
                .map(|reason| self.drop(*reason, way.port)),
            rules: self.names.rules(&way.rules, way.port, &network, true),
            policers: self.names.policers(&way.policed),
        }
    }
}

/// What is different in a frame that leaves.
fn rewrite(before: &[u8], after: &[u8]) -> String {
    if before == after {
        return "unchanged".to_owned();
    }
    let changes: Vec<_> = [tag_change(before, after), dscp_change(before, after)]
        .into_iter()
        .flatten()
        .collect();
    changes.join("; ")
}

fn tag_change(before: &[u8], after: &[u8]) -> Option<String> {
    let tag = |bytes: &[u8]| Layer2::parse(bytes).ok().and_then(|header| header.tag);
    let text = |tag: Tag| {
        let tci = tag.tci();
        let dei = if tci.dei() { " DEI" } else { "" };
        format!("VID {} PCP {}{dei}", tci.vid_bits(), tci.pcp())
    };
    match (tag(before), tag(after)) {
        (None, Some(new)) => Some(format!("tag pushed: {}", text(new))),
        (Some(old), None) => Some(format!("tag popped: {}", text(old))),
        (Some(old), Some(new)) if old != new => {
            Some(format!("tag: {} -> {}", text(old), text(new)))
        }
        _ => None,
    }
}

fn dscp_change(before: &[u8], after: &[u8]) -> Option<String> {
    let dscp = |bytes: &[u8]| {
        let header = Layer2::parse(bytes).ok()?;
        let packet = Packet::of_frame(&header, bytes, bytes.len()).ok()?;
        Some(packet.traffic_class >> 2)
    };
    let (old, new) = (dscp(before)?, dscp(after)?);
    (old != new).then(|| format!("DSCP {old} -> {new}"))
}
