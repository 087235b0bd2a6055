//! What would become of a frame: [`forward`] itself, on copies of all that it writes to.
//!
//! There is no second description of the switch here, and nothing in the datapath that exists for
//! this. What happened is read from the copies afterwards: counters of rules, of policers and of
//! drops that were 0 before, addresses that were not known, frames that wait to leave. To tell
//! which rule spoke at which port, the frame goes its way again with fewer exits.

use std::{io, sync::Arc, time::Duration};

use super::{Context, Decision, Entries, Entry, Outbox, forward};
use crate::{
    clock::Tick,
    config::snapshot::{Ruleset, Snapshot, qos::Qos},
    counters::{DropReason, WorkerCounters},
    limits::{MAX_FRAME_SIZE, NetworkIndex, PortIndex, SLAB_SIZE, WorkerIndex},
    mem::{Burst, FrameCache, HugePages, Pool, Region},
    qos::{meter::Colour, policer::Policer},
    table::fdb::Fdb,
    wire::layer2::Layer2,
};

/// Where on its way a frame is, in the order of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Its port takes part.
    Receive,
    /// 1 and 2: the header, and the network that it belongs to.
    Classify,
    /// 3: whether its port may send it.
    Secure,
    /// 4: access control lists on the way in.
    Lists,
    /// 5: policers on the way in.
    Police,
    /// 6: where its source is.
    Learn,
    /// 7: where it goes.
    Destination,
    /// 9 and 10: lists, tag and policers on the way out.
    Leave,
}

impl Stage {
    /// All, in the order of the way.
    pub const ALL: [Self; 8] = [
        Self::Receive,
        Self::Classify,
        Self::Secure,
        Self::Lists,
        Self::Police,
        Self::Learn,
        Self::Destination,
        Self::Leave,
    ];

    /// The word in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Classify => "classify",
            Self::Secure => "secure",
            Self::Lists => "lists",
            Self::Police => "police",
            Self::Learn => "learn",
            Self::Destination => "destination",
            Self::Leave => "leave",
        }
    }

    /// Where a frame ends that is dropped for this reason and counted at the port where it came
    /// in. What cannot be read ends where somebody has to read it: `guarded` tells whether that is
    /// the port's security.
    #[must_use]
    pub const fn of_drop(reason: DropReason, guarded: bool) -> Self {
        use DropReason as R;
        match reason {
            R::PortDown | R::TooLong => Self::Receive,
            R::Truncated
            | R::SourceInvalid
            | R::ReservedGroup
            | R::TaggedNotAccepted
            | R::UntaggedNotAccepted
            | R::TpidMismatch
            | R::VidReserved
            | R::VidNotMember
            | R::HiddenTag => Self::Classify,
            R::Malformed if !guarded => Self::Lists,
            R::Malformed
            | R::MacNotAllowed
            | R::AddressNotAllowed
            | R::DhcpServerGuard
            | R::RouterGuard
            | R::BpduGuard => Self::Secure,
            R::AclFromPort => Self::Lists,
            R::PolicedFromPort => Self::Police,
            R::MacLimit | R::StaticMoved | R::MacFlapping => Self::Learn,
            R::SamePort
            | R::Isolated
            | R::UplinkToUplink
            | R::BroadcastStorm
            | R::MulticastStorm
            | R::UnknownUnicastStorm
            | R::NoDestination => Self::Destination,
            R::AclToPort
            | R::MtuExceeded
            | R::PolicedToPort
            | R::NoFreeFrame
            | R::HandoffFull
            | R::QueueFull
            | R::QueueLate
            | R::TxRingFull
            | R::TxError => Self::Leave,
        }
    }
}

/// A rule that a frame met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleMet {
    /// The position of the list in the configuration.
    pub list: usize,
    /// The rule's position in the list; one past the last rule for the list's default.
    pub rule: usize,
}

/// Whose frames a policer measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policed {
    /// Those of a port.
    Port(PortIndex),
    /// Those of a network, at all its ports.
    Network(NetworkIndex),
    /// Those that meet a rule, wherever its list is attached.
    Rule(RuleMet),
}

/// A policer that measured a frame, or several copies of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicerMet {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Whose frames it measures.
    pub of: Policed,
    /// How many were green, yellow and red.
    pub frames: [u64; 3],
}

/// What is learnt about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was not known.
    New,
    /// It is known at this port.
    Known,
    /// It was known at another port.
    Moved {
        /// That port.
        from: PortIndex,
    },
    /// It is not learnt: the table has no room that this port may have.
    NoRoom,
}

