//! What policy has said about the flows of late, where an ordinary frame finds it by a few loads.
//!
//! **Which frames.** A whole TCP or UDP packet over IPv4 without options or IPv6 without extension
//! headers, in one segment, with no tag or one of its port's protocol. All that the stages from
//! classifying to access control lists may ask of such a frame is in its [`Key`], so that frames
//! with the same key have the same fate up to there. Whether a header lies about a length is asked
//! of each frame. Everything else, such as ARP, neighbour discovery, fragments and what is
//! malformed, has no key and goes through the stages.
//!
//! **What is kept.** The frame's entry as the stages left it. A shortcut counts its frames itself;
//! [`Shortcuts::settle`] adds them to the counters of rules and to the flow table, at least once a
//! second and whenever the worker finds nothing to do.
//!
//! **Bounded and fair.** A shortcut has two places that it may be in, which a keyed hash chooses. A
//! flow takes a free place, or that of a flow that was silent for a second; else one of a port that
//! has more places than its own, or now and then one of its own port. A flow gets one with its
//! second frame, so that flows of a single frame take nobody's.

use std::hint::cold_path;

use arrayvec::ArrayVec;

use super::Entry;
use crate::{
    clock::Tick,
    config::policy::{Direction, FlowPlace},
    counters::WorkerCounters,
    limits::{MAX_PORTS, NetworkIndex, PortIndex, SHORTCUTS_PER_WORKER},
    mem::{Frame, Region},
    table::{
        fdb::View,
        flow::{FlowTable, Ticket, Verdict},
    },
    wire::{
        ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, protocol},
        parse::{Behind, TAGGED_HEADER_SIZE},
        vlan::{TAG_SIZE, Tpid},
    },
};

/// Words of a key: two of addresses and tag at layer 2, addresses at layer 3, transport and all
/// else, the place. Of IPv4 only the first five are used.
const WORDS: usize = 8;
const WORDS_IPV4: usize = 5;

/// Bytes that a key is read from, whatever their number in the frame: the chunk has them.
const FRONT: usize = 80;
type Front = [u8; FRONT];

const _: () = assert!(TAGGED + 40 + 20 <= FRONT);

/// Where the IP header is.
const TAGGED: usize = TAGGED_HEADER_SIZE;
const UNTAGGED: usize = TAGGED_HEADER_SIZE - TAG_SIZE;

/// EtherTypes as they are read here.
const IPV4: u16 = ETHERTYPE_IPV4.swap_bytes();
const IPV6: u16 = ETHERTYPE_IPV6.swap_bytes();
/// Version 4, a header of 20 bytes.
const PLAIN: u8 = 0x45;

// The word of transport and all else, from the lowest bit on: ports (32 bits), of IPv4 the fragment
// offset and the flag for more in the order of their bytes (16, none of which a kept key has),
// where two bits are free, DSCP where no other word has it (8), protocol (8).
const FRAGMENT: u64 = (0x3fff_u16.swap_bytes() as u64) << 32;
const IS_IPV6: u64 = 1 << 39;
const _: () = assert!(FRAGMENT & IS_IPV6 == 0);
const DSCP: u16 = 0xfc;
const DSCP_SHIFT: u32 = 48;
const ECN: u64 = 3;
const PROTOCOL_SHIFT: u32 = 56;
/// TCP flags are where a place has the network, which the tag says here.
const FLAGS_SHIFT: u32 = 10;

/// Behind how many attempts a flow takes the place of another one of its port: two flows that
/// share their places would otherwise drive each other out with every frame.
const PATIENCE: u32 = 8;

/// The bits of a hash that choose a place: the uppermost, since only they depend on all bits.
const PLACE_SHIFT: u32 = u64::BITS - SHORTCUTS_PER_WORKER.ilog2();
const _: () = assert!(SHORTCUTS_PER_WORKER.is_power_of_two());

/// What a frame's fate depends on up to its access control lists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Key([u64; WORDS]);

