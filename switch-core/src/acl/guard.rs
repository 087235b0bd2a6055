//! What a port may say about itself: which addresses it may use and claim, and which services it
//! may offer. Bound to the port, so that no address that a guest chooses changes it.

use std::hint::cold_path;

use super::case::Set;
use crate::wire::{
    arp::Arp,
    ethernet::{Mac, PackedMac},
    ip::{Fragment, protocol},
    layer2::Layer2,
    nd::{NeighbourDiscovery, kind},
    ordinary::Ordinary,
    packet::{Family, Malformed, Packet},
};

/// What is allowed on a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    /// The MAC addresses of the stations behind it; none: any.
    pub macs: Option<Box<[PackedMac]>>,
    /// Their IPv4 and their IPv6 addresses; none: any.
    pub addresses: Option<(Set, Set)>,
    /// Frames of DHCP and DHCPv6 servers are dropped.
    pub no_dhcp_server: bool,
    /// Router advertisements and redirects are dropped.
    pub no_router: bool,
    /// BPDUs are dropped.
    pub no_bpdus: bool,
}

/// Why a frame may not come from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It cannot be read.
    Malformed,
    /// It comes from, or claims, a MAC address that the port does not have.
    Mac,
    /// It comes from, or claims, an IP address that the port does not have.
    Address,
    /// It is what a DHCP server sends.
    DhcpServer,
    /// It is what a router sends to tell hosts their routes.
    Router,
    /// It is what a bridge sends to bridges about the spanning tree.
    Bpdu,
}

impl From<Malformed> for Refused {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Ports of DHCP (RFC 2131, 4.1) and DHCPv6 (RFC 8415, 7.2).
const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
const DHCPV6_SERVER: u16 = 547;
const DHCPV6_CLIENT: u16 = 546;

/// Where BPDUs go: the bridge and the provider bridge group address (802.1Q-2022, Table 8-1), and
/// that of a spanning tree for each VLAN (PVST+).
const BPDU_ADDRESSES: [Mac; 3] = [
    Mac([0x01, 0x80, 0xc2, 0, 0, 0x00]),
    Mac([0x01, 0x80, 0xc2, 0, 0, 0x08]),
    Mac([0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd]),
];

/// ICMPv6 types of multicast listener discovery that a host without an address sends (RFC 3590).
const LISTENER_REPORTS: [u16; 3] = [131, 132, 143];

impl Guard {
    /// Whether a frame may come from this port. `payload` begins behind the layer 2 header.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, header: &Layer2, packet: &Packet, payload: &[u8]) -> Result<(), Refused> {
        self.destination(header.destination)?;
        self.mac(header.source)?;
        match packet.family {
            Family::Other => Ok(()),
            Family::Arp => {
                let arp = Arp::parse(payload)?;
                self.mac(arp.sender_mac.into())?;
                // 0.0.0.0 is the sender of a probe, which claims nothing (RFC 5227, 1.1).
                self.address(packet, packet.source, packet.source == 0)
            }
            Family::Ipv4 => {
                self.services(packet)?;
                self.address(packet, packet.source, asks_for_address(packet))
            }
            Family::Ipv6 => {
                self.services(packet)?;
                let begins = self.neighbour_discovery(packet, payload)?;
                self.address(packet, packet.source, begins)
            }
        }
    }

    /// The same for an ordinary packet.
    ///
    /// # Errors
    /// When it may not come from this port.
    #[inline(always)]
    pub fn check_ordinary(&self, packet: &Ordinary) -> Result<(), Refused> {
        self.destination(packet.destination)?;
        self.mac(packet.source)?;
        let (source, destination) = (packet.source_port(), packet.destination_port());
        let is_udp = packet.protocol == protocol::UDP;
        let offers = source == DHCP_SERVER || destination == DHCP_CLIENT;
        if is_udp && offers && self.no_dhcp_server {
            return Err(Refused::DhcpServer);
        }
        let Some((ipv4, _)) = &self.addresses else {
            return Ok(());
        };
        let asks = || {
            is_udp
                && packet.addresses == u64::from(u32::MAX)
                && (source, destination) == (DHCP_CLIENT, DHCP_SERVER)
        };
        if ipv4.contains(packet.source_address().into()) {
            return Ok(());
        }
        cold_path();
        match asks() {
            true => Ok(()),
            false => Err(Refused::Address),
        }
    }

    #[inline]
    fn destination(&self, mac: PackedMac) -> Result<(), Refused> {
        if self.no_bpdus && mac.is_group() && is_bpdu(mac) {
            return Err(Refused::Bpdu);
        }
        Ok(())
    }

