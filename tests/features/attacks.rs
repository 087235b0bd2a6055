//! What an attacker would try, in every variation that fits into a loop.

use switch_core::{
    config::snapshot::EgressTag,
    counters::DropReason,
    table::fdb::Filter,
    wire::{ethernet::Mac, vlan::Vid},
};

use super::scene::{ALL, C, S, Scene, frame, station};

/// Ports of every kind, and for each network one that has no other.
const HOPPING: &str = r#"
[[network]]
name = "web"
vlan = 20

[[network]]
name = "lab"
vlan = 30

[[network]]
name = "private"

[[port]]
name = "web"
device = "d0"
network = "web"

[[port]]
name = "lab"
device = "d1"
network = "lab"

[[port]]
name = "private"
device = "d2"
network = "private"

[[port]]
name = "trunk"
device = "d3"
native = "lab"
trunk = ["web"]

[[port]]
name = "tagged-native"
device = "d4"
native = "lab"
native_tagged = true
trunk = ["web"]

[[port]]
name = "private-native"
device = "d5"
native = "private"
trunk = ["web"]

[[port]]
name = "provider"
device = "d6"
tpid = "0x88a8"
native = "web"
trunk = ["lab"]

[[port]]
name = "translated"
device = "d7"
trunk = [{ network = "web", vid = 30 }, { network = "lab", vid = 20 }]
"#;

/// The network that a frame is of where it leaves: by the only one of an access port, or by its
/// outermost tag on the wire.
fn network_at(scene: &Scene, port: &str, bytes: &[u8]) -> usize {
    let rules = scene.engine.rules();
    let rules = rules.port(scene.port(port)).expect("a port");
    let ethertype = u16::from_be_bytes([bytes[12], bytes[13]]);
    let tag = match ethertype == rules.tpid as u16 {
        true => {
            let vid = u16::from_be_bytes([bytes[14], bytes[15]]) & 0xfff;
            EgressTag::Tagged(Vid::new(vid).expect("a VID that stands for a network"))
        }
        // A station that speaks the other kind of tags must not find one either.
        false => {
            assert!(![C, S].contains(&ethertype), "{port}: {bytes:02x?}");
            EgressTag::Untagged
        }
    };
    let mut networks = rules.networks();
    let network = networks.find(|network| rules.egress(*network) == tag);
    network.expect("one of the port's networks").get()
}

/// Every combination of two tags, from every kind of port: a frame reaches the stations of one
/// network at most, which is one of its port's, and no tag comes to light that was hidden.
#[test]
fn no_two_tags_lead_out_of_a_network() {
    let vids = [0, 1, 20, 30, 4094, 4095];
    let mut tags = vec![None];
    for tpid in [C, S] {
        for vid in vids {
            tags.extend([Some((tpid, vid)), Some((tpid, 0xf000 | vid))]);
        }
    }
    let mut scene = Scene::new(HOPPING);
    let (mut sent, mut crossed) = (0, 0);
    for port in [
        "web",
        "lab",
        "private",
        "trunk",
        "tagged-native",
        "private-native",
    ]
    .into_iter()
    .chain(["provider", "translated"])
    {
        let rules = scene.engine.rules().port(scene.port(port)).expect("a port");
        let own: Vec<usize> = rules.networks().map(|network| network.get()).collect();
        for outer in &tags {
            for inner in &tags {
                let tags: Vec<_> = outer.iter().chain(inner).copied().collect();
                let out = scene.send(port, &frame(ALL, station(1), &tags));
                let mut networks: Vec<usize> = out
                    .iter()
                    .map(|(port, bytes)| network_at(&scene, port, bytes))
                    .collect();
                networks.dedup();
                assert!(networks.len() <= 1, "{port} {tags:x?}: {networks:?}");
                assert!(networks.iter().all(|network| own.contains(network)));
                sent += 1;
                crossed += networks.len();
            }
        }
    }
    assert_eq!(sent, 8 * 25 * 25);
    assert!(crossed > 500, "some of them are in order: {crossed}");
}

