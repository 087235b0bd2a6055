//! `cargo xtask fuzz`: looks for inputs that break a target of `fuzz/`.
//!
//! The compiler's own pass counts which edges an input reaches, on the stable toolchain; there is
//! no address sanitizer, which the targets, safe Rust, do not need.

use std::{env, fs, path::Path, process::Command, time::Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::setup;

/// What is compiled in, as libFuzzer wants it.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1";
/// Longest input that is made, in bytes: a frame of one buffer, or a file of some pages.
const MAX_SIZE: usize = 4096;

/// How to fuzz.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// What: a folder of fuzz/corpus, such as parser
    target: String,
    /// For how long
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    minutes: u64,
    /// Then add the inputs that reach something new to fuzz/corpus, the smallest that do
    #[arg(long)]
    keep: bool,
}

/// Builds the fuzzer and runs it in a folder of its own under `target/`.
///
/// # Errors
/// When an input breaks the target; it is named.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    let Options {
        target, minutes, ..
    } = options;
    let corpus = root.join("fuzz/corpus").join(target);
    ensure!(
        corpus.is_dir(),
        "there is no target {target:?}: see fuzz/corpus"
    );
    setup::for_building(root)?;
    // Named, so that build scripts are compiled without the above.
    let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let built = root.join("target/fuzz");
    let build = "build --package shunt-fuzz --bin shunt-fuzz --features libfuzzer --profile ci \
                 --target";
    let status = Command::new("cargo")
        .args(build.split_whitespace())
        .arg(&host)
        .env("RUSTFLAGS", COVERAGE)
        .env("CARGO_TARGET_DIR", &built)
        .current_dir(root)
        .status()
        .context("cargo does not run")?;
    ensure!(status.success(), "the build failed, see above");

    let found = built.join("found").join(target);
    fs::create_dir_all(&found).context("cannot make a folder under target")?;
    let fuzzer = || {
        let mut fuzzer = Command::new(built.join(&host).join("ci/shunt-fuzz"));
        fuzzer.env("SHUNT_FUZZ_TARGET", target).current_dir(&built);
        fuzzer
    };
    let begun = Instant::now();
    let mut process = fuzzer()
        .arg(format!("-max_total_time={}", minutes * 60))
        .arg(format!("-max_len={MAX_SIZE}"))
        .args(["-timeout=10", "-print_final_stats=1"])
        .args([&found, &corpus])
        .spawn()
        .context("the fuzzer does not start")?;
    let status = process.wait()?;
    if !status.success() {
        bail!("an input breaks {target}: see above, and the file under target/fuzz");
    }
    println!("{target}: nothing found in {:.0?}", begun.elapsed());
    if options.keep {
        let merge = fuzzer().arg("-merge=1").args([&corpus, &found]).status();
        ensure!(merge?.success(), "the corpora cannot be merged");
    }
    Ok(())
}
