//! Bars and points beside each other: one group for each thing that was measured.

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, Entry, width};
use super::{room, style};
use crate::report::human::{self, Unit};
use crate::report::metrics::{Metric, Value};
use crate::report::results::Measured;

/// The name below a group, and the numbers in it.
pub type Category = (String, Metric);

/// Colour of whiskers and of what lies on bars.
const INK: &str = "#222222";

/// What the groups of a plot have in common.
struct Groups {
    canvas: Canvas,
    axis: Axis,
    unit: Unit,
    /// Points instead of bars, because the axis has no 0.
    points: bool,
    /// Whether a number was missing, and whether one was too large for the plot.
    absent: bool,
    cut: bool,
}

/// A group of bars, or of points where `logarithmic`, for each category; whiskers from the
/// smallest to the largest turn. Contenders without any number are left out.
pub fn grouped(title: &str, what: &str, categories: &[Category], logarithmic: bool) -> String {
    let entries = entries(categories);
    let unit = categories
        .first()
        .map_or(Unit::Count, |(_, metric)| metric.unit);
    let mut groups = Groups {
        canvas: Canvas::new(title, &entries, (290.0, 56.0, 0.0)),
        axis: side_axis(what, unit, categories, logarithmic),
        unit,
        points: logarithmic,
        absent: false,
        cut: false,
    };
    groups.canvas.axis_at_side(&groups.axis);
    for (index, category) in categories.iter().enumerate() {
        groups.group(category, (index, categories.len()), &entries);
    }
    let mut notes = Vec::new();
    if groups.absent {
        notes.push("×: not measured");
    }
    if groups.cut {
        notes.push("bars that leave the plot carry their number");
    }
    groups.canvas.title_below(&notes.join("; "));
    groups.canvas.base_line();
    groups.canvas.finish()
}

impl Groups {
    /// One category, the `index`th of `count`.
    fn group(&mut self, category: &Category, (index, count): (usize, usize), entries: &[Entry]) {
        let canvas = &mut self.canvas;
        let share = 1.0 / count as f64;
        let middle = canvas.x((index as f64 + 0.5) * share);
        canvas.absent((middle, canvas.bottom + 18.0), Anchor::Middle, &category.0);
        let wide = (canvas.right - canvas.left) * share * 0.84;
        let slot = (wide / entries.len().max(1) as f64).min(48.0);
        let begin = middle - slot * entries.len() as f64 / 2.0;
        for (place, entry) in entries.iter().enumerate() {
            let x = begin + slot * (place as f64 + 0.5);
            let value = category
                .1
                .values
                .iter()
                .find(|value| value.name == entry.name);
            match value.and_then(|value| Some((value, value.measured?))) {
                Some((value, measured)) => self.one((x, slot), value, &measured),
                None => {
                    let place = (x, self.canvas.bottom - 4.0);
                    self.canvas.absent(place, Anchor::Middle, "×");
                    self.absent = true;
                }
            }
        }
    }

    /// One bar or point.
    fn one(&mut self, (x, slot): (f64, f64), value: &Value, measured: &Measured) {
        let Self {
            canvas, axis, unit, ..
        } = self;
        let [y, low, high] =
            [measured.median, measured.min, measured.max].map(|value| canvas.y(axis.place(value)));
        let tip = format!("{}: {}", value.name, unit.format_range(measured));
        let look = style::of(&value.name);
        if self.points {
            if measured.turns > 1 {
                canvas.whisker_upright(x, (low, high), look.colour);
            }
            canvas.mark(look, (x, y), &tip);
            return;
        }
        let wide = (slot - 2.0).max(1.0);
        let corner = (x - wide / 2.0, y.min(canvas.bottom - 1.0));
        canvas.bar(corner, (wide, canvas.bottom - y), look.colour, &tip);
        if axis.is_beyond(measured.median) {
            canvas.cut_bar((x, wide), &unit.format(measured.median));
            self.cut = true;
        } else if measured.turns > 1 {
            canvas.whisker_upright(x, (low, high), INK);
        }
    }
}

/// The contenders that have a number in any of the categories.
fn entries(categories: &[Category]) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for value in categories.iter().flat_map(|(_, metric)| &metric.values) {
        let is_new = entries.iter().all(|entry| entry.name != value.name);
        if is_new && value.measured.is_some() {
            entries.push(Entry::new(&value.name, value.kind));
        }
    }
    entries
}

/// The axis for all numbers.
fn side_axis(what: &str, unit: Unit, categories: &[Category], logarithmic: bool) -> Axis {
    let all = || {
        let values = categories.iter().flat_map(|(_, metric)| &metric.values);
        values.filter_map(|value| Some((value.kind, value.measured?)))
    };
    let max = room(all().map(|(kind, measured)| (kind, measured.max)));
    let (factor, name) = unit.scale(max);
    let title = format!("{what}, {name}");
    let axis = if logarithmic {
        let ends = all().flat_map(|(_, measured)| [measured.min, measured.max]);
        let scaled: Vec<f64> = ends.map(|number| number * factor).collect();
        Axis::logarithmic(&title, &scaled, &tick)
    } else {
        Axis::linear(&title, max * factor, &tick)
    };
    axis.scaled(factor)
}

/// A round number without digits that it does not need.
pub fn tick(value: f64) -> String {
    if value >= 10_000.0 {
        return human::grouped(value.round() as u64);
    }
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    text.to_owned()
}

/// A lying bar for each contender, with its number in words.
pub fn single(title: &str, metric: &Metric) -> String {
    const ROW: f64 = 30.0;
    let entry = |value: &Value| Entry::new(&value.name, value.kind);
    let entries: Vec<Entry> = metric.values.iter().map(entry).collect();
    let widest = entries.iter().map(|entry| width(&entry.label()));
    let left = widest.fold(0.0, f64::max) + 34.0;
    let height = ROW * entries.len() as f64 + 6.0;
    let mut canvas = Canvas::new(title, &[], (height, 54.0, left));
    // The numbers stand to the right of the bars.
    canvas.right -= 160.0;
    let measured = metric.values.iter().filter_map(|value| value.measured);
    let max = measured.map(|measured| measured.max).fold(0.0, f64::max);
    let (factor, unit) = metric.unit.scale(max);
    let label = [metric.title.as_str(), unit].join(", ");
    let axis = Axis::linear(label.trim_end_matches(", "), max * factor, &tick).scaled(factor);
    canvas.axis_below(&axis, true);
    for (index, value) in metric.values.iter().enumerate() {
        let y = canvas.top + ROW * (index as f64 + 0.5) + 3.0;
        canvas.name(&entries[index], y + 4.5);
        let Some(measured) = &value.measured else {
            canvas.absent((canvas.left + 8.0, y + 4.5), Anchor::Start, "not measured");
            continue;
        };
        let text = metric.format(value, metric.unit.format_range(measured));
        let [end, low, high] =
            [measured.median, measured.min, measured.max].map(|value| canvas.x(axis.place(value)));
        let size = (end - canvas.left, ROW - 10.0);
        let look = style::of(&value.name);
        canvas.bar((canvas.left, y - size.1 / 2.0), size, look.colour, &text);
        if measured.turns > 1 {
            canvas.whisker_lying((low, high), y, INK);
        }
        canvas.text(&text, (high.max(end) + 9.0, y + 4.5), Anchor::Start, INK);
    }
    let (left, top, bottom) = (canvas.left, canvas.top, canvas.bottom);
    canvas.line((left, top), (left, bottom), "#666666", 1.0);
    canvas.finish()
}
