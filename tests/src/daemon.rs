//! The real daemon, `shunt run`, in a namespace of a test.
//!
//! What does not work panics, with the place in the test. The daemon never outlives the test: it
//! is killed when dropped, and by the kernel when the test process dies. Then, if the test has
//! failed, its log and its ports are printed.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant, SystemTime},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{netns::Namespace, sys};

/// Time that ports have to come up, and everything else that the daemon does by itself.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Time that the daemon has to end after SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(10);
/// How often something that is waited for is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until a look gives something, and gives that.
///
/// # Panics
/// When there is still nothing after [`PATIENCE`]; `what` says what is missing.
#[track_caller]
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(LOOK_INTERVAL);
    }
}

/// A daemon, with a folder of its own for configuration, socket, state and log.
#[derive(Debug)]
pub struct Daemon {
    /// The namespace that it runs in.
    namespace: String,
    directory: TempDir,
    /// Its control socket, in the folder unless it was told another.
    socket: PathBuf,
    /// None when it was stopped or killed.
    child: Option<Child>,
}

impl Daemon {
    /// Starts a daemon in a namespace and waits until all its ports are up.
    ///
    /// Call it in the thread that the daemon shall live with: it is killed when that thread ends.
    #[track_caller]
    pub fn start(namespace: &Namespace, config: &str) -> Self {
        let daemon = Self::spawn(namespace, config);
        daemon.wait_up();
        daemon
    }

    /// Starts a daemon in a namespace, and does not wait for anything.
    #[track_caller]
    pub fn spawn(namespace: &Namespace, config: &str) -> Self {
        Self::spawn_at(namespace, config, None)
    }

    /// As [`spawn`](Self::spawn), with a socket that may belong to another daemon.
    #[track_caller]
    pub fn spawn_at(namespace: &Namespace, config: &str, socket: Option<&Path>) -> Self {
        let directory = tempfile::tempdir().expect("temporary folder");
        let own = directory.path().join("shunt.sock");
        let mut daemon = Self {
            namespace: namespace.name().to_owned(),
            directory,
            socket: socket.map_or(own, Path::to_owned),
            child: None,
        };
        daemon.write_config(config);
        daemon.spawn_again();
        daemon
    }

