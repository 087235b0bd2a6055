//! DPDK's example forwarder, `dpdk-testpmd`.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{
    super::bed::{Bed, GUEST_CORE, SWITCH_CORE},
    Running,
};
use crate::compare::{process::Process, signals::wait_for};

pub const DESCRIPTION: &str = "dpdk-testpmd, net_af_xdp, io forwarding (all frames of a port to \
    its partner, no look at addresses), one forwarding core that spins on core 1, no huge pages";

pub const NO_JUMBO: &str = "net_af_xdp knows no multi-buffer (XDP_USE_SG, xdp.frags), so a veth \
    with an MTU of 9000 takes no program of its own";

pub const NEEDS: &[(&str, &str)] = &[
    ("dpdk-testpmd", "dpdk-dev"),
    ("stdbuf", "coreutils"),
    // The driver is a library of its own, which the program loads from here.
    (DRIVER, "librte-net-af-xdp23"),
];
const DRIVER: &str = "/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0/librte_net_af_xdp.so.23.0";

/// Its rings hold some 4096 of them, on either side.
const BUFFERS_A_PORT: usize = 8192;
const PATIENCE: Duration = Duration::from_secs(20);

pub fn set_up(bed: &Bed) -> Result<Running> {
    ensure!(bed.guests.len().is_multiple_of(2), "it forwards in pairs");
    let folder = tempfile::tempdir()?;
    let mut process = Process::start(&bed.switch, folder.path(), "stdbuf", |command| {
        // It becomes testpmd, which would keep what it says to itself otherwise.
        command.args(["-oL", "dpdk-testpmd"]);
        let cores = format!("{GUEST_CORE},{SWITCH_CORE}");
        command.args(["-l", &cores, "--main-lcore", &GUEST_CORE.to_string()]);
        command.args(["--no-huge", "-m", "512", "--no-pci", "--no-telemetry"]);
        // Not below /run, where it would leave things behind.
        command.env("RUNTIME_DIRECTORY", folder.path());
        command.args(["--file-prefix", "bench"]);
        for (number, device) in bed.near_devices().enumerate() {
            command.args(["--vdev", &format!("net_af_xdp{number},iface={device}")]);
        }
        let buffers = BUFFERS_A_PORT * bed.guests.len();
        command.args(["--", "--forward-mode=io"]);
        command.arg(format!("--total-num-mbufs={buffers}"));
        command.args(["--auto-start", "--nb-cores=1"]);
    })?;
    wait_for("testpmd forwards", PATIENCE, || {
        process.check_running()?;
        // It says so when it listens to its standard input, which nobody writes to.
        let ready = process.output().contains("Press enter to exit");
        Ok(ready.then_some(()))
    })?;
    Ok(Running {
        processes: vec![process],
        folder: Some(folder),
        ..Running::default()
    })
}
