//! The forwarding database: many addresses, limits, static entries, ageing, and its commands.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use shunt_tests::{
    config::Config,
    daemon::{Daemon, wait_for},
    traffic::{BROADCAST, Frame, Mac, Wire, arrivals, by_seed, check_crossing, text_of},
    world::{Guest, World, new_mac},
};

/// Three guests on a private network.
struct Scene {
    wires: Vec<Wire>,
    guests: Vec<Guest>,
    daemon: Daemon,
    _world: World,
}

impl Scene {
    /// `config` is what there is beside the ports b and c.
    fn new(config: Config) -> Self {
        let world = World::new("fdb");
        let guests: Vec<_> = ["a", "b", "c"]
            .iter()
            .map(|name| world.guest(name))
            .collect();
        let config = config.access("b", "lab").access("c", "lab");
        Self {
            wires: guests.iter().map(Guest::wire).collect(),
            guests,
            daemon: world.start(&config),
            _world: world,
        }
    }

    fn plain() -> Self {
        Self::new(Config::workers(1).private("lab").access("a", "lab"))
    }

    fn mac(&self, port: usize) -> Mac {
        self.guests[port].mac
    }

    /// A frame from one port with these addresses arrives, unchanged, at exactly these ports.
    #[track_caller]
    fn check(&self, from: usize, source: Mac, destination: Mac, at: &[usize]) {
        let wires: Vec<_> = self.wires.iter().collect();
        let frame = Frame::new(destination, source).bytes();
        let expected: Vec<_> = at.iter().map(|at| (*at, frame.clone())).collect();
        check_crossing(&wires, from, &frame, &expected);
    }

    /// The entry of an address in the only network.
    #[track_caller]
    fn entry(&self, mac: Mac) -> Option<Value> {
        let mut entries = self.daemon.get("fdb").into_iter();
        entries.find(|entry| entry["mac"] == text_of(mac))
    }

    #[track_caller]
    fn removed(&self, arguments: &[&str], expected: usize) {
        let text = self.daemon.shunt(&[&["fdb"], arguments].concat());
        let count = text.split_whitespace().find_map(|word| word.parse().ok());
        assert_eq!(count, Some(expected), "{arguments:?}: {text}");
    }
}

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

/// One of many stations behind a port.
fn station(number: u64) -> Mac {
    let [.., c, d] = number.to_be_bytes();
    [0x02, 0x53, 0x49, 0, c, d]
}

#[test]
fn a_thousand_addresses_behind_one_port() {
    const COUNT: u64 = 1000;
    let mut scene = Scene::plain();
    let hello = |n| Frame::new(BROADCAST, station(n)).seed(n).bytes();
    scene.wires[A].send_all((0..COUNT).map(hello));
    let wires: Vec<_> = scene.wires.iter().collect();
    // Both others hear each once.
    let arrived = arrivals(&wires, 2 * COUNT as usize);
    let heard: BTreeSet<_> = arrived
        .iter()
        .map(|(at, frame)| (*at, Frame::seed_of(frame)))
        .collect();
    assert_eq!(
        (arrived.len(), heard.len()),
        (2 * COUNT as usize, 2 * COUNT as usize)
    );
    assert!(!heard.iter().any(|(at, _)| *at == A));

    let entries = scene.daemon.get("fdb");
    let learnt: BTreeSet<_> = entries
        .iter()
        .filter_map(|entry| entry["mac"].as_str())
        .collect();
    let expected: Vec<_> = (0..COUNT).map(|n| text_of(station(n))).collect();
    assert_eq!(learnt, expected.iter().map(String::as_str).collect());
    for entry in &entries {
        assert_eq!(
            (&entry["port"], &entry["kind"]),
            (&"a".into(), &"dynamic".into()),
            "{entry}"
        );
        assert_eq!(
            (&entry["network"], &entry["vid"]),
            (&"lab".into(), &Value::Null),
            "{entry}"
        );
    }

    let answer = |n| Frame::new(station(n), scene.mac(B)).seed(n).bytes();
    scene.wires[B].send_all((0..COUNT).map(answer));
    let arrived = arrivals(&wires, COUNT as usize);
    assert!(
        arrived.iter().all(|(at, _)| *at == A),
        "an answer was flooded"
    );
    let frames: Vec<_> = arrived.into_iter().map(|(_, frame)| frame).collect();
    let counts = by_seed(&frames);
    assert_eq!(
        (frames.len(), counts.len()),
        (COUNT as usize, COUNT as usize)
    );
    scene.daemon.wait_drops("a", &[]);
    scene.daemon.wait_drops("b", &[]);
    scene.daemon.stop();
}

