//! The forwarding database (filtering database, 802.1Q-2022, 8.8): which port an address of a
//! network was last seen on.
//!
//! One table for all networks and all workers, of fixed size, without a lock:
//! - An address of a network has two **candidate buckets**, the first one anywhere and the second
//!   one in the other half of the table, and may be in any slot of either. A bucket is one cache
//!   line. Keyed hashes choose them, so nobody who does not know the keys can aim addresses at a
//!   bucket.
//! - One slot of the first bucket is the address's **home**. A new address goes there if it is free
//!   and not the bucket's last, so that a lookup looks there first and nearly always nowhere else;
//!   or else into the emptier bucket.
//! - **Reading** takes at most two cache lines and a bounded number of loads, whatever writers do.
//! - **Writing** is one compare-and-exchange, retried a bounded number of times; a frame whose
//!   source is not learnt because other workers were faster is learnt with the next. See `slot.rs`
//!   for why a reader never gets half of one entry and half of another.
//! - An address that two workers learn at once may be in two slots for a moment. Each looks again
//!   after it has published its entry, so at least one sees both, and whoever does keeps the static
//!   one or else the first in the order of the slots.
//! - **Eviction is fair.** When both buckets are full, the oldest entry of the port with the most
//!   entries in the whole table makes place, if that port has more entries than the newcomer's port
//!   or is the newcomer's port. So a flood of addresses from one port drives out its own entries.
//!
//! The caller keeps group addresses and the null address away, as sources and as destinations.

mod copy;
mod flap;
mod slot;
#[cfg(test)]
mod tests;

use std::{
    array, iter,
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use crossbeam::utils::CachePadded;

use crate::{
    clock::Tick,
    limits::{MAX_NETWORKS, MAX_PORTS, NetworkIndex, PortIndex},
    mem::{Hashed, HugeSlice, prefetch},
    sync::{Ordering::SeqCst, fence},
    wire::ethernet::{Mac, PackedMac},
};
use flap::FlapTable;
pub use flap::{FlapLimits, Flapping, MAX_FLAP_S, MAX_MOVES};
pub use slot::Location;
use slot::{Key, MAX_AGEING, Slot, Validity, Word};

/// Ticks for which a dynamic entry is valid unless told otherwise (802.1Q-2022, Table 8-6).
pub const DEFAULT_AGEING: u32 = 300;

/// Slots of a bucket. The model checker gets tables that it can exhaust.
const SLOTS: usize = if cfg!(loom) { 1 } else { 4 };
/// How often a writer tries again after another one was faster.
const ATTEMPTS: usize = 8;

const _: () = assert!(SLOTS.is_power_of_two());
#[cfg(not(loom))]
const _: () = assert!(SLOTS * size_of::<Slot>() == 64, "a bucket is a cache line");

/// The slots that an address may be in, one half of them: a cache line.
type Bucket = [Slot; SLOTS];

/// The slots of a bucket that have `key`: one, but for the moment after two workers have entered
/// it.
///
/// All keys are compared before the first value is looked at: which of them it is cannot be
/// predicted, so a branch for each would cost more than the comparisons.
#[inline]
fn copies(bucket: &Bucket, key: Key) -> impl Iterator<Item = (&Slot, Word)> {
    let same = |(index, slot): (usize, &Slot)| u32::from(slot.has(key)) << index;
    let mut candidates = bucket.iter().enumerate().map(same).sum::<u32>();
    iter::from_fn(move || {
        while candidates != 0 {
            let slot = &bucket[candidates.trailing_zeros() as usize % SLOTS];
            candidates &= candidates - 1;
            if let Some(word) = slot.get(key) {
                return Some((slot, word));
            }
        }
        None
    })
}

/// An address of a network, and what names the slot that it is in if it is where it should be:
/// computed once for all that a frame needs.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    key: Key,
    home_hash: u32,
}

