//! Plots as SVG: the same numbers give the same bytes.
//!
//! Text is left to the viewer, so no font is needed to write a plot; where text has to fit, its
//! width is estimated. The background is white, also for readers in dark mode.

mod axis;
mod bars;
mod canvas;
mod lines;
mod style;

pub use bars::{Category, grouped, single};
pub use lines::{Curve, Grid, Labels, curves, lines};

use super::results::{Kind, Measured};

/// The largest number that a plot has room for. A limit that is far above everybody else would
/// press all the others together, so it is cut off, and its number is written instead.
fn room(numbers: impl Iterator<Item = (Kind, f64)>) -> f64 {
    let (mut limit, mut others) = (0f64, 0f64);
    for (kind, number) in numbers {
        let highest = if kind == Kind::Limit {
            &mut limit
        } else {
            &mut others
        };
        *highest = highest.max(number);
    }
    if others > 0.0 && limit > 1.5 * others {
        1.05 * others
    } else {
        limit.max(others)
    }
}

/// One contender's numbers by what they depend on.
#[derive(Clone, Debug)]
pub struct Line {
    /// The contender.
    pub name: String,
    /// For whom it takes part.
    pub kind: Kind,
    /// From left to right.
    pub points: Vec<(f64, Measured)>,
}
