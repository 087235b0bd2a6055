//! The engine and the reference side by side: whatever is done to one is done to the other, and
//! then everything that can be seen of them is compared.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use switch_core::{
    clock::Tick,
    config::snapshot::Ruleset,
    counters::{DropReason, HitTotals, PortTotals},
    engine::{Engine, Options, Way},
    limits::{MAX_FRAME_SIZE, NetworkIndex, PortIndex},
    mem::HugePages,
    port::{Queue, SimQueue, SimWire},
    qos::meter::Colour,
    table::fdb::{AddStaticError, Filter, Flapping, Kind},
    wire::ethernet::Mac,
};

use super::{
    frames::stamp_of,
    hits,
    meter::{Counted, Place},
    reference::{Link, Reference, Totals},
    rules::{Address, Rules, Static},
    wrong::Wrong,
};

/// What differs, for people.
pub type Difference = String;

/// What a switch is made of.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub workers: usize,
    pub chunks: usize,
    pub fdb_capacity: usize,
    /// What a flow table has room for; 0: there is none.
    pub flows: usize,
}

/// Something that the control thread does and that workers see.
#[derive(Clone, Debug)]
pub enum Control {
    Apply {
        rules: Rules,
        compiled: Box<Ruleset>,
    },
    Attach {
        port: usize,
        queues: usize,
        mtu: u32,
    },
    Detach {
        port: usize,
    },
    Link {
        port: usize,
        up: bool,
        mtu: u32,
    },
}

/// Frames for one queue of a port.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    pub port: usize,
    pub queue: usize,
    pub frames: Vec<Vec<u8>>,
}

/// For each frame that arrives, all that may leave: port and bytes.
type Possible = Vec<BTreeSet<(usize, Vec<u8>)>>;

/// How much of what left has to be what the reference has sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// All of it, in the same order, by one queue of each port.
    Same,
    /// All of it, but frames of different queues may come in another order; frames that found a
    /// ring between workers full may be missing.
    SameFlows,
    /// Each frame is one that was possible, and the sums add up.
    Possible,
}

/// The rules with buckets of their own, which no other switch takes from.
fn own(compiled: &Ruleset) -> Ruleset {
    let mut rules = compiled.clone();
    rules.qos = rules.qos.duplicate();
    rules
}

/// An engine with its wires, and its reference.
pub struct Switch {
    pub engine: Engine,
    pub reference: Reference,
    /// By attached port.
    wires: BTreeMap<usize, Vec<SimWire>>,
    size: Size,
    /// Every port that ever was.
    ports: BTreeSet<usize>,
    /// Frames that the wires have brought and not refused.
    arrived: u64,
    /// What was counted for ports before they were removed.
    flooded: BTreeSet<usize>,
}

fn port_index(port: usize) -> PortIndex {
    PortIndex::new(port)
}

fn too_long(frame: &[u8]) -> bool {
    frame.len() > MAX_FRAME_SIZE
}

impl Switch {
    pub fn new(size: Size, reference: Reference) -> Self {
        let options = Options {
            cores: vec![None; size.workers],
            chunks: size.chunks,
            huge_pages: HugePages::No,
            fdb_capacity: size.fdb_capacity,
            hash_key: [1, 2],
            idle: Default::default(),
        };
        let mut engine = Engine::manual(&options).expect("an engine");
        engine.set_now(Tick(reference.now as u32));
        engine.set_flow_capacity(size.flows);
        Self {
            engine,
            reference,
            wires: BTreeMap::new(),
            size,
            ports: BTreeSet::new(),
            arrived: 0,
            flooded: BTreeSet::new(),
        }
    }

    pub fn set_now(&mut self, now: u64) {
        self.reference.now = now;
        self.engine.set_now(Tick(now as u32));
    }

