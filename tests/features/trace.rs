//! Traces: what they say of each stage, and that nothing happens. That they say what becomes of a
//! frame is checked for each frame that any test here sends.

use switch_core::{
    config::{Indices, compile, parse},
    counters::DropReason,
    engine::{
        Class, Destination, Outcome, Policed, PolicerMet, RuleMet, Source, Stage, dry_run_of,
    },
    wire::ethernet::Mac,
};

use super::scene::{self, ALL, Scene, station};

const SCENE: &str = r#"
[[policer]]
name = "slow"
rate = "8 Mbit/s"
burst = "10 kB"

[[network]]
name = "web"
vlan = 20
acl_to_port = "out"

[[port]]
name = "a"
device = "d0"
network = "web"
police_from_port = "slow"
acl_from_port = "in"
mac_limit = 1

[[port]]
name = "b"
device = "d1"
network = "web"
acl_to_port = "in"

[[port]]
name = "up"
device = "d2"
role = "uplink"
trunk = ["*"]

[[static]]
network = "web"
mac = "02:00:00:00:00:09"
port = "b"

[[acl]]
name = "in"
default = "allow"

[[acl.rule]]
action = "count"

[[acl.rule]]
action = "deny"
destination_mac = "02:00:00:00:00:07"

[[acl]]
name = "out"
default = "allow"
"#;

/// A frame of a kind that lists do not look into.
fn frame(destination: Mac, source: Mac, tags: &[(u16, u16)]) -> Vec<u8> {
    let mut bytes = scene::frame(destination, source, tags);
    let ethertype = 12 + 4 * tags.len();
    bytes[ethertype..ethertype + 2].copy_from_slice(&[0x88, 0xb5]);
    bytes
}

fn rule(list: usize, rule: usize) -> RuleMet {
    RuleMet { list, rule }
}

#[test]
fn every_stage_tells_what_it_did() {
    let scene = Scene::new(SCENE);
    let bytes = frame(ALL, station(1), &[]);
    let outcome = scene.trace("a", &bytes);
    assert_eq!(outcome.network, Some(scene.network("web")));
    assert_eq!(outcome.rules, [rule(0, 0), rule(0, 2)]);
    let slow = PolicerMet {
        name: "slow".into(),
        of: Policed::Port(scene.port("a")),
        frames: [1, 0, 0],
    };
    assert_eq!(outcome.policed, [slow]);
    assert_eq!(outcome.source, Some(Source::New));
    assert_eq!(outcome.destination, Some(Destination::Group));
    assert!(outcome.flooded);
    assert_eq!(outcome.dropped, None);
    let ways = &outcome.ways;
    assert_eq!(
        (ways[0].port, ways[1].port),
        (scene.port("b"), scene.port("up"))
    );
    assert_eq!(ways[0].rules, [rule(0, 0), rule(0, 2), rule(1, 0)]);
    assert_eq!(ways[1].rules, [rule(1, 0)]);
    assert_eq!(ways[0].result, Ok(bytes));
    assert_eq!(ways[1].result, Ok(frame(ALL, station(1), &[(0x8100, 20)])));
}

#[test]
fn a_drop_is_told_with_its_stage() {
    let check = |port: &str, to: u8, from: u8, tags: &[(u16, u16)], stage, reason| {
        let mut scene = Scene::new(SCENE);
        scene.send("a", &frame(ALL, station(1), &[]));
        let outcome = scene.trace(port, &frame(station(to), station(from), tags));
        assert_eq!(outcome.dropped, Some((stage, reason)));
        assert_eq!(outcome.ways, []);
        outcome
    };
    use DropReason as R;
    let outcome = check("a", 7, 1, &[], Stage::Lists, R::AclFromPort);
    assert_eq!(outcome.rules, [rule(0, 0), rule(0, 1)]);
    assert_eq!((outcome.policed, outcome.source), (Vec::new(), None));
    let outcome = check(
        "a",
        2,
        1,
        &[(0x8100, 20)],
        Stage::Classify,
        R::TaggedNotAccepted,
    );
    assert_eq!(outcome.network, None);
    let outcome = check("a", 2, 3, &[], Stage::Learn, R::MacLimit);
    assert_eq!((outcome.source, outcome.destination), (None, None));
    check("a", 2, 9, &[], Stage::Learn, R::StaticMoved);
    let outcome = check("a", 1, 1, &[], Stage::Destination, R::SamePort);
    assert_eq!(outcome.source, Some(Source::Known));
}

