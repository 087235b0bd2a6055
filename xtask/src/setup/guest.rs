//! A kernel for tests in a virtual machine: Debian's, with modules that the running one may lack.
//!
//! It is unpacked into the target directory, not installed, so that takes no root.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::{answer, found, installed, packages, program};
use crate::test::target_dir;

/// The package that depends on the current kernel's.
const KERNEL: &str = "linux-image-amd64";
/// A shell and all usual commands in one file without libraries.
const SHELL: &str = "busybox-static";
/// Where they are in the packages, and what they are called for the tests.
const FILES: [(&str, &str); 4] = [
    ("./boot/vmlinuz-*", "vmlinuz"),
    ("*/kernel/drivers/net/veth.ko*", "veth.ko"),
    ("*/kernel/net/core/pktgen.ko*", "pktgen.ko"),
    ("./bin/busybox", "busybox"),
];

/// Finds or fetches kernel, modules and shell, for the tests to find in `target/guest`.
///
/// # Errors
/// Without apt, or when it has no such packages.
pub fn provide(root: &Path) -> Result<()> {
    if env::consts::ARCH != "x86_64" {
        found("no guest for this architecture: its tests are left out");
        return Ok(());
    }
    let directory = target_dir(root)?.join("guest");
    let is_complete = || FILES.iter().all(|(_, name)| directory.join(name).is_file());
    if is_complete() {
        found("a kernel for tests in a virtual machine");
        return Ok(());
    }
    ensure!(
        program("apt-get").is_some(),
        "there is no apt-get here to fetch a kernel for tests in a virtual machine: put {} into {}",
        FILES.map(|(_, name)| name).join(", "),
        directory.display()
    );
    packages::update_once()?;
    let kernel = current_kernel()?;
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    for package in [kernel.as_str(), SHELL] {
        fetch(&directory, package)?;
    }
    ensure!(
        is_complete(),
        "{kernel} and {SHELL} have other files than {FILES:?}"
    );
    installed(&format!(
        "{kernel} and {SHELL} for tests in a virtual machine"
    ));
    Ok(())
}

/// The package of the kernel that Debian has at present.
fn current_kernel() -> Result<String> {
    let depends = answer(Command::new("apt-cache").args(["depends", KERNEL]));
    let depends = depends.with_context(|| format!("apt does not know {KERNEL}"))?;
    let mut names = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "));
    let name = names.find(|name| name.starts_with("linux-image-"));
    Ok(name.context("it depends on no kernel")?.to_owned())
}

/// Fetches a package and takes our files out of it.
fn fetch(directory: &Path, package: &str) -> Result<()> {
    let download = Command::new("apt-get")
        .args(["download", "--quiet", package])
        .current_dir(directory)
        .stdout(Stdio::null())
        .status();
    let fetched = download.context("cannot start apt-get")?.success();
    ensure!(fetched, "apt-get download {package} failed, see above");
    let entries = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let archives = entries.filter(|path| path.extension().is_some_and(|it| it == "deb"));
    for archive in archives {
        unpack(directory, &archive)?;
        fs::remove_file(&archive)?;
    }
    Ok(())
}

fn unpack(directory: &Path, archive: &Path) -> Result<()> {
    let mut content = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let unpacked = directory.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    let patterns = FILES.map(|(pattern, _)| pattern);
    // A pattern that another package has is not found in this one: no matter.
    Command::new("tar")
        .args(["--extract", "--wildcards", "--directory"])
        .arg(&unpacked)
        .args(patterns)
        .stdin(content.stdout.take().context("piped")?)
        .stderr(Stdio::null())
        .status()
        .context("cannot start tar")?;
    ensure!(
        content.wait()?.success(),
        "{} cannot be read",
        archive.display()
    );
    take(&unpacked, directory)?;
    fs::remove_dir_all(&unpacked)?;
    Ok(())
}

/// Moves our files from wherever they are below a directory.
fn take(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if path.is_dir() {
            take(&path, to)?;
            continue;
        }
        let file = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let name = FILES.iter().find(|(_, name)| file.starts_with(name));
        if let Some((_, name)) = name {
            fs::rename(&path, to.join(name))?;
        }
    }
    Ok(())
}
