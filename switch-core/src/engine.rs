//! The engine as its user sees it: workers, the queues they serve, and the rules they follow.
//!
//! [`Engine`] is the control thread's end. It gives orders to workers and waits for the answers,
//! so that when a call returns, every worker does what was asked for. The workers run on threads
//! of their own ([`Engine::start`]), or turn by turn under a test that also owns the time
//! ([`Engine::manual`]); it is the same code.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, OnceLock},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    clock::{Clock, Tick},
    config::snapshot::{Link, Ruleset, Snapshot},
    counters::{HitTotals, PortTotals, WorkerCounters},
    handoff::Handoff,
    idle::{Idle, Policy, Wait},
    limits::{
        FLOWS_PER_WORKER, MAX_HITS, MAX_NETWORKS, MAX_PORTS, MAX_WORKERS, NetworkIndex, PortIndex,
        WorkerIndex,
    },
    mem::{FrameCache, Region},
    port::{
        Queue,
        core::{make_timers_exact, pin_current_thread, put_current_thread_first},
    },
    publish::{Answer, Mailboxes, Order},
    table::{fdb::Fdb, flow::FlowTable},
    worker::{Shared, Turn, Worker},
};

mod dry_run;
mod flows;
mod recent;

// What the engine's functions take and give, for users who know the library by this module.
pub use crate::{
    counters::recent::RecentDrop,
    datapath::dry_run::{
        Destination, DryRun, Outcome, Policed, PolicerMet, RuleMet, Source, Stage, Way,
    },
    mem::{HugePages, Pool},
    qos::{
        classes::{Class, ClassSource},
        meter::{Colour, MeterRates},
        policer::{Metered, Policer},
        queues::PortQueues,
        scheduler::Service,
        storm::{Kind as StormKind, Storm, StormRate},
    },
    table::{
        fdb::{AddStaticError, Entry, Filter, Flapping, Kind},
        flow::Events as FlowEvents,
    },
};
pub use dry_run::dry_run_of;
pub use flows::FlowRecord;

/// Longest sleep of a worker: then it reads the kernel's counters.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Sleep of a worker while the pool has too few frames for its fill rings.
const STARVED_SLEEP: Duration = Duration::from_millis(100);
/// Sleep of a worker while the kernel cannot send what is in a TX ring.
const PENDING_SLEEP: Duration = Duration::from_millis(1);
/// A worker answers between two bursts, so within microseconds; after this it never will.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// What an engine is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// For each worker, the core that it is bound to, if any.
    pub cores: Vec<Option<usize>>,
    /// Chunks of the region; see [`crate::limits::chunks_needed`].
    pub chunks: usize,
    /// Whether the region is made of huge pages.
    pub huge_pages: HugePages,
    /// Places in the forwarding database.
    pub fdb_capacity: usize,
    /// The secret that spreads addresses over the forwarding database.
    pub hash_key: [u64; 2],
    /// What workers do that have threads of their own, as long as no frame comes.
    pub idle: Policy,
}

/// Why the engine does not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// There is not enough memory for the frames.
    #[error("cannot map {bytes} bytes for frames: {source}; lower `frames`, or reserve huge pages")]
    Region {
        /// Bytes that were asked for.
        bytes: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// Descriptors or threads ran out.
    #[error("cannot start a worker: {0}")]
    Start(#[source] io::Error),
    /// A worker has died or hangs.
    #[error("worker {0} does not answer; restart the daemon")]
    Unresponsive(WorkerIndex),
}

/// What was there when an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Census {
    /// Chunks of the region.
    pub chunks: usize,
    /// Chunks that came back to the pool.
    pub free: usize,
}

impl Census {
    /// Whether every chunk came back.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.chunks == self.free
    }
}

/// Who runs the workers.
#[derive(Debug)]
enum Drive {
    Threads(Vec<JoinHandle<Worker>>, Clock),
    Manual(Vec<Worker>, Duration),
}

