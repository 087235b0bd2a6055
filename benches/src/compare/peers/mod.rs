//! The contenders: what each is, how it is set up on a bed, and how it is torn down.

mod bridge;
mod ovs;
pub mod ovs_dpdk;
mod redirect;
mod shunt;
mod testpmd;
mod xsk_rs;

use std::{os::fd::OwnedFd, path::Path, process::Command};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::{
    bed::{Bed, Offloads, Plan},
    plan::Subject,
    process::{Process, find_program, output},
};
use crate::report::results::{Kind, Missing};

/// A contender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// This project, one worker.
    Shunt,
    /// This project, two workers.
    ShuntTwo,
    /// This project, one worker that never sleeps.
    ShuntPoll,
    /// This project, one worker, with policy at each port.
    ShuntPolicy,
    /// The kernel's bridge.
    Bridge,
    /// Open vSwitch's userspace datapath on AF_XDP sockets.
    OvsAfxdp,
    /// DPDK's example forwarder on AF_XDP sockets.
    Testpmd,
    /// The least that an AF_XDP forwarder can do.
    XskRs,
    /// The most that the kernel's XDP path can do.
    Redirect,
}

/// A contender at work. Everything of it ends when this is dropped.
#[derive(Debug, Default)]
pub struct Running {
    /// In the order in which they are ended.
    processes: Vec<Process>,
    /// Programs that are attached to devices of the bed, and go with those.
    programs: Vec<OwnedFd>,
    /// Sockets, logs, configuration; nobody looks there any more, but it goes last.
    folder: Option<TempDir>,
}

impl Peer {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 9] = [
        Self::Shunt,
        Self::ShuntTwo,
        Self::ShuntPoll,
        Self::ShuntPolicy,
        Self::Bridge,
        Self::OvsAfxdp,
        Self::Testpmd,
        Self::XskRs,
        Self::Redirect,
    ];

    /// As results and options name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shunt => "shunt",
            Self::ShuntTwo => "shunt-2",
            Self::ShuntPoll => "shunt-poll",
            Self::ShuntPolicy => "shunt-policy",
            Self::Bridge => "bridge",
            Self::OvsAfxdp => "ovs-afxdp",
            Self::Testpmd => "testpmd",
            Self::XskRs => "xsk-rs",
            Self::Redirect => "redirect",
        }
    }

    /// For whom it stands.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Shunt => Kind::Ours,
            // The report compares one of ours with everybody else.
            Self::ShuntTwo | Self::ShuntPoll | Self::ShuntPolicy => Kind::Variant,
            Self::Bridge | Self::OvsAfxdp | Self::Testpmd => Kind::Peer,
            Self::XskRs => Kind::Floor,
            Self::Redirect => Kind::Limit,
        }
    }

    /// Software and settings, in a sentence.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Shunt => shunt::ONE,
            Self::ShuntTwo => shunt::TWO,
            Self::ShuntPoll => shunt::POLL,
            Self::ShuntPolicy => shunt::POLICY,
            Self::Bridge => bridge::DESCRIPTION,
            Self::OvsAfxdp => ovs::DESCRIPTION,
            Self::Testpmd => testpmd::DESCRIPTION,
            Self::XskRs => xsk_rs::DESCRIPTION,
            Self::Redirect => redirect::DESCRIPTION,
        }
    }

    /// Whether it forwards by learnt addresses; the others send all of a port to its partner.
    #[must_use]
    pub const fn learns(self) -> bool {
        match self {
            Self::Shunt | Self::ShuntTwo | Self::ShuntPoll | Self::ShuntPolicy => true,
            Self::Bridge | Self::OvsAfxdp => true,
            Self::Testpmd | Self::XskRs | Self::Redirect => false,
        }
    }

    /// Whether it takes part in this: what a variant differs in is measured, and not the rest
    /// again.
    #[must_use]
    pub const fn takes_part_in(self, subject: Subject) -> bool {
        match self {
            Self::ShuntPoll => matches!(subject, Subject::RoundTrip | Subject::Idle),
            Self::ShuntPolicy => matches!(subject, Subject::Policy),
            _ => true,
        }
    }

    /// The beds on which TCP is measured apart: where frames stay in the kernel, they can keep the
    /// devices' offloads, and what those do shows only beside a bed where nobody collects or cuts
    /// segments. The others have none anyway.
    #[must_use]
    pub fn tcp_plans(self) -> Vec<Plan> {
        let plan = self.plan(2);
        let kept = Plan {
            offloads: Offloads::Kept,
            ..plan
        };
        let off = Plan {
            offloads: Offloads::Off,
            near_gro: false,
            ..plan
        };
        match self {
            Self::Bridge => vec![kept, off],
            _ => Vec::new(),
        }
    }

    /// Why frames do not fit it which are larger than a page: some contenders know nothing of
    /// frames in several buffers.
    #[must_use]
    pub const fn no_jumbo(self) -> Option<&'static str> {
        match self {
            Self::Shunt | Self::ShuntTwo | Self::ShuntPoll | Self::ShuntPolicy => None,
            Self::Bridge | Self::Redirect => None,
            Self::OvsAfxdp => Some(ovs::NO_JUMBO),
            Self::Testpmd => Some(testpmd::NO_JUMBO),
            Self::XskRs => Some(xsk_rs::NO_JUMBO),
        }
    }

    /// The bed on which it is measured with frames.
    #[must_use]
    pub const fn plan(self, ports: usize) -> Plan {
        Plan {
            ports,
            queues: if matches!(self, Self::ShuntTwo) { 2 } else { 1 },
            mtu: 1500,
            offloads: Offloads::Off,
            near_gro: matches!(self, Self::Bridge),
        }
    }

    /// What is not there of what it needs.
    #[must_use]
    pub fn missing(self) -> Option<Missing> {
        let needs: &[(&str, &str)] = match self {
            Self::Shunt
            | Self::ShuntTwo
            | Self::ShuntPoll
            | Self::ShuntPolicy
            | Self::Bridge
            | Self::XskRs
            | Self::Redirect => &[],
            Self::OvsAfxdp => ovs::NEEDS,
            Self::Testpmd => testpmd::NEEDS,
        };
        missing(self.name(), needs)
    }

    /// Sets it up on a bed, and waits until it says that it is ready.
    ///
    /// # Errors
    /// What it says itself.
    pub fn set_up(self, bed: &Bed) -> Result<Running> {
        match self {
            Self::Shunt => shunt::set_up(bed, 1, "sleep", shunt::Policy::None),
            Self::ShuntTwo => shunt::set_up(bed, 2, "sleep", shunt::Policy::None),
            Self::ShuntPoll => shunt::set_up(bed, 1, "poll", shunt::Policy::None),
            Self::ShuntPolicy => shunt::set_up(bed, 1, "sleep", shunt::Policy::Full),
            Self::Bridge => bridge::set_up(bed),
            Self::OvsAfxdp => ovs::set_up(bed),
            Self::Testpmd => testpmd::set_up(bed),
            Self::XskRs => xsk_rs::set_up(bed),
            Self::Redirect => redirect::set_up(bed),
        }
    }

    /// Name and version of its software.
    #[must_use]
    pub fn version(self) -> Option<(String, String)> {
        let (name, text) = match self {
            Self::Shunt | Self::ShuntTwo | Self::ShuntPoll | Self::ShuntPolicy => {
                let binary = shunt::binary().ok()?;
                let text = output(Command::new(binary).arg("--version")).ok()?;
                ("shunt", last_word(&text)?)
            }
            Self::OvsAfxdp => ("Open vSwitch", version_of("ovs-vswitchd")?),
            Self::Testpmd => ("DPDK", package_version("dpdk-dev")?),
            Self::XskRs => ("xsk-rs", "0.11".to_owned()),
            Self::Bridge | Self::Redirect => return None,
        };
        Some((name.to_owned(), text))
    }
}

