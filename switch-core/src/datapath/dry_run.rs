//! What would become of a frame: [`forward`] itself, on copies of all that it writes to.
//!
//! There is no second description of the switch here, and nothing in the datapath that exists for
//! this. What happened is read from the copies afterwards: counters of rules, of policers and of
//! drops that were 0 before, addresses that were not known, frames that wait to leave. To tell
//! which rule spoke at which port, the frame goes its way again with fewer exits.

mod outcome;

use std::{io, sync::Arc, time::Duration};

use super::{Context, Decision, Entries, Entry, Outbox, forward};
use crate::{
    clock::Tick,
    config::snapshot::{Ruleset, Snapshot, qos::Qos},
    counters::{DropReason, WorkerCounters},
    limits::{MAX_FRAME_SIZE, NetworkIndex, PortIndex, SLAB_SIZE, WorkerIndex},
    mem::{Burst, FrameCache, HugePages, Pool, Region},
    qos::{classes::Class, meter::Colour, policer::Policer},
    table::fdb::Fdb,
    wire::layer2::Layer2,
};
pub use outcome::{Destination, Outcome, Policed, PolicerMet, RuleMet, Source, Stage, Way};

/// A switch beside the switch: the same rules, links, addresses and token buckets, and a memory of
/// its own.
#[derive(Debug)]
pub struct DryRun {
    snapshot: Snapshot,
    fdb: Fdb,
    /// By port, the worker that receives its frames.
    receivers: Box<[WorkerIndex]>,
    memory: Memory,
}

/// What every burst needs and leaves as it was.
#[derive(Debug)]
struct Memory {
    cache: FrameCache,
    entries: Entries,
    outbox: Outbox,
    worker: WorkerIndex,
    now: Tick,
    now_ns: u64,
}

/// What one frame left behind.
struct Traces {
    entry: Entry,
    sent: Vec<Sent>,
    counters: WorkerCounters,
}

/// A frame on its way out.
struct Sent {
    to: PortIndex,
    bytes: Vec<u8>,
    /// What stands in the byte before it: the class, for a port with queues.
    note: u8,
}

impl DryRun {
    /// A switch that follows this snapshot and knows these addresses, as the workers would find
    /// them so long after the start; `receivers` are, by port, those that receive its frames.
    ///
    /// # Errors
    /// When there is no memory for the frames.
    pub fn new(
        snapshot: &Snapshot,
        fdb: Fdb,
        receivers: Box<[WorkerIndex]>,
        elapsed: Duration,
    ) -> io::Result<Self> {
        // The longest frame in a copy for each port, and slabs that are not quite used up.
        let segments = MAX_FRAME_SIZE.div_ceil(1024);
        let chunks = (snapshot.rules.ports.len() + 2) * segments;
        let region = Region::new(chunks.next_multiple_of(SLAB_SIZE), HugePages::No)?;
        Ok(Self {
            snapshot: snapshot.clone(),
            fdb,
            receivers,
            memory: Memory {
                cache: FrameCache::new(Pool::new(Arc::new(region))),
                entries: Entries::default(),
                outbox: Outbox::default(),
                worker: WorkerIndex::new(0),
                now: Tick::after(elapsed),
                now_ns: elapsed.as_nanos() as u64,
            },
        })
    }

    /// One more of these, which what becomes of frames here does not change. It reads the whole
    /// forwarding database.
    ///
    /// # Errors
    /// When there is no memory for the frames.
    pub fn duplicate(&self) -> io::Result<Self> {
        let elapsed = Duration::from_nanos(self.memory.now_ns);
        let fdb = self.fdb.duplicate();
        Self::new(&self.snapshot, fdb, self.receivers.clone(), elapsed)
    }

