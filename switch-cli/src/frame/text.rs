//! A frame in one line, by the parser that the switch itself uses.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use switch_core::wire::{
    ip::{Fragment, protocol},
    layer2::Layer2,
    packet::{Family, Packet},
    vlan::Tpid,
};

use super::hex;
use crate::api::trace::FrameView;

/// The names of TCP's flags, lowest bit first, as tcpdump writes them.
const TCP_FLAGS: [char; 8] = ['F', 'S', 'R', 'P', '.', 'U', 'E', 'W'];

/// A frame for people and programs.
pub fn view(bytes: &[u8]) -> FrameView {
    FrameView {
        bytes: bytes.len(),
        text: line(bytes, bytes.len()),
        hex: hex::encode(bytes),
    }
}

/// What is in a frame of `size` bytes, of which these are the first.
pub fn line(bytes: &[u8], size: usize) -> String {
    let Ok(header) = Layer2::parse(bytes) else {
        return format!("{size} bytes without a whole header");
    };
    let mut text = format!("{} > {}", header.source, header.destination);
    // Writing to a string cannot fail.
    if let Some(tag) = header.tag {
        let tci = tag.tci();
        let _ = match tag.tpid() {
            Tpid::Customer => write!(text, ", VLAN {}", tci.vid_bits()),
            Tpid::Service => write!(text, ", service VLAN {}", tci.vid_bits()),
        };
        if tci.pcp() != 0 {
            let _ = write!(text, " PCP {}", tci.pcp());
        }
        text += if tci.dei() { " DEI" } else { "" };
    }
    let packet = Packet::of_frame(&header, bytes, size);
    let _ = match packet {
        Err(error) => write!(text, ", EtherType {:#06x}: {error}", header.ethertype),
        Ok(packet) => match packet.family {
            Family::Other if header.ethertype < 0x600 => write!(text, ", LLC"),
            Family::Other => write!(text, ", EtherType {:#06x}", header.ethertype),
            Family::Arp => write!(text, ", {}", arp(&packet)),
            Family::Ipv4 | Family::Ipv6 => write!(text, ", {}", ip(&packet)),
        },
    };
    let _ = write!(text, ", {size} bytes");
    text
}

fn arp(packet: &Packet) -> String {
    let (sender, target) = (v4(packet.source), v4(packet.destination));
    match packet.protocol {
        1 => format!("ARP request of {sender} for {target}"),
        2 => format!("ARP reply of {sender} to {target}"),
        other => format!("ARP operation {other} of {sender}"),
    }
}

fn v4(number: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits(number as u32)
}

fn ip(packet: &Packet) -> String {
    let address = |number: u128| -> IpAddr {
        match packet.family {
            Family::Ipv4 => v4(number).into(),
            _ => Ipv6Addr::from_bits(number).into(),
        }
    };
    let (source, destination) = (address(packet.source), address(packet.destination));
    let mut text = format!("{source} > {destination} ");
    let name = match packet.protocol {
        protocol::TCP => "TCP",
        protocol::UDP => "UDP",
        protocol::SCTP => "SCTP",
        protocol::ICMP => "ICMP",
        protocol::ICMPV6 => "ICMPv6",
        _ => "",
    };
    // Writing to a string cannot fail.
    let _ = match name {
        "" => write!(text, "protocol {}", packet.protocol),
        name => write!(text, "{name}"),
    };
    if let Some(transport) = packet.transport {
        let (from, to) = (transport.source, transport.destination);
        let _ = match packet.protocol {
            protocol::ICMP | protocol::ICMPV6 => write!(text, " type {from} code {to}"),
            _ => write!(text, " {from} > {to}"),
        };
        if packet.protocol == protocol::TCP {
            let set = |bit: &usize| transport.tcp_flags >> bit & 1 != 0;
            let flags: String = (0..8).filter(set).map(|bit| TCP_FLAGS[bit]).collect();
            let _ = write!(text, " [{flags}]");
        }
    }
    if packet.traffic_class >> 2 != 0 {
        let _ = write!(text, " DSCP {}", packet.traffic_class >> 2);
    }
    text += match packet.fragment {
        Fragment::No => "",
        Fragment::First => ", first fragment",
        Fragment::Later => ", later fragment",
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |digits: &str, expected: &str| {
            let bytes = hex::decode(digits).unwrap();
            assert_eq!(line(&bytes, bytes.len()), expected);
        };
        let macs = "ffffffffffff 020000000001";
        let way = "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff";
        check("0102", "2 bytes without a whole header");
        check(
            &format!("{macs} 88cc 00"),
            &format!("{way}, EtherType 0x88cc, 15 bytes"),
        );
        check(&format!("{macs} 0010 00"), &format!("{way}, LLC, 15 bytes"));
        let arp = "0806 0001 0800 0604 0001 020000000001 0a000001 000000000000 0a000002";
        let request = "ARP request of 10.0.0.1 for 10.0.0.2";
        check(
            &format!("{macs} {arp}"),
            &format!("{way}, {request}, 42 bytes"),
        );
        check(
            &format!("{macs} 8100 7014 {arp}"),
            &format!("{way}, VLAN 20 PCP 3 DEI, {request}, 46 bytes"),
        );
        let ip = "0800 45b80028 00000000 40060000 0a000001 0a000002";
        let tcp = "c000 01bb 00000000 00000000 5012 0000 00000000";
        check(
            &format!("{macs} {ip} {tcp}"),
            &format!("{way}, 10.0.0.1 > 10.0.0.2 TCP 49152 > 443 [S.] DSCP 46, 54 bytes"),
        );
        check(
            &format!("{macs} {ip} {}", &tcp[..19]),
            &format!(
                "{way}, EtherType 0x0800: {}, 42 bytes",
                "an IP header that is cut short or lies about a length"
            ),
        );
    }
}
