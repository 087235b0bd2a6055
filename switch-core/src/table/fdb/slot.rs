//! One slot of the forwarding database: two words, and the protocol by which they change together.
//!
//! The **key** says which address of which network the slot is about. The **value** says everything
//! else, and alone decides whether the slot is free, claimed by a writer or live; every change of
//! that state is one compare-and-exchange of the value:
//!
//! ```text
//! value   63..62  59.....48  47......35  34........11  10       9....0
//!         state   network    tenancy     last seen     dynamic  port
//! key     59......48  47.....................................0
//!         network     MAC address, first byte lowest
//! ```
//!
//! The state of a live entry is 0, so that its upper 16 bits are those of its key: that it is live
//! and in the right network is one comparison. All that is asked of a source is in the lower 35.
//!
//! A tenancy is the time for which a slot keeps one key. It begins with the exchange to `Claimed`,
//! which counts the tenancy up; then its owner, and nobody else, writes the key and publishes the
//! value. It ends with the exchange to `Free`, or to the next tenancy's `Claimed`. So:
//! - A reader that finds the same tenancy in the value before and after it read the key has a key
//!   and a value that belong together: the key is written between `Claimed` and publication.
//! - A value that is exchanged is the value that was read, so nobody refreshes, moves or removes an
//!   entry that has meanwhile become another one, or that another has just refreshed.
//! - Port and network are in one word, and whoever writes the one has the other before him. A
//!   reader takes a port only out of a word with its own network in it, so no race whatever, not
//!   even 2^13 tenancies between two loads, can give it a port that was learnt in another network.

use crate::{
    clock::Tick,
    limits::{MAX_AGEING_S, MAX_NETWORKS, MAX_PORTS, NetworkIndex, PortIndex},
    sync::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
    wire::ethernet::{Mac, PackedMac},
};

const PORT_BITS: u32 = 10;
const SEEN_BITS: u32 = 24;
const TENANCY_BITS: u32 = 13;
const NETWORK_BITS: u32 = 12;

const DYNAMIC: u64 = 1 << PORT_BITS;
const SEEN_SHIFT: u32 = PORT_BITS + 1;
const TENANCY_SHIFT: u32 = SEEN_SHIFT + SEEN_BITS;
const NETWORK_SHIFT: u32 = TENANCY_SHIFT + TENANCY_BITS;
const STATE_SHIFT: u32 = 62;

const SEEN_MASK: u32 = (1 << SEEN_BITS) - 1;

const _: () = assert!(NETWORK_SHIFT + NETWORK_BITS <= STATE_SHIFT);
const _: () = assert!(MAX_PORTS <= 1 << PORT_BITS);
const _: () = assert!(MAX_NETWORKS <= 1 << NETWORK_BITS);
const _: () = assert!(MAX_AGEING_S <= MAX_AGEING);

/// The longest ageing time in ticks: half the range of the stored tick (97 days), so that a tick
/// that wraps, or that another worker took a moment later, is never taken for an old one.
pub(super) const MAX_AGEING: u32 = 1 << (SEEN_BITS - 1);

/// An address of a network, as it is stored in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key(u64);

impl Key {
    /// The null address of network 0.
    pub(super) const NULL: Self = Self(0);

    #[inline]
    pub(super) fn new(network: NetworkIndex, mac: PackedMac) -> Self {
        Self((network.get() as u64) << NETWORK_SHIFT | mac.get())
    }

    #[inline]
    pub(super) fn to_u64(self) -> u64 {
        self.0
    }

    /// The key of such a number.
    pub(super) fn of_u64(number: u64) -> Self {
        Self(number)
    }

    #[inline]
    fn network_bits(self) -> u64 {
        self.0 >> NETWORK_SHIFT
    }

    #[inline]
    pub(super) fn network(self) -> NetworkIndex {
        NetworkIndex::new(self.network_bits() as usize % MAX_NETWORKS)
    }

    pub(super) fn mac(self) -> Mac {
        PackedMac::from_le(self.0).into()
    }
}

/// What a slot is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum State {
    Live = 0,
    Claimed = 1,
    Free = 2,
}