    /// What becomes of a frame that `ingress` receives. The next frame finds what this one has
    /// taught the copy and taken out of its buckets.
    pub fn forward(&mut self, ingress: PortIndex, bytes: &[u8]) -> Outcome {
        // Policers that have counted nothing yet.
        let qos = self.snapshot.rules.qos.duplicate();
        self.change_rules(|rules| rules.qos = qos);
        self.memory.worker = self.receivers[ingress.get()];
        let mut outcome = Outcome {
            network: self.network_of(ingress, bytes),
            ..Outcome::default()
        };
        let header = Layer2::parse(bytes).ok();
        let place = outcome.network.zip(header);
        let before = place.and_then(|(network, header)| self.station(network, &header, true));
        let events = self.fdb.events();
        let (snapshot, fdb) = (&self.snapshot, &self.fdb);
        let Some(traces) = self.memory.run(snapshot, fdb, ingress, bytes) else {
            outcome.dropped = Some((Stage::Receive, DropReason::TooLong));
            return outcome;
        };
        outcome.dropped = self.drop_of(&traces, ingress);
        let end = outcome.dropped.map_or(Stage::Leave, |(stage, _)| stage);
        if let Some((network, header)) = place {
            let (learned, moved) = (
                self.fdb.events().learned - events.learned,
                self.fdb.events().moved - events.moved,
            );
            outcome.source = (end > Stage::Learn).then_some(match before {
                Some(from) if moved > 0 => Source::Moved { from },
                _ if learned > 0 => Source::New,
                Some(_) => Source::Known,
                None => Source::NoRoom,
            });
            outcome.destination = (end > Stage::Learn).then(|| {
                let behind = self.station(network, &header, false);
                match behind {
                    _ if header.destination.is_group() => Destination::Group,
                    Some(port) => Destination::Behind(port),
                    None => Destination::Unknown,
                }
            });
            outcome.flooded =
                outcome.dropped.is_none() && traces.entry.verdict().decision() == Decision::Flood;
            self.explain(&mut outcome, ingress, bytes, &traces);
        }
        outcome
    }

    fn change_rules(&mut self, change: impl FnOnce(&mut Ruleset)) {
        change(Arc::make_mut(&mut self.snapshot.rules));
    }

    /// Where the copy has the source or the destination of a frame.
    fn station(&self, network: NetworkIndex, header: &Layer2, source: bool) -> Option<PortIndex> {
        let mac = if source {
            header.source
        } else {
            header.destination
        };
        self.fdb.lookup(network, mac.into(), self.memory.now)
    }

    /// The network that a frame belongs to: what stage 2 says where no later stage is.
    fn network_of(&mut self, ingress: PortIndex, bytes: &[u8]) -> Option<NetworkIndex> {
        let mut bare = Ruleset::clone(&self.snapshot.rules);
        bare.policy = None;
        bare.qos = Qos::default();
        bare.concerns = Box::default();
        bare.static_entries = Box::default();
        let snapshot = Snapshot {
            rules: Arc::new(bare),
            ..self.snapshot.clone()
        };
        let traces = self.memory.run(&snapshot, &nowhere(), ingress, bytes)?;
        let dropped = drops_at(&traces.counters, ingress).next();
        let ended = dropped.map(|reason| Stage::of_drop(reason, false));
        let is_known = ended.is_none_or(|stage| stage > Stage::Classify);
        is_known.then(|| traces.entry.network())
    }

    /// Why the whole frame was dropped, if it was.
    fn drop_of(&self, traces: &Traces, ingress: PortIndex) -> Option<(Stage, DropReason)> {
        let reason = drops_at(&traces.counters, ingress).next()?;
        let policy = self.snapshot.rules.policy.as_ref();
        let guarded = policy.is_some_and(|policy| policy.guard(ingress).is_some());
        Some((Stage::of_drop(reason, guarded), reason))
    }

    /// Which rules and policers spoke, and where.
    fn explain(
        &mut self,
        outcome: &mut Outcome,
        ingress: PortIndex,
        bytes: &[u8],
        traces: &Traces,
    ) {
        let Some(network) = outcome.network else {
            return;
        };
        let rules = Arc::clone(&self.snapshot.rules);
        outcome.rules = self.rules_met(ingress, None, bytes);
        let ingress_policers = [
            (
                Policed::Port(ingress),
                at(&rules.qos.from_port, ingress.get()),
            ),
            (
                Policed::Network(network),
                at(&rules.qos.from_network, network.get()),
            ),
        ];
        outcome.policed = rule_policers_met(&rules, &outcome.rules);
        outcome.policed.extend(policers_met(ingress_policers));
        let ports = (0..rules.ports.len()).map(PortIndex::new);
        for port in ports.filter(|port| *port != ingress) {
            let sent = traces.sent.iter().find(|sent| sent.to == port);
            let dropped = drops_at(&traces.counters, port).next();
            let result = match (sent, dropped) {
                (Some(sent), _) => Ok(sent.bytes.clone()),
                (None, Some(reason)) => Err(reason),
                (None, None) => continue,
            };
            let mut met = Vec::new();
            if rules.concerns(port).to_port {
                met = self.rules_met(ingress, Some(port), bytes);
                for known in &outcome.rules {
                    if let Some(position) = met.iter().position(|rule| rule == known) {
                        met.remove(position);
                    }
                }
            }
            let egress_policers = [
                (
                    Policed::Network(network),
                    at(&rules.qos.to_network, network.get()),
                ),
                (Policed::Port(port), at(&rules.qos.to_port, port.get())),
            ];
            let mut policed = rule_policers_met(&rules, &met);
            policed.extend(policers_met(egress_policers));
            let class = sent.filter(|_| rules.qos.queues(port).is_some());
            outcome.ways.push(Way {
                port,
                rules: met,
                policed,
                class: class.and_then(|sent| Class::new(sent.note)),
                result,
            });
        }
    }

