//! Brings ports and devices together: what the configuration wants, and what there is.
//!
//! Attaching waits for the kernel, so each attempt is a task of its own that reports back; all
//! else is quick and done in place. Whatever happens, the next look compares everything anew, so
//! no order of events leads to another end than the devices' state.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use switch_core::{
    config,
    engine::{Engine, EngineError},
    limits::{CHUNKS_PER_QUEUE, PortIndex},
    port::Queue,
};
use tokio::sync::{Semaphore, mpsc};

use super::{
    attachment::{AttachError, Attachment, Plan, Target, restore},
    port::{Phase, Port, Step},
    settings,
    switch::Switch,
};
use crate::{
    device::{
        self, Namespace,
        host::{self, HostPort},
        links::Link,
        offload,
    },
    sys,
};

/// Longest payload of the interfaces that are made for the host's stack.
const HOST_MTU: u32 = 1500;
/// How long the end of the daemon waits for attempts that are under way.
const PATIENCE: Duration = Duration::from_secs(5);

/// Attempts to attach that run at once.
const AT_ONCE: usize = 2;

/// The devices, by index.
pub type Links = BTreeMap<u32, Link>;

/// What a task reports back.
pub enum Answer {
    /// An attempt to attach has ended.
    Attach {
        /// Which one.
        attempt: u64,
        /// The port's name.
        port: String,
        /// What came of it.
        result: Box<Result<(Attachment, Vec<Queue>), AttachError>>,
    },
    /// The offloads of a device were set again.
    Offloads {
        /// The device.
        ifindex: u32,
        /// What came of it.
        report: device::Result<offload::Report>,
    },
}

/// What attaching needs beside the switch itself.
pub struct Reconciler {
    pub(super) namespace: Namespace,
    pub(super) state_dir: PathBuf,
    answers: mpsc::UnboundedSender<Answer>,
    attempts: u64,
    /// Tasks that have not reported back.
    under_way: usize,
    /// Bounds the attempts that run at once: each reads the kernel's types, some 30 MiB of them.
    turns: Arc<Semaphore>,
    /// What the host receives on uplinks may be different now.
    pub(super) host_addresses_stale: bool,
}

impl Reconciler {
    /// A reconciler, and the answers of its attempts.
    pub fn new(
        namespace: Namespace,
        state_dir: PathBuf,
    ) -> (Self, mpsc::UnboundedReceiver<Answer>) {
        let (answers, receiver) = mpsc::unbounded_channel();
        let reconciler = Self {
            namespace,
            state_dir,
            answers,
            attempts: 0,
            under_way: 0,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            host_addresses_stale: false,
        };
        (reconciler, receiver)
    }

    /// Restores what a killed daemon has left on devices that are no ports any more.
    pub async fn clean_up(&self, config: &config::Config) {
        for entry in offload::on_record(&self.namespace, &self.state_dir) {
            let link = self.namespace.link_at(entry.ifindex).await.ok().flatten();
            let is_port = link.is_some_and(|link| {
                config
                    .ports
                    .iter()
                    .any(|port| port.device.as_str() == link.name)
            });
            if !is_port {
                tracing::info!(
                    device = entry.device,
                    "restoring what a killed daemon has left"
                );
                restore(&self.namespace, entry.ifindex, &self.state_dir).await;
            }
        }
        match host::existing(&self.namespace).await {
            Ok(names) => {
                for name in names.iter().filter(|name| !is_host_port(config, name)) {
                    self.remove_host_device(name).await;
                }
            }
            Err(error) => tracing::warn!("cannot look for interfaces that were left: {error}"),
        }
    }

