//! Rates and sizes in human units: `"100 Mbit/s"`, `"1.5 Gbit/s"`, `"64 KiB"`, `"10 kB"`.
//!
//! Units are written as standards do, and never guessed: whether `100 Mb` are bits or bytes, a
//! second or at all, is asked back, with what the user probably means.

use std::borrow::Cow;

use toml::de::DeValue;

use super::{
    reader::{Wrong, as_text},
    report::printable,
    shape::Shape,
};
use crate::qos::{
    bucket::{Burst, Rate},
    storm::{FrameRate, StormRate},
};

const BITS: [(&str, u64); 5] = [
    ("bit/s", 1),
    ("kbit/s", 1_000),
    ("Mbit/s", 1_000_000),
    ("Gbit/s", 1_000_000_000),
    ("Tbit/s", 1_000_000_000_000),
];

const BYTES: [(&str, u64); 7] = [
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
];

/// What people write for frames a second, the right word first.
const FRAMES: [&str; 9] = [
    "frames/s",
    "frame/s",
    "frames",
    "fps",
    "f/s",
    "pps",
    "packets/s",
    "p/s",
    "packets",
];

/// Most digits of a number, point not counted.
const MOST_DIGITS: usize = 15;

/// The text of a value; a number without quotes is one whose unit is missing.
pub(super) fn text<'v>(
    shape: &Shape,
    key: &str,
    value: &'v DeValue<'_>,
) -> Result<Cow<'v, str>, Wrong> {
    match value {
        DeValue::Integer(number) => Ok(number.to_string().into()),
        DeValue::Float(number) => Ok(number.to_string().into()),
        other => as_text(shape, key, other).map(Cow::Borrowed),
    }
}

/// Reads a rate.
pub(super) fn rate(key: &str, text: &str) -> Result<Rate, Wrong> {
    let (number, unit) = split(text);
    let factor = BITS.iter().find(|(known, _)| *known == unit);
    let Some((number, (_, factor))) = Decimal::parse(number).zip(factor) else {
        return Err(wrong_rate(key, text, number, unit));
    };
    number.times(*factor).and_then(Rate::new).ok_or_else(|| {
        let message = format!("`{key}` cannot be \"{}\"", printable(text));
        Wrong::range(message, "use a rate from \"8 kbit/s\" to \"1 Tbit/s\"")
    })
}

/// Reads a rate of frames or of bits; none where it is `"none"`.
pub(super) fn storm_rate(key: &str, text: &str) -> Result<Option<StormRate>, Wrong> {
    let (number, unit) = split(text);
    if number.is_empty() && unit == "none" {
        return Ok(None);
    }
    let of_frames = FRAMES.iter().any(|word| unit.eq_ignore_ascii_case(word));
    if !of_frames {
        return rate(key, text)
            .map(|rate| Some(StormRate::Bits(rate)))
            .map_err(|wrong| {
                let help = format!("{} (or count frames, as in \"1000 frames/s\")", wrong.help);
                Wrong { help, ..wrong }
            });
    }
    let message = || format!("`{key}` cannot be \"{}\"", printable(text));
    if unit != FRAMES[0] {
        return Err(Wrong::value(
            message(),
            format!("did you mean \"{number} frames/s\"?"),
        ));
    }
    let frames = number.parse().ok().and_then(FrameRate::new);
    let frames = frames.ok_or_else(|| {
        Wrong::range(
            message(),
            "use a whole number, from \"1 frames/s\" to \"100000000 frames/s\"",
        )
    });
    Ok(Some(StormRate::Frames(frames?)))
}

/// Reads a burst.
pub(super) fn burst(key: &str, text: &str) -> Result<Burst, Wrong> {
    let bytes = size(key, text)?;
    Burst::new(bytes).ok_or_else(|| {
        let message = format!("`{key}` cannot be \"{}\"", printable(text));
        let help = "use a size from \"10 kB\", in which the longest frame fits, to \"1 GiB\"";
        Wrong::range(message, help)
    })
}

