//! `shunt-bench gen` and `shunt-bench sink`.

use anyhow::{Result, bail};

/// What `shunt-bench gen` is told.
#[derive(Debug, clap::Args)]
pub struct GenOptions {}

/// What `shunt-bench sink` is told.
#[derive(Debug, clap::Args)]
pub struct SinkOptions {}

/// Sends frames.
///
/// # Errors
/// When the device or the kernel refuses.
pub fn generate(_options: &GenOptions) -> Result<()> {
    bail!("not there yet")
}

/// Receives frames and says what came.
///
/// # Errors
/// When the device or the kernel refuses.
pub fn sink(_options: &SinkOptions) -> Result<()> {
    bail!("not there yet")
}
