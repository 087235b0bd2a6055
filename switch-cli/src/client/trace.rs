//! Traces for people: a line for each stage, below it the rules and policers that spoke.

use std::fmt::Write as _;

use switch_core::config::units::rate_text;

use crate::api::trace::{Trace, TraceEgress, TraceKey, TracePolicer, TraceQueue, TraceRule};

/// One trace after the other.
pub fn traces(traces: &[Trace]) -> String {
    let pages: Vec<String> = traces.iter().map(trace).collect();
    pages.join("\n")
}

fn trace(trace: &Trace) -> String {
    // Writing to a string cannot fail.
    let mut page = format!("from {}: {}\n", trace.from, trace.frame.text);
    for stage in &trace.stages {
        let _ = writeln!(page, "  {:<12} {}", stage.stage, stage.text);
        spoke(&mut page, &stage.rules, &stage.policers);
    }
    for way in &trace.egress {
        let _ = writeln!(page, "  leave {:<6} {}", way.port, at_port(way));
        if let Some(queue) = &way.queue {
            let _ = writeln!(page, "    {}", queue_text(queue));
        }
        spoke(&mut page, &way.rules, &way.policers);
    }
    let sent = trace.egress.iter().filter(|way| way.drop.is_none());
    let ports: Vec<&str> = sent.map(|way| way.port.as_str()).collect();
    let _ = match &trace.drop {
        Some(drop) => {
            let key = drop
                .key
                .as_ref()
                .map(|key| format!(", by {}", key_text(key)));
            let key = key.unwrap_or_default();
            writeln!(page, "dropped: {} at {}{key}", drop.reason, drop.port)
        }
        None => writeln!(page, "{} to {}", trace.verdict, ports.join(", ")),
    };
    page
}

fn at_port(way: &TraceEgress) -> String {
    match (&way.drop, &way.rewrite, &way.frame) {
        (Some(drop), ..) => format!("{}: {}", drop.reason, drop.text),
        (None, Some(rewrite), Some(frame)) => format!("{rewrite}; {} bytes", frame.bytes),
        _ => String::new(),
    }
}

fn queue_text(queue: &TraceQueue) -> String {
    let TraceQueue {
        class,
        scheduler,
        queue,
        service,
        port_rate_bps,
    } = queue;
    let rate = port_rate_bps.map(|rate| format!(", port at {} at most", rate_text(rate)));
    let rate = rate.unwrap_or_default();
    format!("class {class}: waits in queue {queue} of scheduler {scheduler} ({service}{rate})")
}

fn spoke(page: &mut String, rules: &[TraceRule], policers: &[TracePolicer]) {
    for rule in rules {
        let _ = writeln!(page, "    {}", rule_text(rule));
    }
    for policer in policers {
        let TracePolicer {
            policer,
            scope,
            green_frames,
            yellow_frames,
            red_frames,
        } = policer;
        let counts = [
            (green_frames, "green"),
            (yellow_frames, "yellow"),
            (red_frames, "red"),
        ];
        let counts = counts.iter().filter(|(count, _)| **count > 0);
        let counts: Vec<_> = counts
            .map(|(count, colour)| format!("{count} {colour}"))
            .collect();
        let _ = writeln!(
            page,
            "    policer {policer} of {scope}: {}",
            counts.join(", ")
        );
    }
}

/// A key in a few words: which it is, and where it stands.
pub fn key_text(key: &TraceKey) -> String {
    let TraceKey { key, file, line } = key;
    format!("{key} ({file}:{line})")
}

/// A rule in one line: which it is, where it stands, what it says.
pub fn rule_text(rule: &TraceRule) -> String {
    let which = match (rule.rule, &rule.name) {
        (None, _) => "default".to_owned(),
        (Some(number), None) => format!("rule {number}"),
        (Some(number), Some(name)) => format!("rule {number} ({name})"),
    };
    let TraceRule {
        acl,
        scope,
        direction,
        file,
        line,
        text,
        ..
    } = rule;
    format!("{acl} {which}, {file}:{line}, acl_{direction} of {scope}: {text}")
}
