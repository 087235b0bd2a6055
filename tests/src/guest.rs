//! A virtual machine with Debian's kernel, for what the running kernel lacks: no root needed.
//!
//! QEMU emulates the processor, so a guest boots anywhere in some seconds and runs at a small part
//! of the host's speed. Its file system is an initramfs with exactly the files it was given, and
//! `/init` is a shell script whose output is what the guest has to say.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// Where `cargo xtask setup` leaves kernel, modules and busybox, in the target directory.
const PROVIDED: &str = "guest";
const REMEDY: &str = "run: cargo xtask setup";
/// QEMU and the signal that ends it when the test that waits for it is gone.
const QEMU: &str = "qemu-system-x86_64";
/// Memory for the guest.
const MEMORY_MIB: &str = "512";

/// What every guest does first and last. busybox has all the usual commands.
const PROLOGUE: &str = "\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
ip link set lo up
";
const EPILOGUE: &str = "\npoweroff -f\n";

/// A guest that has not been started.
#[derive(Debug)]
pub struct Guest {
    provided: PathBuf,
    archive: Archive,
}

impl Guest {
    /// A guest with busybox, `ip` and some of the kernel's modules, e.g. `veth`, as files in `/`.
    ///
    /// # Panics
    /// When setup has not provided them.
    #[must_use]
    #[track_caller]
    pub fn new(modules: &[&str]) -> Self {
        let binary = std::env::current_exe().expect("own path");
        // target/<profile>/deps/<test>
        let target = binary.ancestors().nth(3).expect("the target directory");
        let mut guest = Self {
            provided: target.join(PROVIDED),
            archive: Archive::default(),
        };
        for directory in ["bin", "proc", "sys", "dev", "tmp"] {
            guest.archive.directory(Path::new(directory));
        }
        guest.add(&guest.provided.join("busybox"), Path::new("bin/busybox"));
        guest.add_program(&find_program("ip"), Path::new("sbin/ip"));
        for module in modules {
            let file = format!("{module}.ko");
            guest.add(&guest.provided.join(&file), Path::new(&file));
        }
        guest
    }

    /// Adds a file.
    #[track_caller]
    fn add(&mut self, from: &Path, to: &Path) {
        let content =
            fs::read(from).unwrap_or_else(|error| panic!("{}: {error}; {REMEDY}", from.display()));
        self.archive.file(to, &content);
    }

    /// Adds a program and the libraries that it is linked with.
    ///
    /// # Panics
    /// When `ldd` does not know them.
    #[track_caller]
    pub fn add_program(&mut self, from: &Path, to: &Path) {
        self.add(from, to);
        let output = Command::new("ldd").arg(from).output().expect("run ldd");
        assert!(output.status.success(), "ldd {}", from.display());
        for library in libraries(&String::from_utf8_lossy(&output.stdout)) {
            self.add(&library, library.strip_prefix("/").expect("absolute"));
        }
    }

    /// Boots, runs a script as root, and gives what it has printed. The guest is gone afterwards,
    /// and so it is when it takes longer than the limit.
    ///
    /// # Panics
    /// When it does not end in time, with what it has printed by then.
    #[must_use]
    #[track_caller]
    pub fn run(mut self, script: &str, limit: Duration) -> String {
        let init = format!("{PROLOGUE}{script}{EPILOGUE}");
        self.archive.file(Path::new("init"), init.as_bytes());
        let initramfs = tempfile::NamedTempFile::new().expect("a file");
        fs::write(initramfs.path(), self.archive.finish()).expect("write the initramfs");
        let mut machine = Machine::boot(&self.provided, initramfs.path(), limit);
        machine.console(limit)
    }
}

/// A running QEMU, which ends when this is dropped.
struct Machine(Child);

impl Machine {
    #[track_caller]
    fn boot(provided: &Path, initramfs: &Path, limit: Duration) -> Self {
        // `timeout` ends it also when the test has been killed.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &(limit.as_secs() + 5).to_string()]);
        command.args([QEMU, "-accel", "tcg", "-cpu", "max", "-m", MEMORY_MIB]);
        command.args([
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
            "-net",
            "none",
        ]);
        command.args(["-serial", "stdio", "-append"]);
        command.arg("console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off");
        command.arg("-kernel").arg(provided.join("vmlinuz"));
        command.arg("-initrd").arg(initramfs);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self(command.spawn().expect("start timeout and QEMU"))
    }