    /// The rules that a frame meets on its way in, and out by one port if there is one: with the
    /// other links down, no addresses known and nobody's rate used up. As often as they were met.
    fn rules_met(
        &mut self,
        ingress: PortIndex,
        exit: Option<PortIndex>,
        bytes: &[u8],
    ) -> Vec<RuleMet> {
        let rules = Arc::clone(&self.snapshot.rules);
        if rules.policy.is_none() {
            return Vec::new();
        }
        let mut snapshot = self.snapshot.clone();
        Arc::make_mut(&mut snapshot.rules).qos = Qos::default();
        for (index, link) in snapshot.links.iter_mut().enumerate() {
            let stays = Some(index) == exit.map(PortIndex::get) || index == ingress.get();
            link.up &= stays;
        }
        let Some(traces) = self.memory.run(&snapshot, &nowhere(), ingress, bytes) else {
            return Vec::new();
        };
        let mut met = Vec::new();
        for (list, hits) in rules.hits.iter().enumerate() {
            for (rule, hit) in hits.iter().enumerate() {
                let times = traces.counters.hit(*hit).frames.get();
                met.extend((0..times).map(|_| RuleMet { list, rule }));
            }
        }
        met
    }
}

impl Memory {
    /// Forwards one frame; nothing when it is longer than any frame.
    fn run(
        &mut self,
        snapshot: &Snapshot,
        fdb: &Fdb,
        ingress: PortIndex,
        bytes: &[u8],
    ) -> Option<Traces> {
        let mut burst = Burst::new();
        burst.push(self.cache.frame_from(bytes)?);
        let counters = WorkerCounters::without_records();
        let context = Context {
            snapshot,
            fdb,
            counters: &counters,
            worker: self.worker,
            flows: None,
            now: self.now,
            now_ns: self.now_ns,
        };
        let (entries, cache, outbox) = (&mut self.entries, &mut self.cache, &mut self.outbox);
        forward(&context, ingress, &mut burst, entries, cache, outbox);
        let mut sent = Vec::new();
        while let Some((port, frames)) = outbox.take() {
            for frame in frames.drain(..) {
                let parts: Vec<&[u8]> = cache.region().bytes(&frame).collect();
                sent.push(Sent {
                    to: port,
                    bytes: parts.concat(),
                    note: cache.region().note(&frame),
                });
                cache.free(frame);
            }
        }
        Some(Traces {
            entry: entries.of_burst(1).0[0],
            sent,
            counters,
        })
    }
}

/// A table without addresses.
fn nowhere() -> Fdb {
    Fdb::new(1, [0; 2])
}

fn at(policers: &[Option<Arc<Policer>>], index: usize) -> Option<&Policer> {
    policers.get(index)?.as_deref()
}

/// The reasons for which a port dropped something.
fn drops_at(counters: &WorkerCounters, port: PortIndex) -> impl Iterator<Item = DropReason> + '_ {
    let reasons = DropReason::ALL.iter().copied();
    reasons.filter(move |reason| counters.port(port).dropped(*reason).get() > 0)
}

/// The policers of the rules that were met.
fn rule_policers_met(rules: &Ruleset, met: &[RuleMet]) -> Vec<PolicerMet> {
    let policer = |met: &RuleMet| {
        let hit = rules.hits.get(met.list)?.get(met.rule)?;
        let policer = rules.qos.acts(*hit)?.policer.as_deref();
        policers_met([(Policed::Rule(*met), policer)]).pop()
    };
    met.iter().filter_map(policer).collect()
}

/// Those that have measured something.
fn policers_met<const N: usize>(policers: [(Policed, Option<&Policer>); N]) -> Vec<PolicerMet> {
    let met = policers.into_iter().filter_map(|(of, policer)| {
        let policer = policer?;
        let frames = Colour::ALL.map(|colour| policer.metered(colour).frames);
        let name = Arc::clone(&policer.rules().name);
        (frames != [0; 3]).then_some(PolicerMet { name, of, frames })
    });
    met.collect()
}
