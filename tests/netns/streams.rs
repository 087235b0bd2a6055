//! TCP and UDP streams between guests that nobody has prepared for the switch.

use serde_json::Value;
use shunt_tests::{
    config::Config,
    daemon::{Daemon, wait_for},
    netns::Namespace,
    traffic::iperf3,
    world::{GUEST_DEVICE, Guest, World, offloads, stack_count},
};

/// What TCP must reach: far below what it does alone on a machine, far above what it does when
/// every second segment is lost.
const TCP_MINIMUM_BPS: f64 = 100e6;

/// Two guests of a private network with addresses and the kernel's default offloads.
fn two_guests() -> (World, [Guest; 2]) {
    let world = World::new("streams");
    let guests = [world.guest("a"), world.guest("b")];
    for (guest, address) in guests.iter().zip(["10.78.0.1/24", "10.78.0.2/24"]) {
        guest.add_address(address);
    }
    for (guest, address) in guests.iter().zip(["fd78::1/64", "fd78::2/64"]) {
        guest.add_address(address);
    }
    (world, guests)
}

fn config() -> Config {
    Config::workers(1)
        .private("lab")
        .access("a", "lab")
        .access("b", "lab")
}

/// The offloads of all four ends of the veth pairs.
fn all_offloads(world: &World, guests: &[Guest; 2]) -> Vec<String> {
    let ends: [(&Namespace, &str); 4] = [
        (&world.switch, "a"),
        (&world.switch, "b"),
        (&guests[0].namespace, GUEST_DEVICE),
        (&guests[1].namespace, GUEST_DEVICE),
    ];
    ends.map(|(namespace, device)| offloads(namespace, device))
        .to_vec()
}

fn received_bps(report: &Value) -> f64 {
    let sum = &report["end"]["sum_received"]["bits_per_second"];
    sum.as_f64()
        .unwrap_or_else(|| panic!("no result: {report}"))
}

fn checksum_errors(guests: &[Guest; 2]) -> u64 {
    guests
        .iter()
        .map(|guest| stack_count(&guest.namespace, "InCsumErrors"))
        .sum()
}

#[test]
fn tcp_and_udp_with_default_offloads_which_are_restored() {
    let (world, guests) = two_guests();
    let found = all_offloads(&world, &guests);
    assert!(
        found[2].contains("tx-checksumming: on"),
        "the test's premise: {}",
        found[2]
    );
    let mut daemon = world.start(&config());
    assert_ne!(
        all_offloads(&world, &guests),
        found,
        "nothing had to be set?"
    );

    let [a, b] = &guests;
    for (address, arguments) in [
        ("10.78.0.2", &["-t", "2"][..]),
        ("10.78.0.2", &["-t", "1", "--reverse"]),
        ("fd78::2", &["-t", "1"]),
    ] {
        let report = iperf3(&b.namespace, address, &a.namespace, arguments);
        let bps = received_bps(&report);
        println!("TCP {address} {arguments:?}: {:.0} Mb/s", bps / 1e6);
        assert!(
            bps > TCP_MINIMUM_BPS,
            "{address} {arguments:?}: {bps} bit/s"
        );
    }
    check_udp(&daemon, &guests);
    assert_eq!(checksum_errors(&guests), 0);

    daemon.stop();
    assert_eq!(all_offloads(&world, &guests), found);
}