/// The value word of a slot. A word that is not live is not [`DYNAMIC`] either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Word(u64);

impl Word {
    #[inline]
    fn field(self, shift: u32, bits: u32) -> u64 {
        self.0 >> shift & ((1 << bits) - 1)
    }

    #[inline]
    fn with(self, value: u64, shift: u32, bits: u32) -> Self {
        let mask = ((1 << bits) - 1) << shift;
        Self(self.0 & !mask | value << shift & mask)
    }

    #[inline]
    fn with_state(self, state: State) -> Self {
        self.with(state as u64, STATE_SHIFT, 2)
    }

    #[inline]
    fn state_is(self, state: State) -> bool {
        self.0 >> STATE_SHIFT == state as u64
    }

    #[inline]
    pub(super) fn is_free(self) -> bool {
        self.state_is(State::Free)
    }

    /// Holds an entry, dynamic or static.
    #[inline]
    pub(super) fn is_live(self) -> bool {
        self.state_is(State::Live)
    }

    #[inline]
    pub(super) fn is_dynamic(self) -> bool {
        self.0 & DYNAMIC != 0
    }

    #[inline]
    pub(super) fn is_static(self) -> bool {
        self.is_live() && !self.is_dynamic()
    }

    /// Live, and an entry of the network that `key` has.
    #[inline]
    fn is_of_network_of(self, key: Key) -> bool {
        (self.0 ^ key.0) >> NETWORK_SHIFT == 0
    }

    /// Network and port together.
    #[inline]
    pub(super) fn location(self) -> Location {
        Location(self.0.rotate_right(NETWORK_SHIFT) as u32 & Location::MASK)
    }

    #[inline]
    pub(super) fn port(self) -> PortIndex {
        PortIndex::new(self.field(0, PORT_BITS) as usize)
    }

    #[inline]
    pub(super) fn network(self) -> NetworkIndex {
        NetworkIndex::new(self.field(NETWORK_SHIFT, NETWORK_BITS) as usize)
    }

    /// Ticks since the entry was last seen; 0 when a worker with a later tick has seen it.
    #[inline]
    pub(super) fn age(self, now: Tick) -> u32 {
        let seen = self.field(SEEN_SHIFT, SEEN_BITS) as u32;
        let age = now.0.wrapping_sub(seen) & SEEN_MASK;
        if age > MAX_AGEING { 0 } else { age }
    }

    /// A dynamic entry that was last seen longer ago than `ageing`. Static entries do not age.
    #[inline]
    pub(super) fn has_expired(self, now: Tick, ageing: u32) -> bool {
        self.is_dynamic() && self.age(now) > ageing
    }

    /// The same entry, seen at `now` on `port`.
    #[inline]
    pub(super) fn seen(self, port: PortIndex, now: Tick) -> Self {
        self.with(u64::from(now.0), SEEN_SHIFT, SEEN_BITS)
            .with(port.get() as u64, 0, PORT_BITS)
    }

    /// The same entry as a static one of `port`.
    pub(super) fn into_static(self, port: PortIndex) -> Self {
        let fixed = self.with(port.get() as u64, 0, PORT_BITS);
        Self(fixed.0 & !DYNAMIC).with_state(State::Live)
    }

    /// What stays of an entry that is removed: the tenancy's number.
    pub(super) fn freed(self) -> Self {
        Self(self.0 & !DYNAMIC).with_state(State::Free)
    }

    /// Claimed for the next tenancy, which will be an entry of `key`'s network.
    fn claimed_for(self, key: Key) -> Self {
        let tenancy = self.field(TENANCY_SHIFT, TENANCY_BITS) + 1;
        Self(0)
            .with(tenancy, TENANCY_SHIFT, TENANCY_BITS)
            .with(key.network_bits(), NETWORK_SHIFT, NETWORK_BITS)
            .with_state(State::Claimed)
    }

    /// A dynamic entry of no network.
    #[inline]
    pub(super) fn settled(port: PortIndex, now: Tick) -> Self {
        Self(0).dynamic(port, now)
    }

