//! `cargo xtask test`: everything that must pass, from a fresh clone, in one command.
//!
//! There are three builds: the `ci` profile, which is fast enough for the simulation and keeps
//! assertions; the library once more under `--cfg loom`; and the benches as they are released,
//! because instructions are counted in what users run. All cargo calls of the first select the same
//! packages, so that features are unified once and nothing is built twice; so do those of the last.

mod watch;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::{bench, setup, tidy};

/// Frames of the simulation; the promise in SPECIFICATION.md is about this number.
const SIMULATION_FRAMES: &str = "10000000";
/// The packages and the profile of every cargo call but loom's.
const SELECTION: &str = "--workspace --exclude xdp-ebpf --profile ci";
/// The modules of the `tests` crate that need neither a kernel feature nor root.
const SIMULATED: [&str; 2] = ["features::", "simulation::"];

/// The longest that a part may take. It is there to end what hangs, so it is generous: on two busy
/// cores a part may have to compile everything first.
const LIMIT: Duration = Duration::from_mins(45);

/// One line of the summary.
struct Part {
    name: &'static str,
    passed: usize,
    failed: usize,
    took: Duration,
    /// What failed, one line each or more: the last thing that a reader of the output sees.
    failures: Vec<String>,
}

/// Runs everything and prints how many passed and failed, as the last line.
///
/// # Errors
/// When anything failed, after everything has run.
pub fn run(root: &Path) -> Result<()> {
    let target = target_dir(root)?;
    let _lock = lock(&target)?;
    let mut parts = Vec::new();
    step(&mut parts, "setup", || setup::run(root));
    let build = format!("build {SELECTION} --lib --bins --tests");
    step(&mut parts, "build", || cargo(root, &build));
    if parts.iter().all(|part| part.failed == 0) {
        tests(root, &target, &mut parts);
    }
    let tidy = tidy::Options {
        profile: "ci".to_owned(),
        ..tidy::Options::default()
    };
    step(&mut parts, "tidy", || tidy::run(root, &tidy));
    summary(&parts)
}

/// The parts that are libtest's.
fn tests(root: &Path, target: &Path, parts: &mut Vec<Part>) {
    let test = format!("test {SELECTION} --no-fail-fast");
    let shunt = target.join("ci/shunt");
    let call = |arguments: String| {
        let mut command = Command::new("cargo");
        command.args(arguments.split(' ')).current_dir(root);
        command.env("SHUNT_BIN", &shunt);
        command
    };
    libtest(parts, "unit tests", call(format!("{test} --lib --bins")));
    libtest(parts, "doc tests", call(format!("{test} --doc")));

    let simulated = SIMULATED.join(" ");
    let mut simulation = call(format!("{test} --test all -- {simulated} --show-output"));
    simulation.env("SHUNT_SIM_FRAMES", SIMULATION_FRAMES);
    libtest(parts, "simulation", simulation);

    if is_root() {
        let skipped = SIMULATED.join(" --skip ");
        let all = call(format!(
            "{test} --test all --test traffic -- --skip {skipped}"
        ));
        libtest(parts, "daemon and namespaces", all);
    } else {
        step(parts, "daemon and namespaces", || {
            bail!(
                "THESE TESTS NEED ROOT (network namespaces, AF_XDP) AND DID NOT RUN. Run:\n    \
                 sudo --preserve-env=HOME env \"PATH=$PATH\" cargo xtask test"
            )
        });
    }

    // Needs no root: the machine is emulated, of this kind only.
    if cfg!(target_arch = "x86_64") {
        let guest = call(format!("{test} --test pktgen"));
        libtest(parts, "kernel with pktgen", guest);
    }

    let mut loom = Command::new("cargo");
    loom.args("test -p switch-core --lib --profile loom loom".split(' '))
        .current_dir(root)
        .env("RUSTFLAGS", "--cfg loom");
    libtest(parts, "loom models", loom);

    step(parts, "instructions", || bench::instructions::check(root));
    // Each bench once, without measuring: they build, and no loop allocates.
    let smoke = "bench --package shunt-benches --bench engine -- --test";
    step(parts, "benches", || cargo(root, smoke));
}

/// Runs something that passes or fails as a whole.
fn step(parts: &mut Vec<Part>, name: &'static str, work: impl FnOnce() -> Result<()>) {
    println!("\n== {name}");
    let start = Instant::now();
    let (result, late) = watch::within(name, LIMIT, work);
    let result = if late { Err(too_late()) } else { result };
    if let Err(error) = &result {
        println!("{name} FAILED: {error:#}");
    }
    parts.push(Part {
        name,
        passed: usize::from(result.is_ok()),
        failed: usize::from(result.is_err()),
        took: start.elapsed(),
        failures: result
            .err()
            .map(|error| format!("{error:#}"))
            .into_iter()
            .collect(),
    });
}

