//! Numbers as a person writes them: `0.94 Mpps`, `41 µs`, `65 536`.

use super::results::Measured;

/// What a number counts, and so how it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Frames a second.
    Rate,
    /// Nanoseconds.
    Time,
    /// Bits a second.
    Bits,
    /// Things a second.
    PerSecond,
    /// Things.
    Count,
    /// Parts of a hundred.
    Percent,
    /// Mebibytes.
    Mebibytes,
    /// CPU milliseconds for a million frames.
    CpuTime,
}

/// A factor and the unit that numbers have after it.
type Scale = (f64, &'static str);

impl Unit {
    /// The scale in which `value` is neither long nor tiny.
    pub fn scale(self, value: f64) -> Scale {
        let steps: &[(f64, Scale)] = match self {
            Self::Rate => &[
                (1e5, (1e-6, "Mpps")),
                (1e3, (1e-3, "kpps")),
                (0.0, (1.0, "pps")),
            ],
            Self::Time => &[
                (1e9, (1e-9, "s")),
                (1e6, (1e-6, "ms")),
                (1e3, (1e-3, "µs")),
                (0.0, (1.0, "ns")),
            ],
            Self::Bits => &[
                (1e8, (1e-9, "Gb/s")),
                (1e5, (1e-6, "Mb/s")),
                (0.0, (1e-3, "kb/s")),
            ],
            Self::PerSecond => &[
                (1e6, (1e-6, "million/s")),
                (1e3, (1e-3, "thousand/s")),
                (0.0, (1.0, "/s")),
            ],
            Self::Count => &[(0.0, (1.0, ""))],
            Self::Percent => &[(0.0, (1.0, "%"))],
            Self::Mebibytes => &[(0.0, (1.0, "MiB"))],
            Self::CpuTime => &[(0.0, (1.0, "ms"))],
        };
        let fitting = steps.iter().find(|(from, _)| value >= *from);
        fitting.unwrap_or(&steps[steps.len() - 1]).1
    }

    /// The value with its unit.
    pub fn format(self, value: f64) -> String {
        let (factor, unit) = self.scale(value);
        format!("{} {unit}", self.digits(value * factor))
            .trim_end()
            .to_owned()
    }

    /// The middle one with its unit, then the smallest and the largest when there were turns.
    pub fn format_range(self, measured: &Measured) -> String {
        let middle = self.format(measured.median);
        format!("{middle} {}", self.range(measured))
            .trim_end()
            .to_owned()
    }

    /// The smallest and the largest in the unit of the middle one; nothing after a single turn.
    pub fn range(self, measured: &Measured) -> String {
        if measured.turns < 2 {
            return String::new();
        }
        let (factor, _) = self.scale(measured.median);
        let [min, max] = [measured.min, measured.max].map(|end| self.digits(end * factor));
        format!("({min}–{max})")
    }

    /// As many digits as say something.
    fn digits(self, value: f64) -> String {
        let decimals = match (self, value) {
            (Self::Count, _) => return grouped(value.round() as u64),
            (_, 0.0) => 0,
            (_, ..0.0995) => 3,
            (Self::Time | Self::Mebibytes, ..9.95) => 1,
            (Self::Time | Self::Mebibytes, _) => 0,
            (_, ..9.995) => 2,
            (_, ..99.95) => 1,
            _ => 0,
        };
        format!("{value:.decimals$}")
    }
}

/// A whole number in groups of three: `65 536`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// The size of frames from that without FCS, as RFC 2544 and readers call it: with FCS.
pub fn frame_size(bytes: usize) -> String {
    match bytes {
        0 => "IMIX".to_owned(),
        bytes => format!("{} B", bytes + 4),
    }
}

/// A pause between requests.
pub fn pause(microseconds: u64) -> String {
    match microseconds {
        0 => "no pause".to_owned(),
        _ => format!("pause {}", Unit::Time.format(microseconds as f64 * 1e3)),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (unit, value, expected) in [
            (Unit::Rate, 0.0, "0 pps"),
            (Unit::Rate, 941_234.0, "0.94 Mpps"),
            (Unit::Rate, 18_512_345.0, "18.5 Mpps"),
            (Unit::Rate, 94_123.0, "94.1 kpps"),
            (Unit::Time, 41_400.0, "41 µs"),
            (Unit::Time, 9_960.0, "10 µs"),
            (Unit::Time, 54.02, "54 ns"),
            (Unit::Time, 1_234_567.0, "1.2 ms"),
            (Unit::Bits, 2.6e9, "2.60 Gb/s"),
            (Unit::Bits, 16.64e9, "16.6 Gb/s"),
            (Unit::Count, 65_536.0, "65 536"),
            (Unit::Count, 1_048_576.0, "1 048 576"),
            (Unit::Percent, 0.08, "0.080 %"),
            (Unit::Percent, 100.0, "100 %"),
            (Unit::Mebibytes, 61.7, "62 MiB"),
            (Unit::PerSecond, 3_200.0, "3.20 thousand/s"),
        ] {
            assert_eq!(unit.format(value), expected);
        }
    }

    #[test]
    fn turns_show_their_range_in_the_unit_of_the_middle_one() {
        let mut measured = Measured {
            median: 102_000.0,
            min: 98_000.0,
            max: 120_000.0,
            turns: 3,
        };
        assert_eq!(Unit::Rate.format_range(&measured), "0.10 Mpps (0.098–0.12)");
        measured.turns = 1;
        assert_eq!(Unit::Rate.format_range(&measured), "0.10 Mpps");
    }
}
