//! The last frames that were dropped, for people who ask why.
//!
//! One writer, the worker, and readers that notice when a record changes under them. Each port has
//! places of its own, so that no port's flood drives out what another one has lost; and as many
//! records a second as places, so that a flood costs a comparison a frame.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
    fence,
};

use super::DropReason;
use crate::{
    clock::Tick,
    limits::{MAX_PORTS, PortIndex, RECENT_DROP_BYTES, RECENT_DROPS},
};

const WORDS: usize = RECENT_DROP_BYTES / size_of::<u64>();

const _: () = assert!(RECENT_DROPS.is_power_of_two() && RECENT_DROPS <= 64);
const _: () = assert!(size_of::<Place>() <= 128, "two cache lines");

/// A frame that was dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecentDrop {
    /// Where it was counted.
    pub port: PortIndex,
    /// Where it came in; none where a ring or a queue lost it, since then nobody knows any more.
    pub ingress: Option<PortIndex>,
    /// Why.
    pub reason: DropReason,
    /// When, in nanoseconds since the start.
    pub at_ns: u64,
    /// Bytes of the whole frame.
    pub size: usize,
    /// Its first bytes.
    pub head: Vec<u8>,
}

/// Room for one record. Odd while it is written.
#[derive(Debug, Default)]
struct Place {
    version: AtomicU64,
    at_ns: AtomicU64,
    /// Size, reason, ingress ([`NOWHERE`] where it is not known) and the bytes that are kept: 16
    /// bits each, from the highest on.
    facts: AtomicU64,
    words: [AtomicU64; WORDS],
}

/// One worker's records.
#[derive(Debug)]
pub struct RecentDrops {
    places: Box<[[Place; RECENT_DROPS]]>,
    /// By port, the tick of the last record, and above it how many there were in it and at all.
    written: Box<[AtomicU64]>,
}

