//! Offloads that would corrupt or hide frames, set when a device is attached and restored when it
//! is detached, at both ends of a veth.
//!
//! What is set and why (A is the device that the switch has, B the far end of a veth):
//! - B sends frames whose checksum the kernel has not computed yet, and frames larger than the
//!   MTU, and keeps a VLAN tag beside the frame. XDP on A has no mark for any of these. So on B:
//!   checksums, segmentation by the device and VLAN insertion off. Generic segmentation (GSO)
//!   stays on: the kernel then segments and computes before the frame enters the veth.
//! - B has GRO on, so that frames sent through A reach B's own NAPI instead of B's whole stack
//!   running on the sender's core; and for that A has every TSO feature off
//!   (`veth_skb_is_eligible_for_gro`, drivers/net/veth.c).
//! - On A, GRO off: in generic mode it would merge frames before XDP sees them.
//! - On a NIC: VLAN stripping, VLAN filtering and merging by hardware off, and GRO too in generic
//!   mode.
//! - Behind a tap is a program, whose offloads are its own: it can only be told what to do.
//!
//! Order: [`attach`] before the XDP program is attached, [`detach`] after it is gone, because a
//! veth does not let its far end's segmentation be set while it has a program.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};
use switch_core::config::snapshot::Role;

use super::{
    Namespace, Result, Trying as _, features::Features, links::Link, peer::FarEnd, quiet, state,
};
use crate::sys::ControlSocket;

/// What was changed for the switch, so that exactly this can be restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// Features of the device itself.
    pub near: Vec<Change>,
    /// Features of the far end.
    pub far: Vec<Change>,
    /// What `disable_ipv6` was on the device itself, when it was changed.
    pub disable_ipv6: Option<bool>,
}

/// A feature that was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its name, as in `ethtool -k`.
    pub feature: String,
    /// Whether it was asked for before the change.
    pub was: bool,
}

/// A feature that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The device, named as in its own namespace.
    pub device: String,
    /// The feature's name, as in `ethtool -k`.
    pub feature: String,
    /// What it should be and is not.
    pub wanted: bool,
}

/// What only the user can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// Why it is needed and why the switch cannot do it.
    pub why: String,
    /// The exact command, to be run where the far end is.
    pub command: String,
}

/// What became of the offloads of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// All that differs now from what was found, by this call or earlier ones.
    pub saved: Saved,
    /// The far end's name, when it was reached.
    pub far_end: Option<String>,
    /// What could not be set, or at detach not restored.
    pub refused: Vec<Refused>,
    /// What the user has to do.
    pub advice: Option<Advice>,
}

/// How a device is going to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The port's role.
    pub role: Role,
    /// The XDP program is or will be in generic mode.
    pub generic: bool,
}

/// Sets the offloads of a device and its far end as the switch needs them. What is changed is on
/// disk before it is changed. Calling it again is harmless: it changes what somebody else has
/// changed meanwhile, and keeps on record what was found first, by a killed daemon too.
///
/// # Errors
/// When the record cannot be written, or the device itself cannot be asked or set. What the far
/// end refuses is in the report.
pub async fn attach(
    namespace: &Namespace,
    link: &Link,
    how: Use,
    directory: &Path,
) -> Result<Report> {
    let far = namespace.far_end(link).await;
    let silence = how.role != Role::Uplink && !quiet::has_ipv6(namespace, link.ifindex).await?;
    let namespace = namespace.clone();
    let link = link.clone();
    let directory = directory.to_owned();
    // Features of a NIC can take a second to set.
    blocking(move || attach_now(&namespace, &link, how, silence, &far, &directory)).await
}

