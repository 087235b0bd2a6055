//! Nothing is allocated or freed while frames are forwarded.

use shunt_tests::alloc::count;
use switch_core::{
    clock::Tick,
    config::snapshot::Role,
    counters::DropReason,
    engine::{Engine, Options},
    limits::PortIndex,
    mem::HugePages,
    port::{Queue, SimQueue, SimWire},
};

use super::rules::{Accept, Address, Membership, Network, Port, Rules, Static, compile};
use super::{
    acl::Attached,
    classes::Classes,
    guard::Security,
    meter::{Policed, Storms},
};

const TURNS: usize = 2000;
const ACCESS: usize = 0;
const OTHER_ACCESS: usize = 1;
const TRUNK: usize = 2;
const LIMITED: usize = 3;

fn rules() -> Rules {
    let network = |name: &str, vid| Network {
        name: name.to_owned(),
        vid,
        acls: Attached::default(),
        policed: Policed::default(),
    };
    let port = |name: &str, membership, mac_limit| Port {
        name: name.to_owned(),
        role: Role::Guest,
        isolated: false,
        tpid: 0x8100,
        mac_limit,
        accept: Accept::All,
        membership,
        acls: Attached::default(),
        policed: Policed::default(),
        security: Security::default(),
        storms: Storms::default(),
        classes: Classes::default(),
    };
    let trunk = Membership::Trunk {
        native: None,
        native_tagged: false,
        tagged: vec![(20, 0)],
    };
    let ports = [
        port("access", Membership::Access(0), None),
        port("other", Membership::Access(0), None),
        port("trunk", trunk, None),
        port("limited", Membership::Access(0), Some(2)),
    ];
    Rules {
        ageing_s: 100,
        networks: [(0, network("web", Some(20)))].into(),
        ports: ports.into_iter().enumerate().collect(),
        statics: vec![Static {
            network: 0,
            mac: station(9, 0),
            port: TRUNK,
        }],
        ..Rules::default()
    }
}

fn station(port: usize, number: usize) -> Address {
    [2, 0, 0, number as u8, (number >> 8) as u8, port as u8]
}

/// All that a turn can meet, for each port: its own tag, or another's.
fn frames(round: usize) -> Vec<(usize, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut add = |port: usize, destination: Address, source: Address, rest: &[u8], size| {
        let mut frame = [&destination[..], &source, rest].concat();
        frame.resize(size, round as u8);
        frames.push((port, frame));
    };
    let (plain, tagged) = (&[8, 0][..], &[0x81, 0, 0x60, 20, 8, 0][..]);
    let all = [0xff; 6];
    for (port, header) in [
        (ACCESS, plain),
        (OTHER_ACCESS, plain),
        (TRUNK, tagged),
        (LIMITED, plain),
    ] {
        let own = station(port, 0);
        add(port, all, own, header, 64); // floods
        add(port, all, own, header, 9000); // floods, in several segments
        for to in [ACCESS, OTHER_ACCESS, TRUNK, LIMITED] {
            add(port, station(to, 0), own, header, 60); // hits, one of them the same port
        }
        add(port, station(9, 0), own, header, 60); // a static entry
        add(port, all, station(port, 1 + round), header, 64); // a new source, or one too many
        add(port, all, station(8, 0), header, 64); // a station that moves
        add(port, all, station(9, 0), header, 64); // one that must not
        add(port, all, own, &[0x81, 0, 0, 30, 8, 0], 64); // another VLAN
        add(port, all, own, &[0x88, 0xa8, 0, 20, 8, 0], 64); // another tag protocol
        add(port, all, own, &[0x81, 0, 0, 20, 0x81, 0, 0, 30, 8, 0], 64); // two tags
        add(port, all, [0xff; 6], header, 64); // an invalid source
        add(port, [1, 0x80, 0xc2, 0, 0, 2], own, header, 64); // a reserved group
        add(port, all, own, &[], 12); // truncated
    }
    frames
}

struct Bench {
    engine: Engine,
    wires: Vec<SimWire>,
    scratch: Vec<u8>,
}

impl Bench {
    fn new(workers: usize) -> Self {
        let options = Options {
            cores: vec![None; workers],
            chunks: 8192,
            huge_pages: HugePages::No,
            fdb_capacity: 1024,
            hash_key: [1, 2],
            idle: Default::default(),
        };
        let mut engine = Engine::manual(&options).expect("an engine");
        engine.apply(compile(&rules())).expect("applied");
        let wires: Vec<_> = (0..4).map(|_| SimWire::new()).collect();
        for (port, wire) in wires.iter().enumerate() {
            let queues = vec![Queue::Sim(SimQueue::new(wire.clone()))];
            engine
                .attach(PortIndex::new(port), queues, 9000)
                .expect("attached");
        }
        Self {
            engine,
            wires,
            scratch: Vec::with_capacity(16_384),
        }
    }

    /// Turns until nothing is left; gives the number of allocations in them.
    fn round(&mut self, round: usize, frames: &[(usize, Vec<u8>)]) -> u64 {
        for (port, frame) in frames {
            self.wires[*port].send(frame);
        }
        // Some find a TX ring full.
        self.wires[OTHER_ACCESS].set_room(if round.is_multiple_of(3) {
            5
        } else {
            usize::MAX
        });
        self.engine.set_now(Tick(round as u32 / 4));
        let ((), allocations) = count(|| while self.engine.turn() > 0 {});
        for wire in &self.wires {
            while wire.receive_into(&mut self.scratch) {}
        }
        allocations
    }

    fn count(&self, port: usize, reason: DropReason) -> u64 {
        self.engine
            .port_totals(PortIndex::new(port))
            .dropped(reason)
    }
}

#[test]
fn the_allocator_counts() {
    let (boxed, allocations) = count(|| std::hint::black_box(Box::new(std::hint::black_box(1))));
    assert_eq!(allocations, 1);
    let ((), allocations) = count(|| drop(boxed));
    assert_eq!(allocations, 1);
    let ((), allocations) = count(|| ());
    assert_eq!(allocations, 0);
}

#[test]
fn no_turn_allocates() {
    for workers in 1..=3 {
        let mut bench = Bench::new(workers);
        // Once with everything, so that the wires, which are the simulation's, have all they need.
        for round in 0..16 {
            bench.round(round, &frames(round));
        }
        for round in 16..TURNS {
            let frames = frames(round);
            assert_eq!(
                bench.round(round, &frames),
                0,
                "{workers} workers, round {round}"
            );
        }
        for (port, reason) in [
            (LIMITED, DropReason::MacLimit),
            (ACCESS, DropReason::StaticMoved),
            (ACCESS, DropReason::SamePort),
            (ACCESS, DropReason::HiddenTag),
            (TRUNK, DropReason::TpidMismatch),
            (TRUNK, DropReason::Truncated),
            (OTHER_ACCESS, DropReason::TxRingFull),
        ] {
            assert!(
                bench.count(port, reason) > 0,
                "{reason:?} was met at port {port}"
            );
        }
        let counters = bench.engine.counters();
        let handed: u64 = counters.iter().map(|worker| worker.handed_off.get()).sum();
        assert_eq!(handed > 0, workers > 1, "hand-off was met");
        let events = bench.engine.fdb().events();
        let met = [events.moved, events.evicted, events.learned];
        assert!(
            met.iter().all(|count| *count > 0),
            "all of it was met: {events:?}"
        );
        assert!(bench.engine.stop().expect("stopped").is_complete());
    }
}