    /// A claimed word as a dynamic entry.
    #[inline]
    pub(super) fn dynamic(self, port: PortIndex, now: Tick) -> Self {
        let seen = self.seen(port, now);
        Self(seen.0 | DYNAMIC).with_state(State::Live)
    }

    #[inline]
    fn same_tenancy(self, other: Self) -> bool {
        self.field(TENANCY_SHIFT, TENANCY_BITS) == other.field(TENANCY_SHIFT, TENANCY_BITS)
    }
}

/// A port of a network, where a station is: one word to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location(u32);

impl Location {
    /// A number that is no location's.
    pub const NONE: Self = Self(u32::MAX);
    /// The network from bit 0 on, the port from bit 16 on.
    const MASK: u32 = ((1 << NETWORK_BITS) - 1) | ((1 << PORT_BITS) - 1) << Self::PORT_SHIFT;
    const PORT_SHIFT: u32 = u64::BITS - NETWORK_SHIFT;

    /// The port.
    #[must_use]
    #[inline]
    pub fn port(self) -> PortIndex {
        PortIndex::new((self.0 >> Self::PORT_SHIFT) as usize % MAX_PORTS)
    }

    /// The network.
    #[must_use]
    #[inline]
    pub fn network(self) -> NetworkIndex {
        NetworkIndex::new(self.0 as usize % MAX_NETWORKS)
    }

    /// A number of so many bits: the ports of one network give different ones as far as there are
    /// enough, and so do the networks of one port.
    #[must_use]
    #[inline]
    pub fn spread<const BITS: u32>(self) -> usize {
        // The golden ratio: numbers in a row, in either field, lie apart in the product.
        (self.0.wrapping_mul(0x9e37_79b9) >> (u32::BITS - BITS)) as usize
    }
}

/// A time of the switch and an ageing time, made ready to tell which entries are valid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Validity {
    /// A tick earlier than the first that has expired, in the upper bits as in a word that is
    /// shifted so that its tick stands there; all bits below are 1.
    from: u64,
    /// How far back from there an entry has expired; one still older was seen in the future.
    span: u64,
}

impl Validity {
    /// Bits above the tick of a word.
    const ABOVE: u32 = u64::BITS - TENANCY_SHIFT;
    /// Bits below a tick that has been shifted to the top.
    const BELOW: u32 = u64::BITS - SEEN_BITS;

    #[inline]
    pub(super) fn new(now: Tick, ageing: u32) -> Self {
        let first_valid = u64::from(now.0.wrapping_sub(ageing).wrapping_sub(1));
        Self {
            from: (first_valid << Self::BELOW) | ((1 << Self::BELOW) - 1),
            span: u64::from(MAX_AGEING - ageing) << Self::BELOW,
        }
    }

    /// [`Word::has_expired`], for a dynamic entry.
    #[inline]
    fn is_over(self, word: Word) -> bool {
        self.from.wrapping_sub(word.0 << Self::ABOVE) < self.span
    }

    /// Whether a live entry is valid.
    #[inline]
    pub(super) fn allows(self, word: Word) -> bool {
        !self.is_over(word) || is_static_after_all(word)
    }
}

/// Out of the way, so that the age is looked at first.
#[cold]
#[inline(never)]
fn is_static_after_all(word: Word) -> bool {
    word.is_static()
}