    /// Limits what the TX rings of a port take; none: endless.
    pub fn set_room(&mut self, port: usize, room: Option<usize>) {
        for wire in self.wires.get(&port).into_iter().flatten() {
            wire.set_room(room.unwrap_or(usize::MAX));
        }
        match room {
            Some(room) => self.reference.room.insert(port, room),
            None => self.reference.room.remove(&port),
        };
    }

    fn send(&mut self, arrivals: &Arrivals) {
        let wire = &self.wires[&arrivals.port][arrivals.queue];
        for frame in &arrivals.frames {
            wire.send(frame);
        }
    }

    /// Lets the workers run until there is nothing left to do.
    fn settle(&mut self) -> Result<(), Difference> {
        for _ in 0..100_000 {
            if self.engine.turn() == 0 {
                return Ok(());
            }
        }
        Err("the workers never come to rest".into())
    }

    /// The reference receives what a queue has brought.
    fn refer(&mut self, port: usize, frames: &[Vec<u8>]) {
        for frame in frames.iter().filter(|frame| !too_long(frame)) {
            self.arrived += 1;
            self.reference.receive(port, frame);
        }
    }

    /// Frames arrive, at one queue after the other as far as the reference is concerned.
    pub fn receive(
        &mut self,
        arrivals: &[Arrivals],
        strictness: Strictness,
    ) -> Result<(), Difference> {
        for arrivals in arrivals {
            self.send(arrivals);
        }
        self.settle()?;
        let possible = match strictness {
            Strictness::Possible => self.possible(arrivals),
            _ => Possible::new(),
        };
        for arrivals in arrivals {
            self.refer(arrivals.port, &arrivals.frames);
        }
        match strictness {
            Strictness::Possible => self.check_possible(possible, Vec::new()),
            _ => self.check(strictness),
        }
    }

    /// One frame arrives, of which a trace has said before what becomes of it. The trace changes
    /// nothing, or the reference would differ afterwards.
    pub fn receive_as_traced(&mut self, arrivals: &Arrivals) -> Result<(), Difference> {
        let Some(frame) = arrivals.frames.first().filter(|frame| !too_long(frame)) else {
            return Ok(());
        };
        let ingress = port_index(arrivals.port);
        let mut copy = self.engine.dry_run().map_err(|error| error.to_string())?;
        let said = copy.forward(ingress, frame);
        let ports: Vec<_> = self.ports.iter().map(|port| port_index(*port)).collect();
        let totals = |port: &PortIndex| self.engine.port_totals(*port);
        let before: Vec<_> = ports.iter().map(totals).collect();
        self.send(arrivals);
        self.settle()?;
        let mut drops = BTreeSet::new();
        for (port, before) in ports.into_iter().zip(&before) {
            let since = self.engine.port_totals(port).since(before);
            let reasons = DropReason::ALL.iter().filter(|it| since.dropped(**it) > 0);
            drops.extend(reasons.map(|reason| (port, *reason)));
        }
        let mut said_drops: BTreeSet<_> = said.dropped.iter().map(|it| (ingress, it.1)).collect();
        let lost = |way: &Way| Some((way.port, *way.result.as_ref().err()?));
        said_drops.extend(said.ways.iter().filter_map(lost));
        same("drops as traced", drops, said_drops)?;
        self.refer(arrivals.port, &arrivals.frames);
        let sent = self.reference.sent.iter();
        let sent: BTreeSet<_> = sent
            .map(|(port, _, frame)| (*port, frame.clone()))
            .collect();
        let leaves = |way: &Way| Some((way.port.get(), way.result.as_ref().ok()?.clone()));
        let said_sent: BTreeSet<_> = said.ways.iter().filter_map(leaves).collect();
        same("frames as traced", said_sent, sent)?;
        self.check(Strictness::Same)
    }

