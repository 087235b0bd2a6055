use super::*;

const OWN: [u8; 6] = [0x52, 0x54, 0, 0, 0, 7];
const OTHER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 8];
const MY_V4: [u8; 4] = [10, 0, 0, 7];
const MY_V6: u128 = 0xfd00 << 112 | 7;
const LINK_LOCAL: u128 = 0xfe80 << 112 | 0x5054_00ff_fe00_0007;
const ROUTER: u128 = 0xff02 << 112 | 1;

fn strict() -> Guard {
    let v4 = u128::from(u32::from_be_bytes(MY_V4));
    Guard {
        macs: Some([Mac(OWN).into()].into()),
        addresses: Some((Set::new(vec![(v4, v4)]), Set::new(vec![(MY_V6, MY_V6)]))),
        no_dhcp_server: true,
        no_router: true,
        no_bpdus: true,
    }
}

fn judge(guard: &Guard, source: [u8; 6], ethertype: u16, payload: &[u8]) -> Result<(), Refused> {
    let frame = [&[0xff; 6][..], &source, &ethertype.to_be_bytes(), payload].concat();
    let header = Layer2::parse(&frame).expect("a header");
    let packet = Packet::of_frame(&header, &frame, frame.len())?;
    guard.check(&header, &packet, &frame[14..])
}

/// An ordinary packet is judged as any other.
#[test]
fn ordinary_packets_are_judged_as_others() {
    let no_addresses = Guard {
        addresses: None,
        ..strict()
    };
    let no_services = Guard {
        no_dhcp_server: false,
        no_bpdus: false,
        ..strict()
    };
    let guards = [strict(), Guard::default(), no_addresses, no_services];
    let bridges = BPDU_ADDRESSES[1].0;
    let macs = [
        [OWN, OTHER],
        [OWN, bridges],
        [OTHER, bridges],
        [OTHER, [0xff; 6]],
    ];
    let nobody = [0; 4];
    let addresses = [
        [MY_V4, nobody],
        [[10, 0, 0, 8], MY_V4],
        [nobody, [255; 4]],
        [nobody, MY_V4],
    ];
    let mut allowed = [0; 2];
    for ([source, destination], [from, to]) in product(&macs, &addresses) {
        for (ports, kind) in product(&[[67, 68], [68, 67], [53, 67], [53, 68]], &[6, 17]) {
            let mut l4 = udp(ports[0], ports[1]);
            l4.extend([0, 0, 0, 0, 0x50, 0, 0, 0, 0, 0, 0, 0]);
            let packet = ipv4(from, to, kind, &l4);
            let frame = [&destination[..], &source, &[8, 0], &packet].concat();
            let header = Layer2::parse(&frame).expect("a header");
            let packet = Packet::of_frame(&header, &frame, frame.len()).expect("well formed");
            let ordinary = Ordinary::read(&frame, frame.len()).expect("it is ordinary");
            for guard in &guards {
                let expected = guard.check(&header, &packet, &frame[14..]);
                assert_eq!(guard.check_ordinary(&ordinary), expected, "{frame:x?}");
                allowed[usize::from(expected.is_ok())] += 1;
            }
        }
    }
    assert!(allowed.iter().all(|count| *count > 10), "{allowed:?}");
}

fn product<A: Copy, B: Copy>(left: &[A], right: &[B]) -> Vec<(A, B)> {
    let pairs = left.iter().map(|a| right.iter().map(move |b| (*a, *b)));
    pairs.flatten().collect()
}

/// Everything that a strict guard refuses passes one that guards nothing.
#[track_caller]
fn check(ethertype: u16, payload: &[u8], expected: Result<(), Refused>) {
    assert_eq!(judge(&strict(), OWN, ethertype, payload), expected);
    assert_eq!(judge(&Guard::default(), OTHER, ethertype, payload), Ok(()));
}

fn arp(sender_mac: [u8; 6], sender: [u8; 4]) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, 2];
    bytes.extend(sender_mac);
    bytes.extend(sender);
    bytes.extend([0; 6]);
    bytes.extend([10, 0, 0, 1]);
    bytes
}

