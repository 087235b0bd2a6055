//! Open vSwitch: its daemons with a database, sockets and logs of their own.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use shunt_tests::netns::Namespace;
use tempfile::TempDir;

use super::{
    super::bed::{Bed, SWITCH_CORE},
    Running,
};
use crate::compare::{
    process::{Process, find_program, output},
    signals::wait_for,
};

pub const DESCRIPTION: &str = "Open vSwitch, userspace datapath (netdev bridge, action NORMAL), \
    ports of type afxdp, xdp-mode native, one PMD thread that spins on core 1, \
    mac-table-size 1048576";

pub const NO_JUMBO: &str = "its AF_XDP ports know no multi-buffer (XDP_USE_SG, xdp.frags), so a \
    veth with an MTU of 9000 takes no program of theirs";

const PACKAGE: &str = "openvswitch-switch";
pub const NEEDS: &[(&str, &str)] = &[
    ("ovs-vswitchd", PACKAGE),
    ("ovsdb-server", "openvswitch-common"),
    ("ovsdb-tool", "openvswitch-common"),
    ("ovs-vsctl", PACKAGE),
    ("ovs-appctl", "openvswitch-common"),
    (SCHEMA, "openvswitch-common"),
];
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// The bridge.
pub const BRIDGE: &str = "br0";
/// The most that it takes, so that its default of 8192 is not what is measured.
pub const MAC_TABLE_SIZE: &str = "mac-table-size=1048576";

/// Time for each step until it is ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// Both daemons.
#[derive(Debug)]
pub struct Daemons {
    switch: Process,
    database: Process,
    folder: TempDir,
}

impl Daemons {
    /// Starts both in a namespace. `settings` are those of the table `Open_vSwitch` that the
    /// switch finds when it starts; `environment` is for it alone.
    ///
    /// # Errors
    /// What one of them says.
    pub fn start(
        namespace: &Namespace,
        program: &str,
        folder: TempDir,
        settings: &[String],
        environment: &[(&str, &Path)],
    ) -> Result<Self> {
        let at = |name: &str| folder.path().join(name);
        let tool = find_program("ovsdb-tool").context("no ovsdb-tool")?;
        output(
            Command::new(tool)
                .arg("create")
                .arg(at("conf.db"))
                .arg(SCHEMA),
        )?;
        let mut database = Process::start(namespace, folder.path(), "ovsdb-server", |command| {
            command.arg(at("conf.db"));
            command.arg(format!("--remote=punix:{}", at("db.sock").display()));
            arguments(command, folder.path(), "db");
        })?;
        wait_for("ovsdb-server listens", PATIENCE, || {
            database.check_running()?;
            Ok(at("db.sock").exists().then_some(()))
        })?;
        vsctl(folder.path(), &["--no-wait", "init"])?;
        let mut set = vec!["--no-wait", "set", "Open_vSwitch", "."];
        set.extend(settings.iter().map(String::as_str));
        vsctl(folder.path(), &set)?;
        let mut switch = Process::start(namespace, folder.path(), program, |command| {
            command.arg(format!("unix:{}", at("db.sock").display()));
            arguments(command, folder.path(), "switch");
            command.envs(environment.iter().copied());
        })?;
        wait_for("ovs-vswitchd listens", PATIENCE, || {
            switch.check_running()?;
            Ok(at("switch.ctl").exists().then_some(()))
        })?;
        Ok(Self {
            switch,
            database,
            folder,
        })
    }

    /// `ovs-vsctl` with these arguments, to its end.
    ///
    /// # Errors
    /// What it says.
    pub fn vsctl(&self, arguments: &[&str]) -> Result<String> {
        vsctl(self.folder.path(), arguments)
    }

    /// `ovs-appctl` with these arguments, asked of the switch.
    ///
    /// # Errors
    /// What it says.
    pub fn appctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(find_program("ovs-appctl").context("no ovs-appctl")?);
        command.args(["--timeout=20", "-t"]).arg(self.control());
        output(command.args(arguments))
    }

    /// The socket that `ovs-appctl` talks to.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.folder.path().join("switch.ctl")
    }

    /// Goes on if these interfaces have no error.
    ///
    /// # Errors
    /// The error of the first that has one.
    pub fn check_interfaces<'a>(&self, names: impl Iterator<Item = &'a str>) -> Result<()> {
        for name in names {
            let error = self.vsctl(&["get", "interface", name, "error"])?;
            let error = error.trim();
            ensure!(error == "[]", "interface {name}: {error}");
        }
        Ok(())
    }

    /// The switch.
    #[must_use]
    pub fn switch(&self) -> &Process {
        &self.switch
    }

    /// Ends both, the switch first.
    ///
    /// # Errors
    /// When one had to be killed.
    pub fn stop(self) -> Result<()> {
        self.switch.stop()?;
        self.database.stop()
    }
}

/// What both daemons are told: nothing of theirs is at a place that others use.
fn arguments(command: &mut Command, folder: &Path, name: &str) {
    let at = |end: &str| folder.join(format!("{name}.{end}")).display().to_string();
    command.arg(format!("--unixctl={}", at("ctl")));
    command.arg(format!("--pidfile={}", at("pid")));
    command.arg(format!("--log-file={}", at("log")));
    command.arg("-vconsole:warn");
    for variable in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"] {
        command.env(variable, folder);
    }
}

fn vsctl(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(find_program("ovs-vsctl").context("no ovs-vsctl")?);
    let database = folder.join("db.sock");
    command.arg(format!("--db=unix:{}", database.display()));
    command.arg("--timeout=20").args(arguments);
    output(&mut command)
}

/// The bit mask of a core, as Open vSwitch wants it.
#[must_use]
pub fn core_mask(core: usize) -> String {
    format!("0x{:x}", 1_u64 << core)
}

pub fn set_up(bed: &Bed) -> Result<Running> {
    let folder = tempfile::tempdir()?;
    let mask = format!("other_config:pmd-cpu-mask={}", core_mask(SWITCH_CORE));
    let daemons = Daemons::start(&bed.switch, "ovs-vswitchd", folder, &[mask], &[])?;
    let mac_table = format!("other_config:{MAC_TABLE_SIZE}");
    let mut add = vec!["add-br", BRIDGE, "--", "set", "bridge", BRIDGE];
    add.extend(["datapath_type=netdev", &mac_table]);
    for device in bed.near_devices() {
        add.extend(["--", "add-port", BRIDGE, device]);
        add.extend(["--", "set", "interface", device, "type=afxdp"]);
        add.extend(["options:xdp-mode=native", "options:n_rxq=1"]);
    }
    daemons.vsctl(&add)?;
    daemons.check_interfaces(bed.near_devices())?;
    let Daemons {
        switch,
        database,
        folder,
    } = daemons;
    Ok(Running {
        processes: vec![switch, database],
        folder: Some(folder),
        ..Running::default()
    })
}