    #[inline]
    fn mac(&self, mac: PackedMac) -> Result<(), Refused> {
        let Some(macs) = &self.macs else {
            return Ok(());
        };
        match macs.contains(&mac) {
            true => Ok(()),
            false => Err(Refused::Mac),
        }
    }

    /// Whether an address is one of the port's, or what `excepted` is about.
    fn address(&self, packet: &Packet, address: u128, excepted: bool) -> Result<(), Refused> {
        let Some((ipv4, ipv6)) = &self.addresses else {
            return Ok(());
        };
        let own = match packet.family {
            Family::Ipv6 => ipv6.contains(address) || self.is_link_local(address),
            _ => ipv4.contains(address),
        };
        if own || excepted {
            Ok(())
        } else {
            Err(Refused::Address)
        }
    }

    /// The link-local address that follows from one of the port's MAC addresses (RFC 4291,
    /// appendix A): every station has one, whoever gives it others.
    fn is_link_local(&self, address: u128) -> bool {
        let macs = self.macs.as_deref().unwrap_or_default();
        macs.iter().any(|mac| {
            let number = mac.to_u64();
            let (high, low) = (number >> 24, number & 0xff_ffff);
            let interface = (high << 40 | 0xff_fe00_0000 | low) ^ 1 << 57;
            address == 0xfe80 << 112 | u128::from(interface)
        })
    }

    fn services(&self, packet: &Packet) -> Result<(), Refused> {
        let Some(transport) = packet.transport else {
            return Ok(());
        };
        let ipv6 = packet.family == Family::Ipv6;
        let (server, client) = if ipv6 {
            (DHCPV6_SERVER, DHCPV6_CLIENT)
        } else {
            (DHCP_SERVER, DHCP_CLIENT)
        };
        // Many clients ask for their own port only: an offer may come from any other.
        let offers = transport.source == server || transport.destination == client;
        match packet.protocol {
            protocol::UDP if self.no_dhcp_server && offers => Err(Refused::DhcpServer),
            protocol::ICMPV6
                if ipv6
                    && self.no_router
                    && [kind::ROUTER_ADVERTISEMENT, kind::REDIRECT].contains(&transport.source) =>
            {
                Err(Refused::Router)
            }
            _ => Ok(()),
        }
    }

    /// Checks what a message of neighbour discovery claims; whether the packet is one that a host
    /// sends before it has an address.
    fn neighbour_discovery(&self, packet: &Packet, payload: &[u8]) -> Result<bool, Refused> {
        let transport = packet
            .transport
            .filter(|_| packet.protocol == protocol::ICMPV6);
        let Some(transport) = transport else {
            return Ok(false);
        };
        let nameless = packet.source == 0;
        let discovers = (kind::ROUTER_SOLICITATION..=kind::REDIRECT).contains(&transport.source);
        if !discovers {
            return Ok(nameless && LISTENER_REPORTS.contains(&transport.source));
        }
        // RFC 6980: fragments are only for those who want to hide something.
        if packet.fragment != Fragment::No {
            return Err(Refused::Malformed);
        }
        let message = payload.get(packet.payload_start.into()..packet.payload_end.into());
        let message = NeighbourDiscovery::parse(message.unwrap_or_default())?;
        let message = message.ok_or(Refused::Malformed)?;
        for mac in message.source_mac.into_iter().chain(message.target_mac) {
            self.mac(mac.into())?;
        }
        // An answer claims its target, and so does a question without a sender: that is how a host
        // finds out whether an address is free (RFC 4862, 5.4).
        let answer = transport.source == kind::NEIGHBOUR_ADVERTISEMENT;
        if let Some(target) = message.target
            && (answer || nameless)
        {
            self.address(packet, target, false)?;
        }
        Ok(nameless && !answer)
    }
}

/// Whether a frame goes where bridges tell each other about the spanning tree.
#[inline(never)]
fn is_bpdu(destination: PackedMac) -> bool {
    BPDU_ADDRESSES.contains(&destination.into())
}

/// A DHCP client that has no address yet.
fn asks_for_address(packet: &Packet) -> bool {
    let ports = packet
        .transport
        .map(|transport| (transport.source, transport.destination));
    packet.source == 0
        && packet.destination == u128::from(u32::MAX)
        && packet.protocol == protocol::UDP
        && ports == Some((DHCP_CLIENT, DHCP_SERVER))
}

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
