//! From fields to a frame: what is not given, and the layer 2 header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use switch_core::{
    config::{Config, Membership, Port, Prefix},
    limits::MAX_FRAME_SIZE,
    wire::{
        arp::ETHERTYPE_ARP,
        ethernet::Mac,
        ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6},
    },
};

use super::{
    fields::{ArpKind, Fields},
    packet::{arp, ipv4_packet, ipv6_packet},
};

/// Addresses of stations that nobody has told anything about.
const SOMEBODY: Mac = Mac([2, 0, 0, 0, 0, 0x01]);
const SOMEBODY_ELSE: Mac = Mac([2, 0, 0, 0, 0, 0x02]);
/// The shortest frame without FCS (802.3-2022, 4.4.2).
const MIN_FRAME_SIZE: usize = 60;

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
    check(fields)?;
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

/// Refuses what would make another frame than is asked for: not only the command line gives fields.
fn check(fields: &Fields) -> Result<(), String> {
    let numbers = [
        ("vlan", fields.vlan, 4095),
        ("pcp", fields.pcp.map(u16::from), 7),
        ("dscp", fields.dscp.map(u16::from), 63),
        ("size", fields.size, MAX_FRAME_SIZE as u16),
    ];
    for (key, number, most) in numbers {
        if let Some(number) = number.filter(|number| *number > most) {
            return Err(format!("{key}: {number} is too large; use 0 to {most}"));
        }
    }
    let kinds = [
        ("tcp", fields.tcp.is_some()),
        ("udp", fields.udp.is_some()),
        ("icmp", fields.icmp.is_some()),
        ("arp", fields.arp.is_some()),
        ("protocol", fields.protocol.is_some()),
        ("ethertype", fields.ethertype.is_some()),
    ];
    let mut kinds = kinds.iter().filter(|(_, given)| *given);
    let kind = kinds.next().map_or("", |(key, _)| key);
    if let Some((other, _)) = kinds.next() {
        return Err(format!("{kind} and {other} exclude each other: give one"));
    }
    let has_ip = !["arp", "ethertype"].contains(&kind);
    let has_ports = ["", "tcp", "udp"].contains(&kind);
    let needs = [
        (
            "tcp-flags",
            fields.tcp_flags.is_some(),
            kind == "tcp",
            "tcp",
        ),
        (
            "src-port",
            fields.src_port.is_some(),
            has_ports,
            "tcp or udp",
        ),
        ("dscp", fields.dscp.is_some(), has_ip, "an IP packet"),
        (
            "fragment",
            fields.fragment.is_some(),
            has_ip,
            "an IP packet",
        ),
    ];
    match needs.iter().find(|(_, given, fits, _)| *given && !fits) {
        Some((key, _, _, what)) => Err(format!("{key} is of {what}, which this is not")),
        None => Ok(()),
    }
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

#[cfg(test)]
mod tests {
    use switch_core::config::parse;

    use super::*;
    use crate::frame::{packet::checksum, text::line};

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

    /// What would be silently cut off, or left out, would be another frame than was asked for.
    #[test]
    fn what_does_not_fit_is_refused() {
        let check = |fields: &str, expected: &str| {
            assert_eq!(frame("a", fields).expect_err(fields), expected);
        };
        check("vlan = 4096", "vlan: 4096 is too large; use 0 to 4095");
        check("pcp = 8", "pcp: 8 is too large; use 0 to 7");
        check("dscp = 64", "dscp: 64 is too large; use 0 to 63");
        check("size = 9217", "size: 9217 is too large; use 0 to 9216");
        check(
            "tcp = 1\nudp = 1",
            "tcp and udp exclude each other: give one",
        );
        check(
            "arp = \"reply\"\nethertype = \"0x88cc\"",
            "arp and ethertype exclude each other: give one",
        );
        let ports = "src-port is of tcp or udp, which this is not";
        check("icmp = 8\nsrc_port = 9", ports);
        check("protocol = 47\nsrc_port = 9", ports);
        let flags = "tcp-flags is of tcp, which this is not";
        check("tcp_flags = \"syn\"", flags);
        check(
            "arp = \"request\"\ndscp = 1",
            "dscp is of an IP packet, which this is not",
        );
        check(
            "ethertype = \"0x88cc\"\nfragment = \"first\"",
            "fragment is of an IP packet, which this is not",
        );
        let largest = "vlan = 4095\npcp = 7\ndscp = 63\nsize = 9216\nsrc_port = 1";
        let said = frame("a", largest).expect("a frame");
        assert!(
            said.contains("VLAN 4095 PCP 7") && said.contains("DSCP 63, 9216"),
            "{said}"
        );
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
