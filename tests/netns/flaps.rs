//! Devices come and go: the daemon stays, the other ports lose nothing, the port's state says what
//! is wrong, and it comes back by itself.

use std::{
    thread,
    time::{Duration, Instant},
};

use shunt_tests::{
    attempts::attempts,
    background::Background,
    config::Config,
    daemon::{Daemon, wait_for},
    flow::Flow,
    netns::Namespace,
    process::{self, Usage},
    traffic::{BROADCAST, Frame, Wire},
    world::{GUEST_DEVICE, Guest, World},
};

/// How often the port is added, flapped, deleted, made again and removed.
const ROUNDS: u32 = 200;
/// Rounds until everything has been used that is used again and again.
const WARM_UP: u32 = 40;
/// How much more memory may be resident at the end: what the allocator keeps differs a little.
const MEMORY_TOLERANCE_KIB: u64 = 2048;
/// Frames a second of each of two flows that must not lose any.
const RATE: u64 = 1000;

/// Two guests that nothing happens to, and a network for the others.
fn config() -> Config {
    Config::workers(2)
        .private("lab")
        .access("a", "lab")
        .access("b", "lab")
}

#[test]
fn a_port_that_comes_and_goes_200_times_costs_nothing() {
    attempts(try_a_port_that_comes_and_goes_200_times_costs_nothing);
}

fn try_a_port_that_comes_and_goes_200_times_costs_nothing() {
    let world = World::new("flaps");
    let (a, b) = (world.guest("a"), world.guest("b"));
    let far = Namespace::new("flapping").expect("namespace");
    let base = config();
    let mut daemon = world.start(&base);
    process::put_before_other_sessions(daemon.pid());
    let flows = [Flow::start(&a, &b, RATE), Flow::start(&b, &a, RATE)];
    // Floods to the port that comes and goes, too.
    let (wire, group) = (a.wire(), Frame::new(BROADCAST, a.mac).bytes());
    let floods = Background::start(move || {
        wire.stream(&[&group], 500, Duration::from_millis(100));
    });
    let mut usage = Vec::new();
    let begin = Instant::now();
    for round in 0..ROUNDS {
        come_and_go(&world, &far, &daemon, &base, round);
        if round == WARM_UP || round == ROUNDS - 1 {
            // Until the last client's connection is closed.
            thread::sleep(Duration::from_millis(200));
            usage.push(Usage::of(daemon.pid()));
        }
    }
    println!("{ROUNDS} rounds in {:?}", begin.elapsed());
    floods.stop();
    for flow in flows {
        println!("{:?}", flow.stop_whole());
    }
    let [before, after] = usage[..] else {
        unreachable!()
    };
    println!("after {WARM_UP} rounds {before:?}, after {ROUNDS} {after:?}");
    assert_eq!(after.descriptors, before.descriptors);
    assert!(
        after.resident_kib <= before.resident_kib + MEMORY_TOLERANCE_KIB,
        "{before:?} {after:?}"
    );
    let log = daemon.stop();
    assert!(log.contains("frames came back"), "{log}");
}

/// One round. How long is waited differs, so that things happen in the middle of others.
fn come_and_go(world: &World, far: &Namespace, daemon: &Daemon, base: &Config, round: u32) {
    let device = "c";
    let make = || {
        let made = world.switch.veth(device, far, GUEST_DEVICE, 1);
        made.expect("veth");
    };
    let set = |state: &str| {
        let set = world.switch.ip(&["link", "set", device, state]);
        set.expect("ip link set");
    };
    let pause = || thread::sleep(Duration::from_millis(u64::from(round % 7) * 2));
    if !round.is_multiple_of(3) {
        make();
    }
    daemon.reload(&base.clone().access(device, "lab"));
    if round.is_multiple_of(3) {
        make();
    }
    if round.is_multiple_of(5) {
        daemon.wait_up();
    } else {
        pause();
    }
    set("down");
    pause();
    set("up");
    pause();
    let deleted = world.switch.ip(&["link", "del", device]);
    deleted.expect("ip link del");
    make();
    if round.is_multiple_of(4) {
        daemon.wait_up();
        check_is_reached(daemon, far);
    } else {
        pause();
    }
    let delete = || {
        let deleted = world.switch.ip(&["link", "del", device]);
        deleted.expect("ip link del");
    };
    if round.is_multiple_of(2) {
        delete();
        daemon.reload(base);
    } else {
        daemon.reload(base);
        delete();
    }
}

/// What others flood arrives at the port that has just come.
fn check_is_reached(daemon: &Daemon, far: &Namespace) {
    let wire = Wire::open(far, GUEST_DEVICE);
    let arrived = wire.find(Duration::from_secs(3), |frame| {
        frame.starts_with(&BROADCAST)
    });
    assert!(arrived.is_some(), "{:?}", daemon.port("c"));
}

/// A world where each change is tried in turn, while two guests exchange frames.
struct Changes {
    world: World,
    c: Guest,
    daemon: Daemon,
}

impl Changes {
    fn ip(&self, arguments: &[&str]) {
        self.world.switch.ip(arguments).expect("ip");
    }

    /// Waits until the port is in this state, for this reason.
    #[track_caller]
    fn wait(&self, state: &str, reason: &str) {
        let is_right = |port: &serde_json::Value| {
            let why = port["reason"].as_str().unwrap_or_default();
            port["state"] == state && why.contains(reason)
        };
        wait_for(&format!("c is {state}: {reason}"), || {
            let port = self.daemon.port("c");
            is_right(&port).then_some(()).or_else(|| {
                // Shown when the test fails.
                println!("{} {}", port["state"], port["reason"]);
                None
            })
        });
    }

