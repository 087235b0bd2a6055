//! Where a run is made, and what disturbs it.

use std::{fs, path::Path, process::Command, thread::available_parallelism};

use super::{
    measure::tcp,
    peers::{Peer, package_version},
    process::{Away, find_program, output},
};
use crate::report::results::Setting;

/// What the cores do, for all contenders alike.
const PINNING: &str = "core 0: generator, sink and the guests' stacks; core 1: the switching \
    thread. What the kernel does for a frame in the name of a sender (softirq) runs on the sender's \
    core: the bridge alone is steered to core 1 by rps_cpus";

/// Describes the machine and the command.
#[must_use]
pub fn setting(contenders: &[Peer]) -> Setting {
    let command: Vec<String> = std::env::args().skip(1).collect();
    Setting {
        date: tell("date", &["-u", "+%Y-%m-%d"]).unwrap_or_default(),
        commit: commit(),
        command: format!("cargo xtask bench {}", command.join(" ")),
        cpu: field("/proc/cpuinfo", "model name").unwrap_or_default(),
        cores: available_parallelism().map_or(0, std::num::NonZero::get),
        pinning: PINNING.to_owned(),
        memory_mib: memory_mib().unwrap_or_default(),
        kernel: tell("uname", &["-r"]).unwrap_or_default(),
        versions: versions(contenders),
        disturbance: Vec::new(),
    }
}

fn versions(contenders: &[Peer]) -> Vec<(String, String)> {
    let mut versions: Vec<_> = contenders
        .iter()
        .filter_map(|peer| peer.version())
        .collect();
    let others = [
        (
            "Open vSwitch on DPDK",
            package_version("openvswitch-switch-dpdk"),
        ),
        ("iperf3", tcp::version()),
        ("distribution", distribution()),
    ];
    let present = others
        .into_iter()
        .filter_map(|(name, version)| Some((name, version?)));
    versions.extend(present.map(|(name, version)| (name.to_owned(), version)));
    versions.dedup();
    versions
}

/// The commit, with a mark when the tree has changes.
fn commit() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let git = |arguments: &[&str]| {
        let mut command = Command::new(find_program("git")?);
        output(command.arg("-C").arg(root).args(arguments)).ok()
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
    let mark = match changes.as_deref() {
        Some("") => "",
        _ => ", with changes",
    };
    format!("{}{mark}", commit.trim())
}

fn distribution() -> Option<String> {
    let text = fs::read_to_string("/etc/os-release").ok()?;
    let name = text
        .lines()
        .find_map(|it| it.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim_matches('"').to_owned())
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|it| it.strip_prefix(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn memory_mib() -> Option<u64> {
    let text = field("/proc/meminfo", "MemTotal")?;
    let kib: u64 = text.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024)
}

fn tell(program: &str, arguments: &[&str]) -> Option<String> {
    let text = output(Command::new(find_program(program)?).args(arguments)).ok()?;
    Some(text.trim().to_owned())
}

/// What else ran on the machine during a run.
#[derive(Debug)]
pub struct Watch {
    load_before: Option<f64>,
    before: Option<Away>,
    begin: std::time::Instant,
}

impl Watch {
    /// Begins to watch.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            load_before: load(),
            before: Away::now().ok(),
            begin: std::time::Instant::now(),
        }
    }

    /// What there was, in sentences.
    #[must_use]
    pub fn end(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        let cores = available_parallelism().map_or(1, std::num::NonZero::get) as f64;
        if let (Some(before), Ok(now)) = (self.before, Away::now()) {
            let part = now.since(before).stolen.as_secs_f64()
                / (cores * self.begin.elapsed().as_secs_f64()).max(1e-9);
            sentences.push(format!(
                "the hypervisor kept {:.2} % of the cores' time to itself (steal)",
                100.0 * part
            ));
        }
        if let Some(load) = self.load_before.filter(|load| *load > 0.3) {
            sentences.push(format!(
                "the load of the minute before the run was {load:.2}"
            ));
        }
        if cores < 3.0 {
            sentences.push("there is no core for anything but the run".to_owned());
        }
        sentences
    }
}

fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_can_be_described() {
        let setting = setting(&[]);
        assert!(setting.cores > 0 && setting.memory_mib > 0);
        assert!(
            !setting.kernel.is_empty() && setting.date.len() == 10,
            "{setting:?}"
        );
        assert!(!Watch::begin().end().is_empty());
    }
}
