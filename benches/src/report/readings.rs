//! What a plot says, in a sentence that is made from its numbers.

use super::human::{self, Unit};
use super::metrics::{Better, Metric, Value};
use super::plot::Line;
use super::ratio::Ratio;
use super::results::{Contender, Kind, Measured, Results};

/// Who is first and by how much; where the turns do not tell, that.
pub fn metric(metric: &Metric) -> String {
    let ranked = ranked(metric);
    let Some((first, best)) = ranked.first() else {
        return "No switch was measured.".to_owned();
    };
    let ours = ranked.iter().find(|(value, _)| value.kind == Kind::Ours);
    let unit = metric.unit;
    let mut text = match (ours, ranked.get(1)) {
        (None, _) => format!(
            "{} is first with {}; shunt has no number here.",
            first.name,
            unit.format(best.median)
        ),
        (Some(ours), None) => format!(
            "{} has {}; no other switch has a number here.",
            ours.0.name,
            unit.format(ours.1.median)
        ),
        (Some(ours), Some(second)) => {
            let is_first = ours.0.name == first.name;
            beside(metric, *ours, if is_first { *second } else { ranked[0] })
        }
    };
    if let Some((ours, number)) = ours {
        text += &ends(metric, ours, number);
    }
    let measured = || metric.values.iter().filter_map(|value| value.measured);
    if measured().all(|measured| measured.turns < 2) {
        text += " How much it varies from turn to turn is not known.";
    }
    text
}

type Ranked<'a> = (&'a Value, &'a Measured);

/// The switches that have a number, the best first; among equals, in the report's order.
fn ranked(metric: &Metric) -> Vec<Ranked<'_>> {
    let switches = metric
        .values
        .iter()
        .filter(|value| matches!(value.kind, Kind::Ours | Kind::Peer));
    let mut ranked: Vec<Ranked<'_>> = switches
        .filter_map(|value| Some((value, value.measured.as_ref()?)))
        .collect();
    ranked.sort_by(|(_, a), (_, b)| match metric.better {
        Better::More => b.median.total_cmp(&a.median),
        Better::Less => a.median.total_cmp(&b.median),
    });
    ranked
}

/// Ours beside the best of the others.
fn beside(metric: &Metric, (ours, our): Ranked<'_>, (other, their): Ranked<'_>) -> String {
    let number = |value: &Value, measured: &Measured| {
        metric.format(value, metric.unit.format(measured.median))
    };
    let (name, peer) = (&ours.name, &other.name);
    let (number, theirs) = (number(ours, our), number(other, their));
    let Some(ratio) = Ratio::new(our, their) else {
        return format!("{name} has {number}, {peer} {theirs}.");
    };
    if ours.is_open || other.is_open {
        return format!(
            "{name} has {number}, {peer} {theirs}; ≥ is where the search ended, not the contender."
        );
    }
    if ratio.is_level() {
        return format!(
            "{name} ({number}) and {peer} ({theirs}) are level: {}.",
            why(&ratio)
        );
    }
    let leads = match metric.better {
        Better::More => ratio.value > 1.0,
        Better::Less => ratio.value < 1.0,
    };
    let ratio = ratio.format(&[1.0]);
    if leads {
        format!("{name} is first with {number}, {ratio} × {peer} ({theirs}).")
    } else {
        format!("{peer} is first with {theirs}; {name} has {number}, {ratio} × that.")
    }
}

/// Why two numbers count as level.
fn why(ratio: &Ratio) -> &'static str {
    if ratio.spread_is_known {
        "no difference beyond the spread of the turns"
    } else {
        "no difference in what was measured"
    }
}

/// Ours beside the floor and the limit.
fn ends(metric: &Metric, ours: &Value, number: &Measured) -> String {
    let of = |value: &Value| {
        let word = kind(value.kind)?;
        let ratio = Ratio::new(number, value.measured.as_ref()?)?;
        let (level, bounds): (_, &[f64]) = if ratio.is_level() {
            ("≈ ", &[])
        } else {
            ("", &[1.0])
        };
        let ratio = ratio.format(bounds);
        Some(format!("{level}{ratio} × {} (the {word})", value.name))
    };
    let ends: Vec<String> = metric.values.iter().filter_map(of).collect();
    if ends.is_empty() {
        return String::new();
    }
    let ends: Vec<&str> = ends.iter().map(String::as_str).collect();
    format!(" {} has {}.", ours.name, human::list(&ends))
}