impl Key {
    const fn is_ipv6(&self) -> bool {
        self.0[3] & IS_IPV6 != 0
    }
}

/// What the keys of a burst have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    place: u64,
    tpid: Tpid,
    /// Which of the TCP flags rules ask for.
    tcp_flags: u64,
}

impl Reading {
    /// For frames from this port under the configuration of this number.
    pub(super) fn new(
        ingress: PortIndex,
        generation: u64,
        tpid: Tpid,
        asks_tcp_flags: bool,
    ) -> Self {
        let anywhere = NetworkIndex::new(0);
        let place = FlowPlace::new(Direction::FromPort, ingress, anywhere, generation);
        Self {
            place: place.to_word(),
            tpid,
            tcp_flags: if asks_tcp_flags { 0xff } else { 0 },
        }
    }

    /// The key of a frame; none where it is not an ordinary one.
    fn key(&self, region: &Region, frame: &Frame) -> Option<Key> {
        let front: &Front = region.front(frame)?;
        // All headers are in the first segment, and the packet is asked to end there.
        let size = i32::from(frame.head().1);
        let behind = Behind::addresses_of(front.first_chunk()?);
        if behind.is_tag_of(self.tpid) {
            self.key_at::<TAGGED>(front, size)
        } else {
            self.key_at::<UNTAGGED>(front, size)
        }
    }

    /// The same, with the IP header at `L3`.
    fn key_at<const L3: usize>(&self, front: &Front, size: i32) -> Option<Key> {
        let mut key = Key::default();
        match u16_at(front, L3 - 2) {
            IPV4 if front[L3] == PLAIN => {
                let words = self.ipv4::<L3>(front, size)?;
                if words[3] & FRAGMENT != 0 {
                    return None;
                }
                key.0[..WORDS_IPV4].copy_from_slice(&words);
            }
            IPV6 if front[L3] >> 4 == 6 => {
                let payload = number_at(front, L3 + 4);
                let protocol = front[L3 + 6];
                if payload > size - L3 as i32 - 40 {
                    return None;
                }
                let (ports, flags) = self.transport(front, L3 + 40, protocol, payload)?;
                let class = u16::from_be_bytes(bytes_at(front, L3)) >> 4;
                let [w0, w1] = ends::<L3>(front);
                let w3 = ports
                    | IS_IPV6
                    | u64::from(class & DSCP) << DSCP_SHIFT
                    | u64::from(protocol) << PROTOCOL_SHIFT;
                let address = |at| u64_at(front, L3 + at);
                let place = self.place | flags;
                let [w2, w5, w6, w7] = [8, 16, 24, 32].map(address);
                key = Key([w0, w1, w2, w3, place, w5, w6, w7]);
            }
            _ => return None,
        }
        Some(key)
    }

    /// The words of IPv4. Whether it is that, has no options and is no fragment is in them, and so
    /// need not be asked of a frame whose words are those of another one.
    #[inline(always)]
    fn ipv4<const L3: usize>(&self, front: &Front, size: i32) -> Option<[u64; WORDS_IPV4]> {
        let [w0, mut w1] = ends::<L3>(front);
        let mut w3 = u64_at(front, L3 + 2) & (FRAGMENT | 0xff << PROTOCOL_SHIFT);
        if L3 == TAGGED {
            let is_plain = u16_at(front, L3 - 2) == IPV4 && front[L3] == PLAIN;
            w3 |= u64::from(u16::from(front[L3 + 1]) & DSCP) << DSCP_SHIFT;
            if !is_plain {
                return None;
            }
        } else {
            // Further bytes are EtherType, version, header size and DSCP.
            w1 = u64_at(front, 8) & !(ECN << 56);
        }
        let total = number_at(front, L3 + 2);
        if total > size - L3 as i32 {
            cold_path();
            return None;
        }
        let (ports, flags) = self.transport(front, L3 + 20, front[L3 + 9], total - 20)?;
        let addresses = u64_at(front, L3 + 12);
        Some([w0, w1, addresses, w3 | ports, self.place | flags])
    }

