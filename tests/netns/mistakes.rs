//! What a newcomer does wrong, through the command line: all of it is told at once, with line,
//! cause and remedy, and nothing is changed. The snapshots hold the texts; after a change,
//! `INSTA_UPDATE=always cargo test -p shunt-tests` writes them anew, and one reads the difference
//! as a user would.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use shunt_tests::{
    attempts::attempts,
    config::Config,
    daemon::{Daemon, binary},
    flow::Flow,
    world::{World, check_interfaces, interfaces},
};

/// A mistake of each kind, in the order of a file that somebody may write.
const MISTAKES: &str = r#"[switch]
worker = 2

[[network]]
name = "web"
vlan = 4095

[[network]]
name = "web"
vlan = 20

[[network]]
name = "db"
vlan = 30

[[port]]
name = "guest-a"
device = "a"
network = "wbe"

[[port]]
name = "guest-b"
device = "a"
network = "db"

[[port]]
name = "guest-b"
device = "b"
network = "db"
"#;

/// What a command has said, with its exit code, and without what differs from run to run.
fn said(output: &Output, directory: &Path) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code();
    let said = format!(
        "exit code {}\n{}{}",
        code.map_or("none".to_owned(), |code| code.to_string()),
        text(&output.stdout),
        text(&output.stderr)
    );
    said.replace(&directory.display().to_string(), "DIRECTORY")
}

#[track_caller]
fn compare(name: &str, text: &str) {
    insta::with_settings!({
        omit_expression => true,
        prepend_module_to_snapshot => false,
        snapshot_path => "mistakes",
    }, {
        insta::assert_snapshot!(name, text);
    });
}

/// `shunt` in the switch's namespace, with a file and a socket in a folder of its own.
struct Site {
    world: World,
    directory: tempfile::TempDir,
}

impl Site {
    fn new(label: &str, config: &str) -> Self {
        let directory = tempfile::tempdir().expect("temporary folder");
        fs::write(directory.path().join("switch.toml"), config).expect("write");
        // Others may read it.
        let mode = Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), mode).expect("chmod");
        Self {
            world: World::new(label),
            directory,
        }
    }

    /// `PREFIX.. shunt ARGUMENTS..`, where `FILE` is the configuration and `SOCKET` the socket.
    fn shunt(&self, prefix: &[&str], arguments: &[&str]) -> Output {
        let mut words: Vec<&str> = prefix.to_vec();
        let binary = binary().display().to_string();
        words.push(&binary);
        let file = self.path("switch.toml");
        let socket = self.path("run/shunt.sock");
        words.extend(arguments.iter().map(|argument| match *argument {
            "FILE" => &file,
            "SOCKET" => &socket,
            other => other,
        }));
        let mut command: Command = self.world.switch.command("timeout");
        let output = command.arg("20").args(&words).output();
        output.expect("run shunt")
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    fn said(&self, output: &Output) -> String {
        said(output, self.directory.path())
    }
}

const RUN: &[&str] = &["--socket", "SOCKET", "run", "--config", "FILE"];
/// As a user without any privilege.
const NOBODY: &[&str] = &[
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
];

#[test]
fn all_mistakes_of_a_file_at_once() {
    let site = Site::new("mistakes", MISTAKES);
    let _guests = [site.world.guest("a"), site.world.guest("b")];
    let found = interfaces(&site.world.switch);
    let checked = site.said(&site.shunt(&[], &["check", "FILE"]));
    compare("all_at_once", &checked);
    assert_eq!(site.said(&site.shunt(&[], RUN)), checked);
    check_interfaces(&site.world.switch, &found);
    assert!(!Path::new(&site.path("run")).exists(), "nothing was made");
}

#[test]
fn a_file_that_is_not_there() {
    let site = Site::new("nofile", "");
    let missing = site.path("missing.toml");
    for arguments in [
        &["check", &missing][..],
        &["--socket", "SOCKET", "run", "--config", &missing],
    ] {
        let said = site.said(&site.shunt(&[], arguments));
        compare("file_not_there", &said);
    }
}

#[test]
fn without_root() {
    let config = Config::workers(1).private("lab").access("a", "lab");
    let site = Site::new("nobody", &config);
    let _guest = site.world.guest("a");
    let found = interfaces(&site.world.switch);
    compare("run_without_root", &site.said(&site.shunt(NOBODY, RUN)));
    check_interfaces(&site.world.switch, &found);
    assert!(!Path::new(&site.path("run")).exists(), "nothing was made");
    // The mistakes of a file need no root.
    let checked = site.shunt(NOBODY, &["check", "FILE"]);
    assert!(checked.status.success(), "{}", site.said(&checked));
}

#[test]
fn a_client_without_a_daemon_or_without_root() {
    let config = Config::workers(1).private("lab");
    let site = Site::new("client", &config);
    let get = &["--socket", "SOCKET", "get", "ports"];
    compare("no_daemon", &site.said(&site.shunt(&[], get)));

    let mut daemon = site.world.start(&config);
    let folder = daemon.socket();
    let folder = folder.parent().expect("a folder");
    fs::set_permissions(folder, Permissions::from_mode(0o755)).expect("chmod");
    let socket = daemon.socket().display().to_string();
    let output = site.shunt(NOBODY, &["--socket", &socket, "get", "ports"]);
    compare("client_without_root", &said(&output, folder));
    daemon.stop();
}

#[test]
fn a_device_that_is_missing_is_no_mistake_of_the_file() {
    attempts(try_a_device_that_is_missing_is_no_mistake_of_the_file);
}

fn try_a_device_that_is_missing_is_no_mistake_of_the_file() {
    let world = World::new("missing");
    let a = world.guest("a");
    let base = Config::workers(1).private("lab").access("a", "lab");
    let daemon = Daemon::spawn(&world.switch, &base.clone().access("later", "lab"));
    daemon.wait_state("a", "up");
    let port = daemon.wait_state("later", "missing");
    compare("device_missing", &port["reason"].to_string());
    let log = daemon.log();
    let is_told = |line: &str| line.contains("WARN") && line.contains("no interface later");
    assert!(log.lines().any(is_told), "{log}");

    let later = world.guest("later");
    daemon.wait_up();
    let flow = Flow::start(&a, &later, 500);
    std::thread::sleep(std::time::Duration::from_millis(200));
    flow.stop_whole();
}

#[test]
fn a_core_that_is_not_there() {
    let config = Config::switch("workers = 1\ncores = [1023]").private("lab");
    let site = Site::new("core", &config);
    let said = site.said(&site.shunt(&[], RUN));
    assert!(said.starts_with("exit code 1\n"), "{said}");
    assert!(
        said.contains("core 1023") && said.contains("help: "),
        "{said}"
    );
}
