//! One port's hold on its device: offloads, XDP program and sockets, made and given back together.

use std::{
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use switch_core::{
    config::snapshot::Role,
    engine::Pool,
    port::{
        PacketQueue, Queue, XdpQueue,
        group::GroupError,
        xdp::{
            OpenError, QueueCounters, XdpConfig,
            program::{self, HostAddress, Mode, Program, ProgramError},
        },
    },
    wire::ethernet::Mac,
};

use super::{
    claim::{Claim, ClaimError},
    tally::Tally,
};
use crate::device::{
    self, Namespace,
    host::{self, HostPort},
    links::Link,
    offload::{self, Use},
    stats::DeviceCounters,
};

/// How long an attempt waits for a queue that is busy: the kernel frees the queues of a killed
/// daemon a moment after it is gone. Later attempts follow.
const BIND_TIMEOUT: Duration = Duration::from_millis(300);

/// What is to be attached, and with what.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the device is.
    pub namespace: Namespace,
    /// The device; for a port of the host, what it is to be.
    pub target: Target,
    /// The port's role.
    pub role: Role,
    /// How many of its queues to serve, from the first.
    pub queues: usize,
    /// Where the frames come from.
    pub pool: Arc<Pool>,
    /// Where it is kept on record what is changed on devices.
    pub state_dir: PathBuf,
}

/// The device of a plan.
#[derive(Clone, Debug)]
pub enum Target {
    /// It is there.
    Link(Box<Link>),
    /// A veth pair for the host's stack, to be made or adopted. The switch has its far end.
    Host(HostPort),
}

