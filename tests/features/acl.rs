//! Access control lists: what passes, what is dropped where, and what is counted.

use switch_core::{config::parse, counters::DropReason, wire::ethernet::Mac};

use super::scene::{ALL, C, Scene, station};

/// Guests a and b and an uplink in one network, and lists that tests write.
fn scene(of_ports: &str, of_network: &str, lists: &str) -> Scene {
    Scene::new(&file(of_ports, of_network, lists))
}

fn file(of_ports: &str, of_network: &str, lists: &str) -> String {
    format!(
        r#"
[[network]]
name = "web"
vlan = 20
{of_network}

[[network]]
name = "db"
vlan = 30

[[port]]
name = "a"
device = "d0"
network = "web"
{of_ports}

[[port]]
name = "b"
device = "d1"
network = "web"

[[port]]
name = "up"
device = "d2"
role = "uplink"
trunk = ["*"]

{lists}
"#
    )
}

fn list(default: &str, rules: &[&str]) -> String {
    let rules: String = rules
        .iter()
        .map(|rule| format!("[[acl.rule]]\n{rule}\n"))
        .collect();
    format!("[[acl]]\nname = \"list\"\ndefault = \"{default}\"\n{rules}")
}

/// IPv4 with 20 bytes of payload, which begin with these.
fn ipv4(source: [u8; 4], destination: [u8; 4], protocol: u8, fragment: u16, l4: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 40, 0, 0];
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0]);
    bytes.extend(source);
    bytes.extend(destination);
    bytes.extend(l4);
    bytes.resize(46, 0);
    bytes
}

/// A TCP header.
fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0, 64, 0, 0, 0, 0]);
    bytes
}

fn eth(destination: Mac, source: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    [
        &destination.0[..],
        &source.0,
        &ethertype.to_be_bytes(),
        payload,
    ]
    .concat()
}

/// A SYN from 10.0.0.1 to port 80 of 10.0.0.2, from station 1 to all.
fn syn(to: u16) -> Vec<u8> {
    let ip = ipv4([10, 0, 0, 1], [10, 0, 0, 2], 6, 0, &tcp(40_000, to, 2));
    eth(ALL, station(1), 0x0800, &ip)
}

const LATER: u16 = 0x0005;
const FIRST: u16 = 0x2000;

/// A frame of each kind.
fn kinds() -> [(&'static str, Vec<u8>); 7] {
    let arp = |operation: u8, sender: [u8; 4]| {
        let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, operation, 2, 0, 0, 0, 0, 1];
        bytes.extend(sender);
        bytes.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
        bytes.resize(46, 0);
        eth(ALL, station(1), 0x0806, &bytes)
    };
    let udp = {
        let l4 = [0x13, 0x88, 0, 53, 0, 20, 0, 0];
        eth(
            ALL,
            station(1),
            0x0800,
            &ipv4([10, 0, 0, 1], [10, 0, 0, 2], 17, 0, &l4),
        )
    };
    let ping = {
        let l4 = [8, 0, 0, 0];
        eth(
            ALL,
            station(1),
            0x0800,
            &ipv4([10, 0, 0, 1], [10, 0, 0, 2], 1, 0, &l4),
        )
    };
    let ipv6 = {
        let mut bytes = vec![0x6b, 0x80, 0, 0, 0, 4, 58, 255];
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        bytes.extend([128, 0, 0, 0, 0, 0]);
        eth(ALL, station(1), 0x86dd, &bytes)
    };
    let lldp = eth(ALL, station(1), 0x88cc, &[0; 46]);
    [
        ("syn", syn(80)),
        ("udp", udp),
        ("ping", ping),
        ("ipv6", ipv6),
        ("request", arp(1, [10, 0, 0, 1])),
        ("reply", arp(2, [10, 0, 0, 9])),
        ("lldp", lldp),
    ]
}

/// A rule alone, in a list that does the opposite otherwise: which frames does it meet?
#[track_caller]
fn check_condition(conditions: &str, expected: &[&str]) {
    let frames = kinds();
    for (action, default) in [("allow", "deny"), ("deny", "allow")] {
        let rule = format!("action = \"{action}\"\n{conditions}");
        let list = list(default, &[&rule]);
        let mut scene = scene("acl_from_port = \"list\"", "", &list);
        let passes: Vec<&str> = frames
            .iter()
            .filter(|(_, frame)| scene.reached("a", frame).contains(&"b".to_owned()))
            .map(|(name, _)| *name)
            .collect();
        let met = |name: &&str| passes.contains(name) == (action == "allow");
        let met: Vec<&str> = frames.iter().map(|(name, _)| *name).filter(met).collect();
        assert_eq!(met, expected, "{rule}");
    }
}