impl Place {
    /// For variables that hold no address yet.
    pub const NOWHERE: Self = Self {
        key: Key::NULL,
        home_hash: 0,
    };

    /// The network.
    #[must_use]
    #[inline]
    pub fn network(&self) -> NetworkIndex {
        self.key.network()
    }

    /// The address is a group address, which never is an entry.
    #[must_use]
    #[inline]
    pub fn is_group(&self) -> bool {
        PackedMac::from_le(self.key.to_u64()).is_group()
    }

    /// The address is the broadcast address.
    #[must_use]
    #[inline]
    pub fn is_broadcast(&self) -> bool {
        PackedMac::from_le(self.key.to_u64()).is_broadcast()
    }
}

/// The table at one time: what a burst reads it by.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    fdb: &'a Fdb,
    homes: Hashed<'a, Slot>,
    secret: u64,
    now: Tick,
    validity: Validity,
}

/// What [`Fdb::learn`] found out or did about a source address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Learned {
    /// Known on this port and seen in this tick already: nothing was written.
    Unchanged,
    /// Known on this port; its age is 0 again.
    Refreshed,
    /// Not known, or no longer: entered.
    New,
    /// Known on another port: moved to this one.
    Moved {
        /// The port that it was on.
        from: PortIndex,
    },
    /// A static entry of this port.
    Static,
    /// A static entry of another port, which stays.
    StaticElsewhere,
    /// The port has as many dynamic entries as its limit allows, and this would be one more.
    LimitReached,
    /// Both buckets are full of entries that this port must not drive out: not learnt.
    NoRoom,
}

/// Why an address cannot become a static entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddStaticError {
    /// Group addresses and the null address belong to no station.
    #[error("{0} is not the address of a station")]
    NotUnicast(Mac),
    /// There is one already; remove it first.
    #[error("already a static entry of port {port}")]
    Exists {
        /// The port of the entry.
        port: PortIndex,
    },
    /// All the slots that this address may be in hold static entries, or change all the time.
    #[error("no room: too many static entries share the buckets of this address")]
    Full,
}

/// Which entries a [`Fdb::flush`] removes: those that match every field that is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Filter {
    /// Entries of this network.
    pub network: Option<NetworkIndex>,
    /// Entries of this port.
    pub port: Option<PortIndex>,
    /// Entries of this address, in whatever network.
    pub mac: Option<Mac>,
    /// Static entries too.
    pub include_static: bool,
}

/// How an entry came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Learnt; ages, moves, may be evicted.
    Dynamic,
    /// Configured; stays until it is removed.
    Static,
}

/// An entry, for display.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// The network that the address was seen in.
    pub network: NetworkIndex,
    /// The address.
    pub mac: Mac,
    /// The port that it is behind.
    pub port: PortIndex,
    /// Dynamic or static.
    pub kind: Kind,
    /// Ticks (seconds) since a frame was last seen from it; nothing for a static entry.
    pub age_s: Option<u32>,
}

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What happened to dynamic entries since the table was made, each counter wrapping at
        /// 2^64.
        ///
        /// While nothing changes, `learned` less `aged`, `evicted` and `removed` is the number of
        /// dynamic entries.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Events {
            $($(#[doc = $doc])+ pub $name: u64,)+
        }

        #[derive(Debug, Default)]
        struct EventCounters {
            $($name: AtomicU64,)+
        }

        impl EventCounters {
            fn get(&self) -> Events {
                Events { $($name: self.$name.load(Relaxed),)+ }
            }
        }
    };
}

