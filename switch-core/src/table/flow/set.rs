//! The line of a set of places: what is to be known of all of them when one is sought, side by
//! side, so that all are compared together, a word of four at a time. What it costs to choose one
//! grows with the number of ports that have places in the set, which is eight at most.

use crate::{
    clock::Tick,
    limits::FLOW_IDLE_S,
    sync::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

/// Places of a set.
pub(super) const WAYS: usize = 8;
const TURN_BITS: u32 = WAYS.trailing_zeros();

/// The line of a set: what is to be known of all its places, field by field, so that they are
/// compared together.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Set {
    /// 16 bits of the hash each, never 0 while the place is used.
    pub(super) fingerprints: Lanes,
    /// The ports that caused the flows, 0 where there is none.
    pub(super) ports: Lanes,
    /// The ticks of their last frames.
    seen: [AtomicU32; WAYS],
}

// The model checker's numbers are larger.
#[cfg(not(loom))]
const _: () = assert!(size_of::<Set>() == 64);

/// A number of 16 bits for each place of a set.
#[derive(Debug, Default)]
pub(super) struct Lanes([AtomicU64; WORDS]);

/// Numbers of 16 bits in a word, words with one for each place, and the lowest bit of each.
const LANES: usize = 4;
const WORDS: usize = WAYS / LANES;
const ONES: u64 = 0x0001_0001_0001_0001;

impl Lanes {
    pub(super) fn get(&self, way: usize) -> u16 {
        (self.0[way / LANES].load(Relaxed) >> (way % LANES * 16)) as u16
    }

    #[inline]
    pub(super) fn set(&self, way: usize, value: u16) {
        let (word, shift) = (&self.0[way / LANES], way % LANES * 16);
        let others = word.load(Relaxed) & !(0xffff << shift);
        word.store(others | u64::from(value) << shift, Relaxed);
    }

    /// Gives a place a number that has none.
    #[inline(always)]
    pub(super) fn fill(&self, way: usize, value: u16) {
        let (word, shift) = (&self.0[way / LANES], way % LANES * 16);
        word.store(word.load(Relaxed) | u64::from(value) << shift, Relaxed);
    }

    /// The first place that has no number.
    #[inline(always)]
    pub(super) fn first_free(&self, usable: Ways) -> Option<usize> {
        // Word by word: to put the answers together would cost more.
        for (number, (word, usable)) in self.0.iter().zip(usable.0).enumerate() {
            let free = lanes_equal_to(word.load(Relaxed), 0) & usable;
            if free != 0 {
                return Some(number * LANES + free.trailing_zeros() as usize / 16);
            }
        }
        None
    }

    /// Whether a place has this number.
    #[inline(always)]
    pub(super) fn have(&self, value: u16) -> bool {
        let alike = |word: &AtomicU64| lanes_equal_to(word.load(Relaxed), value);
        self.0.iter().map(alike).fold(0, |all, word| all | word) != 0
    }

    /// The places that have this number.
    #[inline]
    pub(super) fn equal_to(&self, value: u16) -> Ways {
        Ways(std::array::from_fn(|word| {
            lanes_equal_to(self.0[word].load(Relaxed), value)
        }))
    }
}

/// The highest bit of each lane that has this number.
#[inline]
pub(super) fn lanes_equal_to(lanes: u64, value: u16) -> u64 {
    const BELOW: u64 = 0x7fff * ONES;
    let differ = lanes ^ (u64::from(value) * ONES);
    !(((differ & BELOW) + BELOW) | differ | BELOW)
}

/// Some of the places of a set: the highest bit of the lane of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ways([u64; WORDS]);

impl Ways {
    /// The first so many.
    pub(super) fn first_of_all(count: usize) -> Self {
        Self(std::array::from_fn(|word| {
            let lanes = count.saturating_sub(word * LANES).min(LANES);
            let above = (LANES - lanes) * 16;
            (ONES << 15).checked_shr(above as u32).unwrap_or(0)
        }))
    }

    #[inline]
    pub(super) fn one(way: usize) -> Self {
        let mut one = [0; WORDS];
        one[way / LANES] = 1 << (way % LANES * 16 + 15);
        Self(one)
    }

