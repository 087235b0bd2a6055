//! A frame: the parsers and guards by themselves, and a switch with policy that receives it.

use std::{cell::RefCell, time::Duration};

use switch_core::{
    acl::{guard::Guard, key::Field, pack::Packed},
    config::{Indices, compile, parse},
    counters::PortTotals,
    engine::{Engine, Options},
    limits::{NetworkIndex, PortIndex},
    mem::HugePages,
    port::{Queue, SimQueue, SimWire},
    table::fdb::Filter,
    wire::{ethernet::Mac, layer2::Layer2, ordinary::Ordinary, packet::Packet},
};

/// The first byte says where the frame comes in and how much of it is in later segments.
pub fn run(input: &[u8]) {
    let Some((first, frame)) = input.split_first() else {
        return;
    };
    let further = usize::from(first >> 4) * 100;
    read(frame, frame.len() + further);
    SWITCH.with_borrow_mut(|switch| switch.receive(usize::from(first & 3), frame));
}

/// The parsers, on the first `head` bytes of a frame of `size`.
fn read(head: &[u8], size: usize) {
    let Ok(header) = Layer2::parse(head) else {
        assert!(head.len() < 18, "a header is never longer");
        return;
    };
    let ordinary = Ordinary::read(head, size);
    let Ok(packet) = Packet::of_frame(&header, head, size) else {
        assert_eq!(ordinary, None, "it is malformed");
        return;
    };
    let payload = header.payload(head);
    assert!(packet.payload_start <= packet.payload_end);
    assert!(usize::from(packet.payload_end) <= size - header.size());
    let packed = Packed::new(NetworkIndex::new(7), &header, &packet);
    let key = packed.unpack();
    for field in Field::ALL {
        assert_eq!(key.get(field), packed.get(field), "{field:?}");
    }
    let macs = Some([header.source, Mac([2, 0, 0, 0, 0, 1]).into()].into());
    let services = Guard {
        no_dhcp_server: true,
        no_router: true,
        no_bpdus: true,
        ..Guard::default()
    };
    let strict = Guard {
        macs,
        ..services.clone()
    };
    let open = Guard::default().check(&header, &packet, payload);
    // Who allows nothing more refuses all that others refuse.
    for (less, more) in [(&Guard::default(), &services), (&services, &strict)] {
        let allowed = more.check(&header, &packet, payload).is_ok();
        assert!(!allowed || less.check(&header, &packet, payload).is_ok());
    }
    if let Some(ordinary) = ordinary {
        let packed_at_once = Packed::of_ordinary(NetworkIndex::new(7), &ordinary);
        assert_eq!(packed_at_once, packed);
        for guard in [&services, &strict] {
            let expected = guard.check(&header, &packet, payload);
            assert_eq!(guard.check_ordinary(&ordinary), expected);
        }
    }
    if packet.protocol != 58 && !matches!(header.ethertype, 0x0806 | 0x86dd) {
        assert_eq!(open, Ok(()), "nothing is forbidden");
    }
}

const RULES: &str = r#"
[switch]
forward_reserved = true

[[policer]]
name = "slow"
rate = "8 kbit/s"

[[acl]]
name = "some"
default = "allow"
rule = [
    { action = "count", protocol = "tcp", tcp_flags = "syn,!ack" },
    { action = "deny", protocol = "tcp", destination_port = [22, "8000-8099"] },
    { action = "deny", protocol = "udp", source = ["10.0.0.0/8", "fd00::/8"] },
    { action = "deny", ethertype = "arp", arp_operation = "reply" },
    { action = "deny", fragment = "later", dscp = "ef" },
]

[[network]]
name = "web"
vlan = 20
acl_from_port = "some"

[[network]]
name = "lab"
vlan = 30
acl_to_port = "some"

[[port]]
name = "strict"
device = "d0"
network = "web"
security = "strict"
allowed_macs = "02:00:00:00:00:01"
allowed_addresses = ["10.0.0.1", "fd00::1"]

[[port]]
name = "web"
device = "d1"
network = "web"
police_to_port = "slow"

[[port]]
name = "lab"
device = "d2"
network = "lab"

[[port]]
name = "trunk"
device = "d3"
native = "lab"
trunk = ["web"]
"#;

/// Between two frames: until what one took has come back, so that no rate hides what is behind it.
const PAUSE: Duration = Duration::from_secs(20);

struct Switch {
    engine: Engine,
    wires: Vec<SimWire>,
    elapsed: Duration,
}

thread_local! {
    static SWITCH: RefCell<Switch> = RefCell::new(Switch::new());
}

impl Switch {
    fn new() -> Self {
        let options = Options {
            cores: vec![None],
            chunks: 1024,
            huge_pages: HugePages::No,
            fdb_capacity: 64,
            hash_key: [1, 2],
            idle: Default::default(),
        };
        let mut engine = Engine::manual(&options).expect("an engine");
        let config = parse("rules.toml", RULES).unwrap_or_else(|report| panic!("{report}"));
        let compiled = compile(&config, &Indices::new()).expect("there are indices");
        engine.apply(compiled.rules).expect("applied");
        let wires: Vec<_> = (0..4).map(|_| SimWire::new()).collect();
        for (index, wire) in wires.iter().enumerate() {
            let queues = vec![Queue::Sim(SimQueue::new(wire.clone()))];
            let port = PortIndex::new(index);
            engine.attach(port, queues, 1500).expect("attached");
        }
        Self {
            engine,
            wires,
            elapsed: Duration::ZERO,
        }
    }

    /// A port receives a frame: it ends somewhere, and never in a network that is not its own.
    fn receive(&mut self, port: usize, frame: &[u8]) {
        self.elapsed += PAUSE;
        self.engine.set_elapsed(self.elapsed);
        self.engine.fdb().flush(&Filter::default());
        let (dropped, copies) = (self.dropped(), self.copies());
        self.wires[port].send(frame);
        while self.engine.turn() > 0 {}
        let mut left = 0;
        for (index, wire) in self.wires.iter().enumerate() {
            while let Some(sent) = wire.receive() {
                left += 1;
                assert_ne!(index, port, "never back");
                let crosses = index != 3 && port != 3 && (index == 2) != (port == 2);
                assert!(!crosses, "from {port} to {index}: {sent:02x?}");
                let tagged = matches!(sent.get(12..14), Some([0x81, 0] | [0x88, 0xa8]));
                assert!(index == 3 || !tagged, "a tag at {index}: {sent:02x?}");
            }
        }
        let (dropped, copies) = (self.dropped() - dropped, self.copies() - copies);
        // What is longer than the engine takes is counted by the queue.
        let came = u64::from(frame.len() <= switch_core::limits::MAX_FRAME_SIZE);
        assert_eq!(left + dropped, came + copies);
    }

    fn dropped(&self) -> u64 {
        let ports = (0..4).map(|index| self.engine.port_totals(PortIndex::new(index)));
        ports
            .map(|totals: PortTotals| totals.drops.iter().sum::<u64>())
            .sum()
    }

    fn copies(&self) -> u64 {
        let workers = self.engine.counters().iter();
        workers.map(|worker| worker.copies.get()).sum()
    }
}
