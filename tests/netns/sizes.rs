//! Frames of all sizes, from runts to jumbo frames, and those that are too long.

use shunt_tests::{
    config::Config,
    daemon::Daemon,
    traffic::{BROADCAST, Frame, Wire, check_crossing},
    world::{Guest, World},
};

/// Two guests and an uplink of one network, with these MTUs at both ends of their veths.
struct Scene {
    wires: Vec<Wire>,
    guests: Vec<Guest>,
    daemon: Daemon,
    world: World,
}

const NAMES: [&str; 3] = ["a", "b", "up"];
const A: usize = 0;
const B: usize = 1;
const UP: usize = 2;

impl Scene {
    fn new(mtus: [u32; 3]) -> Self {
        let world = World::new("sizes");
        let guests: Vec<_> = NAMES.iter().map(|name| world.guest(name)).collect();
        for (guest, mtu) in guests.iter().zip(mtus) {
            set_mtus(&world, guest, mtu);
        }
        let config = Config::workers(1).network("web", 20);
        let config = config.access("a", "web").access("b", "web").uplink("up");
        Self {
            wires: guests.iter().map(Guest::wire).collect(),
            daemon: world.start(&config),
            guests,
            world,
        }
    }

    /// A broadcast by `a` arrives at these ports as it should.
    #[track_caller]
    fn check_from_a(&self, size: usize, at_b: bool, at_up: bool) {
        let frame = Frame::new(BROADCAST, self.guests[A].mac).untagged_size(size);
        let mut expected = Vec::new();
        if at_b {
            expected.push((B, frame.bytes()));
        }
        if at_up {
            expected.push((UP, frame.clone().vid(20).bytes()));
        }
        self.check(A, &frame.bytes(), &expected);
    }

    /// A tagged broadcast from the uplink, 4 bytes longer than this, arrives untagged.
    #[track_caller]
    fn check_from_uplink(&self, untagged_size: usize) {
        let frame = Frame::new(BROADCAST, self.guests[UP].mac).untagged_size(untagged_size);
        let expected = [(A, frame.bytes()), (B, frame.bytes())];
        self.check(UP, &frame.clone().vid(20).bytes(), &expected);
    }

    #[track_caller]
    fn check(&self, from: usize, frame: &[u8], expected: &[(usize, Vec<u8>)]) {
        let wires: Vec<_> = self.wires.iter().collect();
        check_crossing(&wires, from, frame, expected);
    }
}

/// Sets the MTU at both ends of a guest's veth.
fn set_mtus(world: &World, guest: &Guest, mtu: u32) {
    guest.set_mtu(mtu);
    let arguments = ["link", "set", "dev", &guest.near, "mtu", &mtu.to_string()];
    world.switch.ip(&arguments).expect("MTU");
}

#[test]
fn from_the_shortest_to_1514_and_1518_tagged() {
    let mut scene = Scene::new([1500; 3]);
    // veth pads nothing: runts cross as they are. The receiver's kernel wants two bytes of payload
    // behind a tag.
    for size in [16, 17, 59, 60, 61, 64, 65, 127, 128, 1000, 1513, 1514] {
        scene.check_from_a(size, true, true);
        scene.check_from_uplink(size);
    }
    for name in NAMES {
        scene.daemon.wait_drops(name, &[]);
    }
    scene.daemon.stop();
}

#[test]
fn jumbo_frames_of_up_to_9000_bytes_of_payload() {
    let mut scene = Scene::new([9000; 3]);
    // Around the limits of one buffer, of two, and of all.
    for size in [
        60, 1514, 1515, 1791, 1792, 1793, 2048, 3583, 3584, 3585, 3840, 4096, 5000, 8191, 9013,
        9014,
    ] {
        scene.check_from_a(size, true, true);
        scene.check_from_uplink(size);
    }
    for name in NAMES {
        scene.daemon.wait_drops(name, &[]);
    }
    let detail = scene.daemon.json(&["describe", "port", "a", "-o", "json"]);
    assert_eq!(detail["multi_buffer"], true, "{detail}");
    assert_eq!(detail["mtu"], 9000, "{detail}");
    scene.daemon.stop();
}

#[test]
fn what_is_too_long_for_a_port_is_counted_there() {
    let mut scene = Scene::new([9300, 1500, 3000]);
    scene.check_from_a(1514, true, true);
    scene.check_from_a(1515, false, true);
    scene.check_from_a(3014, false, true);
    scene.check_from_a(3015, false, false);
    scene.daemon.wait_drops("b", &[("mtu_exceeded", 3)]);
    scene.daemon.wait_drops("up", &[("mtu_exceeded", 1)]);

    // To one station, and one byte too long only by its further tag.
    let hello = Frame::new(BROADCAST, scene.guests[B].mac);
    let tagged = hello.clone().vid(20).bytes();
    scene.check(B, &hello.bytes(), &[(A, hello.bytes()), (UP, tagged)]);
    let frame = Frame::new(scene.guests[B].mac, scene.guests[A].mac).untagged_size(1515);
    scene.check(A, &frame.bytes(), &[]);
    scene.daemon.wait_drops("b", &[("mtu_exceeded", 4)]);

    // Longer than the engine takes.
    scene.daemon.wait_drops("a", &[]);
    scene.check_from_a(9216, false, false);
    scene.daemon.wait_drops("b", &[("mtu_exceeded", 5)]);
    scene.check_from_a(9217, false, false);
    scene.daemon.wait_drops("a", &[("too_long", 1)]);

    // A changed MTU is noticed.
    set_mtus(&scene.world, &scene.guests[B], 9000);
    scene.daemon.wait_ports("b has another MTU", |ports| {
        ports
            .iter()
            .any(|port| port["name"] == "b" && port["mtu"] == 9000)
    });
    scene.check(A, &frame.bytes(), &[(B, frame.bytes())]);
    scene.check_from_a(9014, true, false);
    scene.daemon.stop();
}
