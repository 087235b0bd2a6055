//! Forwarding: floods, learning, ageing, limits, and who may speak to whom (802.1Q-2022, 8.6 to
//! 8.8).

use switch_core::{
    counters::DropReason,
    limits::{BURST, HANDOFF_RING_SIZE, PortIndex},
    port::{Queue, SimQueue, SimWire},
    table::fdb::Filter,
    wire::ethernet::Mac,
};

use super::scene::{ALL, C, Scene, frame, station};

/// Ports of each kind in one network.
const SCENE: &str = r#"
[switch]
ageing_s = 300

[[network]]
name = "web"
vlan = 20

[[port]]
name = "a"
device = "d0"
network = "web"

[[port]]
name = "b"
device = "d1"
network = "web"
mac_limit = 2

[[port]]
name = "lonely-1"
device = "d2"
network = "web"
isolated = true

[[port]]
name = "lonely-2"
device = "d3"
network = "web"
isolated = true

[[port]]
name = "up-1"
device = "d4"
role = "uplink"
native = "web"

[[port]]
name = "up-2"
device = "d5"
role = "uplink"
native = "web"

[[port]]
name = "stack"
device = "d6"
role = "host"
network = "web"
"#;

fn plain(destination: Mac, source: Mac) -> Vec<u8> {
    frame(destination, source, &[])
}

/// A broadcast goes to everybody who may have it, and to nobody twice.
#[test]
fn floods_reach_whom_they_may() {
    let check = |from: &str, expected: &[&str]| {
        for destination in [ALL, Mac([1, 0, 0x5e, 0, 0, 1]), station(77)] {
            let mut scene = Scene::new(SCENE);
            let reached = scene.reached(from, &plain(destination, station(1)));
            assert_eq!(reached, expected, "{destination} from {from}");
        }
    };
    check("a", &["b", "lonely-1", "lonely-2", "stack", "up-1", "up-2"]);
    check("stack", &["a", "b", "lonely-1", "lonely-2", "up-1", "up-2"]);
    check("lonely-1", &["a", "b", "stack", "up-1", "up-2"]);
    check("up-1", &["a", "b", "lonely-1", "lonely-2", "stack"]);
}

/// One frame to a known station.
#[test]
fn known_stations_are_reached_where_that_is_allowed() {
    let check = |from: &str, to: &str, expected: Option<DropReason>| {
        let mut scene = Scene::new(SCENE);
        scene.send(to, &plain(ALL, station(2)));
        let reached = scene.reached(from, &plain(station(2), station(1)));
        match expected {
            None => assert_eq!(reached, [to], "from {from}"),
            Some(reason) => {
                assert!(reached.is_empty(), "from {from} to {to}: {reached:?}");
                assert_eq!(scene.only_drop(), Some((from.to_owned(), reason)));
            }
        }
    };
    check("a", "b", None);
    check("a", "lonely-1", None);
    check("lonely-1", "a", None);
    check("lonely-1", "up-1", None);
    check("up-1", "lonely-1", None);
    check("stack", "up-1", None);
    check("up-2", "stack", None);
    check("lonely-1", "lonely-2", Some(DropReason::Isolated));
    check("up-1", "up-2", Some(DropReason::UplinkToUplink));
    check("a", "a", Some(DropReason::SamePort));
}

#[test]
fn frames_that_no_bridge_relays() {
    let check = |destination: Mac, source: Mac, expected: Option<DropReason>| {
        let mut scene = Scene::new(SCENE);
        let reached = scene.reached("a", &plain(destination, source));
        assert_eq!(
            reached.is_empty(),
            expected.is_some(),
            "{source} to {destination}"
        );
        let expected = expected.map(|reason| ("a".to_owned(), reason));
        assert_eq!(scene.only_drop(), expected, "{source} to {destination}");
        let entries = scene.engine.fdb().len();
        assert_eq!(
            entries,
            usize::from(expected.is_none()),
            "what is dropped teaches nothing"
        );
    };
    let group = |last| Mac([0x01, 0x80, 0xc2, 0, 0, last]);
    for last in 0..16 {
        check(group(last), station(1), Some(DropReason::ReservedGroup));
    }
    check(group(0x10), station(1), None);
    check(ALL, Mac::NULL, Some(DropReason::SourceInvalid));
    check(ALL, ALL, Some(DropReason::SourceInvalid));
    check(
        ALL,
        Mac([3, 0, 0, 0, 0, 1]),
        Some(DropReason::SourceInvalid),
    );
    check(Mac::NULL, station(1), None);
}

