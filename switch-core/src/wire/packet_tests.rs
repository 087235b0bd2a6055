use proptest::prelude::*;

use super::*;
use crate::wire::ip::{IPV4_SIZE, IPV6_SIZE, MAX_EXTENSION_HEADERS, protocol};

const SYN: u8 = 0x02;

fn tcp() -> Vec<u8> {
    let mut header = vec![0; 20];
    header[..4].copy_from_slice(&[0x30, 0x39, 0x01, 0xbb]);
    header[12] = 5 << 4;
    header[13] = SYN;
    header
}

fn udp(payload: usize) -> Vec<u8> {
    let length = (8 + payload) as u16;
    let mut datagram = vec![0, 68, 0, 67];
    datagram.extend(length.to_be_bytes());
    datagram.resize(8 + payload, 0);
    datagram
}

fn v4(kind: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0xb8];
    packet.extend(((IPV4_SIZE + payload.len()) as u16).to_be_bytes());
    packet.extend([0, 0]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, kind, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    packet.extend(payload);
    packet
}

fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x6b, 0x80, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(0xfd00_u128.to_be_bytes());
    packet.extend(0xfd01_u128.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An extension header of 8 bytes in front of others.
fn extension(next: u8, behind: &[u8]) -> Vec<u8> {
    [&[next, 0, 1, 4, 0, 0, 0, 0], behind].concat()
}

fn fragment_header(next: u8, offset: u16, more: bool, behind: &[u8]) -> Vec<u8> {
    let [o0, o1] = (offset << 3 | u16::from(more)).to_be_bytes();
    [&[next, 0, o0, o1, 0, 0, 0, 1], behind].concat()
}

fn parse_v4(packet: &[u8]) -> Result<Packet, Malformed> {
    Packet::parse(ETHERTYPE_IPV4, packet, packet.len())
}

fn parse_v6(packet: &[u8]) -> Result<Packet, Malformed> {
    Packet::parse(ETHERTYPE_IPV6, packet, packet.len())
}

const TCP_FIELDS: Transport = Transport {
    source: 12345,
    destination: 443,
    tcp_flags: SYN,
};

#[test]
fn tcp_over_both() {
    let packet = parse_v4(&v4(protocol::TCP, 0, &tcp())).expect("valid");
    assert_eq!(packet.family, Family::Ipv4);
    assert_eq!(
        (packet.source, packet.destination),
        (0x0a00_0001, 0x0a00_0002)
    );
    assert_eq!((packet.traffic_class, packet.protocol), (0xb8, 6));
    assert_eq!(packet.transport, Some(TCP_FIELDS));
    assert_eq!(packet.payload_start, 20);

    let packet = parse_v6(&v6(protocol::TCP, &tcp())).expect("valid");
    assert_eq!(packet.family, Family::Ipv6);
    assert_eq!((packet.source, packet.destination), (0xfd00, 0xfd01));
    assert_eq!((packet.traffic_class, packet.protocol), (0xb8, 6));
    assert_eq!(packet.transport, Some(TCP_FIELDS));
}

#[test]
fn icmp_has_type_and_code() {
    let packet = parse_v6(&v6(protocol::ICMPV6, &[134, 0, 0, 0])).expect("valid");
    let transport = packet.transport.expect("known");
    assert_eq!((transport.source, transport.destination), (134, 0));
}

#[test]
fn unknown_protocols_have_no_transport() {
    let packet = parse_v4(&v4(47, 0, &[])).expect("valid");
    assert_eq!((packet.protocol, packet.transport), (47, None));
    assert_eq!(Packet::parse(0x88cc, &[1], 1), Ok(Packet::default()));
}

#[test]
fn truncated_at_every_length() {
    let authenticated = [&[protocol::TCP, 1, 0, 0][..], &[0; 8], &tcp()].concat();
    let packets = [
        (ETHERTYPE_IPV4, v4(protocol::TCP, 0, &tcp())),
        (ETHERTYPE_IPV4, v4(protocol::UDP, 0, &udp(4))),
        (ETHERTYPE_IPV4, v4(protocol::TCP, 0x2000, &tcp())),
        (ETHERTYPE_IPV6, v6(protocol::SCTP, &[7; 12])),
        (
            ETHERTYPE_IPV6,
            v6(protocol::HOP_BY_HOP, &extension(protocol::TCP, &tcp())),
        ),
        (ETHERTYPE_IPV6, v6(protocol::AUTHENTICATION, &authenticated)),
    ];
    for (ethertype, packet) in packets {
        assert!(Packet::parse(ethertype, &packet, packet.len()).is_ok());
        for length in 0..packet.len() {
            let parsed = Packet::parse(ethertype, &packet[..length], length);
            assert!(parsed.is_err(), "{ethertype:04x}, {length} bytes");
            // The frame is long enough, but the header is not where the datapath can read it.
            let parsed = Packet::parse(ethertype, &packet[..length], packet.len());
            let has_headers = parsed.is_ok_and(|parsed| parsed.transport.is_some());
            assert!(!has_headers || length >= packet.len() - 4, "{length} bytes");
        }
    }
}

#[test]
fn padding_is_not_payload() {
    let mut padded = v4(protocol::UDP, 0, &udp(0)[..4]);
    padded.extend([0; 18]);
    assert_eq!(parse_v4(&padded), Err(Malformed::Transport));
}

#[test]
fn lengths_that_lie() {
    let check = |change: fn(&mut Vec<u8>), expected| {
        let mut packet = v4(protocol::UDP, 0, &udp(4));
        change(&mut packet);
        assert_eq!(parse_v4(&packet).err(), expected);
    };
    check(|_| (), None);
    check(|packet| packet[0] = 0x44, Some(Malformed::Ip));
    check(|packet| packet[0] = 0x4f, Some(Malformed::Ip));
    check(|packet| packet[0] = 0x65, Some(Malformed::Ip));
    check(|packet| packet[3] += 1, Some(Malformed::Ip));
    check(|packet| packet[3] = 19, Some(Malformed::Ip));
    check(|packet| packet[25] += 1, Some(Malformed::Transport));
    check(|packet| packet[25] = 7, Some(Malformed::Transport));
    let mut packet = v4(protocol::TCP, 0, &tcp());
    packet[32] = 4 << 4;
    assert_eq!(parse_v4(&packet), Err(Malformed::Transport));
    packet[32] = 6 << 4;
    assert_eq!(parse_v4(&packet), Err(Malformed::Transport));
}

#[test]
fn fragments_of_ipv4() {
    let first = parse_v4(&v4(protocol::TCP, 0x2000, &tcp())).expect("valid");
    assert_eq!(first.fragment, Fragment::First);
    assert_eq!(first.transport, Some(TCP_FIELDS));
    let later = parse_v4(&v4(protocol::TCP, 0x2003, &tcp())).expect("valid");
    assert_eq!((later.fragment, later.transport), (Fragment::Later, None));
    let last = parse_v4(&v4(protocol::UDP, 0x0001, &[0; 8])).expect("valid");
    assert_eq!((last.fragment, last.transport), (Fragment::Later, None));
    // A first part without its ports, and a second that would overwrite the flags.
    let tiny = v4(protocol::TCP, 0x2000, &tcp()[..8]);
    assert_eq!(parse_v4(&tiny), Err(Malformed::Transport));
    let overlapping = v4(protocol::TCP, 0x0001, &[0; 8]);
    assert_eq!(parse_v4(&overlapping), Err(Malformed::Fragment));
}

#[test]
fn fragments_of_ipv6() {
    let check = |offset, more, payload: &[u8], expected| {
        let packet = v6(
            protocol::FRAGMENT,
            &fragment_header(protocol::TCP, offset, more, payload),
        );
        let parsed = parse_v6(&packet);
        assert_eq!(parsed.map(|p| (p.fragment, p.transport)), expected);
    };
    check(0, true, &tcp(), Ok((Fragment::First, Some(TCP_FIELDS))));
    check(0, false, &tcp(), Ok((Fragment::No, Some(TCP_FIELDS))));
    check(3, true, &[0; 8], Ok((Fragment::Later, None)));
    check(0, true, &tcp()[..8], Err(Malformed::Transport));
    check(1, false, &[0; 8], Err(Malformed::Fragment));
    let behind = fragment_header(protocol::TCP, 0, true, &tcp());
    let twice = fragment_header(protocol::FRAGMENT, 0, true, &behind);
    assert_eq!(
        parse_v6(&v6(protocol::FRAGMENT, &twice)),
        Err(Malformed::Fragment)
    );
}

#[test]
fn extension_headers_are_bounded_and_in_order() {
    let chain = |count: usize| {
        let mut behind = tcp();
        let mut next = protocol::TCP;
        for _ in 0..count {
            behind = extension(next, &behind);
            next = protocol::DESTINATION_OPTIONS;
        }
        parse_v6(&v6(next, &behind)).map(|packet| packet.transport)
    };
    for count in 0..=MAX_EXTENSION_HEADERS {
        assert_eq!(chain(count), Ok(Some(TCP_FIELDS)), "{count}");
    }
    assert_eq!(chain(MAX_EXTENSION_HEADERS + 1), Err(Malformed::Extension));
    let second = extension(protocol::HOP_BY_HOP, &extension(protocol::TCP, &tcp()));
    let late = v6(protocol::DESTINATION_OPTIONS, &second);
    assert_eq!(parse_v6(&late), Err(Malformed::Extension));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_point_outside(
        ethertype in prop::sample::select(vec![ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP]),
        first in any::<u8>(),
        next in prop::sample::select(vec![0_u8, 6, 17, 43, 44, 51, 58, 60, 132]),
        mut bytes in prop::collection::vec(any::<u8>(), 0..160),
        beyond in 0..40_usize,
    ) {
        if let Some(byte) = bytes.first_mut() {
            *byte = if ethertype == ETHERTYPE_IPV4 { 0x45 } else { 0x60 | (first & 0x0f) };
        }
        if let Some(length) = bytes.get_mut(4..7) && ethertype == ETHERTYPE_IPV6 {
            length.copy_from_slice(&[0, first, next]);
        }
        if let Some(length) = bytes.get_mut(2..4) && ethertype == ETHERTYPE_IPV4 {
            length.copy_from_slice(&[0, first]);
        }
        let available = bytes.len() + beyond;
        if let Ok(packet) = Packet::parse(ethertype, &bytes, available) {
            prop_assert!(usize::from(packet.payload_start) <= available);
            let ip = matches!(packet.family, Family::Ipv4 | Family::Ipv6);
            prop_assert!(ip || packet.transport.is_none());
            prop_assert!(packet.fragment != Fragment::Later || packet.transport.is_none());
        }
    }
}

const _: () = assert!(IPV6_SIZE == 40);
