//! Programs, headers and libraries of the distribution.
//!
//! They are looked for by what they provide, so that any distribution will do; they are installed
//! by apt alone.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use super::{found, install, installed, is_root, program, show};

/// What something is needed for. Whoever tests builds too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Building the `shunt` binary.
    Build,
    /// Building the benches, and counting instructions.
    Bench,
    /// Building and running the tests and the demo.
    Test,
}

/// How to see that something is there.
#[derive(Clone, Copy, Debug)]
enum Probe {
    /// A program in `PATH`.
    Program(&'static str),
    /// A header of the compiler's default directories.
    Header(&'static str),
}

/// Something that a package provides.
#[derive(Clone, Copy, Debug)]
struct Need {
    purpose: Purpose,
    probe: Probe,
    /// The package's name in Debian and Ubuntu.
    package: &'static str,
}

const fn need(purpose: Purpose, probe: Probe, package: &'static str) -> Need {
    Need {
        purpose,
        probe,
        package,
    }
}

const NEEDS: &[Need] = &{
    use Probe::{Header, Program};
    use Purpose::{Bench, Build, Test};
    [
        // Linking anything at all.
        need(Build, Program("cc"), "gcc"),
        need(Build, Header("stdio.h"), "libc6-dev"),
        // libxdp and libbpf, which xsk-rs and libbpf-rs compile: the independent peers in tests,
        // whose kit the benches use.
        need(Bench, Program("make"), "make"),
        need(Bench, Program("m4"), "m4"),
        need(Bench, Program("pkg-config"), "pkg-config"),
        need(Bench, Program("clang"), "clang"),
        need(Bench, Program("llc"), "llvm"),
        need(Bench, Header("linux/if_xdp.h"), "linux-libc-dev"),
        need(Bench, Header("libelf.h"), "libelf-dev"),
        need(Bench, Header("zlib.h"), "zlib1g-dev"),
        need(Bench, Header("pcap/pcap.h"), "libpcap-dev"),
        need(Bench, Program("valgrind"), "valgrind"),
        // What tests and demo run.
        need(Test, Program("ip"), "iproute2"),
        need(Test, Program("ping"), "iputils-ping"),
        need(Test, Program("ethtool"), "ethtool"),
        need(Test, Program("iperf3"), "iperf3"),
        need(Test, Program("tcpdump"), "tcpdump"),
        need(Test, Program("sysctl"), "procps"),
        need(Test, Program("curl"), "curl"),
        // The kernel's pktgen, in a guest.
        need(Test, Program("qemu-system-x86_64"), "qemu-system-x86"),
    ]
};

/// Installed if the distribution has it, and not missed otherwise: for looking at programs.
const BPFTOOL: &str = "bpftool";

impl Probe {
    fn is_there(self) -> bool {
        match self {
            Self::Program(name) => program(name).is_some(),
            Self::Header(name) => {
                let triple = format!("/usr/include/{}-linux-gnu", std::env::consts::ARCH);
                let directories = ["/usr/include", &triple, "/usr/local/include"];
                directories
                    .iter()
                    .any(|directory| Path::new(directory).join(name).exists())
            }
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Program(name) | Self::Header(name) => name,
        }
    }
}

/// Finds or installs what is needed for a purpose.
///
/// # Errors
/// When something is missing, and there is no apt or no root to install it.
pub fn provide(purpose: Purpose) -> Result<()> {
    let needs = NEEDS.iter().filter(|need| need.purpose <= purpose);
    let (there, missing): (Vec<Need>, Vec<Need>) = needs.partition(|need| need.probe.is_there());
    let names: Vec<&str> = there.iter().map(|need| need.probe.name()).collect();
    if !names.is_empty() {
        found(&names.join(", "));
    }
    if missing.is_empty() {
        return Ok(());
    }
    apt(missing.iter().map(|need| need.package))?;
    for need in &missing {
        if !need.probe.is_there() {
            bail!(
                "{} is not there even after {} was installed",
                need.probe.name(),
                need.package
            );
        }
        installed(&format!("{} ({})", need.probe.name(), need.package));
    }
    if purpose == Purpose::Test && program(BPFTOOL).is_none() && apt([BPFTOOL]).is_ok() {
        installed(BPFTOOL);
    }
    Ok(())
}

/// What Debian calls the peers of the comparison, which is measured without those that are not
/// there. The daemons that the packages start are not what is measured, and may be off.
const PEERS: &[(Probe, &str)] = &[
    (Probe::Program("ovs-vswitchd"), "openvswitch-switch"),
    (
        Probe::Program("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"),
        "openvswitch-switch-dpdk",
    ),
    (Probe::Program("dpdk-testpmd"), "dpdk-dev"),
    (Probe::Program("iperf3"), "iperf3"),
];
/// The driver that DPDK's forwarder loads for AF_XDP: its package is called after the version.
const AF_XDP_DRIVERS: [&str; 3] = [
    "librte-net-af-xdp23",
    "librte-net-af-xdp24",
    "librte-net-af-xdp25",
];

/// Finds or installs the peers of the comparison.
///
/// # Errors
/// As [`provide`].
pub fn peers() -> Result<()> {
    let (there, missing): (Vec<_>, Vec<_>) = PEERS.iter().partition(|(probe, _)| probe.is_there());
    for (probe, _) in there {
        found(probe.name());
    }
    let missing: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        apt(missing.iter().copied())?;
        installed(&missing.join(", "));
    }
    let Some(driver) = AF_XDP_DRIVERS.into_iter().find(|it| is_available(it)) else {
        bail!("apt knows no driver of DPDK for AF_XDP: {AF_XDP_DRIVERS:?}");
    };
    apt([driver])
}

/// Whether apt knows the package.
pub fn is_available(package: &str) -> bool {
    let mut command = Command::new("apt-cache");
    command.args(["show", "--no-all-versions", package]);
    super::answer(&mut command).is_some_and(|text| !text.is_empty())
}

/// Installs packages by apt.
///
/// # Errors
/// Without apt or root, with the packages' names and the command; or when apt fails.
pub fn apt<'a>(packages: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let packages: Vec<&str> = packages.into_iter().collect();
    let mut command = Command::new("apt-get");
    command
        .args(["install", "--yes", "--no-install-recommends"])
        // Another apt that runs now is waited for, in seconds.
        .args(["-o", "DPkg::Lock::Timeout=300"])
        .args(&packages)
        .env("DEBIAN_FRONTEND", "noninteractive");
    if program("apt-get").is_none() {
        bail!(
            "missing, and there is no apt-get here: what Debian calls {}; install it with the \
             package manager of this distribution",
            packages.join(", ")
        );
    }
    if !is_root() {
        bail!(
            "missing: {}; run: sudo {}",
            packages.join(", "),
            show(&command)
        );
    }
    update_once()?;
    install(&mut command)
}

/// Fetches the lists of packages, the first time in this run.
pub fn update_once() -> Result<()> {
    static UPDATED: std::sync::Once = std::sync::Once::new();
    let mut result = Ok(());
    UPDATED.call_once(|| {
        let mut command = Command::new("apt-get");
        command.args(["update", "-o", "DPkg::Lock::Timeout=300"]);
        result = install(&mut command);
    });
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_find_what_is_there_and_nothing_else() {
        assert!(Probe::Program("sh").is_there());
        assert!(!Probe::Program("no-such-program-anywhere").is_there());
        assert!(!Probe::Header("no/such/header.h").is_there());
    }

    #[test]
    fn each_package_stands_once() {
        let mut packages: Vec<&str> = NEEDS.iter().map(|need| need.package).collect();
        packages.sort_unstable();
        packages.dedup();
        assert_eq!(packages.len(), NEEDS.len());
    }

    #[test]
    fn building_needs_less_than_testing() {
        let count = |purpose| NEEDS.iter().filter(|need| need.purpose <= purpose).count();
        assert!(count(Purpose::Build) < count(Purpose::Bench));
        assert!(count(Purpose::Bench) < count(Purpose::Test));
        assert_eq!(count(Purpose::Test), NEEDS.len());
    }
}
