//! How two measurements stand to each other, noise included.

use super::results::Measured;

/// One number over another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Of the middle ones.
    pub value: f64,
    /// The least that any two turns give.
    pub min: f64,
    /// The most that any two turns give.
    pub max: f64,
    /// Whether both have had turns enough to know how much they vary.
    pub spread_is_known: bool,
}

impl Ratio {
    /// `above / below`; nothing when the divisor is 0 in a turn, since no number says how much.
    pub fn new(above: &Measured, below: &Measured) -> Option<Self> {
        let ratio = Self {
            value: above.median / below.median,
            min: above.min / below.max,
            max: above.max / below.min,
            spread_is_known: above.turns > 1 && below.turns > 1,
        };
        (below.min > 0.0).then_some(ratio)
    }

    /// Whether some turns of the one lie among those of the other, so that there is no telling
    /// which is the larger. With one turn only equal numbers are.
    pub fn is_level(&self) -> bool {
        self.min <= 1.0 && 1.0 <= self.max
    }

    /// Two digits after the point, fewer of a large ratio, and more where they would round it
    /// onto one of `bounds` and so hide on which side of it the ratio is.
    pub fn format(&self, bounds: &[f64]) -> String {
        let shown = |decimals: usize| format!("{:.decimals$}", self.value);
        let hides = |text: &str| {
            let rounded: f64 = text.parse().unwrap_or(self.value);
            bounds.iter().any(|bound| {
                (rounded - bound) * (self.value - bound) <= 0.0 && *bound != self.value
            })
        };
        let least = match self.value {
            100.0.. => 0,
            10.0.. => 1,
            0.00995.. | 0.0 => 2,
            _ => 4,
        };
        (least..4)
            .map(shown)
            .find(|text| !hides(text))
            .unwrap_or_else(|| shown(4))
    }

    /// The ratio and between what it lies.
    pub fn format_range(&self, bounds: &[f64]) -> String {
        let middle = self.format(bounds);
        if self.spread_is_known {
            format!("{middle} ({:.2}–{:.2})", self.min, self.max)
        } else {
            middle
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(min: f64, median: f64, max: f64) -> Measured {
        Measured {
            median,
            min,
            max,
            turns: 3,
        }
    }

    #[test]
    fn overlapping_turns_are_level() {
        let ours = turns(0.90, 0.94, 0.96);
        let close = Ratio::new(&ours, &turns(0.88, 0.92, 0.93)).unwrap();
        assert!(close.is_level());
        assert_eq!(close.format(&[]), "1.02");
        let far = Ratio::new(&ours, &turns(0.80, 0.82, 0.85)).unwrap();
        assert!(!far.is_level());
        assert_eq!(far.format_range(&[]), "1.15 (1.06–1.20)");
    }

    #[test]
    fn one_turn_has_no_spread() {
        let one = Ratio::new(&Measured::once(3.0), &Measured::once(2.0)).unwrap();
        assert_eq!(one.format_range(&[]), "1.50");
        assert!(!one.is_level() && !one.spread_is_known);
    }

    #[test]
    fn nothing_is_divided_by_zero() {
        assert_eq!(Ratio::new(&Measured::once(1.0), &Measured::once(0.0)), None);
        let zero = Ratio::new(&Measured::once(0.0), &Measured::once(1.0)).unwrap();
        assert_eq!(zero.format(&[]), "0.00");
    }

    #[test]
    fn rounding_does_not_cross_a_bound() {
        let below = Ratio::new(&Measured::once(0.997), &Measured::once(1.0)).unwrap();
        assert_eq!(below.format(&[0.95, 1.0]), "0.997");
        assert_eq!(below.format(&[0.95]), "1.00");
        let on = Ratio::new(&Measured::once(1.0), &Measured::once(1.0)).unwrap();
        assert_eq!(on.format(&[1.0]), "1.00");
    }
}