    /// What may leave if these frames arrive, under the rules as they are.
    fn possible(&self, arrivals: &[Arrivals]) -> Possible {
        let frames = arrivals.iter().flat_map(|arrivals| {
            let here = arrivals.frames.iter().filter(|frame| !too_long(frame));
            here.map(|frame| self.reference.possible(arrivals.port, frame))
        });
        frames.map(BTreeSet::from_iter).collect()
    }

    /// Frames arrive at several queues, and in the middle of it the control thread does something.
    /// Some frames meet the old rules, some the new, and some are on their way to a port that goes:
    /// each may only do what one or the other allows.
    pub fn upheave(
        &mut self,
        arrivals: &[Arrivals],
        turns: usize,
        control: &Control,
    ) -> Result<(), Difference> {
        for arrivals in arrivals {
            self.send(arrivals);
        }
        let wire = |a: &Arrivals| self.wires[&a.port][a.queue].clone();
        let wires: Vec<SimWire> = arrivals.iter().map(wire).collect();
        let mut possible = self.possible(arrivals);
        for _ in 0..turns {
            self.engine.turn();
        }
        let outgoing = self.collect_all();
        self.carry_out(control)?;
        let before = self.publish(control);
        self.align(control, before);
        self.settle()?;
        for (old, new) in possible.iter_mut().zip(self.possible(arrivals)) {
            old.extend(new);
        }
        let frames = arrivals.iter().flat_map(|arrivals| &arrivals.frames);
        let sent = frames.filter(|frame| !too_long(frame)).count();
        // What waits for a device that was detached goes with it, too long or not.
        let left: usize = wires.iter().map(SimWire::backlog).sum();
        if left == 0 {
            self.arrived += sent as u64;
        } else {
            self.arrived = self.received();
        }
        self.check_possible(possible, outgoing)
    }

    /// The control thread does something, or one thing after the other, perhaps while frames wait
    /// in a queue. Before each the workers have had so many turns, and do not come to rest.
    pub fn control(
        &mut self,
        controls: &[Control],
        queued: &Arrivals,
        turns: usize,
    ) -> Result<(), Difference> {
        let wire = (!queued.frames.is_empty()).then(|| {
            self.send(queued);
            self.wires[&queued.port][queued.queue].clone()
        });
        let backlog = || wire.as_ref().map_or(0, SimWire::backlog);
        let mut waiting = queued.frames.as_slice();
        for control in controls {
            for _ in 0..turns {
                self.engine.turn();
            }
            let (taken, rest) = waiting.split_at(waiting.len() - backlog());
            self.refer(queued.port, taken);
            self.carry_out(control)?;
            let (taken, rest) = rest.split_at(rest.len() - backlog());
            let before = self.publish(control);
            self.refer(queued.port, taken);
            self.align(control, before);
            waiting = rest;
        }
        self.settle()?;
        // What waits for a device that was detached goes with it.
        if self.wires.contains_key(&queued.port) {
            same("frames left in a queue", backlog(), 0)?;
            self.refer(queued.port, waiting);
        }
        self.check(Strictness::Same)
    }

    /// The engine's part of a control operation.
    fn carry_out(&mut self, control: &Control) -> Result<(), Difference> {
        let engine = &mut self.engine;
        let done = match control {
            Control::Apply { rules, compiled } => {
                self.ports.extend(rules.ports.keys());
                self.flooded.extend(rules.networks.keys());
                self.wires.retain(|port, _| rules.ports.contains_key(port));
                engine.apply(own(compiled))
            }
            Control::Attach { port, queues, mtu } => {
                let wires: Vec<_> = (0..*queues).map(|_| SimWire::new()).collect();
                let queue = |wire: &SimWire| Queue::Sim(SimQueue::new(wire.clone()));
                let ends = wires.iter().map(queue).collect();
                self.wires.insert(*port, wires);
                engine.attach(port_index(*port), ends, *mtu)
            }
            Control::Detach { port } => {
                self.wires.remove(port);
                engine.detach(port_index(*port))
            }
            Control::Link { port, up, mtu } => engine.set_link(port_index(*port), *up, *mtu),
        };
        done.map_err(|error| error.to_string())
    }

