//! What rules do with frames besides allowing them: class, rate and marks.

use std::time::Duration;

use switch_core::counters::DropReason::{MtuExceeded, PolicedFromPort, PolicedToPort};

use super::scene::{ALL, C, Scene, frame, station};

const SCENE: &str = r#"
[[policer]]
name = "slow"
rate = "8 kbit/s"
burst = "10 kB"

[[acl]]
name = "in"
default = "allow"

[[acl.rule]]
action = "count"
pcp = 3
class = 3
mark_pcp = 6

[[acl.rule]]
action = "allow"
ethertype = "ipv4"
destination = "10.0.0.5"
class = 5
mark_dscp = 7

[[acl.rule]]
action = "allow"
ethertype = "ipv4"
destination = "10.0.0.6"
police = "slow"

[[acl]]
name = "out"
default = "allow"

[[acl.rule]]
action = "allow"
ethertype = "ipv4"
destination = "10.0.0.7"
mark_pcp = 1
mark_dscp = "af41"

[[acl.rule]]
action = "allow"
ethertype = "ipv4"
destination = "10.0.0.8"
police = "slow"

[[network]]
name = "web"
vlan = 20

[[port]]
name = "a"
device = "d0"
network = "web"
acl_from_port = "in"

[[port]]
name = "t"
device = "d1"
trunk = ["web"]
acl_from_port = "in"

[[port]]
name = "b"
device = "d2"
trunk = ["web"]
mark = ["pcp"]
acl_to_port = "out"
"#;

/// The stations behind them.
const PORTS: [(&str, u8); 3] = [("a", 1), ("t", 2), ("b", 3)];

fn scene() -> Scene {
    let mut scene = Scene::new(SCENE);
    scene.engine.set_elapsed(Duration::from_secs(1));
    for (port, number) in PORTS {
        let tags: &[_] = if port == "a" { &[] } else { &[(C, 20)] };
        scene.send(port, &frame(ALL, station(number), tags));
    }
    scene
}

/// A packet to 10.0.0.`host` for station 3, of 1000 bytes without its tag.
fn packet(source: u8, tags: &[(u16, u16)], host: u8) -> Vec<u8> {
    let mut bytes = frame(station(3), station(source), tags);
    let at = if tags.is_empty() { 14 } else { 18 };
    bytes.resize(at + 986, 0);
    bytes[at..at + 20].copy_from_slice(&[
        0x45, 0, 0x03, 0xda, 0, 1, 0, 0, 64, 47, 0, 0, 10, 0, 0, 1, 10, 0, 0, host,
    ]);
    bytes
}

/// The PCP and the DSCP that it leaves with.
fn marks(scene: &mut Scene, port: &str, packet: &[u8]) -> (u8, u8) {
    let left = scene.send(port, packet);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].0, "b");
    (left[0].1[14] >> 5, left[0].1[19] >> 2)
}

#[test]
fn rules_give_classes_and_marks() {
    let mut scene = scene();
    // Twice, since the second is of a flow that is known.
    for _ in 0..2 {
        let mut check = |port: &str, packet: &[u8], expected| {
            assert_eq!(marks(&mut scene, port, packet), expected, "{port}");
        };
        check("a", &packet(1, &[], 9), (0, 0));
        // By the class, as the port marks it, and by the rule.
        check("a", &packet(1, &[], 5), (5, 7));
        // The rule's PCP goes before the port's; the class is that of the later rule.
        check("t", &packet(2, &[(C, 0x6014)], 5), (6, 7));
        check("t", &packet(2, &[(C, 0x6014)], 9), (6, 0));
        check("t", &packet(2, &[(C, 0x8014)], 9), (0, 0));
        // At the way out the last word is spoken.
        check("a", &packet(1, &[], 7), (1, 34));
        check("t", &packet(2, &[(C, 0x6014)], 7), (1, 34));
    }
}

#[test]
fn a_rule_has_a_rate_of_its_own_in_both_directions() {
    let mut scene = scene();
    let mut pass = |port: &str, packet: &[u8]| {
        let sent = |scene: &mut Scene| usize::from(!scene.send(port, packet).is_empty());
        (0..30).map(|_| sent(&mut scene)).sum::<usize>()
    };
    // Ten kilobytes, wherever they come in; then each rule has its own.
    assert_eq!(pass("a", &packet(1, &[], 6)), 10);
    assert_eq!(pass("t", &packet(2, &[(C, 20)], 6)), 0);
    // As they leave, with a tag: 1004 bytes.
    assert_eq!(pass("a", &packet(1, &[], 8)), 9);
    assert_eq!(pass("a", &packet(1, &[], 9)), 30);
    assert_eq!(scene.drops("a", PolicedFromPort), 20);
    assert_eq!(scene.drops("t", PolicedFromPort), 30);
    assert_eq!(scene.drops("b", PolicedToPort), 21);
}

/// What is too long for the port uses nothing up of the rate of a rule.
#[test]
fn what_cannot_leave_is_not_measured() {
    let mut scene = scene();
    let mut long = packet(1, &[], 8);
    long.resize(1600, 0);
    for _ in 0..20 {
        scene.send("a", &long);
    }
    let [way] = &scene.trace("a", &long).ways[..] else {
        panic!("one way");
    };
    assert_eq!((&way.result, &way.policed), (&Err(MtuExceeded), &vec![]));
    let short = packet(1, &[], 8);
    let sent = (0..20).filter(|_| !scene.send("a", &short).is_empty());
    assert_eq!(sent.count(), 9);
    assert_eq!(scene.drops("b", MtuExceeded), 20);
    assert_eq!(scene.drops("b", PolicedToPort), 11);
}

#[test]
fn a_reload_keeps_the_buckets_of_rules_that_stay() {
    let mut scene = scene();
    let count = |scene: &mut Scene| {
        let packet = packet(1, &[], 6);
        (0..30)
            .filter(|_| !scene.send("a", &packet).is_empty())
            .count()
    };
    assert_eq!(count(&mut scene), 10);
    scene.reload(&SCENE.replace("class = 3", "class = 4"));
    assert_eq!(count(&mut scene), 0);
    scene.reload(&SCENE.replace("burst = \"10 kB\"", "burst = \"20 kB\""));
    assert_eq!(count(&mut scene), 20);
}