/// Why a device could not be attached. It is then as it was found, as far as that was possible.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Another daemon has it.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// Its settings.
    #[error(transparent)]
    Device(#[from] device::Error),
    /// Its XDP program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Its sockets.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The socket for group frames of an uplink.
    #[error(transparent)]
    Packet(#[from] GroupError),
    /// The attempt died, which is a mistake of ours.
    #[error("attaching failed unexpectedly: {0}; please report it")]
    Internal(String),
}

/// What a port holds of its device. The queues themselves are the workers'.
#[derive(Debug)]
pub struct Attachment {
    /// The device as it was attached.
    pub link: Link,
    /// What the port is.
    role: Role,
    /// Where its program runs.
    pub mode: Mode,
    /// Queues that are served.
    pub queues: usize,
    /// All queues are in zero-copy mode.
    pub zero_copy: bool,
    /// Frames of several buffers are received.
    pub multi_buffer: bool,
    /// What became of its offloads.
    pub offloads: offload::Report,
    /// Somebody may have changed its offloads.
    pub recheck: bool,
    program: Program,
    counters: Vec<Arc<QueueCounters>>,
    /// The device's counters when it was attached.
    baseline: DeviceCounters,
    /// What the device has counted since, as of the last look.
    device: DeviceCounters,
    /// Of that, the most received frames that were seen to be dropped by nobody but the driver.
    driver_rx_dropped: u64,
    /// Given up last, when the device is restored: whoever holds an attachment sees to that.
    claim: Option<Claim>,
}

impl Attachment {
    /// Sets the device's offloads, puts the program on it and opens its queues. The queues have
    /// frames to receive into, and wait for a worker.
    ///
    /// # Errors
    /// What did not work, and what to do.
    pub async fn open(plan: Plan) -> Result<(Self, Vec<Queue>), AttachError> {
        let link = match &plan.target {
            Target::Link(link) => Link::clone(link),
            Target::Host(wanted) => host::ensure(&plan.namespace, wanted).await?.switch,
        };
        let ifindex = link.ifindex;
        let claim = Claim::new(&link.name, ifindex)?;
        match Self::open_link(&plan, link).await {
            Ok((mut attachment, queues)) => {
                attachment.claim = Some(claim);
                Ok((attachment, queues))
            }
            Err(error) => {
                restore(&plan.namespace, ifindex, &plan.state_dir).await;
                Err(error)
            }
        }
    }

    async fn open_link(plan: &Plan, link: Link) -> Result<(Self, Vec<Queue>), AttachError> {
        let mut how = Use {
            role: plan.role,
            generic: false,
        };
        // Before anything is changed: a device with somebody else's program is left alone, its
        // offloads too.
        let ifindex = link.ifindex;
        blocking(move || program::make_room(ifindex)).await??;
        let mut offloads = offload::attach(&plan.namespace, &link, how, &plan.state_dir).await?;
        let host_addresses = match plan.role {
            Role::Uplink => host_addresses(&plan.namespace, link.ifindex).await?,
            Role::Guest | Role::Host => Vec::new(),
        };
        let baseline = plan.namespace.counters(&link).await?.unwrap_or_default();
        let own_plan = plan.clone();
        let opening = blocking(move || Opened::new(&own_plan, ifindex, &host_addresses));
        let opened = opening.await??;
        if opened.mode != Mode::Native {
            how.generic = true;
            offloads = offload::attach(&plan.namespace, &link, how, &plan.state_dir).await?;
        }
        let (mut attachment, queues) = opened.into_attachment(link, plan.role, offloads);
        attachment.baseline = baseline;
        Ok((attachment, queues))
    }

    /// Why the program is not in native mode.
    pub fn mode_reason(&self) -> Option<&str> {
        self.program.fallback_reason()
    }

    /// What was counted outside of the engine.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for counters in &self.counters {
            tally.add_queue(counters);
        }
        // Counters that cannot be read are missing for a moment, and no more.
        if let Ok(outcomes) = self.program.counts() {
            tally.add_outcomes(&outcomes);
        }
        tally.add_device(&DeviceCounters {
            rx_dropped: self.driver_rx_dropped,
            ..self.device
        });
        tally
    }

    /// Looks at the device's own counters.
    pub async fn read_device(&mut self, namespace: &Namespace) {
        // What cannot be read now stays as it was: the device may be gone.
        if let Ok(Some(counters)) = namespace.counters(&self.link).await {
            self.device = counters.since(&self.baseline);
        }
    }

    /// Takes what the sockets did not take off what the device has dropped: a veth counts that
    /// among its own, and it is told more exactly already.
    ///
    /// Call it when the sockets' counters were read after the device's: what was dropped in between
    /// is missing here until the next time, and the count never steps back.
    pub fn settle(&mut self) {
        let by_sockets = |counters: &Arc<QueueCounters>| {
            counters.kernel_rx_dropped.get() + counters.kernel_rx_ring_full.get()
        };
        let told: u64 = match self.link.kind.as_str() {
            "veth" => self.counters.iter().map(by_sockets).sum(),
            _ => 0,
        };
        let dropped = self.device.rx_dropped;
        self.driver_rx_dropped = by_driver(self.driver_rx_dropped, dropped, told);
    }

    /// Looks again which frames of an uplink are the host's.
    ///
    /// # Errors
    /// What the kernel said; the call can be repeated.
    pub async fn renew_host_addresses(&mut self, namespace: &Namespace) -> Result<(), AttachError> {
        let addresses = host_addresses(namespace, self.link.ifindex).await?;
        Ok(self.program.set_host_addresses(&addresses)?)
    }

    /// How the device is used, to set its offloads again.
    pub fn usage(&self) -> Use {
        Use {
            role: self.role,
            generic: self.mode != Mode::Native,
        }
    }

    /// Takes the program off the device, so that no more frames come. Next the queues are closed,
    /// then the device is restored.
    pub fn detach_program(&mut self) {
        self.program.detach();
    }
}

/// The addresses of an uplink's frames that are the host's.
async fn host_addresses(
    namespace: &Namespace,
    ifindex: u32,
) -> Result<Vec<HostAddress>, AttachError> {
    let addresses = namespace.host_addresses(ifindex).await?;
    let address = |(vid, mac): (u16, Mac)| HostAddress {
        // The program looks a station's address up without its VLAN.
        vid: if mac.is_group() { vid } else { 0 },
        mac: mac.0,
    };
    Ok(addresses.into_iter().map(address).collect())
}