#[test]
fn mac_limit_bounds_a_port_and_no_other() {
    let limited = "network = \"lab\"\nmac_limit = 8";
    let config = Config::workers(1).private("lab").port("a", limited);
    let mut scene = Scene::new(config);
    for number in 0..12 {
        let at: &[usize] = if number < 8 { &[B, C] } else { &[] };
        scene.check(A, station(number), BROADCAST, at);
    }
    scene.daemon.wait_drops("a", &[("mac_limit", 4)]);
    // Those that are learnt stay; others are as unknown as before; another port has no limit.
    scene.check(A, station(7), BROADCAST, &[B, C]);
    for number in 20..40 {
        scene.check(B, station(number), BROADCAST, &[A, C]);
    }
    scene.check(C, scene.mac(C), station(7), &[A]);
    // Nobody has answered for station 8, so it is unknown.
    scene.check(C, scene.mac(C), station(8), &[A, B]);
    // One that is forgotten makes room.
    scene.removed(
        &["del", "--network", "lab", "--mac", &text_of(station(0))],
        1,
    );
    scene.check(A, station(8), BROADCAST, &[B, C]);
    scene.check(A, station(0), BROADCAST, &[]);
    scene.daemon.wait_drops("a", &[("mac_limit", 5)]);
    scene.daemon.stop();
}

#[test]
fn a_station_moves_and_traffic_follows() {
    let mut scene = Scene::plain();
    let station = new_mac();
    scene.check(A, station, BROADCAST, &[B, C]);
    scene.check(C, scene.mac(C), station, &[A]);
    scene.check(B, station, BROADCAST, &[A, C]);
    scene.check(C, scene.mac(C), station, &[B]);
    // A frame to a station behind the port that it comes from goes nowhere.
    scene.check(B, scene.mac(B), station, &[]);
    scene.daemon.wait_drops("b", &[("same_port", 1)]);
    let counters = scene.daemon.get("counters");
    let moved = counters
        .iter()
        .find(|counter| counter["name"] == "fdb_moved");
    assert_eq!(
        moved.map(|counter| &counter["value"]),
        Some(&1.into()),
        "{counters:?}"
    );
    scene.daemon.stop();
}

#[test]
fn static_entries_stay_with_their_port() {
    let bound = [0x02, 0x53, 0x4a, 0, 0, 1];
    let config = Config::workers(1).private("lab").access("a", "lab");
    let mut scene = Scene::new(config.entry("lab", &text_of(bound), "a"));
    // Nobody has heard of it, and still it is known.
    scene.check(C, scene.mac(C), bound, &[A]);
    scene.check(B, bound, BROADCAST, &[]);
    scene.daemon.wait_drops("b", &[("static_moved", 1)]);
    scene.check(A, bound, BROADCAST, &[B, C]);
    let entry = scene.entry(bound).expect("an entry");
    assert_eq!(
        (&entry["kind"], &entry["age_s"]),
        (&"static".into(), &Value::Null),
        "{entry}"
    );

    // The same by command, for one that another port has.
    let added = new_mac();
    scene.check(C, added, BROADCAST, &[A, B]);
    let text = text_of(added);
    scene.daemon.shunt(&[
        "fdb",
        "add",
        "--network",
        "lab",
        "--mac",
        &text,
        "--port",
        "b",
    ]);
    assert_eq!(scene.entry(added).expect("an entry")["port"], "b");
    scene.check(A, scene.mac(A), added, &[B]);
    scene.check(C, added, BROADCAST, &[]);
    scene.daemon.wait_drops("c", &[("static_moved", 1)]);
    scene.removed(&["del", "--network", "lab", "--mac", &text], 1);
    scene.check(C, added, BROADCAST, &[A, B]);
    scene.daemon.stop();
}

