//! What lies behind a frame's layer 2 header, as far as a policy may ask for it, read once.

use super::{
    arp::{Arp, ETHERTYPE_ARP},
    ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Fragment, Ip},
    l4::Transport,
    layer2::Layer2,
    vlan::{TAG_SIZE, Tci, Tpid},
};

/// The payload's protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Family {
    /// None of these, which is looked at no further.
    #[default]
    Other,
    /// ARP.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Why nothing can be said about a packet, and a policy must not let it pass as if it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// ARP that is too short, or about other protocols than IPv4 over Ethernet.
    #[error("no ARP message for IPv4 over Ethernet")]
    Arp,
    /// A version, header length or total length that cannot be.
    #[error("an IP header that is cut short or lies about a length")]
    Ip,
    /// Extension headers that are cut short, out of place, or too many.
    #[error("IPv6 extension headers that are cut short, out of place, or too many")]
    Extension,
    /// Fragments made to deceive filters.
    #[error("a fragment that overwrites the transport header, or a fragment of a fragment")]
    Fragment,
    /// TCP, UDP, SCTP or ICMP that is cut short or lies about a length.
    #[error("a transport header that is cut short or lies about a length")]
    Transport,
    /// A further tag that receivers may overlook, or IP or ARP in an LLC header.
    #[error("a packet behind a priority tag or an LLC header, which filters overlook")]
    Concealed,
}

/// Most tags behind the outer one that are looked at.
const MAX_FURTHER_TAGS: usize = 4;
/// Below this, the number behind the addresses is a length (802.3-2022, 3.2.6).
const FIRST_ETHERTYPE: u16 = 0x0600;
/// SNAP headers before an EtherType (RFC 1042; 802.1H-1997), behind LLC's three bytes.
const SNAP: [[u8; 3]; 2] = [[0, 0, 0], [0, 0, 0xf8]];

/// Whether an EtherType follows. Of LLC's bytes the bits for group, response and poll do not count,
/// since not all receivers look at them (802.2, 3.3 and 5.3).
fn is_snap([dsap, ssap, control, organisation @ ..]: &[u8; 6]) -> bool {
    [dsap & !1, ssap & !1, control & !0x10] == [0xaa, 0xaa, 3] && SNAP.contains(organisation)
}

/// A packet's fields. What a family or protocol does not have is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Which protocol's addresses these are.
    pub family: Family,
    /// IP source, or ARP's sender; IPv4 in the lower 32 bits.
    pub source: u128,
    /// IP destination, or ARP's target.
    pub destination: u128,
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The IP protocol, or the lower 8 bits of ARP's operation.
    pub protocol: u8,
    /// Part of another packet?
    pub fragment: Fragment,
    /// The fields of the transport header, where there is one that is known.
    pub transport: Option<Transport>,
    /// Where the IP payload begins, from the first byte behind the layer 2 header.
    pub payload_start: u16,
    /// Where it ends, Ethernet padding not included.
    pub payload_end: u16,
}

impl Packet {
    /// Reads what a frame carries. `head` are the bytes of its first segment, `size` those of all.
    ///
    /// Of a frame with a further tag nothing is known but its EtherType, the tag's TPID. Such tags
    /// and LLC headers are how packets were smuggled past filters that looked for an EtherType only
    /// (CVE-2021-27853, CVE-2021-27854, CVE-2021-27861, CVE-2021-27862): many receivers take a tag
    /// with VID 0 off wherever it is, and read IP in an LLC header.
    ///
    /// # Errors
    /// When it is not what its EtherType says, or is made to deceive.
    pub fn of_frame(header: &Layer2, head: &[u8], size: usize) -> Result<Self, Malformed> {
        let payload = header.payload(head);
        let available = size.saturating_sub(header.size());
        if header.ethertype < FIRST_ETHERTYPE || header.has_further_tag() {
            return Self::concealed(header.ethertype, payload);
        }
        Self::parse(header.ethertype, payload, available)
    }

    /// Looks for what some receivers see and others do not, behind a further tag or in LLC.
    fn concealed(mut ethertype: u16, mut payload: &[u8]) -> Result<Self, Malformed> {
        for _ in 0..MAX_FURTHER_TAGS {
            if Tpid::from_ethertype(ethertype).is_none() {
                break;
            }
            let ([c0, c1, e0, e1], rest) = payload
                .split_first_chunk::<TAG_SIZE>()
                .ok_or(Malformed::Concealed)?;
            if Tci(u16::from_be_bytes([*c0, *c1])).vid_bits() == 0 {
                return Err(Malformed::Concealed);
            }
            (ethertype, payload) = (u16::from_be_bytes([*e0, *e1]), rest);
        }
        if Tpid::from_ethertype(ethertype).is_some() {
            return Err(Malformed::Concealed);
        }
        let snap = payload.split_first_chunk::<6>();
        if let Some((llc, [t0, t1, ..])) = snap
            && ethertype < FIRST_ETHERTYPE
            && is_snap(llc)
        {
            let inner = u16::from_be_bytes([*t0, *t1]);
            let known = [ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP].contains(&inner);
            if known || Tpid::from_ethertype(inner).is_some() {
                return Err(Malformed::Concealed);
            }
        }
        Ok(Self::default())
    }

    /// Reads what stands behind the layer 2 header. `available` is how many bytes the frame has
    /// there; `bytes` are those of its first segment.
    ///
    /// # Errors
    /// When it is not what its EtherType says, or is made to deceive.
    pub fn parse(ethertype: u16, bytes: &[u8], available: usize) -> Result<Self, Malformed> {
        match ethertype {
            ETHERTYPE_IPV4 => Self::of_ip(Family::Ipv4, Ip::parse_v4(bytes, available)?, bytes),
            ETHERTYPE_IPV6 => Self::of_ip(Family::Ipv6, Ip::parse_v6(bytes, available)?, bytes),
            ETHERTYPE_ARP => Arp::parse(bytes).and_then(Self::of_arp),
            _ => Ok(Self::default()),
        }
    }

    fn of_arp(arp: Arp) -> Result<Self, Malformed> {
        Ok(Self {
            family: Family::Arp,
            source: u32::from_be_bytes(arp.sender).into(),
            destination: u32::from_be_bytes(arp.target).into(),
            // Operations past 255 do not exist for Ethernet, and would look like others here.
            protocol: u8::try_from(arp.operation).map_err(|_| Malformed::Arp)?,
            ..Self::default()
        })
    }

    fn of_ip(family: Family, ip: Ip, bytes: &[u8]) -> Result<Self, Malformed> {
        let transport = match ip.fragment {
            Fragment::Later => None,
            fragment => {
                let end = ip.payload_end.min(bytes.len());
                let payload = bytes.get(ip.payload_start..end).unwrap_or_default();
                let available = ip.payload_end.saturating_sub(ip.payload_start);
                let whole = fragment == Fragment::No;
                Transport::parse(ip.protocol, payload, available, whole)?
            }
        };
        Ok(Self {
            family,
            source: ip.source,
            destination: ip.destination,
            traffic_class: ip.traffic_class,
            protocol: ip.protocol,
            fragment: ip.fragment,
            transport,
            payload_start: ip.payload_start as u16,
            payload_end: ip.payload_end as u16,
        })
    }
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
