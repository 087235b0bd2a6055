//! The flow table of one worker: verdicts that policy has given, by all that they depend on.
//!
//! One thread, the worker, looks up and inserts; any number of others read entries meanwhile, for
//! people. A place has two cache lines: a key and a value. Eight places make a set, whose
//! fingerprints, owners and times are in one line of their own, so that a look-up that finds what
//! it seeks touches three lines. A keyed hash chooses the set, so no sender of frames chooses it.
//!
//! **Bounded and fair.** A flow that finds its set full takes the place of an idle one. If there is
//! none, that port gives one up which has the most flows in the set, its own sender in case of a
//! tie: so a port that sends ever new flows takes places from others only until it has as many as
//! they have, and then its own. From a flow of its own port it takes one with its second frame only
//! (see `waiting.rs`), so that flows of a single frame drive out nobody.
//!
//! **Never wrong.** A key has all bits that the verdict may depend on, and the generation of the
//! configuration that gave it. There is nothing to be invalidated: old entries are never met again
//! and become idle.

mod set;
mod waiting;

use std::hint::cold_path;

use crate::{
    clock::Tick,
    limits::{FLOW_IDLE_S, PortIndex},
    mem::prefetch,
    sync::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
        fence,
    },
};
use set::{Set, WAYS, Ways, choose};
use waiting::Waiting;

/// Words of a key.
pub const KEY_WORDS: usize = 8;
/// Most counters of hits that an entry keeps; a verdict with more is given anew for each frame.
pub const MOST_HITS: usize = 8;
const HIT_WORDS: usize = MOST_HITS / 2;
/// Seconds in which all idle flows leave.
const SWEEPS: usize = 16;

/// All that a verdict may depend on, and whose configuration it was.
pub type FlowKey = [u64; KEY_WORDS];

/// What policy says about a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// It may pass.
    pub allowed: bool,
    hits: [u32; MOST_HITS],
    count: u8,
}

impl Verdict {
    /// A verdict, and the counters to add frames to, with 0 behind the last of so many.
    ///
    /// # Panics
    /// When there are more than an entry keeps.
    #[must_use]
    #[inline]
    pub fn new(allowed: bool, hits: [u32; MOST_HITS], count: usize) -> Self {
        assert!(count <= MOST_HITS, "as many as there are");
        Self {
            allowed,
            hits,
            count: count as u8,
        }
    }

    /// That of a rule on its own, with its counter.
    #[must_use]
    #[inline(always)]
    pub fn of_rule(allowed: bool, hit: u32) -> Self {
        let mut hits = [0; MOST_HITS];
        hits[0] = hit;
        Self {
            allowed,
            hits,
            count: 1,
        }
    }

    /// The counters to add frames to.
    #[must_use]
    #[inline]
    pub fn hits(&self) -> &[u32] {
        &self.hits[..usize::from(self.count).min(MOST_HITS)]
    }

    #[inline(always)]
    fn to_words(self) -> [u64; 1 + HIT_WORDS] {
        let mut words = [0; 1 + HIT_WORDS];
        words[0] = u64::from(self.allowed) | u64::from(self.count) << 8;
        for (word, pair) in words[1..].iter_mut().zip(self.hits.chunks_exact(2)) {
            *word = u64::from(pair[0]) | u64::from(pair[1]) << 32;
        }
        words
    }

    fn of_words(words: [u64; 1 + HIT_WORDS]) -> Self {
        let mut hits = [0; MOST_HITS];
        for (pair, word) in hits.chunks_exact_mut(2).zip(&words[1..]) {
            (pair[0], pair[1]) = (*word as u32, (*word >> 32) as u32);
        }
        Self {
            allowed: words[0] & 1 != 0,
            hits,
            count: (words[0] >> 8) as u8,
        }
    }
}

/// The line of a key.
#[derive(Debug, Default)]
#[repr(align(64))]
struct KeyLine([AtomicU64; KEY_WORDS]);