    /// Ports and flags, with what `Transport::parse` asks of the header at `at`.
    #[inline(always)]
    fn transport(&self, front: &Front, at: usize, kind: u8, payload: i32) -> Option<(u64, u64)> {
        let ports = u64::from(u32_at(front, at));
        match kind {
            protocol::UDP => {
                let length = number_at(front, at + 4);
                if length < 8 {
                    cold_path();
                    return None;
                }
                if length > payload {
                    cold_path();
                    return None;
                }
                Some((ports, 0))
            }
            protocol::TCP => {
                let data_offset = i32::from(front[at + 12] >> 4) * 4;
                if data_offset < 20 || data_offset > payload {
                    cold_path();
                    return None;
                }
                let flags = u64::from(front[at + 13]) & self.tcp_flags;
                Some((ports, flags << FLAGS_SHIFT))
            }
            _ => None,
        }
    }
}

/// The addresses at layer 2, and the tag if there is one.
#[inline(always)]
fn ends<const L3: usize>(front: &Front) -> [u64; 2] {
    let w1 = match L3 {
        TAGGED => u64_at(front, 8),
        _ => u32_at(front, 8).into(),
    };
    [u64_at(front, 0), w1]
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
fn number_at(front: &Front, at: usize) -> i32 {
    u16::from_be_bytes(bytes_at(front, at)).into()
}

/// One flow: two cache lines.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Shortcut {
    key: Key,
    entry: Entry,
    /// Frames and bytes since it was settled, and [`LISTED`]; 0 where it is not.
    counted: Counted,
    /// All bits of what counts of a frame that is to be policed; 0 of one that is dropped before.
    policed: u64,
}

const _: () = assert!(size_of::<Shortcut>() == 128);

/// Frames and their bytes in one word: bytes in the lower 39 bits, as many as an Ethernet of
/// 800 Gbit/s brings in five seconds, frames above them, 16 million; both are settled once a
/// second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted(u64);

const ONE_FRAME: u64 = 1 << 39;

impl Counted {
    #[inline(always)]
    pub(super) fn frame(frame: &Frame) -> Self {
        Self(ONE_FRAME | frame.size() as u64)
    }

    #[inline(always)]
    pub(super) fn add(&mut self, more: Self) {
        self.0 += more.0;
    }

    pub(super) fn frames(self) -> u64 {
        (self.0 & !LISTED) / ONE_FRAME
    }

    pub(super) fn bytes(self) -> u64 {
        self.0 % ONE_FRAME
    }
}

/// The shortcut is among those with frames to settle.
const LISTED: u64 = 1 << 63;

/// What is asked of a shortcut only when it is settled or replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    /// Where its frames come from.
    pub(super) port: PortIndex,
    /// Where the flow is in the flow table, and the rules that it met; nothing where no list is.
    pub(super) flow: Option<(Ticket, Verdict)>,
    /// When it was settled last.
    pub(super) seen: Tick,
}

/// The shortcuts of one worker.
#[derive(Debug)]
pub struct Shortcuts {
    slots: Box<[Shortcut; SHORTCUTS_PER_WORKER]>,
    secrets: [u64; WORDS],
    owners: Box<[Option<Owner>; SHORTCUTS_PER_WORKER]>,
    /// By port, its places.
    owned: Box<[u16; MAX_PORTS]>,
    /// Those with frames to settle.
    touched: Box<ArrayVec<u16, SHORTCUTS_PER_WORKER>>,
    refused: u32,
}

