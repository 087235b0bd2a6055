//! `benches/instructions.toml`: what a frame may cost, and why it costs that.
//!
//! A number stands twice: as itself, and in the last line of its history with date and reason. So
//! nobody can change it without saying why.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context as _, Result, bail, ensure};

/// By how much a number may differ, in per cent, before somebody has to say why.
pub const TOLERANCE_PERCENT: f64 = 3.0;
/// By how much a number has to differ, in per cent, to be written anew.
const NOTEWORTHY_PERCENT: f64 = 0.5;

const HEADER: &str = "\
# What a frame costs in instructions: `cargo xtask bench instructions` counts and compares, and
# fails when a case costs 3 % more than here. Do not edit: `--accept \"why\"` writes a new number
# and its reason. Numbers hold for this compiler and processor family; on others they are shown
# but not judged.
";

/// Where the numbers were counted; elsewhere they are others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Version of the compiler.
    pub rustc: String,
    /// Processor family, as Rust calls it.
    pub arch: String,
}

/// One case of the file.
#[derive(Clone, Debug, PartialEq)]
struct Case {
    instructions_per_frame: f64,
    /// Date, number and reason, the latest last.
    history: Vec<String>,
}

/// The file.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    setting: Setting,
    /// By name, `group/id`.
    cases: BTreeMap<String, Case>,
}

/// What has been counted: instructions a frame by the name of the case.
pub type Counts = BTreeMap<String, f64>;

/// How a count stands to the file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Judgement {
    /// Within the tolerance.
    Same,
    /// More than it may be.
    Grown,
    /// So much less that the better number should be kept.
    Fallen,
    /// Not in the file.
    New,
    /// In the file, but not counted any more.
    Gone,
}

/// One line of the comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The case.
    pub name: String,
    /// The number in the file.
    pub kept: Option<f64>,
    /// The number now.
    pub counted: Option<f64>,
    /// What follows.
    pub judgement: Judgement,
}

impl Row {
    /// Growth in per cent, where there are two numbers.
    pub fn growth_percent(&self) -> Option<f64> {
        // What rounding has made different is the same, and not "-0.0".
        let percent = (self.counted? / self.kept? - 1.0) * 100.0;
        Some((percent * 100.0).round() / 100.0 + 0.0)
    }
}