fn ipv4(source: [u8; 4], destination: [u8; 4], protocol: u8, l4: &[u8]) -> Vec<u8> {
    let mut bytes = vec![
        0x45,
        0,
        0,
        20 + l4.len() as u8,
        0,
        0,
        0,
        0,
        64,
        protocol,
        0,
        0,
    ];
    bytes.extend(source);
    bytes.extend(destination);
    bytes.extend(l4);
    bytes
}

fn ipv6(source: u128, next: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 0, rest.len() as u8, next, 255];
    bytes.extend(source.to_be_bytes());
    bytes.extend(ROUTER.to_be_bytes());
    bytes.extend(rest);
    bytes
}

fn udp(from: u16, to: u16) -> Vec<u8> {
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.extend([0, 8, 0, 0]);
    bytes
}

/// A neighbour solicitation or advertisement.
fn neighbour(kind: u16, target: u128, options: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind as u8, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(target.to_be_bytes());
    bytes.extend(options);
    bytes
}

fn option(kind: u8, mac: [u8; 6]) -> Vec<u8> {
    [&[kind, 1][..], &mac].concat()
}

#[test]
fn mac_addresses() {
    let icmp = ipv4(MY_V4, [10, 0, 0, 1], 1, &[8, 0, 0, 0]);
    assert_eq!(judge(&strict(), OWN, 0x0800, &icmp), Ok(()));
    assert_eq!(judge(&strict(), OTHER, 0x0800, &icmp), Err(Refused::Mac));
    assert_eq!(judge(&strict(), OWN, 0x88cc, &[0; 46]), Ok(()));
    assert_eq!(judge(&strict(), OTHER, 0x88cc, &[0; 46]), Err(Refused::Mac));
}

#[test]
fn arp_claims() {
    check(0x0806, &arp(OWN, MY_V4), Ok(()));
    check(0x0806, &arp(OWN, [0; 4]), Ok(()));
    check(0x0806, &arp(OTHER, MY_V4), Err(Refused::Mac));
    check(0x0806, &arp(OTHER, [0; 4]), Err(Refused::Mac));
    check(0x0806, &arp(OWN, [10, 0, 0, 1]), Err(Refused::Address));
}

#[test]
fn source_addresses_and_those_who_have_none_yet() {
    let all = [255; 4];
    check(0x0800, &ipv4(MY_V4, all, 17, &udp(1, 2)), Ok(()));
    check(
        0x0800,
        &ipv4([10, 0, 0, 8], all, 17, &udp(1, 2)),
        Err(Refused::Address),
    );
    check(0x0800, &ipv4([0; 4], all, 17, &udp(68, 67)), Ok(()));
    for (destination, ports) in [(all, (68, 53)), (all, (1, 67)), ([10, 0, 0, 1], (68, 67))] {
        let packet = ipv4([0; 4], destination, 17, &udp(ports.0, ports.1));
        check(0x0800, &packet, Err(Refused::Address));
    }
    check(0x86dd, &ipv6(MY_V6, 17, &udp(1, 2)), Ok(()));
    check(0x86dd, &ipv6(LINK_LOCAL, 17, &udp(546, 547)), Ok(()));
    check(
        0x86dd,
        &ipv6(LINK_LOCAL + 1, 17, &udp(546, 547)),
        Err(Refused::Address),
    );
    check(
        0x86dd,
        &ipv6(MY_V6 + 1, 17, &udp(1, 2)),
        Err(Refused::Address),
    );
    check(0x86dd, &ipv6(0, 17, &udp(1, 2)), Err(Refused::Address));
    check(0x86dd, &ipv6(0, 58, &[143, 0, 0, 0, 0, 0, 0, 0]), Ok(()));
    check(
        0x86dd,
        &ipv6(0, 58, &[128, 0, 0, 0, 0, 0, 0, 0]),
        Err(Refused::Address),
    );
}

