//! The engine with its own threads, under a storm of frames while the configuration changes and
//! devices come, go and flap: nothing is lost without a count, and nothing gets where it may not.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use switch_core::{
    config::snapshot::Role,
    counters::{DropReason, PortTotals},
    engine::{Engine, Options},
    limits::PortIndex,
    mem::HugePages,
    port::{Queue, SimQueue, SimWire},
};

use super::{
    acl::Attached,
    classes::Classes,
    frames::{Stamp, restamp, stamp_of},
    guard::Security,
    meter::{Policed, Storms},
    reference::{Link, Reference},
    rules::{Accept, Address, Membership, Network, Port, Rules, compile},
    switch::hex,
};

/// Frames that are sent in each run.
const FRAMES: u32 = 400_000;
/// Frames that wait in a queue before no more are sent to it.
const BACKLOG: usize = 96;
const MTU: u32 = 1500;

/// Access ports of the first network, always there: what goes from one to the other is never lost.
const SENDER: usize = 0;
const RECEIVER: usize = 1;
/// An access port that changes its network again and again.
const WANDERER: usize = 3;
/// A port whose device comes and goes.
const COMING: usize = 4;
/// A trunk whose link goes up and down.
const FLAPPING: usize = 5;
const PORTS: usize = 7;

fn station(port: usize) -> Address {
    [2, 0, 0, 0, 0, port as u8]
}

/// Two networks on access ports and two trunks; the variants differ in where the wanderer is, and
/// in whether one trunk has the second network.
fn rules(variant: usize) -> Rules {
    let network = |name: &str, vid| Network {
        name: name.to_owned(),
        vid: Some(vid),
        acls: Attached::default(),
        policed: Policed::default(),
    };
    let both = vec![(20, 0), (30, 1)];
    let trunk = |tagged| Membership::Trunk {
        native: None,
        native_tagged: false,
        tagged,
    };
    let membership = |port| match port {
        SENDER | RECEIVER => Membership::Access(0),
        WANDERER => Membership::Access(variant % 2),
        FLAPPING => trunk(both.clone()),
        6 => trunk(if variant < 2 {
            both.clone()
        } else {
            vec![(20, 0)]
        }),
        _ => Membership::Access(1),
    };
    let port = |index| Port {
        name: format!("port-{index}"),
        role: if index == FLAPPING {
            Role::Uplink
        } else {
            Role::Guest
        },
        isolated: false,
        tpid: 0x8100,
        mac_limit: None,
        accept: Accept::All,
        membership: membership(index),
        acls: Attached::default(),
        policed: Policed::default(),
        security: Security::default(),
        storms: Storms::default(),
        classes: Classes::default(),
    };
    Rules {
        ageing_s: 300,
        networks: [(0, network("first", 20)), (1, network("second", 30))].into(),
        ports: (0..PORTS).map(|index| (index, port(index))).collect(),
        ..Rules::default()
    }
}

/// One kind of frame: who gets it, by port and by what was in its stamp's number.
struct Template {
    port: usize,
    bytes: Vec<u8>,
    possible: HashSet<(usize, Vec<u8>)>,
    /// The receiver gets it, whatever the rules are and whoever has been learnt.
    owed: bool,
}

/// Every port speaks to every other and to all, on all its networks.
fn templates() -> Vec<Template> {
    let mut templates = Vec::new();
    for port in 0..PORTS {
        let tags: &[&[u8]] = match port {
            FLAPPING | 6 => &[&[0x81, 0, 0x20, 20], &[0x81, 0, 0, 30], &[0x81, 0, 0, 40]],
            _ => &[&[], &[0x81, 0, 0, 20]],
        };
        let stations = (0..PORTS).map(station);
        for destination in stations.chain([[0xff; 6], [2, 9, 9, 9, 9, 9]]) {
            for tag in tags {
                let header = [&destination[..], &station(port), tag, &[8, 0]].concat();
                let mut bytes = header;
                bytes.resize(if templates.len() % 20 == 0 { 1400 } else { 64 }, 0x33);
                let number = templates.len() as u32;
                restamp(
                    &mut bytes,
                    Stamp {
                        port: port as u16,
                        queue: 0,
                        number,
                    },
                );
                let possible = possible(port, &bytes);
                let to = [station(RECEIVER), [0xff; 6], [2, 9, 9, 9, 9, 9]];
                let owed = port == SENDER && tag.is_empty() && to.contains(&destination);
                templates.push(Template {
                    port,
                    bytes,
                    possible,
                    owed,
                });
            }
        }
    }
    templates
}

