//! One world: a topology, stations, and a sequence of random steps, each of which depends on the
//! seed and its own number alone, so that a failing world can be run again with fewer steps.

use std::collections::{BTreeMap, BTreeSet};

use switch_core::{config::Indices, limits::HANDOFF_RING_SIZE};

use super::{
    acl, classes,
    flap::{self, Flaps},
    frames::Stations,
    guard, meter,
    reference::Reference,
    rng::Rng,
    rules::{Address, Rules, Static, compile},
    switch::{Arrivals, Control, Difference, Size, Strictness, Switch, hex},
    toml::{render, through_file},
    topology::Topology,
    wrong::Wrong,
};

/// What is run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub seed: u64,
    /// Steps that are left out.
    pub without: BTreeSet<usize>,
    /// The steps end before this one.
    pub end: Option<usize>,
    /// What the reference does wrong.
    pub wrong: Option<Wrong>,
    /// Say what is done.
    pub verbose: bool,
}

/// How a world ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Frames that the switch with one worker received.
    pub frames: u64,
    /// Addresses that it has quarantined, and those of them that have moved again afterwards.
    pub quarantined: u64,
    pub recovered: u64,
    /// What differed, and in which step.
    pub failure: Option<(usize, Difference)>,
    /// What was done, when that was asked for.
    pub log: Vec<String>,
}

/// A port that takes part.
#[derive(Clone, Copy, Debug)]
struct Attached {
    queues: usize,
    up: bool,
    mtu: u32,
}

struct World {
    topology: Topology,
    stations: Stations,
    rules: Rules,
    attached: BTreeMap<usize, Attached>,
    now: u64,
    /// One with one worker, and one with several.
    switches: Vec<Switch>,
    /// Where the rules go through a file, the indices that it got so far.
    indices: Option<Indices>,
    /// There may be access control lists.
    lists: bool,
    /// There may be guards of ports.
    guards: bool,
    /// There may be policers and storm control.
    meters: bool,
    /// There may be traffic classes and queues.
    classes: bool,
    /// There may be limits to how often addresses move.
    flaps: bool,
    /// All pools and tables have room for everything.
    roomy: bool,
    frames: u64,
    verbose: bool,
    log: Vec<String>,
}

/// Runs a world.
pub fn run(plan: &Plan) -> Outcome {
    let mut world = World::new(plan);
    let steps = Rng::new(plan.seed, u64::MAX).range(20, 120);
    let mut failure = None;
    for step in 0..steps.min(plan.end.unwrap_or(steps)) {
        if plan.without.contains(&step) {
            continue;
        }
        let mut rng = Rng::new(plan.seed, step as u64 + 1);
        if let Err(difference) = world.step(step, &mut rng) {
            // A crowded table refuses addresses, and that is no difference.
            let crowded = world.roomy && world.switches.iter().any(Switch::table_was_full);
            failure = (!crowded).then_some((step, difference));
            break;
        }
    }
    let Flaps {
        quarantined,
        recovered,
        ..
    } = world.switches[0].reference.flaps;
    let World {
        switches,
        frames,
        log,
        ..
    } = world;
    for switch in switches {
        let result = switch.finish();
        if failure.is_none() {
            failure = result.err().map(|difference| (steps, difference));
        }
    }
    Outcome {
        frames,
        quarantined,
        recovered,
        failure,
        log,
    }
}

/// When a world begins. Ticks wrap, the time of what is measured never does: no switch runs for 136
/// years.
fn beginning(now: u64, may_measure: bool) -> u64 {
    if may_measure { now % (1 << 31) } else { now }
}

/// Chunks of the region, in a world of this kind that may have queues.
fn chunks(rng: &mut Rng, kind: usize, may_queue: bool) -> usize {
    match kind {
        1 => rng.pick(&[64, 128, 320]),
        // A quarter of them waits, and each of two ports with up to three queues has all that it
        // may be sent at once in one of them.
        _ if may_queue => 16_384,
        _ => 3072,
    }
}