events! {
    /// New entries.
    learned,
    /// Entries that went to another port.
    moved,
    /// Live entries that made place for others.
    evicted,
    /// Addresses that were not learnt for want of a slot.
    no_room,
    /// Entries removed, or replaced, because they had expired.
    aged,
    /// Entries flushed, removed by hand, become static, or learnt twice at the same time.
    removed,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

/// The forwarding database; see the module's text. All methods may be called by all threads.
#[derive(Debug)]
pub struct Fdb {
    /// A power of two of buckets, one behind the other.
    slots: HugeSlice<Slot>,
    secrets: [u64; 2],
    ageing: AtomicU32,
    /// Dynamic entries by port.
    port_counts: Box<[AtomicU32]>,
    /// Entries by network.
    network_counts: Box<[AtomicU32]>,
    events: CachePadded<EventCounters>,
    flaps: FlapTable,
}

impl Fdb {
    /// A table of at least `capacity` slots, rounded up to a power of two. Nearly half of them
    /// are in use before a random address finds both its buckets full (simulated: 48 to 53 %), and
    /// nearly all once many more addresses than slots have come by.
    ///
    /// `hash_key` should be random and stay secret; a fixed one gives a table that tests can
    /// repeat. Nothing is allocated after this.
    #[must_use]
    pub fn new(capacity: usize, hash_key: [u64; 2]) -> Self {
        let half = capacity.div_ceil(2 * SLOTS).next_power_of_two();
        let zeros = |count| (0..count).map(|_| AtomicU32::new(0)).collect();
        Self {
            slots: HugeSlice::new(2 * half * SLOTS, Slot::new),
            // Odd: a multiplication by it loses nothing.
            secrets: [spread(hash_key[0]), spread(hash_key[1] ^ u64::MAX) | 1],
            ageing: AtomicU32::new(DEFAULT_AGEING),
            port_counts: zeros(MAX_PORTS),
            network_counts: zeros(MAX_NETWORKS),
            events: CachePadded::default(),
            flaps: FlapTable::new([spread(hash_key[1]), spread(hash_key[0] ^ u64::MAX) | 1]),
        }
    }

    /// The number of slots.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Sets for how many ticks a dynamic entry is valid after it was last seen: with 0, for the
    /// rest of that tick. At most 2^23, some 97 days.
    pub fn set_ageing(&self, ticks: u32) {
        self.ageing.store(ticks.min(MAX_AGEING), Relaxed);
    }

    /// Hashes an address of a network.
    #[inline]
    #[must_use]
    pub fn place(&self, network: NetworkIndex, mac: impl Into<PackedMac>) -> Place {
        let key = Key::new(network, mac.into());
        let home_hash = home_hash(key, self.secrets[1]);
        Place { key, home_hash }
    }

    /// The table at a time.
    #[inline]
    #[must_use]
    pub fn at(&self, now: Tick) -> View<'_> {
        let ageing = self.ageing.load(Relaxed);
        View {
            fdb: self,
            homes: self.slots.hashed(),
            secret: self.secrets[1],
            now,
            validity: Validity::new(now, ageing),
        }
    }

    /// The port that an address is behind, if there is a valid entry.
    #[inline]
    #[must_use]
    pub fn lookup(&self, network: NetworkIndex, mac: Mac, now: Tick) -> Option<PortIndex> {
        self.lookup_at(self.place(network, mac), now)
    }

    /// [`lookup`](Self::lookup) of an address that has been hashed.
    #[inline]
    #[must_use]
    pub fn lookup_at(&self, place: Place, now: Tick) -> Option<PortIndex> {
        self.at(now).lookup(place).map(Location::port)
    }

    /// Takes note that `mac` was seen on `port`, which may have `limit` dynamic entries.
    pub fn learn(
        &self,
        network: NetworkIndex,
        mac: Mac,
        port: PortIndex,
        now: Tick,
        limit: Option<u32>,
    ) -> Learned {
        self.learn_at(self.place(network, mac), port, now, limit)
    }

    /// [`learn`](Self::learn) of an address that has been hashed.
    #[inline]
    pub fn learn_at(
        &self,
        place: Place,
        port: PortIndex,
        now: Tick,
        limit: Option<u32>,
    ) -> Learned {
        if self.at(now).is_settled(place, port) {
            return Learned::Unchanged;
        }
        self.learn_slowly(place.key, port, now, limit.unwrap_or(u32::MAX))
    }

    /// Whether an address has moved too often, and has to stay behind another port than this one.
    #[must_use]
    #[cold]
    pub fn is_held(&self, place: Place, port: PortIndex, now: Tick) -> bool {
        self.flaps.is_held(place.key, port, now)
    }

    /// Takes note that an address has just been learnt on another port than before; false, and it
    /// is back where it was at first, if that is once too often.
    #[cold]
    pub fn may_move(
        &self,
        place: Place,
        from: PortIndex,
        to: PortIndex,
        now: Tick,
        limits: &FlapLimits,
    ) -> bool {
        let moved = self.flaps.note_move(place.key, from, to, now, limits);
        if let Err(home) = moved {
            // Not where it comes from now, which may be another port of who takes it. It had its
            // place at home.
            let _ = self.learn_slowly(place.key, home, now, u32::MAX);
        }
        moved.is_ok()
    }

    /// Forgets which addresses have moved: nothing stays quarantined.
    pub fn forget_moves(&self) {
        self.flaps.forget_where(|_, _| true);
    }

    /// The addresses that have moved within these limits' window, and those that are quarantined.
    #[must_use]
    pub fn flapping(&self, now: Tick, limits: &FlapLimits) -> Vec<Flapping> {
        self.flaps.all(now, limits)
    }

    /// Makes `mac` a static entry of `port`: it does not age and nobody can move it. A dynamic
    /// entry of this address becomes the static one, and a quarantine is over. Twice the same is no
    /// error.
    ///
    /// # Errors
    /// When the address is no station's, is a static entry of another port, or finds no room.
    pub fn add_static(
        &self,
        network: NetworkIndex,
        mac: Mac,
        port: PortIndex,
    ) -> Result<(), AddStaticError> {
        if mac.is_group() || mac == Mac::NULL {
            return Err(AddStaticError::NotUnicast(mac));
        }
        let key = Key::new(network, mac.into());
        for _ in 0..ATTEMPTS {
            let done = match self.find(key) {
                Some((_, word)) if word.is_static() => {
                    let there = word.port();
                    return if there == port {
                        Ok(())
                    } else {
                        Err(AddStaticError::Exists { port: there })
                    };
                }
                Some((slot, word)) => self.make_static(slot, word, port),
                None => self.insert_static(key, port)?,
            };
            if done {
                self.drop_duplicates(key);
                self.flaps.forget(key);
                return Ok(());
            }
        }
        Err(AddStaticError::Full)
    }

    /// Removes the entry of an address, dynamic or static; false if there was none.
    pub fn remove(&self, network: NetworkIndex, mac: Mac) -> bool {
        let key = Key::new(network, mac.into());
        let slots = self.candidates(key).into_iter().flatten();
        self.remove_where(slots, &self.events.removed, |found, _| found == key) > 0
    }

    /// Removes all entries that `filter` matches, and returns how many.
    ///
    /// An entry that is learnt meanwhile may stay. Whoever takes a port away first waits until no
    /// worker learns on it any more, then flushes.
    pub fn flush(&self, filter: &Filter) -> usize {
        self.remove_where(self.slots(), &self.events.removed, |key, word| {
            (filter.include_static || word.is_dynamic())
                && filter.network.is_none_or(|want| want == word.network())
                && filter.port.is_none_or(|want| want == word.port())
                && filter.mac.is_none_or(|want| want == key.mac())
        })
    }

    /// Removes all entries, static ones too, whose network and port `is_gone` tells, in one pass,
    /// and returns how many; and what is known of moves from there. As for [`flush`](Self::flush),
    /// nobody may learn such any more.
    pub fn flush_where(&self, is_gone: impl Fn(NetworkIndex, PortIndex) -> bool) -> usize {
        self.flaps.forget_where(&is_gone);
        self.remove_where(self.slots(), &self.events.removed, |_, word| {
            is_gone(word.network(), word.port())
        })
    }

    /// Removes the entries that have expired, and returns how many. A lookup does not find those
    /// anyway: this gives back their slots and their ports' limits. It reads the whole table, about
    /// a millisecond; the control thread calls it every few seconds.
    pub fn age(&self, now: Tick) -> usize {
        let ageing = self.ageing.load(Relaxed);
        self.remove_where(self.slots(), &self.events.aged, |_, word| {
            word.has_expired(now, ageing)
        })
    }

    /// The valid entries, in no order. What changes meanwhile is in it or not.
    pub fn entries(&self, now: Tick) -> impl Iterator<Item = Entry> + '_ {
        let ageing = self.ageing.load(Relaxed);
        self.slots()
            .filter_map(Slot::entry)
            .filter(move |(_, word)| !word.has_expired(now, ageing))
            .map(move |(key, word)| Entry {
                network: word.network(),
                mac: key.mac(),
                port: word.port(),
                kind: if word.is_static() {
                    Kind::Static
                } else {
                    Kind::Dynamic
                },
                age_s: word.is_dynamic().then(|| word.age(now)),
            })
    }

    /// The number of entries, expired ones included until [`age`](Self::age) removes them.
    #[must_use]
    pub fn len(&self) -> usize {
        let counts = self.network_counts.iter();
        counts.map(|count| count.load(Relaxed) as usize).sum()
    }

    /// No entries at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of dynamic entries of a port, expired ones included until they are removed.
    #[must_use]
    pub fn port_count(&self, port: PortIndex) -> u32 {
        self.port_counts[port.get()].load(Relaxed)
    }

    /// The number of entries of a network, expired ones included until they are removed.
    #[must_use]
    pub fn network_count(&self, network: NetworkIndex) -> u32 {
        self.network_counts[network.get()].load(Relaxed)
    }

    /// What happened so far.
    #[must_use]
    pub fn events(&self) -> Events {
        self.events.get()
    }
}