    /// Waits until the port is up, and sends a frame each way between it and another guest.
    #[track_caller]
    fn check_back(&self, a: &Guest) {
        self.daemon.wait_state("c", "up");
        let wire = self.c.wire();
        wire.send(&Frame::new(BROADCAST, self.c.mac).bytes());
        let frame = Frame::new(self.c.mac, a.mac).seed(1 << 40).bytes();
        let arrived = wait_for("a frame to c", || {
            a.wire().send(&frame);
            wire.find(Duration::from_millis(100), |it| it == frame)
        });
        assert_eq!(arrived, frame);
    }
}

#[test]
fn each_change_of_a_device_is_told_and_the_port_comes_back() {
    attempts(try_each_change_of_a_device_is_told_and_the_port_comes_back);
}

fn try_each_change_of_a_device_is_told_and_the_port_comes_back() {
    let world = World::new("changes");
    let (a, b) = (world.guest("a"), world.guest("b"));
    let c = world.guest_with_queues("c", 2);
    for (namespace, device) in [(&world.switch, "c"), (&c.namespace, GUEST_DEVICE)] {
        set_queues(namespace, device, 1);
    }
    let daemon = world.start(&config().access("c", "lab"));
    process::put_before_other_sessions(daemon.pid());
    let flows = [Flow::start(&a, &b, RATE), Flow::start(&b, &a, RATE)];
    let mut test = Changes { world, c, daemon };
    test.check_back(&a);

    down_and_up(&test, &a);
    renamed(&test, &a);
    other_mtu(&test, &a);
    more_queues(&test, &a);
    given_to_a_bridge(&test, &a);
    moved_away(&test, &a);
    guest_dies(&mut test, &a);

    for flow in flows {
        println!("{:?}", flow.stop_whole());
    }
    test.daemon.stop();
}

fn down_and_up(test: &Changes, a: &Guest) {
    test.ip(&["link", "set", "c", "down"]);
    test.wait("down", "ip link set c up");
    test.ip(&["link", "set", "c", "up"]);
    test.check_back(a);
    let far = &test.c.namespace;
    far.ip(&["link", "set", GUEST_DEVICE, "down"]).expect("ip");
    test.wait("down", "no carrier");
    far.ip(&["link", "set", GUEST_DEVICE, "up"]).expect("ip");
    test.check_back(a);
}

fn renamed(test: &Changes, a: &Guest) {
    test.ip(&["link", "set", "c", "name", "other"]);
    test.wait("missing", "no interface c");
    // It was let go of as it was found.
    let left = test.world.switch.ip(&["link", "show", "dev", "other"]);
    assert!(!left.expect("ip link").contains("xdp"));
    test.ip(&["link", "set", "other", "name", "c"]);
    test.check_back(a);
}

fn other_mtu(test: &Changes, a: &Guest) {
    test.ip(&["link", "set", "c", "mtu", "1200"]);
    wait_for("the MTU", || {
        (test.daemon.port("c")["mtu"] == 1200).then_some(())
    });
    test.check_back(a);
    let long = Frame::new(test.c.mac, a.mac).untagged_size(1400).bytes();
    let before = test.daemon.drops("c").get("mtu_exceeded").copied();
    a.wire().send(&long);
    wait_for("the drop", || {
        let drops = test.daemon.drops("c").get("mtu_exceeded").copied();
        (drops.unwrap_or(0) == before.unwrap_or(0) + 1).then_some(())
    });
    test.ip(&["link", "set", "c", "mtu", "1500"]);
    wait_for("the MTU", || {
        (test.daemon.port("c")["mtu"] == 1500).then_some(())
    });
    let wires = [&a.wire(), &test.c.wire()];
    wires[1].clear();
    // `a` hears the flow, too: only the far end is looked at.
    wires[0].send(&long);
    let arrived = wires[1].find(Duration::from_secs(3), |frame| frame == long);
    assert!(arrived.is_some());
}

fn more_queues(test: &Changes, a: &Guest) {
    assert_eq!(test.daemon.port("c")["queues"], 1);
    set_queues(&test.world.switch, "c", 2);
    wait_for("two queues", || {
        (test.daemon.port("c")["queues"] == 2).then_some(())
    });
    test.check_back(a);
}

fn given_to_a_bridge(test: &Changes, a: &Guest) {
    test.ip(&["link", "add", "br0", "type", "bridge"]);
    test.ip(&["link", "set", "c", "master", "br0"]);
    test.wait("error", "nomaster");
    test.ip(&["link", "set", "c", "nomaster"]);
    test.check_back(a);
    test.ip(&["link", "del", "br0"]);
}

fn moved_away(test: &Changes, a: &Guest) {
    let other = Namespace::new("away").expect("namespace");
    test.ip(&["link", "set", "c", "netns", other.name()]);
    test.wait("missing", "no interface c");
    let home = test.world.switch.name();
    other.ip(&["link", "set", "c", "netns", home]).expect("ip");
    test.wait("down", "ip link set c up");
    test.ip(&["link", "set", "c", "up"]);
    test.check_back(a);
}

/// The guest's namespace goes, and the veth with it; then there is another guest.
fn guest_dies(test: &mut Changes, a: &Guest) {
    let next = test.world.guest("next");
    let dead = std::mem::replace(&mut test.c, next);
    drop(dead);
    test.wait("missing", "no interface c");
    test.ip(&["link", "set", "next", "down"]);
    test.ip(&["link", "set", "next", "name", "c"]);
    test.ip(&["link", "set", "c", "up"]);
    test.check_back(a);
}

fn set_queues(namespace: &Namespace, device: &str, count: usize) {
    let count = count.to_string();
    let set = namespace.run("ethtool", &["-L", device, "rx", &count, "tx", &count]);
    set.expect("ethtool -L");
}
