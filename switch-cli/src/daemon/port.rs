//! One port as the control task sees it: what is wanted, what is there, and the next step.

use std::{
    borrow::Cow,
    time::{Duration, Instant},
};

use switch_core::{
    config::{self, snapshot::Role},
    limits::PortIndex,
};

use super::{attachment::Attachment, settings, tally::Tally};
use crate::{
    api::State,
    device::{host, links::Link},
};

/// Wait after the first attempt that failed; each further one doubles it.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Longest wait between attempts.
const LAST_RETRY: Duration = Duration::from_secs(5);

/// A port and its device.
#[derive(Debug)]
pub struct Port {
    /// What the user wants.
    pub config: config::Port,
    /// Its position in the engine.
    pub index: PortIndex,
    /// How far it is.
    pub phase: Phase,
    /// How it does.
    pub state: State,
    /// What is wrong or noteworthy.
    pub reason: Option<String>,
    /// The device, as it was looked at last; none while there is none.
    pub link: Option<Link>,
    /// What former attachments have counted.
    pub past: Tally,
    failure: Option<Failed>,
}

/// How far a port is.
#[derive(Debug)]
pub enum Phase {
    /// It has no device.
    Idle,
    /// A task is attaching; the number tells its answer from those of earlier ones.
    Attaching(u64),
    /// It has its device.
    Attached(Box<Attachment>),
}

/// An attempt that did not work.
#[derive(Debug)]
struct Failed {
    /// The device; none for one that could not even be made.
    shape: Option<Shape>,
    reason: String,
    attempts: u32,
    next: Instant,
}

/// What may decide whether a device can be attached: another shape is worth another attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shape {
    ifindex: u32,
    admin_up: bool,
    mtu: u32,
    queues: (u32, u32),
    controller: Option<u32>,
}

impl Shape {
    fn of(link: &Link) -> Self {
        Self {
            ifindex: link.ifindex,
            admin_up: link.admin_up,
            mtu: link.mtu,
            queues: (link.rx_queues, link.tx_queues),
            controller: link.controller,
        }
    }
}

/// What is to be done for a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing now.
    Nothing,
    /// Attach the device.
    Attach,
    /// Let go of the device, for this reason; then look again.
    Release(String),
    /// Tell the engine how the device is.
    SetLink {
        /// It can send.
        up: bool,
        /// Longest payload in bytes.
        mtu: u32,
    },
}

impl Port {
    /// A port that has no device yet.
    pub fn new(config: config::Port, index: PortIndex) -> Self {
        Self {
            config,
            index,
            phase: Phase::Idle,
            state: State::Missing,
            reason: None,
            link: None,
            past: Tally::default(),
            failure: None,
        }
    }

    /// The name in the configuration.
    pub fn name(&self) -> &str {
        self.config.name.as_str()
    }

    /// The name of the device that the user knows.
    pub fn device(&self) -> &str {
        self.config.device.as_str()
    }

