//! From fields to bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use switch_core::{
    config::{Config, Membership, Port, Prefix},
    wire::{
        arp::ETHERTYPE_ARP,
        ethernet::Mac,
        ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, IPV6_SIZE, protocol},
    },
};

use super::fields::{ArpKind, Fields, FragmentKind};

/// Addresses of stations that nobody has told anything about.
const SOMEBODY: Mac = Mac([2, 0, 0, 0, 0, 0x01]);
const SOMEBODY_ELSE: Mac = Mac([2, 0, 0, 0, 0, 0x02]);
/// Source port unless told otherwise: the first dynamic one (RFC 6335, 6).
const SOURCE_PORT: u16 = 49_152;
/// The shortest frame without FCS (802.3-2022, 4.4.2).
const MIN_FRAME_SIZE: usize = 60;
/// What nobody said where to goes there (RFC 863).
const DISCARD: u16 = 9;
const HOP_LIMIT: u8 = 64;
/// Where a later fragment stands in its packet, in units of 8 bytes.
const LATER_OFFSET: u16 = 185;

/// What defaults are taken from.
pub struct Known<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// An address that was learnt behind a port.
    pub learnt: &'a dyn Fn(&str) -> Option<Mac>,
}

impl Known<'_> {
    fn port(&self, name: &str) -> Result<&Port, String> {
        let port = self.config.port(name);
        port.ok_or_else(|| format!("there is no port {name:?}"))
    }

    /// The MAC address of who is behind a port.
    fn mac(&self, port: &Port) -> Option<Mac> {
        let allowed = port.security.allowed_macs.iter().flatten().next().copied();
        let mut entries = self.config.statics.iter();
        let mut bound = || {
            entries
                .find(|entry| entry.port == port.name)
                .map(|entry| entry.mac)
        };
        allowed
            .or_else(&mut bound)
            .or_else(|| (self.learnt)(port.name.as_str()))
    }

    /// An IP address of who is behind a port.
    fn address(port: &Port, ipv4: bool) -> Option<IpAddr> {
        let mut prefixes = port.security.allowed_addresses.iter().flatten();
        prefixes.find(|prefix| prefix.is_ipv4() == ipv4).map(member)
    }
}

/// An address with this prefix: not the first one, which is no host's.
fn member(prefix: &Prefix) -> IpAddr {
    let (first, last) = prefix.bounds();
    let number = if last - first > 1 { first + 1 } else { first };
    if prefix.is_ipv4() {
        Ipv4Addr::from_bits(number as u32).into()
    } else {
        Ipv6Addr::from_bits(number).into()
    }
}

/// The bytes of a frame that comes from a port.
///
/// # Errors
/// Says which field is wrong.
pub fn build(fields: &Fields, from: &str, known: &Known<'_>) -> Result<Vec<u8>, String> {
    let port = known.port(from)?;
    let to = fields.to.as_deref().map(|to| known.port(to)).transpose()?;
    let mac = |key: &str, text: &Option<String>| {
        let parse = |text: &String| {
            text.parse::<Mac>()
                .map_err(|_| format!("{key}: {text:?} is no MAC address"))
        };
        text.as_ref().map(parse).transpose()
    };
    let source = mac("src-mac", &fields.src_mac)?;
    let source = source.or_else(|| known.mac(port)).unwrap_or(SOMEBODY);
    let destination = mac("dst-mac", &fields.dst_mac)?.unwrap_or_else(|| {
        let is_request = fields.arp == Some(ArpKind::Request);
        let of_port = || to.and_then(|to| known.mac(to)).unwrap_or(SOMEBODY_ELSE);
        if is_request {
            Mac::BROADCAST
        } else {
            of_port()
        }
    });
    let mut bytes = [destination.0, source.0].concat();
    if let Some(tag) = tag(fields, port) {
        bytes.extend((port.tpid as u16).to_be_bytes());
        bytes.extend(tag.to_be_bytes());
    }
    let (ethertype, payload) = payload(fields, port, to, source)?;
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(payload);
    let wanted = usize::from(fields.size.unwrap_or(0)).max(MIN_FRAME_SIZE);
    bytes.resize(bytes.len().max(wanted), 0);
    Ok(bytes)
}

/// The tag that it carries: what is asked for, or the first that the port knows where it takes no
/// frame without one.
fn tag(fields: &Fields, port: &Port) -> Option<u16> {
    let priority = u16::from(fields.pcp.unwrap_or(0)) << 13;
    let needed = || match &port.membership {
        Membership::Trunk(trunk) if trunk.native.is_none() => {
            trunk.tagged.first().map(|tagged| tagged.vid.get())
        }
        _ => fields.pcp.map(|_| 0),
    };
    fields.vlan.or_else(needed).map(|vid| priority | vid)
}

