//! The cells of the tables, for the terminal and for Markdown.

use super::metrics::{Metric, Value};
use super::ratio::Ratio;
use super::results::{Kind, Missing};
use super::targets::Target;

/// Titles of the table of targets.
pub const TARGETS: [&str; 8] = [
    "what", "ours", "peer", "ratio", "must", "aim", "result", "note",
];

/// What the signs in the table of contenders mean.
pub const LEGEND: &str = "\
Below each number: from where to where its turns went, and how it stands to ours, as a ratio.
≈ means that the turns of the two overlap, so that there is no telling.";

/// Who was left out, why, and what to do about it.
pub fn missing(missing: &Missing) -> String {
    let Missing {
        name,
        reason,
        remedy,
    } = missing;
    let ends = |text: &str| text.trim().trim_end_matches('.').to_owned();
    match ends(remedy) {
        remedy if remedy.is_empty() => format!("{name} was left out: {}.", ends(reason)),
        remedy => format!("{name} was left out: {}. Remedy: {remedy}.", ends(reason)),
    }
}

/// A row of the table of targets.
pub fn target(target: &Target) -> [String; 8] {
    let Target {
        what,
        ours,
        peer,
        ratio,
        must,
        aim,
        verdict,
        note,
    } = target.clone();
    [
        what,
        ours,
        peer,
        ratio,
        must,
        aim,
        verdict.word().to_owned(),
        note,
    ]
}

/// A number, from where to where its turns went, and how it stands to ours. What there is nothing
/// to say about is empty.
pub fn value(metric: &Metric, value: &Value) -> [String; 3] {
    let Some(measured) = &value.measured else {
        return ["–", "", ""].map(str::to_owned);
    };
    let ratio = metric.ours().and_then(|ours| Ratio::new(measured, ours));
    let shown = match ratio {
        None => String::new(),
        Some(_) if value.kind == Kind::Ours => "1".to_owned(),
        Some(ratio) => {
            if ratio.is_level() {
                format!("≈ {} ×", ratio.format(&[]))
            } else {
                format!("{} ×", ratio.format(&[1.0]))
            }
        }
    };
    let number = metric.format(value, metric.unit.format(measured.median));
    [number, metric.unit.range(measured), shown]
}
