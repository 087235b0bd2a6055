//! The security of ports as the manual and the RFCs describe it: random ones, their text in a file,
//! and what they say about a frame's bytes.

use std::fmt::Write as _;

use switch_core::{config::snapshot::Role, counters::DropReason};

use super::{
    acl::{self, Packet, Prefix, list, mac_text},
    rng::Rng,
    rules::{Address, Rules},
    wrong::Wrong,
};

/// What a file says about a port; none: nothing.
#[derive(Clone, Debug, Default)]
pub struct Security {
    pub strict: bool,
    pub macs: Option<Vec<Address>>,
    addresses: Option<Vec<Prefix>>,
    dhcp_server: Option<bool>,
    router_advertisements: Option<bool>,
    bpdus: Option<bool>,
}

/// The bytes of a frame that the switch reads: those in its first buffer.
const FIRST_BUFFER: usize = 1792;

/// Gives ports other security.
pub fn decorate(rng: &mut Rng, rules: &mut Rules, macs: &[Address]) {
    for port in rules.ports.values_mut() {
        port.security = Security::default();
        if rng.chance(50) {
            continue;
        }
        let flag = |rng: &mut Rng| rng.chance(35).then(|| rng.chance(30));
        let mut security = Security {
            dhcp_server: flag(rng),
            router_advertisements: flag(rng),
            bpdus: flag(rng),
            ..Security::default()
        };
        // An uplink has everybody else's addresses, and a file is told so.
        if port.role != Role::Uplink {
            security.strict = rng.chance(40);
            if security.strict || rng.chance(50) {
                let some = macs[1..].iter().copied().filter(|_| rng.chance(70));
                // A file must name one at least.
                security.macs = Some(some.chain([macs[0]]).collect());
            }
            if security.strict || rng.chance(40) {
                security.addresses = Some(acl::some_prefixes(rng));
            }
        }
        port.security = security;
    }
}

/// As a file says it.
pub fn render(text: &mut String, security: &Security) {
    if security.strict {
        text.push_str("security = \"strict\"\n");
    }
    if let Some(macs) = &security.macs {
        let macs = list(macs, |mac| format!("\"{}\"", mac_text(*mac)));
        let _ = writeln!(text, "allowed_macs = {macs}");
    }
    if let Some(prefixes) = &security.addresses {
        let _ = writeln!(text, "allowed_addresses = {}", list(prefixes, Prefix::text));
    }
    for (key, value) in [
        ("dhcp_server", security.dhcp_server),
        ("router_advertisements", security.router_advertisements),
        ("bpdus", security.bpdus),
    ] {
        if let Some(value) = value {
            let _ = writeln!(text, "{key} = {value}");
        }
    }
}

impl Security {
    /// What the file means where a key is missing.
    fn may(&self, key: Option<bool>, wrong: Option<Wrong>) -> bool {
        key.unwrap_or(!self.strict || wrong == Some(Wrong::StrictAllows))
    }

    /// Whether a frame may come from here.
    pub fn check(&self, bytes: &[u8], wrong: Option<Wrong>) -> Result<(), DropReason> {
        let dhcp_server = self.may(self.dhcp_server, wrong);
        let advertisements = self.may(self.router_advertisements, wrong);
        let bpdus = self.may(self.bpdus, wrong);
        let open = self.macs.is_none() && self.addresses.is_none();
        if open && dhcp_server && advertisements && bpdus {
            return Ok(());
        }
        let packet = acl::read(bytes).map_err(|_| DropReason::Malformed)?;
        let destination = &bytes[..6];
        let bridges: [&[u8]; 3] = [
            &[0x01, 0x80, 0xc2, 0, 0, 0],
            &[0x01, 0x80, 0xc2, 0, 0, 8],
            &[0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd],
        ];
        if !bpdus && bridges.contains(&destination) {
            return Err(DropReason::BpduGuard);
        }
        self.has_mac(packet.source_mac)?;
        // UDP from the ports of servers, or to those of clients: 67 and 68, 547 and 546.
        let from = packet.transport.map(|(source, ..)| source);
        let to = packet.transport.map(|(_, destination, _)| destination);
        let udp = packet.protocol == 17 && packet.ip.is_some();
        let (server, client) = match packet.ip {
            Some(true) => (547, 546),
            _ => (67, 68),
        };
        if udp && (from == Some(server) || to == Some(client)) && !dhcp_server {
            return Err(DropReason::DhcpServerGuard);
        }
        let icmpv6 = packet.protocol == 58 && packet.ip == Some(true);
        let kind = from.filter(|_| icmpv6);
        if !advertisements && [Some(134), Some(137)].contains(&kind) {
            return Err(DropReason::RouterGuard);
        }
        match (packet.ip, kind) {
            (None, _) if packet.ethertype == 0x0806 => self.arp(&packet, wrong),
            (None, _) => Ok(()),
            (Some(true), Some(133..=137)) => self.discovery(&packet, bytes, wrong),
            // Reports of listeners come before a host has an address (RFC 3590).
            (Some(true), Some(131 | 132 | 143)) if packet.source == 0 => Ok(()),
            (Some(true), _) => self.has_address(&packet, packet.source, wrong),
            (Some(false), _) => {
                // A client asks for its address: 0.0.0.0 port 68 to everybody's port 67.
                let ports = packet.transport.map(|(from, to, _)| (from, to));
                let asks = packet.source == 0
                    && packet.destination == 0xffff_ffff
                    && packet.protocol == 17
                    && ports == Some((68, 67));
                if asks && wrong != Some(Wrong::BeginnersRefused) {
                    return Ok(());
                }
                self.has_address(&packet, packet.source, wrong)
            }
        }
    }

