//! A switch from a configuration file, with a simulated wire at each port.

use std::collections::BTreeMap;

use switch_core::{
    clock::Tick,
    config::{Indices, compile, parse},
    counters::DropReason,
    engine::{Engine, Options, Outcome},
    limits::{NetworkIndex, PortIndex},
    mem::HugePages,
    port::{Queue, SimQueue, SimWire},
    wire::ethernet::Mac,
};

/// TPID of a customer tag.
pub const C: u16 = 0x8100;
/// TPID of a service tag.
pub const S: u16 = 0x88a8;
/// The broadcast address.
pub const ALL: Mac = Mac::BROADCAST;

/// A station's address.
pub const fn station(number: u8) -> Mac {
    Mac([2, 0, 0, 0, 0, number])
}

/// A frame with these tags, TPID and TCI, and a payload of 46 bytes.
pub fn frame(destination: Mac, source: Mac, tags: &[(u16, u16)]) -> Vec<u8> {
    let words = tags.iter().flat_map(|(tpid, tci)| [*tpid, *tci]);
    let tags: Vec<u8> = words.flat_map(u16::to_be_bytes).collect();
    let payload: Vec<u8> = (0..46).collect();
    [
        &destination.0[..],
        &source.0,
        &tags,
        &[0x08, 0x00],
        &payload,
    ]
    .concat()
}

/// The switch.
pub struct Scene {
    pub engine: Engine,
    indices: Indices,
    wires: BTreeMap<String, SimWire>,
    /// Frames that were traced before they were sent.
    traced: usize,
}

/// A trace copies the whole switch: enough of them for what tests of policers send by thousands.
const MOST_TRACES: usize = 100;

/// Frames by port, and drops by port and reason.
type Effects = (Vec<(String, Vec<u8>)>, Vec<(String, DropReason)>);

impl Scene {
    /// A switch with these rules, all devices attached and up, and an MTU of 1500.
    pub fn new(file: &str) -> Self {
        let options = Options {
            cores: vec![None; 2],
            chunks: 1024,
            huge_pages: HugePages::No,
            fdb_capacity: 1024,
            hash_key: [1, 2],
            idle: Default::default(),
        };
        let mut scene = Self {
            engine: Engine::manual(&options).expect("an engine"),
            indices: Indices::new(),
            wires: BTreeMap::new(),
            traced: 0,
        };
        scene.reload(file);
        let names: Vec<String> = ports(&scene);
        for name in names {
            scene.attach(&name);
        }
        scene
    }

    /// Applies other rules.
    pub fn reload(&mut self, file: &str) {
        let config = parse("scene.toml", file).unwrap_or_else(|report| panic!("{report}"));
        let compiled = compile(&config, &self.indices).expect("compiled");
        self.indices = compiled.indices;
        self.engine.apply(compiled.rules).expect("applied");
        for port in compiled.retired_ports {
            self.indices.release_port(port);
        }
        for network in compiled.retired_networks {
            self.indices.release_network(network);
        }
    }

    pub fn attach(&mut self, name: &str) {
        let wire = SimWire::new();
        let queues = vec![Queue::Sim(SimQueue::new(wire.clone()))];
        self.engine
            .attach(self.port(name), queues, 1500)
            .expect("attached");
        self.wires.insert(name.to_owned(), wire);
    }

    pub fn port(&self, name: &str) -> PortIndex {
        self.indices.port(name).expect("a port")
    }

    pub fn network(&self, name: &str) -> NetworkIndex {
        self.indices.network(name).expect("a network")
    }

    pub fn set_now(&mut self, tick: u32) {
        self.engine.set_now(Tick(tick));
    }

    /// Lets a port take so many more frames.
    pub fn set_room(&mut self, port: &str, frames: usize) {
        self.wires[port].set_room(frames);
    }

    /// Puts a frame into a port's queue and does not let it be forwarded yet.
    pub fn queue(&mut self, port: &str, frame: &[u8]) {
        self.wires[port].send(frame);
    }

    /// Lets a port receive a frame; gives what leaves, by the port's name. What a trace says of
    /// the frame before has to be that.
    pub fn send(&mut self, port: &str, frame: &[u8]) -> Vec<(String, Vec<u8>)> {
        self.traced += 1;
        if self.traced > MOST_TRACES {
            self.queue(port, frame);
            return self.settle();
        }
        let said = self.effects_of(&self.trace(port, frame), port);
        let before = self.all_drops();
        self.queue(port, frame);
        let sent = self.settle();
        let mut after = self.all_drops();
        for drop in &before {
            let position = after.iter().position(|it| it == drop);
            after.remove(position.expect("drops are not taken back"));
        }
        assert_eq!((sent.clone(), after), said, "of {frame:02x?} from {port}");
        sent
    }

    /// What would become of a frame.
    pub fn trace(&self, port: &str, frame: &[u8]) -> Outcome {
        let port = self.port(port);
        let mut switch = self.engine.dry_run().expect("a copy of the switch");
        switch.forward(port, frame)
    }

    /// What a trace says that can be seen.
    fn effects_of(&self, outcome: &Outcome, ingress: &str) -> Effects {
        let name = |port| {
            self.engine
                .rules()
                .port(port)
                .expect("a port")
                .name
                .to_string()
        };
        let (mut sent, mut drops) = Effects::default();
        drops.extend(
            outcome
                .dropped
                .map(|(_, reason)| (ingress.to_owned(), reason)),
        );
        for way in &outcome.ways {
            match &way.result {
                Ok(bytes) => sent.push((name(way.port), bytes.clone())),
                Err(reason) => drops.push((name(way.port), *reason)),
            }
        }
        sent.sort();
        drops.sort();
        (sent, drops)
    }

    /// Every drop that was counted, as often as it was.
    fn all_drops(&self) -> Vec<(String, DropReason)> {
        let mut drops = Vec::new();
        for name in ports(self) {
            let totals = self.engine.port_totals(self.port(&name));
            for reason in DropReason::ALL {
                let count = totals.dropped(*reason) as usize;
                drops.extend(vec![(name.clone(), *reason); count]);
            }
        }
        drops.sort();
        drops
    }

    /// Lets the workers do what there is to do; gives what leaves.
    pub fn settle(&mut self) -> Vec<(String, Vec<u8>)> {
        while self.engine.turn() > 0 {}
        let frames = self.wires.iter().flat_map(|(name, wire)| {
            std::iter::from_fn(|| wire.receive()).map(|frame| (name.clone(), frame))
        });
        frames.collect()
    }

    /// The names of the ports that such a frame leaves by.
    pub fn reached(&mut self, port: &str, frame: &[u8]) -> Vec<String> {
        let frames = self.send(port, frame);
        frames.into_iter().map(|(port, _)| port).collect()
    }

    /// The one drop that was counted since the switch began, and at which port.
    pub fn only_drop(&self) -> Option<(String, DropReason)> {
        let mut found = None;
        for name in ports(self) {
            let totals = self.engine.port_totals(self.port(&name));
            for reason in DropReason::ALL {
                match totals.dropped(*reason) {
                    0 => {}
                    1 if found.is_none() => found = Some((name.clone(), *reason)),
                    count => panic!("{count} times {reason:?} at {name}, after {found:?}"),
                }
            }
        }
        found
    }

    /// How often a port dropped frames for a reason.
    pub fn drops(&self, port: &str, reason: DropReason) -> u64 {
        self.engine.port_totals(self.port(port)).dropped(reason)
    }
}

fn ports(scene: &Scene) -> Vec<String> {
    let ports = scene.engine.rules().ports.iter().flatten();
    ports.map(|port| port.name.to_string()).collect()
}
