//! Rates and priorities with the real daemon on real devices.
//!
//! Other programs on the machine can make a rate lower and a delay longer, and neither better: each
//! test may be tried again, and what was measured is printed.

use std::{
    thread,
    time::{Duration, Instant},
};

use shunt_tests::{
    attempts::attempts,
    config::Config,
    daemon::Daemon,
    traffic::{Frame, Wire},
    world::{Guest, World},
};

/// Tries within an attempt, in one world.
const TRIES: usize = 3;
/// The configured rate, in bytes a second: 20 Mbit/s.
const RATE: f64 = 2.5e6;
/// Bytes of a frame.
const SIZE: usize = 1000;
/// How long it is measured, after the burst is over.
const LENGTH: Duration = Duration::from_secs(2);
/// Most difference of a rate from the configured one.
const TOLERANCE: f64 = 0.05;
/// Most difference of a share of deficit round robin.
const SHARE_TOLERANCE: f64 = 0.02;
/// Longest delay of an urgent frame: the promise of strict priority. Nine of ten keep to it on any
/// machine; that all do is for one that has nothing else to do.
const DELAY_LIMIT: Duration = Duration::from_millis(1);

const RULES: &str = r#"
[[policer]]
name = "20M"
rate = "20 Mbit/s"
burst = "20 kB"

[[scheduler]]
name = "20M"
rate = "20 Mbit/s"
burst = "20 kB"

[[scheduler.queue]]
classes = [7]
strict = true

[[scheduler.queue]]
limit = "512 KiB"

[[scheduler]]
name = "50M"
rate = "50 Mbit/s"
burst = "20 kB"

[[scheduler.queue]]
classes = [7]
strict = true

[[scheduler.queue]]
limit = "512 KiB"

[[scheduler]]
name = "shares"
rate = "2 Mbit/s"
burst = "10 kB"

[[scheduler.queue]]
classes = [5]
weight = 3
limit = "2 MiB"

[[scheduler.queue]]
weight = 1
limit = "2 MiB"

[[scheduler]]
name = "stuck"
rate = "8 kbit/s"
burst = "10 kB"

[[scheduler.queue]]
limit = "1 GiB"
"#;

/// A world with two guests in one network.
fn two(world: &World) -> (Guest, Guest, Config) {
    let guests = (world.guest("a"), world.guest("b"));
    let config = Config::switch("workers = 1\ncores = [1]").private("lab");
    (guests.0, guests.1, config.with(RULES))
}

/// The rate at which frames of a flood that is four times too fast arrive, in bytes a second.
fn arriving(from: &Guest, to: &Guest) -> f64 {
    let (sender, receiver) = (from.wire(), to.wire().only_count());
    let frame = Frame::new(to.mac, from.mac).untagged_size(SIZE).bytes();
    let per_second = (RATE * 4.0 / SIZE as f64) as u64;
    let flood = LENGTH + Duration::from_secs(1);
    thread::scope(|scope| {
        scope.spawn(|| sender.stream(&[&frame], per_second, flood));
        thread::sleep(Duration::from_millis(500));
        receiver.count();
        let begin = Instant::now();
        thread::sleep(LENGTH);
        receiver.count() as f64 * SIZE as f64 / begin.elapsed().as_secs_f64()
    })
}

/// Lets the switch know where the guests are.
fn introduce(guests: &[&Guest]) {
    let wires: Vec<Wire> = guests.iter().map(|guest| guest.wire()).collect();
    for (guest, wire) in guests.iter().zip(&wires) {
        wire.send(&Frame::new([0xff; 6], guest.mac).bytes());
    }
    thread::sleep(Duration::from_millis(100));
}

fn assert_rate(what: &str, from: &Guest, to: &Guest) {
    introduce(&[from, to]);
    let mut rates = Vec::new();
    for _ in 0..TRIES {
        rates.push(arriving(from, to) / RATE);
        println!("{what}, of the configured rate: {rates:.4?}");
        if rates
            .last()
            .is_some_and(|rate| (rate - 1.0).abs() <= TOLERANCE)
        {
            return;
        }
    }
    panic!("{what}, of the configured rate: {rates:.4?}");
}

#[test]
fn a_policer_keeps_its_rate() {
    attempts(|| {
        let world = World::alone("policer");
        let (a, b, config) = two(&world);
        let config = config
            .port("a", "network = \"lab\"\npolice_from_port = \"20M\"")
            .port("b", "network = \"lab\"\npolice_to_port = \"20M\"");
        let mut daemon = world.start(&config);
        assert_rate("a policer", &a, &b);
        let of_a = &daemon.get("qos")[0];
        assert_eq!(of_a["scope"], "port/a");
        let red = of_a["red_frames"].as_u64().expect("a number");
        assert!(red > 1000, "{of_a}");
        assert_eq!(daemon.drops("a")["policed_from_port"], red);
        daemon.stop();
    });
}

/// A number of one queue.
fn count(daemon: &Daemon, queue: usize, key: &str) -> u64 {
    let queue = &daemon.get("queues")[queue];
    queue[key].as_u64().expect("a number")
}

#[test]
fn a_shaper_keeps_its_rate() {
    attempts(|| {
        let world = World::alone("shaper");
        let (a, b, config) = two(&world);
        let config = config
            .access("a", "lab")
            .port("b", "network = \"lab\"\nscheduler = \"20M\"");
        let mut daemon = world.start(&config);
        assert_rate("a shaper", &a, &b);
        assert!(count(&daemon, 1, "full_frames") > 1000);
        let page = daemon.shunt(&["describe", "port", "b"]);
        assert!(page.contains("Queues at egress:"), "{page}");
        assert!(daemon.shunt(&["get", "qos"]).contains("20M"), "{page}");
        daemon.stop();
    });
}