/// Runs test binaries, shows what they print and adds up their results.
fn libtest(parts: &mut Vec<Part>, name: &'static str, mut command: Command) {
    println!("\n== {name}");
    let start = Instant::now();
    let mut counts = Counts::default();
    let (success, late) = watch::within(name, LIMIT, || run_and_count(&mut command, &mut counts));
    // A test binary that dies says nothing: it is one failure. So is a part that tests nothing.
    match success {
        _ if late => counts.fail(&too_late().to_string()),
        Ok(true) if counts.passed > 0 => {}
        Ok(true) => counts.fail("no test ran"),
        Ok(false) if counts.failed == 0 => counts.fail("it ended without a result"),
        Ok(false) => {}
        Err(error) => counts.fail(&format!("{error:#}")),
    }
    parts.push(Part {
        name,
        passed: counts.passed,
        failed: counts.failed,
        took: start.elapsed(),
        failures: counts.failures,
    });
}

fn too_late() -> anyhow::Error {
    anyhow!("it had {} minutes and was ended", LIMIT.as_secs() / 60)
}

fn run_and_count(command: &mut Command, counts: &mut Counts) -> Result<bool> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo does not run")?;
    let output = child.stdout.take().context("no standard output")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        counts.add(&line);
    }
    Ok(child.wait()?.success())
}

/// What the result lines of libtest add up to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    failed: usize,
    /// Names of tests, and why a part failed as a whole.
    failures: Vec<String>,
}

impl Counts {
    /// Adds a line `test result: ok. 5 passed; 0 failed; ..`, and remembers `test a ... FAILED`;
    /// other lines count nothing.
    fn add(&mut self, line: &str) {
        let test = line.strip_prefix("test ");
        if let Some(name) = test.and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
        let Some((_, numbers)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for part in numbers.split("; ") {
            match part.split_once(' ') {
                Some((count, "passed")) => self.passed += count.parse().unwrap_or(0),
                Some((count, "failed")) => self.failed += count.parse().unwrap_or(1),
                _ => {}
            }
        }
    }

    fn fail(&mut self, why: &str) {
        println!("FAILED: {why}");
        self.failures.push(why.to_owned());
        self.failed += 1;
    }
}

fn summary(parts: &[Part]) -> Result<()> {
    println!(
        "\n{:<24}{:>8}{:>8}{:>10}",
        "part", "passed", "failed", "seconds"
    );
    for part in parts {
        let seconds = part.took.as_secs_f64();
        let Part {
            name,
            passed,
            failed,
            ..
        } = part;
        println!("{name:<24}{passed:>8}{failed:>8}{seconds:>10.1}");
    }
    for part in parts {
        for failure in &part.failures {
            println!("FAILED in {}: {failure}", part.name);
        }
    }
    let passed: usize = parts.iter().map(|part| part.passed).sum();
    let failed: usize = parts.iter().map(|part| part.failed).sum();
    println!("{passed} passed, {failed} failed");
    if failed > 0 {
        std::process::exit(1);
    }
    Ok(())
}

fn cargo(root: &Path, arguments: &str) -> Result<()> {
    let mut command = Command::new("cargo");
    command.args(arguments.split(' ')).current_dir(root);
    if !command.status().context("cargo does not run")?.success() {
        bail!("cargo {arguments} fails");
    }
    Ok(())
}

/// Where cargo puts what it builds.
pub fn target_dir(root: &Path) -> Result<PathBuf> {
    let dir = std::env::var_os("CARGO_TARGET_DIR");
    let dir = dir.as_deref().unwrap_or(OsStr::new("target"));
    let dir = root.join(dir);
    std::fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    Ok(dir)
}

/// Lets one run a clone go on at a time; the lock ends with the file.
fn lock(target: &Path) -> Result<File> {
    let path = target.join("xtask-test.lock");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    if file.try_lock().is_err() {
        println!("another `cargo xtask test` runs here: waiting for it");
        file.lock()?;
    }
    Ok(file)
}

/// Whether network namespaces can be made.
pub fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up() {
        let mut counts = Counts::default();
        for line in [
            "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; done",
            "test a ... ok",
            "test b::c ... FAILED",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
        ] {
            counts.add(line);
        }
        assert_eq!(
            counts,
            Counts {
                passed: 8,
                failed: 2,
                failures: vec!["b::c".to_owned()],
            }
        );
    }

    #[test]
    fn a_binary_that_dies_is_a_failure() {
        let mut parts = Vec::new();
        libtest(&mut parts, "dies", Command::new("false"));
        libtest(&mut parts, "tests nothing", Command::new("true"));
        libtest(&mut parts, "absent", Command::new("/nonexistent"));
        assert!(
            parts
                .iter()
                .all(|part| part.failed == 1 && part.passed == 0 && part.failures.len() == 1)
        );
    }
}
