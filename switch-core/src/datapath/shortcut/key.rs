//! What stands in an ordinary frame, as words that are compared: its [`Key`].
//!
//! All that the stages from classifying to access control lists may ask of such a frame is in its
//! key, with the place where it is asked, so that frames with the same key have the same fate
//! there. Whether a header lies about a length is asked of each frame.

use std::hint::cold_path;

use crate::{
    config::policy::{FlowPlace, TO_PORT},
    limits::SHORTCUTS_PER_WORKER,
    mem::{Frame, Region},
    wire::{
        ethernet::PackedMac,
        ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, protocol},
        ordinary::Ordinary,
        parse::{Behind, TAGGED_HEADER_SIZE},
        vlan::{TAG_SIZE, Tpid},
    },
};

/// Words of a key: two of addresses and tag at layer 2, addresses at layer 3, transport and all
/// else, the place. Of IPv4 only the first five are used.
pub(super) const WORDS: usize = 8;
pub(super) const WORDS_IPV4: usize = 5;
/// Transport and all else, and the place.
const REST: usize = 3;
const PLACE: usize = 4;

/// Bytes that a key is read from, whatever their number in the frame: the chunk has them.
const FRONT: usize = 80;
type Front = [u8; FRONT];

const _: () = assert!(TAGGED + IPV6_HEADER + TCP_HEADER <= FRONT);

/// Where the IP header is.
pub(super) const TAGGED: usize = TAGGED_HEADER_SIZE;
pub(super) const UNTAGGED: usize = TAGGED_HEADER_SIZE - TAG_SIZE;

/// Sizes of headers without options.
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: u32 = 8;
const TCP_HEADER: usize = 20;

/// EtherTypes as they are read here.
const IPV4: u16 = ETHERTYPE_IPV4.swap_bytes();
const IPV6: u16 = ETHERTYPE_IPV6.swap_bytes();
/// Version 4, a header of 20 bytes.
const PLAIN: u8 = 0x45;

// The word of transport and all else, from the lowest bit on: ports (32 bits), of IPv4 the fragment
// offset and the flag for more in the order of their bytes (16, none of which a kept key has),
// where two bits are free, DSCP where no other word has it (8, of which two are free), protocol
// (8).
const FRAGMENT: u64 = (0x3fff_u16.swap_bytes() as u64) << 32;
const IS_TAGGED: u64 = 1 << 38;
const IS_IPV6: u64 = 1 << 39;
const IS_DROPPED: u64 = 1 << 48;
const DSCP: u16 = 0xfc;
const DSCP_SHIFT: u32 = 48;
const ECN: u64 = 3;
const PROTOCOL_SHIFT: u32 = 56;
/// TCP flags are above a place, of whose number of the configuration 33 bits are left.
const FLAGS_SHIFT: u32 = 56;
const PLACE_MASK: u64 = (1 << FLAGS_SHIFT) - 1;

const _: () = assert!(FRAGMENT & (IS_TAGGED | IS_IPV6) == 0);
const _: () = assert!((FRAGMENT | (DSCP as u64) << DSCP_SHIFT) & IS_DROPPED == 0);

/// The bits of a hash that choose a place: the uppermost, since only they depend on all bits.
const INDEX_SHIFT: u32 = u64::BITS - SHORTCUTS_PER_WORKER.ilog2();
const _: () = assert!(SHORTCUTS_PER_WORKER.is_power_of_two());

/// What a frame's fate depends on up to its access control lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key([u64; WORDS]);

impl Key {
    /// What no frame has.
    pub(super) const NONE: Self = Self([0; WORDS]);

    /// The key that begins with these words.
    #[inline]
    fn of<const N: usize>(words: [u64; N]) -> Self {
        let mut key = Self::NONE;
        key.0[..N].copy_from_slice(&words);
        key
    }

    /// The key under which a flow is kept whose frames are dropped: no frame has it, so that what
    /// looks for frames that go on finds none.
    pub(super) const fn of_dropped(mut self) -> Self {
        self.0[REST] |= IS_DROPPED;
        self
    }