/// The line of a value.
#[derive(Debug, Default)]
#[repr(align(64))]
struct ValueLine {
    frames: AtomicU64,
    bytes: AtomicU64,
    /// In the upper half the tick of the first frame, in the lower one a number that is odd while
    /// the place gets another flow.
    begun: AtomicU64,
    verdict: [AtomicU64; 1 + HIT_WORDS],
}

const _: () = assert!(size_of::<KeyLine>() == 64 && size_of::<ValueLine>() == 64);

#[derive(Debug, Default)]
struct Place {
    key: KeyLine,
    value: ValueLine,
}

/// A flow that was found: the shorter way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    place: u32,
    /// The lower half of the place's `begun`.
    tenancy: u32,
}

/// A flow, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// What it is told from others by.
    pub key: FlowKey,
    /// The port whose frames these are.
    pub sender: PortIndex,
    /// What becomes of them.
    pub verdict: Verdict,
    /// Frames so far.
    pub frames: u64,
    /// Bytes so far, as they were received.
    pub bytes: u64,
    /// When the first came.
    pub first_seen: Tick,
    /// When the last came.
    pub last_seen: Tick,
}

/// How often what happened, since the table was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Frames whose flow was known.
    pub found: u64,
    /// Flows that were entered.
    pub entered: u64,
    /// Flows that made place for others while they were not idle.
    pub evicted: u64,
    /// Frames of flows that had to wait for a place.
    pub waited: u64,
}

/// A flow table.
#[derive(Debug)]
pub struct FlowTable {
    sets: Box<[Set]>,
    /// Set by set.
    waiting: Box<[Waiting]>,
    places: Box<[[Place; WAYS]]>,
    /// Places of a set that are used: all but in tables that are smaller than a set.
    usable: Ways,
    secrets: [u64; KEY_WORDS],
    found: AtomicU64,
    entered: AtomicU64,
    evicted: AtomicU64,
    waited: AtomicU64,
}

/// A place that a flow may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vacancy(u32);

/// What is to become of a flow that is not known.
#[derive(Debug)]
pub enum Newcomer<'a> {
    /// It has a place that was free.
    Enters(Entering<'a>),
    /// It has to wait for its next frame, which was noted.
    Waits,
    /// That takes a closer look; it may also be known.
    Unclear,
}

/// A flow that has a place, and is entered with its verdict.
#[derive(Debug)]
#[must_use = "without a verdict it would have that of the flow before it"]
pub struct Entering<'a>(&'a Place);

impl Entering<'_> {
    /// What was said of its first frame.
    #[inline(always)]
    pub fn finish(self, verdict: &Verdict) {
        self.0.set_verdict(verdict);
        self.0.end();
    }
}

/// A flow to be found or entered: its key, hashed once.
#[derive(Clone, Copy, Debug)]
pub struct Sought {
    key: FlowKey,
    home: Home,
}

/// The set of a flow, by its hash.
#[derive(Clone, Copy, Debug)]
struct Home {
    set: usize,
    fingerprint: u16,
    /// Which place of a set comes first among equals.
    start: usize,
}

/// Adds to a counter that one thread writes.
fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
}

impl FlowTable {
    /// A table with places for so many flows, rounded up to a power of two of at least a set
    /// unless it is smaller than one. `hash_key` should be random and stay secret.
    ///
    /// # Panics
    /// When the capacity is 0.
    #[must_use]
    pub fn new(capacity: usize, hash_key: [u64; 2]) -> Self {
        assert!(capacity > 0, "a table has a place");
        let sets = capacity.div_ceil(WAYS).next_power_of_two();
        let mut secrets = [0; KEY_WORDS];
        let mut state = hash_key[0];
        for secret in &mut secrets {
            state = spread(state ^ hash_key[1]).wrapping_add(hash_key[0]);
            *secret = state | 1;
        }
        Self {
            sets: (0..sets).map(|_| Set::new(capacity)).collect(),
            waiting: (0..sets).map(|_| Waiting::default()).collect(),
            places: (0..sets).map(|_| Default::default()).collect(),
            usable: Ways::first_of_all(capacity),
            secrets,
            found: AtomicU64::new(0),
            entered: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            waited: AtomicU64::new(0),
        }
    }