impl View<'_> {
    /// Hashes an address of a network and asks for its first bucket, without waiting for it: when a
    /// burst does this first for all its frames, their cache misses overlap.
    #[inline]
    #[must_use]
    pub fn prefetch(&self, network: NetworkIndex, mac: impl Into<PackedMac>) -> Place {
        let key = Key::new(network, mac.into());
        let home_hash = self.homes.shorten(home_hash(key, self.secret));
        prefetch(self.homes.choose(home_hash));
        Place { key, home_hash }
    }

    /// Asks once more for the first bucket of an address that was hashed before.
    #[inline]
    pub fn prefetch_again(&self, place: Place) {
        self.homes.prefetch(place.home_hash);
    }

    /// Whether the address is known on this port and was seen there in this tick: then there is
    /// nothing to learn, as for all frames of a station but one a second. An address that is not in
    /// its home slot is never said to be.
    #[inline]
    #[must_use]
    pub fn is_settled(&self, place: Place, port: PortIndex) -> bool {
        let settled = Word::settled(port, self.now);
        self.home(place).is_settled(place.key, settled)
    }

    /// Where an address is, if its home slot has a valid entry of it: nearly always, if there is
    /// one at all.
    #[inline]
    #[must_use]
    pub fn lookup_at_home(&self, place: Place) -> Option<Location> {
        let word = self.home(place).get_quickly(place.key)?;
        self.validity.allows(word).then(|| word.location())
    }

    #[inline]
    fn home(&self, place: Place) -> &Slot {
        self.homes.choose(place.home_hash)
    }

    /// Where an address is, if there is a valid entry.
    #[inline]
    #[must_use]
    pub fn lookup(&self, place: Place) -> Option<Location> {
        let location = self.lookup_at_home(place);
        location.or_else(|| self.lookup_everywhere(place))
    }

    #[inline(never)]
    fn lookup_everywhere(&self, place: Place) -> Option<Location> {
        for bucket in self.fdb.candidates(place.key) {
            for (_, word) in copies(bucket, place.key) {
                if self.validity.allows(word) {
                    return Some(word.location());
                }
            }
        }
        None
    }
}