impl Shortcuts {
    /// Shortcuts to the flows of a table, with secrets like its own.
    #[must_use]
    pub fn new(flows: &FlowTable) -> Self {
        // Where there are fewer flows than shortcuts, all share the first two places.
        let is_small = flows.capacity() < SHORTCUTS_PER_WORKER;
        let free = Shortcut {
            key: Key::default(),
            entry: Entry::nothing(),
            counted: Counted(0),
            policed: 0,
        };
        let slots = vec![free; SHORTCUTS_PER_WORKER].into_boxed_slice();
        Self {
            slots: slots.try_into().expect("as many"),
            secrets: match is_small {
                true => [0; WORDS],
                false => flows.secrets().map(|secret| secret | 1),
            },
            owners: vec![None; SHORTCUTS_PER_WORKER]
                .into_boxed_slice()
                .try_into()
                .expect("as many"),
            owned: Box::new([0; MAX_PORTS]),
            touched: Box::default(),
            refused: 0,
        }
    }

    /// A sum of products with secret odd numbers (multilinear hashing), of which the uppermost bits
    /// decide; of all words but that of the place, which is the same for a burst.
    #[inline(always)]
    fn index_ipv4(&self, [w0, w1, w2, w3, _]: [u64; WORDS_IPV4]) -> usize {
        let [s0, s1, s2, s3, ..] = self.secrets;
        let hash = (w0.wrapping_mul(s0))
            .wrapping_add(w1.wrapping_mul(s1))
            .wrapping_add(w2.wrapping_mul(s2))
            .wrapping_add(w3.wrapping_mul(s3));
        (hash >> PLACE_SHIFT) as usize
    }

    fn index(&self, key: &Key) -> usize {
        if !key.is_ipv6() {
            let [words @ .., _, _, _] = key.0;
            return self.index_ipv4(words);
        }
        let products = key.0.iter().zip(self.secrets).enumerate();
        let products = products.filter(|(word, _)| *word != WORDS_IPV4 - 1);
        let hash = products.fold(0_u64, |sum, (_, (word, secret))| {
            sum.wrapping_add(word.wrapping_mul(secret))
        });
        (hash >> PLACE_SHIFT) as usize
    }

    /// Enters a frame as another one of its flow has left the stages; none, and nothing is done,
    /// where that is not known. Counts it; gives what of it is to be policed.
    #[inline(always)]
    pub(super) fn take(
        &mut self,
        reading: &Reading,
        stations: &View<'_>,
        (region, frame): (&Region, &Frame),
        entry: &mut Entry,
    ) -> Option<Counted> {
        let front: &Front = region.front(frame)?;
        if u16_at(front, UNTAGGED - 2) != IPV4 {
            cold_path();
            return self.take_other(reading, stations, (region, frame), entry);
        }
        let words = reading.ipv4::<UNTAGGED>(front, i32::from(frame.head().1))?;
        let index = self.index_ipv4(words);
        // A branch each: the first words are those that differ.
        let own = &self.slots[index].key.0;
        for (own, word) in own.iter().zip(words) {
            if *own != word {
                cold_path();
                return self.take_second(words, index ^ 1, stations, frame, entry);
            }
        }
        Some(self.follow(index, stations, frame, entry))
    }

    /// Where the first place has another flow.
    #[inline(never)]
    fn take_second(
        &mut self,
        words: [u64; WORDS_IPV4],
        index: usize,
        stations: &View<'_>,
        frame: &Frame,
        entry: &mut Entry,
    ) -> Option<Counted> {
        let own = &self.slots[index].key.0;
        for (own, word) in own.iter().zip(words) {
            if *own != word {
                return None;
            }
        }
        Some(self.follow(index, stations, frame, entry))
    }

    /// For frames with a tag and of IPv6.
    #[inline(never)]
    fn take_other(
        &mut self,
        reading: &Reading,
        stations: &View<'_>,
        (region, frame): (&Region, &Frame),
        entry: &mut Entry,
    ) -> Option<Counted> {
        let key = reading.key(region, frame)?;
        let first = self.index(&key);
        let mut places = [first, first ^ 1].into_iter();
        let index = places.find(|index| self.slots[*index].key == key)?;
        Some(self.follow(index, stations, frame, entry))
    }