impl Running {
    /// Its processes; none when it is in the kernel.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Process::pid).collect()
    }

    /// Goes on while all its processes run.
    ///
    /// # Errors
    /// When one has ended.
    pub fn check(&mut self) -> Result<()> {
        self.processes
            .iter_mut()
            .try_for_each(Process::check_running)
    }

    /// Frames that the last rule of the list has let through, of a `shunt` with policy.
    ///
    /// # Errors
    /// When it is none, or does not answer.
    pub fn hits_of_last_rule(&self) -> Result<u64> {
        let folder = self.folder.as_ref().context("it has no socket")?;
        shunt::hits_of_last_rule(folder.path())
    }

    /// Ends it. What it did to devices goes with the bed.
    ///
    /// # Errors
    /// When a process had to be killed.
    pub fn tear_down(self) -> Result<()> {
        self.processes.into_iter().try_for_each(Process::stop)
    }
}

/// Somebody whose programs are not all there.
#[must_use]
pub fn missing(name: &str, needs: &[(&str, &str)]) -> Option<Missing> {
    let is_there = |program: &str| Path::new(program).is_file() || find_program(program).is_some();
    let absent: Vec<_> = needs.iter().filter(|(it, _)| !is_there(it)).collect();
    let (first, _) = absent.first()?;
    let mut packages: Vec<&str> = absent.iter().map(|(_, package)| *package).collect();
    packages.dedup();
    Some(Missing {
        name: name.to_owned(),
        reason: format!("there is no {first}"),
        remedy: format!("apt-get install {}", packages.join(" ")),
    })
}

/// The last word of what a program says to `--version`, in its first line.
#[must_use]
pub fn version_of(program: &str) -> Option<String> {
    let text = output(Command::new(find_program(program)?).arg("--version")).ok()?;
    last_word(&text)
}

fn last_word(text: &str) -> Option<String> {
    let word = text.lines().next()?.split_whitespace().last()?;
    Some(word.to_owned())
}

/// The version of an installed package, where dpkg knows it.
#[must_use]
pub fn package_version(package: &str) -> Option<String> {
    let mut command = Command::new(find_program("dpkg-query")?);
    command.args(["--show", "--showformat", "${Version}", package]);
    output(&mut command).ok().filter(|it| !it.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_there_is_named_with_the_package() {
        assert_eq!(missing("a", &[("sh", "dash")]), None);
        let found = missing(
            "a",
            &[("sh", "dash"), ("no-such-thing", "b"), ("nor-this", "b")],
        );
        let expected = Missing {
            name: "a".to_owned(),
            reason: "there is no no-such-thing".to_owned(),
            remedy: "apt-get install b".to_owned(),
        };
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn names_are_unlike() {
        let mut names = Peer::ALL.map(Peer::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Peer::ALL.len());
    }
}