    /// Starts it again after [`kill`](Self::kill) or [`stop`](Self::stop), with the same
    /// configuration, socket and state, and does not wait for anything. The log is continued.
    #[track_caller]
    pub fn spawn_again(&mut self) {
        assert!(self.child.is_none(), "it is running");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path());
        let log = log.expect("log file");
        let mut command = Command::new("ip");
        // `ip` and the others become the next program: the pid is the daemon's in the end. It has
        // a session of its own, so that its share of the cores can be set apart from the test's.
        command.args(["netns", "exec", &self.namespace]);
        command.args(["setsid", "setpriv", "--pdeathsig", "KILL"]);
        command.arg(binary()).args(["run", "--config"]);
        command.arg(self.config_path());
        command.arg("--socket").arg(self.socket());
        command.env("RUST_BACKTRACE", "1").stdin(Stdio::null());
        command
            .stdout(log.try_clone().expect("log file"))
            .stderr(log);
        self.child = Some(
            command
                .spawn()
                .expect("spawn the daemon by `ip netns exec`"),
        );
    }

    /// Waits until the daemon answers and every port is up. `generic` mode and advice are no
    /// matter: whoever cares looks at them.
    #[track_caller]
    pub fn wait_up(&self) {
        self.wait_ports("all ports up", |ports| {
            ports.iter().all(|port| port["state"] == "up")
        });
    }

    /// Waits until the daemon answers and its ports are as `is_right` wants them.
    #[track_caller]
    pub fn wait_ports(&self, what: &str, is_right: impl Fn(&[Value]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.try_shunt(&["get", "ports", "-o", "json"]);
            let answer = String::from_utf8_lossy(&output.stdout).into_owned();
            let ports: Option<Vec<Value>> = serde_json::from_str(&answer).ok();
            if ports.is_some_and(|ports| is_right(&ports)) {
                return;
            }
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                Instant::now() < deadline && self.is_running(),
                "{what}: not within {PATIENCE:?}, or the daemon has ended: {answer}{error}"
            );
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Waits until one port is in a state, and gives the port.
    #[track_caller]
    pub fn wait_state(&self, port: &str, state: &str) -> Value {
        self.wait_ports(&format!("port {port} is {state}"), |ports| {
            ports
                .iter()
                .any(|it| it["name"] == port && it["state"] == state)
        });
        self.port(port)
    }

    /// `shunt get WHAT -o json`.
    #[track_caller]
    pub fn get(&self, what: &str) -> Vec<Value> {
        match self.json(&["get", what, "-o", "json"]) {
            Value::Array(elements) => elements,
            other => panic!("{what}: no array: {other}"),
        }
    }

    /// The element of `shunt get ports` with this name.
    #[track_caller]
    pub fn port(&self, name: &str) -> Value {
        let mut ports = self.get("ports").into_iter();
        let port = ports.find(|port| port["name"] == name);
        port.unwrap_or_else(|| panic!("no port {name}"))
    }

    /// Frames that were dropped at a port, by reason; reasons without any are left out, and so is
    /// what an uplink's device counts for the host's stack, which drops what it does not know.
    #[track_caller]
    pub fn drops(&self, port: &str) -> BTreeMap<String, u64> {
        let port = self.port(port);
        let drops = port["drops"].as_object().expect("drops by reason").iter();
        let drops = drops.map(|(reason, count)| (reason.clone(), count.as_u64().expect("count")));
        let of_host = |reason: &str| port["role"] == "uplink" && reason == "device_rx_dropped";
        drops
            .filter(|(reason, count)| *count != 0 && !of_host(reason))
            .collect()
    }

    /// Waits until a port's drops are exactly these.
    #[track_caller]
    pub fn wait_drops(&self, port: &str, expected: &[(&str, u64)]) {
        let own = |(reason, count): &(&str, u64)| ((*reason).to_owned(), *count);
        let expected: BTreeMap<_, _> = expected.iter().map(own).collect();
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let drops = self.drops(port);
            if drops == expected {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "drops of {port}: {drops:?}, not {expected:?}"
            );
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Runs `shunt` with these arguments against the daemon. It must succeed, and print JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.shunt(arguments);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// Runs `shunt` with these arguments against the daemon, and gives what it printed. It must
    /// succeed.
    #[track_caller]
    pub fn shunt(&self, arguments: &[&str]) -> String {
        let output = self.try_shunt(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "shunt {arguments:?}: {}: {error}",
            output.status
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs `shunt` with these arguments against the daemon.
    #[track_caller]
    pub fn try_shunt(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(binary());
        command.arg("--socket").arg(self.socket());
        command.args(arguments).stdin(Stdio::null());
        command.output().expect("run shunt")
    }

    /// Writes another configuration, which the daemon does not look at until it is told to.
    #[track_caller]
    pub fn write_config(&self, config: &str) {
        fs::write(self.config_path(), config).expect("write the configuration");
    }

    /// Writes another configuration and has the daemon take it: `shunt reload` must succeed.
    /// Gives what that printed, as JSON.
    #[track_caller]
    pub fn reload(&self, config: &str) -> Value {
        self.write_config(config);
        self.json(&["reload", "-o", "json"])
    }

    /// Sends a signal, such as [`sys::SIGHUP`].
    #[track_caller]
    pub fn signal(&self, signal: i32) {
        let child = self.child.as_ref().expect("it is running");
        sys::signal(child, signal).expect("signal");
    }

    /// Kills it, as `kill -9` does. What it leaves behind stays for [`spawn_again`].
    ///
    /// [`spawn_again`]: Self::spawn_again
    #[track_caller]
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it is running");
        child.kill().expect("kill");
        let status = child.wait().expect("wait");
        assert_eq!(status.signal(), Some(9), "it had ended before: {status}");
    }

    /// Kills it, or finds that it has ended already.
    #[track_caller]
    pub fn try_kill(&mut self) {
        let mut child = self.child.take().expect("it was started");
        child.kill().expect("kill");
        child.wait().expect("wait");
    }

    /// Ends it by SIGTERM. It must end in time and with exit code 0, and without an error in its
    /// log. Gives the log.
    #[track_caller]
    pub fn stop(&mut self) -> String {
        self.signal(sys::SIGTERM);
        let status = self.wait_end();
        let log = self.log();
        assert!(status.success(), "ended by SIGTERM: {status}");
        assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
        log
    }

    /// Waits until it has ended by itself or by a signal.
    #[track_caller]
    pub fn wait_end(&mut self) -> std::process::ExitStatus {
        let deadline = Instant::now() + END_LIMIT;
        let child = self.child.as_mut().expect("it is running");
        loop {
            if let Some(status) = child.try_wait().expect("wait") {
                self.child = None;
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "the daemon has not ended in {END_LIMIT:?}"
            );
            thread::sleep(LOOK_INTERVAL);
        }
    }

    /// Whether its process is there.
    #[must_use]
    pub fn is_running(&self) -> bool {
        // An ended child stays a zombie until it is waited for.
        let stat = self
            .child
            .as_ref()
            .map(|child| format!("/proc/{}/stat", child.id()));
        let stat = stat.and_then(|path| fs::read_to_string(path).ok());
        stat.is_some_and(|stat| !stat.contains(") Z "))
    }

    /// Its process id, e.g. to read from `/proc`.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it is running").id()
    }

    /// Its control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket.clone()
    }

    /// All that it has written to stdout and stderr.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Its configuration file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("switch.toml")
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("log")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            let running = self.is_running();
            if running {
                for what in ["ports", "counters"] {
                    let output = self.try_shunt(&["--timeout", "2", "get", what]);
                    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
                }
            }
            eprintln!(
                "--- the daemon in {}, which {}, has logged:\n{}---",
                self.namespace,
                if running { "is running" } else { "has ended" },
                self.log()
            );
        }
        if let Some(mut child) = self.child.take() {
            // It may have ended already: then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The `shunt` to be tested: `SHUNT_BIN`, or the one of this workspace and profile, which is built
/// when it is missing or older than its source.
///
/// # Panics
/// When it is not there and cannot be built; with the command.
#[must_use]
pub fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let binary = match std::env::var_os("SHUNT_BIN") {
            Some(path) => PathBuf::from(path),
            None => built(),
        };
        assert!(
            binary.is_file(),
            "SHUNT_BIN: there is no {}",
            binary.display()
        );
        // The daemon is started in other folders.
        binary.canonicalize().expect("path of shunt")
    })
}

