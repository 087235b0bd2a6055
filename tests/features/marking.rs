//! Traffic classes, as the next switch is told of them: PCP in the tag, DSCP in the packet.

use super::scene::{ALL, C, Scene, frame, station};

const SCENE: &str = r#"
[[class_map]]
name = "campus"
from_pcp = [0, 0, 0, 3, 3, 3, 6, 6]
to_pcp = [2, 2, 2, 4, 4, 4, 7, 7]
to_dscp = [1, 1, 1, 10, 10, 10, 44, 44]

[[class_map.from_dscp]]
dscp = [44, 46]
class = 7

[[network]]
name = "web"
vlan = 20

[[port]]
name = "plain"
device = "d0"
network = "web"

[[port]]
name = "urgent"
device = "d1"
network = "web"
class = 5

[[port]]
name = "believed"
device = "d2"
trunk = ["web"]
class_from = ["dscp", "pcp"]

[[port]]
name = "mapped"
device = "d3"
trunk = ["web"]
class = 2
class_from = ["pcp", "dscp"]
class_map = "campus"

[[port]]
name = "both"
device = "d4"
trunk = ["web"]
mark = ["pcp", "dscp"]

[[port]]
name = "untagged"
device = "d5"
network = "web"
mark = ["dscp", "pcp"]
class_map = "campus"

[[port]]
name = "silent"
device = "d6"
trunk = ["web"]
"#;

const PORTS: [(&str, u8, bool); 7] = [
    ("plain", 1, false),
    ("urgent", 2, false),
    ("believed", 3, true),
    ("mapped", 4, true),
    ("both", 5, true),
    ("untagged", 6, false),
    ("silent", 7, true),
];

/// The VLAN.
const VID: u16 = 20;

fn scene() -> Scene {
    let mut scene = Scene::new(SCENE);
    for (port, number, tagged) in PORTS {
        scene.send(port, &frame(ALL, station(number), tags(tagged, 0)));
    }
    scene
}

/// The tag with a PCP and without DEI, or none.
fn tags(tagged: bool, pcp: u16) -> &'static [(u16, u16)] {
    match (tagged, pcp) {
        (false, _) => &[],
        (true, 0) => &[(C, VID)],
        (true, 3) => &[(C, 3 << 13 | VID)],
        (true, 5) => &[(C, 5 << 13 | VID)],
        (true, 6) => &[(C, 6 << 13 | VID)],
        (true, _) => panic!("a PCP that the test uses"),
    }
}

/// The words of an IPv4 header (RFC 1071): 0xffff when its checksum is right.
fn sum(header: &[u8]) -> u32 {
    let words = header
        .chunks_exact(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(word[1]));
    let sum: u32 = words.sum();
    (sum & 0xffff) + (sum >> 16)
}

/// Sends a packet from one port to another; gives the PCP and the DSCP that it arrives with.
fn marks(scene: &mut Scene, from: &str, pcp: u16, dscp: u8, to: &str) -> (Option<u8>, u8) {
    let of = |name: &str| {
        *PORTS
            .iter()
            .find(|(port, ..)| *port == name)
            .expect("known")
    };
    let ((_, source, tagged), (_, destination, tagged_there)) = (of(from), of(to));
    let mut sent = frame(station(destination), station(source), tags(tagged, pcp));
    let behind = |tagged: bool| if tagged { 18 } else { 14 };
    let packet = &mut sent[behind(tagged)..];
    packet[..20].copy_from_slice(&[
        0x45,
        dscp << 2 | 1,
        0,
        46,
        0x12,
        0x34,
        0,
        0,
        64,
        17,
        0,
        0,
        10,
        0,
        0,
        1,
        10,
        0,
        0,
        2,
    ]);
    let checksum = !(sum(&packet[..20]) as u16);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    let before = packet.to_vec();
    let left = scene.send(from, &sent);
    let [(port, frame)] = left.as_slice() else {
        panic!("to one port: {left:?}");
    };
    assert_eq!(port, to);
    let packet = &frame[behind(tagged_there)..];
    assert_eq!(sum(&packet[..20]), 0xffff, "the checksum is right");
    assert_eq!(packet[1] & 3, 1, "ECN stays");
    assert_eq!(
        (&packet[2..10], &packet[12..]),
        (&before[2..10], &before[12..])
    );
    let tag = tagged_there.then(|| u16::from_be_bytes([frame[14], frame[15]]));
    assert!(tag.is_none_or(|tag| tag & 0x1fff == VID), "VID and DEI");
    (tag.map(|tag| (tag >> 13) as u8), packet[1] >> 2)
}

