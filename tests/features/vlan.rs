//! VLANs: which network a frame belongs to, and how it leaves (802.1Q-2022, clauses 6.9 and 8.6).

use switch_core::counters::DropReason::{
    self, HiddenTag, TaggedNotAccepted, TpidMismatch, UntaggedNotAccepted, VidNotMember,
    VidReserved,
};

use super::scene::{ALL, C, S, Scene, frame, station};

const SCENE: &str = r#"
[[network]]
name = "web"
vlan = 20

[[network]]
name = "lab"
vlan = 30

[[network]]
name = "backstage"

[[port]]
name = "access"
device = "d0"
network = "web"

[[port]]
name = "guest"
device = "d1"
network = "web"

[[port]]
name = "private"
device = "d2"
network = "backstage"

[[port]]
name = "trunk"
device = "d3"
trunk = ["*"]

[[port]]
name = "web-only"
device = "d4"
trunk = ["web"]

[[port]]
name = "native"
device = "d5"
native = "web"
trunk = ["lab"]

[[port]]
name = "native-tagged"
device = "d6"
native = "web"
native_tagged = true
trunk = ["lab"]

[[port]]
name = "provider"
device = "d7"
tpid = "0x88a8"
trunk = ["web", "lab"]

[[port]]
name = "translated"
device = "d8"
trunk = [{ network = "web", vid = 30 }, { network = "lab", vid = 120 }]

[[port]]
name = "firewall"
device = "d9"
native = "backstage"
trunk = ["web", { network = "lab", vid = 99 }]

[[port]]
name = "tagged-only"
device = "d10"
native = "web"
trunk = ["lab"]
accept = "tagged"

[[port]]
name = "untagged-only"
device = "d11"
native = "web"
trunk = ["lab"]
accept = "untagged"

[[port]]
name = "uplink"
device = "d12"
role = "uplink"
trunk = ["*"]
"#;

/// Priority 5, drop eligible.
const PRIORITY: u16 = 5 << 13 | 1 << 12;

type Tags = &'static [(u16, u16)];

