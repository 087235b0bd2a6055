//! This project: `shunt run`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use shunt_tests::traffic::{ETHERTYPE, text_of};

use super::{
    super::bed::{Bed, GUEST_CORE, Guest, SWITCH_CORE},
    Running,
};
use crate::{
    compare::{
        process::{Process, output},
        signals::wait_for,
    },
    rules,
    traffic::Shape,
};

pub const ONE: &str = "shunt run, AF_XDP in copy mode, an access port for each guest, one worker \
    on core 1; it sleeps when no frame comes";
pub const TWO: &str = "shunt run as above with two workers on both cores, where it shares core 0 \
    with generator and sink, and two queues a device";

pub const POLL: &str = "shunt run with one worker on core 1 and idle = \"poll\": it never \
    sleeps, as the threads of Open vSwitch and DPDK do not; only its round trips and what it takes \
    are measured";

pub const POLICY: &str = "shunt run as the first, with a list of 1000 rules at each port, of which \
    the last decides about the frames, security = \"strict\" with their addresses, and a policer \
    whose rate they do not reach";

/// What is configured besides ports and a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nothing: the bare switch.
    None,
    /// Rules, security and a policer at each port.
    Full,
}

/// The prefixes of the generator's frames, source and destination, and their destination port.
const GENERATED: (&str, &str, u16) = ("198.18.0.0/16", "198.19.0.0/16", 9);
/// The names of what a port refers to.
const LIST: &str = "rules";
const POLICER: &str = "limit";

/// Time to come up.
const PATIENCE: Duration = Duration::from_secs(10);

/// The `shunt` that is measured: `SHUNT_BIN`, or the one beside this program.
pub fn binary() -> Result<PathBuf> {
    let path = match std::env::var_os("SHUNT_BIN") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("shunt"),
    };
    ensure!(
        path.is_file(),
        "there is no {}: run this by `cargo xtask bench`, which builds it, or set SHUNT_BIN",
        path.display()
    );
    Ok(path.canonicalize()?)
}

pub fn set_up(bed: &Bed, workers: usize, idle: &str, policy: Policy) -> Result<Running> {
    let binary = binary()?;
    let folder = tempfile::tempdir()?;
    let (config, socket) = (folder.path().join("switch.toml"), socket_in(folder.path()));
    fs::write(&config, config_of(bed, workers, idle, policy))?;
    let program = binary.to_str().context("a path in UTF-8")?;
    let mut process = Process::start(&bed.switch, folder.path(), program, |command| {
        command.args(["run", "--config"]).arg(&config);
        command.arg("--socket").arg(&socket);
    })?;
    wait_for("all ports of shunt are up", PATIENCE, || {
        process.check_running()?;
        let Ok(ports) = get(folder.path(), "ports") else {
            return Ok(None);
        };
        Ok(ports.iter().all(|port| port["state"] == "up").then_some(()))
    })?;
    Ok(Running {
        processes: vec![process],
        folder: Some(folder),
        ..Running::default()
    })
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join("sock")
}

/// A list of things, from the daemon whose socket is in a folder.
fn get(folder: &Path, what: &str) -> Result<Vec<Value>> {
    let mut command = Command::new(binary()?);
    command.arg("--socket").arg(socket_in(folder));
    command.args(["get", what, "-o", "json"]);
    Ok(serde_json::from_str(&output(&mut command)?)?)
}

/// Frames that the last rule has let through, of the daemon whose socket is in a folder.
pub fn hits_of_last_rule(folder: &Path) -> Result<u64> {
    let all = get(folder, "acl")?;
    let mut rules = all.iter().filter(|rule| rule["rule"].is_u64());
    let last = rules.next_back().context("no rule at all")?;
    last["frames"].as_u64().context("a number of frames")
}

fn config_of(bed: &Bed, workers: usize, idle: &str, policy: Policy) -> String {
    let cores = match workers {
        1 => vec![SWITCH_CORE],
        _ => vec![SWITCH_CORE, GUEST_CORE],
    };
    let port = |guest: &Guest| {
        let device = &guest.near;
        let port =
            format!("[[port]]\nname = \"{device}\"\ndevice = \"{device}\"\nnetwork = \"bench\"\n");
        match policy {
            Policy::None => port,
            Policy::Full => port + &policy_of(guest),
        }
    };
    let ports: String = bed.guests.iter().map(port).collect();
    let lists = match policy {
        Policy::None => String::new(),
        Policy::Full => lists(),
    };
    format!(
        "[switch]\nworkers = {workers}\ncores = {cores:?}\nidle = \"{idle}\"\n\
         [[network]]\nname = \"bench\"\n{ports}{lists}"
    )
}

/// What a port with policy says besides.
fn policy_of(guest: &Guest) -> String {
    // Either guest may be the one whose frames the generator makes, or the one they go to.
    let Shape {
        source,
        destination,
        ..
    } = Shape::new(60);
    let macs = [source, destination, guest.mac].map(text_of);
    let (from, to, _) = GENERATED;
    format!(
        "security = \"strict\"\nallowed_macs = {macs:?}\n\
         allowed_addresses = [\"{from}\", \"{to}\"]\n\
         acl_from_port = \"{LIST}\"\npolice_from_port = \"{POLICER}\"\n"
    )
}

/// The list of rules and the policer.
fn lists() -> String {
    let (_, destination, port) = GENERATED;
    let list = rules::list(LIST, rules::COUNT, destination, port);
    // The first frames on the path are of no protocol that a list could be about.
    let looks = format!("[[acl.rule]]\naction = \"allow\"\nethertype = {ETHERTYPE}\n");
    let first = list.find("[[acl.rule]]").unwrap_or(list.len());
    let list = format!("{}{looks}{}", &list[..first], &list[first..]);
    format!("[[policer]]\nname = \"{POLICER}\"\nrate = \"100 Gbit/s\"\nburst = \"64 MiB\"\n{list}")
}
