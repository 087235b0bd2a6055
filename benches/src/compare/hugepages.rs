//! Huge pages of 2 MiB for the one contender that needs them; the machine gets its setting back.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use shunt_tests::netns::run;
use tempfile::TempDir;

/// How many huge pages of the default size the kernel shall hold ready.
const SETTING: &str = "/proc/sys/vm/nr_hugepages";
/// Where a run notes what it found, for the case that it is killed before it puts it back.
const NOTES: &str = "/run/shunt-bench-hugepages";

/// Huge pages, and a file system of them in a folder of our own; both are gone when it is dropped.
#[derive(Debug)]
pub struct HugePages {
    before: u64,
    is_mounted: bool,
    folder: TempDir,
}

impl HugePages {
    /// Reserves so many pages of 2 MiB, beyond those that others use, and mounts them.
    ///
    /// # Errors
    /// When the kernel does not find that much memory in one piece, or pages have another size.
    pub fn reserve(count: u64) -> Result<Self> {
        restore_after_a_kill();
        let meminfo = fs::read_to_string("/proc/meminfo")?;
        let value = |name| field(&meminfo, name).with_context(|| format!("no {name} in meminfo"));
        ensure!(
            value("Hugepagesize")? == 2048,
            "huge pages of this machine are not 2 MiB"
        );
        let before = value("HugePages_Total")?;
        let used = before - value("HugePages_Free")?;
        let folder = tempfile::tempdir()?;
        let path = folder
            .path()
            .to_str()
            .context("a path in UTF-8")?
            .to_owned();
        fs::write(note_path(), format!("{before}\n{path}\n")).context("note the setting")?;
        let mut pages = Self {
            before,
            is_mounted: false,
            folder,
        };
        let wanted = before.max(used + count);
        fs::write(SETTING, wanted.to_string()).context(SETTING)?;
        let free = field(&fs::read_to_string("/proc/meminfo")?, "HugePages_Free").unwrap_or(0);
        if free < count {
            bail!("the kernel has only {free} of {count} huge pages");
        }
        run(
            "mount",
            &["-t", "hugetlbfs", "-o", "pagesize=2M", "none", &path],
        )?;
        pages.is_mounted = true;
        Ok(pages)
    }

    /// Where they are mounted.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if self.is_mounted
            && let Err(error) = run("umount", &[&self.folder.path().to_string_lossy()])
        {
            eprintln!(
                "{} is left mounted: {error:#}",
                self.folder.path().display()
            );
        }
        match fs::write(SETTING, self.before.to_string()) {
            Ok(()) => drop(fs::remove_file(note_path())),
            Err(error) => eprintln!("{SETTING} was {} and is not again: {error}", self.before),
        }
    }
}

fn note_path() -> PathBuf {
    PathBuf::from(format!("{NOTES}-{}", std::process::id()))
}

/// Puts back what a run that was killed has left.
pub fn restore_after_a_kill() {
    for entry in fs::read_dir("/run").into_iter().flatten().flatten() {
        let path = entry.path();
        let text = path.to_string_lossy();
        let Some(pid) = text.strip_prefix(NOTES).and_then(|it| it.strip_prefix('-')) else {
            continue;
        };
        if Path::new("/proc").join(pid).exists() {
            continue;
        }
        let note = fs::read_to_string(&path).unwrap_or_default();
        let mut lines = note.lines();
        let (before, folder) = (lines.next(), lines.next());
        if let Some(folder) = folder {
            // It may have been killed before it mounted anything.
            let _ = run("umount", &[folder]);
            let _ = fs::remove_dir(folder);
        }
        if before.is_some_and(|before| fs::write(SETTING, before).is_ok()) {
            let _ = fs::remove_file(&path);
        }
    }
}

fn field(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|it| it.strip_prefix(name))?;
    let number = line.strip_prefix(':')?.split_whitespace().next()?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_understood() {
        let text = "MemTotal: 24685036 kB\nHugePages_Total:     512\nHugePages_Free:       12\n\
                    Hugepagesize:       2048 kB\n";
        assert_eq!(field(text, "HugePages_Total"), Some(512));
        assert_eq!(field(text, "HugePages_Free"), Some(12));
        assert_eq!(field(text, "Hugepagesize"), Some(2048));
        assert_eq!(field(text, "Huge"), None);
    }
}
