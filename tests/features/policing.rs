//! Policers: where they stand, what they let through, and that nobody else pays for it.

use std::time::Duration;

use switch_core::{
    counters::DropReason::{PolicedFromPort, PolicedToPort},
    limits::{NetworkIndex, PortIndex},
    qos::{meter::Colour, policer::Policer},
};

use super::scene::{ALL, C, Scene, frame, station};

const SCENE: &str = r#"
[[policer]]
name = "slow"
rate = "8 Mbit/s"
burst = "10 kB"

[[policer]]
name = "two-rate"
rate = "8 Mbit/s"
burst = "10 kB"
peak_rate = "16 Mbit/s"
peak_burst = "20 kB"

[[policer]]
name = "aware"
rate = "8 Mbit/s"
burst = "10 kB"
excess_burst = "10 kB"
colour_aware = true

[[network]]
name = "web"
vlan = 20

[[network]]
name = "lab"
vlan = 30
police_from_port = "slow"

[[network]]
name = "shop"
vlan = 40
police_to_port = "slow"

[[port]]
name = "a"
device = "d0"
network = "web"
police_from_port = "slow"

[[port]]
name = "b"
device = "d1"
network = "web"
police_to_port = "slow"

[[port]]
name = "up"
device = "d2"
trunk = ["*"]

[[port]]
name = "other"
device = "d3"
trunk = ["*"]
police_from_port = "two-rate"

[[port]]
name = "third"
device = "d4"
trunk = ["*"]
police_from_port = "aware"
"#;

/// A frame of a kilobyte.
fn kilobyte(to: u8, from: u8, tags: &[(u16, u16)]) -> Vec<u8> {
    let mut frame = frame(station(to), station(from), tags);
    frame.resize(1000, 0);
    frame
}

/// Lets the switch know where a station is.
fn introduce(scene: &mut Scene, port: &str, number: u8, tags: &[(u16, u16)]) {
    scene.send(port, &frame(ALL, station(number), tags));
}

/// Sends so many of a frame; gives how many reach a port.
fn pass(scene: &mut Scene, from: &str, to: &str, frame: &[u8], count: usize) -> usize {
    (0..count)
        .flat_map(|_| scene.send(from, frame))
        .filter(|(port, _)| port == to)
        .count()
}

fn at_ms(scene: &mut Scene, ms: u64) {
    scene.engine.set_elapsed(Duration::from_millis(ms));
}

#[test]
fn what_comes_from_a_port_is_policed_and_nothing_else() {
    let mut scene = Scene::new(SCENE);
    at_ms(&mut scene, 1000);
    introduce(&mut scene, "up", 9, &[(C, 20)]);
    let big = kilobyte(9, 1, &[]);
    assert_eq!(
        pass(&mut scene, "a", "up", &big, 20),
        10,
        "a burst of 10 kB"
    );
    assert_eq!(scene.drops("a", PolicedFromPort), 10);
    // 5 kB come in 5 ms.
    at_ms(&mut scene, 1005);
    assert_eq!(pass(&mut scene, "a", "up", &big, 20), 5);
    // The other way there is no limit.
    let answer = kilobyte(1, 9, &[(C, 20)]);
    assert_eq!(pass(&mut scene, "up", "a", &answer, 50), 50);
}

#[test]
fn what_goes_to_a_port_is_policed_with_floods_counted_for_each_port() {
    let mut scene = Scene::new(SCENE);
    at_ms(&mut scene, 1000);
    let big = kilobyte(77, 9, &[(C, 20)]);
    let mut reached = [0, 0];
    for _ in 0..20 {
        for (port, _) in scene.send("up", &big) {
            reached[0] += usize::from(port == "a");
            reached[1] += usize::from(port == "b");
        }
    }
    // Untagged towards b, a frame has 996 bytes.
    assert_eq!(reached, [20, 10]);
    assert_eq!(scene.drops("b", PolicedToPort), 10);
}

