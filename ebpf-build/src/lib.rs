//! For build scripts: builds a crate's eBPF programs for the BPF target and leaves the object in
//! `OUT_DIR`.
//!
//! That takes another toolchain than the rest of the workspace: one with unstable features and
//! the sources of `core`, and bpf-linker. `cargo xtask setup` installs it.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output},
};

use anyhow::{Context as _, Result, bail, ensure};
use aya_build::{Package, Toolchain};

/// Overrides the choice of the toolchain: a name that `rustup run` takes.
const TOOLCHAIN_VARIABLE: &str = "SHUNT_EBPF_TOOLCHAIN";
/// Tells the second run of this program which toolchain the first has chosen.
const CHOSEN_VARIABLE: &str = "SHUNT_EBPF_CHOSEN";
/// Tried in this order: the usual one, then what setup links.
const CANDIDATES: [&str; 2] = ["nightly", "shunt-ebpf"];
const REMEDY: &str = "run: cargo xtask setup";

/// A crate of programs.
#[derive(Clone, Copy, Debug)]
pub struct Programs<'a> {
    /// The package's name.
    pub package: &'a str,
    /// Where it is, as an absolute path.
    pub directory: &'a str,
    /// The name of its binary target, which is that of the object.
    pub object: &'a str,
}

/// The whole of a build script: leaves the object in `OUT_DIR`, or tells cargo why not.
///
/// The script is run a second time by itself, with the environment that the toolchain needs.
#[must_use]
pub fn main(programs: Programs<'_>) -> ExitCode {
    let result = match env::var(CHOSEN_VARIABLE) {
        Ok(toolchain) => build(programs, &toolchain),
        Err(_) => choose_and_build(programs),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error=the eBPF programs could not be built: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Builds with the first toolchain that works.
fn choose_and_build(programs: Programs<'_>) -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={TOOLCHAIN_VARIABLE}");
    if env::var_os("CARGO_CFG_LOOM").is_some() {
        // Models load no program, and have a target directory of their own: spare them the build.
        return Ok(());
    }
    ensure!(
        is_program("bpf-linker"),
        "bpf-linker is not installed; {REMEDY}"
    );
    let candidates = match env::var(TOOLCHAIN_VARIABLE) {
        Ok(name) => vec![name],
        Err(_) => CANDIDATES.map(str::to_owned).to_vec(),
    };
    let with_sources = candidates.iter().filter(|name| has_core_sources(name));
    let mut failures = String::new();
    for toolchain in with_sources {
        let output = run_again(programs.object, toolchain)?;
        let lines = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            // What aya-build hands on as warnings is cargo's progress.
            let is_directive = |line: &&str| !line.starts_with("cargo:warning=");
            lines
                .lines()
                .filter(is_directive)
                .for_each(|line| println!("{line}"));
            return Ok(());
        }
        let text = lines.replace("cargo:warning=", "");
        failures += &format!("\nwith the toolchain {toolchain}:\n{text}");
    }
    if failures.is_empty() {
        bail!("no toolchain with the sources of core among {candidates:?}; {REMEDY}");
    }
    eprintln!("{failures}");
    bail!("the build for the BPF target failed, see above; if no source is at fault, {REMEDY}");
}

/// Runs this program itself with the environment that the toolchain needs: aya-build hands its
/// own environment on, and a process can change that only by unsafe means.
fn run_again(object: &str, toolchain: &str) -> Result<Output> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    let shared = shared_directory(&out);
    fs::create_dir_all(&shared).with_context(|| format!("make {}", shared.display()))?;
    let mut command = Command::new(env::current_exe()?);
    command
        .env(CHOSEN_VARIABLE, toolchain)
        .env("OUT_DIR", &shared)
        // Debian's compiler is a stable one, and build-std is not a stable feature.
        .env("RUSTC_BOOTSTRAP", "1")
        // bpf-linker optimises the whole program; these are meant for the host's release build.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "2");
    if let Some(path) = library_path(toolchain) {
        command.env("LD_LIBRARY_PATH", path);
    }
    let output = command
        .output()
        .context("cannot run the build script again")?;
    if output.status.success() {
        let path = shared.join(object);
        fs::copy(&path, out.join(object)).with_context(|| format!("copy {path:?}"))?;
    }
    Ok(output)
}

/// One directory for all profiles, because the object is the same in each and `core` takes half a
/// minute to compile: `target/ebpf`, from `target/<profile>/build/<package>/out`.
fn shared_directory(out: &Path) -> PathBuf {
    match out.ancestors().nth(2) {
        Some(build) if build.ends_with("build") => build.join("../../ebpf"),
        _ => out.to_owned(),
    }
}

fn build(programs: Programs<'_>, toolchain: &str) -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set")?);
    share_target_directory(&out, programs.package)?;
    let package = Package {
        name: programs.package,
        root_dir: programs.directory,
        ..Package::default()
    };
    aya_build::build_ebpf([package], Toolchain::Custom(toolchain))
}

/// Lets all packages have one target directory, so that `core` is compiled once: aya-build gives
/// each a directory of its own, which is a link to the common one here.
fn share_target_directory(out: &Path, package: &str) -> Result<()> {
    let directory = out.join("aya-build/target");
    let (common, own) = (directory.join("common"), directory.join(package));
    fs::create_dir_all(&common).with_context(|| format!("make {}", common.display()))?;
    if own.is_dir() && !own.is_symlink() {
        // Of a build before there was a common one.
        fs::remove_dir_all(&own).with_context(|| format!("remove {}", own.display()))?;
    }
    match symlink("common", &own) {
        // It is there already, or another build script was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.with_context(|| format!("link {}", own.display())),
    }
}

/// Where bpf-linker finds libLLVM: with the toolchain's own compiler, else with the host's.
fn library_path(toolchain: &str) -> Option<OsString> {
    let host = sysroot(Command::new(env::var_os("RUSTC")?))?;
    let own = sysroot(rustc_of(toolchain)).filter(|sysroot| has_llvm(&sysroot.join("lib")));
    let present = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let sysroots = own
        .into_iter()
        .chain([host])
        .map(|sysroot| sysroot.join("lib"));
    env::join_paths(sysroots.chain(env::split_paths(&present))).ok()
}

fn has_llvm(directory: &Path) -> bool {
    let names = fs::read_dir(directory).into_iter().flatten().flatten();
    names
        .into_iter()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("libLLVM"))
}

/// Whether rustup has the toolchain, with the library sources that build-std compiles.
fn has_core_sources(toolchain: &str) -> bool {
    sysroot(rustc_of(toolchain)).is_some_and(|path| {
        path.join("lib/rustlib/src/rust/library/core/Cargo.toml")
            .exists()
    })
}

fn rustc_of(toolchain: &str) -> Command {
    let mut command = Command::new("rustup");
    command
        .args(["run", toolchain, "rustc"])
        .env("RUSTUP_AUTO_INSTALL", "0");
    command
}

fn sysroot(mut rustc: Command) -> Option<PathBuf> {
    let output = rustc.args(["--print", "sysroot"]).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

fn is_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| directory.join(name).is_file())
}