    /// Flows that have a place at the same time.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.sets.len() * self.usable.count() as usize
    }

    /// Looks where a flow is or would be.
    ///
    /// Each word is multiplied with a secret odd number (multilinear hashing: two keys have the
    /// same sum for few of the secrets, whatever the keys), and the sum once more, of which both
    /// halves of the product are used, so that all bits depend on all bits. A word of zeros costs
    /// nothing where that is known beforehand.
    #[must_use]
    #[inline(always)]
    pub fn seek(&self, key: FlowKey) -> Sought {
        let products = key.iter().zip(&self.secrets);
        let sum = products.fold(0_u64, |sum, (word, secret)| {
            sum.wrapping_add(word.wrapping_mul(*secret))
        });
        let product = u128::from(sum ^ self.secrets[0]) * u128::from(self.secrets[1]);
        let hash = product as u64 ^ (product >> 64) as u64;
        let home = Home {
            set: hash as usize & (self.sets.len() - 1),
            fingerprint: (hash >> 48) as u16 | 1,
            start: (hash >> 40) as usize % WAYS,
        };
        Sought { key, home }
    }

    /// What is to become of a flow that is surely not known, where that is seen at once: what
    /// [`find`](Self::find) and [`admit`](Self::admit) say together of most frames of a flood, and
    /// of most flows while there is room. If it is not, nothing was done, and both are to be asked.
    /// For the worker alone.
    #[inline(always)]
    pub fn newcomer(
        &self,
        key: FlowKey,
        sender: PortIndex,
        size: usize,
        now: Tick,
    ) -> Newcomer<'_> {
        let Sought { key, home } = self.seek(key);
        let set = &self.sets[home.set];
        if set.fingerprints.have(home.fingerprint) {
            cold_path();
            return Newcomer::Unclear;
        }
        // In a set with a free place no flow waits.
        if let Some(way) = set.fingerprints.first_free(self.usable) {
            let place = &self.places[home.set][way % WAYS];
            place.begin(now);
            set.enter(way, home.fingerprint, sender.get() as u16, now);
            place.fill(&key, size);
            add(&self.entered, 1);
            return Newcomer::Enters(Entering(place));
        }
        let waiting = &self.waiting[home.set];
        if waiting.has(home.fingerprint) || !waiting.is_full_for(sender.get() as u16, now) {
            cold_path();
            return Newcomer::Unclear;
        }
        waiting.put(home.fingerprint);
        add(&self.waited, 1);
        Newcomer::Waits
    }

    /// Other secret numbers, made of those of the hash.
    pub(crate) fn other_secrets(&self) -> [u64; KEY_WORDS] {
        self.secrets.map(spread)
    }

    /// The verdict on a flow that is known, and a ticket for it; counts the frame. For the worker
    /// alone.
    #[inline]
    pub fn find(&self, sought: &Sought, size: usize, now: Tick) -> Option<(Verdict, Ticket)> {
        let set = &self.sets[sought.home.set];
        let mut alike = set.fingerprints.equal_to(sought.home.fingerprint);
        while let Some(way) = alike.first() {
            if self.places[sought.home.set][way].is_of(&sought.key) {
                return Some(self.meet(sought.home.set, way, size, now));
            }
            alike = alike.without(Ways::one(way));
        }
        None
    }

    /// Counts a frame of the flow that is at this place.
    #[inline(never)]
    fn meet(&self, number: usize, way: usize, size: usize, now: Tick) -> (Verdict, Ticket) {
        let (set, place) = (&self.sets[number], &self.places[number][way]);
        if set.is_idle(way, now) {
            // It had left; what comes now is a new flow in its old place.
            place.restart(now);
        }
        if set.seen(way) != now {
            set.set_seen(way, now);
        }
        add(&place.value.frames, 1);
        add(&place.value.bytes, size as u64);
        add(&self.found, 1);
        let ticket = Ticket {
            place: (number * WAYS + way) as u32,
            tenancy: place.value.begun.load(Relaxed) as u32,
        };
        (place.value.verdict(), ticket)
    }

    /// Asks the CPU to load what [`credit`](Self::credit) needs.
    pub(crate) fn prefetch(&self, ticket: Ticket) {
        let index = ticket.place as usize;
        prefetch(&self.places[index / WAYS][index % WAYS].value);
        prefetch(&self.sets[index / WAYS]);
    }

    /// Counts further frames of a flow; not where its place has another one by now. For the worker
    /// alone.
    pub fn credit(&self, ticket: Ticket, frames: u64, bytes: u64, now: Tick) -> bool {
        let index = ticket.place as usize;
        let value = &self.places[index / WAYS][index % WAYS].value;
        if value.begun.load(Relaxed) as u32 != ticket.tenancy {
            return false;
        }
        self.sets[index / WAYS].set_seen(index % WAYS, now);
        add(&value.frames, frames);
        add(&value.bytes, bytes);
        add(&self.found, frames);
        true
    }

    /// The place for a flow that [`find`](Self::find) did not find; none where it has to wait for
    /// its next frame. For the worker alone.
    #[inline]
    pub fn admit(&self, sought: &Sought, sender: PortIndex, now: Tick) -> Option<Vacancy> {
        let waiting = &self.waiting[sought.home.set];
        let port = sender.get() as u16;
        let has_waited = waiting.take(sought.home.fingerprint);
        if !has_waited && waiting.is_full_for(port, now) {
            waiting.put(sought.home.fingerprint);
            add(&self.waited, 1);
            return None;
        }
        self.choose(sought, port, has_waited, now)
    }

    /// The same where it is not known that there is none.
    #[inline(never)]
    fn choose(&self, sought: &Sought, port: u16, has_waited: bool, now: Tick) -> Option<Vacancy> {
        let (set, waiting) = (&self.sets[sought.home.set], &self.waiting[sought.home.set]);
        let chosen = choose(set, self.usable, port, sought.home.start, now);
        if chosen.evicts && !has_waited && set.ports.get(chosen.way) == port {
            waiting.set_full_for(port, chosen.full_until);
            waiting.put(sought.home.fingerprint);
            add(&self.waited, 1);
            return None;
        }
        add(&self.evicted, chosen.evicts.into());
        Some(Vacancy(chosen.way as u32))
    }

    /// Enters a flow, with the frame for which it was given a place. For the worker alone.
    pub fn insert(
        &self,
        sought: &Sought,
        vacancy: Vacancy,
        sender: PortIndex,
        verdict: &Verdict,
        size: usize,
        now: Tick,
    ) {
        let Home {
            set: number,
            fingerprint,
            ..
        } = sought.home;
        let (set, way) = (&self.sets[number], vacancy.0 as usize % WAYS);
        let place = &self.places[number][way];
        self.waiting[number].forget();
        place.begin(now);
        set.clear(way);
        set.enter(way, fingerprint, sender.get() as u16, now);
        place.fill(&sought.key, size);
        place.set_verdict(verdict);
        place.end();
        add(&self.entered, 1);
    }

    /// Lets flows leave that are idle, of a part of the table, another one in each second: so that
    /// new flows find free places. For the worker alone, now and then.
    pub fn sweep(&self, now: Tick) {
        let part = self.sets.len().div_ceil(SWEEPS);
        let first = (now.0 as usize % SWEEPS * part).min(self.sets.len());
        for number in (first..self.sets.len()).take(part) {
            self.sweep_set(number, now);
        }
    }

    fn sweep_set(&self, number: usize, now: Tick) {
        let set = &self.sets[number];
        for way in 0..WAYS {
            if set.fingerprints.get(way) == 0 || !set.is_idle(way, now) {
                continue;
            }
            let place = &self.places[number][way];
            place.begin(now);
            set.clear(way);
            place.end();
            self.waiting[number].clear();
        }
    }

    /// The flows that are not idle, in no order. For any thread; a flow that is just being replaced
    /// is left out.
    pub fn flows(&self, now: Tick) -> impl Iterator<Item = Flow> + '_ {
        let sets = self.sets.iter().zip(&self.places);
        let places = sets.flat_map(|(set, places)| {
            let places = places.iter().enumerate();
            places.filter_map(|(way, place)| place.read(set, way))
        });
        places.filter(move |flow| now.since(flow.last_seen) <= FLOW_IDLE_S)
    }

    /// What has happened so far.
    #[must_use]
    pub fn events(&self) -> Events {
        Events {
            found: self.found.load(Relaxed),
            entered: self.entered.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
            waited: self.waited.load(Relaxed),
        }
    }
}

