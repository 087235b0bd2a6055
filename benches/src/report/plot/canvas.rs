//! A sheet with a title, a legend, axes and a place for marks.

use svg::Document;
use svg::node::element::{Circle, Element, Group, Line, Polygon, Polyline, Rectangle, Text, Title};
use svg::node::{Node, Value};

use super::axis::Axis;
use super::style::{self, Look, Mark};
use crate::report::results::Kind;

/// Width of every plot in pixels: what GitHub shows without shrinking.
const WIDTH: f64 = 860.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 40.0;
const TITLE_SIZE: f64 = 16.0;
const TEXT_SIZE: f64 = 12.5;
const LEGEND_ROW: f64 = 20.0;
const INK: &str = "#222222";
const GREY: &str = "#666666";
const GRID: &str = "#e3e3e3";
const FONT: &str = "system-ui, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif";

/// Where text is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// At its begin.
    Start,
    /// In its middle.
    Middle,
    /// At its end.
    End,
}

/// A plot that is being drawn.
pub struct Canvas {
    document: Document,
    /// The left end of the place for marks, in pixels.
    pub left: f64,
    /// Its right end.
    pub right: f64,
    /// Its upper end.
    pub top: f64,
    /// Its lower end.
    pub bottom: f64,
}

/// A name in the legend.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The contender.
    pub name: String,
    /// For whom it takes part.
    pub kind: Kind,
    /// What there is to say about its numbers, or nothing.
    pub note: String,
}

impl Entry {
    /// Without a note.
    pub fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            note: String::new(),
        }
    }

    /// The text in the plot.
    pub fn label(&self) -> String {
        format!("{}{}", style::label(&self.name, self.kind), self.note)
    }
}

impl Canvas {
    /// A sheet with a title, and a legend unless there are no entries. `height` is that of the
    /// place for marks, `below` what axes need under it, `left` what names need beside it.
    pub fn new(title: &str, entries: &[Entry], (height, below, left): (f64, f64, f64)) -> Self {
        let rows = legend_rows(entries);
        let top = 46.0 + LEGEND_ROW * rows.len() as f64 + if rows.is_empty() { 0.0 } else { 8.0 };
        let size = top + height + below;
        let mut document = Document::new()
            .set("viewBox", (0, 0, WIDTH, at(size)))
            .set("width", WIDTH)
            .set("height", at(size))
            .set("font-family", FONT)
            .set("font-size", TEXT_SIZE)
            .set("role", "img")
            .add(Title::new(title));
        let page = Rectangle::new().set("width", "100%").set("height", "100%");
        document.append(page.set("fill", "#ffffff"));
        let mut canvas = Self {
            document,
            left: left.max(LEFT),
            right: WIDTH - RIGHT,
            top,
            bottom: top + height,
        };
        let heading = Text::new(title)
            .set("font-size", TITLE_SIZE)
            .set("font-weight", 600);
        canvas.add(heading.set("x", 20).set("y", 28).set("fill", INK));
        for (index, row) in rows.iter().enumerate() {
            canvas.legend_row(row, 50.0 + LEGEND_ROW * index as f64);
        }
        canvas
    }

    fn legend_row(&mut self, row: &[(f64, Entry)], y: f64) {
        for (x, one) in row {
            let mut entry = Group::new().set("class", "legend");
            for element in mark(style::of(&one.name), *x, y, 5.0) {
                entry.append(element);
            }
            let text = Text::new(one.label()).set("fill", INK);
            let text = text.set("x", at(x + 11.0)).set("y", at(y + 4.5));
            entry.append(weighted(text, one.kind));
            self.add(entry);
        }
    }

    /// Adds whatever else there is.
    pub fn add(&mut self, element: impl Into<Element>) {
        self.document.append(element.into());
    }

    /// The x of a place on the axis below.
    pub fn x(&self, place: f64) -> f64 {
        self.left + place * (self.right - self.left)
    }

    /// The y of a place on the axis at the side.
    pub fn y(&self, place: f64) -> f64 {
        self.bottom - place * (self.bottom - self.top)
    }

