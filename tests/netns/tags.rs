//! What tags frames arrive and leave with, byte by byte, and which are not let in.

use shunt_tests::{
    config::Config,
    daemon::Daemon,
    traffic::{BROADCAST, Frame, GROUP, Mac, Wire, check_crossing},
    world::{Guest, World, new_mac},
};

/// Ports of every kind in the networks `web` (20) and `db` (30), and one of a private network.
const PORTS: [(&str, &str); 8] = [
    ("acc", "network = \"web\""),
    ("acc-db", "network = \"db\""),
    ("up", "role = \"uplink\"\ntrunk = [\"*\"]"),
    ("moved", "trunk = [\"*\", { network = \"web\", vid = 120 }]"),
    ("native", "native = \"web\"\ntrunk = [\"db\"]"),
    (
        "nat-tag",
        "native = \"web\"\nnative_tagged = true\ntrunk = [\"db\"]",
    ),
    ("service", "tpid = \"0x88a8\"\ntrunk = [\"web\", \"db\"]"),
    ("lab", "network = \"lab\""),
];
const ACC: usize = 0;
const ACC_DB: usize = 1;
const UP: usize = 2;
const MOVED: usize = 3;
const NATIVE: usize = 4;
const NAT_TAG: usize = 5;
const SERVICE: usize = 6;
const LAB: usize = 7;

const CUSTOMER_TPID: u16 = 0x8100;
const SERVICE_TPID: u16 = 0x88a8;
/// Priority 5, drop eligible.
const PCP_DEI: u16 = 0xb000;

/// A switch with all the ports, and a raw socket at each guest.
struct Scene {
    wires: Vec<Wire>,
    guests: Vec<Guest>,
    daemon: Daemon,
    _world: World,
}

impl Scene {
    fn new() -> Self {
        let world = World::new("tags");
        let guests: Vec<_> = PORTS.iter().map(|(name, _)| world.guest(name)).collect();
        let config = Config::workers(1)
            .network("web", 20)
            .network("db", 30)
            .private("lab");
        let config = PORTS
            .iter()
            .fold(config, |config, (name, lines)| config.port(name, lines));
        let daemon = world.start(&config);
        Self {
            wires: guests.iter().map(Guest::wire).collect(),
            guests,
            daemon,
            _world: world,
        }
    }

    /// A broadcast by one port with these tags arrives at these ports with those, and nowhere
    /// else; nothing is counted as dropped at the port that it came in by.
    #[track_caller]
    fn check(&self, from: usize, tags: &[(u16, u16)], expected: &[(usize, &[(u16, u16)])]) {
        let frame = self.frame(from, BROADCAST);
        let with = |(at, tags): &(usize, &[(u16, u16)])| (*at, frame.clone().tags(tags).bytes());
        let expected: Vec<_> = expected.iter().map(with).collect();
        self.check_bytes(from, &frame.clone().tags(tags).bytes(), &expected);
    }

    #[track_caller]
    fn check_bytes(&self, from: usize, frame: &[u8], expected: &[(usize, Vec<u8>)]) {
        let wires: Vec<_> = self.wires.iter().collect();
        check_crossing(&wires, from, frame, expected);
    }

    /// A frame by one port arrives nowhere, and is counted there once more for this reason.
    #[track_caller]
    fn check_dropped(&self, from: usize, frame: &Frame, reason: &str) {
        self.check_bytes_dropped(from, &frame.bytes(), reason);
    }

    #[track_caller]
    fn check_bytes_dropped(&self, from: usize, frame: &[u8], reason: &str) {
        let port = PORTS[from].0;
        let mut drops = self.daemon.drops(port);
        self.check_bytes(from, frame, &[]);
        *drops.entry(reason.to_owned()).or_default() += 1;
        let drops: Vec<_> = drops
            .iter()
            .map(|(reason, count)| (reason.as_str(), *count))
            .collect();
        self.daemon.wait_drops(port, &drops);
    }

    fn frame(&self, from: usize, destination: Mac) -> Frame {
        Frame::new(destination, self.guests[from].mac)
    }
}

