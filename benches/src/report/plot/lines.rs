//! Lines by a number: what was measured over what it depends on.

use super::axis::Axis;
use super::bars::tick;
use super::canvas::{Canvas, Entry};
use super::{Line, room, style};
use crate::report::human::{self, Unit};
use crate::report::results::{Kind, Measured};

/// What stands around a plot.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    /// Above.
    pub title: &'a str,
    /// At the axis below.
    pub below: &'a str,
    /// At the axis at the side, without the unit.
    pub side: &'a str,
    /// The unit at the side.
    pub unit: Unit,
}

/// Height of the place for marks, of what is below it, and the least beside it.
const PLACE: (f64, f64, f64) = (290.0, 56.0, 0.0);

/// Points with whiskers from the smallest to the largest turn, over a number that grows by
/// factors. The axis at the side begins at 0.
pub fn lines(labels: Labels<'_>, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let mut counts: Vec<f64> = points().map(|(count, _)| *count).collect();
    counts.sort_by(f64::total_cmp);
    counts.dedup();
    if counts.is_empty() {
        counts.push(1.0);
    }
    let largest = lines.iter().flat_map(|line| {
        let kind = line.kind;
        line.points
            .iter()
            .map(move |(_, number)| (kind, number.max))
    });
    let below = Axis::at_values(labels.below, &counts, &|count| human::grouped(count as u64));
    let side = side_axis(labels, room(largest));
    let is_above = |line: &&Line| line.points.iter().all(|(_, it)| side.is_beyond(it.median));
    let entry = |line: &Line| {
        let mut entry = Entry::new(&line.name, line.kind);
        if is_above(&line) {
            entry.note = above(labels.unit, &line.points);
        }
        entry
    };
    let entries: Vec<Entry> = lines.iter().map(entry).collect();
    let mut canvas = Canvas::new(labels.title, &entries, PLACE);
    canvas.axis_at_side(&side);
    canvas.axis_below(&below, true);
    // What comes first in the report lies on top.
    for line in lines.iter().rev().filter(|line| !is_above(line)) {
        one(&mut canvas, (&below, &side), line, labels.unit);
    }
    canvas.base_line();
    canvas.finish()
}

/// A line with its points.
fn one(canvas: &mut Canvas, (below, side): (&Axis, &Axis), line: &Line, unit: Unit) {
    let look = style::of(&line.name);
    let place = |(count, number): &(f64, Measured)| {
        (
            canvas.x(below.place(*count)),
            canvas.y(side.place(number.median)),
        )
    };
    let places: Vec<(f64, f64)> = line.points.iter().map(place).collect();
    canvas.polyline(&places, look.colour);
    for ((count, number), place) in line.points.iter().zip(&places) {
        let [low, high] = [number.min, number.max].map(|end| canvas.y(side.place(end)));
        if number.turns > 1 {
            canvas.whisker_upright(place.0, (low, high), look.colour);
        }
        let count = human::grouped(*count as u64);
        let tip = format!("{}, {count}: {}", line.name, unit.format_range(number));
        canvas.mark(look, *place, &tip);
    }
}

/// What the legend says about a line that lies above the plot.
fn above(unit: Unit, points: &[(f64, Measured)]) -> String {
    let numbers = || points.iter().map(|(_, number)| number.median);
    let least = unit.format(numbers().fold(f64::INFINITY, f64::min));
    let most = unit.format(numbers().fold(0.0, f64::max));
    format!(" lies above: {least} to {most}")
}

/// Linear, from 0.
fn side_axis(labels: Labels<'_>, max: f64) -> Axis {
    let (factor, unit) = labels.unit.scale(max);
    let title = format!("{}, {unit}", labels.side);
    Axis::linear(&title, max * factor, &tick).scaled(factor)
}

/// A contender's line through points that have no spread.
#[derive(Clone, Debug)]
pub struct Curve {
    /// The contender.
    pub name: String,
    /// For whom it takes part.
    pub kind: Kind,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// Those that get a mark.
    pub marks: Vec<(f64, f64)>,
}

/// Which axes curves are drawn on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grid {
    /// Offered rates below, per cent at the side.
    Loss,
    /// Quantiles below, times at the side; both grow by factors.
    Quantiles,
}

/// The quantiles that readers know, as `-log10(1 - quantile)`.
const QUANTILES: [(f64, &str); 8] = [
    (0.0, "0 %"),
    (std::f64::consts::LOG10_2, "50 %"),
    (1.0, "90 %"),
    (2.0, "99 %"),
    (3.0, "99.9 %"),
    (4.0, "99.99 %"),
    (5.0, "99.999 %"),
    (6.0, "99.9999 %"),
];

/// Curves over offered rates or over quantiles.
pub fn curves(labels: Labels<'_>, grid: Grid, curves: &[Curve]) -> String {
    let entry = |curve: &Curve| Entry::new(&curve.name, curve.kind);
    let entries: Vec<Entry> = curves.iter().map(entry).collect();
    let (below, side) = axes(labels, grid, curves);
    let mut canvas = Canvas::new(labels.title, &entries, PLACE);
    canvas.axis_at_side(&side);
    canvas.axis_below(&below, true);
    for curve in curves.iter().rev() {
        let look = style::of(&curve.name);
        let place = |(x, y): &(f64, f64)| (canvas.x(below.place(*x)), canvas.y(side.place(*y)));
        let inside = curve.points.iter().filter(|(x, _)| !below.is_beyond(*x));
        let places: Vec<(f64, f64)> = inside.map(place).collect();
        canvas.polyline(&places, look.colour);
        for point in curve.marks.iter().filter(|(x, _)| !below.is_beyond(*x)) {
            let tip = format!("{}: {}", curve.name, labels.unit.format(point.1));
            let place = (
                canvas.x(below.place(point.0)),
                canvas.y(side.place(point.1)),
            );
            canvas.mark(look, place, &tip);
        }
    }
    canvas.base_line();
    canvas.finish()
}

/// The axis below and the one at the side.
fn axes(labels: Labels<'_>, grid: Grid, curves: &[Curve]) -> (Axis, Axis) {
    let points = || curves.iter().flat_map(|curve| &curve.points);
    let values: Vec<f64> = points().map(|(_, y)| *y).collect();
    let top = values.iter().copied().fold(0.0, f64::max);
    match grid {
        Grid::Loss => {
            let offered = curves.iter().flat_map(|curve| {
                let kind = curve.kind;
                curve.points.iter().map(move |(x, _)| (kind, *x))
            });
            let right = room(offered);
            let (factor, unit) = Unit::Rate.scale(right);
            let title = format!("{}, {unit}", labels.below);
            let below = Axis::linear(&title, right * factor, &tick).scaled(factor);
            (below, side_axis(labels, top))
        }
        Grid::Quantiles => {
            let right = points().map(|(x, _)| *x).fold(1.0, f64::max);
            let below = Axis::with_ticks(labels.below, right, &QUANTILES);
            let (factor, unit) = labels.unit.scale(top);
            let title = format!("{}, {unit}", labels.side);
            let scaled: Vec<f64> = values.iter().map(|value| value * factor).collect();
            (
                below,
                Axis::logarithmic(&title, &scaled, &tick).scaled(factor),
            )
        }
    }
}