    /// Looks at every port once, and takes the next step for each.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub async fn reconcile(
        &mut self,
        switch: &mut Switch,
        links: &Links,
    ) -> Result<(), EngineError> {
        let names: HashMap<&str, &Link> = links
            .values()
            .map(|link| (link.name.as_str(), link))
            .collect();
        let now = Instant::now();
        for position in 0..switch.ports.len() {
            let port = &mut switch.ports[position];
            let link = names.get(&*port.own_device()).copied();
            let mut step = port.look(link, |index| links.get(&index), now);
            if let Step::Release(why) = step {
                tracing::info!(port = port.name(), "detaching: {why}");
                let (index, attachment) = (port.index, port.release());
                if let Some(attachment) = attachment {
                    self.let_go(&mut switch.engine, index, attachment).await?;
                }
                step = switch.ports[position].look(link, |index| links.get(&index), now);
            }
            match step {
                Step::Attach => self.attach(switch, position),
                Step::SetLink { up, mtu } => {
                    let index = switch.ports[position].index;
                    switch.engine.set_link(index, up, mtu)?;
                }
                Step::Nothing | Step::Release(_) => {}
            }
        }
        self.renew_host_addresses(switch).await;
        Ok(())
    }

    /// Starts an attempt to attach a port.
    fn attach(&mut self, switch: &mut Switch, position: usize) {
        let port = &mut switch.ports[position];
        let (target, queues) = match (&port.config.role, &port.link) {
            (config::Role::Host(interface), _) => {
                let wanted = host_port(port, interface);
                let queues = wanted.queues as usize;
                (Target::Host(wanted), queues)
            }
            (_, Some(link)) => {
                let queues = settings::queues(&port.config, link);
                (Target::Link(Box::new(link.clone())), queues)
            }
            (_, None) => return,
        };
        let plan = Plan {
            namespace: self.namespace.clone(),
            target,
            role: port.role(),
            queues,
            pool: Arc::clone(switch.engine.pool()),
            state_dir: self.state_dir.clone(),
        };
        self.attempts += 1;
        port.phase = Phase::Attaching(self.attempts);
        let (attempt, name) = (self.attempts, port.name().to_owned());
        let turns = Arc::clone(&self.turns);
        self.answer_later(async move {
            let _turn = turns.acquire_owned().await;
            // In a task of its own: an attempt that dies reports that, too.
            let opened = tokio::spawn(Attachment::open(plan)).await;
            let internal = |error: tokio::task::JoinError| AttachError::Internal(error.to_string());
            Answer::Attach {
                attempt,
                port: name,
                result: Box::new(opened.map_err(internal).and_then(|opened| opened)),
            }
        });
    }

    /// Lets a task work out an answer.
    pub(super) fn answer_later(&mut self, task: impl Future<Output = Answer> + Send + 'static) {
        self.under_way += 1;
        let answers = self.answers.clone();
        tokio::spawn(async move {
            let answer = task.await;
            // Without a receiver the daemon has given up waiting.
            let _ = answers.send(answer);
        });
    }

    /// Takes the answer of a task.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub async fn take(&mut self, switch: &mut Switch, answer: Answer) -> Result<(), EngineError> {
        self.under_way -= 1;
        if self.under_way == 0 {
            sys::release_freed_memory();
        }
        match answer {
            Answer::Attach {
                attempt,
                port,
                result,
            } => self.finish(switch, attempt, &port, *result).await,
            Answer::Offloads { ifindex, report } => {
                self.rechecked(switch, ifindex, report).await;
                Ok(())
            }
        }
    }

    /// Ends an attempt: gives the queues to the workers, or everything back.
    async fn finish(
        &mut self,
        switch: &mut Switch,
        attempt: u64,
        name: &str,
        result: Result<(Attachment, Vec<Queue>), AttachError>,
    ) -> Result<(), EngineError> {
        let awaits = |port: &&mut Port| matches!(port.phase, Phase::Attaching(it) if it == attempt);
        let port = switch.ports.iter_mut().find(awaits);
        match (port, result) {
            (Some(port), Ok((attachment, queues))) => {
                let mtu = attachment.link.mtu;
                report(port, &attachment);
                port.attached(attachment);
                switch.engine.attach(port.index, queues, mtu)?;
                warn_of_few_frames(switch);
                Ok(())
            }
            (Some(port), Err(error)) => {
                port.attempt_failed(error.to_string(), Instant::now());
                Ok(())
            }
            // The port is gone, or wants another device by now.
            (None, Ok((mut attachment, queues))) => {
                attachment.detach_program();
                for queue in queues {
                    queue.close(switch.engine.cache());
                }
                restore(&self.namespace, attachment.link.ifindex, &self.state_dir).await;
                if !is_host_port(&switch.config, name) {
                    self.remove_host_device(name).await;
                }
                Ok(())
            }
            (None, Err(_)) => Ok(()),
        }
    }

    /// Lets go of a device: the program first, then the queues, then the device is restored.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub async fn let_go(
        &self,
        engine: &mut Engine,
        port: PortIndex,
        mut attachment: Attachment,
    ) -> Result<(), EngineError> {
        attachment.detach_program();
        engine.detach(port)?;
        restore(&self.namespace, attachment.link.ifindex, &self.state_dir).await;
        Ok(())
    }

    /// Removes the interface that was made for a port of the host.
    pub async fn remove_host_device(&self, port: &str) {
        if let Err(error) = host::remove(&self.namespace, port).await {
            tracing::warn!(port, "the interface for the host is left: {error}");
        }
    }

    /// Lets go of everything: all programs, then all queues, then all devices are restored.
    ///
    /// # Errors
    /// When a worker does not answer; the devices are restored all the same.
    pub async fn end(
        &mut self,
        switch: &mut Switch,
        answers: &mut mpsc::UnboundedReceiver<Answer>,
    ) -> Result<(), EngineError> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut result = Ok(());
        while self.under_way > 0 {
            match tokio::time::timeout_at(deadline, answers.recv()).await {
                Ok(Some(answer)) => result = result.and(self.take(switch, answer).await),
                _ => {
                    tracing::warn!("a device is still being attached: it may be left as it is");
                    break;
                }
            }
        }
        let mut held = Vec::new();
        for port in &mut switch.ports {
            if let Some(mut attachment) = port.release() {
                attachment.detach_program();
                held.push((port.index, attachment));
            }
        }
        for (index, _) in &held {
            // A worker that does not answer once never will: it is waited for only once.
            if result.is_ok() {
                result = switch.engine.detach(*index);
            }
        }
        for (_, attachment) in &held {
            restore(&self.namespace, attachment.link.ifindex, &self.state_dir).await;
        }
        for port in &switch.config.ports {
            if matches!(port.role, config::Role::Host(_)) {
                self.remove_host_device(port.name.as_str()).await;
            }
        }
        result
    }
}