#[test]
fn tags_are_pushed_popped_and_translated() {
    let mut scene = Scene::new();
    let customer = |tci| [(CUSTOMER_TPID, tci)];
    let service = |tci| [(SERVICE_TPID, tci)];
    let all_of_web = |from: usize, bits: u16| {
        move |scene: &Scene, tags: &[(u16, u16)]| {
            let all: [(usize, &[_]); 6] = [
                (ACC, &[]),
                (UP, &customer(bits | 20)),
                (MOVED, &customer(bits | 120)),
                (NATIVE, &[]),
                (NAT_TAG, &customer(bits | 20)),
                (SERVICE, &service(bits | 20)),
            ];
            let others: Vec<_> = all.into_iter().filter(|(at, _)| *at != from).collect();
            scene.check(from, tags, &others);
        }
    };
    all_of_web(ACC, 0)(&scene, &[]);
    // Priority-tagged: as untagged, and the priority stays where the frame leaves tagged.
    all_of_web(ACC, PCP_DEI)(&scene, &customer(PCP_DEI));
    all_of_web(UP, PCP_DEI)(&scene, &customer(PCP_DEI | 20));
    all_of_web(MOVED, 0x6000)(&scene, &customer(0x6000 | 120));
    all_of_web(NATIVE, 0)(&scene, &[]);
    all_of_web(NATIVE, 0xe000)(&scene, &customer(0xe000));
    all_of_web(NATIVE, PCP_DEI)(&scene, &customer(PCP_DEI | 20));
    all_of_web(NAT_TAG, 0)(&scene, &[]);
    all_of_web(NAT_TAG, 0x1000)(&scene, &customer(0x1000 | 20));
    all_of_web(SERVICE, PCP_DEI)(&scene, &service(PCP_DEI | 20));

    let bits = 0x7000;
    let all_of_db: [(usize, &[_]); 6] = [
        (ACC_DB, &[]),
        (UP, &customer(bits | 30)),
        (MOVED, &customer(bits | 30)),
        (NATIVE, &customer(bits | 30)),
        (NAT_TAG, &customer(bits | 30)),
        (SERVICE, &service(bits | 30)),
    ];
    for (from, tags) in &all_of_db[1..] {
        let others: Vec<_> = all_of_db
            .iter()
            .filter(|(at, _)| at != from)
            .copied()
            .collect();
        scene.check(*from, tags, &others);
    }
    for (name, _) in PORTS {
        scene.daemon.wait_drops(name, &[]);
    }
    scene.daemon.stop();
}

#[test]
fn unicast_goes_to_one_port_with_its_tag() {
    let mut scene = Scene::new();
    // Everybody says where it is.
    for (from, tags) in [
        (ACC, &[][..]),
        (MOVED, &[(CUSTOMER_TPID, 120)]),
        (UP, &[(CUSTOMER_TPID, 20)]),
    ] {
        let wires: Vec<_> = scene.wires.iter().collect();
        wires[from].send(&scene.frame(from, GROUP).tags(tags).bytes());
        let arrived = shunt_tests::traffic::arrivals(&wires, 5);
        assert_eq!(arrived.len(), 5);
    }
    let to_up = Frame::new(scene.guests[UP].mac, scene.guests[ACC].mac);
    let tagged = to_up.clone().tags(&[(CUSTOMER_TPID, 20)]).bytes();
    scene.check_bytes(ACC, &to_up.bytes(), &[(UP, tagged)]);
    let back = Frame::new(scene.guests[ACC].mac, scene.guests[UP].mac);
    let tagged = back.clone().tags(&[(CUSTOMER_TPID, PCP_DEI | 20)]).bytes();
    scene.check_bytes(UP, &tagged, &[(ACC, back.bytes())]);
    let to_moved = Frame::new(scene.guests[MOVED].mac, scene.guests[UP].mac);
    let tagged = to_moved
        .clone()
        .tags(&[(CUSTOMER_TPID, PCP_DEI | 20)])
        .bytes();
    let translated = to_moved.tags(&[(CUSTOMER_TPID, PCP_DEI | 120)]).bytes();
    scene.check_bytes(UP, &tagged, &[(MOVED, translated)]);
    // The same address in another network is another station: unknown, so flooded.
    scene.daemon.wait_drops("up", &[]);
    let other = Frame::new(scene.guests[ACC].mac, scene.guests[ACC_DB].mac);
    let tagged = |tpid| other.clone().tags(&[(tpid, 30)]).bytes();
    let customer = [UP, MOVED, NATIVE, NAT_TAG].map(|at| (at, tagged(CUSTOMER_TPID)));
    let mut expected = customer.to_vec();
    expected.push((SERVICE, tagged(SERVICE_TPID)));
    scene.check_bytes(ACC_DB, &other.bytes(), &expected);
    scene.daemon.stop();
}

