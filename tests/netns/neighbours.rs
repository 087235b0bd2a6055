//! What a guest that floods takes from its neighbours: no more than a tenth of what they send.
//!
//! A pair of guests sends at half of the rate that it reaches, in turns with and without a flood
//! beside it that makes the switch forget: ever new flows, or ever new addresses, through ports of
//! the same worker. All ports have lists of a thousand rules.
//!
//! Not shown is what a flood at full rate does: a guest that sends more than a worker can receive
//! takes the worker's time from whoever else it serves, in fair turns of a burst. The flood here
//! stays below that. Nor is it shown for a shared uplink. One thread sends both the pair's frames
//! and the flood, so that senders do not take the core from each other.

use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

use shunt_tests::{
    attempts::attempts,
    config::Config,
    daemon::Daemon,
    process, sys,
    traffic::{BROADCAST, Frame, Mac, Wire, text_of},
    world::{Guest, World},
};
use switch_core::limits::FLOWS_PER_WORKER;

/// The core of all senders, on which the kernel also receives what they send.
const SENDER_CORE: usize = 0;
/// Frames of the flood, each of a flow or from an address that was never seen before: a hundred
/// times what the flow table holds.
const FLOOD: u64 = 100 * FLOWS_PER_WORKER as u64;
/// Turns with the flood, each beside one without.
const TURNS: u64 = 4;
/// The flood's rate as a part of the pair's: both together are less than a sender can make.
const FLOOD_PART: f64 = 0.3;
/// How long it is measured what the pair can do.
const TRY_LENGTH: Duration = Duration::from_millis(700);
/// Most frames that one of both sends without a pause: a small part of a ring.
const LONGEST_BURST: u64 = 256;
/// Time for the last frames of a turn.
const ARRIVAL_TIME: Duration = Duration::from_millis(50);
/// Flows of the pair.
const FLOWS: usize = 64;
/// What the pair must keep of its throughput.
const KEPT: f64 = 0.9;

/// UDP over IPv4 in 60 bytes, from an address and port to 10.9.0.1 at port 9.
fn udp(to: Mac, from: Mac, address: [u8; 4], port: u16) -> Vec<u8> {
    let mut frame = [
        &to[..],
        &from,
        &[8, 0, 0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0],
    ]
    .concat();
    frame.extend(address);
    frame.extend([10, 9, 0, 1]);
    frame.extend(port.to_be_bytes());
    frame.extend([0, 9, 0, 26, 0, 0]);
    frame.resize(60, 0);
    let words = frame[14..34].chunks_exact(2);
    let sum: u32 = words
        .map(|it| u32::from(u16::from_be_bytes([it[0], it[1]])))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    frame[24..26].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// A list that asks for addresses and ports of all UDP, a thousand times, and lets it pass.
fn rules() -> String {
    let mut list = String::from("\n[[acl]]\nname = \"thousand\"\ndefault = \"allow\"\n");
    for rule in 0..1000 {
        // Writing to a string cannot fail.
        let _ = write!(
            list,
            "[[acl.rule]]\naction = \"deny\"\nprotocol = \"udp\"\nsource = \"10.200.{}.{}\"\n\
             destination = \"10.{}.0.0/16\"\nsource_port = {}\n",
            rule / 250,
            rule % 250,
            100 + rule % 100,
            rule + 1
        );
    }
    list
}

/// What floods beside the pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// From one address of the guest, as its security allows, each frame with an IP address and
    /// port of its own.
    Flows,
    /// Each frame from a MAC address of its own.
    Macs,
}

impl Kind {
    /// What the flooding guest's port says beside its list.
    fn security(self, mac: Mac) -> String {
        match self {
            Self::Flows => format!(
                "security = \"strict\"
allowed_macs = \"{}\"
\
                 allowed_addresses = \"10.0.0.0/8\"
",
                text_of(mac)
            ),
            Self::Macs => String::new(),
        }
    }

    /// A frame of the flood, by its number.
    fn frame(self, to: Mac, from: Mac, number: u64) -> Vec<u8> {
        let [.., a, b, c, d] = number.to_be_bytes();
        match self {
            Self::Flows => udp(to, from, [10, 1 + a, b, c], 0x4000 | u16::from(d)),
            Self::Macs => udp(to, [2, 0xf1, a, b, c, d], [10, 1, 0, 1], 9),
        }
    }
}

/// The pair, and whoever floods with where that goes.
struct Site {
    pair: [Guest; 2],
    flooding: [Guest; 2],
    daemon: Daemon,
    _world: World,
}

impl Site {
    fn new(kind: Kind) -> Self {
        let world = World::alone("neighbours");
        let pair = ["a", "b"].map(|name| world.guest(name));
        let flooding = ["evil", "void"].map(|name| world.guest(name));
        let listed = "network = \"lab\"\nacl_from_port = \"thousand\"\n";
        let evil = format!("{listed}{}", kind.security(flooding[0].mac));
        let config = Config::switch("workers = 1\ncores = [1]").private("lab");
        let config = config.port("a", listed).port("b", listed);
        let config = config
            .port("evil", &evil)
            .port("void", listed)
            .with(&rules());
        let daemon = world.start(&config);
        process::put_before_other_sessions(daemon.pid());
        for guest in pair.iter().chain(&flooding) {
            guest.wire().send(&Frame::new(BROADCAST, guest.mac).bytes());
        }
        thread::sleep(Duration::from_millis(100));
        Self {
            pair,
            flooding,
            daemon,
            _world: world,
        }
    }