/// Reads what a queue holds at most.
pub(super) fn limit(key: &str, text: &str) -> Result<u64, Wrong> {
    let bytes = size(key, text)?;
    if (Burst::MIN.bytes()..=Burst::MAX.bytes()).contains(&bytes) {
        return Ok(bytes);
    }
    let message = format!("`{key}` cannot be \"{}\"", printable(text));
    let help = "use a size from \"10 kB\", in which the longest frame fits, to \"1 GiB\"";
    Err(Wrong::range(message, help))
}

/// Reads a number of bytes.
pub(super) fn size(key: &str, text: &str) -> Result<u64, Wrong> {
    let (number, unit) = split(text);
    let factor = BYTES.iter().find(|(known, _)| *known == unit);
    let Some((number, (_, factor))) = Decimal::parse(number).zip(factor) else {
        return Err(wrong_size(key, text, number, unit));
    };
    number.times(*factor).ok_or_else(|| {
        let message = format!("`{key}` cannot be \"{}\"", printable(text));
        Wrong::range(message, "use a smaller number")
    })
}

/// A number with a point: its digits, and how many of them stand behind the point.
#[derive(Clone, Copy)]
struct Decimal {
    digits: u64,
    behind: u32,
}

impl Decimal {
    fn parse(text: &str) -> Option<Self> {
        let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
        let all = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        if !all(whole) || !all(part) || whole.len() + part.len() > MOST_DIGITS {
            return None;
        }
        Some(Self {
            digits: format!("{whole}{part}").parse().ok()?,
            behind: part.len() as u32,
        })
    }

    /// The product, rounded to the nearest whole number, if it is of any use.
    fn times(self, factor: u64) -> Option<u64> {
        let scale = 10_u128.pow(self.behind);
        let product = u128::from(self.digits) * u128::from(factor);
        u64::try_from((product + scale / 2) / scale).ok()
    }
}

/// The number and the unit.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    (number, unit.trim_start())
}

/// What a unit that is not known may mean: `k`, `M`, `G`, `T` or nothing; and bits or bytes.
struct Guess {
    prefix: &'static str,
    /// None: it could be either.
    bytes: Option<bool>,
}

fn guess(unit: &str) -> Option<Guess> {
    let lower = unit.to_ascii_lowercase();
    let (prefix, rest) = match lower.as_bytes().first() {
        Some(b'k') => ("k", &unit[1..]),
        Some(b'm') => ("M", &unit[1..]),
        Some(b'g') => ("G", &unit[1..]),
        Some(b't') => ("T", &unit[1..]),
        _ => ("", unit),
    };
    let rest = rest.strip_prefix(['i', 'I']).unwrap_or(rest);
    let lower = rest.to_ascii_lowercase();
    let ends = ["", "ps", "/s", "/sec", "/second", "s", "s/s", "p/s"];
    let is = |word: &str| {
        let end = lower.strip_prefix(word);
        end.is_some_and(|end| ends.contains(&end.trim_start()))
    };
    let bytes = if is("bit") {
        Some(false)
    } else if is("byte") || (is("b") && rest.starts_with('B')) {
        Some(true)
    } else if is("b") || (is("") && !unit.is_empty()) {
        None
    } else {
        return None;
    };
    Some(Guess { prefix, bytes })
}

fn wrong_rate(key: &str, text: &str, number: &str, unit: &str) -> Wrong {
    let shown = printable(text);
    let message = format!("`{key}` cannot be \"{shown}\"");
    let Some(decimal) = Decimal::parse(number) else {
        return Wrong::value(message, "write a number and a unit, as in \"100 Mbit/s\"");
    };
    if unit.is_empty() {
        let help = format!("say of what, as in \"{number} bit/s\" or \"{number} Mbit/s\"");
        return Wrong::value(format!("`{key}` has no unit"), help);
    }
    let help = match guess(unit) {
        Some(Guess { prefix, bytes }) if bytes != Some(true) => {
            format!("did you mean \"{number} {prefix}bit/s\"?")
        }
        Some(Guess { prefix, .. }) => {
            let bits = Decimal {
                digits: decimal.digits * 8,
                ..decimal
            };
            let bits = bits.as_text();
            format!("a rate is in bits a second; as many bytes are \"{bits} {prefix}bit/s\"")
        }
        None => "the units of a rate are bit/s, kbit/s, Mbit/s, Gbit/s and Tbit/s".to_owned(),
    };
    Wrong::value(message, help)
}

