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

const TCP_SIZE: usize = 20;
const UDP_SIZE: usize = 8;
const SCTP_SIZE: usize = 12;
const ICMP_SIZE: usize = 4;

impl Transport {
    /// Reads the header of a known protocol; nothing of others. `available` is the packet's payload
    /// in bytes, of which `bytes` are at hand; `whole` tells that the packet is no fragment.
    ///
    /// # Errors
    /// When the header is cut short or lies. A first fragment must have all of it: what is filtered
    /// by its ports must not be able to keep them for the second (RFC 1858, 3.1; RFC 7112).
    #[inline]
    pub fn parse(
        kind: u8,
        bytes: &[u8],
        available: usize,
        whole: bool,
    ) -> Result<Option<Self>, Malformed> {
        let size = match kind {
            protocol::TCP => TCP_SIZE,
            protocol::UDP => UDP_SIZE,
            protocol::SCTP => SCTP_SIZE,
            protocol::ICMP | protocol::ICMPV6 => ICMP_SIZE,
            _ => return Ok(None),
        };
        let header = bytes.get(..size).ok_or(Malformed::Transport)?;
        let word = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let ports = Self {
            source: word(0),
            destination: word(2),
            tcp_flags: 0,
        };
        match kind {
            protocol::TCP => {
                let data_offset = usize::from(header[12] >> 4) * 4;
                if data_offset < TCP_SIZE || data_offset > available {
                    return Err(Malformed::Transport);
                }
                let tcp_flags = header[13];
                Ok(Some(Self { tcp_flags, ..ports }))
            }
            // 0 is for jumbograms (RFC 2675), which no Ethernet carries.
            protocol::UDP => {
                let length = usize::from(word(4));
                if length < UDP_SIZE || (whole && length > available) {
                    return Err(Malformed::Transport);
                }
                Ok(Some(ports))
            }
            protocol::SCTP => Ok(Some(ports)),
            _ => Ok(Some(Self {
                source: header[0].into(),
                destination: header[1].into(),
                tcp_flags: 0,
            })),
        }
    }
}
