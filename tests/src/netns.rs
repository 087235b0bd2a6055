//! Network namespaces for tests: made under a unique name, deleted when dropped.
//!
//! Needs root and iproute2. Without root every constructor fails and says so, so that a test
//! which unwraps it fails too and never passes without having looked.

use std::{
    fs::File,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    process::{Command, id},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
};

use anyhow::{Context as _, Result, ensure};

use crate::sys;

/// How the names of all our namespaces begin; the pid of the maker follows.
const PREFIX: &str = "shunttest-";
/// Where iproute2 keeps names of namespaces.
const DIRECTORY: &str = "/run/netns";

/// A network namespace of our own; deleted, with all devices in it, when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes a namespace with its loopback up and IPv6 off, so that no device in it sends by
    /// itself.
    ///
    /// `label` is for people: the name is `shunttest-<pid>-<number>-<label>`.
    ///
    /// # Errors
    /// Without root, or when `ip netns` fails.
    pub fn new(label: &str) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        static SWEEP: Once = Once::new();

        ensure!(
            sys::is_root(),
            "this test makes network namespaces and needs root; run: sudo --preserve-env=HOME env \
             \"PATH=$PATH\" cargo xtask test"
        );
        SWEEP.call_once(sweep);
        let number = NEXT.fetch_add(1, Relaxed);
        let name = format!("{PREFIX}{}-{number}-{label}", id());
        run("ip", &["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        namespace.enter(|| {
            for scope in ["all", "default"] {
                // Fails where the kernel has no IPv6: then it is off already.
                let path = format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6");
                let _ = std::fs::write(path, "1");
            }
        })?;
        Ok(namespace)
    }

    /// The name, as `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file whose descriptor is the namespace, for setns(2) and `IFLA_NET_NS_FD`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// A command that runs inside the namespace, for the caller to complete and spawn.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a command inside the namespace to its end and gives what it printed.
    ///
    /// # Errors
    /// When it cannot be started or ends with another code than 0; with what it wrote to stderr.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        output(self.command(program).args(arguments))
    }

    /// Runs `ip` on the namespace, e.g. `&["link", "set", "veA", "up"]`.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        output(Command::new("ip").args(["-n", &self.name]).args(arguments))
    }

    /// Calls a closure in a thread of its own inside the namespace, and waits for it.
    ///
    /// Descriptors that the closure makes (sockets, BPF links) stay of this namespace afterwards.
    /// A panic of the closure goes on in the caller.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        let path = self.path();
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                sys::enter_network_namespace(file.as_fd())
                    .with_context(|| format!("enter the namespace {}", path.display()))?;
                Ok(closure())
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Makes a veth pair, `device` here and `peer_device` in `peer`, with so many RX and TX queues
    /// at each end, and sets both ends up.
    ///
    /// # Errors
    /// When `ip link` fails: a name that is taken, or one longer than 15 bytes.
    pub fn veth(&self, device: &str, peer: &Self, peer_device: &str, queues: usize) -> Result<()> {
        let queues = queues.to_string();
        let queues = ["numrxqueues", &queues, "numtxqueues", &queues];
        let mut arguments = vec!["link", "add", "name", device];
        arguments.extend(queues);
        arguments.extend(["type", "veth", "peer", "name", peer_device]);
        arguments.extend(queues);
        arguments.extend(["netns", peer.name()]);
        self.ip(&arguments)?;
        self.ip(&["link", "set", "dev", device, "up"])?;
        peer.ip(&["link", "set", "dev", peer_device, "up"])?;
        Ok(())
    }

    /// The index of a device in this namespace.
    ///
    /// # Errors
    /// When there is no such device.
    pub fn ifindex(&self, device: &str) -> Result<u32> {
        let shown = self.ip(&["-o", "link", "show", "dev", device])?;
        let number = shown.split(':').next().unwrap_or_default();
        number
            .trim()
            .parse()
            .with_context(|| format!("ifindex in {shown:?}"))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = run("ip", &["netns", "del", &self.name]) {
            eprintln!("the namespace {} is left: {error:#}", self.name);
        }
    }
}

/// Deletes what tests that were killed have left: our namespaces whose maker no longer runs.
fn sweep() {
    let names = std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    for name in names.filter_map(|entry| entry.file_name().into_string().ok()) {
        let maker = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            // Another test process may be sweeping too: whoever is second finds nothing.
            let _ = run("ip", &["netns", "del", &name]);
        }
    }
}

/// Runs a command outside any namespace to its end and gives what it printed.
///
/// # Errors
/// When it cannot be started or ends with another code than 0; with what it wrote to stderr.
pub fn run(program: &str, arguments: &[&str]) -> Result<String> {
    output(Command::new(program).args(arguments))
}

fn output(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?}: {}: {}",
        output.status,
        errors.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