    /// The reference's part, up to where workers see the change.
    fn publish(&mut self, control: &Control) -> Rules {
        let reference = &mut self.reference;
        match control {
            Control::Apply { rules, .. } => {
                let attached: Vec<usize> = reference.links.keys().copied().collect();
                for port in attached
                    .into_iter()
                    .filter(|port| !rules.ports.contains_key(port))
                {
                    reference.publish_link(port, None);
                    reference.forget_port(port);
                }
                return reference.publish_rules(rules.clone());
            }
            Control::Attach { port, mtu, .. } => {
                reference.publish_link(
                    *port,
                    Some(Link {
                        up: true,
                        mtu: *mtu,
                    }),
                );
            }
            Control::Detach { port } => reference.publish_link(*port, None),
            Control::Link { port, up, mtu } => {
                reference.publish_link(*port, Some(Link { up: *up, mtu: *mtu }));
            }
        }
        Rules::default()
    }

    /// The reference's part from there on.
    fn align(&mut self, control: &Control, before: Rules) {
        let reference = &mut self.reference;
        match control {
            Control::Apply { .. } => reference.align_fdb(&before),
            Control::Detach { port }
            | Control::Link {
                port, up: false, ..
            } => {
                reference.forget_port(*port);
            }
            Control::Attach { .. } | Control::Link { .. } => {}
        }
    }

    /// Adds a static entry by hand.
    pub fn add_static(&mut self, entry: Static) -> Result<(), Difference> {
        let Static { network, mac, port } = entry;
        let network = NetworkIndex::new(network);
        let real = self
            .engine
            .fdb()
            .add_static(network, Mac(mac), port_index(port));
        let real = real.map_err(|error| match error {
            AddStaticError::NotUnicast(_) => None,
            AddStaticError::Exists { port } => Some(port.get()),
            AddStaticError::Full => Some(usize::MAX),
        });
        same("static entry", real, self.reference.add_static(entry))
    }

    /// Removes an entry by hand.
    pub fn remove(&mut self, network: usize, mac: Address) -> Result<(), Difference> {
        let real = self
            .engine
            .fdb()
            .remove(NetworkIndex::new(network), Mac(mac));
        same("removed", real, self.reference.remove(network, mac))
    }

    pub fn flush(
        &mut self,
        network: Option<usize>,
        port: Option<usize>,
        mac: Option<Address>,
        include_static: bool,
    ) -> Result<(), Difference> {
        let filter = Filter {
            network: network.map(NetworkIndex::new),
            port: port.map(port_index),
            mac: mac.map(Mac),
            include_static,
        };
        let real = self.engine.fdb().flush(&filter);
        let expected = self.reference.flush(network, port, mac, include_static);
        if self.is_roomy() {
            same("flushed", real, expected)
        } else {
            Ok(())
        }
    }

    pub fn age(&mut self) -> Result<(), Difference> {
        let (real, expected) = (self.engine.age(), self.reference.age());
        if self.is_roomy() {
            same("aged", real, expected)
        } else {
            Ok(())
        }
    }

    /// Whether pool and table have room for whatever happens.
    pub fn is_roomy(&self) -> bool {
        self.size.chunks >= 2048 && self.size.fdb_capacity >= 2048
    }

    /// Whether the table had to refuse an address, which the reference never does.
    pub fn table_was_full(&self) -> bool {
        let events = self.engine.fdb().events();
        events.evicted + events.no_room > 0
    }

    /// Ends the engine and looks for every chunk.
    pub fn finish(self) -> Result<(), Difference> {
        let census = self.engine.stop().map_err(|error| error.to_string())?;
        same("free chunks", census.free, census.chunks)
    }
}