const BOUND: &str = r#"
[[acl]]
name = "web-only"
default = "deny"
rule = [{ action = "allow", protocol = "tcp", destination_port = 80 }]

[[network]]
name = "web"
acl_from_port = "web-only"

[[port]]
name = "a"
device = "d0"
network = "web"
security = "strict"
allowed_macs = "02:00:00:00:00:01"
allowed_addresses = ["10.0.0.1", "fd00::1"]
broadcast_limit = "none"
multicast_limit = "none"
unknown_unicast_limit = "none"

[[port]]
name = "b"
device = "d1"
network = "web"
"#;

/// TCP from 10.0.0.1 or fd00::1 to a port, with IPv4 options or IPv6 extension headers.
fn tcp(ipv6: bool, to: u8) -> Vec<u8> {
    let segment = [
        0xc0, 0, 0, to, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 2, 9, 0, 0, 0, 0, 0,
    ];
    let mut bytes = [&station(2).0[..], &station(1).0].concat();
    if ipv6 {
        bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 36, 0, 64]);
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        bytes.extend([60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0]);
    } else {
        bytes.extend([8, 0, 0x46, 0, 0, 44, 0, 1, 0, 0, 64, 6, 0, 0]);
        bytes.extend([10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 0]);
    }
    bytes.extend(segment);
    bytes
}

/// What a receiver would take the frame for: TCP to port 80 from the sender's own address. Read as
/// the RFCs say, by hand.
fn is_web(bytes: &[u8]) -> Option<bool> {
    let packet = bytes.get(14..)?;
    let (source, mut next, mut at, end, first) = match u16::from_be_bytes([bytes[12], bytes[13]]) {
        0x0800 => {
            let header = usize::from(packet.first()? & 15) * 4;
            let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?]));
            let offset = u16::from_be_bytes([*packet.get(6)?, *packet.get(7)?]) & 0x1fff;
            let own = packet.get(12..16)? == [10, 0, 0, 1];
            (own, *packet.get(9)?, header, total, offset == 0)
        }
        0x86dd => {
            let length = usize::from(u16::from_be_bytes([*packet.get(4)?, *packet.get(5)?]));
            let mut own = [0; 16];
            (own[0], own[15]) = (0xfd, 1);
            (
                packet.get(8..24)? == own,
                *packet.get(6)?,
                40,
                40 + length,
                true,
            )
        }
        _ => return None,
    };
    let mut first = first;
    while [0, 43, 44, 51, 60].contains(&next) && packet[12] != 10 {
        let (kind, length) = (next, usize::from(*packet.get(at + 1)?));
        if kind == 44 {
            first &= u16::from_be_bytes([*packet.get(at + 2)?, *packet.get(at + 3)?]) >> 3 == 0;
        }
        next = *packet.get(at)?;
        at += match kind {
            44 => 8,
            51 => length * 4 + 8,
            _ => length * 8 + 8,
        };
    }
    let port = packet.get(at + 2..at + 4)?;
    let whole = at + 20 <= end && end <= packet.len();
    Some(source && next == 6 && first && whole && port == [0, 80])
}

/// Each byte of each header with each value, and the frame cut off at each length: what passes is
/// what the rule allows, whoever reads it.
#[test]
fn no_lie_in_a_header_passes_a_rule() {
    let mut scene = Scene::new(BOUND);
    for ipv6 in [false, true] {
        let web = tcp(ipv6, 80);
        assert_eq!(is_web(&web), Some(true));
        assert_eq!(scene.reached("a", &web), ["b"]);
        assert!(scene.reached("a", &tcp(ipv6, 81)).is_empty());
        for size in 0..web.len() {
            assert!(scene.reached("a", &web[..size]).is_empty(), "{size} bytes");
            // Or filled up as short frames are.
            let mut padded = web[..size].to_vec();
            padded.resize(web.len() + 10, 0);
            let reached = !scene.reached("a", &padded).is_empty();
            assert!(!reached || is_web(&padded) == Some(true), "{size} bytes");
        }
        let mut passed = 0;
        for to in [80, 81] {
            let original = tcp(ipv6, to);
            for at in 12..original.len() {
                for value in 0..=255 {
                    let mut lie = original.clone();
                    lie[at] = value;
                    if !scene.reached("a", &lie).is_empty() {
                        assert_eq!(is_web(&lie), Some(true), "byte {at} is {value}: {lie:02x?}");
                        passed += 1;
                    }
                }
            }
        }
        // Such as checksums, sequence numbers and hop limits.
        assert!(passed > 5000, "{passed}");
    }
}