/// The control thread's end of the engine.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    drive: Drive,
    rules: Arc<Ruleset>,
    links: Vec<Link>,
    /// Queues that each worker serves.
    load: Vec<usize>,
    /// By port, the worker of each of its queues.
    owners: Vec<Vec<WorkerIndex>>,
    /// By port, the workers of those of its queues that transmit.
    senders: Vec<Vec<WorkerIndex>>,
    generation: u64,
    policy_generation: u64,
    flow_capacity: usize,
    hash_key: [u64; 2],
    /// By port, what stood in the counters when the port was added.
    baselines: Vec<PortTotals>,
    /// By port, when it was added, in nanoseconds since the start.
    added_ns: Vec<u64>,
    /// By network, the frames that were flooded when the network was added.
    flooded_before: Vec<u64>,
    /// By counter of hits, what stood in it when its rule was added.
    hits_before: Vec<HitTotals>,
    cache: FrameCache,
    precedence: io::Result<()>,
}

impl Engine {
    /// An engine whose workers run on threads of their own.
    ///
    /// # Errors
    /// When memory, descriptors or threads run out, or a core cannot be used.
    pub fn start(options: &Options) -> Result<Self, EngineError> {
        let (shared, workers) = build(options)?;
        let clock = Clock::start();
        let mut threads = Vec::new();
        let mut precedence = Ok(());
        for (index, (worker, core)) in workers.into_iter().zip(&options.cores).enumerate() {
            let (core, policy) = (*core, options.idle);
            let (ready, is_ready) = std::sync::mpsc::channel();
            let body = move || {
                let pinned = core.map_or(Ok(()), pin_current_thread);
                let _ = ready.send(pinned.map(|()| put_first(policy)));
                make_timers_exact();
                run(worker, index, clock, policy)
            };
            let name = format!("worker-{index}");
            let thread = thread::Builder::new().name(name).spawn(body);
            threads.push(thread.map_err(EngineError::Start)?);
            match is_ready.recv() {
                Ok(Ok(comes_first)) => precedence = precedence.and(comes_first),
                Ok(Err(error)) => {
                    let mut engine =
                        Self::over(shared, Drive::Threads(threads, clock), options.hash_key);
                    engine.end_workers();
                    let text = format!("core {}: {error}", core.unwrap_or_default());
                    return Err(EngineError::Start(io::Error::new(error.kind(), text)));
                }
                // It died, which the first look at the workers tells.
                Err(_) => {}
            }
        }
        let mut engine = Self::over(shared, Drive::Threads(threads, clock), options.hash_key);
        engine.precedence = precedence;
        Ok(engine)
    }

    /// Whether the workers may run before other threads; what the kernel said if not. Without that,
    /// frames are lost whenever something else has a worker's core for longer than its rings last.
    ///
    /// # Errors
    /// EPERM without `CAP_SYS_NICE`.
    pub fn precedence(&self) -> Result<(), &io::Error> {
        self.precedence.as_ref().copied()
    }

    /// An engine whose workers run when [`Engine::turn`] is called, at the time that it is told.
    ///
    /// # Errors
    /// When memory or descriptors run out.
    pub fn manual(options: &Options) -> Result<Self, EngineError> {
        let (shared, workers) = build(options)?;
        Ok(Self::over(
            shared,
            Drive::Manual(workers, Duration::ZERO),
            options.hash_key,
        ))
    }

    fn over(shared: Arc<Shared>, drive: Drive, hash_key: [u64; 2]) -> Self {
        Self {
            cache: FrameCache::new(Arc::clone(&shared.pool)),
            load: vec![0; shared.counters.len()],
            shared,
            drive,
            rules: Arc::default(),
            links: vec![Link::default(); MAX_PORTS],
            owners: vec![Vec::new(); MAX_PORTS],
            senders: vec![Vec::new(); MAX_PORTS],
            generation: 0,
            policy_generation: 0,
            flow_capacity: FLOWS_PER_WORKER,
            hash_key,
            baselines: vec![PortTotals::default(); MAX_PORTS],
            added_ns: vec![0; MAX_PORTS],
            flooded_before: vec![0; MAX_NETWORKS],
            precedence: Ok(()),
            hits_before: vec![HitTotals::default(); MAX_HITS],
        }
    }

    /// Sets the time of a manual engine; a threaded one has its own.
    pub fn set_now(&mut self, now: Tick) {
        self.set_elapsed(Duration::from_secs(u64::from(now.0)));
    }

    /// Sets the time of a manual engine to so long after its start.
    pub fn set_elapsed(&mut self, elapsed: Duration) {
        if let Drive::Manual(_, time) = &mut self.drive {
            *time = elapsed;
        }
    }