/// Finding slots.
impl Fdb {
    fn home_index(&self, key: Key) -> usize {
        let hash = home_hash(key, self.secrets[1]);
        self.slots.hashed().chosen_index(hash)
    }

    /// The two buckets that an address may be in, one in each half of the table: so they are never
    /// one and the same. The first one has its home. The second one is chosen by a better hash, so
    /// that nobody can aim at both.
    #[inline]
    fn candidates(&self, key: Key) -> [&Bucket; 2] {
        let (buckets, _) = self.slots.as_chunks::<SLOTS>();
        let half = buckets.len() / 2;
        let first = self.home_index(key) / SLOTS;
        let second = hash(key.to_u64(), self.secrets) as usize & (half - 1);
        // In the other half than the first one.
        [&buckets[first], &buckets[second + (half & !first)]]
    }

    /// The position in its first bucket that an address has by right.
    fn home(&self, key: Key) -> usize {
        self.home_index(key) % SLOTS
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    #[inline]
    fn find(&self, key: Key) -> Option<(&Slot, Word)> {
        let [first, second] = self.candidates(key);
        let found = copies(first, key).next();
        found.or_else(|| copies(second, key).next())
    }

    /// The slot that a new entry of `newcomer`'s takes, and what is in it: a free one, else the
    /// entry that has expired longest ago, else the victim of a fair eviction. With no newcomer the
    /// entry is a static one, for which every dynamic one gives way.
    ///
    /// Of the free slots: the address's home, unless it is the last one of its bucket and the other
    /// has more; then any of the emptier bucket, of the first one if they are level. So nearly all
    /// are found where they are looked for first, and the table takes nearly as many as if each
    /// went into the emptier bucket.
    fn make_room(&self, key: Key, newcomer: Option<PortIndex>, now: Tick) -> Option<(&Slot, Word)> {
        let buckets = self.candidates(key);
        let room: [(&Slot, Word); 2 * SLOTS] = array::from_fn(|index| {
            let slot = &buckets[index / SLOTS][index % SLOTS];
            (slot, slot.word())
        });
        let (first, second) = room.split_at(SLOTS);
        let used = |half: &[(&Slot, Word)]| half.iter().filter(|(_, w)| !w.is_free()).count();
        let home = first[self.home(key)];
        let first_is_emptier = used(first) <= used(second);
        if home.1.is_free() && (first_is_emptier || used(first) + 1 < SLOTS) {
            return Some(home);
        }
        let order = if first_is_emptier {
            [first, second]
        } else {
            [second, first]
        };
        if let Some(&found) = order.into_iter().flatten().find(|(_, word)| word.is_free()) {
            return Some(found);
        }
        let ageing = self.ageing.load(Relaxed);
        let expired = room
            .iter()
            .filter(|(_, word)| word.has_expired(now, ageing));
        if let Some(&found) = expired.max_by_key(|(_, word)| word.age(now)) {
            return Some(found);
        }

        let dynamic = || room.iter().filter(|(_, word)| word.is_dynamic());
        let heaviest = dynamic()
            .map(|(_, word)| word.port())
            .max_by_key(|&port| (self.port_count(port), Some(port) == newcomer))?;
        let fair = newcomer
            .is_none_or(|own| heaviest == own || self.port_count(heaviest) > self.port_count(own));
        let its = dynamic().filter(|(_, word)| fair && word.port() == heaviest);
        its.max_by_key(|(_, word)| word.age(now)).copied()
    }
}

/// Changing slots. A count goes up before its entry can be seen and down after it has gone, so that
/// no count passes below zero.
impl Fdb {
    #[cold]
    #[inline(never)]
    fn learn_slowly(&self, key: Key, port: PortIndex, now: Tick, limit: u32) -> Learned {
        for _ in 0..ATTEMPTS {
            let outcome = match self.find(key) {
                Some((slot, word)) => self.learn_again(slot, word, port, now, limit),
                None => self.insert(key, port, now, limit),
            };
            if let Some(learned) = outcome {
                return learned;
            }
        }
        add(&self.events.no_room);
        Learned::NoRoom
    }