    /// The axis at the side, with lines across at its ticks.
    pub fn axis_at_side(&mut self, axis: &Axis) {
        for (place, text) in &axis.ticks {
            let y = self.y(*place);
            self.line((self.left, y), (self.right, y), GRID, 1.0);
            self.text(text, (self.left - 8.0, y + 4.0), Anchor::End, GREY);
        }
        let middle = (self.top + self.bottom) / 2.0;
        let title = Text::new(&axis.title)
            .set("text-anchor", "middle")
            .set("fill", INK);
        self.add(title.set(
            "transform",
            format!("translate(22 {}) rotate(-90)", at(middle)),
        ));
    }

    /// The axis below, with lines up at its ticks when `grid` says so.
    pub fn axis_below(&mut self, axis: &Axis, grid: bool) {
        let mut free_from = f64::NEG_INFINITY;
        for (place, text) in &axis.ticks {
            let x = self.x(*place);
            if grid {
                self.line((x, self.top), (x, self.bottom), GRID, 1.0);
            }
            // A text that would run into the one before is left out.
            let half = width(text) / 2.0;
            if x - half > free_from + 4.0 {
                free_from = x + half;
                self.text(text, (x, self.bottom + 18.0), Anchor::Middle, GREY);
            }
        }
        self.title_below(&axis.title);
    }

    /// What the axis below shows.
    pub fn title_below(&mut self, title: &str) {
        let middle = (self.left + self.right) / 2.0;
        self.text(title, (middle, self.bottom + 40.0), Anchor::Middle, INK);
    }

    /// The line that values begin at.
    pub fn base_line(&mut self) {
        self.line(
            (self.left, self.bottom),
            (self.right, self.bottom),
            GREY,
            1.0,
        );
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, wide: f64) {
        self.add(line(from, to, colour, wide));
    }

    /// A line through points.
    pub fn polyline(&mut self, points: &[(f64, f64)], colour: &str) {
        self.add(
            Polyline::new()
                .set("points", pairs(points))
                .set("fill", "none")
                .set("stroke", colour)
                .set("stroke-width", 2)
                .set("stroke-linejoin", "round"),
        );
    }

    /// A bar with a text for who points at it.
    pub fn bar(&mut self, (x, y): (f64, f64), (wide, high): (f64, f64), colour: &str, tip: &str) {
        let bar = Rectangle::new().set("x", at(x)).set("y", at(y));
        // A bar of nothing is seen, too.
        let bar = bar
            .set("width", at(wide.max(1.0)))
            .set("height", at(high.max(1.0)));
        self.add(bar.set("fill", colour).add(Title::new(tip)));
    }

    /// A bar that leaves the plot: a cut through it, and its number along it.
    pub fn cut_bar(&mut self, (x, wide): (f64, f64), number: &str) {
        let y = self.top + 14.0;
        self.line((x - wide, y + 5.0), (x + wide, y - 5.0), "#ffffff", 3.0);
        let text = Text::new(number)
            .set("fill", "#ffffff")
            .set("font-size", 10);
        let place = format!("translate({} {}) rotate(-90)", at(x + 3.5), at(y + 14.0));
        self.add(text.set("transform", place).set("text-anchor", "end"));
    }

    /// A point with a text for who points at it.
    pub fn mark(&mut self, look: Look, (x, y): (f64, f64), tip: &str) {
        let mut group = Group::new().add(Title::new(tip));
        for element in mark(look, x, y, 4.5) {
            group.append(element);
        }
        self.add(group);
    }

    /// From where to where the turns went, upright.
    pub fn whisker_upright(&mut self, x: f64, (from, to): (f64, f64), colour: &str) {
        self.line((x, from), (x, to), colour, 1.3);
        for y in [from, to] {
            self.line((x - 3.0, y), (x + 3.0, y), colour, 1.3);
        }
    }

    /// From where to where the turns went, lying.
    pub fn whisker_lying(&mut self, (from, to): (f64, f64), y: f64, colour: &str) {
        self.line((from, y), (to, y), colour, 1.3);
        for x in [from, to] {
            self.line((x, y - 4.0), (x, y + 4.0), colour, 1.3);
        }
    }