#[test]
fn flushing_by_port_network_and_address() {
    let mut scene = Scene::plain();
    let bound = text_of(new_mac());
    scene.daemon.shunt(&[
        "fdb",
        "add",
        "--network",
        "lab",
        "--mac",
        &bound,
        "--port",
        "a",
    ]);
    let fill = || {
        for (port, number) in [(A, 1), (A, 2), (A, 3), (B, 4), (B, 5), (C, 6)] {
            scene.check(port, station(number), BROADCAST, others(port));
        }
    };
    fill();
    scene.removed(&["flush", "--port", "a"], 3);
    scene.check(C, station(6), station(1), &[A, B]);
    scene.check(C, station(6), station(4), &[B]);
    scene.removed(&["flush", "--mac", &text_of(station(4))], 1);
    scene.check(C, station(6), station(4), &[A, B]);
    scene.removed(&["flush", "--network", "lab"], 2);
    assert_eq!(scene.daemon.get("fdb").len(), 1, "the static one stays");
    fill();
    scene.removed(&["flush"], 6);
    fill();
    scene.removed(&["flush", "--static"], 7);
    assert_eq!(scene.daemon.get("fdb"), Vec::<Value>::new());

    for (arguments, what) in [
        (&["flush", "--port", "nobody"][..], "nobody"),
        (
            &["del", "--network", "lab", "--mac", "02:00:00:00:00:99"],
            "02:00:00:00:00:99",
        ),
        (
            &[
                "add",
                "--network",
                "lab",
                "--mac",
                "03:00:00:00:00:01",
                "--port",
                "a",
            ],
            "03:00",
        ),
        (
            &[
                "add",
                "--network",
                "web",
                "--mac",
                "02:00:00:00:00:01",
                "--port",
                "a",
            ],
            "web",
        ),
    ] {
        let output = scene.daemon.try_shunt(&[&["fdb"], arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains(what), "{arguments:?}: {error}");
    }
    scene.daemon.stop();
}

fn others(port: usize) -> &'static [usize] {
    match port {
        A => &[B, C],
        B => &[A, C],
        _ => &[A, B],
    }
}

#[test]
fn silent_stations_age_out() {
    let config = Config::switch("workers = 1\nageing_s = 10")
        .private("lab")
        .access("a", "lab");
    let mut scene = Scene::new(config);
    let (silent, talking) = (new_mac(), new_mac());
    scene.check(A, silent, BROADCAST, &[B, C]);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(8) {
        scene.check(A, talking, BROADCAST, &[B, C]);
        thread::sleep(Duration::from_millis(500));
    }
    let entry = scene.entry(silent).expect("not yet");
    assert!(
        (6..=9).contains(&entry["age_s"].as_u64().expect("age")),
        "{entry}"
    );
    assert!(scene.entry(talking).expect("refreshed")["age_s"].as_u64() <= Some(2));
    scene.check(C, scene.mac(C), silent, &[A]);

    wait_for("the silent one is forgotten", || {
        scene.entry(silent).is_none().then_some(())
    });
    let took = start.elapsed().as_secs_f64();
    assert!((9.0..14.0).contains(&took), "after {took} s");
    scene.check(C, scene.mac(C), silent, &[A, B]);
    scene.check(C, scene.mac(C), talking, &[A]);
    scene.daemon.stop();
}
