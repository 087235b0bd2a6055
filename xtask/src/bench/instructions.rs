//! `cargo xtask bench instructions`: counts the instructions of a frame, and compares them with
//! those that the repository keeps.

use std::{
    env,
    ffi::OsString,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;

use super::ledger::{Counts, Judgement, Ledger, Row, Setting, TOLERANCE_PERCENT};
use crate::setup;

/// The word behind `bench`.
pub const NAME: &str = "instructions";
/// Where the numbers are kept, from the root.
const FILE: &str = "benches/instructions.toml";

/// Count the instructions of a frame and compare them with the numbers in the repository
#[derive(Debug, Parser)]
#[command(bin_name = "cargo xtask bench instructions")]
struct Options {
    /// Write the new numbers into the repository, and this reason beside them
    #[arg(long, value_name = "REASON")]
    accept: Option<String>,
}

/// Counts and compares, or accepts.
///
/// # Errors
/// When a case has grown by more than 3 %, is not in the file, or cannot be counted.
pub fn run(root: &Path, arguments: &[OsString]) -> Result<()> {
    let name = OsString::from(NAME);
    let options = Options::parse_from([&name].into_iter().chain(arguments));
    match options.accept {
        None => check(root),
        Some(reason) => accept(root, reason.trim()),
    }
}

/// Counts and compares.
///
/// # Errors
/// As [`run`].
pub fn check(root: &Path) -> Result<()> {
    let ledger = read(root)?;
    let (counts, here) = count(root)?;
    let rows = ledger.compare(&counts);
    print(&rows);
    if !ledger.holds_for(&here) {
        let there = ledger.setting();
        println!(
            "not judged: {FILE} is for rustc {} on {}, this is rustc {} on {}",
            there.rustc, there.arch, here.rustc, here.arch
        );
        return Ok(());
    }
    judge(&rows)
}

fn accept(root: &Path, reason: &str) -> Result<()> {
    ensure!(!reason.is_empty(), "--accept needs a reason");
    let path = root.join(FILE);
    let ledger = path.exists().then(|| read(root)).transpose()?;
    let (counts, here) = count(root)?;
    let mut ledger = ledger.unwrap_or_else(|| Ledger::new(here.clone()));
    print(&ledger.compare(&counts));
    let changed = ledger.accept(&counts, here, &date(SystemTime::now())?, reason);
    if changed.is_empty() {
        println!("nothing to accept: all numbers are as {FILE} has them");
        return Ok(());
    }
    fs::write(&path, ledger.text()).context(FILE)?;
    println!("{FILE} has new numbers for {}", changed.join(", "));
    Ok(())
}

fn read(root: &Path) -> Result<Ledger> {
    let text = fs::read_to_string(root.join(FILE)).context(FILE)?;
    Ledger::read(&text).context(FILE)
}

fn print(rows: &[Row]) {
    let number = |number: Option<f64>| number.map_or("-".to_owned(), |n| format!("{n:.2}"));
    println!("{:<32}{:>12}{:>12}", "instructions a frame", "kept", "now");
    for row in rows {
        let growth = row.growth_percent();
        let growth = growth.map_or(String::new(), |growth| format!("{growth:>+8.1} %"));
        let (kept, now) = (number(row.kept), number(row.counted));
        println!("{:<32}{kept:>12}{now:>12}{growth}", row.name);
    }
}

fn judge(rows: &[Row]) -> Result<()> {
    const COMMAND: &str = "cargo xtask bench instructions --accept";
    let names = |wanted: Judgement| {
        let rows = rows.iter().filter(|row| row.judgement == wanted);
        let names: Vec<&str> = rows.map(|row| row.name.as_str()).collect();
        Some(names.join(", ")).filter(|names| !names.is_empty())
    };
    if let Some(names) = names(Judgement::Fallen) {
        println!(
            "warning: cheaper by more than {TOLERANCE_PERCENT} %: {names}. Keep what was won: \
             {COMMAND} \"what made it so\""
        );
    }
    let mut wrong = Vec::new();
    if let Some(names) = names(Judgement::Grown) {
        wrong.push(format!(
            "more than {TOLERANCE_PERCENT} % over the number in {FILE}: {names}. Make them \
             cheaper, or say why they must cost that: {COMMAND} \"why\""
        ));
    }
    if let Some(names) = names(Judgement::New) {
        wrong.push(format!(
            "without a number in {FILE}: {names}. Write it: {COMMAND} \"what the case is for\""
        ));
    }
    if let Some(names) = names(Judgement::Gone) {
        wrong.push(format!(
            "in {FILE}, but not counted: {names}. Take them out: {COMMAND} \"why\""
        ));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    println!("no case costs more than {TOLERANCE_PERCENT} % over its number in {FILE}");
    Ok(())
}

/// Runs the cases, and says where.
fn count(root: &Path) -> Result<(Counts, Setting)> {
    let runner = setup::for_counting(root)?;
    let mut path = OsString::from(runner.parent().unwrap_or(Path::new(".")));
    path.push(":");
    path.push(env::var_os("PATH").unwrap_or_default());
    let output = Command::new(setup::cargo())
        .args(["bench", "--package", "shunt-benches", "--bench", NAME])
        .args(["--", "--output-format=json"])
        .current_dir(root)
        .env("PATH", path)
        // The counts are of what the release profile says and nothing else.
        .env_remove("RUSTFLAGS")
        .stderr(Stdio::inherit())
        .output()
        .context("cargo does not run")?;
    ensure!(output.status.success(), "the count failed, see above");
    let text = String::from_utf8(output.stdout).context("the harness printed no text")?;
    Ok((counts(&text)?, setting(root)?))
}

fn setting(root: &Path) -> Result<Setting> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .arg("--version")
        .current_dir(root)
        .output();
    let version = String::from_utf8(output.context("rustc does not run")?.stdout)?;
    let version = version.split(' ').nth(1);
    Ok(Setting {
        rustc: version.context("rustc has no version")?.to_owned(),
        arch: env::consts::ARCH.to_owned(),
    })
}

/// Reads what the bench has printed: `frames COUNT`, then a summary of the harness for each case.
fn counts(output: &str) -> Result<Counts> {
    let frames = output.lines().find_map(|line| line.strip_prefix("frames "));
    let frames: f64 = frames
        .and_then(|count| count.parse().ok())
        .context("the bench did not say how many frames a case has")?;
    let mut counts = Counts::new();
    for line in output.lines().filter(|line| line.starts_with('{')) {
        let summary: serde_json::Value = serde_json::from_str(line).context("no JSON")?;
        let word = |key: &str| summary[key].as_str().map(str::to_owned);
        let (Some(function), Some(id)) = (word("function_name"), word("id")) else {
            bail!("a summary without a name: {line}");
        };
        let total = "/profiles/0/data/total/metrics/Ir/values/new";
        let instructions = summary.pointer(total).and_then(serde_json::Value::as_f64);
        let instructions = instructions.filter(|count| *count > 0.0);
        let instructions = instructions
            .with_context(|| format!("{function}/{id}: nothing was counted: {line}"))?;
        counts.insert(format!("{function}/{id}"), instructions / frames);
    }
    ensure!(!counts.is_empty(), "no case was counted");
    Ok(counts)
}

/// The day, as 2026-01-31, in UTC.
fn date(now: SystemTime) -> Result<String> {
    const DAY: Duration = Duration::from_secs(86_400);
    let mut days = now.duration_since(UNIX_EPOCH)?.as_secs() / DAY.as_secs();
    let divides = |divisor: u64, year: u64| year.is_multiple_of(divisor);
    let leap = |year| divides(4, year) && (!divides(100, year) || divides(400, year));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    Ok(format!("{year}-{month:02}-{:02}", days + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let check = |seconds: u64, expected: &str| {
            let time = UNIX_EPOCH + Duration::from_secs(seconds);
            assert_eq!(date(time).expect("a date"), expected);
        };
        check(0, "1970-01-01");
        check(951_782_399, "2000-02-28");
        check(951_782_400, "2000-02-29");
        check(1_709_251_199, "2024-02-29");
        check(1_735_689_599, "2024-12-31");
        check(1_735_689_600, "2025-01-01");
    }

    #[test]
    fn summaries_become_instructions_a_frame() {
        let summary = |name: &str, count: u64| {
            format!(
                r#"{{"function_name":"{name}","id":"push","profiles":[{{"data":{{"total":
                {{"metrics":{{"Ir":{{"values":{{"new":{count}}}}}}}}}}}}}]}}"#
            )
            .replace('\n', "")
        };
        let text = format!("frames 64\n{}\n", summary("forward", 6400));
        let found = counts(&text).expect("counts");
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [("forward/push".to_owned(), 100.0)]
        );
        for wrong in [
            summary("forward", 6400),
            format!("frames 64\n{}", summary("forward", 0)),
            "frames 64\n{}".to_owned(),
            "frames 64\n".to_owned(),
        ] {
            assert!(counts(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn growth_fails_and_the_rest_does_not() {
        let row = |judgement| Row {
            name: "a/b".to_owned(),
            kept: None,
            counted: None,
            judgement,
        };
        let check = |judgement, passes: bool| {
            assert_eq!(judge(&[row(judgement)]).is_ok(), passes, "{judgement:?}");
        };
        check(Judgement::Same, true);
        check(Judgement::Fallen, true);
        check(Judgement::Grown, false);
        check(Judgement::New, false);
        check(Judgement::Gone, false);
    }

    #[test]
    fn the_file_in_the_repository_is_good() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .expect("a root");
        read(root).expect("numbers with reasons");
    }
}