#[test]
fn what_is_not_let_in_is_counted_by_reason() {
    let mut scene = Scene::new();
    let c = |tci| (CUSTOMER_TPID, tci);
    let s = |tci| (SERVICE_TPID, tci);
    for (from, tags, reason) in [
        (ACC, &[c(20)][..], "tagged_not_accepted"),
        (ACC, &[c(30)], "tagged_not_accepted"),
        (ACC, &[s(20)], "tagged_not_accepted"),
        (ACC, &[c(4095)], "tagged_not_accepted"),
        (LAB, &[c(20)], "tagged_not_accepted"),
        (UP, &[], "untagged_not_accepted"),
        (UP, &[c(PCP_DEI)], "untagged_not_accepted"),
        (UP, &[c(99)], "vid_not_member"),
        (UP, &[c(4095)], "vid_reserved"),
        (UP, &[s(20)], "tpid_mismatch"),
        (SERVICE, &[c(20)], "tpid_mismatch"),
        (SERVICE, &[], "untagged_not_accepted"),
        // Translated: the network's own VID is nobody's here.
        (MOVED, &[c(20)], "vid_not_member"),
        (NATIVE, &[c(120)], "vid_not_member"),
        (NATIVE, &[s(30)], "tpid_mismatch"),
    ] {
        scene.check_dropped(from, &scene.frame(from, BROADCAST).tags(tags), reason);
    }
    // Unicast too, and to a station that is known.
    let wires: Vec<_> = scene.wires.iter().collect();
    wires[ACC].send(&scene.frame(ACC, GROUP).bytes());
    assert_eq!(shunt_tests::traffic::arrivals(&wires, 5).len(), 5);
    let to_acc = Frame::new(scene.guests[ACC].mac, scene.guests[LAB].mac);
    scene.check_dropped(LAB, &to_acc.clone().vid(20), "tagged_not_accepted");
    scene.check_dropped(LAB, &to_acc, "no_destination");
    scene.daemon.stop();
}

#[test]
fn nobody_hops_into_another_vlan() {
    let mut scene = Scene::new();
    let c = |tci| (CUSTOMER_TPID, tci);
    let s = |tci| (SERVICE_TPID, tci);
    // The classic: the outer tag is the native VLAN's, the inner one the victim's.
    for (from, tags, reason) in [
        (ACC, &[c(20), c(30)][..], "tagged_not_accepted"),
        (ACC, &[c(0), c(30)], "hidden_tag"),
        (ACC, &[s(0), c(30)], "tagged_not_accepted"),
        (LAB, &[c(0), c(20)], "hidden_tag"),
        (NATIVE, &[c(0), c(30)], "hidden_tag"),
        (UP, &[c(0), c(20)], "hidden_tag"),
    ] {
        scene.check_dropped(from, &scene.frame(from, BROADCAST).tags(tags), reason);
    }
    // Within a tag a customer may carry tags of its own, but not to where they would come to
    // light: the ports that send the network untagged.
    let frame = scene.frame(UP, BROADCAST);
    for inner in [c(30), s(30), c(0)] {
        let with = |outer| frame.clone().tags(&[outer, inner]).bytes();
        let expected = [
            (MOVED, with(c(120))),
            (NAT_TAG, with(c(20))),
            (SERVICE, with(s(20))),
        ];
        scene.check_bytes(UP, &with(c(20)), &expected);
    }
    scene
        .daemon
        .wait_drops("acc", &[("hidden_tag", 4), ("tagged_not_accepted", 2)]);
    scene.daemon.wait_drops("native", &[("hidden_tag", 4)]);
    scene.daemon.stop();
}