/// A key and its value; see the module's text for who may write them when.
#[derive(Debug)]
pub(super) struct Slot {
    key: AtomicU64,
    value: AtomicU64,
}

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            key: AtomicU64::new(0),
            value: AtomicU64::new((State::Free as u64) << STATE_SHIFT),
        }
    }

    /// The value now, with or without an entry in it.
    #[inline]
    pub(super) fn word(&self) -> Word {
        Word(self.value.load(Acquire))
    }

    /// The key is here, or has been and the slot is free now: a reason to [`get`](Self::get) it.
    #[inline]
    pub(super) fn has(&self, key: Key) -> bool {
        self.key.load(Relaxed) == key.0
    }

    /// The entry of `key`, if it is here and stays here while it is read.
    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<Word> {
        let (found, word) = self.entry()?;
        (found == key && word.is_of_network_of(key)).then_some(word)
    }

    /// [`get`](Self::get) for the common case, in which nothing changes meanwhile: nothing at all
    /// where `get` might still find an entry.
    #[inline]
    pub(super) fn get_quickly(&self, key: Key) -> Option<Word> {
        let before = self.word();
        let found = Key(self.key.load(Acquire));
        let unchanged = self.word() == before;
        (found == key && unchanged && before.is_of_network_of(key)).then_some(before)
    }

    /// Whether the entry of `key` is here, dynamic, on the port and of the tick of `expected`: then
    /// there is nothing to learn. No port comes of this, so that the network need not be looked at,
    /// nor whether the slot changes hands: then the next frame is learnt.
    #[inline]
    pub(super) fn is_settled(&self, key: Key, expected: Word) -> bool {
        // Port, kind and tick are what is left.
        let difference = (self.word().0 ^ expected.0) << (u64::BITS - TENANCY_SHIFT);
        difference == 0 && self.key.load(Acquire) == key.0
    }

    /// The entry that is here, if it stays here while it is read. Three loads, whatever others do.
    ///
    /// `before` is live, so that the load that saw it is ordered after its tenancy's key; a key of
    /// a later tenancy was stored after that one's `Claimed`, which `after` then sees.
    #[inline]
    pub(super) fn entry(&self) -> Option<(Key, Word)> {
        let before = Word(self.value.load(Acquire));
        if !before.is_live() {
            return None;
        }
        let key = Key(self.key.load(Acquire));
        let after = Word(self.value.load(Acquire));
        (after.is_live() && after.same_tenancy(before)).then_some((key, after))
    }

    /// Changes the value from `old` to `new` within a tenancy, unless somebody was faster.
    #[inline]
    pub(super) fn replace(&self, old: Word, new: Word) -> bool {
        self.value
            .compare_exchange(old.0, new.0, AcqRel, Relaxed)
            .is_ok()
    }

    /// Begins a tenancy where `old` was; the caller has to [`publish`](Self::publish) it.
    pub(super) fn claim(&self, old: Word, key: Key) -> Option<Word> {
        let claimed = old.claimed_for(key);
        self.replace(old, claimed).then_some(claimed)
    }

    /// Writes the entry into a slot that the caller has claimed.
    pub(super) fn publish(&self, key: Key, word: Word) {
        debug_assert!(word.is_live());
        debug_assert_eq!(
            word.field(NETWORK_SHIFT, NETWORK_BITS),
            key.network_bits(),
            "the network is in both words"
        );
        // Release: a reader that sees this key sees the `Claimed` before it too.
        self.key.store(key.0, Release);
        self.value.store(word.0, Release);
    }
}