    fn has_mac(&self, mac: Address) -> Result<(), DropReason> {
        match &self.macs {
            Some(macs) if !macs.contains(&mac) => Err(DropReason::MacNotAllowed),
            _ => Ok(()),
        }
    }

    fn has_address(
        &self,
        packet: &Packet,
        address: u128,
        wrong: Option<Wrong>,
    ) -> Result<(), DropReason> {
        let Some(prefixes) = &self.addresses else {
            return Ok(());
        };
        let ipv6 = packet.ip == Some(true);
        let listed = prefixes.iter().any(|p| p.ipv6 == ipv6 && p.has(address));
        // RFC 4291, appendix A: fe80:: and the MAC address with ff:fe in its middle, whose
        // universal/local bit is the other way round.
        let of_mac = |mac: &Address| {
            let [a, b, c, d, e, f] = *mac;
            let mut bytes = [0; 16];
            bytes[..2].copy_from_slice(&[0xfe, 0x80]);
            bytes[8..].copy_from_slice(&[a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
            u128::from_be_bytes(bytes) == address
        };
        let mut macs = self.macs.iter().flatten();
        let link_local = ipv6 && macs.any(of_mac) && wrong != Some(Wrong::LinkLocalRefused);
        match listed || link_local || wrong == Some(Wrong::AddressesUnchecked) {
            true => Ok(()),
            false => Err(DropReason::AddressNotAllowed),
        }
    }

    fn arp(&self, packet: &Packet, wrong: Option<Wrong>) -> Result<(), DropReason> {
        if wrong != Some(Wrong::ClaimsUnchecked) {
            self.has_mac(packet.arp_sender)?;
        }
        // A probe has no sender (RFC 5227).
        match packet.source {
            0 if wrong != Some(Wrong::BeginnersRefused) => Ok(()),
            sender => self.has_address(packet, sender, wrong),
        }
    }

    /// Neighbour discovery (RFC 4861, 4).
    fn discovery(
        &self,
        packet: &Packet,
        frame: &[u8],
        wrong: Option<Wrong>,
    ) -> Result<(), DropReason> {
        let malformed = Err(DropReason::Malformed);
        // It must not be fragmented (RFC 6980), and has to be in the first buffer as a whole.
        let (start, end) = packet.l4;
        if packet.fragment != "no" || end > FIRST_BUFFER {
            return malformed;
        }
        let message = &frame[start..end];
        let kind = message[0];
        let options = match kind {
            133 => 8,
            134 => 16,
            135 | 136 => 24,
            _ => 40,
        };
        let Some(mut rest) = message.get(options..) else {
            return malformed;
        };
        let mut seen = Vec::new();
        while !rest.is_empty() {
            let size = rest.get(1).map_or(0, |length| usize::from(*length) * 8);
            if size == 0 || size > rest.len() {
                return malformed;
            }
            if [1, 2].contains(&rest[0]) {
                if size != 8 || seen.iter().any(|(kind, _)| *kind == rest[0]) {
                    return malformed;
                }
                seen.push((rest[0], Address::try_from(&rest[2..8]).expect("6 bytes")));
            }
            rest = &rest[size..];
        }
        // Of two, the source's comes first.
        seen.sort_by_key(|(kind, _)| *kind);
        if wrong != Some(Wrong::ClaimsUnchecked) {
            seen.iter().try_for_each(|(_, mac)| self.has_mac(*mac))?;
        }
        let nameless = packet.source == 0;
        if kind == 136 || (nameless && [135, 137].contains(&kind)) {
            let target = message[8..24].try_into().expect("16 bytes");
            if wrong != Some(Wrong::ClaimsUnchecked) {
                self.has_address(packet, u128::from_be_bytes(target), wrong)?;
            }
        }
        if nameless && kind != 136 {
            return Ok(());
        }
        self.has_address(packet, packet.source, wrong)
    }
}