    /// Learns an address that `slot` has; nothing if another worker changed the slot meanwhile.
    fn learn_again(
        &self,
        slot: &Slot,
        word: Word,
        port: PortIndex,
        now: Tick,
        limit: u32,
    ) -> Option<Learned> {
        let from = word.port();
        if word.is_static() {
            return Some(if from == port {
                Learned::Static
            } else {
                Learned::StaticElsewhere
            });
        }
        let expired = word.has_expired(now, self.ageing.load(Relaxed));
        if from == port && !expired {
            if word.age(now) == 0 {
                return Some(Learned::Unchanged);
            }
            let done = slot.replace(word, word.seen(port, now));
            return done.then_some(Learned::Refreshed);
        }
        if !self.book(port, limit, word, expired) {
            return Some(Learned::LimitReached);
        }
        if !slot.replace(word, word.seen(port, now)) {
            self.cancel(port, word);
            return None;
        }
        self.hand_over(word, Some(port));
        if expired {
            add(&self.events.aged);
            add(&self.events.learned);
            return Some(Learned::New);
        }
        add(&self.events.moved);
        Some(Learned::Moved { from })
    }

    /// Learns an address that is in no slot; nothing if another worker took the slot meanwhile.
    fn insert(&self, key: Key, port: PortIndex, now: Tick, limit: u32) -> Option<Learned> {
        let Some((slot, old)) = self.make_room(key, Some(port), now) else {
            add(&self.events.no_room);
            return Some(Learned::NoRoom);
        };
        let expired = old.has_expired(now, self.ageing.load(Relaxed));
        if !self.book(port, limit, old, expired) {
            return Some(Learned::LimitReached);
        }
        let Some(claimed) = slot.claim(old, key) else {
            self.cancel(port, old);
            return None;
        };
        self.hand_over(old, Some(port));
        self.count_displaced(old, expired);
        self.network_counts[claimed.network().get()].fetch_add(1, Relaxed);
        add(&self.events.learned);
        slot.publish(key, claimed.dynamic(port, now));
        self.drop_duplicates(key);
        Some(Learned::New)
    }