/// UDP: what is lost, for instance because the machine had other things to do, is counted.
fn check_udp(daemon: &Daemon, guests: &[Guest; 2]) {
    let [a, b] = guests;
    let counted = || {
        let drops = ["a", "b"].map(|port| daemon.drops(port).values().sum::<u64>());
        drops[0] + drops[1] + stack_count(&b.namespace, "UdpRcvbufErrors")
    };
    let mut lost_and_before = counted();
    for length in ["64", "1400"] {
        let arguments = ["-u", "-t", "1", "-b", "10M", "-l", length];
        let report = iperf3(&b.namespace, "10.78.0.2", &a.namespace, &arguments);
        let sum = &report["end"]["sum"];
        let [lost, sent] = ["lost_packets", "packets"].map(|count| sum[count].as_u64());
        let (lost, sent) = (lost.expect("a result"), sent.expect("a result"));
        println!("UDP of {length} bytes: {lost} of {sent} lost");
        assert!(lost * 2 < sent, "{lost} of {sent} lost");
        lost_and_before += lost;
        wait_for("all that is lost is counted", || {
            (counted() >= lost_and_before).then_some(())
        });
    }
    // Larger than the MTU: IP fragments, without checksums of their own.
    let arguments = ["-u", "-t", "1", "-b", "10M", "-l", "8000"];
    let report = iperf3(&b.namespace, "10.78.0.2", &a.namespace, &arguments);
    assert!(received_bps(&report) > 1e6, "{report}");
}

#[test]
fn tcp_through_the_hosts_own_port() {
    let world = World::new("host-streams");
    let guest = world.guest("a");
    guest.add_address("10.79.0.1/24");
    let lines = "role = \"host\"\nnetwork = \"lab\"\naddresses = [\"10.79.0.2/24\"]";
    let config = Config::workers(1)
        .private("lab")
        .access("a", "lab")
        .port("shunt0", lines);
    let mut daemon = world.start(&config);
    for arguments in [&["-t", "1"][..], &["-t", "1", "--reverse"]] {
        let report = iperf3(&world.switch, "10.79.0.2", &guest.namespace, arguments);
        let bps = received_bps(&report);
        println!("TCP with the host {arguments:?}: {:.0} Mb/s", bps / 1e6);
        assert!(bps > TCP_MINIMUM_BPS, "{arguments:?}: {bps} bit/s");
    }
    for namespace in [&world.switch, &guest.namespace] {
        assert_eq!(stack_count(namespace, "InCsumErrors"), 0);
    }
    daemon.stop();
}

#[test]
fn tcp_over_a_tagged_wire_between_two_hosts() {
    let worlds = [World::new("north"), World::new("south")];
    worlds[0].wire_to(&worlds[1], "up0");
    let guests = [worlds[0].guest("a"), worlds[1].guest("a")];
    for (guest, address) in guests.iter().zip(["10.85.0.1/24", "10.85.0.2/24"]) {
        guest.add_address(address);
    }
    let config = || {
        Config::workers(1)
            .network("web", 20)
            .access("a", "web")
            .uplink("up0")
    };
    let mut daemons = worlds.each_ref().map(|world| world.start(&config()));
    let arguments = ["-t", "1"];
    let report = iperf3(
        &guests[1].namespace,
        "10.85.0.2",
        &guests[0].namespace,
        &arguments,
    );
    let bps = received_bps(&report);
    println!("TCP over a tagged wire: {:.0} Mb/s", bps / 1e6);
    assert!(bps > TCP_MINIMUM_BPS, "{bps} bit/s");
    assert_eq!(checksum_errors(&guests), 0);
    for daemon in &mut daemons {
        daemon.stop();
    }
}

#[test]
fn tcp_in_jumbo_frames() {
    let (world, guests) = two_guests();
    for guest in &guests {
        guest.set_mtu(9000);
        let near = ["link", "set", "dev", &guest.near, "mtu", "9000"];
        world.switch.ip(&near).expect("MTU");
    }
    let mut daemon = world.start(&config());
    let [a, b] = &guests;
    for arguments in [&["-t", "1"][..], &["-t", "1", "--reverse"]] {
        let report = iperf3(&b.namespace, "10.78.0.2", &a.namespace, arguments);
        let bps = received_bps(&report);
        println!("TCP in jumbo frames {arguments:?}: {:.0} Mb/s", bps / 1e6);
        assert!(bps > TCP_MINIMUM_BPS, "{arguments:?}: {bps} bit/s");
    }
    assert_eq!(checksum_errors(&guests), 0);
    daemon.stop();
}
