//! `cargo xtask bench`: builds the switch and `shunt-bench`, and runs the latter.

use std::{
    env,
    ffi::OsString,
    path::Path,
    process::{Command, exit},
};

use anyhow::{Context as _, Result, ensure};

use crate::{setup, test::target_dir};

/// What follows the word `bench`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Options {
    /// As `cargo xtask bench --help` says
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Builds both and runs `shunt-bench` with the arguments.
///
/// # Errors
/// When something cannot be built or started. Ends with the status of `shunt-bench` otherwise.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    setup::for_building(root)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet"])
        .args(["--package", "switch-cli", "--package", "shunt-benches"])
        .current_dir(root)
        .status()
        .context("cannot start cargo")?;
    ensure!(status.success(), "the build failed, see above");
    let release = target_dir(root)?.join("release");
    let status = Command::new(release.join("shunt-bench"))
        .args(&options.arguments)
        .env("SHUNT_BIN", release.join("shunt"))
        .status()
        .context("cannot start shunt-bench")?;
    exit(status.code().unwrap_or(1));
}