const ALL_KINDS: [&str; 7] = ["syn", "udp", "ping", "ipv6", "request", "reply", "lldp"];

#[test]
fn conditions_on_types_addresses_and_ports_meet_what_they_say() {
    let check = check_condition;
    check("", &ALL_KINDS);
    check("ethertype = \"arp\"", &["request", "reply"]);
    check(
        "ethertype = [\"arp\", \"0x88cc\"]",
        &["request", "reply", "lldp"],
    );
    check("ethertype = \"ipv6\"", &["ipv6"]);
    check("arp_operation = \"reply\"", &["reply"]);
    check("ethertype = \"arp\"\nsource = \"10.0.0.1\"", &["request"]);
    check("source = \"10.0.0.0/24\"", &["syn", "udp", "ping"]);
    check(
        "source = [\"10.0.0.0/24\", \"fd00::/64\"]",
        &["syn", "udp", "ping", "ipv6"],
    );
    check("destination = \"fd00::2\"", &["ipv6"]);
    check("destination = \"10.0.0.3\"", &[]);
    check("protocol = \"tcp\"", &["syn"]);
    check("protocol = [\"tcp\", \"udp\"]", &["syn", "udp"]);
    check("destination_port = [\"50-60\", 80]", &["syn", "udp"]);
    check(
        "protocol = \"udp\"\ndestination_port = [\"50-60\", 80]",
        &["udp"],
    );
    check("source_port = \"40000-50000\"", &["syn"]);
    check("tcp_flags = \"syn,!ack\"", &["syn"]);
    check("tcp_flags = \"ack\"", &[]);
}

#[test]
fn conditions_on_icmp_priorities_and_below_meet_what_they_say() {
    let check = check_condition;
    check("protocol = \"icmp\"\nicmp_type = 8", &["ping"]);
    check(
        "protocol = \"icmpv6\"\nicmp_type = 128\nicmp_code = 0",
        &["ipv6"],
    );
    check("protocol = \"icmp\"\nicmp_type = 0", &[]);
    check("dscp = \"ef\"", &["ipv6"]);
    check("fragment = \"no\"", &["syn", "udp", "ping", "ipv6"]);
    check("fragment = \"any\"", &[]);
    check(
        "source_mac = \"02:00:00:00:00:00/ff:ff:ff:00:00:00\"",
        &ALL_KINDS,
    );
    check("source_mac = \"02:00:00:00:00:02\"", &[]);
    check(
        "destination_mac = [\"02:00:00:00:00:02\", \"ff:ff:ff:ff:ff:ff\"]",
        &ALL_KINDS,
    );
    check("network = \"web\"", &ALL_KINDS);
    check("vid = 20", &ALL_KINDS);
    check("vid = 30", &[]);
    check("pcp = 0", &ALL_KINDS);
    check("pcp = \"1-7\"", &[]);
}

/// Every place of a list, and the drop reason and the port that it is counted at.
#[test]
fn lists_stand_where_they_are_attached() {
    let deny = list(
        "allow",
        &["action = \"deny\"\nprotocol = \"tcp\"\ndestination_port = 80"],
    );
    let check = |of_a: &str,
                 of_network: &str,
                 from: &str,
                 reached: &[&str],
                 drop: Option<(&str, DropReason)>| {
        let mut scene = scene(of_a, of_network, &deny);
        let frame = match from {
            "up" => {
                let plain = syn(80);
                [&plain[..12], &C.to_be_bytes(), &[0, 20], &plain[12..]].concat()
            }
            _ => syn(80),
        };
        assert_eq!(
            scene.reached(from, &frame),
            reached,
            "{of_a} {of_network} {from}"
        );
        let drops: Vec<_> = scene.only_drop().into_iter().collect();
        let drops: Vec<_> = drops
            .iter()
            .map(|(port, reason)| (port.as_str(), *reason))
            .collect();
        assert_eq!(drops, Vec::from_iter(drop), "{of_a} {of_network} {from}");
        assert_eq!(
            scene
                .reached(
                    from,
                    &match from {
                        "up" => {
                            let plain = syn(81);
                            [&plain[..12], &C.to_be_bytes(), &[0, 20], &plain[12..]].concat()
                        }
                        _ => syn(81),
                    }
                )
                .len(),
            2,
            "others pass"
        );
    };
    use DropReason::{AclFromPort, AclToPort};
    let (from, to) = ("acl_from_port = \"list\"", "acl_to_port = \"list\"");
    check("", "", "a", &["b", "up"], None);
    check(from, "", "a", &[], Some(("a", AclFromPort)));
    check(from, "", "b", &["a", "up"], None);
    check(to, "", "a", &["b", "up"], None);
    check(to, "", "b", &["up"], Some(("a", AclToPort)));
    check(to, "", "up", &["b"], Some(("a", AclToPort)));
    check("", from, "b", &[], Some(("b", AclFromPort)));
    check("", from, "up", &[], Some(("up", AclFromPort)));
}