    #[inline]
    pub(super) fn first(self) -> Option<usize> {
        let word = self.0.iter().position(|word| *word != 0)?;
        Some(word * LANES + self.0[word].trailing_zeros() as usize / 16)
    }

    #[inline]
    pub(super) fn and(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & other.0[word]))
    }

    #[inline]
    pub(super) fn without(self, other: Self) -> Self {
        Self(std::array::from_fn(|word| self.0[word] & !other.0[word]))
    }

    #[inline]
    pub(super) fn count(self) -> u32 {
        let lanes = self.0.iter().fold(0, |sum, word| sum + (word >> 15));
        (lanes.wrapping_mul(ONES) >> 48) as u32
    }

    /// All bits if this place is one of them, else none.
    #[inline]
    pub(super) fn mask(self, way: usize) -> u32 {
        let is = self.0[way / LANES] >> (way % LANES * 16 + 15) & 1;
        (is as u32).wrapping_neg()
    }
}

impl Set {
    /// Gives a place that is free to a flow.
    #[inline(always)]
    pub(super) fn enter(&self, way: usize, fingerprint: u16, port: u16, now: Tick) {
        self.fingerprints.fill(way, fingerprint);
        self.ports.fill(way, port);
        self.set_seen(way, now);
    }

    /// Frees a place.
    pub(super) fn clear(&self, way: usize) {
        self.fingerprints.set(way, 0);
        self.ports.set(way, 0);
    }

    /// A set of a table for so many flows.
    pub(super) fn new(capacity: usize) -> Self {
        let set = Self::default();
        // What is never used never looks as if it were silent.
        (capacity..WAYS).for_each(|way| set.set_seen(way, Tick(u32::MAX)));
        set
    }

    pub(super) fn seen(&self, way: usize) -> Tick {
        Tick(self.seen[way].load(Relaxed))
    }

    #[inline]
    pub(super) fn set_seen(&self, way: usize, now: Tick) {
        self.seen[way].store(now.0, Relaxed);
    }

    pub(super) fn is_idle(&self, way: usize, now: Tick) -> bool {
        now.since(self.seen(way)) > FLOW_IDLE_S
    }
}

/// The place of a set that a new flow gets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chosen {
    pub(super) way: usize,
    /// It has a flow that is not idle.
    pub(super) evicts: bool,
    /// Where that is so: no place of the set is idle before.
    pub(super) full_until: Tick,
}

/// Chooses a free or idle place, else the one that was silent for longest of the port that has
/// most, the sender if there are several such. Places that are equal take turns from `start`, which
/// the hash gives.
#[inline]
pub(super) fn choose(set: &Set, usable: Ways, sender: u16, start: usize, now: Tick) -> Chosen {
    let unused = |way| Chosen {
        way,
        evicts: false,
        full_until: now,
    };
    if let Some(way) = set.fingerprints.first_free(usable) {
        return unused(way);
    }
    // Silence, and then its turn: a number for each place, of which the largest is sought.
    let silent: [u32; WAYS] = std::array::from_fn(|way| {
        let turn = way.wrapping_sub(start) % WAYS;
        now.since(set.seen(way)) << TURN_BITS | turn as u32
    });
    let way_of = |silent: u32| (silent as usize + start) % WAYS;
    let oldest = silent.into_iter().fold(0, u32::max);
    let Some(left) = FLOW_IDLE_S.checked_sub(oldest >> TURN_BITS) else {
        return unused(way_of(oldest));
    };
    let giving = of_port_with_most(&set.ports, usable, sender);
    let silent = (0..WAYS).map(|way| silent[way] & giving.mask(way));
    Chosen {
        way: way_of(silent.fold(0, u32::max)),
        evicts: true,
        full_until: Tick(now.0.saturating_add(left + 1)),
    }
}

/// The places of the port that has most of the usable ones; of `sender` if there are several such.
fn of_port_with_most(ports: &Lanes, usable: Ways, sender: u16) -> Ways {
    let (mut best, mut most) = (usable, 0);
    let mut left = usable;
    // Once for each port that has a place here.
    while let Some(way) = left.first() {
        let port = ports.get(way);
        let own = ports.equal_to(port).and(usable);
        left = left.without(own);
        let weight = 2 * own.count() + u32::from(port == sender);
        if weight > most {
            (best, most) = (own, weight);
        }
    }
    best
}