impl World {
    fn new(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed, 0);
        let through_file = rng.chance(60);
        let mut topology = Topology::new(&mut rng, through_file);
        let stations = Stations::new(&mut rng);
        let mut rules = topology.rules(&mut rng, &stations.macs);
        let mut policy = Rng::new(plan.seed, u64::MAX - 1);
        let lists = through_file && policy.chance(85);
        if lists {
            acl::decorate(&mut policy, &mut rules);
        }
        let guards = through_file && policy.chance(60);
        if guards {
            guard::decorate(&mut policy, &mut rules, &stations.macs);
        }
        let meters = through_file && policy.chance(50);
        if meters {
            meter::decorate(&mut policy, &mut rules);
            acl::police(&mut policy, &mut rules);
        }
        let mut qos = Rng::new(plan.seed, u64::MAX - 2);
        let classes = through_file && qos.chance(50);
        if classes {
            classes::decorate(&mut qos, &mut rules);
        }
        let mut movers = Rng::new(plan.seed, u64::MAX - 3);
        let flaps = movers.chance(35);
        if flaps {
            flap::decorate(&mut movers, &mut rules);
        }
        let kind = rng.weighted(&[88, 7, 5]);
        let now = rng.pick(&[0, 1000, (1 << 27) - 50, (1 << 32) - 50]);
        let now = beginning(now, meters || guards);
        let several = rng.range(2, 3);
        let reference = Reference {
            now,
            wrong: plan.wrong,
            ..Reference::default()
        };
        let size = |workers| Size {
            workers,
            chunks: chunks(&mut rng.clone(), kind, classes),
            fdb_capacity: if kind == 2 { 16 } else { 2048 },
            flows: policy.clone().pick(&[0, 1, 8, 1024, 1024]) * usize::from(workers > 1)
                + policy.clone().pick(&[0, 1, 8, 1024]) * usize::from(workers == 1),
        };
        let switch = |workers| Switch::new(size(workers), reference.clone());
        Self {
            topology,
            stations,
            rules,
            attached: BTreeMap::new(),
            now,
            switches: vec![switch(1), switch(several)],
            indices: through_file.then(Indices::new),
            lists,
            guards,
            meters,
            classes,
            flaps,
            roomy: kind == 0,
            frames: 0,
            verbose: plan.verbose,
            log: Vec::new(),
        }
    }

    fn say(&mut self, text: impl FnOnce() -> String) {
        if self.verbose {
            self.log.push(text());
        }
    }

    /// The same for both switches.
    fn both(
        &mut self,
        mut act: impl FnMut(&mut Switch) -> Result<(), Difference>,
    ) -> Result<(), Difference> {
        for switch in &mut self.switches {
            let workers = switch.engine.workers();
            act(switch).map_err(|text| format!("{workers} worker(s): {text}"))?;
        }
        Ok(())
    }

    fn step(&mut self, step: usize, rng: &mut Rng) -> Result<(), Difference> {
        self.say(|| format!("step {step}:"));
        if self.switches[0].reference.rules.ports.is_empty() {
            self.begin(rng)?;
        }
        match rng.weighted(&[54, 12, 8, 4, 4, 4, 6, 4, 4]) {
            0 => self.receive(rng),
            1 => self.storm(rng),
            2 => self.wait(rng),
            3 => self.flap(rng),
            4 => self.plug(rng),
            5 => self.swap(rng),
            6 => self.operate(rng),
            7 => self.upheave(rng),
            _ => self.trace(rng),
        }
    }

    /// Applies the first rules and attaches most ports.
    fn begin(&mut self, rng: &mut Rng) -> Result<(), Difference> {
        let control = self.compile(self.rules.clone())?;
        self.control(&[control], &Arrivals::default(), 0)?;
        for port in self.rules.ports.keys().copied().collect::<Vec<_>>() {
            if rng.chance(95) {
                self.attach(rng, port, &Arrivals::default())?;
            }
        }
        Ok(())
    }

    fn control(
        &mut self,
        controls: &[Control],
        queued: &Arrivals,
        turns: usize,
    ) -> Result<(), Difference> {
        for control in controls {
            self.say(|| match control {
                Control::Apply { rules, .. } => format!("  {rules:?}"),
                control => format!("  {control:?}"),
            });
        }
        self.say(|| format!("  meanwhile, after {turns} turns, {}", describe(queued)));
        self.frames += queued.frames.len() as u64;
        self.both(|switch| switch.control(controls, queued, turns))
    }

    /// Compiles the rules that are to come into force, in some worlds through a file.
    fn compile(&mut self, rules: Rules) -> Result<Control, Difference> {
        let (rules, compiled) = match &mut self.indices {
            Some(indices) => through_file(&rules, indices)?,
            None => (rules.clone(), compile(&rules)),
        };
        if self.indices.is_some() {
            self.say(|| render(&rules));
        }
        self.rules = rules.clone();
        let compiled = Box::new(compiled);
        Ok(Control::Apply { rules, compiled })
    }

    fn attach(&mut self, rng: &mut Rng, port: usize, queued: &Arrivals) -> Result<(), Difference> {
        let queues = rng.pick(&[1, 1, 1, 2, 3]);
        let mtu = rng.pick(&[1500, 1500, 1500, 1500, 9000, 9216, 68, 1496]);
        self.attached.insert(
            port,
            Attached {
                queues,
                up: true,
                mtu,
            },
        );
        self.control(&[Control::Attach { port, queues, mtu }], queued, 0)
    }

    /// Frames for a queue, as many as the pools and rings have room for when all are flooded.
    fn arrivals(&mut self, rng: &mut Rng, port: usize, count: usize) -> Arrivals {
        let queue = rng.below(self.attached[&port].queues);
        let ports = self.attached.len().max(1);
        let mut chunks = 1800 / ports;
        // A worker that owns nine ports takes that many floods at a time and no more.
        let most = if ports > 9 {
            HANDOFF_RING_SIZE / ports
        } else {
            count
        };
        let mut frames: Vec<Vec<u8>> = Vec::new();
        // Flows of several frames, which may take shortcuts.
        let talks = rng.chance(30);
        for _ in 0..count.min(most) {
            let frame = match frames.last() {
                Some(last) if talks && rng.chance(70) => self.stations.another(last),
                _ => self.stations.frame(rng, &self.rules, port, queue),
            };
            let needed = frame.len().div_ceil(1792).max(1);
            if self.roomy && needed > chunks {
                break;
            }
            chunks = chunks.saturating_sub(needed);
            frames.push(frame);
        }
        // The reference remembers whoever has moved, the switch as many as it has room for.
        if rng.chance(3) && !self.flaps {
            self.stations.strangers(rng, &mut frames);
        }
        if self.meters && rng.chance(30) {
            self.stations.storm(rng, &mut frames);
        }
        Arrivals {
            port,
            queue,
            frames,
        }
    }

    fn count(&self, rng: &mut Rng) -> usize {
        match rng.weighted(&[30, 40, 20, 10]) {
            0 => rng.range(1, 4),
            1 => rng.range(5, 63),
            2 => 64,
            _ => rng.range(65, 200),
        }
    }

    fn an_attached(&self, rng: &mut Rng) -> Option<usize> {
        rng.choose(self.attached.keys().copied())
    }

    fn has_queues(&self, port: usize) -> bool {
        let port = self.rules.ports.get(&port);
        port.is_some_and(|port| port.classes.scheduler.is_some())
    }

    /// One queue receives.
    fn receive(&mut self, rng: &mut Rng) -> Result<(), Difference> {
        let Some(port) = self.an_attached(rng) else {
            return Ok(());
        };
        // Enough to empty a bucket.
        let count = match self.meters && rng.chance(30) {
            true => 200,
            false => self.count(rng),
        };
        let arrivals = self.arrivals(rng, port, count);
        let mut rooms = Vec::new();
        while rng.chance(15) {
            rooms.extend(self.an_attached(rng).map(|port| (port, rng.below(40))));
        }
        // Where frames wait, they wait for room too: that is a matter of time, and of other tests.
        rooms.retain(|(port, _)| !self.has_queues(*port));
        self.say(|| format!("  room {rooms:?}, {}", describe(&arrivals)));
        self.frames += arrivals.frames.len() as u64;
        let strictness = if self.roomy {
            Strictness::Same
        } else {
            Strictness::Possible
        };
        self.both(|switch| {
            for (port, room) in &rooms {
                switch.set_room(*port, Some(*room));
            }
            switch.receive(std::slice::from_ref(&arrivals), strictness)?;
            for (port, _) in &rooms {
                switch.set_room(*port, None);
            }
            Ok(())
        })
    }

    /// One frame is traced, and then received.
    fn trace(&mut self, rng: &mut Rng) -> Result<(), Difference> {
        let Some(port) = self.an_attached(rng).filter(|_| self.roomy) else {
            return Ok(());
        };
        let mut arrivals = self.arrivals(rng, port, 1);
        arrivals.frames.truncate(1);
        self.say(|| format!("  traced {}", describe(&arrivals)));
        self.frames += arrivals.frames.len() as u64;
        self.both(|switch| switch.receive_as_traced(&arrivals))
    }

    /// Something may depend on which frames came first: a guard that is strict limits storms.
    fn may_measure(&self) -> bool {
        self.meters || self.guards
    }

    /// Many queues receive at once. So that their order cannot matter, all stations that speak have
    /// spoken from where they are just before.
    fn storm(&mut self, rng: &mut Rng) -> Result<(), Difference> {
        let up: Vec<usize> = self
            .attached
            .iter()
            .filter(|(_, a)| a.up)
            .map(|(p, _)| *p)
            .collect();
        // What is measured depends on the order, here between queues.
        if up.is_empty() || self.may_measure() && self.roomy {
            return Ok(());
        }
        let mut all: Vec<Arrivals> = Vec::new();
        for _ in 0..rng.range(2, 8) {
            let port = rng.pick(&up);
            let (count, known) = (rng.range(1, 40), all.len());
            let arrivals = self.arrivals(rng, port, count);
            let same = |other: &Arrivals| (other.port, other.queue) == (port, arrivals.queue);
            if all.iter().take(known).any(same) {
                continue;
            }
            all.push(arrivals);
        }
        let strictness = if self.roomy {
            Strictness::SameFlows
        } else {
            Strictness::Possible
        };
        if self.roomy {
            for arrivals in all.clone() {
                self.say(|| format!("  first {}", describe(&arrivals)));
                self.frames += arrivals.frames.len() as u64;
                self.both(|switch| {
                    switch.receive(std::slice::from_ref(&arrivals), Strictness::Same)
                })?;
            }
            let reference = &self.switches[0].reference;
            for arrivals in &mut all {
                let port = arrivals.port;
                arrivals
                    .frames
                    .retain(|frame| teaches_nothing(reference, port, frame));
            }
            let mut left = 1800 / self.attached.len();
            for arrivals in &mut all {
                arrivals.frames.truncate(left / 2);
                left -= arrivals.frames.len();
            }
        }
        self.say(|| {
            format!(
                "  at once {:?}",
                all.iter().map(describe).collect::<Vec<_>>()
            )
        });
        self.frames += all
            .iter()
            .map(|arrivals| arrivals.frames.len() as u64)
            .sum::<u64>();
        self.both(|switch| switch.receive(&all, strictness))
    }

    /// Time passes.
    fn wait(&mut self, rng: &mut Rng) -> Result<(), Difference> {
        let ageing = u64::from(self.rules.ageing_s);
        self.now += match rng.weighted(&[30, 30, 20, 10, 10]) {
            0 => 1,
            1 => rng.range(2, 9) as u64,
            2 => ageing,
            3 => ageing + 1,
            _ => ageing / 2,
        };
        let (now, age) = (self.now, rng.chance(60));
        self.say(|| format!("  now it is {now}, ageing: {age}"));
        self.both(|switch| {
            switch.set_now(now);
            if age { switch.age() } else { Ok(()) }
        })
    }

    /// Frames that wait while the control thread does something, or none.
    fn queued(&mut self, rng: &mut Rng, count: usize) -> Arrivals {
        let port = self
            .an_attached(rng)
            .filter(|_| self.roomy && rng.chance(60));
        let Some(port) = port else {
            return Arrivals::default();
        };
        self.arrivals(rng, port, count)
    }

    /// A device goes down, or up, or gets another MTU.
    fn flap(&mut self, rng: &mut Rng) -> Result<(), Difference> {
        let Some(port) = self.an_attached(rng) else {
            return Ok(());
        };
        let count = self.count(rng);
        let queued = self.queued(rng, count);
        let attached = self.attached.get_mut(&port).expect("attached");
        match attached.up {
            true if rng.chance(60) => attached.up = false,
            true => attached.mtu = rng.pick(&[1500, 1400, 9000]),
            false => attached.up = true,
        }
        let Attached { up, mtu, .. } = *attached;
        self.control(&[Control::Link { port, up, mtu }], &queued, 0)
    }

    /// A device comes or goes.
    fn plug(&mut self, rng: &mut Rng) -> Result<(), Difference> {
        let Some(port) = rng.choose(self.rules.ports.keys().copied()) else {
            return Ok(());
        };
        let count = self.count(rng);
        let queued = self.queued(rng, count);
        if self.attached.contains_key(&port) {
            self.attached.remove(&port);
            self.control(&[Control::Detach { port }], &queued, 0)
        } else {
            self.attach(rng, port, &queued)
        }
    }

    fn other_rules(&mut self, rng: &mut Rng) -> Rules {
        let mut rules = self.topology.change(rng, &self.rules, &self.stations.macs);
        if self.lists && rng.chance(60) {
            acl::decorate(rng, &mut rules);
        }
        if self.guards && rng.chance(50) {
            guard::decorate(rng, &mut rules, &self.stations.macs);
        }
        if self.meters {
            if rng.chance(50) {
                meter::decorate(rng, &mut rules);
            }
            // Rules that are new have none yet, and those that stay may name one that is gone.
            acl::police(rng, &mut rules);
        }
        if self.classes && rng.chance(60) {
            classes::decorate(rng, &mut rules);
        }
        if self.flaps && rng.chance(40) {
            flap::decorate(rng, &mut rules);
        }
        rules
    }

    /// The configuration changes, now and then twice before the workers come to rest.
    fn swap(&mut self, rng: &mut Rng) -> Result<(), Difference> {
        // What waits to be sent may not find its queue again.
        let (times, turns) = match self.classes {
            true => (1, 0),
            false => (rng.pick(&[1, 1, 2]), rng.below(3)),
        };
        let mut controls = Vec::new();
        let attached = self.attached.len();
        for _ in 0..times {
            let rules = self.other_rules(rng);
            controls.push(self.compile(rules)?);
            let ports = &self.rules.ports;
            self.attached.retain(|port, _| ports.contains_key(port));
        }
        // With frames in the queues only when no port goes: that would be several steps in one.
        let queued = if self.attached.len() == attached {
            // Some are left for every turn.
            let count = if turns > 0 { 200 } else { self.count(rng) };
            self.queued(rng, count)
        } else {
            Arrivals::default()
        };
        self.control(&controls, &queued, turns)?;
        for port in self.rules.ports.keys().copied().collect::<Vec<_>>() {
            if !self.attached.contains_key(&port) && rng.chance(60) {
                self.attach(rng, port, &Arrivals::default())?;
            }
        }
        Ok(())
    }

    /// Something changes while several queues receive.
    fn upheave(&mut self, rng: &mut Rng) -> Result<(), Difference> {
        let mut all: Vec<Arrivals> = Vec::new();
        for port in self.attached.keys().copied().collect::<Vec<_>>() {
            if rng.chance(60) {
                let count = self.count(rng);
                all.push(self.arrivals(rng, port, count));
            }
        }
        self.frames += all
            .iter()
            .map(|arrivals| arrivals.frames.len() as u64)
            .sum::<u64>();
        let port = rng.choose(self.rules.ports.keys().copied()).expect("ports");
        let attached = self.attached.get(&port).copied();
        let control = match (rng.below(3), attached) {
            (0, _) => {
                let rules = self.other_rules(rng);
                self.compile(rules)?
            }
            (_, None) => {
                let (queues, mtu) = (1, 1500);
                self.attached.insert(
                    port,
                    Attached {
                        queues,
                        up: true,
                        mtu,
                    },
                );
                Control::Attach { port, queues, mtu }
            }
            (1, Some(Attached { up, mtu, .. })) => {
                self.attached.get_mut(&port).expect("attached").up = !up;
                Control::Link { port, up: !up, mtu }
            }
            (_, Some(_)) => {
                self.attached.remove(&port);
                Control::Detach { port }
            }
        };
        let rules = &self.rules;
        self.attached
            .retain(|port, _| rules.ports.contains_key(port));
        let turns = rng.below(4);
        self.say(|| format!("  {turns} turns, then {control:?}"));
        self.say(|| {
            format!(
                "  meanwhile {:?}",
                all.iter().map(describe).collect::<Vec<_>>()
            )
        });
        self.both(|switch| switch.upheave(&all, turns, &control))?;
        // Nobody knows which frames came in time to be measured: until all buckets are full again.
        self.now += if self.may_measure() { 1000 } else { 0 };
        let now = self.now;
        self.both(|switch| {
            switch.set_now(now);
            Ok(())
        })
    }

    /// Somebody works on the forwarding database.
    fn operate(&mut self, rng: &mut Rng) -> Result<(), Difference> {
        if !self.roomy {
            return Ok(());
        }
        let macs: Vec<Address> = self.stations.macs.clone();
        let mac = if rng.chance(90) {
            rng.pick(&macs)
        } else {
            [1, 0, 0, 0, 0, 1]
        };
        let network = rng
            .choose(self.rules.networks.keys().copied())
            .expect("networks");
        let port = rng.choose(self.rules.ports.keys().copied()).expect("ports");
        match rng.below(4) {
            0 => {
                self.say(|| format!("  static {network} {mac:x?} at {port}"));
                self.both(|switch| switch.add_static(Static { network, mac, port }))
            }
            1 => {
                self.say(|| format!("  remove {network} {mac:x?}"));
                self.both(|switch| switch.remove(network, mac))
            }
            _ => {
                let network = rng.chance(50).then_some(network);
                let port = rng.chance(50).then_some(port);
                let mac = rng.chance(30).then_some(mac);
                let statics = rng.chance(20);
                self.say(|| format!("  flush {network:?} {port:?} {mac:x?} {statics}"));
                self.both(|switch| switch.flush(network, port, mac, statics))
            }
        }
    }
}

/// Whether receiving this frame changes no entry: its source is known, here and now, or it is one
/// that is not learnt.
fn teaches_nothing(reference: &Reference, port: usize, frame: &[u8]) -> bool {
    let Ok(network) = reference.network_of(port, frame) else {
        return true;
    };
    let source: Address = frame[6..12].try_into().expect("6 bytes");
    let station = reference.fdb.get(&(network, source));
    station.is_some_and(|s| s.seen.is_none() || (s.port, s.seen) == (port, Some(reference.now)))
}

fn describe(arrivals: &Arrivals) -> String {
    let Arrivals {
        port,
        queue,
        frames,
    } = arrivals;
    let frames: Vec<String> = frames.iter().map(|frame| hex(frame)).collect();
    format!("port {port} queue {queue} receives {frames:?}")
}
