//! Records of dropped frames: what was dropped, where and why, as far as there is room.

use switch_core::{
    counters::{DropReason, recent::RecentDrop},
    limits::{RECENT_DROP_BYTES, RECENT_DROPS},
};

use super::scene::{ALL, Scene, frame, station};

const SCENE: &str = r#"
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
acl_to_port = "none"

[[port]]
name = "up"
device = "d2"
role = "uplink"
trunk = ["*"]

[[acl]]
name = "none"
default = "deny"
"#;

fn drops(scene: &Scene, port: &str) -> Vec<RecentDrop> {
    scene.engine.recent_drops(scene.port(port))
}

#[test]
fn what_is_dropped_is_kept_where_it_is_counted() {
    let mut scene = Scene::new(SCENE);
    let tagged = frame(ALL, station(1), &[(0x8100, 20)]);
    scene.send("a", &tagged);
    let [drop] = &drops(&scene, "a")[..] else {
        panic!("one drop");
    };
    let a = scene.port("a");
    assert_eq!((drop.port, drop.ingress), (a, Some(a)));
    assert_eq!(drop.reason, DropReason::TaggedNotAccepted);
    assert_eq!((drop.size, &drop.head), (tagged.len(), &tagged));
    // At a port where it should leave, as it was when it was dropped.
    let mut long = frame(ALL, station(1), &[]);
    long.resize(1514, 7);
    long[12..14].copy_from_slice(&[0x88, 0xb5]);
    assert_eq!(scene.reached("a", &long), ["up"]);
    let [drop] = &drops(&scene, "b")[..] else {
        panic!("one drop");
    };
    assert_eq!((drop.port, drop.ingress), (scene.port("b"), Some(a)));
    assert_eq!(drop.reason, DropReason::AclToPort);
    assert_eq!(
        (drop.size, &drop.head[..]),
        (1514, &long[..RECENT_DROP_BYTES])
    );
    // What a down port still had.
    scene.engine.set_link(a, false, 1500).expect("down");
    scene.queue("a", &long);
    scene.settle();
    let reasons: Vec<_> = drops(&scene, "a").iter().map(|drop| drop.reason).collect();
    assert!(reasons.contains(&DropReason::PortDown), "{reasons:?}");
}

#[test]
fn what_a_full_ring_refuses_is_kept_without_where_it_came_from() {
    let mut scene = Scene::new(SCENE);
    scene.set_room("up", 0);
    scene.queue("a", &frame(ALL, station(1), &[]));
    scene.settle();
    let [drop] = &drops(&scene, "up")[..] else {
        panic!("one drop");
    };
    assert_eq!(drop.reason, DropReason::TxRingFull);
    assert_eq!((drop.port, drop.ingress), (scene.port("up"), None));
    assert_eq!(drop.head, frame(ALL, station(1), &[(0x8100, 20)]));
}

#[test]
fn a_flood_leaves_the_records_of_others_alone() {
    let mut scene = Scene::new(SCENE);
    scene.send("up", &frame(ALL, station(1), &[(0x8100, 30)]));
    for _ in 0..1000 {
        scene.queue("a", &frame(ALL, station(1), &[(0x8100, 20)]));
    }
    scene.settle();
    assert_eq!(drops(&scene, "a").len(), RECENT_DROPS);
    assert_eq!(drops(&scene, "up").len(), 1);
    // A second later there is room for news.
    scene.set_now(1);
    scene.send("a", &[0; 60]);
    let first = drops(&scene, "a").swap_remove(0);
    assert_eq!(
        (first.reason, first.at_ns),
        (DropReason::SourceInvalid, 1_000_000_000)
    );
}

#[test]
fn a_port_that_is_new_has_lost_nothing() {
    let mut scene = Scene::new(SCENE);
    scene.set_now(5);
    scene.send("a", &[0; 60]);
    assert_eq!(drops(&scene, "a").len(), 1);
    scene.set_now(6);
    let start = SCENE.find("[[port]]\nname = \"a\"").expect("a");
    let end = SCENE.find("[[port]]\nname = \"b\"").expect("b");
    scene.reload(&[&SCENE[..start], &SCENE[end..]].concat());
    scene.reload(SCENE);
    assert_eq!(drops(&scene, "a"), []);
}