    /// Everything that comes over the serial line until the guest has powered off.
    #[track_caller]
    fn console(&mut self, limit: Duration) -> String {
        let mut output = self.0.stdout.take().expect("piped");
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        let deadline = Instant::now() + limit;
        let mut bytes = Vec::new();
        loop {
            match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(more) => bytes.extend(more),
                Err(error) => {
                    // Lines end in CR LF there.
                    let text = String::from_utf8_lossy(&bytes).replace('\r', "");
                    assert!(
                        error == RecvTimeoutError::Disconnected,
                        "the guest has not ended after {limit:?}; it said:\n{text}"
                    );
                    return text;
                }
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It hands SIGTERM on to QEMU. Both may have ended already.
        let _ = crate::sys::signal(&self.0, crate::sys::SIGTERM);
        let _ = self.0.wait();
    }
}

/// Where a program is; root's directories included.
#[track_caller]
fn find_program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(Into::into));
    let mut files = directories.map(|directory| directory.join(name));
    files
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("no program {name}; {REMEDY}"))
}

/// The files in what `ldd` prints.
fn libraries(text: &str) -> Vec<PathBuf> {
    let words = text.lines().flat_map(str::split_whitespace);
    words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// A cpio archive of the kind that the kernel unpacks (`newc`,
/// Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Debug, Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: Vec<PathBuf>,
}

impl Archive {
    const DIRECTORY: u32 = 0o040_755;
    const FILE: u32 = 0o100_755;

    /// Adds a directory and those above it, once.
    fn directory(&mut self, path: &Path) {
        let mut above: Vec<_> = path.ancestors().filter(|it| *it != Path::new("")).collect();
        above.reverse();
        for directory in above {
            if !self.directories.iter().any(|it| it == directory) {
                self.directories.push(directory.to_owned());
                self.entry(directory, Self::DIRECTORY, &[]);
            }
        }
    }

    /// Adds a file that everybody may run; a later one of the same name takes its place.
    fn file(&mut self, path: &Path, content: &[u8]) {
        if let Some(parent) = path.parent() {
            self.directory(parent);
        }
        self.entry(path, Self::FILE, content);
    }

    fn entry(&mut self, path: &Path, mode: u32, content: &[u8]) {
        self.entries += 1;
        let name = path.to_str().expect("a name in UTF-8");
        let size = content.len() as u32;
        // Inode, mode, user, group, links, time, size, four numbers of devices, length of the name
        // with its zero, and a checksum that is not used.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            1,
            0,
            size,
            0,
            0,
            0,
            0,
            name.len() as u32 + 1,
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry(Path::new("TRAILER!!!"), 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_as_the_kernel_reads_it() {
        let mut archive = Archive::default();
        archive.file(Path::new("a/b/c"), b"hello");
        archive.file(Path::new("a/d"), b"");
        let bytes = archive.finish();
        let text = String::from_utf8(bytes).expect("only text and zeros");
        let mut rest = text.as_str();
        let mut found = Vec::new();
        while !rest.is_empty() {
            let field = |index: usize| {
                let at = 6 + 8 * index;
                usize::from_str_radix(&rest[at..at + 8], 16).expect("hexadecimal")
            };
            assert_eq!(&rest[..6], "070701");
            let (size, name) = (field(6), field(11));
            let content = (110 + name).next_multiple_of(4);
            let end = (content + size).next_multiple_of(4);
            let name = rest[110..110 + name - 1].to_owned();
            found.push((name, field(1), rest[content..content + size].to_owned()));
            rest = &rest[end..];
        }
        let entry =
            |name: &str, mode: usize, content: &str| (name.to_owned(), mode, content.to_owned());
        let expected = [
            entry("a", 0o040_755, ""),
            entry("a/b", 0o040_755, ""),
            entry("a/b/c", 0o100_755, "hello"),
            entry("a/d", 0o100_755, ""),
            entry("TRAILER!!!", 0, ""),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn libraries_are_found_in_what_ldd_prints() {
        let text = "\tlinux-vdso.so.1 (0x00007fcddf430000)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fcddf163000)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007fcddf432000)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(libraries(text), expected.map(PathBuf::from));
    }
}
