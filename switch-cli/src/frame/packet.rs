//! Packets of given fields: ARP, IPv4 and IPv6 with a transport header, and their checksums.

use std::net::{Ipv4Addr, Ipv6Addr};

use switch_core::wire::{
    ethernet::Mac,
    ip::{IPV6_SIZE, protocol},
};

use super::fields::{ArpKind, Fields, FragmentKind};

/// Source port unless told otherwise: the first dynamic one (RFC 6335, 6).
const SOURCE_PORT: u16 = 49_152;
/// What nobody said where to goes there (RFC 863).
const DISCARD: u16 = 9;
const HOP_LIMIT: u8 = 64;
/// Where a later fragment stands in its packet, in units of 8 bytes.
const LATER_OFFSET: u16 = 185;

/// A message of ARP.
pub(super) fn arp(kind: ArpKind, mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let operation = match kind {
        ArpKind::Request => 1,
        ArpKind::Reply => 2,
    };
    let start = [0, 1, 8, 0, 6, 4, 0, operation];
    [
        &start[..],
        &mac.0,
        &sender.octets(),
        &[0; 6],
        &target.octets(),
    ]
    .concat()
}

/// The IP protocol, and its header with some payload.
fn transport(fields: &Fields, icmp: u8) -> Result<(u8, Vec<u8>), String> {
    let source = fields.src_port.unwrap_or(SOURCE_PORT).to_be_bytes();
    let udp = |port: u16| {
        // The length is that of the header alone.
        let length = 8_u16.to_be_bytes();
        (
            protocol::UDP,
            [source, port.to_be_bytes(), length, [0, 0]].concat(),
        )
    };
    Ok(match fields {
        Fields {
            tcp: Some(port), ..
        } => {
            let flags = tcp_flags(fields.tcp_flags.as_deref().unwrap_or("syn"))?;
            let mut header = [source, port.to_be_bytes()].concat();
            header.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
            (protocol::TCP, header)
        }
        Fields {
            udp: Some(port), ..
        } => udp(*port),
        Fields {
            icmp: Some(kind), ..
        } => {
            // An echo request has another number there (RFC 4443, 4.1).
            let is_v6 = icmp == protocol::ICMPV6;
            let kind = if is_v6 && *kind == 8 { 128 } else { *kind };
            (icmp, vec![kind, 0, 0, 0, 0, 1, 0, 1])
        }
        Fields {
            protocol: Some(number),
            ..
        } => (*number, Vec::new()),
        _ => udp(DISCARD),
    })
}

fn tcp_flags(text: &str) -> Result<u8, String> {
    const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
    let mut flags = 0;
    for word in text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
    {
        let bit = NAMES.iter().position(|name| *name == word);
        let bit =
            bit.ok_or_else(|| format!("tcp-flags: {word:?} is none of {}", NAMES.join(", ")))?;
        flags |= 1 << bit;
    }
    Ok(flags)
}

/// The IP protocol of a packet between these addresses, and what is behind its IP header.
fn body(fields: &Fields, icmp: u8, addresses: &[u8]) -> Result<(u8, Vec<u8>), String> {
    let (number, mut body) = transport(fields, icmp)?;
    seal(&mut body, number, addresses, fields.fragment);
    Ok((number, body))
}

/// An IPv4 packet.
///
/// # Errors
/// When there is no such TCP flag.
pub(super) fn ipv4_packet(
    fields: &Fields,
    from: Ipv4Addr,
    to: Ipv4Addr,
) -> Result<Vec<u8>, String> {
    let addresses = [from.octets(), to.octets()].concat();
    let (number, body) = body(fields, protocol::ICMP, &addresses)?;
    let fragment: u16 = match fields.fragment {
        None => 0,
        // More fragments (RFC 791, 3.1).
        Some(FragmentKind::First) => 0x2000,
        Some(FragmentKind::Later) => LATER_OFFSET,
    };
    let length = 20 + body.len() as u16;
    let mut header = vec![0x45, fields.dscp.unwrap_or(0) << 2];
    header.extend(length.to_be_bytes());
    header.extend([0, 0]);
    header.extend(fragment.to_be_bytes());
    header.extend([HOP_LIMIT, number, 0, 0]);
    header.extend(addresses);
    let sum = checksum(&[&header]).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    Ok([header, body].concat())
}

/// An IPv6 packet.
///
/// # Errors
/// When there is no such TCP flag.
pub(super) fn ipv6_packet(
    fields: &Fields,
    from: Ipv6Addr,
    to: Ipv6Addr,
) -> Result<Vec<u8>, String> {
    let addresses = [from.octets(), to.octets()].concat();
    let (number, mut body) = body(fields, protocol::ICMPV6, &addresses)?;
    let offset: u16 = match fields.fragment {
        None => 0,
        // More fragments (RFC 8200, 4.5).
        Some(FragmentKind::First) => 1,
        Some(FragmentKind::Later) => LATER_OFFSET << 3,
    };
    let mut next = number;
    if fields.fragment.is_some() {
        let mut header = vec![number, 0];
        header.extend(offset.to_be_bytes());
        header.extend([0, 0, 0, 1]);
        body = [header, body].concat();
        next = protocol::FRAGMENT;
    }
    let mut header = Vec::with_capacity(IPV6_SIZE + body.len());
    let first_word = 6_u32 << 28 | u32::from(fields.dscp.unwrap_or(0)) << 22;
    header.extend(first_word.to_be_bytes());
    header.extend((body.len() as u16).to_be_bytes());
    header.extend([next, HOP_LIMIT]);
    header.extend(addresses);
    Ok([header, body].concat())
}

/// Writes the checksum of a whole packet's transport header, so that a receiver would take it.
fn seal(body: &mut [u8], number: u8, addresses: &[u8], fragment: Option<FragmentKind>) {
    let at = match number {
        protocol::TCP => 16,
        protocol::UDP => 6,
        protocol::ICMP | protocol::ICMPV6 => 2,
        _ => return,
    };
    if fragment.is_some() || body.len() < at + 2 {
        return;
    }
    let length = (body.len() as u32).to_be_bytes();
    let pseudo = [addresses, &length, &[0, 0, 0, number]].concat();
    // ICMP's covers itself alone (RFC 792).
    let parts: [&[u8]; 2] = [
        if number == protocol::ICMP {
            &[]
        } else {
            &pseudo
        },
        body,
    ];
    let sum = checksum(&parts).to_be_bytes();
    body[at..at + 2].copy_from_slice(&sum);
}

/// The Internet checksum (RFC 1071) of parts of even length.
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}