fn attach_now(
    namespace: &Namespace,
    link: &Link,
    how: Use,
    silence: bool,
    far: &FarEnd,
    directory: &Path,
) -> Result<Report> {
    let reading = || format!("read the features of {}", link.name);
    let mut report = Report {
        saved: earlier(namespace, link, directory),
        advice: advice(link, far),
        ..Report::default()
    };
    let rule = |feature: &str| near_rule(&link.kind, how.generic, feature);
    let near = Features::read(namespace.control(), &link.name).trying(reading)?;
    let near = Plan::new(near, &rule, &mut report.saved.near);
    let mut far_plan = None;
    if let FarEnd::Reached(reached) = far {
        report.far_end = Some(reached.name.clone());
        match Features::read(reached.control(), &reached.name) {
            Ok(features) => {
                let plan = Plan::new(features, &far_rule, &mut report.saved.far);
                far_plan = Some((plan, reached.name.clone()));
            }
            Err(error) => report.advice = Some(far_refused(&reached.name, &error)),
        }
    }
    let was = silence.then(|| quiet::ipv6_disabled(&link.name)).flatten();
    if was == Some(false) {
        report.saved.disable_ipv6.get_or_insert(false);
    }

    if report.saved != earlier(namespace, link, directory) {
        state::save(directory, namespace, link, &report.saved)?;
    }
    report.refused = near
        .carry_out(&link.name, &rule)
        .trying(|| format!("set the features of {}", link.name))?;
    if let Some((plan, name)) = far_plan {
        match plan.carry_out(&name, &far_rule) {
            Ok(refused) => report.refused.extend(refused),
            Err(error) => report.advice = Some(far_refused(&name, &error)),
        }
    }
    if was == Some(false) {
        quiet::disable_ipv6(&link.name, true).trying(|| format!("silence {}", link.name))?;
    }
    Ok(report)
}

/// Restores what [`attach`] has changed on the device with this index and on its far end, and
/// forgets it. What cannot be restored is in the report, and stays on record. A device that is
/// gone has nothing to restore, and neither has one that was never attached.
///
/// # Errors
/// When the record cannot be read, or the device itself cannot be asked or set.
pub async fn detach(namespace: &Namespace, ifindex: u32, directory: &Path) -> Result<Report> {
    let entry = state::load::<Saved>(directory, namespace, ifindex)?;
    let link = namespace.link_at(ifindex).await?;
    let (Some(entry), Some(link)) = (entry, link) else {
        state::remove(directory, ifindex)?;
        return Ok(Report::default());
    };
    let saved = entry.record;
    let far = match saved.far.is_empty() {
        true => FarEnd::None,
        false => namespace.far_end(&link).await,
    };
    let namespace = namespace.clone();
    let directory = directory.to_owned();
    blocking(move || detach_now(&namespace, &link, saved, &far, &directory)).await
}

fn detach_now(
    namespace: &Namespace,
    link: &Link,
    saved: Saved,
    far: &FarEnd,
    directory: &Path,
) -> Result<Report> {
    let refused = restore(namespace.control(), &link.name, &saved.near)
        .trying(|| format!("restore the features of {}", link.name))?;
    let mut report = Report {
        refused,
        ..Report::default()
    };
    match far {
        FarEnd::None => {}
        FarEnd::Reached(reached) => {
            report.far_end = Some(reached.name.clone());
            match restore(reached.control(), &reached.name, &saved.far) {
                Ok(refused) => report.refused.extend(refused),
                Err(error) => {
                    let why = format!("the far end refuses to be restored: {error}");
                    report.advice = Some(restoring(why, Some(&reached.name), &saved.far));
                }
            }
        }
        FarEnd::Unreachable { name, why } => {
            let why = format!("the far end cannot be restored from here: {why}");
            report.advice = Some(restoring(why, name.as_deref(), &saved.far));
        }
    }
    if let Some(was) = saved.disable_ipv6 {
        quiet::disable_ipv6(&link.name, was)
            .trying(|| format!("give IPv6 back to {}", link.name))?;
    }
    if report.refused.is_empty() && report.advice.is_none() {
        state::remove(directory, link.ifindex)?;
    } else {
        report.saved = saved;
    }
    Ok(report)
}

