//! Guests are hostile: nothing that one of them sends stops the daemon, takes frames from others,
//! or grows memory.

use std::{
    thread,
    time::{Duration, Instant},
};

use shunt_tests::{
    attempts::attempts,
    background::Background,
    config::Config,
    daemon::Daemon,
    flow::Flow,
    process::{self, Usage},
    traffic::{ETHERTYPE, Mac, text_of},
    world::{Guest, World},
};

/// How long the attack lasts.
const LENGTH: Duration = Duration::from_secs(4);
/// Frames a second of each of two flows that must not lose any.
const RATE: u64 = 1000;
/// How much more memory may be resident afterwards.
const MEMORY_TOLERANCE_KIB: u64 = 4096;
/// The longest frame that a veth with the MTU of the attacker's takes, with a tag.
const LONGEST: usize = 9018;

/// The attacker's addresses that are learned.
const MAC_LIMIT: usize = 10_000;

/// Random numbers that are the same each time: xorshift64* (Vigna, 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// A frame that nobody should send. The victims' addresses are among its destinations and not
/// among its sources: who may lie about the source is a matter of policy.
fn garbage(random: &mut Random, victims: &[Mac]) -> Vec<u8> {
    let size = match random.below(8) {
        0 => 14 + random.below(8),
        1 => LONGEST - random.below(64),
        2 => 1514 + random.below(5),
        _ => 14 + random.below(400),
    };
    let mut frame: Vec<u8> = (0..size).map(|_| random.next() as u8).collect();
    match random.below(4) {
        0 => frame[..6].copy_from_slice(&victims[random.below(victims.len())]),
        1 => frame[..6].fill(0xff),
        2 => frame[..6].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, random.next() as u8 & 0x3f]),
        _ => {}
    }
    match random.below(4) {
        // An address that is known, so that the frame goes on to others.
        0 | 1 => frame[6..12].copy_from_slice(&[2, 0xbd, 0, 0, 0, random.next() as u8]),
        // A new one.
        2 => frame[6..8].copy_from_slice(&[2, 0xbd]),
        _ => {}
    }
    let ethertypes: [u16; 9] = [
        0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x9100, 0x8809, 0x88cc, 0x0000,
    ];
    let ethertype = match random.below(3) {
        0 => random.next() as u16,
        _ => ethertypes[random.below(ethertypes.len())],
    };
    // That of the flows is not garbage.
    let ethertype = if ethertype == ETHERTYPE { 0 } else { ethertype };
    frame[12..14].copy_from_slice(&ethertype.to_be_bytes());
    if random.below(3) == 0 && frame.len() > 18 {
        let inner = ethertypes[random.below(ethertypes.len())];
        frame[16..18].copy_from_slice(&inner.to_be_bytes());
    }
    frame
}

/// Sends garbage as fast as it goes, until it is stopped.
fn attack(guest: &Guest, victims: Vec<Mac>, seed: u64) -> Background {
    let wire = guest.wire();
    let mut random = Random(seed);
    Background::start(move || {
        let frames: Vec<_> = (0..256).map(|_| garbage(&mut random, &victims)).collect();
        for frame in frames {
            // Full buffers, and what the device itself does not take, are none of the switch's.
            let _ = wire.offer(&frame);
        }
    })
}

/// A switch with victims and an attacker, on the second core.
fn site() -> (World, [Guest; 3], Daemon) {
    // Alone: an attack at full rate takes the cores from the workers of other tests.
    let world = World::alone("hostile");
    let guests = ["a", "b", "evil"].map(|name| world.guest(name));
    let far = &guests[2];
    far.set_mtu(9000);
    let mtu = world.switch.ip(&["link", "set", "evil", "mtu", "9000"]);
    mtu.expect("MTU");
    let config = Config::workers(2).network("web", 20).access("a", "web");
    let config = config.access("b", "web").port(
        "evil",
        &format!("network = \"web\"\nmac_limit = {MAC_LIMIT}"),
    );
    let daemon = world.start(&config);
    // The attacker's thread, and whatever else runs here, must not take the cores from it.
    process::put_before_other_sessions(daemon.pid());
    (world, guests, daemon)
}

#[test]
fn garbage_at_full_rate_harms_nobody_else() {
    attempts(try_garbage_at_full_rate);
}

fn try_garbage_at_full_rate() {
    let (_world, guests, mut daemon) = site();
    let [a, b, evil] = &guests;
    let victims = vec![a.mac, b.mac];
    // Until everything has been used.
    let warm_up = attack(evil, victims.clone(), 1);
    thread::sleep(Duration::from_secs(1));
    warm_up.stop();
    thread::sleep(Duration::from_millis(200));
    let before = Usage::of(daemon.pid());

    let flows = [Flow::start(a, b, RATE), Flow::start(b, a, RATE)];
    thread::sleep(Duration::from_millis(100));
    let received = |port: &str| daemon.port(port)["rx_frames"].as_u64().expect("a count");
    let (begin, count) = (Instant::now(), received("evil"));
    let attack = attack(evil, victims, 3);
    thread::sleep(LENGTH);
    let rate = (received("evil") - count) as f64 / begin.elapsed().as_secs_f64();
    attack.stop();
    let reports = flows.map(Flow::stop);
    let dropped: u64 = ["a", "b"]
        .iter()
        .flat_map(|port| daemon.drops(port).into_values())
        .sum();
    for report in reports {
        let lost = report.sent - report.received;
        println!(
            "{lost} lost of {}, {dropped} frames of all kinds dropped",
            report.sent
        );
        // What everybody gets fills their rings, too: half of the garbage is flooded, and there
        // is no storm control. What is lost is counted, and it is next to nothing.
        assert!(lost <= dropped && lost * 20 <= report.sent, "{report:?}");
        assert_eq!((report.duplicates, report.late), (0, 0), "{report:?}");
    }
    // Until the last client's connection is closed.
    thread::sleep(Duration::from_millis(200));
    let after = Usage::of(daemon.pid());
    println!("{rate:.0} frames/s of garbage, {:?}", daemon.drops("evil"));
    println!("before {before:?}, after {after:?}");
    assert!(rate > 1000.0, "the test's premise");
    assert!(
        after.resident_kib <= before.resident_kib + MEMORY_TOLERANCE_KIB,
        "{before:?} {after:?}"
    );
    assert_eq!(after.descriptors, before.descriptors);
    // The victims' addresses are where they were, and the attacker's are bounded.
    let entries = daemon.get("fdb");
    for (port, guest) in [("a", a), ("b", b)] {
        let mac = text_of(guest.mac);
        let is_there = |it: &serde_json::Value| it["mac"] == mac.as_str() && it["port"] == port;
        assert!(entries.iter().any(is_there), "{port}");
    }
    let own = entries.iter().filter(|it| it["port"] == "evil").count();
    println!("{own} addresses of the attacker");
    assert!(own <= MAC_LIMIT, "{own}");
    let log = daemon.stop();
    assert!(log.contains("frames came back"), "{log}");
}