#[test]
fn neighbour_discovery() {
    use kind::{NEIGHBOUR_ADVERTISEMENT as NA, NEIGHBOUR_SOLICITATION as NS};
    let other = MY_V6 + 1;
    let send = |source, message: Vec<u8>| ipv6(source, 58, &message);
    check(
        0x86dd,
        &send(MY_V6, neighbour(NS, other, &option(1, OWN))),
        Ok(()),
    );
    check(
        0x86dd,
        &send(MY_V6, neighbour(NS, other, &option(1, OTHER))),
        Err(Refused::Mac),
    );
    check(
        0x86dd,
        &send(MY_V6, neighbour(NA, MY_V6, &option(2, OWN))),
        Ok(()),
    );
    check(
        0x86dd,
        &send(LINK_LOCAL, neighbour(NA, LINK_LOCAL, &option(2, OWN))),
        Ok(()),
    );
    check(
        0x86dd,
        &send(MY_V6, neighbour(NA, MY_V6, &option(2, OTHER))),
        Err(Refused::Mac),
    );
    check(
        0x86dd,
        &send(MY_V6, neighbour(NA, other, &option(2, OWN))),
        Err(Refused::Address),
    );
    // Is this address free? That is a claim.
    check(0x86dd, &send(0, neighbour(NS, MY_V6, &[])), Ok(()));
    check(
        0x86dd,
        &send(0, neighbour(NS, other, &[])),
        Err(Refused::Address),
    );
    check(
        0x86dd,
        &send(0, neighbour(NA, MY_V6, &[])),
        Err(Refused::Address),
    );
    // Options that lie; the message behind a fragment header, or behind other headers.
    let lies = send(MY_V6, neighbour(NA, MY_V6, &[2, 0, 1, 2, 3, 4, 5, 6]));
    assert_eq!(
        judge(&strict(), OWN, 0x86dd, &lies),
        Err(Refused::Malformed)
    );
    let claim = neighbour(NA, other, &option(2, OWN));
    let fragment = [&[58, 0, 0, 1, 0, 0, 0, 1][..], &claim].concat();
    let hidden = ipv6(MY_V6, 44, &fragment);
    assert_eq!(
        judge(&strict(), OWN, 0x86dd, &hidden),
        Err(Refused::Malformed)
    );
    let behind = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &claim].concat();
    check(0x86dd, &ipv6(MY_V6, 60, &behind), Err(Refused::Address));
}

#[test]
fn services() {
    check(
        0x0800,
        &ipv4(MY_V4, [255; 4], 17, &udp(67, 68)),
        Err(Refused::DhcpServer),
    );
    check(
        0x0800,
        &ipv4(MY_V4, [10, 0, 0, 1], 17, &udp(68, 67)),
        Ok(()),
    );
    check(
        0x86dd,
        &ipv6(LINK_LOCAL, 17, &udp(547, 546)),
        Err(Refused::DhcpServer),
    );
    // Clients look at their own port alone, whatever the server's is.
    for from in [1, 68, 1067] {
        let offer = ipv4(MY_V4, [255; 4], 17, &udp(from, 68));
        check(0x0800, &offer, Err(Refused::DhcpServer));
    }
    for from in [1, 546, 1547] {
        let offer = ipv6(LINK_LOCAL, 17, &udp(from, 546));
        check(0x86dd, &offer, Err(Refused::DhcpServer));
    }
    check(0x86dd, &ipv6(LINK_LOCAL, 17, &udp(67, 68)), Ok(()));
    let advertisement = [134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    check(
        0x86dd,
        &ipv6(LINK_LOCAL, 58, &advertisement),
        Err(Refused::Router),
    );
    // Behind a hop-by-hop header (RFC 7113, 2.1).
    let behind = [&[58, 0, 1, 4, 0, 0, 0, 0][..], &advertisement].concat();
    check(0x86dd, &ipv6(LINK_LOCAL, 0, &behind), Err(Refused::Router));
    let mut redirect = vec![137, 0, 0, 0, 0, 0, 0, 0];
    redirect.extend([0; 32]);
    check(
        0x86dd,
        &ipv6(LINK_LOCAL, 58, &redirect),
        Err(Refused::Router),
    );
}