/// What a guest may not be, in every protocol in which it could say so.
#[test]
fn nobody_is_somebody_else() {
    use DropReason::{AddressNotAllowed, DhcpServerGuard, MacNotAllowed, RouterGuard};
    let open = BOUND.replace("default = \"deny\"", "default = \"allow\"");
    let check = |bytes: &[u8], expected: Option<DropReason>| {
        let mut scene = Scene::new(&open);
        let reached = scene.reached("a", bytes);
        assert_eq!(reached.is_empty(), expected.is_some(), "{bytes:02x?}");
        let dropped = expected.map(|reason| ("a".to_owned(), reason));
        assert_eq!(scene.only_drop(), dropped, "{bytes:02x?}");
    };
    let (own, other) = (station(1), station(2));
    let arp = |source: Mac, sender: Mac, address: u8| {
        let mut bytes = [&ALL.0[..], &source.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
        bytes.extend([&sender.0[..], &[10, 0, 0, address], &[0; 6], &[10, 0, 0, 9]].concat());
        bytes
    };
    check(&arp(own, own, 1), None);
    check(&arp(other, own, 1), Some(MacNotAllowed));
    check(&arp(own, other, 1), Some(MacNotAllowed));
    check(&arp(own, own, 2), Some(AddressNotAllowed));
    let ipv6 = |protocol: u8, from: u8, body: &[u8]| {
        let mut bytes = [&other.0[..], &own.0, &[0x86, 0xdd, 0x60, 0, 0, 0, 0]].concat();
        bytes.extend([body.len() as u8, protocol, 255]);
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, from]);
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        bytes.extend(body);
        bytes
    };
    let discovery = |kind: u8, target: u8, option: &[u8]| {
        let mut body = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        body.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, target]);
        if kind == 137 {
            body.extend([0; 16]);
        }
        body.extend(option);
        ipv6(58, 1, &body)
    };
    let option = |kind: u8, mac: Mac| [&[kind, 1][..], &mac.0].concat();
    check(&discovery(136, 1, &option(2, own)), None);
    check(&discovery(136, 2, &option(2, own)), Some(AddressNotAllowed));
    check(&discovery(136, 1, &option(2, other)), Some(MacNotAllowed));
    check(&discovery(135, 9, &option(1, own)), None);
    check(&discovery(135, 9, &option(1, other)), Some(MacNotAllowed));
    check(&discovery(137, 9, &[]), Some(RouterGuard));
    check(
        &ipv6(58, 1, &[[134, 0, 0, 0], [64; 4], [0; 4], [0; 4]].concat()),
        Some(RouterGuard),
    );
    check(&ipv6(17, 1, &[1, 0, 1, 0, 0, 8, 0, 0]), None);
    check(
        &ipv6(17, 2, &[1, 0, 1, 0, 0, 8, 0, 0]),
        Some(AddressNotAllowed),
    );
    // DHCPv6 from port 547, and DHCP from port 67.
    check(
        &ipv6(17, 1, &[2, 0x23, 2, 0x22, 0, 8, 0, 0]),
        Some(DhcpServerGuard),
    );
    let mut dhcp = [
        &ALL.0[..],
        &own.0,
        &[8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17],
    ]
    .concat();
    dhcp.extend([
        0, 0, 10, 0, 0, 1, 255, 255, 255, 255, 0, 67, 0, 68, 0, 8, 0, 0,
    ]);
    check(&dhcp, Some(DhcpServerGuard));
}