/// What a contender is in the comparison, when it is no switch that one would take.
pub fn kind(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Ours | Kind::Variant | Kind::Peer => None,
        Kind::Floor => Some("floor"),
        Kind::Limit => Some("limit"),
    }
}

/// From where to where each line goes, and how much that is.
pub fn lines(lines: &[Line], unit: Unit, what: &str) -> String {
    let text = |line: &Line| {
        let ((from, first), (to, last)) = (line.points.first()?, line.points.last()?);
        let change = match Ratio::new(last, first) {
            Some(ratio) if ratio.is_level() => format!(" ({})", why(&ratio)),
            Some(ratio) => format!(" ({} ×)", ratio.format(&[1.0])),
            None => String::new(),
        };
        let (first, last) = (unit.format(first.median), unit.format(last.median));
        let [from, to] = [from, to].map(|count| human::grouped(*count as u64));
        let range = format!("From {from} to {to} {what}");
        Some((
            range,
            format!("{} goes from {first} to {last}{change}", line.name),
        ))
    };
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for (range, line) in lines.iter().filter_map(text) {
        match all.iter_mut().find(|(known, _)| *known == range) {
            Some((_, same)) => same.push(line),
            None => all.push((range, vec![line])),
        }
    }
    let sentences = all
        .iter()
        .map(|(range, lines)| format!("{range}, {}.", lines.join("; ")));
    sentences.collect::<Vec<_>>().join(" ")
}

/// What the generator offered at full load, and whose number is the generator's because nothing
/// of it was lost. Begins with a blank.
pub fn offered(results: &Results, size: usize) -> String {
    let all = || {
        results.contenders.iter().filter_map(|contender| {
            let mut sizes = contender.throughput.iter();
            let of_size = sizes.find(|one| one.frame_size == size)?;
            Some((contender, of_size.offered_fps?, of_size.overload_fps?))
        })
    };
    let offered = || all().map(|(_, offered, _)| offered.median);
    let least = offered().fold(f64::INFINITY, f64::min);
    let most = offered().fold(0.0, f64::max);
    if most == 0.0 {
        return String::new();
    }
    let [least, most] = [least, most].map(|fps| Unit::Rate.format(fps));
    let rates = if least == most {
        most
    } else {
        format!("{least} to {most}")
    };
    let size = human::frame_size(size);
    let text = format!(" At {size} the generator offered {rates}.");
    let passed = all().filter(|(_, offered, passed)| passed.median >= 0.99 * offered.median);
    let names: Vec<&str> = passed
        .map(|(contender, ..)| contender.name.as_str())
        .collect();
    if names.is_empty() {
        return text;
    }
    format!(
        "{text} {} passed all of it: more was not tried.",
        human::list(&names)
    )
}

/// Up to which offered rate each loses nothing.
pub fn loss(contenders: &[Contender], frame_size: usize) -> String {
    let text = |contender: &Contender| {
        let points = || {
            contender
                .loss
                .iter()
                .filter(|point| point.frame_size == frame_size)
        };
        points().next()?;
        let lossy = points()
            .filter(|point| point.loss > 0.0)
            .map(|point| point.offered_fps);
        let first_loss = lossy.fold(f64::INFINITY, f64::min);
        let free = points()
            .map(|point| point.offered_fps)
            .filter(|fps| *fps < first_loss);
        let name = &contender.name;
        Some(match free.reduce(f64::max) {
            Some(fps) => format!("{name} {}", Unit::Rate.format(fps)),
            None => format!("{name} none of the rates tried"),
        })
    };
    let all: Vec<String> = contenders.iter().filter_map(text).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    format!(
        "The highest rate of the curve up to which nothing is lost: {}.",
        human::list(&all)
    )
}