#[test]
fn the_ports_of_a_network_share_its_policer() {
    let mut scene = Scene::new(SCENE);
    at_ms(&mut scene, 1000);
    let lab = |to, from| kilobyte(to, from, &[(C, 30)]);
    let passed = pass(&mut scene, "up", "other", &lab(8, 9), 6)
        + pass(&mut scene, "other", "up", &lab(9, 8), 6);
    assert_eq!(passed, 10, "of both together");
    let shop = |to, from| kilobyte(to, from, &[(C, 40)]);
    introduce(&mut scene, "other", 8, &[(C, 40)]);
    introduce(&mut scene, "up", 9, &[(C, 40)]);
    at_ms(&mut scene, 2000);
    let passed = pass(&mut scene, "up", "other", &shop(8, 9), 6)
        + pass(&mut scene, "other", "up", &shop(9, 8), 6);
    assert_eq!(passed, 10);
    assert_eq!(
        scene.drops("other", PolicedToPort) + scene.drops("up", PolicedToPort),
        2
    );
}

#[test]
fn frames_that_exceed_are_marked_drop_eligible() {
    let mut scene = Scene::new(SCENE);
    at_ms(&mut scene, 1000);
    introduce(&mut scene, "up", 9, &[(C, 20)]);
    let big = kilobyte(9, 8, &[(C, 0xa000 | 20)]);
    let frames: Vec<_> = (0..30).flat_map(|_| scene.send("other", &big)).collect();
    let dei = frames.iter().map(|(_, frame)| frame[14] & 0x10 != 0);
    let expected = (0..20).map(|index| index >= 10);
    assert!(
        dei.eq(expected),
        "ten green ones, ten yellow ones, ten dropped"
    );
    assert!(
        frames.iter().all(|(_, frame)| frame[14] & 0xe0 == 0xa0),
        "the PCP stays"
    );
    assert_eq!(counted(&scene, "other"), [10, 10, 10]);
}

#[test]
fn a_colour_aware_policer_heeds_the_indicator() {
    let mut scene = Scene::new(SCENE);
    at_ms(&mut scene, 1000);
    introduce(&mut scene, "up", 9, &[(C, 20)]);
    let yellow = kilobyte(9, 8, &[(C, 0x1000 | 20)]);
    let green = kilobyte(9, 8, &[(C, 20)]);
    assert_eq!(pass(&mut scene, "third", "up", &yellow, 15), 10);
    assert_eq!(pass(&mut scene, "third", "up", &green, 15), 10);
    assert_eq!(counted(&scene, "third"), [10, 10, 10]);
}

fn from_port(scene: &Scene, port: &str) -> std::sync::Arc<Policer> {
    let index = scene.port(port).get();
    let policer = scene.engine.rules().qos.from_port[index].clone();
    policer.expect("a policer")
}

/// Frames by colour that came from a port.
fn counted(scene: &Scene, port: &str) -> [u64; 3] {
    let policer = from_port(scene, port);
    Colour::ALL.map(|colour| policer.metered(colour).frames)
}

#[test]
fn a_reload_keeps_the_buckets_of_what_did_not_change() {
    let mut scene = Scene::new(SCENE);
    at_ms(&mut scene, 1000);
    introduce(&mut scene, "up", 9, &[(C, 20)]);
    let big = kilobyte(9, 1, &[]);
    assert_eq!(pass(&mut scene, "a", "up", &big, 20), 10);
    scene.reload(&SCENE.replace("16 Mbit/s", "32 Mbit/s"));
    assert_eq!(
        pass(&mut scene, "a", "up", &big, 20),
        0,
        "the bucket is as empty as before"
    );
    assert_eq!(counted(&scene, "a"), [10, 0, 30]);
    scene.reload(&SCENE.replace("8 Mbit/s", "9 Mbit/s"));
    assert_eq!(
        pass(&mut scene, "a", "up", &big, 20),
        10,
        "another policer, a full bucket"
    );
    scene.reload(&SCENE.replace("police_from_port = \"slow\"", ""));
    assert_eq!(pass(&mut scene, "a", "up", &big, 20), 20);
}

#[test]
fn workers_share_a_policer() {
    let scene = Scene::new(SCENE);
    let rules = scene.engine.rules();
    let ingress = rules.qos.ingress(PortIndex::new(0), NetworkIndex::new(0));
    assert_eq!(ingress.count(), 1);
    let policer = from_port(&scene, "a");
    let lanes = [0, 1, 31].map(switch_core::limits::WorkerIndex::new);
    let passed = (0..60).filter(|index| {
        let lane = lanes[index % 3];
        policer.police(lane, 0, 1000, Colour::Green).is_ok()
    });
    assert_eq!(passed.count(), 10);
}