/// The devices that have something on record: after a start, what an earlier daemon has not
/// restored. Those that are no longer ports are for [`detach`].
#[must_use]
pub fn on_record(namespace: &Namespace, directory: &Path) -> Vec<state::Entry<Saved>> {
    state::list(directory, namespace)
}

/// What is on record for a device. A record that cannot be read is as good as none.
fn earlier(namespace: &Namespace, link: &Link, directory: &Path) -> Saved {
    match state::load::<Saved>(directory, namespace, link.ifindex) {
        Ok(entry) => entry.map(|entry| entry.record).unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, device = link.name, "what was changed before is unknown");
            Saved::default()
        }
    }
}

/// Features of one device that have to change.
struct Plan<'a> {
    features: Features<'a>,
    changes: Vec<(String, bool)>,
}

impl<'a> Plan<'a> {
    /// Compares a device with a rule, and adds what has to change to what was saved before.
    fn new(
        features: Features<'a>,
        rule: &dyn Fn(&str) -> Option<bool>,
        saved: &mut Vec<Change>,
    ) -> Self {
        let mut changes = Vec::new();
        for (name, feature) in features.iter() {
            let Some(on) = rule(name).filter(|on| *on != feature.requested) else {
                continue;
            };
            if feature.available {
                changes.push((name.to_owned(), on));
                if !saved.iter().any(|change| change.feature == name) {
                    saved.push(Change {
                        feature: name.to_owned(),
                        was: feature.requested,
                    });
                }
            }
        }
        Self { features, changes }
    }

    /// Makes the changes, and tells what is still not as the rule wants it.
    fn carry_out(
        mut self,
        device: &str,
        rule: &dyn Fn(&str) -> Option<bool>,
    ) -> io::Result<Vec<Refused>> {
        let changes: Vec<_> = self
            .changes
            .iter()
            .map(|(name, on)| (name.as_str(), *on))
            .collect();
        self.features.set(&changes)?;
        let refused = self.features.iter().filter_map(|(name, feature)| {
            let wanted = rule(name).filter(|on| *on != feature.active)?;
            Some(Refused {
                device: device.to_owned(),
                feature: name.to_owned(),
                wanted,
            })
        });
        Ok(refused.collect())
    }
}

/// Sets features back, and tells which of them cannot be.
fn restore(control: &ControlSocket, device: &str, saved: &[Change]) -> io::Result<Vec<Refused>> {
    if saved.is_empty() {
        return Ok(Vec::new());
    }
    let mut features = Features::read(control, device)?;
    let wanted: Vec<_> = saved
        .iter()
        .map(|change| (change.feature.as_str(), change.was))
        .collect();
    features.set(&wanted)?;
    let refused = wanted.into_iter().filter(|(name, was)| {
        let feature = features.get(name);
        feature.is_some_and(|feature| feature.requested != *was)
    });
    let refused = refused.map(|(name, was)| Refused {
        device: device.to_owned(),
        feature: name.to_owned(),
        wanted: was,
    });
    Ok(refused.collect())
}

/// What a feature has to be on the device itself, if it matters.
fn near_rule(kind: &str, generic: bool, feature: &str) -> Option<bool> {
    let off = match (kind, feature) {
        ("veth" | "tap", "rx-gro") => true,
        ("veth", _) if feature.starts_with("tx-tcp") && feature.ends_with("-segmentation") => true,
        (_, "rx-vlan-hw-parse" | "rx-vlan-stag-hw-parse") => true,
        ("veth" | "tap", _) => false,
        (_, "rx-lro" | "rx-gro-hw" | "rx-vlan-filter" | "rx-vlan-stag-filter") => true,
        (_, "rx-gro") => generic,
        _ => false,
    };
    off.then_some(false)
}

/// What a feature has to be on the far end of a veth, if it matters.
fn far_rule(feature: &str) -> Option<bool> {
    match feature {
        "rx-gro" => Some(true),
        "tx-gso-list" | "tx-vlan-hw-insert" | "tx-vlan-stag-hw-insert" => Some(false),
        "tx-generic-segmentation" => None,
        _ if feature.starts_with("tx-checksum-") => Some(false),
        _ if feature.starts_with("tx-") && feature.ends_with("-segmentation") => Some(false),
        _ => None,
    }
}