fn possible(port: usize, bytes: &[u8]) -> HashSet<(usize, Vec<u8>)> {
    let links: BTreeMap<usize, Link> = (0..PORTS)
        .map(|port| (port, Link { up: true, mtu: MTU }))
        .collect();
    let under = |variant| {
        let links = links.clone();
        Reference {
            rules: rules(variant),
            links,
            ..Reference::default()
        }
        .possible(port, bytes)
    };
    (0..4).flat_map(under).collect()
}

/// The far ends of all queues that ever were.
struct Wires {
    /// By port, those that are attached.
    attached: Mutex<BTreeMap<usize, Vec<SimWire>>>,
    all: Mutex<Vec<(usize, SimWire)>>,
}

impl Wires {
    fn attach(&self, engine: &mut Engine, port: usize) {
        let queues = if port.is_multiple_of(2) { 2 } else { 1 };
        let wires: Vec<_> = (0..queues).map(|_| SimWire::new()).collect();
        let ends = wires
            .iter()
            .map(|wire| Queue::Sim(SimQueue::new(wire.clone())));
        engine
            .attach(PortIndex::new(port), ends.collect(), MTU)
            .expect("attached");
        self.all
            .lock()
            .expect("wires")
            .extend(wires.iter().map(|wire| (port, wire.clone())));
        self.attached.lock().expect("wires").insert(port, wires);
    }

    fn detach(&self, engine: &mut Engine, port: usize) {
        self.attached.lock().expect("wires").remove(&port);
        engine.detach(PortIndex::new(port)).expect("detached");
    }
}

/// What was sent, and what became of it.
#[derive(Default)]
struct Account {
    sent: u32,
    /// Frames from the sender's first queue that the receiver has to get.
    owed: u64,
    paid: u64,
    received: u64,
    /// Who has received what, so that nobody gets a frame twice.
    seen: HashSet<(usize, u32)>,
    /// By receiving wire and sending queue: the last number.
    flows: HashMap<(usize, u16), u32>,
}

impl Account {
    /// Sends a burst by a queue.
    fn send(&mut self, templates: &[Template], port: usize, queue: usize, wire: &SimWire) {
        let own: Vec<usize> = (0..templates.len())
            .filter(|index| templates[*index].port == port)
            .collect();
        for index in &own[..own.len().min(24)] {
            let number = self.sent * templates.len() as u32 + *index as u32;
            let mut frame = templates[*index].bytes.clone();
            restamp(
                &mut frame,
                Stamp {
                    port: port as u16,
                    queue: queue as u16,
                    number,
                },
            );
            wire.send(&frame);
            self.sent += 1;
            self.owed += u64::from(templates[*index].owed);
        }
    }

    /// Takes what a wire has brought and sees that it may be there.
    fn collect(&mut self, templates: &[Template], position: usize, port: usize, wire: &SimWire) {
        while let Some(mut frame) = wire.receive() {
            self.received += 1;
            let stamp = stamp_of(&frame).expect("every frame has a stamp");
            let number = stamp.number;
            assert!(
                self.seen.insert((port, number)),
                "port {port} gets {stamp:?} twice"
            );
            let from = usize::from(stamp.port);
            if (from, port) == (SENDER, RECEIVER) {
                let last = self.flows.entry((position, stamp.queue)).or_default();
                assert!(*last < number || *last == 0, "{stamp:?} after {last}");
                *last = number;
            }
            let index = number % templates.len() as u32;
            restamp(
                &mut frame,
                Stamp {
                    queue: 0,
                    number: index,
                    ..stamp
                },
            );
            let key = (port, frame);
            let template = &templates[index as usize];
            self.paid += u64::from(template.owed && port == RECEIVER);
            assert!(
                template.possible.contains(&key),
                "at port {port}: {}",
                hex(&key.1)
            );
        }
    }
}

/// Ends the run with the traffic, also when a check of it fails: who disturbs it would never end.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Sends and receives until enough was sent, or somebody wants it to end.
fn traffic(wires: &Wires, templates: &[Template], stop: &AtomicBool) -> Account {
    let _ends = Ends(stop);
    let mut account = Account::default();
    while account.sent < FRAMES && !stop.load(Relaxed) {
        let attached = wires.attached.lock().expect("wires").clone();
        let mut idle = true;
        for (port, queues) in &attached {
            for (queue, wire) in queues.iter().enumerate() {
                if wire.backlog() < BACKLOG {
                    account.send(templates, *port, queue, wire);
                    idle = false;
                }
            }
        }
        collect_all(&mut account, wires, templates);
        if idle {
            thread::yield_now();
        }
    }
    account
}

