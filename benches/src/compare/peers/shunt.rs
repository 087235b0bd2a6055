//! This project: `shunt run`.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{
    super::bed::{Bed, GUEST_CORE, SWITCH_CORE},
    Running,
};
use crate::compare::{
    process::{Process, output},
    signals::wait_for,
};

pub const ONE: &str = "shunt run, AF_XDP in copy mode, an access port for each guest, one worker \
    on core 1; it sleeps when no frame comes";
pub const TWO: &str = "shunt run as above with two workers on both cores, where it shares core 0 \
    with generator and sink, and two queues a device";

pub const POLL: &str = "shunt run with one worker on core 1 and idle = \"poll\": it never \
    sleeps, as the threads of Open vSwitch and DPDK do not; only its round trips and what it takes \
    are measured";

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

pub fn set_up(bed: &Bed, workers: usize, idle: &str) -> Result<Running> {
    let binary = binary()?;
    let folder = tempfile::tempdir()?;
    let (config, socket) = (
        folder.path().join("switch.toml"),
        folder.path().join("sock"),
    );
    fs::write(&config, config_of(bed, workers, idle))?;
    let program = binary.to_str().context("a path in UTF-8")?;
    let mut process = Process::start(&bed.switch, folder.path(), program, |command| {
        command.args(["run", "--config"]).arg(&config);
        command.arg("--socket").arg(&socket);
    })?;
    wait_for("all ports of shunt are up", PATIENCE, || {
        process.check_running()?;
        let mut command = Command::new(&binary);
        command.arg("--socket").arg(&socket);
        command.args(["get", "ports", "-o", "json"]);
        let Ok(text) = output(&mut command) else {
            return Ok(None);
        };
        let ports: Vec<Value> = serde_json::from_str(&text)?;
        Ok(ports.iter().all(|port| port["state"] == "up").then_some(()))
    })?;
    Ok(Running {
        processes: vec![process],
        _folder: Some(folder),
        ..Running::default()
    })
}

fn config_of(bed: &Bed, workers: usize, idle: &str) -> String {
    let cores = match workers {
        1 => vec![SWITCH_CORE],
        _ => vec![SWITCH_CORE, GUEST_CORE],
    };
    let port = |device: &str| {
        format!("[[port]]\nname = \"{device}\"\ndevice = \"{device}\"\nnetwork = \"bench\"\n")
    };
    let ports: String = bed.near_devices().map(port).collect();
    format!(
        "[switch]\nworkers = {workers}\ncores = {cores:?}\nidle = \"{idle}\"\n\
         [[network]]\nname = \"bench\"\n{ports}"
    )
}
