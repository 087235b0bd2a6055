use proptest::prelude::*;

use super::*;
use crate::wire::{
    ip::Fragment,
    l4::Transport,
    layer2::Layer2,
    packet::{Family, Packet},
};

fn tcp(payload: usize) -> Vec<u8> {
    let mut segment = vec![0x30, 0x39, 0x01, 0xbb];
    segment.resize(20 + payload, 0);
    (segment[12], segment[13]) = (5 << 4, 0x12);
    segment
}

fn udp(payload: usize) -> Vec<u8> {
    let mut datagram = vec![0xc3, 0x50, 0, 53];
    datagram.extend((8 + payload as u16).to_be_bytes());
    datagram.resize(8 + payload, 0);
    datagram
}

/// A frame as long as the shortest on a wire, at least.
fn frame(tag: &[u8], kind: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let total = (IPV4_SIZE + payload.len()) as u16;
    let mut frame = [&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2][..], tag, &[8, 0]].concat();
    frame.extend([0x45, 0xb9]);
    frame.extend(total.to_be_bytes());
    frame.extend([0x12, 0x34]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([64, kind, 0, 0, 10, 1, 2, 3, 10, 4, 5, 6]);
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

const TAGS: [&[u8]; 3] = [&[], &[0x81, 0, 0xa0, 20], &[0x88, 0xa8, 0, 20]];

/// The same fields, read one layer after the other; none where it is no such packet.
fn reference(head: &[u8], size: usize) -> Option<Ordinary> {
    let header = Layer2::parse(head).ok()?;
    let packet = Packet::of_frame(&header, head, size).ok()?;
    let Transport {
        source,
        destination,
        tcp_flags,
    } = packet.transport?;
    let is_ordinary = packet.family == Family::Ipv4
        && [protocol::TCP, protocol::UDP].contains(&packet.protocol)
        && packet.fragment == Fragment::No
        && usize::from(packet.payload_start) == IPV4_SIZE;
    is_ordinary.then(|| Ordinary {
        destination: header.destination,
        source: header.source,
        pcp: header.tag.map_or(0, |tag| (tag.tci().0 >> 13) as u8),
        traffic_class: packet.traffic_class,
        protocol: packet.protocol,
        tcp_flags,
        addresses: (packet.source << 32 | packet.destination) as u64,
        ports: u32::from(source) << 16 | u32::from(destination),
    })
}

#[test]
fn whole_packets_of_tcp_and_udp_are_ordinary() {
    for tag in TAGS {
        let check = |kind, fragment, payload: &[u8], expected| {
            let frame = frame(tag, kind, fragment, payload);
            let read = Ordinary::read(&frame, frame.len());
            assert_eq!(read.is_some(), expected, "{frame:x?}");
            assert_eq!(read, reference(&frame, frame.len()), "{frame:x?}");
        };
        check(protocol::TCP, 0, &tcp(0), true);
        check(protocol::UDP, 0, &udp(0), true);
        check(protocol::UDP, 0x4000, &udp(1400), true);
        check(protocol::UDP, 0x2000, &udp(8), false);
        check(protocol::UDP, 7, &udp(8), false);
        check(protocol::ICMP, 0, &udp(8), false);
    }
}

#[test]
fn fields_are_where_they_are_asked_for() {
    let frame = frame(TAGS[1], protocol::TCP, 0, &tcp(0));
    let read = Ordinary::read(&frame, frame.len()).expect("an ordinary packet");
    let addresses = (read.source_address(), read.destination_address());
    assert_eq!(addresses, (0x0a01_0203, 0x0a04_0506));
    assert_eq!((read.source_port(), read.destination_port()), (12345, 443));
    assert_eq!((read.pcp, read.tcp_flags), (5, 0x12));
}

proptest! {
    /// Whatever bytes change, and wherever the frame or its first segment ends: it has the same
    /// fields, or is left to the reference. What has all its headers is left to nobody.
    #[test]
    fn it_is_read_as_any_other(
        is_tcp in any::<bool>(),
        tag in prop::sample::select(TAGS.to_vec()),
        payload in 0..40_usize,
        length in 14..100_usize,
        beyond in 0..40_usize,
        changes in prop::collection::vec((0..64_usize, any::<u8>()), 0..3),
    ) {
        let mut frame = match is_tcp {
            true => frame(tag, protocol::TCP, 0, &tcp(payload)),
            false => frame(tag, protocol::UDP, 0, &udp(payload)),
        };
        for (at, byte) in changes {
            if let Some(changed) = frame.get_mut(at) {
                *changed = byte;
            }
        }
        frame.truncate(length);
        let size = frame.len() + beyond;
        let (read, expected) = (Ordinary::read(&frame, size), reference(&frame, size));
        if read.is_some() || frame.len() >= 58 {
            prop_assert_eq!(read, expected, "{:x?}", frame);
        }
    }
}
