//! Who reaches whom, by ping: networks, private ones, an uplink trunk between two hosts, isolated
//! ports and the host's own port.

use std::thread;

use shunt_tests::{
    config::Config,
    netns::Namespace,
    traffic::{BROADCAST, Frame, check_crossing},
    world::{Guest, World, pings},
};

/// A station of the matrix. All are in one subnet, so that nothing but the switch keeps them apart.
struct Station<'a> {
    name: &'a str,
    namespace: &'a Namespace,
    /// Its network, unlike others when private and on another host.
    network: &'a str,
    isolated: bool,
    address: String,
}

impl Station<'_> {
    fn should_reach(&self, other: &Self) -> bool {
        self.network == other.network && !(self.isolated && other.isolated)
    }
}

/// Pings from every station to every other one, all at once.
fn check_matrix(stations: &[Station<'_>]) {
    let wrong = thread::scope(|scope| {
        let mut pinging = Vec::new();
        for from in stations {
            for to in stations.iter().filter(|to| to.address != from.address) {
                let expected = from.should_reach(to);
                // What must answer has time also on a busy machine.
                let seconds = if expected { 8 } else { 2 };
                let ping = move || pings(from.namespace, &to.address, seconds) != expected;
                pinging.push((from.name, to.name, expected, scope.spawn(ping)));
            }
        }
        let wrong = pinging
            .into_iter()
            .filter_map(|(from, to, expected, ping)| {
                let is_wrong = ping.join().expect("ping");
                is_wrong.then(|| format!("{from} -> {to}: expected {expected}"))
            });
        wrong.collect::<Vec<_>>()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

const SUBNET: &str = "10.77.0";

/// The first host: access ports of two networks and a private one, two of them isolated.
fn north() -> Config {
    Config::workers(1)
        .network("web", 20)
        .network("db", 30)
        .private("lab")
        .access("web-1", "web")
        .access("db-1", "db")
        .access("lab-1", "lab")
        .access("lab-2", "lab")
        .port("alone-1", "network = \"web\"\nisolated = true")
        .port("alone-2", "network = \"web\"\nisolated = true")
        .port(
            "shunt0",
            &format!("role = \"host\"\nnetwork = \"web\"\naddresses = [\"{SUBNET}.40/24\"]"),
        )
        .uplink("up0")
}

/// The second host: the same networks; `lab` has the same name and is another one.
fn south() -> Config {
    Config::workers(1)
        .network("web", 20)
        .network("db", 30)
        .private("lab")
        .access("web-3", "web")
        .access("db-3", "db")
        .access("lab-3", "lab")
        .uplink("up0")
}

#[test]
fn the_ping_matrix_of_two_hosts() {
    let worlds = [World::new("north"), World::new("south")];
    worlds[0].wire_to(&worlds[1], "up0");
    let guests = [
        (0, "web-1", "web"),
        (0, "db-1", "db"),
        (0, "lab-1", "lab"),
        (0, "lab-2", "lab"),
        (0, "alone-1", "web"),
        (0, "alone-2", "web"),
        (1, "web-3", "web"),
        (1, "db-3", "db"),
        (1, "lab-3", "lab of the south"),
    ];
    let made: Vec<Guest> = guests
        .iter()
        .map(|(host, name, _)| worlds[*host].guest(name))
        .collect();
    let mut stations = Vec::new();
    for (number, (guest, (_, name, network))) in made.iter().zip(&guests).enumerate() {
        let address = format!("{SUBNET}.{}", number + 1);
        guest.add_address(&format!("{address}/24"));
        stations.push(Station {
            name,
            namespace: &guest.namespace,
            network,
            isolated: name.starts_with("alone"),
            address,
        });
    }
    stations.push(Station {
        name: "shunt0",
        namespace: &worlds[0].switch,
        network: "web",
        isolated: false,
        address: format!("{SUBNET}.40"),
    });
    let mut daemons = [worlds[0].start(&north()), worlds[1].start(&south())];
    check_matrix(&stations);

    for network in daemons[0].get("networks") {
        // Two or more stations, and theirs of the other host where there is an uplink.
        assert!(network["fdb_entries"].as_u64() >= Some(2), "{network}");
        assert!(network["flooded_frames"].as_u64() > Some(0), "{network}");
    }
    for daemon in &mut daemons {
        daemon.stop();
    }
    let left = worlds[0]
        .switch
        .ip(&["-o", "link", "show"])
        .expect("ip link");
    assert!(
        !left.contains("shunt0"),
        "the host port's interface is left: {left}"
    );
}

#[test]
fn isolated_ports_and_uplinks_exchange_nothing_among_themselves() {
    let world = World::new("apart");
    let names = ["up1", "up2", "alone1", "alone2", "open"];
    let guests = names.map(|name| world.guest(name));
    let wires = guests.each_ref().map(Guest::wire);
    let wires: Vec<_> = wires.iter().collect();
    let isolated = "network = \"web\"\nisolated = true";
    let mut daemon = world.start(
        &Config::workers(1)
            .network("web", 20)
            .uplink("up1")
            .uplink("up2")
            .port("alone1", isolated)
            .port("alone2", isolated)
            .access("open", "web"),
    );
    // As it looks at a port: tagged at the uplinks.
    let at = |port: usize, frame: &Frame| match port {
        0 | 1 => frame.clone().vid(20).bytes(),
        _ => frame.bytes(),
    };
    let partner = |port: usize| [Some(1), Some(0), Some(3), Some(2), None][port];
    for (from, guest) in guests.iter().enumerate() {
        let frame = Frame::new(BROADCAST, guest.mac);
        let others = (0..guests.len()).filter(|to| *to != from && partner(from) != Some(*to));
        let expected: Vec<_> = others.map(|to| (to, at(to, &frame))).collect();
        check_crossing(&wires, from, &at(from, &frame), &expected);
    }
    // Now that all are known, to one of them.
    for (from, sender) in guests.iter().enumerate() {
        for (to, receiver) in guests.iter().enumerate().filter(|(to, _)| *to != from) {
            let frame = Frame::new(receiver.mac, sender.mac);
            let arrived = [(to, at(to, &frame))];
            let may = partner(from) != Some(to);
            let expected = if may { &arrived[..] } else { &[] };
            check_crossing(&wires, from, &at(from, &frame), expected);
        }
    }
    for (name, drops) in [
        ("up1", &[("uplink_to_uplink", 1)][..]),
        ("up2", &[("uplink_to_uplink", 1)]),
        ("alone1", &[("isolated", 1)]),
        ("alone2", &[("isolated", 1)]),
        ("open", &[]),
    ] {
        daemon.wait_drops(name, drops);
    }
    // And what was not dropped was counted: five broadcasts, of which the guest sent one.
    let port = daemon.port("open");
    assert_eq!(
        (&port["rx_frames"], &port["rx_bytes"]),
        (&5.into(), &300.into()),
        "{port}"
    );
    assert_eq!(
        (&port["tx_frames"], &port["tx_bytes"]),
        (&8.into(), &480.into()),
        "{port}"
    );
    daemon.stop();
}
