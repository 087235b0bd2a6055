//! The fields of a [`Key`] in seven words: what a flow is told from others by.

use super::{
    case::Test,
    key::{Field, Key},
};
use crate::{
    limits::NetworkIndex,
    wire::{ip::ETHERTYPE_IPV4, layer2::Layer2, ordinary::Ordinary, packet::Packet},
};

/// Words of a packed key.
pub const WORDS: usize = 7;

/// A key without gaps. Also a mask over one: the bits that something asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Packed(pub [u64; WORDS]);

/// A word of a packed key, so that no number of one has to be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Word {
    SourceHigh,
    SourceLow,
    DestinationHigh,
    DestinationLow,
    /// The source MAC address and the EtherType.
    Source,
    /// The destination MAC address and the network.
    Destination,
    /// All else.
    Transport,
}

const _: () = assert!(Word::Transport as usize + 1 == WORDS);

/// The word and the lowest bit of a field.
pub(super) const fn place(field: Field) -> (Word, u32) {
    match field {
        Field::SourceHigh => (Word::SourceHigh, 0),
        Field::SourceLow => (Word::SourceLow, 0),
        Field::DestinationHigh => (Word::DestinationHigh, 0),
        Field::DestinationLow => (Word::DestinationLow, 0),
        Field::SourceMac => (Word::Source, 0),
        Field::Ethertype => (Word::Source, 48),
        Field::DestinationMac => (Word::Destination, 0),
        Field::Network => (Word::Destination, 48),
        Field::SourcePort => (Word::Transport, 0),
        Field::DestinationPort => (Word::Transport, 16),
        Field::Protocol => (Word::Transport, 32),
        Field::TcpFlags => (Word::Transport, 40),
        Field::Dscp => (Word::Transport, 48),
        Field::Fragment => (Word::Transport, 54),
        Field::Transport => (Word::Transport, 56),
        Field::Pcp => (Word::Transport, 57),
    }
}

/// The bits that a field takes, from the lowest on.
pub(super) const fn bits(field: Field) -> u64 {
    u64::MAX >> field.largest().leading_zeros()
}

impl Packed {
    /// The packed key of a frame.
    #[must_use]
    #[inline(always)]
    pub fn new(network: NetworkIndex, header: &Layer2, packet: &Packet) -> Self {
        let transport = packet.transport.unwrap_or_default();
        let pcp = header.tag.map_or(0, |tag| u64::from(tag.tci().0 >> 13));
        Self([
            (packet.source >> 64) as u64,
            packet.source as u64,
            (packet.destination >> 64) as u64,
            packet.destination as u64,
            header.source.to_u64() | u64::from(header.ethertype) << 48,
            header.destination.to_u64() | (network.get() as u64) << 48,
            u64::from(transport.source)
                | u64::from(transport.destination) << 16
                | u64::from(packet.protocol) << 32
                | u64::from(transport.tcp_flags) << 40
                | u64::from(packet.traffic_class >> 2) << 48
                | (packet.fragment as u64) << 54
                | u64::from(packet.transport.is_some()) << 56
                | pcp << 57,
        ])
    }

    /// The same of an ordinary packet.
    #[must_use]
    #[inline(always)]
    pub fn of_ordinary(network: NetworkIndex, packet: &Ordinary) -> Self {
        Self([
            0,
            packet.source_address().into(),
            0,
            packet.destination_address().into(),
            packet.source.to_u64() | u64::from(ETHERTYPE_IPV4) << 48,
            packet.destination.to_u64() | (network.get() as u64) << 48,
            // The source port is the lower half.
            u64::from(packet.ports.rotate_left(16))
                | u64::from(packet.protocol) << 32
                | u64::from(packet.tcp_flags) << 40
                | u64::from(packet.traffic_class >> 2) << 48
                // A whole packet, and a header that is known.
                | 1 << 56
                | u64::from(packet.pcp) << 57,
        ])
    }

    /// These fields.
    #[must_use]
    pub fn of(key: &Key) -> Self {
        let mut packed = Self::default();
        for field in Field::ALL {
            packed.add(field, key.get(field));
        }
        packed
    }

    /// The key, field by field.
    #[must_use]
    pub fn unpack(&self) -> Key {
        let mut key = Key::default();
        for field in Field::ALL {
            key.set(field, self.get(field));
        }
        key
    }

    /// One word.
    #[inline(always)]
    pub(super) fn word(&self, word: Word) -> u64 {
        self.0[word as usize]
    }

    /// What all ordinary packets have in common.
    pub(super) const ORDINARY: [(Field, u64); 5] = [
        (Field::SourceHigh, 0),
        (Field::DestinationHigh, 0),
        (Field::Ethertype, ETHERTYPE_IPV4 as u64),
        (Field::Fragment, 0),
        (Field::Transport, 1),
    ];

    /// Whether it is that of an ordinary packet.
    #[must_use]
    #[inline]
    pub fn is_ordinary(&self) -> bool {
        // The last two fields are side by side.
        const ABOVE: u32 = 64 - 57;
        const IS_WHOLE: u64 = 0b100;
        let [source_high, _, destination_high, _, source, _, transport] = self.0;
        source_high | destination_high == 0
            && source >> 48 == u64::from(ETHERTYPE_IPV4)
            && transport << ABOVE >> (ABOVE + 54) == IS_WHOLE
    }