#[test]
fn frames_leave_with_the_marks_of_their_class() {
    let mut scene = scene();
    let mut check = |from, pcp, dscp, to, expected| {
        let found = marks(&mut scene, from, pcp, dscp, to);
        assert_eq!(found, expected, "{from} {pcp} {dscp} {to}");
    };
    // Best effort, whatever it says itself.
    check("plain", 0, 46, "both", (Some(0), 0));
    check("silent", 6, 48, "both", (Some(0), 0));
    // The class of the port.
    check("urgent", 0, 0, "both", (Some(5), 46));
    // By DSCP, which every packet has, before PCP.
    check("believed", 6, 26, "both", (Some(3), 26));
    check("believed", 0, 8, "both", (Some(1), 8));
    check("believed", 0, 48, "both", (Some(6), 48));
    // By PCP, by another map.
    check("mapped", 6, 0, "both", (Some(6), 48));
    check("mapped", 5, 0, "both", (Some(3), 26));
    check("mapped", 0, 46, "both", (Some(1), 8));
    // What is written follows the map of the port where it leaves.
    check("urgent", 0, 0, "untagged", (None, 10));
    check("mapped", 6, 0, "untagged", (None, 44));
    check("plain", 0, 63, "untagged", (None, 1));
    // Who marks nothing leaves all as it is.
    check("urgent", 0, 46, "silent", (Some(0), 46));
    check("believed", 5, 26, "silent", (Some(5), 26));
    check("believed", 5, 26, "plain", (None, 26));
}

#[test]
fn the_maps_know_what_no_tag_and_what_is_no_packet() {
    let mut scene = scene();
    // ARP, with a tag: by PCP, since it has no DSCP.
    let mut arp = frame(station(5), station(3), tags(true, 5));
    arp[16..18].copy_from_slice(&[0x08, 0x06]);
    let left = scene.send("believed", &arp);
    assert_eq!(left[0].1[14] >> 5, 5);
    assert_eq!(left[0].1[16..], arp[16..], "what is no packet has no DSCP");
    // A trunk's frame without a tag is of no network here, with a priority tag too: dropped.
    let left = scene.send("believed", &frame(station(5), station(3), &[]));
    assert!(left.is_empty());
    // IPv6.
    let mut packet = frame(station(5), station(2), &[]);
    packet[12..14].copy_from_slice(&[0x86, 0xdd]);
    packet[14..18].copy_from_slice(&[0x6f, 0xff, 0x12, 0x34]);
    let left = scene.send("urgent", &packet);
    // EF with the two ECN bits and the flow label as they were.
    assert_eq!(left[0].1[18..22], [0x6b, 0xbf, 0x12, 0x34]);
    assert_eq!(left[0].1[22..], packet[18..]);
}

#[test]
fn each_copy_of_a_flood_has_the_marks_of_its_port() {
    let mut scene = scene();
    let mut packet = frame(ALL, station(2), &[]);
    packet[14..16].copy_from_slice(&[0x45, 0]);
    let left = scene.send("urgent", &packet);
    let dscp = |name: &str, position: usize| {
        let (_, frame) = left.iter().find(|(port, _)| port == name).expect("flooded");
        frame[position] >> 2
    };
    assert_eq!((dscp("both", 19), dscp("untagged", 15)), (46, 10));
    assert_eq!((dscp("silent", 19), dscp("plain", 15)), (0, 0));
}

#[test]
fn a_reload_changes_maps_and_marks() {
    let mut scene = scene();
    assert_eq!(marks(&mut scene, "urgent", 0, 0, "both"), (Some(5), 46));
    scene.reload(&SCENE.replace("class = 5", "class = 6"));
    assert_eq!(marks(&mut scene, "urgent", 0, 0, "both"), (Some(6), 48));
    scene.reload(&SCENE.replace("mark = [\"pcp\", \"dscp\"]", "mark = [\"pcp\"]"));
    assert_eq!(marks(&mut scene, "urgent", 0, 9, "both"), (Some(5), 9));
}
