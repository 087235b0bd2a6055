//! An uplink whose device the host uses too: attaching it must not cut off the host.

use std::time::Duration;

use shunt_tests::{
    config::Config,
    daemon::wait_for,
    traffic::{BROADCAST, Frame, Wire, iperf3},
    world::{GUEST_DEVICE, Guest, World, pings, stack_count},
};

/// The uplink is `up`, with the host's own address .1 on it; behind it is .2, and .3 is a guest on
/// the same, untagged, network.
struct Scene {
    world: World,
    outside: Guest,
    guest: Guest,
}

const HOST: &str = "10.83.0.1";
const OUTSIDE: &str = "10.83.0.2";
const GUEST: &str = "10.83.0.3";

impl Scene {
    fn new() -> Self {
        let world = World::new("shared");
        let (outside, guest) = (world.guest("up"), world.guest("a"));
        world
            .switch
            .ip(&["addr", "add", "10.83.0.1/24", "dev", "up"])
            .expect("address");
        outside.add_address("10.83.0.2/24");
        guest.add_address("10.83.0.3/24");
        Self {
            world,
            outside,
            guest,
        }
    }

    fn config() -> Config {
        Config::workers(1)
            .network("web", 20)
            .port("up", "role = \"uplink\"\nnative = \"web\"")
            .access("a", "web")
    }

    /// Makes sure that the next packets between these two need ARP and ND again.
    fn forget_neighbours(&self) {
        for (namespace, device) in [
            (&self.world.switch, "up"),
            (&self.outside.namespace, GUEST_DEVICE),
            (&self.guest.namespace, GUEST_DEVICE),
        ] {
            for family in ["-4", "-6"] {
                let flush = [family, "neigh", "flush", "dev", device];
                namespace.ip(&flush).expect("forget neighbours");
            }
        }
    }
}

#[test]
fn host_and_guests_share_an_uplink() {
    let scene = Scene::new();
    let (world, outside, guest) = (&scene.world, &scene.outside, &scene.guest);
    assert!(outside.pings(HOST, 5), "the test's premise");
    let mut daemon = world.start(&Scene::config());

    // In all directions, with ARP both ways.
    for _ in 0..2 {
        scene.forget_neighbours();
        assert!(outside.pings(HOST, 5), "from outside to the host");
        assert!(outside.pings(GUEST, 5), "from outside to the guest");
        scene.forget_neighbours();
        assert!(pings(&world.switch, OUTSIDE, 5), "from the host");
        assert!(guest.pings(OUTSIDE, 5), "from the guest");
    }
    for arguments in [&["-t", "1"][..], &["-t", "1", "--reverse"]] {
        let report = iperf3(&world.switch, HOST, &outside.namespace, arguments);
        let bps = report["end"]["sum_received"]["bits_per_second"]
            .as_f64()
            .expect("a result");
        println!("TCP with the host {arguments:?}: {:.0} Mb/s", bps / 1e6);
        assert!(bps > 50e6, "with the host, {arguments:?}: {bps} bit/s");
        let report = iperf3(&guest.namespace, GUEST, &outside.namespace, arguments);
        let bps = report["end"]["sum_received"]["bits_per_second"]
            .as_f64()
            .expect("a result");
        println!("TCP with the guest {arguments:?}: {:.0} Mb/s", bps / 1e6);
        assert!(bps > 50e6, "with the guest, {arguments:?}: {bps} bit/s");
    }
    for namespace in [&world.switch, &outside.namespace, &guest.namespace] {
        assert_eq!(stack_count(namespace, "InCsumErrors"), 0);
    }
    // What is for the host only is not flooded to guests.
    let at_guest = guest.wire();
    assert!(outside.pings(HOST, 5));
    assert_eq!(at_guest.receive(Duration::from_millis(50)), None);

    daemon.kill();
    assert!(outside.pings(HOST, 5), "after the daemon was killed");
    daemon.spawn_again();
    daemon.wait_up();
    assert!(
        outside.pings(HOST, 5) && outside.pings(GUEST, 5),
        "after a new start"
    );
    daemon.stop();
    scene.forget_neighbours();
    assert!(outside.pings(HOST, 5), "after the daemon has ended");
}

#[test]
fn group_frames_reach_the_host_and_the_guests_once() {
    let scene = Scene::new();
    let (world, outside, guest) = (&scene.world, &scene.outside, &scene.guest);
    let mut daemon = world.start(&Scene::config());
    let (from, at_guest) = (outside.wire(), guest.wire());
    // What the host's stack gets after XDP.
    let at_host = Wire::open(&world.switch, "up");
    // 224.0.0.1, which every host has joined, and a group that nobody has.
    for (destination, to_host) in [
        (BROADCAST, true),
        ([0x01, 0x00, 0x5e, 0x00, 0x00, 0x01], true),
        ([0x01, 0x00, 0x5e, 0x7f, 0x00, 0x01], false),
    ] {
        for seed in 0..20 {
            let frame = Frame::new(destination, outside.mac).seed(seed).bytes();
            from.send(&frame);
            let arrived = at_guest.find(Duration::from_secs(3), |frame| {
                Frame::seed_of(frame).is_some()
            });
            assert_eq!(arrived.as_ref(), Some(&frame), "at the guest");
            if to_host {
                let arrived = at_host.find(Duration::from_secs(3), |it| it == frame);
                assert!(arrived.is_some(), "at the host: {destination:02x?}, {seed}");
            }
        }
        let again = |wire: &Wire| {
            wire.find(Duration::from_millis(50), |frame| {
                Frame::seed_of(frame).is_some()
            })
        };
        assert_eq!(
            (again(&at_guest), again(&at_host)),
            (None, None),
            "{destination:02x?}"
        );
    }
    // Unicast to the guest is not the host's.
    let hello = Frame::new(BROADCAST, guest.mac).bytes();
    at_guest.send(&hello);
    assert!(
        from.find(Duration::from_secs(3), |it| it == hello)
            .is_some()
    );
    at_host.clear();
    let frame = Frame::new(guest.mac, outside.mac).bytes();
    from.send(&frame);
    assert!(
        at_guest
            .find(Duration::from_secs(3), |it| it == frame)
            .is_some()
    );
    assert_eq!(
        at_host.find(Duration::from_millis(50), |it| it == frame),
        None
    );
    daemon.stop();
}

#[test]
fn ipv6_neighbours_find_host_and_guest() {
    let scene = Scene::new();
    let (world, outside, guest) = (&scene.world, &scene.outside, &scene.guest);
    world
        .switch
        .run("sysctl", &["-qw", "net.ipv6.conf.up.disable_ipv6=0"])
        .expect("IPv6");
    let add = |address| {
        let arguments = ["addr", "add", address, "dev", "up", "nodad"];
        world.switch.ip(&arguments).expect("address");
    };
    add("fd83::1/64");
    outside.add_address("fd83::2/64");
    guest.add_address("fd83::3/64");
    let mut daemon = world.start(&Scene::config());
    for _ in 0..2 {
        assert!(outside.pings("fd83::1", 5), "from outside to the host");
        assert!(outside.pings("fd83::3", 5), "from outside to the guest");
        assert!(guest.pings("fd83::2", 5), "from the guest");
        assert!(pings(&world.switch, "fd83::2", 5), "from the host");
        scene.forget_neighbours();
    }
    // A new address of the host is another group that it listens to.
    add("fd83::1:2345/64");
    wait_for("the host's new address answers", || {
        outside.pings("fd83::1:2345", 1).then_some(())
    });
    daemon.stop();
    scene.forget_neighbours();
    assert!(outside.pings("fd83::1", 5), "the address is still there");
}
