//! The least that an AF_XDP forwarder does: `shunt-bench peer-xsk`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{
    super::bed::{Bed, SWITCH_CORE},
    Running,
};
use crate::compare::{
    process::Process,
    signals::wait_for,
    xsk::{READY, SUBCOMMAND},
};

pub const DESCRIPTION: &str = "a forwarder of our own with xsk-rs (libxdp), AF_XDP in copy mode, \
    one UMEM for both devices, no look at frames and no copy, spins on core 1";

pub const NO_JUMBO: &str = "it moves single descriptors, without multi-buffer, to be the least \
    that a forwarder does";

const PATIENCE: Duration = Duration::from_secs(10);

pub fn set_up(bed: &Bed) -> Result<Running> {
    ensure!(bed.guests.len() == 2, "it has two ends");
    let folder = tempfile::tempdir()?;
    let own = std::env::current_exe()?;
    let own = own.to_str().context("a path in UTF-8")?;
    let mut process = Process::start(&bed.switch, folder.path(), own, |command| {
        command.arg(SUBCOMMAND).args(bed.near_devices());
        command.args(["--core", &SWITCH_CORE.to_string()]);
    })?;
    wait_for("the xsk-rs forwarder runs", PATIENCE, || {
        process.check_running()?;
        Ok(process.output().contains(READY).then_some(()))
    })?;
    Ok(Running {
        processes: vec![process],
        folder: Some(folder),
        ..Running::default()
    })
}
