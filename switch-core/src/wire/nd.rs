//! Neighbour discovery (RFC 4861): whose addresses a message states.

use super::{ethernet::Mac, packet::Malformed};

/// ICMPv6 types of neighbour discovery.
pub mod kind {
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u16 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u16 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u16 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u16 = 136;
    /// Redirect.
    pub const REDIRECT: u16 = 137;
}

/// Options that state a link-layer address (RFC 4861, 4.6.1).
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

/// A message, as far as it states addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NeighbourDiscovery {
    /// The address that is asked for or answered about; none in router messages.
    pub target: Option<u128>,
    /// The sender's own link-layer address, as it says.
    pub source_mac: Option<Mac>,
    /// The target's link-layer address.
    pub target_mac: Option<Mac>,
}

impl NeighbourDiscovery {
    /// Reads the message that begins with the ICMPv6 header; nothing of other types.
    ///
    /// # Errors
    /// When it is cut short, or an option lies about its length (RFC 4861, 4.6), or states another
    /// address than one of six bytes, or a second one.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let kind = u16::from(*bytes.first().ok_or(Malformed::Transport)?);
        let (fixed, has_target) = match kind {
            kind::ROUTER_SOLICITATION => (8, false),
            kind::ROUTER_ADVERTISEMENT => (16, false),
            kind::NEIGHBOUR_SOLICITATION | kind::NEIGHBOUR_ADVERTISEMENT => (24, true),
            kind::REDIRECT => (40, true),
            _ => return Ok(None),
        };
        let (header, mut options) = bytes.split_at_checked(fixed).ok_or(Malformed::Transport)?;
        let target = header.get(8..24).and_then(<[u8]>::first_chunk);
        let mut message = Self {
            target: target
                .filter(|_| has_target)
                .map(|bytes| u128::from_be_bytes(*bytes)),
            ..Self::default()
        };
        while let [kind, length, ..] = *options {
            let size = usize::from(length) * 8;
            let (option, rest) = options.split_at_checked(size).ok_or(Malformed::Transport)?;
            if size == 0 {
                return Err(Malformed::Transport);
            }
            message.add(kind, option)?;
            options = rest;
        }
        if options.is_empty() {
            Ok(Some(message))
        } else {
            Err(Malformed::Transport)
        }
    }

    fn add(&mut self, kind: u8, option: &[u8]) -> Result<(), Malformed> {
        let place = match kind {
            SOURCE_LINK_LAYER => &mut self.source_mac,
            TARGET_LINK_LAYER => &mut self.target_mac,
            _ => return Ok(()),
        };
        let [_, _, a, b, c, d, e, f] = *option else {
            return Err(Malformed::Transport);
        };
        // Receivers differ in which of two they believe.
        match place.replace(Mac([a, b, c, d, e, f])) {
            None => Ok(()),
            Some(_) => Err(Malformed::Transport),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advertisement(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
        bytes.extend(0xfd_u128.to_be_bytes());
        bytes.extend(options);
        bytes
    }

    #[test]
    fn an_advertisement_with_its_options() {
        let mac = [2, 1, 2, 0, 0, 0, 0, 7];
        let expected = NeighbourDiscovery {
            target: Some(0xfd),
            source_mac: None,
            target_mac: Some(Mac([2, 0, 0, 0, 0, 7])),
        };
        assert_eq!(
            NeighbourDiscovery::parse(&advertisement(&mac)),
            Ok(Some(expected))
        );
        assert_eq!(NeighbourDiscovery::parse(&[128, 0, 0, 0]), Ok(None));
    }

    #[test]
    fn options_that_lie_and_messages_cut_short_at_every_length() {
        let option = [2, 1, 2, 0, 0, 0, 0, 7];
        let whole = advertisement(&option);
        for length in 0..whole.len() {
            let parsed = NeighbourDiscovery::parse(&whole[..length]);
            // Without its options it is whole, too.
            assert_eq!(parsed.is_ok(), length == 24, "{length} bytes");
        }
        for wrong in [
            &[2, 0, 2, 0, 0, 0, 0, 7][..],
            &[2, 2, 2, 0, 0, 0, 0, 7],
            &[2, 2, 2, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0],
            &[2, 1, 2, 0, 0, 0, 0, 7, 2, 1, 2, 0, 0, 0, 0, 8],
        ] {
            assert!(
                NeighbourDiscovery::parse(&advertisement(wrong)).is_err(),
                "{wrong:?}"
            );
        }
    }
}