/// What is known of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A group address.
    Group,
    /// A station that nobody has heard of.
    Unknown,
    /// A station behind this port.
    Behind(PortIndex),
}

/// What becomes of a frame at a port that it should leave by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The port.
    pub port: PortIndex,
    /// The rules that it meets there.
    pub rules: Vec<RuleMet>,
    /// The policers of the port, and of its network for all ports together.
    pub policed: Vec<PolicerMet>,
    /// Its bytes as it leaves, or why it does not.
    pub result: Result<Vec<u8>, DropReason>,
}

/// What becomes of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The network that it belongs to; none where it ends before that is known.
    pub network: Option<NetworkIndex>,
    /// The rules that it meets on the way in.
    pub rules: Vec<RuleMet>,
    /// The policers that measure it on the way in.
    pub policed: Vec<PolicerMet>,
    /// What is learnt of its source; none where it ends before that.
    pub source: Option<Source>,
    /// What is known of its destination; none where it ends before that.
    pub destination: Option<Destination>,
    /// It goes to all ports of its network that may have it.
    pub flooded: bool,
    /// Where and why it ends, when it goes to no port at all.
    pub dropped: Option<(Stage, DropReason)>,
    /// The ports that it should leave by, in the order of their indices.
    pub ways: Vec<Way>,
}

/// A switch beside the switch: the same rules, links, addresses and token buckets, and a memory of
/// its own.
#[derive(Debug)]
pub struct DryRun {
    snapshot: Snapshot,
    fdb: Fdb,
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
    sent: Vec<(PortIndex, Vec<u8>)>,
    counters: WorkerCounters,
}

impl DryRun {
    /// A switch that follows this snapshot and knows these addresses, as `worker` would find them
    /// so long after the start.
    ///
    /// # Errors
    /// When there is no memory for the frames.
    pub fn new(
        snapshot: &Snapshot,
        fdb: Fdb,
        worker: WorkerIndex,
        elapsed: Duration,
    ) -> io::Result<Self> {
        // The longest frame in a copy for each port, and slabs that are not quite used up.
        let segments = MAX_FRAME_SIZE.div_ceil(1024);
        let chunks = (snapshot.rules.ports.len() + 2) * segments;
        let region = Region::new(chunks.next_multiple_of(SLAB_SIZE), HugePages::No)?;
        Ok(Self {
            snapshot: snapshot.clone(),
            fdb,
            memory: Memory {
                cache: FrameCache::new(Pool::new(Arc::new(region))),
                entries: Entries::default(),
                outbox: Outbox::default(),
                worker,
                now: Tick::after(elapsed),
                now_ns: elapsed.as_nanos() as u64,
            },
        })
    }

    /// What becomes of a frame that `ingress` receives. The next frame finds what this one has
    /// taught the copy and taken out of its buckets.
    pub fn forward(&mut self, ingress: PortIndex, bytes: &[u8]) -> Outcome {
        // Policers that have counted nothing yet.
        let qos = self.snapshot.rules.qos.duplicate();
        self.change_rules(|rules| rules.qos = qos);
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
        self.fdb.lookup(network, mac, self.memory.now)
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
        is_known.then(|| traces.entry.destination.network())
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
            let sent = traces.sent.iter().find(|(to, _)| *to == port);
            let dropped = drops_at(&traces.counters, port).next();
            let result = match (sent, dropped) {
                (Some((_, bytes)), _) => Ok(bytes.clone()),
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
            outcome.ways.push(Way {
                port,
                rules: met,
                policed,
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
                sent.push((port, parts.concat()));
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

/// Those that have measured something.
/// The policers of the rules that were met.
fn rule_policers_met(rules: &Ruleset, met: &[RuleMet]) -> Vec<PolicerMet> {
    let policer = |met: &RuleMet| {
        let hit = rules.hits.get(met.list)?.get(met.rule)?;
        let policer = rules.qos.acts(*hit)?.policer.as_deref();
        policers_met([(Policed::Rule(*met), policer)]).pop()
    };
    met.iter().filter_map(policer).collect()
}

fn policers_met<const N: usize>(policers: [(Policed, Option<&Policer>); N]) -> Vec<PolicerMet> {
    let met = policers.into_iter().filter_map(|(of, policer)| {
        let policer = policer?;
        let frames = Colour::ALL.map(|colour| policer.metered(colour).frames);
        let name = Arc::clone(&policer.rules().name);
        (frames != [0; 3]).then_some(PolicerMet { name, of, frames })
    });
    met.collect()
}