impl Default for RecentDrops {
    fn default() -> Self {
        let places = || std::array::from_fn(|_| Place::default());
        Self {
            places: (0..MAX_PORTS).map(|_| places()).collect(),
            written: (0..MAX_PORTS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

/// The ingress of a frame of which nobody knows it any more.
const NOWHERE: u64 = 0xffff;
const _: () = assert!(MAX_PORTS <= NOWHERE as usize);

const TICK_BITS: u32 = 32;
const IN_TICK_BITS: u32 = 8;

impl RecentDrops {
    /// Notes a frame, unless this port has had its share in this tick. By the worker alone.
    #[cold]
    pub fn note(
        &self,
        (port, ingress): (PortIndex, Option<PortIndex>),
        reason: DropReason,
        (now, now_ns): (Tick, u64),
        (size, head): (usize, &[u8]),
    ) {
        let state = &self.written[port.get()];
        let written = state.load(Relaxed);
        let same_tick = written as u32 == now.0;
        let in_tick = written >> TICK_BITS & ((1 << IN_TICK_BITS) - 1);
        let in_tick = if same_tick { in_tick } else { 0 };
        if in_tick >= RECENT_DROPS as u64 {
            return;
        }
        let ever = written >> (TICK_BITS + IN_TICK_BITS);
        let place = &self.places[port.get()][ever as usize % RECENT_DROPS];
        let kept = head.len().min(RECENT_DROP_BYTES);
        let version = place.version.load(Relaxed);
        place.version.store(version.wrapping_add(1), Relaxed);
        fence(Release);
        place.at_ns.store(now_ns, Relaxed);
        let ingress = ingress.map_or(NOWHERE, |port| port.get() as u64);
        let facts = (size as u64) << 48 | (reason as u64) << 32 | ingress << 16 | kept as u64;
        place.facts.store(facts, Relaxed);
        for (word, bytes) in place
            .words
            .iter()
            .zip(head[..kept].chunks(size_of::<u64>()))
        {
            let mut padded = [0; size_of::<u64>()];
            padded[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(padded), Relaxed);
        }
        place.version.store(version.wrapping_add(2), Release);
        let after = u64::from(now.0)
            | (in_tick + 1) << TICK_BITS
            | ever.wrapping_add(1) << (TICK_BITS + IN_TICK_BITS);
        state.store(after, Relaxed);
    }

    /// The records of a port, in no order. One that is just being written is left out.
    pub fn of(&self, port: PortIndex) -> impl Iterator<Item = RecentDrop> + '_ {
        let places = self.places[port.get()].iter();
        places.filter_map(move |place| place.read(port))
    }
}

impl Place {
    fn read(&self, port: PortIndex) -> Option<RecentDrop> {
        let version = self.version.load(Acquire);
        if version == 0 || version & 1 != 0 {
            return None;
        }
        let facts = self.facts.load(Relaxed);
        let at_ns = self.at_ns.load(Relaxed);
        let words: Vec<u64> = self.words.iter().map(|word| word.load(Relaxed)).collect();
        fence(Acquire);
        if self.version.load(Relaxed) != version {
            return None;
        }
        let field = |shift: u32| (facts >> shift & 0xffff) as usize;
        let mut head: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        head.truncate(field(0));
        Some(RecentDrop {
            port,
            ingress: (field(16) != NOWHERE as usize).then(|| PortIndex::new(field(16))),
            reason: *DropReason::ALL.get(field(32))?,
            at_ns,
            size: field(48),
            head,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, thread};

    use super::*;

    fn note(drops: &RecentDrops, port: usize, tick: u32, number: u64) {
        let head = number.to_be_bytes().repeat(RECENT_DROP_BYTES / 4);
        drops.note(
            (PortIndex::new(port), Some(PortIndex::new(port ^ 1))),
            DropReason::ALL[number as usize % DropReason::COUNT],
            (Tick(tick), number),
            (number as usize % 9000, &head),
        );
    }

    fn times(drops: &RecentDrops, port: usize) -> Vec<u64> {
        let mut times: Vec<_> = drops
            .of(PortIndex::new(port))
            .map(|drop| drop.at_ns)
            .collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn the_last_of_each_port_are_kept_and_so_many_a_second() {
        let drops = RecentDrops::default();
        assert_eq!(times(&drops, 3), []);
        for number in 0..100 {
            note(&drops, 3, 7, number);
        }
        assert_eq!(
            times(&drops, 3),
            (0..RECENT_DROPS as u64).collect::<Vec<_>>()
        );
        for number in 100..103 {
            note(&drops, 3, 8, number);
        }
        let mut expected: Vec<u64> = (3..RECENT_DROPS as u64).collect();
        expected.extend([100, 101, 102]);
        assert_eq!(times(&drops, 3), expected);
        assert_eq!(times(&drops, 4), []);
        note(&drops, MAX_PORTS - 1, 0, 5);
        assert_eq!(times(&drops, MAX_PORTS - 1), [5]);
    }

    #[test]
    fn a_record_is_as_it_was_written() {
        let drops = RecentDrops::default();
        let port = PortIndex::new(1023);
        let head: Vec<u8> = (0..13).collect();
        let when = (Tick(1), u64::MAX);
        for ingress in [Some(PortIndex::new(1022)), None] {
            drops.note((port, ingress), DropReason::TxError, when, (9216, &head));
            let expected = RecentDrop {
                port,
                ingress,
                reason: DropReason::TxError,
                at_ns: u64::MAX,
                size: 9216,
                head: head.clone(),
            };
            assert_eq!(drops.of(port).last(), Some(expected));
        }
    }

    #[test]
    fn a_reader_never_sees_half_of_a_record() {
        let drops = RecentDrops::default();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..20_000 {
                    note(&drops, 0, number as u32, number);
                }
                done.store(true, Relaxed);
            });
            let mut read = 0;
            while !done.load(Relaxed) || read == 0 {
                for drop in drops.of(PortIndex::new(0)) {
                    read += 1;
                    assert_eq!(drop.size as u64, drop.at_ns % 9000);
                    let words = drop.head.as_chunks::<8>().0.iter();
                    assert!(
                        words
                            .into_iter()
                            .all(|word| u64::from_be_bytes(*word) == drop.at_ns)
                    );
                }
            }
        });
    }
}
