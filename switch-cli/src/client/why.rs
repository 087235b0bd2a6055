//! Dropped frames for people, the last one first.

use std::fmt::Write as _;

use super::trace::{key_text, rule_text};
use crate::api::trace::Dropped;

/// The page about a port.
pub fn why(port: &str, drops: &[Dropped]) -> String {
    if drops.is_empty() {
        return format!(
            "no frame is kept of what was dropped at {port} since the port was added\n\
             What queues, rings, the kernel and devices drop is counted only: shunt describe port \
             {port}\n"
        );
    }
    // Writing to a string cannot fail.
    let mut page = String::new();
    for drop in drops {
        let Dropped {
            age_s,
            reason,
            text,
            from,
            frame,
            ..
        } = drop;
        // Where a lost frame came from is not known any more, nor what would become of it now.
        let known = from.as_ref().map(|from| format!(", from {from}"));
        let _ = writeln!(
            page,
            "{age_s:.3} s ago{}: {reason}",
            known.unwrap_or_default()
        );
        let _ = writeln!(page, "  {}", frame.text);
        let _ = writeln!(page, "  {text}");
        let _ = match (&drop.rule, &drop.key) {
            (Some(rule), _) => writeln!(page, "  {}", rule_text(rule)),
            (None, Some(key)) => writeln!(page, "  by {}", key_text(key)),
            _ if drop.still_dropped || from.is_none() => Ok(()),
            _ => writeln!(page, "  Such a frame would not be dropped so now."),
        };
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::trace::{FrameView, TraceKey, TraceRule},
        frame::text,
    };

    #[test]
    fn a_page() {
        let drop = |reason: &str, still_dropped: bool, rule: Option<TraceRule>| Dropped {
            age_s: 1.25,
            reason: reason.into(),
            text: "What it means.".into(),
            from: Some("guest-a".into()),
            frame: FrameView {
                bytes: 1500,
                text: text::line(&[0; 3], 1500),
                hex: "000000".into(),
            },
            still_dropped,
            rule,
            key: None,
        };
        let rule = TraceRule {
            acl: "guests".into(),
            scope: "port/guest-a".into(),
            direction: "from_port".into(),
            rule: Some(2),
            name: Some("no-mail".into()),
            action: "deny".into(),
            text: "deny protocol tcp".into(),
            file: "switch.toml".into(),
            line: 12,
        };
        let guarded = Dropped {
            key: Some(TraceKey {
                key: "allowed_macs".into(),
                file: "switch.toml".into(),
                line: 7,
            }),
            ..drop("mac_not_allowed", true, None)
        };
        let lost = Dropped {
            from: None,
            ..drop("queue_full", false, None)
        };
        let page = why(
            "guest-a",
            &[
                drop("acl_from_port", true, Some(rule)),
                drop("truncated", true, None),
                drop("mac_limit", false, None),
                guarded,
                lost,
            ],
        );
        insta::assert_snapshot!(page);
        insta::assert_snapshot!(why("guest-a", &[]));
    }
}
