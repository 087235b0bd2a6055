//! The toolchain for the eBPF programs: a compiler with the sources of `core`, and bpf-linker.
//!
//! There are two ways to such a compiler. The usual one is rustup's nightly with the component
//! rust-src. The other, for machines that cannot download components, is Debian's `rustc-web`,
//! linked into rustup under a name of its own. `ebpf-build` takes what is found here, in
//! the same order.

use std::{env, path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

use super::{answer, found, install, installed, installed_by_cargo, is_root, packages, program};

/// Overrides the choice of the toolchain, here and in `ebpf-build`.
const TOOLCHAIN_VARIABLE: &str = "SHUNT_EBPF_TOOLCHAIN";
/// What rustup calls the usual toolchain.
const NIGHTLY: &str = "nightly";
/// What rustup calls Debian's compiler after setup has linked it.
const LINKED: &str = "shunt-ebpf";
/// Debian's compiler, its cargo, and the sources of its library.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
/// Where Debian's compiler is.
const DEBIAN_PREFIX: &str = "/usr";
/// Later ones need another LLVM than the one that comes with the compiler.
const LINKER_VERSION: &str = "0.10.3";

/// Finds or installs compiler and linker.
///
/// # Errors
/// When one of them is missing and cannot be installed; with both ways to get the compiler.
pub fn provide(root: &Path) -> Result<()> {
    ensure!(
        program("rustup").is_some(),
        "rustup is missing, and the eBPF programs need a second toolchain: see https://rustup.rs"
    );
    compiler()?;
    linker(root)
}

fn compiler() -> Result<()> {
    if let Ok(name) = env::var(TOOLCHAIN_VARIABLE) {
        let compiler = usable(&name).with_context(|| {
            format!("{TOOLCHAIN_VARIABLE}={name} is no toolchain with rust-src; unset it")
        })?;
        found(&format!("{TOOLCHAIN_VARIABLE}={name}: {compiler}"));
        return Ok(());
    }
    for name in [NIGHTLY, LINKED] {
        if let Some(compiler) = usable(name) {
            found(&format!(
                "toolchain {name}: {compiler}, with the sources of core"
            ));
            return Ok(());
        }
    }
    let failures = match install_debian() {
        Ok(()) => return Ok(()),
        Err(debian) => match install_nightly() {
            Ok(()) => return Ok(()),
            Err(nightly) => [debian, nightly],
        },
    };
    let [debian, nightly] = failures;
    bail!(
        "no toolchain for the eBPF programs. Either: rustup toolchain install nightly \
         --profile minimal --component rust-src ({nightly:#}); or, on Debian, as root: apt-get \
         install {} && rustup toolchain link {LINKED} {DEBIAN_PREFIX} ({debian:#})",
        DEBIAN_PACKAGES.join(" ")
    )
}

/// The version of a toolchain's compiler, if rustup has it with the sources of `core`.
fn usable(toolchain: &str) -> Option<String> {
    let rustc = |argument: &[&str]| {
        let mut command = Command::new("rustup");
        command
            .args(["run", toolchain, "rustc"])
            .args(argument)
            .env("RUSTUP_AUTO_INSTALL", "0");
        answer(&mut command)
    };
    let sysroot = rustc(&["--print", "sysroot"])?;
    has_core_sources(Path::new(&sysroot)).then(|| rustc(&["--version"]))?
}

fn has_core_sources(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/core/Cargo.toml")
        .exists()
}

fn install_debian() -> Result<()> {
    let prefix = Path::new(DEBIAN_PREFIX);
    let is_complete = prefix.join("bin/cargo").exists() && has_core_sources(prefix);
    if is_complete {
        found("Debian's compiler with the sources of core");
    } else {
        ensure!(program("apt-get").is_some(), "there is no apt-get here");
        ensure!(is_root(), "apt-get needs root");
        packages::update_once()?;
        for package in DEBIAN_PACKAGES {
            ensure!(
                packages::is_available(package),
                "apt has no package {package}"
            );
        }
        packages::apt(DEBIAN_PACKAGES)?;
        installed(&DEBIAN_PACKAGES.join(", "));
    }
    install(Command::new("rustup").args(["toolchain", "link", LINKED, DEBIAN_PREFIX]))?;
    let compiler = usable(LINKED).context("it has no sources of core, even so")?;
    installed(&format!(
        "toolchain {LINKED}: {compiler}, with the sources of core"
    ));
    Ok(())
}

fn install_nightly() -> Result<()> {
    let arguments = ["toolchain", "install", NIGHTLY, "--profile", "minimal"];
    install(
        Command::new("rustup")
            .args(arguments)
            .args(["--component", "rust-src"]),
    )?;
    let compiler = usable(NIGHTLY).context("it has no sources of core, even so")?;
    installed(&format!(
        "toolchain {NIGHTLY}: {compiler}, with the sources of core"
    ));
    Ok(())
}

fn linker(root: &Path) -> Result<()> {
    if let Some(version) = linker_version() {
        found(&version);
        return Ok(());
    }
    let arguments = [
        "install",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--locked",
    ];
    install(
        Command::new(super::cargo())
            .args(arguments)
            .current_dir(root),
    )?;
    let version = linker_version().context("bpf-linker was installed, but does not run")?;
    installed(&version);
    Ok(())
}

/// What the linker says of itself; it is looked for where cargo installs, too.
fn linker_version() -> Option<String> {
    answer(Command::new(installed_by_cargo("bpf-linker")?).arg("--version"))
}