impl Slot {
    /// Takes over an entry, into a slot that nobody else knows yet: there is nobody to
    /// [`publish`](Self::publish) it to.
    pub(super) fn adopt(&self, key: Key, word: Word) {
        self.key.store(key.0, Relaxed);
        self.value.store(word.0, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_word_do_not_touch_each_other() {
        let key = Key::new(NetworkIndex::new(MAX_NETWORKS - 1), Mac([0xfe; 6]).into());
        let last_port = PortIndex::new(MAX_PORTS - 1);
        let claimed = Word(u64::MAX).freed().claimed_for(key);
        assert!(claimed.same_tenancy(Word(0)), "the tenancy wraps");
        assert!(!claimed.is_dynamic() && !claimed.is_static());
        assert!(!claimed.is_free() && !claimed.is_live());

        let word = claimed.dynamic(last_port, Tick(u32::MAX));
        assert!(word.is_dynamic() && word.is_live() && !word.is_static());
        assert_eq!((word.port(), word.age(Tick(u32::MAX))), (last_port, 0));
        assert_eq!(word.network().get(), MAX_NETWORKS - 1);

        let moved = word.seen(PortIndex::new(0), Tick(0));
        assert_eq!((moved.port().get(), moved.age(Tick(7))), (0, 7));
        assert_eq!(moved.network(), word.network());
        assert!(moved.same_tenancy(word) && moved.is_dynamic());

        let fixed = moved.into_static(last_port);
        assert!(fixed.is_static() && fixed.is_live() && fixed.port() == last_port);
        assert!(fixed.freed().is_free() && fixed.freed().same_tenancy(word));
    }

    #[test]
    fn age_is_right_across_the_wrap_and_never_negative() {
        let check = |seen: u32, now: u32, expected: u32| {
            let word = Word(0).dynamic(PortIndex::new(1), Tick(seen));
            assert_eq!(word.age(Tick(now)), expected, "seen {seen}, now {now}");
        };
        check(0, 0, 0);
        check(10, 310, 300);
        check(11, 10, 0);
        check(SEEN_MASK, SEEN_MASK + 1, 1);
        check(SEEN_MASK + 1, SEEN_MASK, 0);
        check(u32::MAX, 4, 5);
        check(0, MAX_AGEING, MAX_AGEING);
        check(0, MAX_AGEING + 1, 0);
    }

    #[test]
    fn validity_is_what_has_expired_says() {
        let check = |seen: u32, now: u32, ageing: u32| {
            let word = Word(u64::MAX).dynamic(PortIndex::new(1), Tick(seen));
            let validity = Validity::new(Tick(now), ageing);
            let expected = !word.has_expired(Tick(now), ageing);
            assert_eq!(validity.allows(word), expected, "{seen}, {now}, {ageing}");
            assert!(validity.allows(word.into_static(PortIndex::new(1))));
        };
        let edges = [
            0,
            1,
            2,
            9,
            300,
            MAX_AGEING - 1,
            MAX_AGEING,
            MAX_AGEING + 1,
            SEEN_MASK,
        ];
        for now in edges
            .into_iter()
            .chain([SEEN_MASK + 1, u32::MAX - 1, u32::MAX])
        {
            for ageing in [0, 1, 8, 300, MAX_AGEING - 1, MAX_AGEING] {
                for back in edges {
                    check(now.wrapping_sub(back), now, ageing);
                    check(now.wrapping_add(back), now, ageing);
                    check(now.wrapping_sub(ageing).wrapping_sub(back), now, ageing);
                    check(now.wrapping_sub(ageing).wrapping_add(back), now, ageing);
                }
            }
        }
    }

    #[test]
    fn a_slot_gives_an_entry_only_while_it_is_published() {
        let slot = Slot::new();
        let key = Key::new(NetworkIndex::new(3), Mac([2, 0, 0, 0, 0, 1]).into());
        let other = Key::new(NetworkIndex::new(4), key.mac().into());
        assert_eq!(slot.get(Key(0)), None, "a fresh slot is nobody's");

        let fresh = slot.word();
        assert!(fresh.is_free());
        let claimed = slot.claim(fresh, key).expect("nobody else");
        assert_eq!(slot.entry(), None);
        assert_eq!(slot.claim(fresh, other), None, "claimed already");
        let word = claimed.dynamic(PortIndex::new(5), Tick(1));
        slot.publish(key, word);
        assert_eq!(slot.entry(), Some((key, word)));
        assert_eq!((slot.get(key), slot.get(other)), (Some(word), None));
        assert_eq!(slot.get_quickly(key), Some(word));
        assert_eq!(slot.get_quickly(other), None);
        let settled = |key, on, now| slot.is_settled(key, Word::settled(PortIndex::new(on), now));
        assert!(settled(key, 5, Tick(1)) && !settled(other, 5, Tick(1)));
        assert!(!settled(key, 6, Tick(1)) && !settled(key, 5, Tick(2)));

        let claimed = slot.claim(word, other).expect("evicted");
        assert_eq!(slot.get(key), None);
        assert!(!slot.replace(word, word.freed()), "no longer that entry");
        slot.publish(other, claimed.dynamic(PortIndex::new(6), Tick(1)));
        assert_eq!(slot.get(key), None);
        assert_eq!(slot.get(other).map(|word| word.port().get()), Some(6));
    }
}