    /// Whether a flow that is kept is the one of frames with this key, dropped or not.
    pub(super) fn is_of(&self, frame: &Self) -> bool {
        let (own, other) = (&self.0, &frame.0);
        // First the words that differ most.
        own[REST] & !IS_DROPPED == other[REST]
            && own[2] == other[2]
            && own[..2] == other[..2]
            && own[PLACE..] == other[PLACE..]
    }

    /// Whether it is the one that no frame has: a key says which protocol a packet carries.
    #[inline(always)]
    pub(super) fn is_none(&self) -> bool {
        self.0[REST] == 0
    }

    /// One word.
    #[inline(always)]
    pub(super) fn word(&self, number: usize) -> u64 {
        self.0[number]
    }

    /// Whether it may be the one of frames that have these words, as far as the word says that
    /// differs most.
    #[inline(always)]
    pub(super) fn may_be_of<const N: usize>(&self, words: &[u64; N]) -> bool {
        (self.0[REST] ^ words[REST]) & !IS_DROPPED == 0
    }

    /// Whether frames of a kind that have these words go on; none where they are not of this flow.
    #[inline]
    pub(super) fn is_of_words<K: Kind<N>, const N: usize>(&self, words: &[u64; N]) -> Option<bool> {
        let is_same = |number: usize| match number {
            REST => self.0[REST] & !IS_DROPPED == words[REST],
            _ => self.0[number] == words[number],
        };
        let goes_on = self.0[REST] == words[REST];
        K::COMPARED.into_iter().all(is_same).then_some(goes_on)
    }
}

/// Secret odd numbers that choose the places of flows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Secrets([u64; WORDS]);

impl Secrets {
    /// All flows have the same places.
    pub(super) const NONE: Self = Self([0; WORDS]);

    pub(super) fn new(numbers: [u64; WORDS]) -> Self {
        Self(numbers.map(|number| number | 1))
    }

    /// The first of the places where a flow is kept if there is room: by the uppermost bits of a
    /// sum of products with secret odd numbers (multilinear hashing). Flows that share their
    /// addresses at layer 3 and their ports are rare, so those at layer 2 have no product of their
    /// own. Of the place only the direction matters, so that a flow that is kept at both its ends
    /// does not get in its own way.
    #[inline(always)]
    pub(super) fn first<const N: usize>(&self, words: &[u64; N]) -> usize {
        let [s0, s1, s2, s3, s4, ..] = self.0;
        Self::index(words, [s0, s1, s2, s3, s4])
    }

    /// The first of the places where it is otherwise: by other products, so that flows that are
    /// together in the one are not together in the other.
    pub(super) fn second<const N: usize>(&self, words: &[u64; N]) -> usize {
        let [_, _, _, s3, s4, s5, s6, s7] = self.0;
        Self::index(words, [s5, s6, s7, s4, s3])
    }

    #[inline(always)]
    fn index<const N: usize>(words: &[u64; N], secrets: [u64; 5]) -> usize {
        let rest = words[REST].wrapping_add(words[0]).wrapping_add(words[1]);
        let [of_addresses, of_rest, of_further @ ..] = secrets;
        let mut hash = words[2].wrapping_mul(of_addresses);
        hash = hash.wrapping_add(rest.wrapping_mul(of_rest));
        for (word, secret) in words[WORDS_IPV4..].iter().zip(of_further) {
            hash = hash.wrapping_add(word.wrapping_mul(secret));
        }
        (hash >> INDEX_SHIFT) as usize
    }

    /// The same of a key.
    pub(super) fn sets_of(&self, key: &Key) -> [usize; 2] {
        let far = far(key.0[PLACE]);
        [self.first(&key.0) ^ far, self.second(&key.0) ^ far]
    }
}

/// How far from each other a flow is kept that is known at both its ends, given the place.
fn far(place: u64) -> usize {
    match place & TO_PORT {
        0 => 0,
        _ => SHORTCUTS_PER_WORKER / 2,
    }
}