    /// The name of the device that the switch has: of a port of the host, the far end.
    pub fn own_device(&self) -> Cow<'_, str> {
        match self.config.role {
            config::Role::Host(_) => host::switch_end(self.device()).into(),
            _ => self.device().into(),
        }
    }

    /// What it is to the datapath.
    pub fn role(&self) -> Role {
        match self.config.role {
            config::Role::Guest => Role::Guest,
            config::Role::Uplink => Role::Uplink,
            config::Role::Host(_) => Role::Host,
        }
    }

    /// What it holds of its device.
    pub fn attachment(&self) -> Option<&Attachment> {
        match &self.phase {
            Phase::Attached(attachment) => Some(attachment),
            _ => None,
        }
    }

    /// What was counted outside of the engine since the port was configured.
    pub fn tally(&self) -> Tally {
        let mut tally = self.past.clone();
        if let Some(attachment) = self.attachment() {
            tally.add(&attachment.tally());
        }
        tally
    }

    /// Takes note of the device as it is now, and says what to do. `by_index` finds a device that
    /// may have been renamed.
    pub fn look<'a>(
        &mut self,
        link: Option<&'a Link>,
        by_index: impl Fn(u32) -> Option<&'a Link>,
        now: Instant,
    ) -> Step {
        self.link = link.cloned();
        let step = match &self.phase {
            Phase::Attaching(_) => Step::Nothing,
            Phase::Attached(attachment) => self.keep(attachment, link, by_index),
            Phase::Idle => self.begin(link, now),
        };
        let (state, reason) = self.assess();
        self.note(state, reason);
        step
    }

    fn keep<'a>(
        &self,
        attachment: &Attachment,
        link: Option<&Link>,
        by_index: impl Fn(u32) -> Option<&'a Link>,
    ) -> Step {
        let device = self.device();
        let held = attachment.link.ifindex;
        let Some(link) = link.filter(|link| link.ifindex == held) else {
            let device = self.own_device();
            return Step::Release(match by_index(held) {
                Some(renamed) => format!("{device} was renamed to {}", renamed.name),
                None => format!("{device} is gone"),
            });
        };
        let queues = settings::queues(&self.config, link);
        if queues != attachment.queues {
            let before = attachment.queues;
            return Step::Release(format!("{device} has {queues} queues now, not {before}"));
        }
        if link.controller.is_some() && self.role() != Role::Uplink {
            return Step::Release(format!("{device} was given to a bridge or bond"));
        }
        Step::SetLink {
            up: link.oper_up,
            mtu: link.mtu,
        }
    }

    fn begin(&mut self, link: Option<&Link>, now: Instant) -> Step {
        let shape = link.map(Shape::of);
        let is_made_here = self.role() == Role::Host;
        if shape.is_none() && !is_made_here {
            self.failure = None;
            return Step::Nothing;
        }
        if link.is_some_and(|link| unusable(link, self.role()).is_some()) {
            // It is looked at again when it changes, and not by the clock.
            self.failure = None;
            return Step::Nothing;
        }
        let due = |failure: &Failed| failure.next <= now || failure.shape != shape;
        if self.failure.as_ref().is_none_or(due) {
            Step::Attach
        } else {
            Step::Nothing
        }
    }

    /// The state and its reason.
    fn assess(&self) -> (State, Option<String>) {
        let device = self.device();
        let (Phase::Attached(attachment), Some(link)) = (&self.phase, &self.link) else {
            return self.assess_detached();
        };
        if !link.admin_up {
            let reason = format!("{device} is down: ip link set {device} up");
            (State::Down, Some(reason))
        } else if !link.oper_up {
            let reason = format!("{device} has no carrier: its other end is down or away");
            (State::Down, Some(reason))
        } else {
            (State::Up, notes(attachment))
        }
    }

    fn assess_detached(&self) -> (State, Option<String>) {
        let device = self.device();
        let why = self
            .link
            .as_ref()
            .and_then(|link| unusable(link, self.role()));
        if let Some(why) = why.or_else(|| Some(self.failure.as_ref()?.reason.clone())) {
            (State::Error, Some(why))
        } else if self.link.is_some() || self.role() == Role::Host {
            (State::Down, Some(format!("{device} is being attached")))
        } else {
            let reason = format!(
                "there is no interface {device}; when it appears, the port comes up by itself"
            );
            (State::Missing, Some(reason))
        }
    }

    fn note(&mut self, state: State, reason: Option<String>) {
        if self.state != state || self.reason != reason {
            let (name, device) = (self.name(), self.device());
            let (text, why) = (state.name(), reason.as_deref().unwrap_or(""));
            match state {
                // On the way up.
                State::Down if self.attachment().is_none() => {}
                State::Up | State::Down => tracing::info!(port = name, device, why, "{text}"),
                _ => tracing::warn!(port = name, device, why, "{text}"),
            }
            self.state = state;
            self.reason = reason;
        }
    }

    /// An attempt to attach the device, as it was looked at last, has failed.
    pub fn attempt_failed(&mut self, reason: String, now: Instant) {
        self.phase = Phase::Idle;
        let shape = self.link.as_ref().map(Shape::of);
        let earlier = self.failure.take();
        let attempts = earlier
            .filter(|earlier| earlier.shape == shape)
            .map_or(0, |earlier| earlier.attempts);
        let wait = FIRST_RETRY.saturating_mul(1 << attempts.min(10));
        self.failure = Some(Failed {
            shape,
            reason,
            attempts: attempts + 1,
            next: now + wait.min(LAST_RETRY),
        });
    }

    /// The device is attached.
    pub fn attached(&mut self, attachment: Attachment) {
        self.failure = None;
        self.phase = Phase::Attached(Box::new(attachment));
    }

    /// Gives the attachment back, if there is one; what it has counted is kept.
    pub fn release(&mut self) -> Option<Attachment> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Attached(attachment) => {
                self.past.add(&attachment.tally());
                Some(*attachment)
            }
            Phase::Attaching(_) | Phase::Idle => None,
        }
    }

    /// When to look again although nothing has happened.
    pub fn retry_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Idle => self.failure.as_ref().map(|failure| failure.next),
            _ => None,
        }
    }
}

