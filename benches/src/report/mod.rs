//! What a run has found, as a table in the terminal and as Markdown with plots.

pub mod results;

use std::path::PathBuf;

use anyhow::{Result, bail};

/// What `shunt-bench report` is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The results of a run, as `compare` has written them
    results: PathBuf,
}

/// Writes the report of a run that has been measured before.
///
/// # Errors
/// When the results cannot be read, or the report cannot be written.
pub fn run(_options: &Options) -> Result<()> {
    bail!("not there yet")
}
