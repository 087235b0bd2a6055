//! The fields of a frame that a rule may ask for, as numbers in one array.

use crate::{
    limits::NetworkIndex,
    wire::{
        ip::Fragment,
        layer2::Layer2,
        packet::{Family, Packet},
    },
};

/// A field, and its place in a [`Key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Field {
    /// The network's index.
    Network,
    /// The EtherType behind the tags.
    Ethertype,
    /// Priority code point of the outer tag; 0 without one.
    Pcp,
    /// Source MAC address.
    SourceMac,
    /// Destination MAC address.
    DestinationMac,
    /// The upper half of the source address; 0 for IPv4.
    SourceHigh,
    /// The lower half of the source address, or the IPv4 address.
    SourceLow,
    /// The upper half of the destination address; 0 for IPv4.
    DestinationHigh,
    /// The lower half of the destination address, or the IPv4 address.
    DestinationLow,
    /// IP protocol, or ARP operation.
    Protocol,
    /// Differentiated services code point.
    Dscp,
    /// 0 for a whole packet, 1 for a first fragment, 2 for a later one.
    Fragment,
    /// 1 where the transport header's fields are known.
    Transport,
    /// Source port, or ICMP type.
    SourcePort,
    /// Destination port, or ICMP code.
    DestinationPort,
    /// TCP flags.
    TcpFlags,
}

impl Field {
    /// How many there are.
    pub const COUNT: usize = 16;
    /// All, in the order of the key.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Network,
        Self::Ethertype,
        Self::Pcp,
        Self::SourceMac,
        Self::DestinationMac,
        Self::SourceHigh,
        Self::SourceLow,
        Self::DestinationHigh,
        Self::DestinationLow,
        Self::Protocol,
        Self::Dscp,
        Self::Fragment,
        Self::Transport,
        Self::SourcePort,
        Self::DestinationPort,
        Self::TcpFlags,
    ];

    /// The largest value.
    #[must_use]
    pub const fn largest(self) -> u64 {
        match self {
            Self::Network | Self::Ethertype | Self::SourcePort | Self::DestinationPort => 0xffff,
            Self::Pcp => 7,
            Self::SourceMac | Self::DestinationMac => (1 << 48) - 1,
            Self::SourceHigh | Self::SourceLow | Self::DestinationHigh | Self::DestinationLow => {
                u64::MAX
            }
            Self::Protocol | Self::TcpFlags => 0xff,
            Self::Dscp => 63,
            Self::Fragment => 2,
            Self::Transport => 1,
        }
    }
}

/// All fields of one frame. A field that the frame does not have is 0, and the rule that asks for
/// it asks for what tells so too: the EtherType, [`Field::Transport`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Key([u64; Field::COUNT]);

impl Key {
    /// The key of a frame.
    #[must_use]
    #[inline]
    pub fn new(network: NetworkIndex, header: &Layer2, packet: &Packet) -> Self {
        let mut key = Self::default();
        let transport = packet.transport.unwrap_or_default();
        key.set(Field::Network, network.get() as u64);
        key.set(Field::Ethertype, header.ethertype.into());
        key.set(
            Field::Pcp,
            header.tag.map_or(0, |tag| u64::from(tag.tci().0 >> 13)),
        );
        key.set(Field::SourceMac, header.source.to_u64());
        key.set(Field::DestinationMac, header.destination.to_u64());
        key.set(Field::SourceHigh, (packet.source >> 64) as u64);
        key.set(Field::SourceLow, packet.source as u64);
        key.set(Field::DestinationHigh, (packet.destination >> 64) as u64);
        key.set(Field::DestinationLow, packet.destination as u64);
        key.set(Field::Protocol, packet.protocol.into());
        key.set(Field::Dscp, (packet.traffic_class >> 2).into());
        key.set(Field::Fragment, packet.fragment as u64);
        key.set(Field::Transport, packet.transport.is_some().into());
        key.set(Field::SourcePort, transport.source.into());
        key.set(Field::DestinationPort, transport.destination.into());
        key.set(Field::TcpFlags, transport.tcp_flags.into());
        key
    }

    /// One field.
    #[must_use]
    #[inline]
    pub fn get(&self, field: Field) -> u64 {
        self.0[field as usize]
    }

    /// Sets one field.
    #[inline]
    pub fn set(&mut self, field: Field, value: u64) {
        debug_assert!(value <= field.largest());
        self.0[field as usize] = value;
    }
}

const _: () = assert!(Field::TcpFlags as usize + 1 == Field::COUNT);
const _: () = assert!(Fragment::Later as u64 == Field::Fragment.largest());
const _: () = assert!(Family::Other as u8 == 0);