fn advice(link: &Link, far: &FarEnd) -> Option<Advice> {
    match far {
        FarEnd::Reached(_) => None,
        FarEnd::Unreachable { name, why } => Some(Advice {
            why: format!(
                "the far end of {} cannot be set from here ({why}), and with its offloads on its \
                 frames have partial checksums and hidden VLAN tags",
                link.name
            ),
            command: guest_command(name.as_deref()),
        }),
        FarEnd::None if link.tap.is_some_and(|tap| tap.vnet_hdr) => Some(Advice {
            why: format!(
                "{} was made with IFF_VNET_HDR, so the guest behind it may leave checksums and \
                 segmentation to others, which the switch is not",
                link.name
            ),
            command: guest_command(None),
        }),
        FarEnd::None => None,
    }
}

fn far_refused(name: &str, error: &io::Error) -> Advice {
    Advice {
        why: format!("the far end, {name}, refuses: {error}"),
        command: guest_command(Some(name)),
    }
}

/// The command that does in a guest what the switch cannot do from outside.
fn guest_command(device: Option<&str>) -> String {
    let device = device.unwrap_or("<dev>");
    format!("ethtool -K {device} tx off tso off gso off txvlan off")
}

fn restoring(why: String, device: Option<&str>, saved: &[Change]) -> Advice {
    let mut command = format!("ethtool -K {}", device.unwrap_or("<dev>"));
    for change in saved {
        let value = if change.was { "on" } else { "off" };
        command.push_str(&format!(" {} {value}", change.feature));
    }
    Advice { why, command }
}

