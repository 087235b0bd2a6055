//! `cargo xtask setup`: finds what builds and tests need, and installs what is missing.
//!
//! Asking twice costs next to nothing, so the other chores begin with it. What cannot be installed
//! here is named, with the command that installs it.

mod guest;
mod packages;
mod runner;
mod toolchain;

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use packages::Purpose;

/// Finds or installs everything: for building, and for the tests.
///
/// # Errors
/// When something is missing and cannot be installed; says what, and how to get it.
pub fn run(root: &Path) -> Result<()> {
    provide(root, Purpose::Test)
}

/// Finds or installs the peers of `cargo xtask bench compare`.
///
/// # Errors
/// As [`run`].
pub fn peers() -> Result<()> {
    packages::peers()
}

/// Finds or installs what `cargo xtask build` needs.
///
/// # Errors
/// As [`run`].
pub fn for_building(root: &Path) -> Result<()> {
    provide(root, Purpose::Build)
}

/// Finds or installs what building the benches needs.
///
/// # Errors
/// As [`run`].
pub fn for_benches(root: &Path) -> Result<()> {
    provide(root, Purpose::Bench)
}

/// Finds or installs what `cargo xtask bench instructions` needs, and gives the place of the
/// harness's runner.
///
/// # Errors
/// As [`run`].
pub fn for_counting(root: &Path) -> Result<PathBuf> {
    for_benches(root)?;
    runner::provide(root)
}

/// All problems at once: a missing package does not hide a missing toolchain.
fn provide(root: &Path, purpose: Purpose) -> Result<()> {
    let packages = packages::provide(purpose);
    let toolchain = toolchain::provide(root);
    let runner = match purpose {
        Purpose::Test => runner::provide(root).map(drop),
        Purpose::Build | Purpose::Bench => Ok(()),
    };
    let guest = match purpose {
        Purpose::Test => guest::provide(root),
        Purpose::Build | Purpose::Bench => Ok(()),
    };
    let problems: Vec<String> = [packages, toolchain, runner, guest]
        .into_iter()
        .filter_map(Result::err)
        .map(|error| format!("{error:#}"))
        .collect();
    ensure!(
        problems.is_empty(),
        "setup is not complete:\n  {}",
        problems.join("\n  ")
    );
    Ok(())
}

/// One line for something that was there.
fn found(what: &str) {
    println!("found     {what}");
}

/// One line for something that was not there, and is now.
fn installed(what: &str) {
    println!("installed {what}");
}

/// Where a program is: in a directory of `PATH`, or in one that only root has there.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let for_root = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut directories = env::split_paths(&path).chain(for_root);
    directories.find_map(|directory| Some(directory.join(name)).filter(|file| file.is_file()))
}

/// Where a program is that cargo may have installed: there first, which may not be in `PATH`.
fn installed_by_cargo(name: &str) -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let file = home.map(|home| home.join("bin").join(name));
    file.filter(|file| file.is_file()).or_else(|| program(name))
}

/// The cargo that runs this, if one does.
pub fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// What a command prints, if it runs and ends well; for questions, so nothing is shown.
fn answer(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// Runs a command that installs something; it shows what it does on stderr only.
fn install(command: &mut Command) -> Result<()> {
    let text = show(command);
    eprintln!("running   {text}");
    let status = command
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .with_context(|| format!("cannot start `{text}`"))?;
    ensure!(status.success(), "`{text}` failed, see above");
    Ok(())
}

/// A command as it would be typed.
fn show(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