#[test]
fn a_trace_changes_nothing_but_its_own_copy() {
    let mut scene = Scene::new(SCENE);
    let kilobyte = {
        let mut bytes = frame(station(9), station(1), &[]);
        bytes.resize(1000, 0);
        bytes
    };
    let state = |scene: &Scene| {
        let engine = &scene.engine;
        let ports = ["a", "b", "up"].map(|port| engine.port_totals(scene.port(port)));
        let hits: Vec<_> = engine
            .rules()
            .hits
            .iter()
            .flatten()
            .map(|hit| engine.hits(*hit))
            .collect();
        let entries: Vec<_> = engine.fdb().entries(engine.now()).collect();
        (ports, hits, entries, engine.fdb().events())
    };
    let before = state(&scene);
    let port = scene.port("a");
    let mut copy = scene.engine.dry_run().expect("a copy");
    let outcomes: Vec<Outcome> = (0..11).map(|_| copy.forward(port, &kilobyte)).collect();
    // One after the other they teach the copy, and use up what it has of the rate.
    assert_eq!(outcomes[0].source, Some(Source::New));
    assert_eq!(outcomes[1].source, Some(Source::Known));
    assert_eq!(
        outcomes[9].destination,
        Some(Destination::Behind(scene.port("b")))
    );
    let policed = Some((Stage::Police, DropReason::PolicedFromPort));
    assert_eq!((outcomes[9].dropped, outcomes[10].dropped), (None, policed));
    assert_eq!(state(&scene), before);
    for _ in 0..10 {
        assert_eq!(scene.reached("a", &kilobyte), ["b"]);
    }
    // A trace finds the bucket as the last frame has left it.
    assert_eq!(scene.trace("a", &kilobyte).dropped, policed);
}

#[test]
fn the_class_that_a_frame_waits_as_is_told_where_it_waits() {
    const QUEUED: &str = r#"
[[scheduler]]
name = "plain"

[[scheduler.queue]]

[[network]]
name = "web"
vlan = 20

[[port]]
name = "a"
device = "d0"
network = "web"
class_from = ["dscp"]

[[port]]
name = "b"
device = "d1"
network = "web"
scheduler = "plain"

[[port]]
name = "c"
device = "d2"
network = "web"
"#;
    let scene = Scene::new(QUEUED);
    // Below best effort is background.
    for (selector, class) in (0..).zip([1, 0, 2, 3, 4, 5, 6, 7]) {
        let mut bytes = scene::frame(ALL, station(1), &[]);
        // IPv4 with a class selector (RFC 2474, 4.2.2).
        bytes[12..16].copy_from_slice(&[8, 0, 0x45, selector << 5]);
        let ways = scene.trace("a", &bytes).ways;
        let classes: Vec<_> = ways.iter().map(|way| way.class).collect();
        assert_eq!(classes, [Class::new(class), None]);
    }
}

#[test]
fn rules_alone_are_a_switch_with_everything_up() {
    let config = parse("scene.toml", SCENE).expect("valid");
    let compiled = compile(&config, &Indices::new()).expect("compiled");
    let port = compiled.indices.port("a").expect("a port");
    let other = compiled.indices.port("b").expect("a port");
    let mut switch = dry_run_of(compiled.rules).expect("a switch");
    let outcome = switch.forward(port, &frame(station(9), station(1), &[]));
    assert_eq!(outcome.destination, Some(Destination::Behind(other)));
    assert_eq!(outcome.ways.len(), 1);
}