impl Decimal {
    fn as_text(self) -> String {
        let scale = 10_u64.pow(self.behind);
        let part = format!(
            "{:0width$}",
            self.digits % scale,
            width = self.behind as usize
        );
        let part = part.trim_end_matches('0');
        let point = if part.is_empty() { "" } else { "." };
        format!("{}{point}{part}", self.digits / scale)
    }
}

fn wrong_size(key: &str, text: &str, number: &str, unit: &str) -> Wrong {
    let shown = printable(text);
    let message = format!("`{key}` cannot be \"{shown}\"");
    if Decimal::parse(number).is_none() {
        return Wrong::value(message, "write a number and a unit, as in \"64 KiB\"");
    }
    if unit.is_empty() {
        let help = format!("say of what, as in \"{number} KiB\" or \"{number} B\"");
        return Wrong::value(format!("`{key}` has no unit"), help);
    }
    let help = match guess(unit) {
        Some(Guess { prefix: "k", .. }) => {
            format!("did you mean \"{number} KiB\", of 1024 bytes, or \"{number} kB\", of 1000?")
        }
        Some(Guess { prefix: "", .. }) => format!("did you mean \"{number} B\"?"),
        Some(Guess { prefix, .. }) if prefix != "T" => {
            format!("did you mean \"{number} {prefix}iB\" or \"{number} {prefix}B\"?")
        }
        _ => "the units of a size are B, kB, KiB, MB, MiB, GB and GiB".to_owned(),
    };
    Wrong::value(message, help)
}

/// A rate in bits a second for people, as the file would have it.
#[must_use]
pub fn rate_text(bits_per_second: u64) -> String {
    text_of(bits_per_second, &BITS)
}

/// A rate of storm control for people, as the file would have it.
#[must_use]
pub fn storm_rate_text(rate: StormRate) -> String {
    match rate {
        StormRate::Frames(frames) => format!("{} frames/s", frames.per_second()),
        StormRate::Bits(rate) => rate_text(rate.bits_per_second()),
    }
}

/// A size in bytes for people, as the file would have it.
#[must_use]
pub fn size_text(bytes: u64) -> String {
    text_of(bytes, &BYTES)
}