fn collect_all(account: &mut Account, wires: &Wires, templates: &[Template]) {
    let all = wires.all.lock().expect("wires").clone();
    for (position, (port, wire)) in all.iter().enumerate() {
        account.collect(templates, position, *port, wire);
    }
}

/// Changes everything that may change while frames flow.
fn disturb(engine: &mut Engine, wires: &Wires, stop: &AtomicBool) {
    let mut round = 0;
    while !stop.load(Relaxed) {
        round += 1;
        match round % 4 {
            0 => engine
                .apply(compile(&rules(round / 4 % 4)))
                .expect("applied"),
            1 if engine.owners(PortIndex::new(COMING)).is_empty() => wires.attach(engine, COMING),
            1 => wires.detach(engine, COMING),
            2 => {
                let up = !engine.link(PortIndex::new(FLAPPING)).up;
                engine
                    .set_link(PortIndex::new(FLAPPING), up, MTU)
                    .expect("set");
            }
            _ => {
                engine.fdb().flush(&Default::default());
                engine.age();
            }
        }
        thread::sleep(Duration::from_micros(500));
    }
}

fn sums(engine: &Engine) -> (PortTotals, u64) {
    let mut sum = PortTotals::default();
    for port in (0..PORTS).map(PortIndex::new) {
        let one = PortTotals::sum(engine.counters(), port);
        sum.rx_frames += one.rx_frames;
        sum.tx_frames += one.tx_frames;
        for (total, count) in sum.drops.iter_mut().zip(one.drops) {
            *total += count;
        }
    }
    (
        sum,
        engine
            .counters()
            .iter()
            .map(|worker| worker.copies.get())
            .sum(),
    )
}

/// Waits until everything that was sent is somewhere.
fn settle(engine: &Engine, wires: &Wires) {
    let deadline = Instant::now() + Duration::from_secs(20);
    let attached = wires.attached.lock().expect("wires").clone();
    loop {
        let waiting: usize = attached.values().flatten().map(SimWire::backlog).sum();
        let (sum, copies) = sums(engine);
        let dropped: u64 = sum.drops.iter().sum();
        if waiting == 0 && sum.rx_frames + copies == sum.tx_frames + dropped {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{waiting} wait, {copies} copies, {sum:?}"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

fn storm(workers: usize) {
    let options = Options {
        cores: vec![None; workers],
        chunks: 16_384,
        huge_pages: HugePages::No,
        fdb_capacity: 1024,
        hash_key: [1, 2],
        idle: Default::default(),
    };
    let mut engine = Engine::start(&options).expect("an engine");
    engine.apply(compile(&rules(0))).expect("applied");
    let wires = Wires {
        attached: Mutex::default(),
        all: Mutex::default(),
    };
    for port in 0..PORTS {
        wires.attach(&mut engine, port);
    }
    let templates = templates();
    let stop = AtomicBool::new(false);
    let mut account = thread::scope(|scope| {
        let traffic = scope.spawn(|| traffic(&wires, &templates, &stop));
        disturb(&mut engine, &wires, &stop);
        traffic.join().expect("traffic")
    });
    settle(&engine, &wires);
    collect_all(&mut account, &wires, &templates);

    let (sum, _) = sums(&engine);
    let left: usize = wires
        .all
        .lock()
        .expect("wires")
        .iter()
        .map(|(_, wire)| wire.backlog())
        .sum();
    assert_eq!(
        u64::from(account.sent),
        sum.rx_frames + left as u64,
        "{sum:?}"
    );
    assert_eq!(account.received, sum.tx_frames, "{sum:?}");
    let handed: u64 = engine
        .counters()
        .iter()
        .map(|worker| worker.handed_off.get())
        .sum();
    assert!(
        handed > 1000 && account.received > u64::from(FRAMES) / 4,
        "{handed}, {sum:?}"
    );
    let receiver = PortTotals::sum(engine.counters(), PortIndex::new(RECEIVER));
    let lost = [DropReason::HandoffFull, DropReason::NoFreeFrame].map(|r| receiver.dropped(r));
    let missing = account.owed - account.paid;
    assert!(missing <= lost.iter().sum(), "{missing} lost, {receiver:?}");
    assert_eq!(
        receiver.dropped(DropReason::PortDown),
        0,
        "a port that was always there"
    );
    assert!(engine.stop().expect("stopped").is_complete());
}

#[test]
fn a_storm_with_two_workers() {
    storm(2);
}

#[test]
fn a_storm_with_three_workers() {
    storm(3);
}