/// What is behind the tag.
fn payload(
    fields: &Fields,
    port: &Port,
    to: Option<&Port>,
    source: Mac,
) -> Result<(u16, Vec<u8>), String> {
    if let Some(text) = &fields.ethertype {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let number = u16::from_str_radix(digits, 16);
        let number =
            number.map_err(|_| format!("ethertype: {text:?} is none; write it as 0x88cc"))?;
        return Ok((number, Vec::new()));
    }
    let ipv4 = match (fields.src_ip, fields.dst_ip) {
        (Some(source), Some(destination)) if source.is_ipv4() != destination.is_ipv4() => {
            return Err("src-ip and dst-ip are one of IPv4 and one of IPv6".into());
        }
        (Some(address), _) | (None, Some(address)) => address.is_ipv4(),
        (None, None) => true,
    };
    let made_up = |host: u8| -> IpAddr {
        if ipv4 {
            Ipv4Addr::new(192, 0, 2, host).into()
        } else {
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()).into()
        }
    };
    let own = |port: Option<&Port>| port.and_then(|port| Known::address(port, ipv4));
    let from = fields
        .src_ip
        .or_else(|| own(Some(port)))
        .unwrap_or_else(|| made_up(1));
    let target = fields
        .dst_ip
        .or_else(|| own(to))
        .unwrap_or_else(|| made_up(2));
    match (fields.arp, from, target) {
        (Some(kind), IpAddr::V4(sender), IpAddr::V4(target)) => {
            Ok((ETHERTYPE_ARP, arp(kind, source, sender, target)))
        }
        (Some(_), ..) => Err("arp is about IPv4 addresses".into()),
        (None, IpAddr::V4(from), IpAddr::V4(target)) => {
            Ok((ETHERTYPE_IPV4, ipv4_packet(fields, from, target)?))
        }
        (None, IpAddr::V6(from), IpAddr::V6(target)) => {
            Ok((ETHERTYPE_IPV6, ipv6_packet(fields, from, target)?))
        }
        _ => Err("the addresses are one of IPv4 and one of IPv6: give both".into()),
    }
}

fn arp(kind: ArpKind, mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
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

fn ipv4_packet(fields: &Fields, from: Ipv4Addr, to: Ipv4Addr) -> Result<Vec<u8>, String> {
    let (number, mut body) = transport(fields, protocol::ICMP)?;
    let fragment: u16 = match fields.fragment {
        None => 0,
        // More fragments (RFC 791, 3.1).
        Some(FragmentKind::First) => 0x2000,
        Some(FragmentKind::Later) => LATER_OFFSET,
    };
    let (source, destination) = (from.octets(), to.octets());
    seal(
        &mut body,
        number,
        &[&source[..], &destination].concat(),
        fields.fragment,
    );
    let length = 20 + body.len() as u16;
    let mut header = vec![0x45, fields.dscp.unwrap_or(0) << 2];
    header.extend(length.to_be_bytes());
    header.extend([0, 0]);
    header.extend(fragment.to_be_bytes());
    header.extend([HOP_LIMIT, number, 0, 0]);
    header.extend(source);
    header.extend(destination);
    let sum = checksum(&[&header]).to_be_bytes();
    header[10..12].copy_from_slice(&sum);
    Ok([header, body].concat())
}

fn ipv6_packet(fields: &Fields, from: Ipv6Addr, to: Ipv6Addr) -> Result<Vec<u8>, String> {
    let (number, mut body) = transport(fields, protocol::ICMPV6)?;
    let (source, destination) = (from.octets(), to.octets());
    seal(
        &mut body,
        number,
        &[&source[..], &destination].concat(),
        fields.fragment,
    );
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
    header.extend(source);
    header.extend(destination);
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
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |low| u32::from(*low)))
        .sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use switch_core::config::parse;

    use super::*;
    use crate::frame::text::line;

    const CONFIG: &str = r#"
[[network]]
name = "web"
vlan = 20

[[port]]
name = "a"
device = "veA"
network = "web"
allowed_macs = "52:54:00:00:00:0a"
allowed_addresses = ["10.0.0.0/24", "fd00::5"]

[[port]]
name = "b"
device = "veB"
network = "web"

[[port]]
name = "up"
device = "eth1"
role = "uplink"
trunk = ["*"]