#[test]
fn what_is_denied_teaches_no_address() {
    let deny = list(
        "deny",
        &["action = \"allow\"\nsource_mac = \"02:00:00:00:00:02\""],
    );
    let mut scene = scene("acl_from_port = \"list\"", "", &deny);
    scene.send("a", &syn(80));
    assert_eq!(scene.engine.fdb().port_count(scene.port("a")), 0);
    scene.send(
        "a",
        &eth(
            ALL,
            station(2),
            0x0800,
            &ipv4([10, 0, 0, 1], [10, 0, 0, 2], 6, 0, &tcp(1, 2, 2)),
        ),
    );
    assert_eq!(scene.engine.fdb().port_count(scene.port("a")), 1);
}

/// A later fragment has no ports: what allows by ports lets none pass, what denies by ports denies
/// them all.
#[test]
fn later_fragments_slip_past_no_port_rule() {
    let fragment = |bits: u16, l4: &[u8]| {
        eth(
            ALL,
            station(1),
            0x0800,
            &ipv4([10, 0, 0, 1], [10, 0, 0, 2], 6, bits, l4),
        )
    };
    let whole = fragment(0, &tcp(1, 80, 2));
    let other = fragment(0, &tcp(1, 81, 2));
    let first = fragment(FIRST, &tcp(1, 80, 2));
    let later = fragment(LATER, &[0xff; 20]);
    let check = |default: &str, rule: &str, expected: [bool; 4]| {
        let mut scene = scene("acl_from_port = \"list\"", "", &list(default, &[rule]));
        let frames = [&whole, &other, &first, &later];
        let passes = frames.map(|frame| !scene.reached("a", frame).is_empty());
        assert_eq!(passes, expected, "{default}, {rule}");
    };
    let (allow, deny) = ("action = \"allow\"\n", "action = \"deny\"\n");
    let port = "protocol = \"tcp\"\ndestination_port = 80\n";
    check(
        "deny",
        &format!("{allow}{port}"),
        [true, false, true, false],
    );
    check(
        "allow",
        &format!("{deny}{port}"),
        [false, true, false, false],
    );
    check(
        "allow",
        &format!("{deny}{port}fragment = \"any\""),
        [true, true, false, false],
    );
    check(
        "allow",
        &format!("{deny}{port}fragment = \"first\""),
        [true, true, false, true],
    );
    check(
        "allow",
        &format!("{deny}{port}fragment = \"no\""),
        [false, true, true, true],
    );
    check(
        "deny",
        &format!("{allow}protocol = \"tcp\""),
        [true, true, true, true],
    );
    check(
        "deny",
        &format!("{allow}fragment = \"later\""),
        [false, false, false, true],
    );
    check(
        "allow",
        &format!("{deny}fragment = \"any\""),
        [true, true, false, false],
    );
    // Protocols without the port: UDP's fragments are not TCP's.
    check(
        "allow",
        "action = \"deny\"\nprotocol = \"udp\"\ndestination_port = 80",
        [true; 4],
    );
}

/// What a receiver makes of fragments that reach it, each a place and bytes: the one that comes
/// later, or the one that was there, has its way where two overlap (RFC 815 leaves it open).
fn reassembled(fragments: &[(usize, Vec<u8>)], later_wins: bool) -> Vec<Option<u8>> {
    let mut packet = vec![None; 64];
    for (start, bytes) in fragments {
        for (place, byte) in packet[*start..].iter_mut().zip(bytes) {
            if later_wins || place.is_none() {
                *place = Some(*byte);
            }
        }
    }
    packet
}

/// The numbers below `count` in every order.
fn orders(count: usize) -> Vec<Vec<usize>> {
    let Some(last) = count.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let shorter = orders(last).into_iter();
    let with_last = |order: Vec<usize>| {
        (0..count).map(move |place| {
            let mut order = order.clone();
            order.insert(place, last);
            order
        })
    };
    shorter.flat_map(with_last).collect()
}

