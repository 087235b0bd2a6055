//! Security of ports: what a guest may say about itself.

use switch_core::{counters::DropReason, wire::ethernet::Mac};

use super::scene::{ALL, Scene, station};

const SCENE: &str = r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "a"
device = "d0"
network = "web"
security = "strict"
allowed_macs = "02:00:00:00:00:01"
allowed_addresses = ["10.0.0.1", "fd00::1"]

[[port]]
name = "b"
device = "d1"
network = "web"

[[port]]
name = "server"
device = "d2"
network = "web"
dhcp_server = false
"#;

fn udp(source: Mac, address: [u8; 4], from: u8, to: u8) -> Vec<u8> {
    let mut bytes = [&ALL.0[..], &source.0, &[8, 0]].concat();
    bytes.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
    bytes.extend(address);
    bytes.extend([255, 255, 255, 255, 0, from, 0, to, 0, 8, 0, 0]);
    bytes.resize(60, 0);
    bytes
}

#[test]
fn each_refusal_has_its_reason_and_teaches_nothing() {
    let check = |port: &str, frame: &[u8], reason: Option<DropReason>| {
        let mut scene = Scene::new(SCENE);
        let reached = scene.reached(port, frame);
        assert_eq!(
            reached.len(),
            if reason.is_some() { 0 } else { 2 },
            "{reason:?}"
        );
        assert_eq!(
            scene.only_drop(),
            reason.map(|reason| (port.to_owned(), reason))
        );
        let learnt = scene.engine.fdb().port_count(scene.port(port));
        assert_eq!(learnt, u32::from(reason.is_none()), "{reason:?}");
    };
    let (own, other) = (station(1), station(2));
    check("a", &udp(own, [10, 0, 0, 1], 1, 2), None);
    check(
        "a",
        &udp(other, [10, 0, 0, 1], 1, 2),
        Some(DropReason::MacNotAllowed),
    );
    check(
        "a",
        &udp(own, [10, 0, 0, 2], 1, 2),
        Some(DropReason::AddressNotAllowed),
    );
    check(
        "a",
        &udp(own, [10, 0, 0, 1], 67, 68),
        Some(DropReason::DhcpServerGuard),
    );
    check(
        "a",
        &udp(own, [10, 0, 0, 1], 1, 2)[..40],
        Some(DropReason::Malformed),
    );
    let mut advertisement = [
        &ALL.0[..],
        &own.0,
        &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 16, 58, 255],
    ]
    .concat();
    advertisement.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    advertisement.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    advertisement.extend([134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    check("a", &advertisement, Some(DropReason::RouterGuard));
    check("b", &udp(own, [10, 0, 0, 9], 67, 68), None);
    check("b", &advertisement, None);
    // A piece of it.
    check(
        "server",
        &udp(own, [10, 0, 0, 9], 67, 68),
        Some(DropReason::DhcpServerGuard),
    );
    check("server", &udp(own, [10, 0, 0, 9], 1, 2), None);
    check("server", &advertisement, None);
}

/// BPDUs are relayed on demand only, and then not from a port that no bridge is behind. Those of
/// PVST+ have no reserved address.
#[test]
fn bpdus_come_from_where_a_bridge_may_be() {
    let bpdu = |destination: [u8; 6]| {
        let llc = [0, 38, 0x42, 0x42, 3];
        let mut bytes = [&destination[..], &station(1).0, &llc].concat();
        bytes.resize(60, 0);
        bytes
    };
    for destination in [
        [0x01, 0x80, 0xc2, 0, 0, 0],
        [0x01, 0x80, 0xc2, 0, 0, 8],
        [0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd],
    ] {
        let mut scene = Scene::new(&format!("[switch]\nforward_reserved = true\n{SCENE}"));
        assert!(scene.reached("a", &bpdu(destination)).is_empty());
        assert_eq!(scene.only_drop(), Some(("a".into(), DropReason::BpduGuard)));
        assert_eq!(scene.reached("b", &bpdu(destination)).len(), 2);
    }
    let lldp = bpdu([0x01, 0x80, 0xc2, 0, 0, 0x0e]);
    let mut scene = Scene::new(&format!("[switch]\nforward_reserved = true\n{SCENE}"));
    assert_eq!(scene.reached("a", &lldp).len(), 2);
}

/// IP and ARP that hide behind LLC or a priority tag claim nothing here.
#[test]
fn claims_that_hide_are_dropped() {
    let whole = udp(station(1), [10, 0, 0, 9], 1, 2);
    let snap = [
        &whole[..12],
        &[0, 60, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0],
        &whole[14..],
    ]
    .concat();
    let mut scene = Scene::new(SCENE);
    assert!(scene.reached("a", &snap).is_empty());
    assert_eq!(scene.only_drop(), Some(("a".into(), DropReason::Malformed)));
    assert_eq!(scene.reached("b", &snap).len(), 2);
}