/// What is compared.
impl Switch {
    /// Takes what has left by a port: for each queue, frames in their order.
    fn collect(&self, port: usize) -> Vec<Vec<Vec<u8>>> {
        let drain = |wire: &SimWire| std::iter::from_fn(|| wire.receive()).collect();
        self.wires
            .get(&port)
            .into_iter()
            .flatten()
            .map(drain)
            .collect()
    }

    /// All that has left, with its port.
    fn collect_all(&self) -> Vec<(usize, Vec<u8>)> {
        let ports = self.wires.keys().copied();
        let frames = ports.flat_map(|port| {
            let frames = self.collect(port).into_iter().flatten();
            frames.map(move |frame| (port, frame))
        });
        frames.collect()
    }

    fn received(&self) -> u64 {
        let workers = self.engine.counters();
        let ports = self
            .ports
            .iter()
            .map(|port| PortTotals::sum(workers, port_index(*port)));
        ports.map(|totals| totals.rx_frames).sum()
    }

    fn check(&mut self, strictness: Strictness) -> Result<(), Difference> {
        let mut expected: BTreeMap<usize, Vec<(usize, Vec<u8>)>> = BTreeMap::new();
        for (port, queue, frame) in self.reference.sent.drain(..) {
            expected.entry(port).or_default().push((queue, frame));
        }
        let mixed = self.reference.wrong == Some(Wrong::QueuesMixed);
        let mut lost: u64 = 0;
        for port in self.wires.keys().copied().collect::<Vec<_>>() {
            let expected = expected.remove(&port).unwrap_or_default();
            let real = self.collect(port);
            let result = match strictness {
                Strictness::Same if mixed => check_queues(real, vec![without_queues(expected)]),
                Strictness::Same => check_queues(real, by_queue(expected)),
                _ => {
                    let missing = self.lost_between_workers(port)?;
                    lost += missing;
                    check_flows(real, expected, missing)
                }
            };
            let drops = || self.differing_drops();
            result.map_err(|text| format!("frames of port {port}: {text}; {}", drops()))?;
        }
        if let Some(port) = expected.keys().next() {
            return Err(format!("frames of port {port}, which has no device"));
        }
        if lost == 0 {
            for port in self.ports.clone() {
                let real = totals(&self.engine.port_totals(port_index(port)));
                let expected = self
                    .reference
                    .totals
                    .get(&port)
                    .cloned()
                    .unwrap_or_default();
                same(&format!("counters of port {port}"), real, expected)?;
            }
        }
        self.check_policers()?;
        self.check_hits()?;
        self.check_flapping()?;
        self.check_floods()?;
        self.check_entries()?;
        self.check_sums()
    }

    /// Which addresses have moved of late, and which have to stay.
    fn check_flapping(&self) -> Result<(), Difference> {
        let rules = self.engine.rules();
        let (Some(real), Some(limits)) = (&rules.flaps, self.reference.rules.flaps) else {
            return Ok(());
        };
        let listed = |it: Flapping| {
            let left = it.quarantine_left_s.map(u64::from);
            (it.network.get(), it.mac.0, it.home.get(), it.moves, left)
        };
        let all = self.engine.fdb().flapping(self.engine.now(), real);
        let mut real: Vec<_> = all.into_iter().map(listed).collect();
        real.sort_unstable();
        let expected = self.reference.flaps.list(self.reference.now, limits);
        same("addresses that move", real, expected)
    }

    /// What every policer has measured, whether it let frames pass or not.
    fn check_policers(&mut self) -> Result<(), Difference> {
        let rules = self.engine.rules();
        for (place, expected) in self.reference.meters.counted() {
            same(&format!("{place:?}"), counted(rules, place), *expected)?;
        }
        Ok(())
    }

    /// What every rule has met, now that the workers are at rest and have settled what flows count.
    fn check_hits(&mut self) -> Result<(), Difference> {
        for ((list, position), expected) in self.reference.hits.counted() {
            let what = format!("what rule {position} of acl-{list} has met");
            same(&what, met(&self.engine, (list, position)), *expected)?;
        }
        Ok(())
    }