/// One of the kinds of ordinary frames, whose keys are read and compared by code of their own.
pub(super) trait Kind<const N: usize> {
    /// The words in the order in which they are compared: first those that differ most.
    const COMPARED: [usize; N];

    /// The words of a frame if it is of this kind; else none, or words that no key has. What tells
    /// whether it is, has no options and is no fragment need not be asked where it stands in them.
    fn words(reading: &Reading, region: &Region, frame: &Frame) -> Option<[u64; N]>;

    /// Whether words are those of an ordinary frame of this kind.
    fn are_ordinary(words: &[u64; N]) -> bool;

    /// The packet of such a frame, for kinds of which all is in the words that guards and lists ask
    /// for.
    #[inline(always)]
    fn unknown(_: &[u64; N]) -> Option<Unknown<'_>> {
        None
    }
}

/// A packet of IPv4 in a frame without a tag, of whose flow no shortcut is known.
#[derive(Clone, Copy, Debug)]
pub(in crate::datapath) struct Unknown<'a>(&'a [u64; WORDS_IPV4]);

impl Unknown<'_> {
    /// What guards and lists ask of it. ECN is not in the words, nor are TCP flags where no rule
    /// asks for them.
    #[inline(always)]
    pub(in crate::datapath) fn packet(self) -> Ordinary {
        let &[w0, w1, w2, rest, place] = self.0;
        Ordinary {
            destination: PackedMac::from_le(w0),
            source: PackedMac::from_le(w0 >> 48 | w1 << 16),
            pcp: 0,
            traffic_class: (w1 >> 56) as u8,
            protocol: (rest >> PROTOCOL_SHIFT) as u8,
            tcp_flags: (place >> FLAGS_SHIFT) as u8,
            addresses: w2.swap_bytes(),
            ports: (rest as u32).swap_bytes(),
        }
    }
}

/// A packet of IPv4 that begins at `L3`.
#[derive(Debug)]
pub(super) struct Ipv4<const L3: usize>;

impl Kind<WORDS_IPV4> for Ipv4<UNTAGGED> {
    const COMPARED: [usize; WORDS_IPV4] = COMPARED_IPV4;

    #[inline(always)]
    fn words(reading: &Reading, region: &Region, frame: &Frame) -> Option<[u64; WORDS_IPV4]> {
        reading.ipv4::<UNTAGGED>(region.front_of_one(frame)?, frame.size() as u32)
    }

    fn are_ordinary(&[_, w1, _, rest, _]: &[u64; WORDS_IPV4]) -> bool {
        let [_, _, _, _, ethertype @ .., first, _] = w1.to_le_bytes();
        u16::from_le_bytes(ethertype) == IPV4 && first == PLAIN && rest & FRAGMENT == 0
    }

    #[inline(always)]
    fn unknown(words: &[u64; WORDS_IPV4]) -> Option<Unknown<'_>> {
        Some(Unknown(words))
    }
}

impl Kind<WORDS_IPV4> for Ipv4<TAGGED> {
    const COMPARED: [usize; WORDS_IPV4] = COMPARED_IPV4;

    #[inline(always)]
    fn words(reading: &Reading, region: &Region, frame: &Frame) -> Option<[u64; WORDS_IPV4]> {
        let front: &Front = region.front_of_one(frame)?;
        if !reading.is_tagged(front) || u16_at(front, TAGGED - 2) != IPV4 || front[TAGGED] != PLAIN
        {
            cold_path();
            return None;
        }
        reading.ipv4::<TAGGED>(front, frame.size() as u32)
    }

    fn are_ordinary(&[_, _, _, rest, _]: &[u64; WORDS_IPV4]) -> bool {
        rest & FRAGMENT == 0
    }
}

/// A packet of IPv6 that begins at `L3`.
#[derive(Debug)]
pub(super) struct Ipv6<const L3: usize>;

impl<const L3: usize> Kind<WORDS> for Ipv6<L3> {
    const COMPARED: [usize; WORDS] = [REST, 7, 6, 5, 2, 0, 1, PLACE];