    /// The time that frames are forwarded at.
    #[must_use]
    pub fn now(&self) -> Tick {
        match &self.drive {
            Drive::Threads(_, clock) => clock.tick(),
            Drive::Manual(_, now) => Tick::after(*now),
        }
    }

    /// Lets every worker of a manual engine do one turn, in their order; gives the number of
    /// frames that they had.
    pub fn turn(&mut self) -> usize {
        match &mut self.drive {
            Drive::Threads(..) => 0,
            Drive::Manual(workers, now) => {
                let turn = |worker: &mut Worker| worker.turn(*now).frames;
                let frames = workers.iter_mut().map(turn).sum();
                if frames == 0 {
                    // A thread would sleep now.
                    let settle = |worker: &mut Worker| worker.settle(Tick::after(*now));
                    workers.iter_mut().for_each(settle);
                }
                frames
            }
        }
    }

    /// The number of workers.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.shared.counters.len()
    }

    /// The forwarding database.
    #[must_use]
    pub fn fdb(&self) -> &Fdb {
        &self.shared.fdb
    }

    /// The memory that all frames are in, to register with sockets.
    #[must_use]
    pub fn region(&self) -> &Arc<Region> {
        self.shared.pool.region()
    }

    /// The free frames, to open queues with.
    #[must_use]
    pub fn pool(&self) -> &Arc<Pool> {
        &self.shared.pool
    }

    /// A cache of free frames for the control thread: to fill the rings of a queue that is to be
    /// attached.
    pub fn cache(&mut self) -> &mut FrameCache {
        &mut self.cache
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Arc<Ruleset> {
        &self.rules
    }

    /// The link of a port, as it was published.
    #[must_use]
    pub fn link(&self, port: PortIndex) -> &Link {
        &self.links[port.get()]
    }

    /// The worker of each queue of a port.
    #[must_use]
    pub fn owners(&self, port: PortIndex) -> &[WorkerIndex] {
        &self.owners[port.get()]
    }

    /// The counters of each worker.
    #[must_use]
    pub fn counters(&self) -> &[WorkerCounters] {
        &self.shared.counters
    }

    /// What was done for a port since it was added.
    #[must_use]
    pub fn port_totals(&self, port: PortIndex) -> PortTotals {
        let totals = PortTotals::sum(&self.shared.counters, port);
        totals.since(&self.baselines[port.get()])
    }

    /// Frames of a network that went to all its ports, since the network was added.
    #[must_use]
    pub fn flooded(&self, network: NetworkIndex) -> u64 {
        self.flooded_ever(network) - self.flooded_before[network.get()]
    }

    fn flooded_ever(&self, network: NetworkIndex) -> u64 {
        self.shared
            .counters
            .iter()
            .map(|worker| worker.flooded(network).get())
            .sum()
    }

    /// What met the rule with this counter, since the rule was added.
    ///
    /// # Panics
    /// When there is no such counter.
    #[must_use]
    pub fn hits(&self, hit: u32) -> HitTotals {
        let before = self.hits_before[hit as usize];
        HitTotals::sum(&self.shared.counters, hit).since(before)
    }

    /// Puts rules into force. Frames on ports that stay are not disturbed; a port that is gone
    /// is detached and its addresses are forgotten, as are those of networks that are gone.
    ///
    /// An index that becomes free by this call may be given to another name by the next.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn apply(&mut self, mut rules: Ruleset) -> Result<(), EngineError> {
        let before = Arc::clone(&self.rules);
        for port in port_indices(&before).filter(|port| rules.port(*port).is_none()) {
            self.detach(port)?;
        }
        for port in port_indices(&rules).filter(|port| before.port(*port).is_none()) {
            self.baselines[port.get()] = PortTotals::sum(&self.shared.counters, port);
            self.added_ns[port.get()] = self.elapsed().as_nanos() as u64;
        }
        let networks = (0..rules.networks.len()).map(NetworkIndex::new);
        for network in networks.filter(|network| before.network(*network).is_none()) {
            self.flooded_before[network.get()] = self.flooded_ever(network);
        }
        rules.keep_policers(&before);
        let had: HashSet<u32> = before.hits.iter().flatten().copied().collect();
        for hit in rules.hits.iter().flatten().filter(|hit| !had.contains(hit)) {
            self.hits_before[*hit as usize] = HitTotals::sum(&self.shared.counters, *hit);
        }
        self.rules = Arc::new(rules);
        self.policy_generation += 1;
        self.make_room_for_flows();
        self.shared.fdb.set_ageing(self.rules.ageing_s);
        for port in port_indices(&self.rules) {
            if !self.owners[port.get()].is_empty() {
                self.links[port.get()].served_by = self.servers(port);
            }
        }
        self.publish()?;
        if self.rules.flaps.is_none() {
            self.shared.fdb.forget_moves();
        }
        self.forget_what_left(&before);
        Ok(())
    }

    /// How many flows each worker keeps; 0: none. It counts from when there is policy, and later
    /// calls change nothing.
    pub fn set_flow_capacity(&mut self, flows: usize) {
        self.flow_capacity = flows;
    }

    /// Gives each worker its flow table, when it needs one for the first time.
    fn make_room_for_flows(&self) {
        if self.rules.policy.is_none() || self.flow_capacity == 0 {
            return;
        }
        for table in &self.shared.flows {
            table.get_or_init(|| FlowTable::new(self.flow_capacity, self.hash_key));
        }
    }

    /// Brings the forwarding database in line with the rules: the static entries that they have
    /// and had, and all entries of ports, networks and memberships that are no more, since their
    /// indices may soon mean something else.
    fn forget_what_left(&self, before: &Ruleset) {
        use crate::config::snapshot::EgressTag::NotMember;
        let fdb = &self.shared.fdb;
        for entry in before.static_entries.iter() {
            if !self.rules.static_entries.contains(entry) {
                fdb.remove(entry.network, entry.mac);
            }
        }
        let member = |rules: &Ruleset, port, network| {
            let port = rules.port(port);
            port.is_some_and(|port| port.egress(network) != NotMember)
        };
        let after = &self.rules;
        fdb.flush_where(|network, port| {
            let network_gone =
                before.network(network).is_some() && after.network(network).is_none();
            let port_gone = before.port(port).is_some() && after.port(port).is_none();
            let left = member(before, port, network) && !member(after, port, network);
            network_gone || port_gone || left
        });
        for entry in self.rules.static_entries.iter() {
            // What the file says takes the place of what somebody has added by hand.
            if fdb
                .add_static(entry.network, entry.mac, entry.port)
                .is_err()
            {
                fdb.remove(entry.network, entry.mac);
                // Now no room can only mean that these buckets are full of other static entries.
                let _ = fdb.add_static(entry.network, entry.mac, entry.port);
            }
        }
    }

    /// Lets workers serve the queues of a port's device, and the port take part.
    ///
    /// # Errors
    /// When a worker does not answer.
    ///
    /// # Panics
    /// When the port is attached already, or has no queue.
    pub fn attach(
        &mut self,
        port: PortIndex,
        queues: Vec<Queue>,
        mtu: u32,
    ) -> Result<(), EngineError> {
        assert!(
            self.owners[port.get()].is_empty(),
            "a port is attached once"
        );
        let first = self.least_loaded();
        let mut senders = Vec::new();
        for (position, queue) in queues.into_iter().enumerate() {
            // A queue that only receives stays with the first worker.
            let shift = if queue.can_transmit() { position } else { 0 };
            let worker = WorkerIndex::new((first + shift) % self.workers());
            if queue.can_transmit() {
                senders.push(worker);
            }
            self.owners[port.get()].push(worker);
            self.load[worker.get()] += 1;
            self.order(worker, Order::Attach(port, Box::new(queue)))?;
        }
        assert!(!senders.is_empty(), "a port has a queue to send by");
        self.senders[port.get()] = senders;
        let served_by = self.servers(port);
        self.links[port.get()] = Link {
            up: true,
            mtu,
            served_by,
        };
        self.publish()
    }

    /// For each worker, the one that transmits for it by a port: itself, where it has a queue; of a
    /// port where frames wait in queues, the same one for all.
    fn servers(&self, port: PortIndex) -> Box<[WorkerIndex]> {
        let senders = &self.senders[port.get()];
        let has_queues = self.rules.qos.queues(port).is_some();
        let all = (0..self.workers()).map(WorkerIndex::new);
        let server = |worker: WorkerIndex| match senders.as_slice() {
            [] => worker,
            [first, ..] if has_queues => *first,
            senders if senders.contains(&worker) => worker,
            senders => senders[worker.get() % senders.len()],
        };
        all.map(server).collect()
    }

    fn least_loaded(&self) -> usize {
        (0..self.workers())
            .min_by_key(|worker| self.load[*worker])
            .unwrap_or(0)
    }

    /// Takes a port's queues from their workers and gives all its frames back; nobody sends to
    /// it any more and its dynamic addresses are forgotten. Nothing happens to a port that is not
    /// attached.
    ///
    /// Take the XDP program off the device first, or frames run into the closing sockets.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn detach(&mut self, port: PortIndex) -> Result<(), EngineError> {
        if self.owners[port.get()].is_empty() {
            return Ok(());
        }
        self.links[port.get()] = Link::default();
        self.publish()?;
        for worker in (0..self.workers()).map(WorkerIndex::new) {
            self.order(worker, Order::Detach(port))?;
            let mut queues = Vec::new();
            self.wait(worker, |answer| match answer {
                Answer::Detached(queue) => {
                    queues.push(queue);
                    false
                }
                Answer::DetachedAll => true,
                Answer::Adopted(_) | Answer::Refreshed => false,
            })?;
            self.load[worker.get()] -= queues.len();
            for queue in queues {
                queue.close(&mut self.cache);
            }
        }
        self.owners[port.get()].clear();
        self.flush_dynamic(port);
        Ok(())
    }

    /// Publishes that the device of an attached port went up or down, or has another MTU. The
    /// dynamic addresses behind a port that goes down are forgotten.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn set_link(&mut self, port: PortIndex, up: bool, mtu: u32) -> Result<(), EngineError> {
        let link = &mut self.links[port.get()];
        if self.owners[port.get()].is_empty() || (link.up == up && link.mtu == mtu) {
            return Ok(());
        }
        link.up = up;
        link.mtu = mtu;
        self.publish()?;
        if !up {
            self.flush_dynamic(port);
        }
        Ok(())
    }

    fn flush_dynamic(&self, port: PortIndex) {
        let filter = Filter {
            port: Some(port),
            ..Filter::default()
        };
        self.shared.fdb.flush(&filter);
    }

    /// Forgets addresses that were not seen for the ageing time; for the control thread, every
    /// second or so. Gives their number.
    pub fn age(&self) -> usize {
        self.shared.fdb.age(self.now())
    }

    /// Brings what the kernel counts for the queues up to date, which workers otherwise do once a
    /// second.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn refresh_statistics(&mut self) -> Result<(), EngineError> {
        let all = (0..self.workers()).map(WorkerIndex::new);
        for worker in all.clone() {
            self.order(worker, Order::Refresh)?;
        }
        for worker in all {
            self.wait(worker, |answer| matches!(answer, Answer::Refreshed))?;
        }
        Ok(())
    }

    /// Ends the workers and gives every frame back.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub fn stop(mut self) -> Result<Census, EngineError> {
        for worker in self.end_workers() {
            worker.finish();
        }
        self.cache.flush();
        let pool = &self.shared.pool;
        Ok(Census {
            chunks: pool.region().chunks(),
            free: pool.free_chunks(),
        })
    }

    /// Ends all workers before the first is taken apart, since they hand frames to each other.
    fn end_workers(&mut self) -> Vec<Worker> {
        let clock = Clock::start();
        match std::mem::replace(&mut self.drive, Drive::Threads(Vec::new(), clock)) {
            Drive::Manual(workers, _) => workers,
            Drive::Threads(threads, _) => {
                for index in 0..threads.len() {
                    // A full letter box belongs to a worker that is dead: joining it says so.
                    let _ = self
                        .shared
                        .mailboxes
                        .of(WorkerIndex::new(index))
                        .order(Order::Stop);
                }
                threads
                    .into_iter()
                    .filter_map(|thread| thread.join().ok())
                    .collect()
            }
        }
    }

    /// Publishes rules and links, and waits until every worker reads them.
    fn publish(&mut self) -> Result<(), EngineError> {
        self.generation += 1;
        let snapshot = Arc::new(Snapshot {
            generation: self.generation,
            policy_generation: self.policy_generation,
            rules: Arc::clone(&self.rules),
            links: self.links.as_slice().into(),
        });
        let all = (0..self.workers()).map(WorkerIndex::new);
        for worker in all.clone() {
            self.order(worker, Order::Adopt(Arc::clone(&snapshot)))?;
        }
        for worker in all {
            self.wait(worker, |answer| match answer {
                Answer::Adopted(before) => {
                    drop(before);
                    true
                }
                Answer::Detached(_) | Answer::DetachedAll | Answer::Refreshed => false,
            })?;
        }
        Ok(())
    }

    fn order(&self, worker: WorkerIndex, order: Order) -> Result<(), EngineError> {
        let mailbox = self.shared.mailboxes.of(worker);
        mailbox
            .order(order)
            .map_err(|_| EngineError::Unresponsive(worker))
    }

    /// Reads a worker's answers until one of them is the awaited.
    fn wait(
        &mut self,
        worker: WorkerIndex,
        mut is_awaited: impl FnMut(Answer) -> bool,
    ) -> Result<(), EngineError> {
        let begun = Instant::now();
        loop {
            while let Some(answer) = self.shared.mailboxes.of(worker).next_answer() {
                if is_awaited(answer) {
                    return Ok(());
                }
            }
            match &mut self.drive {
                Drive::Manual(workers, now) => {
                    workers[worker.get()].turn(*now);
                }
                Drive::Threads(..) if begun.elapsed() > ANSWER_DEADLINE => {
                    return Err(EngineError::Unresponsive(worker));
                }
                Drive::Threads(..) => thread::sleep(Duration::from_micros(20)),
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for worker in self.end_workers() {
            worker.finish();
        }
    }
}

fn port_indices(rules: &Ruleset) -> impl Iterator<Item = PortIndex> + '_ {
    let present = rules
        .ports
        .iter()
        .enumerate()
        .filter(|(_, port)| port.is_some());
    present.map(|(index, _)| PortIndex::new(index))
}

