//! Storm control: what goes to all ports is limited by kind and by port, and nothing else is.

use std::time::Duration;

use switch_core::{
    counters::DropReason::{self, BroadcastStorm, MulticastStorm, UnknownUnicastStorm},
    engine::StormKind,
    wire::ethernet::Mac,
};

use super::scene::{ALL, C, Scene, frame, station};

const SCENE: &str = r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "a"
device = "d0"
network = "web"
broadcast_limit = "100 frames/s"
multicast_limit = "8 Mbit/s"
unknown_unicast_limit = "200 frames/s"

[[port]]
name = "b"
device = "d1"
network = "web"
broadcast_limit = "100 frames/s"

[[port]]
name = "up"
device = "d2"
trunk = ["web"]
"#;

const GROUP: Mac = Mac([1, 0, 0x5e, 0, 0, 7]);

/// How many of so many frames reach the uplink.
fn pass(scene: &mut Scene, port: &str, frame: &[u8], count: usize) -> usize {
    let sent = (0..count).flat_map(|_| scene.send(port, frame));
    sent.filter(|(port, _)| port == "up").count()
}

fn at_ms(scene: &mut Scene, ms: u64) {
    scene.engine.set_elapsed(Duration::from_millis(ms));
}

/// A frame of so many bytes.
fn sized(destination: Mac, size: usize) -> Vec<u8> {
    let mut frame = frame(destination, station(1), &[]);
    frame.resize(size, 0);
    frame
}

#[test]
fn each_kind_has_its_rate_its_reason_and_its_counts() {
    let mut scene = Scene::new(SCENE);
    at_ms(&mut scene, 1000);
    let check = |scene: &mut Scene, destination: Mac, size, passes: usize, reason: DropReason| {
        assert_eq!(pass(scene, "a", &sized(destination, size), 150), passes);
        assert_eq!(scene.drops("a", reason), 150 - passes as u64, "{reason:?}");
    };
    // 64 frames at once, or 100 kB, which the rate allows in 100 ms.
    check(&mut scene, ALL, 1000, 64, BroadcastStorm);
    check(&mut scene, GROUP, 1000, 100, MulticastStorm);
    check(&mut scene, station(99), 60, 64, UnknownUnicastStorm);
    // 100 ms later, 10 frames, 100 kB, and 20 frames.
    at_ms(&mut scene, 1100);
    assert_eq!(pass(&mut scene, "a", &sized(ALL, 60), 50), 10);
    assert_eq!(pass(&mut scene, "a", &sized(GROUP, 500), 250), 200);
    assert_eq!(pass(&mut scene, "a", &sized(station(99), 1500), 50), 20);
    let index = scene.port("a");
    let storm = scene.engine.rules().qos.storm(index).expect("limits");
    let counted = StormKind::ALL.map(|kind| storm.counted(kind));
    assert_eq!(counted, [[74, 126], [300, 100], [84, 116]]);
}

#[test]
fn other_ports_and_known_addresses_do_not_pay() {
    let mut scene = Scene::new(SCENE);
    at_ms(&mut scene, 1000);
    assert_eq!(pass(&mut scene, "a", &sized(ALL, 60), 100), 64);
    let from_b = frame(ALL, station(2), &[]);
    assert_eq!(pass(&mut scene, "b", &from_b, 100), 64, "its own rate");
    scene.send("up", &frame(ALL, station(9), &[(C, 20)]));
    assert_eq!(pass(&mut scene, "a", &sized(station(9), 60), 500), 500);
    // An uplink without limits.
    let storm = frame(ALL, station(9), &[(C, 20)]);
    let reached: usize = (0..500).map(|_| scene.reached("up", &storm).len()).sum();
    assert_eq!(reached, 1000);
}

#[test]
fn strict_security_limits_storms_unless_the_file_says_otherwise() {
    let strict = SCENE.replace(
        "broadcast_limit = \"100 frames/s\"\nmulticast_limit = \"8 Mbit/s\"\n\
         unknown_unicast_limit = \"200 frames/s\"\n",
        "security = \"strict\"\nallowed_macs = \"02:00:00:00:00:01\"\n\
         allowed_addresses = \"10.0.0.1\"\nmulticast_limit = \"none\"\n",
    );
    let mut scene = Scene::new(&strict);
    at_ms(&mut scene, 1000);
    let mut other = |destination| {
        let mut other = frame(destination, station(1), &[]);
        // An EtherType that no guard reads.
        other[12..14].copy_from_slice(&[0x91, 0]);
        pass(&mut scene, "a", &other, 200)
    };
    assert_eq!(other(ALL), 100, "1000 frames a second: 100 at once");
    assert_eq!(other(GROUP), 200);
    assert_eq!(other(station(99)), 100);
}

#[test]
fn a_reload_does_not_fill_the_bucket() {
    let mut scene = Scene::new(SCENE);
    at_ms(&mut scene, 1000);
    assert_eq!(pass(&mut scene, "a", &sized(ALL, 60), 100), 64);
    scene.reload(&SCENE.replace("trunk = [\"web\"]", "trunk = [\"*\"]"));
    assert_eq!(pass(&mut scene, "a", &sized(ALL, 60), 100), 0);
    scene.reload(&SCENE.replace("8 Mbit/s", "9 Mbit/s"));
    assert_eq!(
        pass(&mut scene, "a", &sized(ALL, 60), 100),
        64,
        "other limits"
    );
}