fn is_host_port(config: &config::Config, name: &str) -> bool {
    let port = config.port(name);
    port.is_some_and(|port| matches!(port.role, config::Role::Host(_)))
}

fn host_port(port: &Port, interface: &config::HostInterface) -> HostPort {
    let addresses = interface.addresses.iter();
    HostPort {
        port: port.name().to_owned(),
        device: port.device().to_owned(),
        mac: interface.mac,
        mtu: HOST_MTU,
        queues: port.config.queues.map_or(1, |queues| queues.get() as u32),
        addresses: addresses
            .map(|prefix| (prefix.address(), prefix.length()))
            .collect(),
    }
}

/// Logs how a device was attached.
fn report(port: &Port, attachment: &Attachment) {
    let Attachment {
        mode,
        queues,
        zero_copy,
        offloads,
        ..
    } = attachment;
    let changed = offloads.saved.near.len() + offloads.saved.far.len();
    tracing::info!(
        port = port.name(),
        device = port.device(),
        %mode,
        queues,
        zero_copy,
        offloads_changed = changed,
        "attached"
    );
    if let Some(reason) = attachment.mode_reason() {
        tracing::info!(port = port.name(), "not in native mode: {reason}");
    }
}

/// Says so when there are more queues than the region has frames for.
fn warn_of_few_frames(switch: &Switch) {
    let attached = switch.ports.iter().filter_map(Port::attachment);
    let queues: usize = attached.map(|attachment| attachment.queues).sum();
    let engine = &switch.engine;
    let chunks = engine.region().chunks();
    if queues * CHUNKS_PER_QUEUE > chunks {
        let wanted = switch_core::limits::chunks_needed(engine.workers(), queues);
        tracing::warn!(
            queues,
            chunks,
            "frames may be dropped for want of memory: set `frames = {wanted}` in [switch], or \
             leave it out, and restart"
        );
    }
}