/// Restores what was changed on a device, and logs what could not be. A device that is gone has
/// nothing to restore.
pub async fn restore(namespace: &Namespace, ifindex: u32, state_dir: &Path) {
    match offload::detach(namespace, ifindex, state_dir).await {
        Ok(report) => {
            for refused in &report.refused {
                let value = if refused.wanted { "on" } else { "off" };
                let offload::Refused {
                    device, feature, ..
                } = refused;
                tracing::warn!("left on {device}: {feature} is not {value} as it was found");
            }
            if let Some(advice) = report.advice {
                tracing::warn!(
                    "{}; to restore it, run there: {}",
                    advice.why,
                    advice.command
                );
            }
        }
        Err(error) => tracing::warn!(ifindex, "a device is not restored: {error}"),
    }
}

/// Calls a closure on a thread where it may wait.
async fn blocking<T: Send + 'static>(
    closure: impl FnOnce() -> T + Send + 'static,
) -> Result<T, AttachError> {
    let called = tokio::task::spawn_blocking(closure).await;
    called.map_err(|error| AttachError::Internal(error.to_string()))
}

/// What the kernel has given, on a thread that may wait for it.
struct Opened {
    program: Program,
    mode: Mode,
    queues: Vec<XdpQueue>,
    /// On an uplink, what its program leaves to the host's stack and the engine needs too.
    groups: Option<PacketQueue>,
}

impl Opened {
    fn new(plan: &Plan, ifindex: u32, host_addresses: &[HostAddress]) -> Result<Self, AttachError> {
        let is_uplink = plan.role == Role::Uplink;
        let mut program = Program::load(match is_uplink {
            true => program::Role::Uplink,
            false => program::Role::Guest,
        })?;
        program.set_host_addresses(host_addresses)?;
        // The program first: if the device belongs to somebody else, this says to whom.
        let mode = program.attach(ifindex)?;
        let mut queues = Vec::new();
        for number in 0..plan.queues as u32 {
            let config = XdpConfig {
                multi_buffer: program.has_frags(),
                bind_timeout: BIND_TIMEOUT,
                ..XdpConfig::new(ifindex, number)
            };
            let queue = XdpQueue::open(&plan.pool, &config)?;
            program.set_socket(number, queue.fd().as_fd())?;
            queues.push(queue);
        }
        let groups = is_uplink.then(|| PacketQueue::open(&plan.pool, ifindex, true));
        Ok(Self {
            program,
            mode,
            queues,
            groups: groups.transpose()?,
        })
    }

    fn into_attachment(
        self,
        link: Link,
        role: Role,
        offloads: offload::Report,
    ) -> (Attachment, Vec<Queue>) {
        let counters = self.queues.iter().map(XdpQueue::counters);
        let counters = counters.chain(self.groups.iter().map(PacketQueue::counters));
        let attachment = Attachment {
            mode: self.mode,
            queues: self.queues.len(),
            zero_copy: self.queues.iter().all(XdpQueue::zero_copy),
            multi_buffer: self.queues.iter().all(XdpQueue::multi_buffer),
            offloads,
            recheck: false,
            counters: counters.map(Arc::clone).collect(),
            program: self.program,
            role,
            baseline: DeviceCounters::default(),
            device: DeviceCounters::default(),
            driver_rx_dropped: 0,
            claim: None,
            link,
        };
        let queues = self.queues.into_iter().map(Queue::Xdp);
        let queues = queues.chain(self.groups.map(Queue::Group)).collect();
        (attachment, queues)
    }
}

/// Of so many frames that a device has dropped, those that nobody told of; never fewer than were
/// known before.
fn by_driver(known: u64, dropped: u64, told: u64) -> u64 {
    known.max(dropped.saturating_sub(told))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_driver_dropped_never_steps_back() {
        let mut known = 0;
        let mut check = |dropped, told, expected| {
            known = by_driver(known, dropped, told);
            assert_eq!(known, expected, "{dropped} dropped, {told} told");
        };
        check(10, 3, 7);
        // The sockets' counters were read later, and know of frames that the device's do not yet.
        check(10, 9, 7);
        check(8, 9, 7);
        check(20, 9, 11);
    }
}