    /// Where both have dropped frames for other reasons, or other numbers of them.
    fn differing_drops(&self) -> String {
        let mut text = String::new();
        for port in &self.ports {
            let real = totals(&self.engine.port_totals(port_index(*port))).drops;
            let expected = self.reference.totals.get(port).map(|totals| &totals.drops);
            let expected = expected.cloned().unwrap_or_default();
            if real != expected {
                text += &format!("port {port} drops {real:?}, not {expected:?} ");
            }
        }
        text
    }

    /// Frames for a port that found no room on their way to another worker, now made up for in the
    /// reference.
    fn lost_between_workers(&mut self, port: usize) -> Result<u64, Difference> {
        let real = totals(&self.engine.port_totals(port_index(port)));
        let lost = real
            .drops
            .get(&DropReason::HandoffFull)
            .copied()
            .unwrap_or_default();
        let expected = self.reference.totals.entry(port).or_default();
        let known = expected
            .drops
            .get(&DropReason::HandoffFull)
            .copied()
            .unwrap_or_default();
        if lost == known {
            return Ok(0);
        }
        let missing = lost - known;
        expected.drops.insert(DropReason::HandoffFull, lost);
        expected.tx_frames -= missing;
        // Which ones is not known, and so not how many bytes; a full TX ring takes others instead.
        expected.tx_bytes = real.tx_bytes;
        same("lost between workers", real, expected.clone())?;
        Ok(missing)
    }

    fn check_floods(&self) -> Result<(), Difference> {
        let workers = self.engine.counters();
        let copies: u64 = workers.iter().map(|worker| worker.copies.get()).sum();
        same("copies", copies, self.reference.copies)?;
        for network in &self.flooded {
            let index = NetworkIndex::new(*network);
            let real: u64 = workers
                .iter()
                .map(|worker| worker.flooded(index).get())
                .sum();
            let expected = self
                .reference
                .flooded
                .get(network)
                .copied()
                .unwrap_or_default();
            same(&format!("floods of network {network}"), real, expected)?;
        }
        Ok(())
    }

    fn check_entries(&self) -> Result<(), Difference> {
        let fdb = self.engine.fdb();
        let entry = |entry: switch_core::table::fdb::Entry| {
            let age = entry.age_s.map(u64::from);
            assert_eq!(entry.kind == Kind::Static, age.is_none());
            (entry.network.get(), entry.mac.0, entry.port.get(), age)
        };
        let mut real: Vec<_> = fdb.entries(self.engine.now()).map(entry).collect();
        real.sort_unstable();
        let expected = self.reference.entries();
        if real != expected {
            let surplus: Vec<_> = real.iter().filter(|e| !expected.contains(e)).collect();
            let missing: Vec<_> = expected.iter().filter(|e| !real.contains(e)).collect();
            return Err(format!("FDB: surplus {surplus:x?}, missing {missing:x?}"));
        }
        same("FDB size", fdb.len(), self.reference.fdb.len())
    }

    /// Everything that came in is somewhere: sent, or dropped and counted.
    fn check_sums(&self) -> Result<(), Difference> {
        let mut sums = [0; 3];
        for port in &self.ports {
            let worker = self.engine.counters();
            let all = totals(&PortTotals::sum(worker, port_index(*port)));
            sums[0] += all.rx_frames;
            sums[1] += all.tx_frames;
            sums[2] += all.drops.values().sum::<u64>();
        }
        let copies = self
            .engine
            .counters()
            .iter()
            .map(|worker| worker.copies.get());
        let [received, sent, dropped] = sums;
        let came = received + copies.sum::<u64>();
        same(
            "received and copied, against sent and dropped",
            came,
            sent + dropped,
        )?;
        if self.is_roomy() {
            same("frames from wires", received, self.arrived)?;
        }
        Ok(())
    }