fn build(options: &Options) -> Result<(Arc<Shared>, Vec<Worker>), EngineError> {
    let workers = options.cores.len();
    assert!(
        (1..=MAX_WORKERS).contains(&workers),
        "the number of workers is in its limits"
    );
    let bytes = options.chunks.saturating_mul(crate::limits::CHUNK_SIZE);
    let region = Region::new(options.chunks, options.huge_pages)
        .map_err(|source| EngineError::Region { bytes, source })?;
    let shared = Arc::new(Shared {
        fdb: Fdb::new(options.fdb_capacity, options.hash_key),
        pool: Pool::new(Arc::new(region)),
        counters: (0..workers).map(|_| WorkerCounters::default()).collect(),
        mailboxes: Mailboxes::new(workers).map_err(EngineError::Start)?,
        flows: (0..workers).map(|_| OnceLock::new()).collect(),
    });
    let ends = Handoff::mesh(workers).into_iter().enumerate();
    let workers = ends
        .map(|(index, handoff)| Worker::new(WorkerIndex::new(index), Arc::clone(&shared), handoff))
        .collect();
    Ok((shared, workers))
}

/// Lets a worker's thread run before others. Not one that always runs: the kernel's own threads of
/// that core, which attaching a port waits for, would hardly run at all.
fn put_first(policy: Policy) -> io::Result<()> {
    match policy {
        Policy::Sleep => put_current_thread_first(),
        Policy::Poll => Ok(()),
    }
}

