//! Rates and priorities with the real daemon on real devices.
//!
//! Other programs on the machine can make a rate lower and a delay longer, and neither better: each
//! test may be tried again, and what was measured is printed.

use std::{
    thread,
    time::{Duration, Instant, SystemTime},
};

use shunt_tests::{
    attempts::attempts,
    config::Config,
    daemon::Daemon,
    process, sys,
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
/// Longest delay of an urgent frame: the promise of strict priority. Until the kernel has it for
/// the guest, 99 of 100 keep to it; until a program has it, which has to be woken, nine of ten.
const DELAY_LIMIT: Duration = Duration::from_millis(1);
/// Urgent frames of a try.
const URGENT: u64 = 300;
/// The core of all programs of the test; the worker has the other one.
const PROGRAM_CORE: usize = 0;

/// A scheduler with queues of these lines each.
fn scheduler(name: &str, rate: &str, burst: &str, queues: &[&str]) -> String {
    let queues = queues
        .iter()
        .map(|lines| format!("[[scheduler.queue]]\n{lines}\n"));
    let queues: String = queues.collect();
    format!("[[scheduler]]\nname = \"{name}\"\nrate = \"{rate}\"\nburst = \"{burst}\"\n{queues}")
}

/// All policers and schedulers of these tests.
fn rules() -> String {
    let urgent = ["classes = [7]\nstrict = true", "limit = \"512 KiB\""];
    let heavy = "classes = [5]\nweight = 3\nlimit = \"2 MiB\"";
    let light = "weight = 1\nlimit = \"2 MiB\"";
    [
        "[[policer]]\nname = \"20M\"\nrate = \"20 Mbit/s\"\nburst = \"20 kB\"\n".to_owned(),
        scheduler("20M", "20 Mbit/s", "20 kB", &urgent),
        scheduler("50M", "50 Mbit/s", "20 kB", &urgent),
        scheduler("shares", "2 Mbit/s", "10 kB", &[heavy, light]),
        scheduler("stuck", "8 kbit/s", "10 kB", &["limit = \"1 GiB\""]),
    ]
    .concat()
}

/// A world with two guests in one network.
fn two(world: &World) -> (Guest, Guest, Config) {
    let guests = (world.guest("a"), world.guest("b"));
    let config = Config::switch("workers = 1\ncores = [1]").private("lab");
    (guests.0, guests.1, config.with(&rules()))
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

/// Delays in ascending order.
#[derive(Debug, Default)]
struct Delays(Vec<Duration>);

impl Delays {
    fn new(mut delays: Vec<Duration>) -> Self {
        delays.sort_unstable();
        Self(delays)
    }

    /// The delay that so many of a hundred do not exceed.
    fn at(&self, percent: usize) -> Duration {
        self.0[(self.0.len() * percent).div_ceil(100) - 1]
    }

    fn percentiles(&self) -> [Duration; 4] {
        [50, 90, 99, 100].map(|percent| self.at(percent))
    }
}

/// The delays of so many frames, one after the other: until the kernel has them for the guest, and
/// until we do.
fn delays(from: &Guest, to: &Guest, count: u64) -> [Delays; 2] {
    let (sender, receiver) = (from.wire(), to.wire().stamped());
    let (mut to_guest, mut to_us) = (Vec::new(), Vec::new());
    for number in 0..count {
        receiver.clear();
        let seed = 1_000_000 + number;
        let frame = Frame::new(to.mac, from.mac).seed(seed).bytes();
        let (begin, sent) = (Instant::now(), SystemTime::now());
        sender.send(&frame);
        let is_it = |bytes: &[u8]| Frame::seed_of(bytes) == Some(seed);
        let found = receiver.find_stamped(Duration::from_secs(1), is_it);
        let (stamp, delay) = match found {
            Some((_, stamp)) => (stamp.duration_since(sent).ok(), begin.elapsed()),
            None => (None, Duration::MAX),
        };
        to_guest.push(stamp.unwrap_or(Duration::MAX));
        to_us.push(delay);
        thread::sleep(Duration::from_millis(7));
    }
    [to_guest, to_us].map(Delays::new)
}

/// Urgent frames from `c` to `b` while `a` floods the same port, and then three from `a` itself,
/// which wait behind 512 KiB at 50 Mbit/s: 84 ms.
fn delays_beside_a_flood([a, b, c]: [&Guest; 3]) -> ([Delays; 2], Duration) {
    thread::scope(|scope| {
        let flood = Frame::new(b.mac, a.mac).untagged_size(SIZE).bytes();
        let pin = || sys::pin_to_core(PROGRAM_CORE).expect("pin");
        scope.spawn(move || {
            pin();
            a.wire().stream(&[&flood], 10_000, Duration::from_secs(4));
        });
        let measuring = scope.spawn(move || {
            pin();
            thread::sleep(Duration::from_millis(500));
            let urgent = delays(c, b, URGENT);
            let [_, other] = delays(a, b, 3);
            (urgent, other.at(1))
        });
        measuring.join().expect("delays")
    })
}

#[test]
fn urgent_frames_do_not_wait_for_a_flood() {
    attempts(|| {
        let world = World::alone("priority");
        let (a, b, config) = two(&world);
        let c = world.guest("c");
        let config = config
            .access("a", "lab")
            .port("c", "network = \"lab\"\nclass = 7")
            .port("b", "network = \"lab\"\nscheduler = \"50M\"");
        let mut daemon = world.start(&config);
        process::put_before_other_sessions(daemon.pid());
        introduce(&[&a, &b, &c]);
        for _ in 0..TRIES {
            let waited = process::workers_waited(daemon.pid());
            let ([to_guest, to_us], other) = delays_beside_a_flood([&a, &b, &c]);
            let waited = process::workers_waited(daemon.pid()) - waited;
            println!(
                "percentiles 50, 90, 99 and 100, to the guest {:?}, to the program {:?}; without \
                 priority {other:?}; the worker waited for its core for {waited:?}",
                to_guest.percentiles(),
                to_us.percentiles()
            );
            let is_urgent = to_guest.at(99) < DELAY_LIMIT && to_us.at(90) < DELAY_LIMIT;
            // One that was lost in the full queue has not shown how long the others wait.
            let has_waited = (50 * DELAY_LIMIT..Duration::MAX).contains(&other);
            if is_urgent && has_waited {
                daemon.stop();
                return;
            }
        }
        panic!("urgent frames have waited in every try");
    });
}

#[test]
fn a_port_that_is_stuck_holds_up_nobody() {
    attempts(|| {
        let world = World::alone("stuck");
        let (a, b, config) = two(&world);
        let stuck = world.guest("c");
        // So few frames that what may wait for the port is a quarter of them.
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