/// IP in an LLC header, with every bit of it that receivers differ about.
#[test]
fn nothing_hides_in_an_llc_header() {
    let web = tcp(false, 80);
    let mut scene = Scene::new(BOUND);
    let mut dropped = 0;
    for (dsap, ssap, control) in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 0x10), (1, 1, 0x10)] {
        for code in [0, 0xf8] {
            let llc = [0xaa | dsap, 0xaa | ssap, 3 | control, 0, 0, code];
            let length = (web.len() - 12 + llc.len()) as u16;
            let hidden = [&web[..12], &length.to_be_bytes(), &llc, &web[12..]].concat();
            assert!(scene.reached("a", &hidden).is_empty(), "{llc:02x?}");
            dropped += 1;
            assert_eq!(
                scene.drops("a", DropReason::Malformed),
                dropped,
                "{llc:02x?}"
            );
        }
    }
}

/// A million addresses from one port: the table has its size, others keep their entries, and what
/// goes to them goes to nobody else.
#[test]
fn a_million_addresses_harm_nobody() {
    let mut scene = Scene::new(HOPPING);
    let tags = |port: &str| match port {
        "lab" => vec![],
        _ => vec![(C, 30)],
    };
    let victims = [("lab", 101), ("tagged-native", 102)];
    for (port, number) in victims {
        scene.send(port, &frame(ALL, station(number), &tags(port)));
    }
    let untagged = frame(station(101), station(1), &[]);
    for number in 0..1_000_000_u32 {
        let mut frame = untagged.clone();
        // Behind the trunk, whose native network is the victims'.
        frame[6..12].copy_from_slice(&[&[2, 1][..], &number.to_be_bytes()].concat());
        scene.queue("trunk", &frame);
        if number % 512 == 0 {
            let reached = scene.settle();
            assert!(reached.iter().all(|(port, _)| port == "lab"), "{number}");
        }
    }
    scene.settle();
    for (port, number) in victims {
        let from = if port == "lab" {
            "tagged-native"
        } else {
            "lab"
        };
        let to = frame(station(number), station(205 - number), &tags(from));
        assert_eq!(scene.reached(from, &to), [port]);
    }
    let fdb = scene.engine.fdb();
    assert!(fdb.len() <= fdb.capacity());
    let learnt = fdb.events().learned;
    assert!(learnt > 900_000, "they were learnt: {learnt}");
}

/// Who takes another one's address again and again takes it for a moment only, and then not at all
/// for a while.
#[test]
fn a_stolen_address_stays_where_it_was() {
    let file = format!("[switch]\nflap_moves = 3\nflap_window_s = 10\n{HOPPING}");
    let mut scene = Scene::new(&file);
    let (victim, other) = (station(7), station(8));
    let mine = frame(ALL, victim, &[]);
    let stolen = frame(ALL, victim, &[(C, 30)]);
    scene.set_now(100);
    scene.send("tagged-native", &frame(ALL, other, &[(C, 30)]));
    scene.send("lab", &mine);
    let reached =
        |scene: &mut Scene| scene.reached("tagged-native", &frame(victim, other, &[(C, 30)]));
    for round in 1..=5 {
        let taken = scene.reached("translated", &frame(ALL, victim, &[(C, 20)]));
        assert_eq!(taken.is_empty(), round > 3, "round {round}");
        let expected = if round > 3 { "lab" } else { "translated" };
        assert_eq!(reached(&mut scene), [expected]);
        scene.send("lab", &mine);
        assert_eq!(reached(&mut scene), ["lab"], "it is back");
    }
    assert_eq!(scene.drops("translated", DropReason::MacFlapping), 2);
    assert!(
        scene.reached("tagged-native", &stolen).is_empty(),
        "nobody else either"
    );
    // Forgotten, and still not for others to have.
    scene.engine.fdb().flush(&Filter::default());
    assert!(scene.reached("tagged-native", &stolen).is_empty());
    scene.set_now(159);
    assert!(scene.reached("tagged-native", &stolen).is_empty());
    scene.set_now(160);
    assert!(!scene.reached("tagged-native", &stolen).is_empty());
    // A static address is refused for what it is, however often.
    let bound = "[[static]]\nnetwork = \"lab\"\nmac = \"02:00:00:00:00:09\"\nport = \"lab\"\n";
    let mut scene = Scene::new(&format!("{file}{bound}"));
    for _ in 0..9 {
        scene.send("tagged-native", &frame(ALL, station(9), &[(C, 30)]));
    }
    assert_eq!(scene.drops("tagged-native", DropReason::StaticMoved), 9);
}

