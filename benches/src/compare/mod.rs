//! Peers side by side: set up, measured in turns, torn down.

use anyhow::{Result, bail};

/// What `shunt-bench compare` is told.
#[derive(Debug, clap::Args)]
pub struct Options {}

/// Measures every contender that is installed, and writes the report.
///
/// # Errors
/// When the machine cannot be set up for it.
pub fn run(_options: &Options) -> Result<()> {
    bail!("not there yet")
}