    /// The pair's frames, each of another flow.
    fn frames(&self) -> Vec<Vec<u8>> {
        let [a, b] = &self.pair;
        let frame = |flow| udp(b.mac, a.mac, [10, 0, 0, 1], 1024 + flow as u16);
        (0..FLOWS).map(frame).collect()
    }
}

/// What a turn has come to.
#[derive(Clone, Copy, Debug)]
struct Turn {
    sent: u64,
    received: u64,
    flooded: u64,
    took: Duration,
}

impl Turn {
    fn rate(&self) -> f64 {
        self.received as f64 / self.took.as_secs_f64()
    }
}

/// Sends at even rates, from the core of all senders.
struct Sender<'a> {
    site: &'a Site,
    kind: Kind,
    from: Wire,
    far: Wire,
    flood: Wire,
    frames: Vec<Vec<u8>>,
    /// Frames of the flood so far.
    flooded: u64,
}

impl Sender<'_> {
    /// What arrives of as many frames as one thread can send.
    fn capacity(&self) -> f64 {
        self.far.count();
        let begin = Instant::now();
        let mut frames = self.frames.iter().cycle();
        while begin.elapsed() < TRY_LENGTH {
            for frame in frames.by_ref().take(LONGEST_BURST as usize) {
                let _ = self.from.offer(frame);
            }
        }
        let took = begin.elapsed();
        thread::sleep(ARRIVAL_TIME);
        self.far.count() as f64 / took.as_secs_f64()
    }

    /// A turn of so long, at so many frames a second of both. What is not sent in time is not sent
    /// later, for that would be a burst.
    fn turn(&mut self, length: Duration, rate: f64, flood_rate: f64) -> Turn {
        self.far.count();
        let begin = Instant::now();
        let (mut sent, before, mut last) = (0, self.flooded, begin);
        let (mut due, mut flood_due) = (0.0, 0.0);
        while last.duration_since(begin) < length {
            // The kernel needs the core, too, for what it receives here.
            thread::sleep(Duration::from_micros(50));
            let now = Instant::now();
            let elapsed = (now - last).as_secs_f64();
            last = now;
            due = (due + elapsed * rate).min(LONGEST_BURST as f64);
            flood_due = (flood_due + elapsed * flood_rate).min(LONGEST_BURST as f64);
            while due >= 1.0 {
                due -= 1.0;
                let _ = self.from.offer(&self.frames[sent as usize % FLOWS]);
                sent += 1;
            }
            while flood_due >= 1.0 {
                flood_due -= 1.0;
                self.flood_one();
            }
        }
        let took = begin.elapsed();
        thread::sleep(ARRIVAL_TIME);
        Turn {
            sent,
            received: self.far.count(),
            flooded: self.flooded - before,
            took,
        }
    }

    fn flood_one(&mut self) {
        let [evil, void] = &self.site.flooding;
        let frame = self.kind.frame(void.mac, evil.mac, self.flooded);
        let _ = self.flood.offer(&frame);
        self.flooded += 1;
    }

    /// Turns with and without the flood, until there was enough of it; the rates of both.
    fn all(&mut self) -> [Vec<f64>; 2] {
        let capacity = self.capacity();
        let (rate, flood_rate) = (capacity / 2.0, capacity / 2.0 * FLOOD_PART);
        println!("{capacity:.0} frames/s get through; half of it, and {flood_rate:.0} beside");
        let length = Duration::from_secs_f64(FLOOD as f64 / TURNS as f64 / flood_rate);
        let mut rates = [Vec::new(), Vec::new()];
        while self.flooded < FLOOD {
            for (rates, flood_rate) in rates.iter_mut().zip([0.0, flood_rate]) {
                let turn = self.turn(length, rate, flood_rate);
                let (rate, Turn { sent, flooded, .. }) = (turn.rate(), turn);
                println!("{rate:.0} frames/s arrive of {sent} sent beside {flooded}");
                rates.push(rate);
            }
            assert!(
                rates[0].len() < 4 * TURNS as usize,
                "the sender is too slow"
            );
        }
        rates
    }
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Floods beside the pair, and checks what the pair keeps.
fn check(kind: Kind) {
    let mut site = Site::new(kind);
    let rates = thread::scope(|scope| {
        let running = scope.spawn(|| {
            sys::pin_to_core(SENDER_CORE).expect("pin");
            let mut sender = Sender {
                site: &site,
                kind,
                from: site.pair[0].wire(),
                far: site.pair[1].wire().only_count(),
                flood: site.flooding[0].wire(),
                frames: site.frames(),
                flooded: 0,
            };
            sender.all()
        });
        running.join().expect("the sender")
    });
    let [alone, beside] = rates.map(median);
    let kept = beside / alone;
    let [rx, tx] = [("evil", "rx_frames"), ("void", "tx_frames")]
        .map(|(port, key)| site.daemon.port(port)[key].as_u64().expect("a count"));
    println!("{kind:?}: kept {kept:.3} of {alone:.0} frames/s; of the flood {rx} came, {tx} left");
    println!("{:?}", site.daemon.drops("evil"));
    // Guard and list have let them pass, as frames like any other.
    assert!(rx.min(tx) * 10 > FLOOD * 9, "the test's premise: {rx} {tx}");
    assert!(kept >= KEPT, "{kept:.3} of {alone:.0} frames/s");
    site.daemon.stop();
}

#[test]
fn a_flood_of_new_flows_leaves_neighbours_their_throughput() {
    attempts(|| check(Kind::Flows));
}

#[test]
fn a_flood_of_new_addresses_leaves_neighbours_their_throughput() {
    attempts(|| check(Kind::Macs));
}