/// Who has two ports and hands an address from one to the other gets it no more than with one.
/// What the administrator says about the address then counts.
#[test]
fn an_address_that_two_ports_have_stolen_goes_back_to_the_first() {
    let file = format!("[switch]\nflap_moves = 2\n{HOPPING}");
    let victim = station(7);
    let to_victim = frame(victim, station(8), &[(C, 30)]);
    let one = frame(ALL, victim, &[(C, 20)]);
    let stolen = || {
        let mut scene = Scene::new(&file);
        scene.send("tagged-native", &frame(ALL, station(8), &[(C, 30)]));
        scene.send("lab", &frame(ALL, victim, &[]));
        assert!(!scene.reached("translated", &one).is_empty());
        assert!(!scene.reached("trunk", &frame(ALL, victim, &[])).is_empty());
        assert!(
            scene.reached("translated", &one).is_empty(),
            "once too often"
        );
        assert_eq!(scene.reached("tagged-native", &to_victim), ["lab"]);
        scene
    };
    let mut scene = stolen();
    let (network, port) = (scene.network("lab"), scene.port("translated"));
    let entered = scene.engine.fdb().add_static(network, victim, port);
    entered.expect("an entry");
    assert!(!scene.reached("translated", &one).is_empty());
    assert_eq!(scene.reached("tagged-native", &to_victim), ["translated"]);
    let mut scene = stolen();
    scene.reload(HOPPING);
    scene.reload(&file);
    assert!(!scene.reached("translated", &one).is_empty());
}

/// Ever new flows from one port: another one's stay known, so that it pays nothing for them.
#[test]
fn new_flows_do_not_displace_those_of_others() {
    const ROUNDS: usize = 3000;
    const OWN: usize = 64;
    let open = BOUND.replace("default = \"deny\"", "default = \"allow\"");
    let third = "[[port]]\nname = \"c\"\ndevice = \"d2\"\nnetwork = \"web\"\n";
    let mut scene = Scene::new(&format!("{open}{third}"));
    // A port that is served by the same worker, whose table they share.
    let owners = |port: &str| scene.engine.owners(scene.port(port)).to_vec();
    let worker = owners("a")[0];
    let victim = ["b", "c"]
        .into_iter()
        .find(|port| owners(port)[0] == worker);
    let victim = victim.expect("three ports and two workers");
    // The rule asks for the destination port.
    let flow = |from: u8, number: usize| {
        let mut bytes = tcp(false, 80);
        bytes[6..12].copy_from_slice(&station(from).0);
        bytes[40..42].copy_from_slice(&(number as u16).to_be_bytes());
        bytes
    };
    let unknown = |scene: &Scene| {
        let events = scene.engine.flow_events(worker).expect("a table");
        events.entered + events.waited
    };
    let send = |scene: &mut Scene, port: &str, from: u8, first: usize| {
        let before = unknown(scene);
        (first..first + OWN).for_each(|number| scene.queue(port, &flow(from, number)));
        scene.settle();
        unknown(scene) - before
    };
    assert_eq!(send(&mut scene, victim, 2, 0), OWN as u64);
    let (mut missed, mut attack) = (0, 0);
    for round in 0..ROUNDS {
        attack += send(&mut scene, "a", 1, round * OWN);
        missed += send(&mut scene, victim, 2, 0);
    }
    assert!(attack > 100_000, "they were new: {attack}");
    // One of ten would be a tenth of the throughput, were a miss as dear as all the rest.
    let most = (ROUNDS * OWN / 10) as u64;
    assert!(missed < most, "{missed} of {} frames missed", ROUNDS * OWN);
}