/// A worker's thread: turn after turn, and asleep when there is nothing to do.
fn run(mut worker: Worker, index: usize, clock: Clock, policy: Policy) -> Worker {
    let shared = Arc::clone(worker.shared());
    let counters = &shared.counters[index];
    let mut now = clock.elapsed();
    let mut idle = Idle::new(policy, now);
    loop {
        let turn = worker.turn(now);
        if turn.stopped {
            return worker;
        }
        let before = now;
        now = clock.elapsed();
        if turn.frames > 0 {
            idle.worked(now);
            counters.busy_ns.add((now - before).as_nanos() as u64);
            continue;
        }
        match idle.wait(now, longest_sleep(&turn, now)) {
            Wait::Look => std::hint::spin_loop(),
            Wait::Sleep(longest) => {
                let woken = worker.sleep(longest);
                now = clock.elapsed();
                if woken {
                    idle.woken(now);
                }
            }
        }
        counters.idle_ns.add((now - before).as_nanos() as u64);
    }
}

/// How long a worker may sleep after a turn that found nothing to do: not past the next tick, so
/// that what the kernel has counted is known within a second, nor past the time of a frame that
/// waits in a queue.
fn longest_sleep(turn: &Turn, now: Duration) -> Duration {
    let to_next_tick = Duration::from_nanos(1_000_000_000 - u64::from(now.subsec_nanos()));
    let longest = match turn {
        Turn { pending: true, .. } => PENDING_SLEEP,
        Turn { starved: true, .. } => STARVED_SLEEP,
        _ => LONGEST_SLEEP,
    };
    let longest = longest.min(to_next_tick);
    // Frames wait for their time: no longer than until then.
    turn.wake
        .map_or(longest, |wake| longest.min(wake.saturating_sub(now)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::snapshot::{EgressTag, Member, NetworkRules, PortRules, Role, StaticEntry, VidMap},
        counters::DropReason,
        port::{SimQueue, SimWire},
        wire::{
            ethernet::Mac,
            vlan::{Tpid, Vid},
        },
    };

    const A: [u8; 6] = [2, 0, 0, 0, 0, 0xa];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 0xb];
    const ALL: [u8; 6] = [0xff; 6];

    /// Ports 0 and 1 are access ports of a network, port 2 is a trunk with it as VLAN 20.
    fn rules() -> Ruleset {
        let vid = Vid::new(20).expect("a VID");
        let mut vids = VidMap::new();
        vids.set(vid, NetworkIndex::new(0));
        let port = |name: &str, tag: EgressTag| {
            let access = tag == EgressTag::Untagged;
            Some(PortRules {
                name: name.into(),
                role: if access { Role::Guest } else { Role::Uplink },
                isolated: false,
                tpid: Tpid::Customer,
                mac_limit: None,
                untagged: access.then_some(NetworkIndex::new(0)),
                tagged: (!access).then(|| vids.clone()),
                egress: [tag].into(),
            })
        };
        let tags = [
            EgressTag::Untagged,
            EgressTag::Untagged,
            EgressTag::Tagged(vid),
        ];
        let members = tags.iter().enumerate().map(|(index, tag)| Member {
            port: PortIndex::new(index),
            tag: *tag,
            uplink: index == 2,
            isolated: false,
        });
        Ruleset {
            forward_reserved: false,
            ageing_s: 300,
            ports: ["a", "b", "up"]
                .iter()
                .zip(tags)
                .map(|(name, tag)| port(name, tag))
                .collect(),
            networks: [Some(NetworkRules {
                name: "web".into(),
                vid: Some(vid),
                members: members.collect(),
            })]
            .into(),
            static_entries: [].into(),
            ..Ruleset::default()
        }
    }

    fn engine(workers: usize) -> (Engine, Vec<SimWire>) {
        let options = Options {
            cores: vec![None; workers],
            chunks: 4096,
            huge_pages: HugePages::No,
            fdb_capacity: 1024,
            hash_key: [1, 2],
            idle: Default::default(),
        };
        let mut engine = Engine::manual(&options).expect("an engine");
        engine.apply(rules()).expect("rules");
        let wires: Vec<_> = (0..3).map(|_| SimWire::new()).collect();
        for (index, wire) in wires.iter().enumerate() {
            let queues = vec![Queue::Sim(SimQueue::new(wire.clone()))];
            engine
                .attach(PortIndex::new(index), queues, 1500)
                .expect("attached");
        }
        (engine, wires)
    }

    fn settle(engine: &mut Engine) {
        while engine.turn() > 0 {}
    }

    #[test]
    fn frames_are_flooded_learnt_and_tagged_with_any_number_of_workers() {
        for workers in 1..=3 {
            let (mut engine, wires) = engine(workers);
            let untagged = [&ALL[..], &A, &[8, 6], &[7; 46]].concat();
            let tagged = [&ALL[..], &A, &[0x81, 0, 0, 20, 8, 6], &[7; 46]].concat();
            wires[0].send(&untagged);
            settle(&mut engine);
            assert_eq!(wires[0].receive(), None);
            assert_eq!(wires[1].receive(), Some(untagged));
            assert_eq!(wires[2].receive(), Some(tagged));

            let answer = [&A[..], &B, &[0x81, 0, 0xa0, 20, 8, 6], &[9; 46]].concat();
            let popped = [&A[..], &B, &[8, 6], &[9; 46]].concat();
            wires[2].send(&answer);
            settle(&mut engine);
            assert_eq!(wires[0].receive(), Some(popped));
            assert_eq!(wires[1].receive(), None, "the address was learnt");
            assert!(engine.stop().expect("stopped").is_complete());
        }
    }

    #[test]
    fn a_worker_is_woken_once_for_all_that_a_turn_hands_over() {
        let (mut engine, wires) = engine(2);
        wires[1].send(&[&ALL[..], &B, &[8, 6], &[7; 46]].concat());
        settle(&mut engine);
        let shared = Arc::clone(&engine.shared);
        let wakers: Vec<_> = (0..2)
            .map(|index| shared.mailboxes.of(WorkerIndex::new(index)).waker())
            .collect();
        let calls = || wakers.iter().map(|waker| waker.calls()).sum::<u64>();
        wakers.iter().for_each(|waker| waker.pretend_sleep());
        let _ = calls();
        // Two queues of one worker have bursts for a port of the other.
        for number in 0..20 {
            wires[0].send(&[&B[..], &A, &[8, 0], &[number; 46]].concat());
            let tag = [0x81, 0, 0, 20, 8, 0];
            wires[2].send(&[&B[..], &[2, 0, 0, 0, 0, 0xc], &tag, &[number; 46]].concat());
        }
        engine.turn();
        assert_eq!(calls(), 1);
        settle(&mut engine);
        assert_eq!(calls(), 0, "nothing more was handed over");
        let arrived = std::iter::from_fn(|| wires[1].receive());
        assert_eq!(arrived.count(), 40);
    }

    #[test]
    fn an_idle_worker_sleeps_to_the_next_second() {
        let check = |turn: Turn, now_ms: u64, expected_ms: u64| {
            let now = Duration::from_millis(now_ms);
            let longest = longest_sleep(&turn, now);
            assert_eq!(
                longest,
                Duration::from_millis(expected_ms),
                "{turn:?} {now:?}"
            );
        };
        let idle = Turn::default();
        check(idle, 0, 1000);
        check(idle, 5_250, 750);
        check(idle, 5_999, 1);
        let starved = Turn {
            starved: true,
            ..idle
        };
        check(starved, 5_250, 100);
        check(starved, 5_950, 50);
        let pending = Turn {
            pending: true,
            ..starved
        };
        check(pending, 5_950, 1);
    }

    #[test]
    fn a_detached_port_is_counted_and_its_frames_come_back() {
        let (mut engine, wires) = engine(2);
        let to_b = [&B[..], &A, &[8, 0], &[7; 46]].concat();
        wires[1].send(&[&ALL[..], &B, &[8, 6], &[7; 46]].concat());
        settle(&mut engine);
        engine
            .set_link(PortIndex::new(2), false, 1500)
            .expect("link down");
        engine.detach(PortIndex::new(1)).expect("detached");
        wires[0].send(&to_b);
        settle(&mut engine);
        assert_eq!(
            engine
                .port_totals(PortIndex::new(0))
                .dropped(DropReason::NoDestination),
            1
        );
        let queue = vec![Queue::Sim(SimQueue::new(wires[1].clone()))];
        engine
            .attach(PortIndex::new(1), queue, 1500)
            .expect("attached");
        wires[0].send(&to_b);
        settle(&mut engine);
        assert_eq!(wires[1].receive(), Some(to_b));
        assert!(engine.stop().expect("stopped").is_complete());
    }

    #[test]
    fn what_the_file_binds_replaces_what_was_added_by_hand() {
        let (mut engine, _wires) = engine(1);
        let (network, mac) = (NetworkIndex::new(0), Mac(B));
        let (by_hand, by_file) = (PortIndex::new(0), PortIndex::new(1));
        engine
            .fdb()
            .add_static(network, mac, by_hand)
            .expect("room");
        let entry = StaticEntry {
            network,
            mac,
            port: by_file,
        };
        let static_entries = [entry].into();
        engine
            .apply(Ruleset {
                static_entries,
                ..rules()
            })
            .expect("rules");
        assert_eq!(
            engine.fdb().lookup(network, mac, engine.now()),
            Some(by_file)
        );
    }

    #[test]
    fn a_network_that_is_added_again_counts_from_zero() {
        let (mut engine, wires) = engine(2);
        let network = NetworkIndex::new(0);
        wires[0].send(&[&ALL[..], &A, &[8, 6], &[7; 46]].concat());
        settle(&mut engine);
        assert_eq!(engine.flooded(network), 1);
        engine.apply(Ruleset::default()).expect("no rules");
        engine.apply(rules()).expect("rules");
        assert_eq!(engine.flooded(network), 0);
    }
}