    /// Text in a colour.
    pub fn text(&mut self, text: &str, (x, y): (f64, f64), anchor: Anchor, colour: &str) {
        let text = Text::new(text)
            .set("x", at(x))
            .set("y", at(y))
            .set("fill", colour);
        self.add(text.set("text-anchor", anchor.word()));
    }

    /// A name beside its bar.
    pub fn name(&mut self, entry: &Entry, y: f64) {
        let text = Text::new(entry.label()).set("fill", INK);
        let text = text.set("x", at(self.left - 10.0)).set("y", at(y));
        self.add(weighted(
            text.set("text-anchor", "end").set("class", "legend"),
            entry.kind,
        ));
    }

    /// A grey word where a number would stand.
    pub fn absent(&mut self, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        self.text(text, (x, y), anchor, GREY);
    }

    /// The whole plot.
    pub fn finish(self) -> String {
        format!("{}\n", self.document)
    }
}

impl Anchor {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Middle => "middle",
            Self::End => "end",
        }
    }
}

/// A coordinate, rounded to a tenth of a pixel.
fn at(value: f64) -> f64 {
    assert!(value.is_finite(), "a place that is none");
    (value * 10.0).round() / 10.0
}

/// About how wide a text is in pixels.
pub fn width(text: &str) -> f64 {
    0.6 * TEXT_SIZE * text.chars().count() as f64
}

/// Ours is in bold.
fn weighted(text: Text, kind: Kind) -> Text {
    if kind == Kind::Ours {
        text.set("font-weight", 700)
    } else {
        text
    }
}

/// The entries with their x, in as many rows as they need.
fn legend_rows(entries: &[Entry]) -> Vec<Vec<(f64, Entry)>> {
    let mut rows: Vec<Vec<(f64, Entry)>> = Vec::new();
    let mut x = WIDTH;
    for entry in entries {
        let wide = width(&entry.label()) + 34.0;
        if x + wide > WIDTH - RIGHT {
            rows.push(Vec::new());
            x = 26.0;
        }
        if let Some(row) = rows.last_mut() {
            row.push((x, entry.clone()));
        }
        x += wide;
    }
    rows
}

fn line((x1, y1): (f64, f64), (x2, y2): (f64, f64), colour: &str, wide: f64) -> Line {
    let line = Line::new().set("x1", at(x1)).set("y1", at(y1));
    let line = line.set("x2", at(x2)).set("y2", at(y2));
    line.set("stroke", colour).set("stroke-width", wide)
}

fn pairs(points: &[(f64, f64)]) -> Value {
    let pairs: Vec<String> = points
        .iter()
        .map(|(x, y)| format!("{},{}", at(*x), at(*y)))
        .collect();
    pairs.join(" ").into()
}

/// The mark of a contender around a point.
fn mark(look: Look, x: f64, y: f64, r: f64) -> Vec<Element> {
    let filled = |element: Element| {
        let mut element = element;
        element.assign("fill", look.colour);
        vec![element]
    };
    let hollow = |element: Element| {
        let mut element = element;
        element.assign("fill", "#ffffff");
        element.assign("stroke", look.colour);
        element.assign("stroke-width", 2);
        vec![element]
    };
    let circle = || {
        Circle::new()
            .set("cx", at(x))
            .set("cy", at(y))
            .set("r", at(r))
    };
    let square = || {
        let square = Rectangle::new().set("x", at(x - r)).set("y", at(y - r));
        square.set("width", at(2.0 * r)).set("height", at(2.0 * r))
    };
    let polygon = |points: &[(f64, f64)]| Polygon::new().set("points", pairs(points));
    match look.mark {
        Mark::Circle => filled(circle().into()),
        Mark::Square => filled(square().into()),
        Mark::Triangle => {
            let (low, side) = (y + 0.8 * r, 1.15 * r);
            filled(polygon(&[(x - side, low), (x + side, low), (x, y - 1.2 * r)]).into())
        }
        Mark::Diamond => {
            let d = 1.3 * r;
            filled(polygon(&[(x - d, y), (x, y - d), (x + d, y), (x, y + d)]).into())
        }
        Mark::Ring => hollow(circle().into()),
        Mark::Frame => hollow(square().into()),
    }
}