impl Ledger {
    /// A file without numbers.
    pub fn new(setting: Setting) -> Self {
        Self {
            setting,
            cases: BTreeMap::new(),
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it is not in the form that `text` gives it, or a number has no reason.
    pub fn read(text: &str) -> Result<Self> {
        let mut table: toml::Table = text.parse().context("not TOML")?;
        let mut word = |key: &str| match table.remove(key) {
            Some(toml::Value::String(word)) => Ok(word),
            _ => bail!("`{key}` is missing"),
        };
        let setting = Setting {
            rustc: word("rustc")?,
            arch: word("arch")?,
        };
        let mut cases = BTreeMap::new();
        for (group, ids) in table {
            let ids = ids.as_table().cloned().unwrap_or_default();
            for (id, case) in ids {
                let name = format!("{group}/{id}");
                let case = Case::read(&case).with_context(|| name.clone())?;
                cases.insert(name, case);
            }
        }
        Ok(Self { setting, cases })
    }

    /// Whether counts from there can be compared with these.
    pub fn holds_for(&self, setting: &Setting) -> bool {
        self.setting == *setting
    }

    /// Where its numbers were counted.
    pub fn setting(&self) -> &Setting {
        &self.setting
    }

    /// Compares, in the order of names.
    pub fn compare(&self, counts: &Counts) -> Vec<Row> {
        let new = counts.keys().filter(|name| !self.cases.contains_key(*name));
        let mut names: Vec<&String> = self.cases.keys().chain(new).collect();
        names.sort_unstable();
        names
            .into_iter()
            .map(|name| {
                let mut row = Row {
                    name: name.clone(),
                    kept: self.cases.get(name).map(|case| case.instructions_per_frame),
                    counted: counts.get(name).copied(),
                    judgement: Judgement::Same,
                };
                row.judgement = match (row.growth_percent(), row.kept) {
                    (Some(growth), _) if growth > TOLERANCE_PERCENT => Judgement::Grown,
                    (Some(growth), _) if growth < -TOLERANCE_PERCENT => Judgement::Fallen,
                    (Some(_), _) => Judgement::Same,
                    (None, None) => Judgement::New,
                    (None, Some(_)) => Judgement::Gone,
                };
                row
            })
            .collect()
    }

    /// Takes the counts over, each that differs with the reason; gives the names of those.
    pub fn accept(
        &mut self,
        counts: &Counts,
        setting: Setting,
        date: &str,
        reason: &str,
    ) -> Vec<String> {
        let moved = self.setting != setting;
        self.setting = setting;
        let mut changed = Vec::new();
        for row in self.compare(counts) {
            let Some(counted) = row.counted else {
                self.cases.remove(&row.name);
                changed.push(row.name);
                continue;
            };
            let growth = row.growth_percent();
            if !moved && growth.is_some_and(|growth| growth.abs() < NOTEWORTHY_PERCENT) {
                continue;
            }
            let case = self.cases.entry(row.name.clone()).or_insert(Case {
                instructions_per_frame: 0.0,
                history: Vec::new(),
            });
            case.instructions_per_frame = (counted * 100.0).round() / 100.0;
            case.history.push(format!(
                "{date} {:.2}: {reason}",
                case.instructions_per_frame
            ));
            changed.push(row.name);
        }
        changed
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let Setting { rustc, arch } = &self.setting;
        let mut text = format!("{HEADER}rustc = \"{rustc}\"\narch = \"{arch}\"\n");
        for (name, case) in &self.cases {
            let table = name.replace('/', ".");
            let number = case.instructions_per_frame;
            let _infallible = write!(
                text,
                "\n[{table}]\ninstructions_per_frame = {number:.2}\nhistory = [\n"
            );
            for line in &case.history {
                let line = toml::Value::from(line.as_str());
                let _infallible = writeln!(text, "    {line},");
            }
            text.push_str("]\n");
        }
        text
    }
}

impl Case {
    fn read(value: &toml::Value) -> Result<Self> {
        let number = value.get("instructions_per_frame");
        let number = number.and_then(toml::Value::as_float);
        let case = Self {
            instructions_per_frame: number.context("`instructions_per_frame` is missing")?,
            history: value
                .get("history")
                .and_then(toml::Value::as_array)
                .context("`history` is missing")?
                .iter()
                .map(|line| Ok(line.as_str().context("a line is no text")?.to_owned()))
                .collect::<Result<_>>()?,
        };
        let (_, rest) = case
            .history
            .last()
            .and_then(|line| line.split_once(' '))
            .context("there is no reason for the number")?;
        let (reasoned, reason) = rest.split_once(": ").unwrap_or((rest, ""));
        ensure!(
            reasoned == format!("{:.2}", case.instructions_per_frame) && !reason.trim().is_empty(),
            "the number was changed without a reason: the last line of its history is about \
             {reasoned}; use `cargo xtask bench instructions --accept \"why\"`"
        );
        Ok(case)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(rustc: &str) -> Setting {
        Setting {
            rustc: rustc.to_owned(),
            arch: "x86_64".to_owned(),
        }
    }

    fn counts(counts: &[(&str, f64)]) -> Counts {
        let owned = counts
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        owned.collect()
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(setting("1.0"));
        let first = counts(&[("forward/push", 100.0), ("parse/tagged", 30.0)]);
        ledger.accept(&first, setting("1.0"), "2026-01-31", "first");
        ledger
    }

    /// What policy may cost a frame of a known flow, in bare switches, and the first of a new one.
    #[test]
    fn a_known_flow_costs_not_much_more_than_none_and_a_new_one_few_times_that() {
        let text = include_str!("../../../benches/instructions.toml");
        let ledger = Ledger::read(text).expect("it is kept");
        let number = |name: &str| ledger.cases[name].instructions_per_frame;
        let ratio = number("policy/cached_64") / number("forward/untagged_64");
        assert!(ratio <= 1.25, "{ratio}");
        // Whether the flow finds a place or has to wait for one.
        for case in ["policy/miss", "policy_with_room/miss"] {
            let miss = number(case);
            assert!(miss <= 600.0, "{case}: {miss}");
        }
    }

    /// What the number of rules may cost the first frame of a flow.
    #[test]
    fn ten_thousand_rules_cost_at_most_three_times_what_ten_do() {
        let text = include_str!("../../../benches/instructions.toml");
        let ledger = Ledger::read(text).expect("it is kept");
        let number = |name: &str| ledger.cases[name].instructions_per_frame;
        let ratio = number("policy/miss_10000_rules") / number("policy/miss_10_rules");
        assert!(ratio <= 3.0, "{ratio}");
    }

    #[test]
    fn the_text_is_read_back() {
        let mut ledger = ledger();
        let next = counts(&[("forward/push", 90.126), ("parse/tagged", 30.1)]);
        let reason = r#"a "better" hash \ table"#;
        let changed = ledger.accept(&next, setting("1.0"), "2026-02-01", reason);
        assert_eq!(changed, ["forward/push"], "30.1 is no news");
        let text = ledger.text();
        assert!(text.contains("[forward.push]\ninstructions_per_frame = 90.13\n"));
        assert!(text.contains("\"2026-01-31 100.00: first\","));
        assert_eq!(Ledger::read(&text).expect("readable"), ledger);
    }

    #[test]
    fn three_per_cent_is_the_border() {
        let check = |counted: Option<f64>, expected: Judgement| {
            let mut now = counts(&[("parse/tagged", 30.0)]);
            now.extend(counted.map(|count| ("forward/push".to_owned(), count)));
            let rows = ledger().compare(&now);
            assert_eq!(rows[0].judgement, expected, "{rows:?}");
            assert_eq!(rows[1].judgement, Judgement::Same);
        };
        check(Some(100.0), Judgement::Same);
        check(Some(102.9), Judgement::Same);
        check(Some(103.1), Judgement::Grown);
        check(Some(97.1), Judgement::Same);
        check(Some(96.9), Judgement::Fallen);
        check(None, Judgement::Gone);
        let rows = ledger().compare(&counts(&[("a/b", 1.0)]));
        assert_eq!(rows[0].judgement, Judgement::New);
    }

    #[test]
    fn a_number_has_a_reason() {
        let text = ledger().text();
        assert!(Ledger::read(&text).is_ok());
        for (from, to) in [
            ("frame = 100.00", "frame = 120.00"),
            ("2026-01-31 100.00: first", "2026-01-31 100.00: "),
            ("2026-01-31 100.00: first", "because"),
            ("    \"2026-01-31 100.00: first\",\n", ""),
            ("rustc", "compiler"),
        ] {
            let wrong = text.replace(from, to);
            assert_ne!(wrong, text);
            assert!(Ledger::read(&wrong).is_err(), "{from} to {to}");
        }
    }

    #[test]
    fn another_compiler_renews_every_number() {
        let mut ledger = ledger();
        let same = counts(&[("forward/push", 100.0), ("parse/tagged", 30.0)]);
        assert!(ledger.holds_for(&setting("1.0")) && !ledger.holds_for(&setting("1.1")));
        let changed = ledger.accept(&same, setting("1.1"), "2026-02-01", "1.1");
        assert_eq!(changed.len(), 2);
        assert!(ledger.holds_for(&setting("1.1")));
    }

    #[test]
    fn what_is_not_counted_any_more_is_taken_out() {
        let mut ledger = ledger();
        let fewer = counts(&[("forward/push", 100.0)]);
        let changed = ledger.accept(&fewer, setting("1.0"), "2026-02-01", "tidied");
        assert_eq!(changed, ["parse/tagged"]);
        assert_eq!(ledger.compare(&fewer).len(), 1);
    }
}