/// A number with the unit that makes it shortest.
fn text_of(value: u64, units: &[(&str, u64)]) -> String {
    let exact = |(unit, factor): &(&str, u64)| {
        // Three digits behind the point at most, and none lost.
        let thousandths = u128::from(value) * 1000;
        (thousandths % u128::from(*factor) == 0).then(|| {
            let decimal = Decimal {
                digits: (thousandths / u128::from(*factor)) as u64,
                behind: 3,
            };
            format!("{} {unit}", decimal.as_text())
        })
    };
    let texts = units.iter().filter_map(exact);
    let shortest = texts.min_by_key(|text| (text.len(), text.starts_with("0.")));
    shortest.unwrap_or_else(|| format!("{value} {}", units[0].0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let check = |text: &str, expected: u64| {
            let read = rate("rate", text).map(Rate::bits_per_second);
            assert_eq!(read.ok(), Some(expected), "{text}");
        };
        check("100 Mbit/s", 100_000_000);
        check("1.5 Gbit/s", 1_500_000_000);
        check("8kbit/s", 8_000);
        check(" 0.008 Mbit/s ", 8_000);
        check("9600 bit/s", 9_600);
        check("1 Tbit/s", 1_000_000_000_000);
        check("12.3456789 kbit/s", 12_346);
    }

    #[test]
    fn sizes() {
        let check = |text: &str, expected: u64| {
            assert_eq!(size("limit", text).ok(), Some(expected), "{text}");
        };
        check("64 KiB", 65_536);
        check("10 kB", 10_000);
        check("1.5MiB", 1_572_864);
        check("1500 B", 1_500);
        check("1 GiB", 1 << 30);
    }

    #[test]
    fn what_may_be_meant() {
        let check = |text: &str, help: &str| {
            let wrong = rate("rate", text).expect_err(text);
            assert!(wrong.help.contains(help), "{text}: {}", wrong.help);
        };
        for text in [
            "100Mb",
            "100 Mbps",
            "100 mbit",
            "100 Mib/s",
            "100M",
            "100 mbit/s",
            "100 mbits",
        ] {
            check(text, "\"100 Mbit/s\"");
        }
        for text in ["100 MB/s", "100MBps", "100 MByte/s", "100 MB", "100 MiB/s"] {
            check(text, "\"800 Mbit/s\"");
        }
        check("0.5 KB/s", "\"4 kbit/s\"");
        check("100", "\"100 Mbit/s\"");
        check("fast", "a number and a unit");
        check("", "a number and a unit");
        check("1.2.3 Mbit/s", "a number and a unit");
        check("-5 Mbit/s", "a number and a unit");
        check("1e9 bit/s", "the units");
        check("5 Mbit/h", "the units");
        check("7 kbit/s", "from \"8 kbit/s\"");
        check("2 Tbit/s", "to \"1 Tbit/s\"");
        check("99999999999999999999 Mbit/s", "a number and a unit");
        check("1 ΩB/s", "the units");
        let check = |text: &str, help: &str| {
            let wrong = size("burst", text).expect_err(text);
            assert!(wrong.help.contains(help), "{text}: {}", wrong.help);
        };
        check("64 K", "\"64 KiB\"");
        check("64KB", "\"64 kB\"");
        check("64 kib", "\"64 KiB\"");
        check("2 M", "\"2 MiB\"");
        check("2 mbit", "\"2 MiB\"");
        check("100 bytes", "\"100 B\"");
        check("100", "\"100 B\"");
        check("1 TB", "the units");
        check("5 parsecs", "the units");
        assert!(burst("burst", "1500 B").is_err_and(|wrong| wrong.help.contains("\"10 kB\"")));
    }

    #[test]
    fn limits_of_storms() {
        let check = |text: &str, expected: Option<StormRate>| {
            let read = storm_rate("broadcast_limit", text);
            assert_eq!(read.ok(), Some(expected), "{text}");
            if let Some(rate) = expected {
                let read = storm_rate("broadcast_limit", &storm_rate_text(rate));
                assert_eq!(read.ok(), Some(expected));
            }
        };
        check("none", None);
        check("500 frames/s", FrameRate::new(500).map(StormRate::Frames));
        check("2.5 Mbit/s", Rate::new(2_500_000).map(StormRate::Bits));
        let check = |text: &str, help: &str| {
            let wrong = storm_rate("broadcast_limit", text).expect_err(text);
            assert!(wrong.help.contains(help), "{text}: {}", wrong.help);
        };
        check("500 pps", "\"500 frames/s\"");
        check("500 Frames/s", "\"500 frames/s\"");
        check("0 frames/s", "from \"1 frames/s\"");
        check("1.5 frames/s", "a whole number");
        check("5 Mbps", "\"5 Mbit/s\"? (or count frames");
        check("500", "\"1000 frames/s\"");
        check("off", "\"1000 frames/s\"");
    }

    #[test]
    fn texts_are_read_back() {
        let check = |bits: u64, text: &str| {
            let written = rate_text(bits);
            assert_eq!(written, text);
            assert_eq!(
                rate("rate", &written).ok().map(Rate::bits_per_second),
                Some(bits)
            );
        };
        check(8_000, "8 kbit/s");
        check(1_500_000_000, "1.5 Gbit/s");
        check(1_234_567, "1234567 bit/s");
        check(12_345, "12345 bit/s");
        check(1_000_000_000_000, "1 Tbit/s");
        for (bytes, text) in [
            (65_536, "64 KiB"),
            (10_000, "10 kB"),
            (1500, "1500 B"),
            (7, "7 B"),
        ] {
            assert_eq!(size_text(bytes), text);
            assert_eq!(size("size", text).ok(), Some(bytes));
        }
    }
}