/// Pieces of a packet in every order, tiny and overlapping ones among them (RFC 1858, RFC 3128):
/// whichever a receiver believes, it never has a connection to the port that is denied.
#[test]
fn no_order_of_fragments_makes_a_denied_packet() {
    let piece = |bits: u16, l4: &[u8]| {
        let ip = ipv4([10, 0, 0, 1], [10, 0, 0, 2], 6, bits, l4);
        (bits, eth(ALL, station(1), 0x0800, &ip))
    };
    let (allowed, denied) = (tcp(1, 81, 2), tcp(1, 80, 2));
    let pieces = [
        piece(FIRST, &allowed),
        piece(FIRST, &denied),
        // The ports again, from the first eight bytes on and as a fragment of their own.
        piece(FIRST | 1, &denied),
        piece(1, &denied[8..]),
        piece(LATER, &[0xff; 20]),
    ];
    let deny = "action = \"deny\"\nprotocol = \"tcp\"\ndestination_port = 80\n";
    let allow = "action = \"allow\"\nprotocol = \"tcp\"\ndestination_port = 81\n";
    let (mut passed, mut tried) = (0, 0);
    for (default, rule) in [("allow", deny), ("deny", allow)] {
        let mut scene = scene("acl_from_port = \"list\"", "", &list(default, &[rule]));
        for order in orders(pieces.len()) {
            let mut reached = Vec::new();
            for (bits, frame) in order.into_iter().map(|index| &pieces[index]) {
                if !scene.reached("a", frame).is_empty() {
                    reached.push((usize::from(bits & 0x1fff) * 8, frame[34..54].to_vec()));
                }
            }
            tried += 1;
            passed += reached.len();
            for later_wins in [false, true] {
                let packet = reassembled(&reached, later_wins);
                assert_ne!(packet[2..4], [Some(0), Some(80)], "{reached:?}");
                assert_eq!(packet[20..], [None; 44], "whole, with a later fragment");
            }
        }
    }
    // The first fragment to the other port, each time.
    assert_eq!((passed, tried), (240, 240));
}

/// What cannot be read passes no list, and everything where there is none.
#[test]
fn malformed_packets_pass_no_list() {
    let allow = list("allow", &[]);
    let cut = |length: usize| syn(80)[..length].to_vec();
    let conceal = |behind: &[u8]| {
        let ip = syn(80)[14..].to_vec();
        [&ALL.0[..], &station(1).0, behind, &ip].concat()
    };
    let malformed = [
        cut(14),
        cut(33),
        cut(53),
        // IP in LLC and SNAP, with either organisation.
        conceal(&[0, 54, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]),
        conceal(&[0, 54, 0xaa, 0xaa, 3, 0, 0, 0xf8, 8, 0]),
    ];
    for frame in malformed {
        let mut without = scene("", "", &allow);
        assert_eq!(without.reached("a", &frame).len(), 2);
        let mut from = scene("acl_from_port = \"list\"", "", &allow);
        assert_eq!(from.reached("a", &frame).len(), 0);
        assert_eq!(from.only_drop(), Some(("a".into(), DropReason::Malformed)));
        assert_eq!(
            from.reached("b", &frame),
            ["a", "up"],
            "not in this direction"
        );
        let mut to = scene("acl_to_port = \"list\"", "", &allow);
        assert_eq!(to.reached("b", &frame), ["up"]);
        assert_eq!(to.only_drop(), Some(("a".into(), DropReason::Malformed)));
    }
    // Spanning tree's LLC and a SNAP of a vendor are what they say.
    for behind in [
        &[0, 54, 0x42, 0x42, 3][..],
        &[0, 54, 0xaa, 0xaa, 3, 0, 0, 0xc, 1, 0xb],
    ] {
        let mut scene = scene("acl_from_port = \"list\"", "", &allow);
        assert_eq!(scene.reached("a", &conceal(behind)).len(), 2);
    }
}

/// VID 0 within another tag: many receivers take it off, and would see what no rule has seen.
#[test]
fn priority_tags_within_tags_hide_nothing() {
    let deny = list("allow", &["action = \"deny\"\nprotocol = \"tcp\""]);
    let mut scene = scene("", "acl_from_port = \"list\"", &deny);
    let plain = syn(80);
    let tagged = |tags: &[u16]| {
        let tags: Vec<u8> = tags
            .iter()
            .flat_map(|tci| [C, *tci])
            .flat_map(u16::to_be_bytes)
            .collect();
        [&plain[..12], &tags, &plain[12..]].concat()
    };
    let mut check = |tags: &[u16], reason: Option<DropReason>| {
        let before: Vec<u64> = DropReason::ALL
            .iter()
            .map(|r| scene.drops("up", *r))
            .collect();
        scene.send("up", &tagged(tags));
        let new = |(reason, before): (&DropReason, u64)| {
            (scene.drops("up", *reason) > before).then_some(*reason)
        };
        let dropped = DropReason::ALL.iter().zip(before).find_map(new);
        assert_eq!(dropped, reason, "{tags:x?}");
    };
    check(&[20], Some(DropReason::AclFromPort));
    check(&[20, 0], Some(DropReason::Malformed));
    check(&[20, 0xe000], Some(DropReason::Malformed));
    check(&[20, 30, 0], Some(DropReason::Malformed));
    // Somebody else's VLAN within ours is not ours to read; it leaves untagged nowhere.
    check(&[20, 30], None);
}

