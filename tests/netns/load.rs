//! As many frames as the machine takes, and more: at half of the rate that it reaches none is lost
//! in user space, and at overload every missing one is under a reason.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use shunt_tests::{
    config::Config,
    daemon::{Daemon, wait_for},
    generator::{Generator, Sent},
    process, sys,
    traffic::{BROADCAST, Frame, Wire},
    world::{Guest, World},
};

/// The core of the generator, on which the kernel also receives what it sends.
const GENERATOR_CORE: usize = 0;
/// Most frames that are sent without a pause at half of the rate: a small part of a ring.
const LONGEST_BURST: u64 = 128;
/// How long each overload lasts.
const LENGTH: Duration = Duration::from_secs(2);
/// How long each try at half of the rate lasts.
const TRY_LENGTH: Duration = Duration::from_millis(500);
/// Tries at half of the rate, of which one must lose nothing. The rings hold what comes in two
/// milliseconds: when the kernel's own threads, other programs, or the host of a virtual machine
/// have the worker's core for longer, frames are lost. A switch that loses frames does so in every
/// try.
const TRIES: usize = 20;
/// Time for the last frames of a try.
const ARRIVAL_TIME: Duration = Duration::from_millis(100);
/// Counters of the kernel are read once a second: this long without a change, they tell all.
const SETTLING: Duration = Duration::from_millis(1500);

/// What a load has come to.
#[derive(Debug)]
struct Outcome {
    sent: Sent,
    received: u64,
    drops: BTreeMap<String, u64>,
}

impl Outcome {
    fn dropped(&self) -> u64 {
        self.drops.values().sum()
    }

    /// Frames that the guest's device took and that are nowhere. Negative: counted twice.
    fn unexplained(&self) -> i64 {
        let accepted = self.sent.made - self.sent.refused;
        accepted as i64 - (self.received + self.dropped()) as i64
    }

    fn rate(&self) -> f64 {
        self.received as f64 / self.sent.took.as_secs_f64()
    }
}

/// Drops of all ports by port and reason.
fn drops(daemon: &Daemon) -> BTreeMap<String, u64> {
    let mut drops = BTreeMap::new();
    for port in daemon.get("ports") {
        let port = port["name"].as_str().expect("a name").to_owned();
        for (reason, count) in daemon.drops(&port) {
            drops.insert(format!("{port}/{reason}"), count);
        }
    }
    drops
}

/// Loads the switch and waits until all frames are found and no counter moves any more. `send`
/// gives how many frames it has seen arrive already.
fn load(daemon: &Daemon, far: &Wire, send: impl FnOnce() -> (Sent, u64)) -> Outcome {
    let before = drops(daemon);
    far.count();
    let (sent, mut received) = send();
    let mut last = (BTreeMap::new(), Instant::now());
    while last.1.elapsed() < SETTLING {
        let (new, now) = (far.count(), drops(daemon));
        received += new;
        if new > 0 || last.0 != now {
            last = (now, Instant::now());
        }
        thread::sleep(Duration::from_millis(50));
    }
    let mut drops = last.0;
    for (reason, count) in &mut drops {
        *count -= before.get(reason).copied().unwrap_or(0);
    }
    drops.retain(|_, count| *count > 0);
    // What the guest's own device has refused is known already.
    drops.retain(|reason, _| !reason.ends_with("/far_tx_dropped"));
    Outcome {
        sent,
        received,
        drops,
    }
}

/// Runs a closure in a thread of its own on a core.
fn on_core<T: Send>(core: usize, closure: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            sys::pin_to_core(core).expect("pin");
            closure()
        });
        running.join().expect("what runs on a core of its own")
    })
}

/// Half a second at half of the rate.
#[derive(Clone, Copy, Debug)]
struct Try {
    sent: u64,
    received: u64,
}

/// Sends so many frames a second, evenly, and again while some of them are lost.
fn try_without_loss(daemon: &Daemon, wire: &Wire, far: &Wire, frame: &[u8], rate: f64) -> Vec<Try> {
    let mut tries = Vec::new();
    while tries.len() < TRIES {
        let before = process::workers_waited(daemon.pid());
        let sent = pace(wire, frame, rate);
        let mut received = 0;
        let begin = Instant::now();
        while received < sent && begin.elapsed() < ARRIVAL_TIME {
            received += far.count();
        }
        let waited = process::workers_waited(daemon.pid()) - before;
        println!("half of it: {received} of {sent}, the worker waited for {waited:?}");
        tries.push(Try { sent, received });
        if received == sent {
            break;
        }
    }
    tries
}

