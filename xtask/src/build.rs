//! `cargo xtask build`: the release build of the `shunt` binary.

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::setup;

/// Finds or installs what the build needs, and leaves `target/release/shunt`.
///
/// # Errors
/// When something is missing that could not be installed, or when cargo fails.
pub fn run(root: &Path) -> Result<()> {
    setup::for_building(root)?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--release", "--package", "switch-cli"])
        .current_dir(root);
    let status = cargo.status().context("cannot start cargo")?;
    ensure!(status.success(), "the build failed, see above");
    let target = env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
    let binary = root.join(target).join("release/shunt");
    let size = binary
        .metadata()
        .with_context(|| binary.display().to_string())?
        .len();
    println!(
        "built     {} ({:.1} MiB)",
        binary.display(),
        size as f64 / f64::from(1 << 20)
    );
    Ok(())
}