    /// Each frame that left is one that could, and no more often; the sums add up. The reference
    /// then starts afresh, without stations and with the engine's counters.
    fn check_possible(
        &mut self,
        possible: Possible,
        mut left: Vec<(usize, Vec<u8>)>,
    ) -> Result<(), Difference> {
        let mut counts: BTreeMap<(usize, Vec<u8>), usize> = BTreeMap::new();
        for out in possible.into_iter().flatten() {
            *counts.entry(out).or_default() += 1;
        }
        left.extend(self.collect_all());
        for (port, frame) in left {
            let text = format!("impossible at port {port}: {}", hex(&frame));
            match counts.get_mut(&(port, frame)) {
                Some(count) if *count > 0 => *count -= 1,
                _ => return Err(text),
            }
        }
        self.check_sums()?;
        self.reference.sent.clear();
        let fdb = self.engine.fdb();
        fdb.flush(&Filter::default());
        self.reference.flush(None, None, None, false);
        if self.reference.rules.flaps.is_some() {
            self.forget_movers();
        }
        self.adopt_counters();
        Ok(())
    }

    /// Nobody has moved: static entries go, too, and come again.
    fn forget_movers(&mut self) {
        let fdb = self.engine.fdb();
        fdb.flush_where(|_, _| true);
        self.reference.flaps.retain(|_, _| false);
        for ((network, mac), station) in &self.reference.fdb {
            // Where there is no room there was none before.
            let _ = fdb.add_static(
                NetworkIndex::new(*network),
                Mac(*mac),
                port_index(station.port),
            );
        }
    }

    fn adopt_counters(&mut self) {
        let workers = self.engine.counters();
        for (place, counts) in self.reference.meters.counted() {
            *counts = counted(self.engine.rules(), place);
        }
        for (rule, counts) in self.reference.hits.counted() {
            *counts = met(&self.engine, rule);
        }
        for port in &self.ports {
            let real = totals(&self.engine.port_totals(port_index(*port)));
            self.reference.totals.insert(*port, real);
        }
        self.reference.copies = workers.iter().map(|worker| worker.copies.get()).sum();
        for network in &self.flooded {
            let index = NetworkIndex::new(*network);
            let real = workers
                .iter()
                .map(|worker| worker.flooded(index).get())
                .sum();
            self.reference.flooded.insert(*network, real);
        }
    }
}

/// What the policer of a place has counted.
fn counted(rules: &Ruleset, place: Place) -> Counted {
    let qos = &rules.qos;
    let policer = match place {
        Place::FromPort(port) => &qos.from_port[port],
        Place::ToPort(port) => &qos.to_port[port],
        Place::FromNetwork(network) => &qos.from_network[network],
        Place::ToNetwork(network) => &qos.to_network[network],
        Place::Rule(list, position) => {
            let acts = qos.acts(rules.hits[list][position]);
            &acts.expect("the rule does something").policer
        }
    };
    let policer = policer.as_ref().expect("a policer is there");
    Colour::ALL.map(|colour| {
        let metered = policer.metered(colour);
        (metered.frames, metered.bytes)
    })
}

/// What has met the rule at a position of a list.
fn met(engine: &Engine, (list, position): (usize, usize)) -> hits::Counted {
    let HitTotals { frames, bytes } = engine.hits(engine.rules().hits[list][position]);
    (frames, bytes)
}

fn without_queues(frames: Vec<(usize, Vec<u8>)>) -> Vec<Vec<u8>> {
    frames.into_iter().map(|(_, frame)| frame).collect()
}

/// Frames by the queue that they have waited in.
fn by_queue(frames: Vec<(usize, Vec<u8>)>) -> Vec<Vec<Vec<u8>>> {
    let mut queues = Vec::new();
    for (queue, frame) in frames {
        queues.resize(queues.len().max(queue + 1), Vec::new());
        queues[queue].push(frame);
    }
    queues
}

