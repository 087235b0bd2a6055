//! From numbers to places along an axis.

/// An axis with its ticks.
#[derive(Clone, Debug)]
pub struct Axis {
    /// What it shows, with the unit.
    pub title: String,
    /// Places, 0 to 1, and what stands there.
    pub ticks: Vec<(f64, String)>,
    from: f64,
    to: f64,
    logarithmic: bool,
    /// What values are multiplied with before they have a place.
    factor: f64,
}

impl Axis {
    /// From 0 to `max` or a little more. `label` is asked for the text of a tick.
    pub fn linear(title: &str, max: f64, label: &dyn Fn(f64) -> String) -> Self {
        let max = if max > 0.0 { max } else { 1.0 };
        let step = round_step(max / 6.0);
        let count = (max / step - 1e-9).ceil();
        let mut axis = Self::new(title, 0.0, count * step, false);
        for index in 0..=count as u32 {
            let value = f64::from(index) * step;
            axis.ticks.push((axis.place(value), label(value)));
        }
        axis
    }

    /// From `min` to `max`, widened to 1, 2 or 5 times a power of 10.
    pub fn logarithmic(title: &str, values: &[f64], label: &dyn Fn(f64) -> String) -> Self {
        let positive = || values.iter().copied().filter(|value| *value > 0.0);
        let min = positive().fold(f64::INFINITY, f64::min);
        let max = positive().fold(0.0, f64::max);
        let (min, max) = if max > 0.0 { (min, max) } else { (1.0, 10.0) };
        let steps = round_numbers(min, max);
        let mut axis = Self::new(title, steps[0], steps[steps.len() - 1], true);
        let decades = (axis.to / axis.from).log10();
        for value in steps {
            let is_power = is_power_of_ten(value);
            if decades <= 3.0 || is_power {
                axis.ticks.push((axis.place(value), label(value)));
            }
        }
        axis
    }

    /// From the first to the last of `values`, with a tick at each.
    pub fn at_values(title: &str, values: &[f64], label: &dyn Fn(f64) -> String) -> Self {
        let (first, last) = (values[0], values[values.len() - 1]);
        // A single place stands in the middle.
        let alone = first >= last;
        let mut axis = if alone {
            Self::new(title, first / 2.0, first * 2.0, true)
        } else {
            Self::new(title, first, last, true)
        };
        for value in values {
            axis.ticks.push((axis.place(*value), label(*value)));
        }
        axis
    }

    /// From 0 to `to` without rounding, with the given ticks.
    pub fn with_ticks(title: &str, to: f64, ticks: &[(f64, &str)]) -> Self {
        let mut axis = Self::new(title, 0.0, to, false);
        let inside = ticks.iter().filter(|(value, _)| *value <= to);
        axis.ticks = inside
            .map(|(value, text)| (value / to, (*text).to_owned()))
            .collect();
        axis
    }

    fn new(title: &str, from: f64, to: f64, logarithmic: bool) -> Self {
        assert!(from < to, "an axis from {from} to {to}");
        Self {
            title: title.to_owned(),
            ticks: Vec::new(),
            from,
            to,
            logarithmic,
            factor: 1.0,
        }
    }

    /// The same axis for values in another unit, of which one is `1 / factor` of this one's.
    pub fn scaled(self, factor: f64) -> Self {
        Self { factor, ..self }
    }

    /// Whether a value is past the end of the axis.
    pub fn is_beyond(&self, value: f64) -> bool {
        value * self.factor > self.to * (1.0 + 1e-9)
    }

    /// Where a value stands, 0 to 1. What is outside stands at the end.
    pub fn place(&self, value: f64) -> f64 {
        let value = value * self.factor;
        let place = if self.logarithmic {
            (value.max(self.from) / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        place.clamp(0.0, 1.0)
    }
}

/// 1, 2 or 5 times a power of 10, no less than `least`.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powi(least.log10().floor() as i32);
    let step = [1.0, 2.0, 5.0, 10.0].map(|digit| digit * power);
    step.into_iter()
        .find(|step| *step >= least * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

/// Round numbers from one that is no more than `min` to one that is no less than `max`.
fn round_numbers(min: f64, max: f64) -> Vec<f64> {
    let first = min.log10().floor() as i32;
    let last = max.log10().ceil() as i32;
    let digits = [1.0, 2.0, 5.0];
    let all: Vec<f64> = (first..=last)
        .flat_map(|power| digits.map(|digit| digit * 10f64.powi(power)))
        .collect();
    let below = all.iter().rposition(|one| *one <= min).unwrap_or(0);
    let above = all
        .iter()
        .position(|one| *one >= max)
        .unwrap_or(all.len() - 1);
    // Equal ends would be no axis.
    all[below..=above.max(below + 1)].to_vec()
}

fn is_power_of_ten(value: f64) -> bool {
    (value.log10() - value.log10().round()).abs() < 1e-9
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    fn text(value: f64) -> String {
        format!("{value}")
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(
            ticks(&Axis::linear("", 3.3, &text)),
            ["0", "1", "2", "3", "4"]
        );
        assert_eq!(ticks(&Axis::linear("", 0.0, &text)).first(), Some(&"0"));
        let axis = Axis::logarithmic("", &[0.0, 41.0, 120.0], &text);
        assert_eq!(ticks(&axis), ["20", "50", "100", "200"]);
        let axis = Axis::logarithmic("", &[3.0, 90_000.0], &text);
        assert_eq!(ticks(&axis), ["10", "100", "1000", "10000", "100000"]);
    }

    #[test]
    fn every_value_has_a_place() {
        for values in [vec![], vec![0.0], vec![5.0], vec![1e-3, 1e9]] {
            let axis = Axis::logarithmic("", &values, &text);
            for value in values {
                assert!((0.0..=1.0).contains(&axis.place(value)), "{value}");
            }
        }
        assert_eq!(Axis::at_values("", &[64.0], &text).place(64.0), 0.5);
        assert_eq!(Axis::at_values("", &[1.0, 100.0], &text).place(10.0), 0.5);
    }
}