    /// One field.
    #[must_use]
    #[inline]
    pub fn get(&self, field: Field) -> u64 {
        let (word, shift) = place(field);
        self.word(word) >> shift & bits(field)
    }

    /// These bits of a field, too.
    pub fn add(&mut self, field: Field, more: u64) {
        let (word, shift) = place(field);
        self.0[word as usize] |= (more & bits(field)) << shift;
    }

    /// The bits that a condition looks at.
    pub fn add_test(&mut self, test: &Test) {
        match test {
            Test::Range { field, mask, .. } => self.add(*field, *mask),
            Test::InSet { high, low, .. } => {
                self.add(*low, u64::MAX);
                if let Some(high) = high {
                    self.add(*high, u64::MAX);
                }
            }
        }
    }

    /// The bits of both masks.
    #[must_use]
    #[inline]
    pub fn union(mut self, other: &Self) -> Self {
        for (own, other) in self.0.iter_mut().zip(other.0) {
            *own |= other;
        }
        self
    }

    /// Only what the mask asks for.
    #[must_use]
    #[inline(always)]
    pub fn masked(mut self, mask: &Self) -> Self {
        for (own, mask) in self.0.iter_mut().zip(mask.0) {
            *own &= mask;
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_overlap_and_come_back() {
        let mut all = Packed::default();
        for field in Field::ALL {
            let mut one = Packed::default();
            one.add(field, u64::MAX);
            assert_eq!(one.get(field), bits(field), "{field:?}");
            assert_eq!(all.masked(&one), Packed::default(), "{field:?} overlaps");
            all = all.union(&one);
        }
        for field in Field::ALL {
            assert_eq!(all.get(field), bits(field), "{field:?}");
        }
    }

    #[test]
    fn what_all_ordinary_packets_have_makes_one() {
        let mut ordinary = Packed::default();
        for (field, value) in Packed::ORDINARY {
            ordinary.add(field, value);
        }
        assert!(ordinary.is_ordinary());
        let asked = Packed::ORDINARY.map(|(field, _)| field);
        for field in Field::ALL {
            for bit in 0..u64::BITS - field.largest().leading_zeros() {
                let mut other = Key::default();
                for field in Field::ALL {
                    other.set(field, ordinary.get(field));
                }
                other.set(field, (ordinary.get(field) ^ 1 << bit).min(field.largest()));
                let expected = !asked.contains(&field);
                let packed = Packed::of(&other);
                assert_eq!(packed.is_ordinary(), expected, "{field:?}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_frame_packs_to_what_its_key_has() {
        use crate::wire::{ip::Fragment, l4::Transport, packet::Family, vlan};
        let bytes = [
            0xff, 0xee, 0xdd, 0xcc, 0xbb, 0xaa, 2, 3, 4, 5, 6, 7, 0x81, 0, 0xef, 0xfe, 0x86, 0xdd,
        ];
        let header = Layer2::parse(&bytes).expect("long enough");
        assert_eq!(header.tag.map(|tag| tag.tpid()), Some(vlan::Tpid::Customer));
        let packet = Packet {
            family: Family::Ipv6,
            source: u128::MAX - 7,
            destination: u128::MAX / 3,
            traffic_class: 0xb9,
            protocol: 0xa5,
            fragment: Fragment::First,
            transport: Some(Transport {
                source: 0xfedc,
                destination: 0x1234,
                tcp_flags: 0x9b,
            }),
            payload_start: 40,
            payload_end: 60,
        };
        let network = NetworkIndex::new(4095);
        let expected = Key::new(network, &header, &packet);
        assert_eq!(Packed::new(network, &header, &packet).unpack(), expected);
    }

    #[test]
    fn an_ordinary_packet_packs_to_what_its_key_has() {
        for (tag, kind) in [(&[][..], 6), (&[0x81, 0, 0xef, 0xfe], 6), (&[], 17)] {
            let mut bytes = (0x41..0x4d).collect::<Vec<u8>>();
            bytes.extend(tag);
            bytes.extend([8, 0, 0x45, 0xb9, 0, 40, 1, 2, 0x40, 0, 64, kind, 3, 4]);
            bytes.extend([
                10, 0, 0xfe, 0xdc, 192, 168, 0x12, 0x34, 0xfe, 0xdc, 0x12, 0x34,
            ]);
            bytes.extend([0, 20, 7, 7, 7, 7, 7, 7, 0x50, 0x9b, 0, 0, 0, 0, 0, 0]);
            let header = Layer2::parse(&bytes).expect("long enough");
            let packet = Packet::of_frame(&header, &bytes, bytes.len()).expect("well formed");
            let ordinary = Ordinary::read(&bytes, bytes.len()).expect("it is ordinary");
            let network = NetworkIndex::new(4095);
            let expected = Packed::new(network, &header, &packet);
            assert_eq!(
                Packed::of_ordinary(network, &ordinary),
                expected,
                "{bytes:x?}"
            );
        }
    }
}