    #[inline(always)]
    fn words(reading: &Reading, region: &Region, frame: &Frame) -> Option<[u64; WORDS]> {
        let front: &Front = region.front_of_one(frame)?;
        let is_tagged = L3 == TAGGED;
        if is_tagged != reading.is_tagged(front)
            || u16_at(front, L3 - 2) != IPV6
            || front[L3] >> 4 != 6
        {
            cold_path();
            return None;
        }
        reading.ipv6::<L3>(front, frame.size() as u32)
    }

    fn are_ordinary(_: &[u64; WORDS]) -> bool {
        true
    }
}

/// Of IPv4: ports, addresses, then what stations share.
const COMPARED_IPV4: [usize; WORDS_IPV4] = [REST, 2, 0, 1, PLACE];

/// What a frame looks like at first sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Ipv4,
    TaggedIpv4,
    Ipv6,
    TaggedIpv6,
}

/// What the keys of frames at a place have in common.
#[derive(Clone, Copy, Debug)]
pub(in crate::datapath) struct Reading {
    place: u64,
    tpid: Tpid,
    /// Which of the TCP flags rules ask for.
    tcp_flags: u64,
}

impl Reading {
    /// For frames at this place that may have this tag. Where they come in, the network follows
    /// from port and tag.
    pub(in crate::datapath) fn new(place: FlowPlace, tpid: Tpid, asks_tcp_flags: bool) -> Self {
        Self {
            place: place.to_word() & PLACE_MASK,
            tpid,
            tcp_flags: if asks_tcp_flags { 0xff } else { 0 },
        }
    }

    /// The key of a frame; none where it is not an ordinary one.
    pub(super) fn key(&self, region: &Region, frame: &Frame) -> Option<Key> {
        let front: &Front = region.front_of_one(frame)?;
        if self.is_tagged(front) {
            self.key_at::<TAGGED>(front, frame.size() as u32)
        } else {
            self.key_at::<UNTAGGED>(front, frame.size() as u32)
        }
    }

    /// The same, with the IP header at `L3`.
    fn key_at<const L3: usize>(&self, front: &Front, size: u32) -> Option<Key> {
        match u16_at(front, L3 - 2) {
            IPV4 if front[L3] == PLAIN => {
                let words = self.ipv4::<L3>(front, size)?;
                (words[REST] & FRAGMENT == 0).then(|| Key::of(words))
            }
            IPV6 if front[L3] >> 4 == 6 => Some(Key(self.ipv6::<L3>(front, size)?)),
            _ => None,
        }
    }

    /// Flows are kept so far from where they would be at a way in.
    #[inline(always)]
    pub(super) fn far(&self) -> usize {
        far(self.place)
    }

    /// What a frame looks like; none where it is certainly not an ordinary one.
    pub(super) fn form_of(&self, region: &Region, frame: &Frame) -> Option<Form> {
        let front: &Front = region.front_of_one(frame)?;
        let is_tagged = self.is_tagged(front);
        let l3 = if is_tagged { TAGGED } else { UNTAGGED };
        match (u16_at(front, l3 - 2), is_tagged) {
            (IPV4, false) => Some(Form::Ipv4),
            (IPV4, true) => Some(Form::TaggedIpv4),
            (IPV6, false) => Some(Form::Ipv6),
            (IPV6, true) => Some(Form::TaggedIpv6),
            _ => None,
        }
    }

    /// Whether a frame has a tag of the protocol of its port.
    #[inline(always)]
    fn is_tagged(&self, front: &Front) -> bool {
        let behind = *front.first_chunk().expect("at a constant place");
        Behind::addresses_of(&behind).is_tag_of(self.tpid)
    }