/// Why a device is not even tried.
fn unusable(link: &Link, role: Role) -> Option<String> {
    let name = &link.name;
    // The host may bridge what an uplink leaves to it.
    if link.controller.is_some() && role != Role::Uplink {
        return Some(format!(
            "{name} belongs to a bridge or bond: ip link set {name} nomaster"
        ));
    }
    match link.kind.as_str() {
        "tun" => Some(format!(
            "{name} is a tun, without Ethernet: make a tap instead"
        )),
        "loopback" => Some(format!("{name} is a loopback interface")),
        _ => None,
    }
}

/// What the user should know about a port that is up.
fn notes(attachment: &Attachment) -> Option<String> {
    let offloads = &attachment.offloads;
    let mut notes = Vec::new();
    if let Some(advice) = &offloads.advice {
        notes.push(format!("{}; run there: {}", advice.why, advice.command));
    }
    for refused in &offloads.refused {
        let value = if refused.wanted { "on" } else { "off" };
        notes.push(format!(
            "{} cannot be set {value} on {}",
            refused.feature, refused.device
        ));
    }
    (!notes.is_empty()).then(|| notes.join("; "))
}

#[cfg(test)]
mod tests {
    use switch_core::wire::ethernet::Mac;

    use super::*;

    fn port(role: &str) -> Port {
        let more = if role == "host" { "" } else { "queues = 4" };
        let text = format!(
            "[[network]]\nname = \"n\"\nvlan = 2\n[[port]]\nname = \"p\"\ndevice = \"d0\"\n\
             role = \"{role}\"\nnetwork = \"n\"\n{more}"
        );
        let config = config::parse("test", &text).unwrap();
        Port::new(config.ports[0].clone(), PortIndex::new(0))
    }

    fn link() -> Link {
        Link {
            ifindex: 7,
            name: "d0".into(),
            kind: "veth".into(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            admin_up: true,
            carrier: true,
            oper_up: true,
            rx_queues: 2,
            tx_queues: 2,
            peer: None,
            lower: None,
            controller: None,
            vlan: None,
            tap: None,
            alias: None,
            xdp: None,
        }
    }

    fn look(port: &mut Port, link: Option<&Link>, now: Instant) -> Step {
        port.look(link, |_| None, now)
    }

    #[test]
    fn a_device_is_attached_when_it_appears() {
        let now = Instant::now();
        let mut port = port("guest");
        assert_eq!(look(&mut port, None, now), Step::Nothing);
        assert_eq!(port.state, State::Missing);
        assert_eq!(look(&mut port, Some(&link()), now), Step::Attach);
        port.phase = Phase::Attaching(1);
        assert_eq!(look(&mut port, Some(&link()), now), Step::Nothing);
    }

    #[test]
    fn a_host_port_makes_its_device() {
        let mut port = port("host");
        assert_eq!(port.own_device(), "d0-sw");
        assert_eq!(look(&mut port, None, Instant::now()), Step::Attach);
        assert_eq!(port.state, State::Down);
    }

    #[test]
    fn a_failure_is_tried_again_ever_more_slowly_or_when_the_device_changes() {
        let begin = Instant::now();
        let mut port = port("guest");
        let mut link = link();
        look(&mut port, Some(&link), begin);
        let mut waits = Vec::new();
        for _ in 0..10 {
            port.attempt_failed("busy".into(), begin);
            waits.push(port.retry_at().unwrap() - begin);
        }
        assert_eq!(waits[..3], [100, 200, 400].map(Duration::from_millis));
        assert_eq!(*waits.last().unwrap(), LAST_RETRY);

        assert_eq!(look(&mut port, Some(&link), begin), Step::Nothing);
        assert_eq!(
            (port.state, port.reason.as_deref()),
            (State::Error, Some("busy"))
        );
        assert_eq!(
            look(&mut port, Some(&link), begin + LAST_RETRY),
            Step::Attach
        );
        link.mtu = 9000;
        assert_eq!(look(&mut port, Some(&link), begin), Step::Attach);
    }

    #[test]
    fn what_cannot_be_a_port_says_why() {
        let check = |role: &str, change: fn(&mut Link), usable: bool| {
            let (mut port, mut link) = (port(role), link());
            change(&mut link);
            let step = look(&mut port, Some(&link), Instant::now());
            assert_eq!(step == Step::Attach, usable, "{role} {link:?}");
            assert_eq!(port.state == State::Error, !usable);
        };
        check("guest", |_| {}, true);
        check("guest", |link| link.admin_up = false, true);
        check("guest", |link| link.kind = "tun".into(), false);
        check("guest", |link| link.kind = "loopback".into(), false);
        check("guest", |link| link.controller = Some(3), false);
        check("uplink", |link| link.controller = Some(3), true);
    }
}