#[test]
fn reserved_groups_are_relayed_on_demand() {
    let mut scene = Scene::new(&SCENE.replace("[switch]", "[switch]\nforward_reserved = true"));
    let lldp = Mac([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
    assert_eq!(scene.reached("a", &plain(lldp, station(1))).len(), 6);
}

#[test]
fn truncated_frames_are_counted() {
    let whole = frame(ALL, station(1), &[(C, 0)]);
    for size in 0..18 {
        let mut scene = Scene::new(SCENE);
        assert!(scene.send("a", &whole[..size]).is_empty(), "{size} bytes");
        assert_eq!(
            scene.only_drop(),
            Some(("a".to_owned(), DropReason::Truncated))
        );
    }
    let mut scene = Scene::new(SCENE);
    assert_eq!(
        scene.send("a", &whole[..18]).len(),
        6,
        "a header without payload"
    );
}

#[test]
fn a_station_that_moves_is_found_where_it_is() {
    let mut scene = Scene::new(SCENE);
    for port in ["a", "up-1", "lonely-1", "a"] {
        scene.send(port, &plain(ALL, station(2)));
        assert_eq!(
            scene.reached("stack", &plain(station(2), station(1))),
            [port]
        );
    }
    assert_eq!(scene.engine.fdb().events().moved, 3);
}

#[test]
fn a_station_is_forgotten_after_the_ageing_time() {
    let mut scene = Scene::new(SCENE);
    let known = |scene: &mut Scene| scene.reached("b", &plain(station(2), station(1))) == ["a"];
    scene.set_now(1000);
    scene.send("a", &plain(ALL, station(2)));
    scene.set_now(1300);
    assert!(known(&mut scene), "300 seconds are not more than 300");
    scene.set_now(1301);
    assert!(!known(&mut scene), "one more is");
    scene.send("a", &plain(ALL, station(2)));
    scene.set_now(1500);
    scene.send("a", &plain(ALL, station(2)));
    scene.set_now(1800);
    assert!(known(&mut scene), "it has spoken since");
    scene.set_now(1801);
    assert_eq!(scene.engine.age(), 1, "the other one spoke just now");
}

#[test]
fn static_entries_stay_and_cannot_be_moved() {
    let entry = "\n[[static]]\nnetwork = \"web\"\nport = \"a\"\nmac = \"02:00:00:00:00:02\"\n";
    let mut scene = Scene::new(&format!("{SCENE}{entry}"));
    scene.set_now(1_000_000);
    scene.engine.age();
    scene.engine.fdb().flush(&Filter::default());
    assert!(scene.send("b", &plain(ALL, station(2))).is_empty());
    assert_eq!(
        scene.only_drop(),
        Some(("b".to_owned(), DropReason::StaticMoved))
    );
    assert_eq!(scene.reached("b", &plain(station(2), station(1))), ["a"]);
    assert_eq!(
        scene.send("a", &plain(ALL, station(2))).len(),
        6,
        "from where it is"
    );
}

#[test]
fn a_port_has_as_many_stations_as_its_limit() {
    let mut scene = Scene::new(SCENE);
    for number in [1, 2, 1, 2] {
        assert_eq!(scene.send("b", &plain(ALL, station(number))).len(), 6);
    }
    assert!(scene.send("b", &plain(ALL, station(3))).is_empty());
    scene.send("a", &plain(ALL, station(4)));
    assert!(
        scene.send("b", &plain(ALL, station(4))).is_empty(),
        "nor one that moves here"
    );
    assert_eq!(scene.drops("b", DropReason::MacLimit), 2);
    assert_eq!(
        scene.reached("stack", &plain(station(4), station(5))),
        ["a"],
        "it stays"
    );
    scene.send("a", &plain(ALL, station(1)));
    assert_eq!(
        scene.send("b", &plain(ALL, station(3))).len(),
        6,
        "one has left"
    );
}

#[test]
fn one_ports_strangers_do_not_drive_out_anothers_stations() {
    let mut scene = Scene::new(SCENE);
    for number in 0..100 {
        scene.send("a", &plain(ALL, station(number)));
    }
    for number in 0..5000_u64 {
        scene.send(
            "lonely-1",
            &plain(station(0), Mac::from_u64(0x0600_0000_0000 + number)),
        );
    }
    let port = scene.port("a");
    assert_eq!(scene.engine.fdb().port_count(port), 100);
    assert!(scene.engine.fdb().events().evicted > 0);
}

#[test]
fn a_port_that_is_down_takes_no_part() {
    let mut scene = Scene::new(SCENE);
    let (a, b) = (scene.port("a"), scene.port("b"));
    scene.send("a", &plain(ALL, station(2)));
    scene.queue("a", &plain(ALL, station(3)));
    scene.engine.set_link(a, false, 1500).expect("down");
    assert!(scene.settle().is_empty());
    assert_eq!(scene.drops("a", DropReason::PortDown), 1);
    assert_eq!(
        scene.engine.fdb().port_count(a),
        0,
        "its stations are forgotten, the late one too"
    );
    let others = ["lonely-1", "lonely-2", "stack", "up-1", "up-2"];
    assert_eq!(scene.reached("b", &plain(station(2), station(1))), others);
    scene.engine.set_link(a, true, 1500).expect("up");
    assert_eq!(scene.send("b", &plain(station(2), station(1))).len(), 6);
    assert_eq!(scene.engine.fdb().port_count(b), 1);
}

#[test]
fn entries_go_with_their_port_and_their_network() {
    let more = "\n[[network]]\nname = \"lab\"\n\
                [[port]]\nname = \"guest\"\ndevice = \"d9\"\nnetwork = \"lab\"\n";
    let mut scene = Scene::new(&format!("{SCENE}{more}"));
    let fdb = |scene: &Scene| scene.engine.fdb().len();
    let (lab, guest) = (scene.network("lab"), scene.port("guest"));
    let (web, a) = (scene.network("web"), scene.port("a"));
    scene.send("guest", &plain(ALL, station(2)));
    for (network, port) in [(lab, guest), (web, guest), (lab, a), (web, a)] {
        let mac = station(10 + fdb(&scene) as u8);
        scene
            .engine
            .fdb()
            .add_static(network, mac, port)
            .expect("added");
    }
    assert_eq!(fdb(&scene), 5);
    scene.reload(SCENE);
    assert_eq!(
        fdb(&scene),
        1,
        "what was added by hand for port a in network web"
    );
}

/// A port with two queues goes on to send by the same one when another port goes.
#[test]
fn a_flow_keeps_its_queue_while_others_come_and_go() {
    let mut scene = Scene::new(SCENE);
    for name in ["a", "b", "lonely-1"] {
        let port = scene.port(name);
        scene.engine.detach(port).expect("detached");
    }
    scene.attach("a");
    let wires: Vec<SimWire> = (0..5).map(|_| SimWire::new()).collect();
    let queues = wires
        .iter()
        .map(|wire| Queue::Sim(SimQueue::new(wire.clone())));
    let b = scene.port("b");
    scene
        .engine
        .attach(b, queues.collect(), 1500)
        .expect("attached");
    let mut used = Vec::new();
    for gone in ["lonely-2", "up-1", "up-2", "stack"] {
        // Not sent: b's wires are not the scene's.
        scene.queue("a", &plain(ALL, station(1)));
        scene.settle();
        used.extend(wires.iter().position(|wire| wire.receive().is_some()));
        let gone: PortIndex = scene.port(gone);
        scene.engine.detach(gone).expect("detached");
    }
    assert_eq!(used.len(), 4);
    assert!(
        used.windows(2).all(|pair| pair[0] == pair[1]),
        "by queues {used:?}"
    );
}

/// A worker that serves many queues does not outrun one that takes its frames over.
#[test]
fn hand_off_keeps_up_with_many_queues() {
    let mut scene = Scene::new(SCENE);
    for port in ["a", "b", "lonely-1", "lonely-2", "up-1", "up-2", "stack"] {
        scene.send(port, &plain(ALL, station(1 + scene.port(port).get() as u8)));
    }
    let rounds = 2 * HANDOFF_RING_SIZE / BURST;
    for (from, to) in [
        ("a", 2),
        ("lonely-1", 2),
        ("up-1", 2),
        ("b", 1),
        ("lonely-2", 1),
    ] {
        for _ in 0..rounds * BURST {
            let own = 1 + scene.port(from).get() as u8;
            scene.queue(from, &plain(station(to), station(own)));
        }
    }
    assert_eq!(scene.settle().len(), 5 * rounds * BURST);
    assert_eq!(scene.only_drop(), None);
}