/// All frames by one queue of the device, and in this order within each class's queue.
fn check_queues(real: Vec<Vec<Vec<u8>>>, expected: Vec<Vec<Vec<u8>>>) -> Result<(), Difference> {
    let mut used = real.into_iter().filter(|frames| !frames.is_empty());
    let frames = used.next().unwrap_or_default();
    if used.next().is_some() {
        return Err("one flow by two queues".into());
    }
    let mut queues: Vec<_> = expected.into_iter().map(Vec::into_iter).collect();
    for (position, frame) in frames.iter().enumerate() {
        let first =
            |queue: &&mut std::vec::IntoIter<Vec<u8>>| queue.as_slice().first() == Some(frame);
        if queues
            .iter_mut()
            .find(first)
            .and_then(Iterator::next)
            .is_none()
        {
            let next = queues.iter().filter_map(|queue| queue.as_slice().first());
            let next: Vec<String> = next.map(|frame| hex(frame)).collect();
            return Err(format!("frame {position} is {}, not {next:?}", hex(frame)));
        }
    }
    match queues.iter_mut().find_map(Iterator::next) {
        Some(missing) => Err(format!(
            "frame {} is nothing, not {}",
            frames.len(),
            hex(&missing)
        )),
        None => Ok(()),
    }
}

/// The same frames, each flow by one queue and in its order; so many may be missing.
fn check_flows(
    real: Vec<Vec<Vec<u8>>>,
    expected: Vec<(usize, Vec<u8>)>,
    missing: u64,
) -> Result<(), Difference> {
    let waited: HashMap<&[u8], usize> = expected.iter().map(|(q, f)| (f.as_slice(), *q)).collect();
    // By the queue that frames came in by and that they waited in: the queue that they left by, and
    // the last number.
    let mut flows: BTreeMap<(u16, u16, usize), (usize, u32)> = BTreeMap::new();
    for (queue, frames) in real.iter().enumerate() {
        let stamped = |frame| Some((stamp_of(frame)?, waited.get(frame)?));
        for (stamp, waited) in frames.iter().filter_map(|frame| stamped(frame.as_slice())) {
            let flow = (stamp.port, stamp.queue, *waited);
            let (by, last) = flows.entry(flow).or_insert((queue, 0));
            if *by != queue || *last >= stamp.number {
                return Err(format!(
                    "{stamp:?} after number {last}, by queues {by} and {queue}"
                ));
            }
            *last = stamp.number;
        }
    }
    let mut real: Vec<Vec<u8>> = real.into_iter().flatten().collect();
    same("number", real.len() as u64, expected.len() as u64 - missing)?;
    real.sort_unstable();
    let mut expected = without_queues(expected);
    expected.sort_unstable();
    let mut expected = expected.iter();
    for frame in &real {
        if !expected.any(|other| other == frame) {
            return Err(format!("surplus {}", hex(frame)));
        }
    }
    Ok(())
}

fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    real: T,
    expected: T,
) -> Result<(), Difference> {
    if real == expected {
        Ok(())
    } else {
        Err(format!(
            "{what}: the switch has {real:x?}, the reference {expected:x?}"
        ))
    }
}

/// The start of a frame and its size.
pub fn hex(frame: &[u8]) -> String {
    let start: String = frame
        .iter()
        .take(40)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{start}.. ({} bytes)", frame.len())
}

fn totals(real: &PortTotals) -> Totals {
    let drops = DropReason::ALL.iter().zip(&real.drops);
    Totals {
        rx_frames: real.rx_frames,
        rx_bytes: real.rx_bytes,
        tx_frames: real.tx_frames,
        tx_bytes: real.tx_bytes,
        drops: drops
            .filter(|(_, count)| **count > 0)
            .map(|(reason, count)| (*reason, *count))
            .collect(),
    }
}