/// Runs a closure that may wait for the kernel where it keeps no other task waiting.
async fn blocking<T: Send + 'static>(
    closure: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(closure).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(io::Error::other(error)).trying(|| "finish the work".into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{
        links::XdpMode,
        testing::{Net, Unshared, in_net},
    };
    use switch_core::port::xdp::program::{self, Program};

    const GUEST: Use = Use {
        role: Role::Guest,
        generic: false,
    };

    #[test]
    fn the_rules_name_what_they_should() {
        let check = |kind, feature, expected| {
            assert_eq!(
                near_rule(kind, false, feature),
                expected,
                "{kind} {feature}"
            );
        };
        check("veth", "tx-tcp-segmentation", Some(false));
        check("veth", "tx-tcp6-segmentation", Some(false));
        check("veth", "tx-checksum-ip-generic", None);
        check("veth", "rx-gro", Some(false));
        check("veth", "rx-lro", None);
        check("tap", "rx-gro", Some(false));
        check("tap", "tx-tcp-segmentation", None);
        check("nic", "rx-vlan-hw-parse", Some(false));
        check("nic", "rx-lro", Some(false));
        check("nic", "rx-gro-hw", Some(false));
        check("nic", "rx-gro", None);
        check("nic", "tx-tcp-segmentation", None);
        assert_eq!(near_rule("nic", true, "rx-gro"), Some(false));

        assert_eq!(far_rule("tx-checksum-sctp"), Some(false));
        assert_eq!(far_rule("tx-udp-segmentation"), Some(false));
        assert_eq!(far_rule("tx-udp_tnl-csum-segmentation"), Some(false));
        assert_eq!(far_rule("tx-generic-segmentation"), None);
        assert_eq!(far_rule("tx-vlan-hw-insert"), Some(false));
        assert_eq!(far_rule("tx-scatter-gather"), None);
        assert_eq!(far_rule("rx-gro"), Some(true));
    }

    /// What a listing of `ethtool -k` says about a feature, without its name.
    fn value<'a>(listing: &'a str, feature: &str) -> &'a str {
        let mut lines = listing.lines().map(str::trim);
        let line = lines.find_map(|line| line.strip_prefix(feature)?.strip_prefix(": "));
        line.unwrap_or_else(|| panic!("no {feature} in {listing}"))
    }

    fn assert_set(near: &str, far: &str) {
        for feature in [
            "tcp-segmentation-offload",
            "rx-vlan-offload",
            "rx-vlan-stag-hw-parse",
        ] {
            assert_eq!(value(near, feature), "off", "{feature}");
        }
        assert_eq!(value(near, "tx-checksumming"), "on");
        for feature in [
            "tx-checksumming",
            "tx-checksum-sctp",
            "tcp-segmentation-offload",
            "tx-tcp6-segmentation",
            "tx-udp-segmentation",
            "tx-gso-list",
            "tx-vlan-offload",
            "tx-vlan-stag-hw-insert",
        ] {
            assert!(value(far, feature).starts_with("off"), "{feature}");
        }
        assert_eq!(value(far, "generic-segmentation-offload"), "on");
        assert_eq!(value(far, "generic-receive-offload"), "on");
    }

    async fn attached(namespace: &Namespace, device: &str, directory: &Path) -> Report {
        let link = namespace.link(device).await.unwrap().unwrap();
        attach(namespace, &link, GUEST, directory).await.unwrap()
    }

    /// Attaches, is "killed", attaches again and detaches, and looks at both ends all the way.
    fn check_both_ends(near: &Net, run_far: &dyn Fn(&str) -> String) {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        near.run("ethtool -K va rx-gro-list on");
        let found = (near.run("ethtool -k va"), run_far("ethtool -k eth7"));
        in_net(near, async |namespace| {
            attached(&namespace, "va", directory).await
        });
        assert_set(&near.run("ethtool -k va"), &run_far("ethtool -k eth7"));
        // Somebody turns something on again, and the device has another name for the next daemon.
        run_far("ethtool -K eth7 tx on");
        near.ip("link set va name vx");
        let ifindex = in_net(near, async |namespace| {
            assert_eq!(on_record(&namespace, directory).len(), 1);
            let report = attached(&namespace, "vx", directory).await;
            assert_eq!((report.refused, report.advice), (vec![], None));
            assert_eq!(report.far_end.as_deref(), Some("eth7"));
            namespace.link("vx").await.unwrap().unwrap().ifindex
        });
        assert_set(&near.run("ethtool -k vx"), &run_far("ethtool -k eth7"));
        in_net(near, async |namespace| {
            let report = detach(&namespace, ifindex, directory).await.unwrap();
            assert_eq!((report.refused, report.advice), (vec![], None));
            assert!(on_record(&namespace, directory).is_empty());
        });
        near.ip("link set vx name va");
        let left = (near.run("ethtool -k va"), run_far("ethtool -k eth7"));
        assert_eq!(left, found);
    }

    #[test]
    fn both_ends_are_set_and_restored_with_a_named_namespace() {
        let (near, far) = (Net::new("near"), Net::new("far"));
        near.ip("link add va type veth peer name eth7");
        near.ip(&format!("link set eth7 netns {}", far.name()));
        near.ip("link set va up");
        far.ip("link set eth7 up");
        check_both_ends(&near, &|command| far.run(command));
    }

    #[test]
    fn both_ends_are_set_and_restored_with_a_namespace_without_a_name() {
        let (near, far) = (Net::new("near"), Unshared::new());
        near.ip("link add va type veth peer name eth7");
        near.ip(&format!("link set eth7 netns {}", far.pid()));
        check_both_ends(&near, &|command| far.run(command));
    }

    #[test]
    fn a_program_on_the_device_delays_what_it_must() {
        let (near, far) = (Net::new("near"), Net::new("far"));
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        near.ip("link add va type veth peer name eth7");
        near.ip(&format!("link set eth7 netns {}", far.name()));
        near.ip("link set va up");
        far.ip("link set eth7 up");
        let listing = || (near.run("ethtool -k va"), far.run("ethtool -k eth7"));
        let found = listing();
        in_net(&near, async |namespace| {
            attached(&namespace, "va", directory).await;
            let link = namespace.link("va").await.unwrap().unwrap();
            let mut program = Program::load(program::Role::Guest).unwrap();
            program.attach(link.ifindex).unwrap();
            let xdp = namespace.link("va").await.unwrap().unwrap().xdp;
            assert_eq!(xdp.unwrap().mode, XdpMode::Native);

            let again = attached(&namespace, "va", directory).await;
            assert_eq!(again.refused, []);
            let (near, far) = listing();
            assert_set(&near, &far);

            // Too early: the veth refuses to have its segmentation back.
            let report = detach(&namespace, link.ifindex, directory).await.unwrap();
            let early = report
                .refused
                .iter()
                .map(|refused| refused.feature.as_str());
            assert!(early.into_iter().any(|name| name == "tx-tcp-segmentation"));
            assert_eq!(on_record(&namespace, directory).len(), 1);

            program.detach();
            let report = detach(&namespace, link.ifindex, directory).await.unwrap();
            assert_eq!((report.refused, report.advice), (vec![], None));
        });
        assert_eq!(listing(), found);
    }

    #[test]
    fn a_silent_device_sends_nothing_and_speaks_again_afterwards() {
        let near = Net::new("silent");
        let directory = tempfile::tempdir().unwrap();
        near.ip("link add va type veth peer name vb");
        near.ip("link set va up");
        near.ip("link set vb up");
        let own = || near.ip("-6 address show dev va");
        assert!(own().contains("fe80:"), "{}", own());
        let ifindex = in_net(&near, async |namespace| {
            let report = attached(&namespace, "va", directory.path()).await;
            assert_eq!(report.saved.disable_ipv6, Some(false));
            namespace.link("va").await.unwrap().unwrap().ifindex
        });
        assert_eq!(own(), "");
        in_net(&near, async |namespace| {
            detach(&namespace, ifindex, directory.path()).await.unwrap();
        });
        assert!(own().contains("fe80:"), "{}", own());
        // An address that somebody gave it would be lost.
        near.ip("-6 address add 2001:db8::1/64 dev va");
        in_net(&near, async |namespace| {
            let report = attached(&namespace, "va", directory.path()).await;
            assert_eq!(report.saved.disable_ipv6, None);
        });
        assert!(own().contains("2001:db8::1"), "{}", own());
    }

    #[test]
    fn what_cannot_be_reached_is_said_with_the_command() {
        let near = Net::new("unreached");
        let far = Unshared::new();
        let directory = tempfile::tempdir().unwrap();
        near.ip("link add va type veth peer name eth7");
        near.ip(&format!("link set eth7 netns {}", far.pid()));
        near.ip("tuntap add tp mode tap vnet_hdr");
        near.ip("tuntap add tq mode tap");
        in_net(&near, async |namespace| {
            let _held = std::fs::File::open(format!("/proc/{}/ns/net", far.pid())).unwrap();
            drop(far);
            for (device, command) in [
                (
                    "va",
                    Some("ethtool -K eth7 tx off tso off gso off txvlan off"),
                ),
                (
                    "tp",
                    Some("ethtool -K <dev> tx off tso off gso off txvlan off"),
                ),
                ("tq", None),
            ] {
                let report = attached(&namespace, device, directory.path()).await;
                let advised = report.advice.map(|advice| advice.command);
                assert_eq!(advised.as_deref(), command, "{device}");
                assert_eq!(report.refused, [], "{device}");
            }
        });
    }

    #[test]
    fn a_device_that_is_gone_leaves_nothing() {
        let near = Net::new("gone");
        let directory = tempfile::tempdir().unwrap();
        near.ip("link add va type veth peer name vb");
        in_net(&near, async |namespace| {
            attached(&namespace, "va", directory.path()).await;
            let ifindex = namespace.link("va").await.unwrap().unwrap().ifindex;
            near.ip("link del va");
            let report = detach(&namespace, ifindex, directory.path()).await.unwrap();
            assert_eq!(report, Report::default());
            assert!(on_record(&namespace, directory.path()).is_empty());
        });
    }
}