    #[inline(always)]
    fn follow(
        &mut self,
        index: usize,
        stations: &View<'_>,
        frame: &Frame,
        entry: &mut Entry,
    ) -> Counted {
        let shortcut = &mut self.slots[index];
        *entry = shortcut.entry;
        stations.prefetch_again(shortcut.entry.source);
        stations.prefetch_again(shortcut.entry.destination);
        let one = Counted::frame(frame);
        let before = shortcut.counted.0;
        shortcut.counted.add(one);
        let policed = Counted(one.0 & shortcut.policed);
        if before == 0 {
            self.touch(index);
        }
        policed
    }

    #[cold]
    #[inline(never)]
    fn touch(&mut self, index: usize) {
        self.slots[index].counted.0 |= LISTED;
        self.touched.push(index as u16);
    }

    /// Gives the flow of a frame that the stages have found out about a shortcut, if it may have
    /// one; `entry` is what the stages have left.
    #[inline(never)]
    pub(super) fn insert(
        &mut self,
        reading: &Reading,
        (region, frame): (&Region, &Frame),
        entry: &Entry,
        owner: Owner,
        settling: &Settling<'_>,
    ) {
        let Some(key) = reading.key(region, frame) else {
            return;
        };
        let first = self.index(&key);
        let places = [first, first ^ 1];
        let is_free = |index: &usize| self.owners[*index].is_none();
        let free = places.into_iter().find(is_free);
        let taken = || places.into_iter().find(|it| self.may_take(*it, &owner));
        let Some(index) = free.or_else(taken) else {
            self.refused = self.refused.wrapping_add(1);
            return;
        };
        self.settle_one(index, settling);
        self.free(index);
        self.owned[owner.port.get()] += 1;
        self.owners[index] = Some(owner);
        let shortcut = &mut self.slots[index];
        (shortcut.key, shortcut.entry) = (key, *entry);
        shortcut.policed = if entry.is_undecided() { u64::MAX } else { 0 };
    }

    /// Whether a flow may have this place.
    fn may_take(&self, index: usize, newcomer: &Owner) -> bool {
        let Some(owner) = self.owners[index] else {
            return true;
        };
        let idle = self.slots[index].counted.frames() == 0;
        let owns = |port: PortIndex| self.owned[port.get()];
        (idle && newcomer.seen.since(owner.seen) > 1)
            || owns(owner.port) > owns(newcomer.port)
            || (owner.port == newcomer.port && self.refused.is_multiple_of(PATIENCE))
    }

    fn free(&mut self, index: usize) {
        if let Some(before) = self.owners[index].take() {
            self.owned[before.port.get()] -= 1;
        }
        self.slots[index].key = Key::default();
    }

    /// Adds what was counted since the last time to the counters of the rules and to the flows of
    /// the flow table.
    pub(super) fn settle(&mut self, settling: &Settling<'_>) {
        while let Some(index) = self.touched.pop() {
            let index = usize::from(index);
            self.settle_one(index, settling);
            self.slots[index].counted = Counted(0);
        }
    }

    fn settle_one(&mut self, index: usize, settling: &Settling<'_>) {
        let shortcut = &mut self.slots[index];
        let (frames, bytes) = (shortcut.counted.frames(), shortcut.counted.bytes());
        shortcut.counted.0 &= LISTED;
        let Some(owner) = self.owners[index].as_mut().filter(|_| frames > 0) else {
            return;
        };
        owner.seen = settling.now;
        let Some((ticket, verdict)) = owner.flow else {
            return;
        };
        let &Settling {
            counters,
            flows,
            now,
        } = settling;
        counters.count_hits(verdict.hits(), frames, bytes);
        if !flows.credit(ticket, frames, bytes, now) {
            // The flow table has given its place away: the next frame enters it again.
            self.free(index);
        }
    }
}

/// Where what shortcuts have counted belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling<'a> {
    pub(super) counters: &'a WorkerCounters,
    pub(super) flows: &'a FlowTable,
    pub(super) now: Tick,
}

#[cfg(test)]
#[path = "shortcut_tests.rs"]
mod tests;