    fn insert_static(&self, key: Key, port: PortIndex) -> Result<bool, AddStaticError> {
        // There is no clock here, and none is needed: whichever entry gives way is learnt again.
        let (slot, old) = self
            .make_room(key, None, Tick(0))
            .ok_or(AddStaticError::Full)?;
        let Some(claimed) = slot.claim(old, key) else {
            return Ok(false);
        };
        self.hand_over(old, None);
        self.count_displaced(old, false);
        self.network_counts[claimed.network().get()].fetch_add(1, Relaxed);
        slot.publish(key, claimed.into_static(port));
        Ok(true)
    }

    fn make_static(&self, slot: &Slot, word: Word, port: PortIndex) -> bool {
        let done = slot.replace(word, word.into_static(port));
        if done {
            self.hand_over(word, None);
            add(&self.events.removed);
        }
        done
    }

    /// Leaves one entry of an address that two workers entered at the same time.
    fn drop_duplicates(&self, key: Key) {
        // Between this thread's publication and its look at the other slots. Of two that publish
        // the same address, the one whose fence comes second sees the other's entry.
        fence(SeqCst);
        let copies = || {
            let buckets = self.candidates(key).into_iter();
            buckets.flat_map(|bucket| copies(bucket, key))
        };
        if copies().nth(1).is_none() {
            return;
        }
        let Some((winner, winning)) = copies().min_by_key(|(_, word)| !word.is_static()) else {
            return;
        };
        let losers = copies()
            .map(|(slot, _)| slot)
            .filter(|&slot| !std::ptr::eq(slot, winner));
        self.remove_where(losers, &self.events.removed, |found, word| {
            // One that has just become static stays; whoever made it so looks for copies too.
            found == key && (word.is_dynamic() || winning.is_static())
        });
    }

