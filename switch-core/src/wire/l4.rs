//! The first fields of TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP (RFC 792) and ICMPv6
//! (RFC 4443): what a policy asks for.

use super::{ip::protocol, packet::Malformed};

/// What was read of a transport header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// Source port, or the ICMP type.
    pub source: u16,
    /// Destination port, or the ICMP code.
    pub destination: u16,
    /// TCP's CWR, ECE, URG, ACK, PSH, RST, SYN and FIN, highest bit first.
    pub tcp_flags: u8,
}

pub(super) const TCP_SIZE: usize = 20;
pub(super) const UDP_SIZE: usize = 8;
const SCTP_SIZE: usize = 12;
const ICMP_SIZE: usize = 4;

impl Transport {
    /// Reads the header of a known protocol; nothing of others. `available` is the packet's payload
    /// in bytes, of which `bytes` are at hand; `whole` tells that the packet is no fragment.
    ///
    /// # Errors
    /// When the header is cut short or lies. A first fragment must have all of it: what is filtered
    /// by its ports must not be able to keep them for the second (RFC 1858, 3.1; RFC 7112).
    pub fn parse(
        kind: u8,
        bytes: &[u8],
        available: usize,
        whole: bool,
    ) -> Result<Option<Self>, Malformed> {
        match kind {
            protocol::TCP => {
                let header = header_of::<TCP_SIZE>(bytes)?;
                let data_offset = usize::from(header[12] >> 4) * 4;
                if data_offset < TCP_SIZE || data_offset > available {
                    return Err(Malformed::Transport);
                }
                let tcp_flags = header[13];
                Ok(Some(Self {
                    tcp_flags,
                    ..Self::with_ports(header)
                }))
            }
            // 0 is for jumbograms (RFC 2675), which no Ethernet carries.
            protocol::UDP => {
                let header = header_of::<UDP_SIZE>(bytes)?;
                let length = usize::from(u16::from_be_bytes([header[4], header[5]]));
                if length < UDP_SIZE || (whole && length > available) {
                    return Err(Malformed::Transport);
                }
                Ok(Some(Self::with_ports(header)))
            }
            protocol::SCTP => Ok(Some(Self::with_ports(header_of::<SCTP_SIZE>(bytes)?))),
            protocol::ICMP | protocol::ICMPV6 => {
                let header = header_of::<ICMP_SIZE>(bytes)?;
                Ok(Some(Self {
                    source: header[0].into(),
                    destination: header[1].into(),
                    tcp_flags: 0,
                }))
            }
            _ => Ok(None),
        }
    }

    fn with_ports<const SIZE: usize>(header: &[u8; SIZE]) -> Self {
        Self {
            source: u16::from_be_bytes([header[0], header[1]]),
            destination: u16::from_be_bytes([header[2], header[3]]),
            tcp_flags: 0,
        }
    }
}

fn header_of<const SIZE: usize>(bytes: &[u8]) -> Result<&[u8; SIZE], Malformed> {
    bytes.first_chunk().ok_or(Malformed::Transport)
}