[[static]]
network = "web"
mac = "52:54:00:00:00:0b"
port = "b"
"#;

    fn frame(from: &str, fields: &str) -> Result<String, String> {
        let config = parse("test", CONFIG).expect("valid");
        let fields: Fields = toml::from_str(fields).expect("fields");
        let known = Known {
            config: &config,
            learnt: &|port| (port == "up").then_some(Mac([0xae, 0, 0, 0, 0, 1])),
        };
        build(&fields, from, &known).map(|bytes| line(&bytes, bytes.len()))
    }

    #[test]
    fn defaults_are_what_the_port_has() {
        let check = |from: &str, fields: &str, expected: &str| {
            assert_eq!(frame(from, fields).as_deref(), Ok(expected), "{fields}");
        };
        let (a, b, any) = (
            "52:54:00:00:00:0a",
            "52:54:00:00:00:0b",
            "02:00:00:00:00:02",
        );
        check(
            "a",
            "tcp = 443",
            &format!("{a} > {any}, 10.0.0.1 > 192.0.2.2 TCP 49152 > 443 [S], 60 bytes"),
        );
        check(
            "a",
            "to = \"b\"\nudp = 53\nsrc_ip = \"10.0.0.7\"\ndst_ip = \"10.0.0.8\"\nsize = 100",
            &format!("{a} > {b}, 10.0.0.7 > 10.0.0.8 UDP 49152 > 53, 100 bytes"),
        );
        check(
            "a",
            "icmp = 8\ndst_ip = \"fd00::9\"\ndscp = 46",
            &format!("{a} > {any}, fd00::5 > fd00::9 ICMPv6 type 128 code 0 DSCP 46, 62 bytes"),
        );
        check(
            "b",
            "arp = \"request\"\ndst_ip = \"10.0.0.1\"",
            &format!("{b} > ff:ff:ff:ff:ff:ff, ARP request of 192.0.2.1 for 10.0.0.1, 60 bytes"),
        );
        check(
            "up",
            "to = \"a\"\npcp = 5\nicmp = 0",
            &format!(
                "ae:00:00:00:00:01 > {a}, VLAN 20 PCP 5, 192.0.2.1 > 10.0.0.1 ICMP type 0 code 0, \
                 60 bytes"
            ),
        );
        check(
            "a",
            "ethertype = \"0x88cc\"",
            &format!("{a} > {any}, EtherType 0x88cc, 60 bytes"),
        );
    }

    #[test]
    fn fragments() {
        let check = |fields: &str, expected: &str| {
            let said = frame("b", fields).expect("a frame");
            assert!(said.contains(expected), "{said}");
        };
        check(
            "tcp = 80\nfragment = \"first\"",
            "TCP 49152 > 80 [S], first fragment",
        );
        check("tcp = 80\nfragment = \"later\"", "TCP, later fragment");
        let ipv6 = "dst_ip = \"fd00::1\"\nsrc_ip = \"fd00::2\"";
        check(
            &format!("udp = 80\nfragment = \"first\"\n{ipv6}"),
            "80, first fragment",
        );
        check(
            &format!("udp = 80\nfragment = \"later\"\n{ipv6}"),
            "UDP, later fragment",
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        let check = |from: &str, fields: &str, expected: &str| {
            let said = frame(from, fields).expect_err("wrong");
            assert!(said.contains(expected), "{said}");
        };
        check("c", "", "no port \"c\"");
        check("a", "to = \"c\"", "no port \"c\"");
        check("a", "src_mac = \"1:2\"", "no MAC address");
        check(
            "a",
            "src_ip = \"10.0.0.1\"\ndst_ip = \"fd00::1\"",
            "one of IPv4",
        );
        check(
            "b",
            "arp = \"reply\"\ndst_ip = \"fd00::1\"",
            "IPv4 addresses",
        );
        check("a", "tcp = 1\ntcp_flags = \"syn,ick\"", "\"ick\"");
        check("a", "ethertype = \"x\"", "0x88cc");
    }

    #[test]
    fn checksums_are_right() {
        // RFC 1071, 3: the sum of these is ddf2.
        assert_eq!(
            checksum(&[&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]]),
            !0xddf2
        );
        let config = parse("test", CONFIG).expect("valid");
        let known = Known {
            config: &config,
            learnt: &|_| None,
        };
        let fields = Fields {
            tcp: Some(80),
            ..Fields::default()
        };
        let bytes = build(&fields, "a", &known).expect("a frame");
        assert_eq!(checksum(&[&bytes[14..34]]), 0);
        let pseudo = [&bytes[26..34], &[0, 6, 0, 20]].concat();
        assert_eq!(checksum(&[&pseudo, &bytes[34..54]]), 0);
    }
}