#[test]
fn addresses_that_no_station_has_and_groups_that_bridges_keep() {
    let mut scene = Scene::new();
    let own = scene.guests[ACC].mac;
    for source in [GROUP, BROADCAST, [0; 6], [0x01, 0, 0, 0, 0, 0]] {
        scene.check_dropped(ACC, &Frame::new(BROADCAST, source), "source_invalid");
    }
    for last in 0..16 {
        let reserved = [0x01, 0x80, 0xc2, 0x00, 0x00, last];
        scene.check_dropped(ACC, &Frame::new(reserved, own), "reserved_group");
    }
    scene.check_dropped(
        UP,
        &Frame::new([0x01, 0x80, 0xc2, 0, 0, 0x0e], new_mac()).vid(20),
        "reserved_group",
    );
    // The next address is like any group.
    let group = Frame::new([0x01, 0x80, 0xc2, 0, 0, 0x10], own);
    let with = |tag| group.clone().tags(&[tag]).bytes();
    let expected = [
        (UP, with((CUSTOMER_TPID, 20))),
        (MOVED, with((CUSTOMER_TPID, 120))),
        (NATIVE, group.bytes()),
        (NAT_TAG, with((CUSTOMER_TPID, 20))),
        (SERVICE, with((SERVICE_TPID, 20))),
    ];
    scene.check_bytes(ACC, &group.bytes(), &expected);
    // A tag that the frame ends in, and one that is cut off at its TPID.
    let frame = Frame::new(BROADCAST, own).vid(20).bytes();
    scene.check_bytes_dropped(ACC, &frame[..16], "truncated");
    scene.daemon.stop();
}

#[test]
fn reserved_groups_are_forwarded_when_told_and_frames_narrowed_by_accept() {
    let world = World::new("told");
    let guests = [world.guest("a"), world.guest("b"), world.guest("c")];
    let mut daemon = world.start(
        &Config::switch("workers = 1\nforward_reserved = true")
            .network("web", 20)
            .network("db", 30)
            .access("a", "web")
            .port(
                "b",
                "native = \"web\"\ntrunk = [\"db\"]\naccept = \"tagged\"",
            )
            .port(
                "c",
                "native = \"web\"\ntrunk = [\"db\"]\naccept = \"untagged\"",
            ),
    );
    let wires = [guests[0].wire(), guests[1].wire(), guests[2].wire()];
    let wires: Vec<_> = wires.iter().collect();
    let lldp = [0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e];
    let frame = Frame::new(lldp, guests[0].mac).bytes();
    check_crossing(&wires, 0, &frame, &[(1, frame.clone()), (2, frame.clone())]);

    let frame = Frame::new(BROADCAST, guests[1].mac);
    check_crossing(&wires, 1, &frame.bytes(), &[]);
    check_crossing(&wires, 1, &frame.clone().vid(0).bytes(), &[]);
    let bytes = frame.bytes();
    check_crossing(
        &wires,
        1,
        &frame.vid(20).bytes(),
        &[(0, bytes.clone()), (2, bytes)],
    );
    daemon.wait_drops("b", &[("untagged_not_accepted", 2)]);

    let frame = Frame::new(BROADCAST, guests[2].mac);
    let bytes = frame.bytes();
    check_crossing(&wires, 2, &frame.clone().vid(20).bytes(), &[]);
    let both = [(0, bytes.clone()), (1, bytes.clone())];
    check_crossing(&wires, 2, &frame.vid(0).bytes(), &both);
    check_crossing(&wires, 2, &bytes, &both);
    daemon.wait_drops("c", &[("tagged_not_accepted", 1)]);
    daemon.stop();
}