    #[inline(always)]
    fn ipv4<const L3: usize>(&self, front: &Front, size: u32) -> Option<[u64; WORDS_IPV4]> {
        let total = number_at(front, L3 + 2);
        if total + L3 as u32 > size {
            cold_path();
            return None;
        }
        let header = IPV4_HEADER as u32;
        let kind = front[L3 + 9];
        let (ports, flags) = self.transport(front, L3 + IPV4_HEADER, kind, (header, total))?;
        let rest = u64_at(front, L3 + 2) & (FRAGMENT | 0xff << PROTOCOL_SHIFT) | ports;
        let (w1, w3) = if L3 == UNTAGGED {
            // Behind the source address: EtherType, version, header size and DSCP.
            (u64_at(front, 8) & !(ECN << 56), rest)
        } else {
            let dscp = u64::from(u16::from(front[L3 + 1]) & DSCP) << DSCP_SHIFT;
            (u64_at(front, 8), rest | dscp | IS_TAGGED)
        };
        let (w0, w2) = (u64_at(front, 0), u64_at(front, L3 + 12));
        Some([w0, w1, w2, w3, self.place | flags])
    }

    #[inline(always)]
    fn ipv6<const L3: usize>(&self, front: &Front, size: u32) -> Option<[u64; WORDS]> {
        let payload = number_at(front, L3 + 4);
        if payload + (L3 + IPV6_HEADER) as u32 > size {
            cold_path();
            return None;
        }
        let kind = front[L3 + 6];
        let (ports, flags) = self.transport(front, L3 + IPV6_HEADER, kind, (0, payload))?;
        let class = u16::from_be_bytes(bytes_at(front, L3)) >> 4;
        let (w1, tagged) = match L3 {
            TAGGED => (u64_at(front, 8), IS_TAGGED),
            _ => (u32_at(front, 8).into(), 0),
        };
        let w3 = ports
            | IS_IPV6
            | tagged
            | u64::from(class & DSCP) << DSCP_SHIFT
            | u64::from(kind) << PROTOCOL_SHIFT;
        let [w2, w5, w6, w7] = [8, 16, 24, 32].map(|at| u64_at(front, L3 + at));
        let (w0, place) = (u64_at(front, 0), self.place | flags);
        Some([w0, w1, w2, w3, place, w5, w6, w7])
    }

    /// Ports and flags, with what `Transport::parse` asks of the header at `at`, which is `before`
    /// bytes into the `total` of the packet.
    ///
    /// A datagram that is shorter than the packet that it is in is a correct one, and so rare that
    /// it has no key: to ask for the same length is one comparison instead of two.
    #[inline(always)]
    fn transport(
        &self,
        front: &Front,
        at: usize,
        kind: u8,
        (before, total): (u32, u32),
    ) -> Option<(u64, u64)> {
        let ports = u64::from(u32_at(front, at));
        if kind == protocol::UDP {
            // A branch each: to put both answers together would cost more.
            if number_at(front, at + 4) + before != total {
                cold_path();
                return None;
            }
            if total < UDP_HEADER + before {
                cold_path();
                return None;
            }
            Some((ports, 0))
        } else if kind == protocol::TCP {
            let header = u32::from(front[at + 12] >> 4) * 4;
            if header < TCP_HEADER as u32 {
                cold_path();
                return None;
            }
            if header + before > total {
                cold_path();
                return None;
            }
            let flags = u64::from(front[at + 13]) & self.tcp_flags;
            Some((ports, flags << FLAGS_SHIFT))
        } else {
            cold_path();
            None
        }
    }
}

#[inline(always)]
fn bytes_at<const N: usize>(front: &Front, at: usize) -> [u8; N] {
    *front[at..].first_chunk().expect("at a constant place")
}

#[inline(always)]
fn u16_at(front: &Front, at: usize) -> u16 {
    u16::from_le_bytes(bytes_at(front, at))
}

#[inline(always)]
fn u32_at(front: &Front, at: usize) -> u32 {
    u32::from_le_bytes(bytes_at(front, at))
}

#[inline(always)]
fn u64_at(front: &Front, at: usize) -> u64 {
    u64::from_le_bytes(bytes_at(front, at))
}

/// A number in network byte order.
#[inline(always)]
fn number_at(front: &Front, at: usize) -> u32 {
    u16::from_be_bytes(bytes_at(front, at)).into()
}