/// A frame with these tags from one port to a station behind another: the tags that it leaves
/// with, or where it is dropped and why.
type Row = (
    &'static str,
    &'static str,
    Tags,
    Result<Tags, (&'static str, DropReason)>,
);

fn check((from, to, tags, expected): Row) {
    let (here, there) = (station(1), station(2));
    let mut scene = Scene::new(SCENE);
    for network in ["web", "lab", "backstage"] {
        let (network, port) = (scene.network(network), scene.port(to));
        let added = scene.engine.fdb().add_static(network, there, port);
        added.expect("a static entry");
    }
    let sent = scene.send(from, &frame(there, here, tags));
    let text = format!("{from} to {to} with {tags:x?}");
    match expected {
        Ok(tags) => {
            assert_eq!(sent, [(to.to_owned(), frame(there, here, tags))], "{text}");
            assert_eq!(scene.only_drop(), None, "{text}");
        }
        Err((port, reason)) => {
            assert_eq!(sent, [], "{text}");
            assert_eq!(scene.only_drop(), Some((port.to_owned(), reason)), "{text}");
        }
    }
}

/// The tag of a network with priority.
const fn p(vid: u16) -> u16 {
    PRIORITY | vid
}

/// Untagged in, at ports that take it, and how it leaves.
#[rustfmt::skip] // one row, one line
const UNTAGGED: &[Row] = &[
    ("access", "guest", &[], Ok(&[])),
    ("access", "trunk", &[], Ok(&[(C, 20)])),
    ("access", "native", &[], Ok(&[])),
    ("access", "native-tagged", &[], Ok(&[(C, 20)])),
    ("access", "provider", &[], Ok(&[(S, 20)])),
    ("access", "translated", &[], Ok(&[(C, 30)])),
    ("access", "tagged-only", &[], Ok(&[])),
    ("access", "uplink", &[], Ok(&[(C, 20)])),
    ("native", "guest", &[], Ok(&[])),
    ("native-tagged", "guest", &[], Ok(&[])),
    ("private", "firewall", &[], Ok(&[])),
    ("firewall", "private", &[], Ok(&[])),
    ("untagged-only", "guest", &[], Ok(&[])),
    ("trunk", "guest", &[], Err(("trunk", UntaggedNotAccepted))),
    ("uplink", "guest", &[], Err(("uplink", UntaggedNotAccepted))),
    ("tagged-only", "guest", &[], Err(("tagged-only", UntaggedNotAccepted))),
];

/// Tagged in: the tag is taken off, changed or kept, and its priority stays with it.
#[rustfmt::skip] // one row, one line
const TAGGED: &[Row] = &[
    ("trunk", "guest", &[(C, p(20))], Ok(&[])),
    ("trunk", "uplink", &[(C, p(20))], Ok(&[(C, p(20))])),
    ("uplink", "trunk", &[(C, p(30))], Ok(&[(C, p(30))])),
    ("trunk", "native", &[(C, p(20))], Ok(&[])),
    ("trunk", "native", &[(C, p(30))], Ok(&[(C, p(30))])),
    ("trunk", "native-tagged", &[(C, p(20))], Ok(&[(C, p(20))])),
    ("trunk", "provider", &[(C, p(20))], Ok(&[(S, p(20))])),
    ("provider", "trunk", &[(S, p(20))], Ok(&[(C, p(20))])),
    ("provider", "guest", &[(S, p(20))], Ok(&[])),
    ("trunk", "translated", &[(C, p(20))], Ok(&[(C, p(30))])),
    ("trunk", "translated", &[(C, p(30))], Ok(&[(C, p(120))])),
    ("translated", "trunk", &[(C, p(30))], Ok(&[(C, p(20))])),
    ("translated", "trunk", &[(C, p(120))], Ok(&[(C, p(30))])),
    // The native network's own VID is its name too.
    ("native", "trunk", &[(C, p(20))], Ok(&[(C, p(20))])),
    ("native-tagged", "guest", &[(C, p(20))], Ok(&[])),
    ("tagged-only", "guest", &[(C, p(20))], Ok(&[])),
    ("firewall", "trunk", &[(C, p(99))], Ok(&[(C, p(30))])),
];

/// Tagged in where that tag is not taken.
#[rustfmt::skip] // one row, one line
const REFUSED: &[Row] = &[
    // On an access port even the right VID is wrong.
    ("access", "guest", &[(C, 20)], Err(("access", TaggedNotAccepted))),
    ("access", "guest", &[(C, 30)], Err(("access", TaggedNotAccepted))),
    ("access", "guest", &[(C, 4095)], Err(("access", TaggedNotAccepted))),
    ("access", "guest", &[(S, 20)], Err(("access", TaggedNotAccepted))),
    ("access", "guest", &[(S, 0)], Err(("access", TaggedNotAccepted))),
    ("private", "firewall", &[(C, 20)], Err(("private", TaggedNotAccepted))),
    ("untagged-only", "guest", &[(C, 20)], Err(("untagged-only", TaggedNotAccepted))),
    // On a trunk the VID has to be in the list, and the tag protocol the port's.
    ("trunk", "guest", &[(C, 21)], Err(("trunk", VidNotMember))),
    ("trunk", "guest", &[(C, 1)], Err(("trunk", VidNotMember))),
    ("web-only", "trunk", &[(C, 30)], Err(("web-only", VidNotMember))),
    ("translated", "trunk", &[(C, 20)], Err(("translated", VidNotMember))),
    ("firewall", "trunk", &[(C, 30)], Err(("firewall", VidNotMember))),
    ("trunk", "guest", &[(C, p(4095))], Err(("trunk", VidReserved))),
    ("trunk", "guest", &[(S, 20)], Err(("trunk", TpidMismatch))),
    ("provider", "guest", &[(C, 20)], Err(("provider", TpidMismatch))),
    ("trunk", "guest", &[(S, 0)], Err(("trunk", TpidMismatch))),
    ("native", "guest", &[(S, 0)], Err(("native", TpidMismatch))),
];

/// VID 0: untagged, but for its priority.
#[rustfmt::skip] // one row, one line
const PRIORITY_TAGGED: &[Row] = &[
    ("access", "guest", &[(C, p(0))], Ok(&[])),
    ("access", "trunk", &[(C, p(0))], Ok(&[(C, p(20))])),
    ("access", "provider", &[(C, p(0))], Ok(&[(S, p(20))])),
    ("access", "native", &[(C, p(0))], Ok(&[])),
    ("native", "trunk", &[(C, p(0))], Ok(&[(C, p(20))])),
    ("untagged-only", "trunk", &[(C, p(0))], Ok(&[(C, p(20))])),
    ("private", "firewall", &[(C, p(0))], Ok(&[])),
    ("trunk", "guest", &[(C, p(0))], Err(("trunk", UntaggedNotAccepted))),
    ("tagged-only", "guest", &[(C, p(0))], Err(("tagged-only", UntaggedNotAccepted))),
];

/// Two tags: the inner one is payload on a trunk, and never becomes the outer one.
#[rustfmt::skip] // one row, one line
const TWO_TAGS: &[Row] = &[
    ("trunk", "uplink", &[(C, p(20)), (C, 30)], Ok(&[(C, p(20)), (C, 30)])),
    ("trunk", "translated", &[(C, 20), (C, 30)], Ok(&[(C, 30), (C, 30)])),
    ("provider", "trunk", &[(S, p(20)), (C, 7)], Ok(&[(C, p(20)), (C, 7)])),
    ("trunk", "provider", &[(C, 20), (S, 7)], Ok(&[(S, 20), (S, 7)])),
    ("trunk", "guest", &[(C, 20), (C, 30)], Err(("guest", HiddenTag))),
    ("trunk", "guest", &[(C, 20), (S, 30)], Err(("guest", HiddenTag))),
    ("trunk", "guest", &[(C, 20), (C, 0)], Err(("guest", HiddenTag))),
    ("trunk", "native", &[(C, 20), (C, 30)], Err(("native", HiddenTag))),
    ("native", "guest", &[(C, 20), (C, 30)], Err(("guest", HiddenTag))),
    ("access", "trunk", &[(C, 20), (C, 30)], Err(("access", TaggedNotAccepted))),
    ("access", "trunk", &[(C, 0), (C, 30)], Err(("access", HiddenTag))),
    ("native", "trunk", &[(C, 0), (C, 30)], Err(("native", HiddenTag))),
    ("trunk", "guest", &[(C, 4095), (C, 20)], Err(("trunk", VidReserved))),
];

#[test]
fn untagged_frames() {
    UNTAGGED.iter().copied().for_each(check);
}

#[test]
fn tagged_frames() {
    TAGGED.iter().copied().for_each(check);
}

#[test]
fn tags_that_are_not_taken() {
    REFUSED.iter().copied().for_each(check);
}

#[test]
fn priority_tagged_frames() {
    PRIORITY_TAGGED.iter().copied().for_each(check);
}

#[test]
fn frames_with_two_tags() {
    TWO_TAGS.iter().copied().for_each(check);
}

/// Where a broadcast comes out.
#[test]
fn a_network_ends_at_its_members() {
    fn check(from: &str, tags: &[(u16, u16)], expected: &[(&str, &[(u16, u16)])]) {
        let mut scene = Scene::new(SCENE);
        let mut sent = scene.send(from, &frame(ALL, station(1), tags));
        let bytes = |tags: &[(u16, u16)]| frame(ALL, station(1), tags);
        let expected = expected
            .iter()
            .map(|(port, tags)| ((*port).to_owned(), bytes(tags)));
        sent.sort();
        let mut expected: Vec<_> = expected.collect();
        expected.sort();
        assert_eq!(sent, expected, "{from} with {tags:x?}");
    }
    check("private", &[], &[("firewall", &[])]);
    check("firewall", &[], &[("private", &[])]);
    check(
        "web-only",
        &[(C, 20)],
        &[
            ("access", &[]),
            ("firewall", &[(C, 20)]),
            ("guest", &[]),
            ("native", &[]),
            ("native-tagged", &[(C, 20)]),
            ("provider", &[(S, 20)]),
            ("tagged-only", &[]),
            ("translated", &[(C, 30)]),
            ("trunk", &[(C, 20)]),
            ("untagged-only", &[]),
            ("uplink", &[(C, 20)]),
        ],
    );
    check(
        "uplink",
        &[(C, p(30))],
        &[
            ("firewall", &[(C, p(99))]),
            ("native", &[(C, p(30))]),
            ("native-tagged", &[(C, p(30))]),
            ("provider", &[(S, p(30))]),
            ("tagged-only", &[(C, p(30))]),
            ("translated", &[(C, p(120))]),
            ("trunk", &[(C, p(30))]),
            ("untagged-only", &[(C, p(30))]),
        ],
    );
}

/// A station has a place in each network on its own.
#[test]
fn networks_learn_independently() {
    let mut scene = Scene::new(SCENE);
    let (here, there) = (station(1), station(2));
    scene.send("trunk", &frame(ALL, there, &[(C, 20)]));
    scene.send("native", &frame(ALL, there, &[(C, 30)]));
    assert_eq!(scene.reached("access", &frame(there, here, &[])), ["trunk"]);
    assert_eq!(
        scene.reached("uplink", &frame(there, here, &[(C, 30)])),
        ["native"]
    );
    assert_eq!(
        scene.reached("private", &frame(there, here, &[])),
        ["firewall"],
        "not known"
    );
}

/// A tag that is pushed does not count against the MTU; a frame that is too long is counted.
#[test]
fn the_mtu_is_the_longest_payload() {
    let check = |to: &str, tags: Tags, payload: usize, expected: Option<DropReason>| {
        let mut scene = Scene::new(SCENE);
        let added = scene
            .engine
            .fdb()
            .add_static(scene.network("web"), station(2), scene.port(to));
        added.expect("a static entry");
        let mut bytes = frame(station(2), station(1), tags);
        bytes.resize(14 + 4 * tags.len() + payload, 0);
        scene.send("web-only", &bytes);
        let expected = expected.map(|reason| (to.to_owned(), reason));
        assert_eq!(scene.only_drop(), expected, "{to}, {payload} bytes");
    };
    let exceeded = Some(DropReason::MtuExceeded);
    check("guest", &[(C, 20)], 1500, None);
    check("guest", &[(C, 20)], 1501, exceeded);
    check("trunk", &[(C, 20)], 1500, None);
    check("trunk", &[(C, 20)], 1501, exceeded);
    // A second tag is payload.
    check("trunk", &[(C, 20), (C, 7)], 1496, None);
    check("trunk", &[(C, 20), (C, 7)], 1497, exceeded);
}