/// Sends so many frames a second, evenly, from the generator's core. What is not sent in time
/// since the core does something else is not sent later, for that would be a burst.
fn pace(wire: &Wire, frame: &[u8], rate: f64) -> u64 {
    let begin = Instant::now();
    let (mut sent, mut last) = (0, begin);
    while last.duration_since(begin) < TRY_LENGTH {
        // The kernel needs the core, too, for what it receives here.
        thread::sleep(Duration::from_micros(50));
        let now = Instant::now();
        let due = (now - last).as_secs_f64() * rate;
        let count = (due as u64).min(LONGEST_BURST);
        for _ in 0..count {
            wire.send(frame);
        }
        sent += count;
        last = now;
    }
    sent
}

/// A world with two guests, `a` and `b`, of which the switch knows where `b` is.
fn site(label: &str, switch: &str) -> (World, [Guest; 2], Daemon) {
    let world = World::alone(label);
    let guests = ["a", "b"].map(|name| world.guest(name));
    let config = Config::switch(switch).private("lab");
    let daemon = world.start(&config.access("a", "lab").access("b", "lab"));
    process::put_before_other_sessions(daemon.pid());
    let b = &guests[1];
    b.wire().send(&Frame::new(BROADCAST, b.mac).bytes());
    wait_for("b is known", || {
        let entries = daemon.get("fdb");
        entries.iter().any(|it| it["port"] == "b").then_some(())
    });
    (world, guests, daemon)
}

/// Sends more than can cross, and checks that every frame is found again.
fn overload(daemon: &Daemon, [a, b]: &[Guest; 2], far: &Wire) -> Outcome {
    let generator = Generator::new(a, b);
    let overload = load(daemon, far, || (generator.flood(GENERATOR_CORE, LENGTH), 0));
    println!(
        "overload: {:.0} frames/s cross: {overload:?}",
        overload.rate()
    );
    assert_eq!(overload.unexplained(), 0, "{overload:?}");
    assert!(
        overload.received > 0 && overload.dropped() > 0,
        "{overload:?}"
    );
    overload
}

#[test]
fn half_of_the_rate_is_free_of_loss_and_overload_is_explained() {
    let (_world, guests, mut daemon) = site("load", "workers = 1\ncores = [1]");
    let [a, b] = &guests;
    let far = b.wire().only_count();
    let rate = overload(&daemon, &guests, &far).rate();

    let (wire, frame) = (a.wire(), Frame::new(b.mac, a.mac).bytes());
    let mut tries = Vec::new();
    let all = load(&daemon, &far, || {
        let begin = Instant::now();
        tries = on_core(GENERATOR_CORE, || {
            try_without_loss(&daemon, &wire, &far, &frame, rate / 2.0)
        });
        let made = tries.iter().map(|it| it.sent).sum();
        let sent = Sent {
            made,
            refused: 0,
            took: begin.elapsed(),
        };
        (sent, tries.iter().map(|it| it.received).sum())
    });
    println!("lost of all tries: {:?}", all.drops);
    assert_eq!(all.unexplained(), 0, "{all:?}");
    let last = tries.last().expect("a try");
    assert_eq!(
        last.received, last.sent,
        "every try has lost frames: {tries:?}"
    );
    if tries.len() == 1 {
        assert!(all.drops.is_empty(), "{all:?}");
    }
    daemon.stop();
}

#[test]
fn overload_of_two_workers_is_explained() {
    // One of them has the generator's core, and is slow.
    let (_world, guests, mut daemon) = site("handoff", "workers = 2\ncores = [1, 0]");
    let [a, b] = &guests;
    let owner =
        |port: &str| daemon.json(&["describe", "port", port, "-o", "json"])["workers"].clone();
    assert_ne!(owner("a"), owner("b"), "the test's premise");
    let far = b.wire().only_count();
    overload(&daemon, &guests, &far);
    let back = a.wire().only_count();
    let generator = Generator::new(b, a);
    a.wire().send(&Frame::new(BROADCAST, a.mac).bytes());
    let overload = load(&daemon, &back, || {
        (generator.flood(GENERATOR_CORE, LENGTH), 0)
    });
    println!(
        "the other way: {:.0} frames/s cross: {overload:?}",
        overload.rate()
    );
    assert_eq!(overload.unexplained(), 0, "{overload:?}");
    daemon.stop();
}
