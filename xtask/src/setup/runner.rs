//! The program that the harness of the instruction counts needs beside it, in the same version.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{answer, found, install, installed, installed_by_cargo};

const NAME: &str = "gungraun-runner";

/// Finds or installs the runner, and gives its place.
///
/// # Errors
/// When it is not there in the version of the library, and cannot be installed.
pub fn provide(root: &Path) -> Result<PathBuf> {
    let wanted = version(root)?;
    let is_it = |file: &PathBuf| {
        let answer = answer(Command::new(file).arg("--version"));
        answer.is_some_and(|text| text.split(' ').next_back() == Some(&wanted))
    };
    if let Some(file) = installed_by_cargo(NAME).filter(is_it) {
        found(&format!("{NAME} {wanted}"));
        return Ok(file);
    }
    let mut command = Command::new(super::cargo());
    command
        .args(["install", NAME, "--locked", "--version"])
        .arg(format!("={wanted}"))
        .current_dir(root);
    install(&mut command)?;
    let file = installed_by_cargo(NAME).filter(is_it);
    let file = file.with_context(|| format!("{NAME} was installed, but is not {wanted}"))?;
    installed(&format!("{NAME} {wanted}"));
    Ok(file)
}

/// The version of the library, which `Cargo.toml` says exactly.
fn version(root: &Path) -> Result<String> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).context("Cargo.toml")?;
    let manifest: toml::Table = manifest.parse().context("Cargo.toml")?;
    let version = manifest["workspace"]["dependencies"]["gungraun"].as_str();
    let version = version.and_then(|version| version.strip_prefix('='));
    Ok(version
        .context("Cargo.toml does not say which gungraun exactly")?
        .to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_has_an_exact_version() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
        let version = version(root.expect("a root")).expect("a version");
        assert_eq!(version.split('.').count(), 3, "{version}");
    }
}