impl Place {
    fn is_of(&self, key: &FlowKey) -> bool {
        let mut words = self.key.0.iter().zip(key);
        words.all(|(own, word)| own.load(Relaxed) == *word)
    }

    /// Lets the place change to a flow that begins now. Readers notice by the number that is odd
    /// meanwhile, and another one afterwards.
    #[inline(always)]
    fn begin(&self, now: Tick) {
        // Without its highest bit, so that nothing is carried from one half into the other.
        let number = self.value.begun.load(Relaxed) as u32 & u32::MAX >> 1 | 1;
        let begun = u64::from(now.0) << 32 | u64::from(number);
        self.value.begun.store(begun, Relaxed);
        fence(Release);
    }

    /// The place has changed.
    #[inline(always)]
    fn end(&self) {
        let begun = self.value.begun.load(Relaxed);
        self.value.begun.store(begun + 1, Release);
    }

    #[inline(always)]
    fn fill(&self, key: &FlowKey, size: usize) {
        for (own, word) in self.key.0.iter().zip(key) {
            own.store(*word, Relaxed);
        }
        self.value.frames.store(1, Relaxed);
        self.value.bytes.store(size as u64, Relaxed);
    }

    #[inline(always)]
    fn set_verdict(&self, verdict: &Verdict) {
        for (own, word) in self.value.verdict.iter().zip(verdict.to_words()) {
            own.store(word, Relaxed);
        }
    }

