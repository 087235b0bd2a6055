//! `cargo xtask bench`: builds the switch and `shunt-bench`, and runs the latter; counts
//! instructions.

pub mod instructions;
mod ledger;

use std::{
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

/// Counts instructions, or builds switch and `shunt-bench` and runs the latter with the arguments.
///
/// # Errors
/// When something cannot be built or started, or costs too much. Ends with the status of
/// `shunt-bench` otherwise.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    if let [first, arguments @ ..] = &options.arguments[..]
        && first == instructions::NAME
    {
        return instructions::run(root, arguments);
    }
    setup::for_benches(root)?;
    let status = Command::new(setup::cargo())
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