    /// Removes what `matches` in these slots. One that is refreshed or moved at the same time is
    /// looked at again, so that a flush takes it all the same and ageing leaves it.
    fn remove_where<'a>(
        &self,
        slots: impl Iterator<Item = &'a Slot>,
        dynamic_removed: &AtomicU64,
        matches: impl Fn(Key, Word) -> bool,
    ) -> usize {
        let mut removed = 0;
        for slot in slots {
            for _ in 0..ATTEMPTS {
                let Some((key, word)) = slot.entry() else {
                    break;
                };
                if !matches(key, word) {
                    break;
                }
                if slot.replace(word, word.freed()) {
                    self.hand_over(word, None);
                    self.network_counts[word.network().get()].fetch_sub(1, Relaxed);
                    if word.is_dynamic() {
                        add(dynamic_removed);
                    }
                    removed += 1;
                    break;
                }
            }
        }
        removed
    }

    /// Counts one more dynamic entry for `port`, in the place of `old`; false if that passes
    /// `limit`. An entry of the port's own in that place leaves the count as it is, and one that
    /// has expired does not count.
    fn book(&self, port: PortIndex, limit: u32, old: Word, expired: bool) -> bool {
        let count = &self.port_counts[port.get()];
        let before = count.load(Relaxed);
        if old.is_dynamic() && old.port() == port {
            return before - u32::from(expired && before > 0) < limit;
        }
        if before >= limit {
            return false;
        }
        let booked = count.fetch_add(1, Relaxed) < limit;
        if !booked {
            count.fetch_sub(1, Relaxed);
        }
        booked
    }

    /// Takes back a [`book`](Self::book): another worker took the place.
    fn cancel(&self, port: PortIndex, old: Word) {
        if !(old.is_dynamic() && old.port() == port) {
            self.port_counts[port.get()].fetch_sub(1, Relaxed);
        }
    }

    /// The dynamic entry `old` is gone, and `port` has a dynamic entry in its place.
    fn hand_over(&self, old: Word, port: Option<PortIndex>) {
        if old.is_dynamic() && Some(old.port()) != port {
            self.port_counts[old.port().get()].fetch_sub(1, Relaxed);
        }
    }

    /// An entry of another address has made place.
    fn count_displaced(&self, old: Word, expired: bool) {
        if old.is_live() {
            self.network_counts[old.network().get()].fetch_sub(1, Relaxed);
            add(if expired {
                &self.events.aged
            } else {
                &self.events.evicted
            });
        }
    }
}

/// What chooses an address's home: a multiplication by a secret odd number, of which the bits
/// in the middle are taken. Two addresses share a slot for one in so many secrets as there are
/// slots (Dietzfelbinger et al., A reliable randomized algorithm for the closest-pair problem,
/// 1997); and addresses in a row lie apart.
#[inline]
fn home_hash(key: Key, secret: u64) -> u32 {
    (key.to_u64().wrapping_mul(secret) >> 36) as u32
}

/// Two rounds of multiplication, each with a secret in it and with both halves of the product used
/// (the construction of wyhash): some ten cycles, and every bit of the key moves half of the hash.
#[inline]
fn hash(key: u64, secrets: [u64; 2]) -> u64 {
    let multiply = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        (product as u64, (product >> 64) as u64)
    };
    let (low, high) = multiply(key ^ secrets[0], secrets[1]);
    let (low, high) = multiply(low ^ secrets[1], high ^ secrets[0]);
    low ^ high
}

/// Makes a number with many different bits of one that a test made up (the finaliser of
/// splitmix64).
fn spread(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