    /// The same flow begins once more.
    fn restart(&self, now: Tick) {
        self.value.frames.store(0, Relaxed);
        self.value.bytes.store(0, Relaxed);
        let begun = self.value.begun.load(Relaxed) as u32;
        self.value
            .begun
            .store(u64::from(now.0) << 32 | u64::from(begun), Release);
    }

    /// The flow that is here, unless it is just changing.
    fn read(&self, set: &Set, way: usize) -> Option<Flow> {
        let begun = self.value.begun.load(Acquire);
        if set.fingerprints.get(way) == 0 || begun & 1 != 0 {
            return None;
        }
        let flow = Flow {
            key: std::array::from_fn(|word| self.key.0[word].load(Relaxed)),
            sender: PortIndex::new(usize::from(set.ports.get(way))),
            verdict: self.value.verdict(),
            frames: self.value.frames.load(Relaxed),
            bytes: self.value.bytes.load(Relaxed),
            first_seen: Tick((begun >> 32) as u32),
            last_seen: set.seen(way),
        };
        fence(Acquire);
        (self.value.begun.load(Relaxed) == begun).then_some(flow)
    }
}

impl ValueLine {
    #[inline]
    fn verdict(&self) -> Verdict {
        Verdict::of_words(std::array::from_fn(|word| self.verdict[word].load(Relaxed)))
    }
}

/// Makes a number with many different bits of one that a test made up (the finaliser of
/// splitmix64).
fn spread(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

#[cfg(test)]
#[path = "flow/tests.rs"]
mod tests;