#[test]
fn hits_are_counted_and_survive_a_reload_of_the_same_rule() {
    let rules = [
        "name = \"all\"\naction = \"count\"",
        "action = \"deny\"\nprotocol = \"tcp\"\ndestination_port = 80",
        "action = \"allow\"\nprotocol = \"tcp\"",
    ];
    let mut scene = scene("acl_from_port = \"list\"", "", &list("deny", &rules));
    let hits = |scene: &Scene| -> Vec<(u64, u64)> {
        let hits = scene.engine.rules().hits[0].iter();
        let totals = hits.map(|hit| scene.engine.hits(*hit));
        totals.map(|totals| (totals.frames, totals.bytes)).collect()
    };
    scene.send("a", &syn(80));
    scene.send("a", &syn(81));
    scene.send("a", &syn(81));
    scene.send("a", &eth(ALL, station(1), 0x88cc, &[0; 46]));
    assert_eq!(hits(&scene), [(4, 240), (1, 60), (2, 120), (1, 60)]);

    // Another order, another rule in between, one changed under its name, one changed without.
    let changed = [
        "action = \"allow\"\nprotocol = \"tcp\"",
        "action = \"deny\"\nprotocol = \"udp\"",
        "action = \"deny\"\nprotocol = \"tcp\"\ndestination_port = 8080",
        "name = \"all\"\naction = \"count\"\npcp = 0",
    ];
    scene.reload(&file(
        "acl_from_port = \"list\"",
        "",
        &list("deny", &changed),
    ));
    assert_eq!(hits(&scene), [(2, 120), (0, 0), (0, 0), (4, 240), (1, 60)]);
    // Not attached for a while.
    scene.reload(&file("", "", &list("deny", &changed)));
    scene.send("a", &syn(81));
    scene.reload(&file(
        "acl_from_port = \"list\"",
        "",
        &list("deny", &changed),
    ));
    scene.send("a", &syn(81));
    assert_eq!(hits(&scene), [(3, 180), (0, 0), (0, 0), (4, 240), (1, 60)]);
    // A list that was away begins anew.
    scene.reload(&file("", "", ""));
    scene.reload(&file(
        "acl_from_port = \"list\"",
        "",
        &list("deny", &changed),
    ));
    assert_eq!(hits(&scene), [(0, 0); 5]);
}

/// A counter goes to another rule with the second reload; what a shortcut has counted is not
/// settled when the first one comes.
#[test]
fn what_is_not_settled_at_a_reload_belongs_to_the_rules_before() {
    let to = |port: u16| {
        let rule = format!("action = \"allow\"\nprotocol = \"tcp\"\ndestination_port = {port}");
        file("acl_from_port = \"list\"", "", &list("deny", &[&rule]))
    };
    let mut scene = Scene::new(&to(80));
    let counters = |scene: &Scene| scene.engine.rules().hits[0].clone();
    let before = counters(&scene);
    // Known by a shortcut from its third frame on.
    scene.send("a", &syn(80));
    scene.send("a", &syn(80));
    scene.queue("a", &syn(80));
    assert!(scene.engine.turn() > 0);
    let settled = scene.engine.hits(before[0]);
    assert_eq!(settled.frames, 2, "the test's premise");

    scene.reload(&to(81));
    scene.reload(&to(82));
    let after = counters(&scene);
    assert_eq!(after[0], before[0], "the test's premise");
    scene.settle();
    let totals = scene.engine.hits(after[0]);
    assert_eq!((totals.frames, totals.bytes), (0, 0));
}

#[test]
fn the_lines_of_rules_are_those_of_the_file() {
    let text = r#"# one
[[acl]]
name = "a"
default = "deny"

[[acl.rule]]
action = "deny"
[[acl.rule]]
action = "allow"
protocol = ["tcp", 17]
"#;
    let config = parse("lines.toml", text).unwrap_or_else(|report| panic!("{report}"));
    let rules: Vec<_> = config.acls[0]
        .rules
        .iter()
        .map(|rule| (rule.line, rule.text.as_str()))
        .collect();
    assert_eq!(rules, [(6, "deny"), (8, "allow protocol tcp,17")]);
}