fn built() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("workspace");
    // target/PROFILE/deps/all-HASH, where the profile `dev` has the folder `debug`.
    let own = std::env::current_exe().expect("own path");
    let profile_directory = own.ancestors().nth(2).expect("target folder");
    let binary = profile_directory.join("shunt");
    let sources = ["switch-cli", "switch-core", "xdp-ebpf"].map(|name| root.join(name));
    let newest = sources.iter().filter_map(|path| newest(path)).max();
    let built = modified(&binary);
    if built.is_none() || built < newest {
        let profile = match profile_directory.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let mut command = Command::new("cargo");
        command.args(["build", "--package", "switch-cli", "--profile", profile]);
        command
            .arg("--target-dir")
            .arg(profile_directory.parent().expect("target folder"));
        command.current_dir(root);
        let status = command.status();
        assert!(
            status.as_ref().is_ok_and(|status| status.success()),
            "{} is missing or old, and cannot be built ({status:?}): run `cargo build --package \
             switch-cli --profile {profile}`, or set SHUNT_BIN",
            binary.display()
        );
    }
    binary
}

/// When the newest source file below a folder was changed.
fn newest(directory: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(directory).ok()?.flatten();
    let time = |path: PathBuf| match path.is_dir() {
        // Not what a build writes there.
        true if path.ends_with("target") => None,
        true => newest(&path),
        false if path.extension().is_some_and(|end| end == "rs") => modified(&path),
        false => None,
    };
    entries.filter_map(|entry| time(entry.path())).max()
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .ok()
}