#[test]
fn weighted_queues_have_their_shares() {
    attempts(|| {
        let world = World::alone("shares");
        let (a, b, config) = two(&world);
        let c = world.guest("c");
        let config = config
            .access("a", "lab")
            .port("c", "network = \"lab\"\nclass = 5")
            .port("b", "network = \"lab\"\nscheduler = \"shares\"");
        let mut daemon = world.start(&config);
        introduce(&[&a, &b, &c]);
        // What waits lasts for five seconds: no generator has to keep up meanwhile.
        for (guest, size) in [(&a, 300), (&c, 1000)] {
            let frame = Frame::new(b.mac, guest.mac).untagged_size(size).bytes();
            guest.wire().send_all(std::iter::repeat_n(&frame, 1200));
        }
        let sent = || [0, 1].map(|queue| count(&daemon, queue, "sent_bytes") as f64);
        let before = sent();
        thread::sleep(Duration::from_secs(3));
        let after = sent();
        let waiting = [0, 1].map(|queue| count(&daemon, queue, "waiting_frames"));
        assert!(!waiting.contains(&0), "{waiting:?}");
        let [heavy, light] = [0, 1].map(|queue| after[queue] - before[queue]);
        let share = heavy / (heavy + light);
        println!("weight 3 of 4 has {share:.4}");
        assert!((share - 0.75).abs() <= SHARE_TOLERANCE, "{share:.4}");
        daemon.stop();
    });
}

/// The delays of so many urgent frames, one after the other.
fn delays(from: &Guest, to: &Guest, count: u64) -> Vec<Duration> {
    let (sender, receiver) = (from.wire(), to.wire());
    let mut delays = Vec::new();
    for number in 0..count {
        receiver.clear();
        let frame = Frame::new(to.mac, from.mac).seed(1_000_000 + number);
        let begin = Instant::now();
        sender.send(&frame.bytes());
        let is_it = |bytes: &[u8]| Frame::seed_of(bytes) == Some(1_000_000 + number);
        let found = receiver.find(Duration::from_secs(1), is_it);
        delays.push(found.map_or(Duration::MAX, |_| begin.elapsed()));
        thread::sleep(Duration::from_millis(7));
    }
    delays.sort_unstable();
    delays
}

#[test]
fn urgent_frames_do_not_wait_for_a_flood() {
    attempts(|| {
        let world = World::alone("priority");
        let (a, b, config) = two(&world);
        let (a, b) = (&a, &b);
        let c = world.guest("c");
        let config = config
            .access("a", "lab")
            .port("c", "network = \"lab\"\nclass = 7")
            .port("b", "network = \"lab\"\nscheduler = \"50M\"");
        let mut daemon = world.start(&config);
        introduce(&[a, b, &c]);
        let mut tries = Vec::new();
        for _ in 0..TRIES {
            let (urgent, other) = thread::scope(|scope| {
                let flood = Frame::new(b.mac, a.mac).untagged_size(SIZE).bytes();
                let length = Duration::from_secs(4);
                scope.spawn(move || a.wire().stream(&[&flood], 10_000, length));
                thread::sleep(Duration::from_millis(500));
                let urgent = delays(&c, b, 100);
                // The same from a port without priority, behind 512 KiB at 50 Mbit/s: 84 ms.
                (urgent, delays(a, b, 3))
            });
            let at = |percent: usize| urgent[urgent.len() * percent / 100 - 1];
            tries.push([at(50), at(90), at(99), other[0]]);
            println!("percentiles 50, 90, 99; without priority: {tries:?}");
            if at(90) < DELAY_LIMIT && other[0] > 50 * DELAY_LIMIT {
                daemon.stop();
                return;
            }
        }
        panic!("percentiles 50, 90, 99; without priority: {tries:?}");
    });
}

#[test]
fn a_port_that_is_stuck_holds_up_nobody() {
    attempts(|| {
        let world = World::alone("stuck");
        let (a, b, config) = two(&world);
        let stuck = world.guest("c");
        // As few frames as a switch may have, of which a quarter may wait for the port.
        let config = config
            .access("a", "lab")
            .access("b", "lab")
            .port("c", "network = \"lab\"\nscheduler = \"stuck\"")
            .replace("cores = [1]", "cores = [1]\nframes = 8192");
        let mut daemon = world.start(&config);
        introduce(&[&a, &b, &stuck]);
        let (sender, receiver) = (a.wire(), b.wire().only_count());
        let to_stuck = Frame::new(stuck.mac, a.mac).untagged_size(SIZE).bytes();
        let to_b = Frame::new(b.mac, a.mac).untagged_size(SIZE).bytes();
        let sent = sender.stream(&[&to_stuck, &to_b], 8000, LENGTH);
        thread::sleep(Duration::from_millis(200));
        let arrived = receiver.count() as f64 / (sent / 2) as f64;
        let waiting = count(&daemon, 0, "waiting_frames");
        println!("beside a stuck port {arrived:.4} of all arrive; {waiting} frames wait there");
        assert!((0.99..=1.01).contains(&arrived), "{arrived:.4}");
        assert!((1000..=2048).contains(&waiting), "{waiting}");
        assert!(count(&daemon, 0, "full_frames") > 1000);
        for port in ["a", "b", "c"] {
            assert!(!daemon.drops(port).contains_key("no_free_frame"), "{port}");
        }
        daemon.stop();
    });
}
