//! Addresses that move too often: a loop, or a station that takes another one's address.
//!
//! An address that leaves a port more often than is allowed within a window is **quarantined**: it
//! goes back behind the port where it was at first, and frames that come with it from elsewhere are
//! dropped, until a time is over. Going back there is always allowed and does not count, so that
//! who loses an address again and again is not taken for who steals it. A static entry ends all
//! this: it says whose the address is.
//!
//! The table has its size, and only moves of known addresses come into it: whoever sends ever new
//! addresses leaves nothing here. A place is free when the window and the quarantine of its address
//! are over. Where none is, the address whose port has most records in the whole table makes place,
//! if that port has at least two more than the newcomer's. So whoever moves addresses of its own to
//! and fro, between two ports, drives out its own records and nobody else's. A port that has most
//! itself gets no further place, and its next moves are not counted: those that are would otherwise
//! never be counted to the end.
//!
//! A record is two numbers, which workers write one after the other. Whoever reads half of an old
//! and half of a new one takes it for nobody's, because some bits of the key are in both.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::slot::Key;
use crate::{
    clock::Tick,
    limits::{MAX_PORTS, NetworkIndex, PortIndex},
    wire::ethernet::Mac,
};

/// Addresses that are watched at a time: 64 KiB.
const RECORDS: usize = 4096;
/// Places that an address may have.
const WAYS: usize = 4;

/// When an address moves too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlapLimits {
    /// Moves away from a port within the window that are allowed; at most [`MAX_MOVES`].
    pub moves: u32,
    /// Seconds from the first of them on.
    pub window_s: u32,
    /// Seconds for which the address stays where it was.
    pub quarantine_s: u32,
}

/// The most moves that can be allowed.
pub const MAX_MOVES: u32 = 1000;
/// The longest window and the longest quarantine, in seconds: a day.
pub const MAX_FLAP_S: u32 = 86_400;

/// An address that has moved of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flapping {
    /// The network that it moves in.
    pub network: NetworkIndex,
    /// The address.
    pub mac: Mac,
    /// The port that it was at when it began.
    pub home: PortIndex,
    /// How often it went away from there.
    pub moves: u32,
    /// Seconds until it may move again; none: it is not quarantined.
    pub quarantine_left_s: Option<u32>,
}

/// The value of a record: what has become of an address.
#[derive(Clone, Copy, Debug)]
struct State {
    home: PortIndex,
    moves: u32,
    quarantined: bool,
    /// The beginning of the window, or the end of the quarantine.
    at: u32,
}

const AT_BITS: u32 = 32;
const HOME_BITS: u32 = 10;
const MOVES_BITS: u32 = 10;
const TAG_SHIFT: u32 = AT_BITS + HOME_BITS + MOVES_BITS + 1;

const _: () = assert!(MAX_PORTS <= 1 << HOME_BITS);
const _: () = assert!(MAX_MOVES + 1 < 1 << MOVES_BITS);

/// The bits of a key that are in the value, too. Never all 0, as in a free record.
fn tag(key: Key) -> u64 {
    (key.to_u64().wrapping_mul(0x9e37_79b9_7f4a_7c15) >> TAG_SHIFT) | 1
}

fn field(word: u64, shift: u32, bits: u32) -> u64 {
    word >> shift & ((1 << bits) - 1)
}

/// The port of a packed state, whosever it is.
fn home(word: u64) -> PortIndex {
    PortIndex::new(field(word, AT_BITS, HOME_BITS) as usize)
}

impl State {
    fn pack(self, key: Key) -> u64 {
        u64::from(self.at)
            | (self.home.get() as u64) << AT_BITS
            | u64::from(self.moves) << (AT_BITS + HOME_BITS)
            | u64::from(self.quarantined) << (TAG_SHIFT - 1)
            | tag(key) << TAG_SHIFT
    }

    fn unpack(word: u64, key: Key) -> Option<Self> {
        (word >> TAG_SHIFT == tag(key)).then(|| Self {
            at: word as u32,
            home: home(word),
            moves: field(word, AT_BITS + HOME_BITS, MOVES_BITS) as u32,
            quarantined: field(word, TAG_SHIFT - 1, 1) != 0,
        })
    }

    /// Seconds that its window or its quarantine still lasts.
    fn left(self, now: Tick, window_s: u32) -> Option<u32> {
        let end = if self.quarantined {
            self.at
        } else {
            self.at.wrapping_add(window_s)
        };
        let left = end.wrapping_sub(now.0);
        // A window that is over lies up to half of all ticks back.
        (1..=MAX_FLAP_S).contains(&left).then_some(left)
    }
}

#[derive(Debug, Default)]
struct Record {
    key: AtomicU64,
    state: AtomicU64,
}

impl Record {
    fn get(&self) -> Option<(Key, State)> {
        let key = Key::of_u64(self.key.load(Relaxed));
        Some((key, State::unpack(self.state.load(Relaxed), key)?))
    }
}

/// The addresses that have moved of late.
#[derive(Debug)]
pub(super) struct FlapTable {
    records: Box<[[Record; WAYS]]>,
    /// By port, the records of addresses that were there at first, whether over or not.
    homes: Box<[AtomicU32]>,
    secrets: [u64; 2],
}

impl FlapTable {
    pub(super) fn new(secrets: [u64; 2]) -> Self {
        Self {
            records: (0..RECORDS / WAYS).map(|_| Default::default()).collect(),
            homes: (0..MAX_PORTS).map(|_| AtomicU32::new(0)).collect(),
            secrets,
        }
    }

    /// Writes a record, 0 for none. A count goes up before the record can be seen, and down for the
    /// one that was taken out, so that it is exact however many workers write.
    fn write(&self, record: &Record, state: u64) {
        if state != 0 {
            self.homes[home(state).get()].fetch_add(1, Relaxed);
        }
        let before = record.state.swap(state, Relaxed);
        if before != 0 {
            self.homes[home(before).get()].fetch_sub(1, Relaxed);
        }
    }

    fn set(&self, record: &Record, key: Key, state: State) {
        record.key.store(key.to_u64(), Relaxed);
        self.write(record, state.pack(key));
    }

    fn count(&self, port: PortIndex) -> u32 {
        self.homes[port.get()].load(Relaxed)
    }

    /// What is known goes to another table.
    pub(super) fn duplicate(&self) -> Self {
        let copy = Self::new(self.secrets);
        let (from, to) = (self.records.as_flattened(), copy.records.as_flattened());
        for (from, to) in from.iter().zip(to) {
            to.key.store(from.key.load(Relaxed), Relaxed);
            copy.write(to, from.state.load(Relaxed));
        }
        copy
    }

    fn ways(&self, key: Key) -> &[Record; WAYS] {
        let hash = super::hash(key.to_u64(), self.secrets) as usize;
        &self.records[hash % self.records.len()]
    }

    fn find(&self, key: Key) -> Option<(&Record, State)> {
        let known = |record| {
            let (found, state) = Record::get(record)?;
            (found == key).then_some((record, state))
        };
        self.ways(key).iter().find_map(known)
    }

    /// Whether an address is quarantined at another port than this one.
    pub(super) fn is_held(&self, key: Key, port: PortIndex, now: Tick) -> bool {
        self.find(key).is_some_and(|(_, state)| {
            state.quarantined && state.home != port && state.left(now, 0).is_some()
        })
    }

    /// Takes note that an address has moved.
    ///
    /// # Errors
    /// When that is once too often: the port where it has to stay.
    pub(super) fn note_move(
        &self,
        key: Key,
        from: PortIndex,
        to: PortIndex,
        now: Tick,
        limits: &FlapLimits,
    ) -> Result<(), PortIndex> {
        let begun = State {
            home: from,
            moves: 1,
            quarantined: false,
            at: now.0,
        };
        match self.find(key) {
            // Whenever that is: who has held it just when the window was over is not the first.
            Some((_, state)) if state.home == to => Ok(()),
            Some((record, state)) if state.left(now, limits.window_s).is_none() => {
                self.set(record, key, begun);
                Ok(())
            }
            Some((record, state)) => {
                let moves = (state.moves + 1).min(MAX_MOVES + 1);
                let allowed = moves <= limits.moves;
                self.set(
                    record,
                    key,
                    match allowed {
                        true => State { moves, ..state },
                        false => State {
                            moves,
                            quarantined: true,
                            at: now.0.wrapping_add(limits.quarantine_s),
                            ..state
                        },
                    },
                );
                allowed.then_some(()).ok_or(state.home)
            }
            None => {
                if let Some(record) = self.make_room(key, from, now, limits.window_s) {
                    self.set(record, key, begun);
                }
                Ok(())
            }
        }
    }

    /// The place of a new record of an address that was at `newcomer`: one that nobody has had, or
    /// one that is over and still tells who was first somewhere, or that of the port with most
    /// records, where that is to give way: of those of its addresses that are not quarantined the
    /// one that is over first, else of the others.
    fn make_room(
        &self,
        key: Key,
        newcomer: PortIndex,
        now: Tick,
        window_s: u32,
    ) -> Option<&Record> {
        let ways = self.ways(key);
        if let Some(unused) = ways.iter().find(|record| record.get().is_none()) {
            return Some(unused);
        }
        let ways = ways.each_ref().map(|record| {
            let live = record.get().and_then(|(_, state)| {
                let left = state.left(now, window_s)?;
                Some((state.home, (state.quarantined, left)))
            });
            (record, live)
        });
        if let Some(&(record, _)) = ways.iter().find(|(_, live)| live.is_none()) {
            return Some(record);
        }
        let live = || {
            ways.iter()
                .filter_map(|(record, live)| Some((record, (*live)?)))
        };
        let heaviest = live().map(|(_, (home, _))| home);
        let heaviest = heaviest.max_by_key(|home| self.count(*home))?;
        // With one more only, the two would drive each other out in turn.
        if self.count(heaviest) < self.count(newcomer) + 2 {
            return None;
        }
        let its = live().filter(|(_, (home, _))| *home == heaviest);
        its.min_by_key(|(_, (_, order))| *order)
            .map(|(record, _)| *record)
    }

    /// Forgets an address.
    pub(super) fn forget(&self, key: Key) {
        if let Some((record, _)) = self.find(key) {
            self.write(record, 0);
        }
    }

    /// Forgets the addresses whose network or first port `is_gone` tells: the next port with its
    /// number is another one.
    pub(super) fn forget_where(&self, is_gone: impl Fn(NetworkIndex, PortIndex) -> bool) {
        for record in self.records.as_flattened() {
            if let Some((key, state)) = record.get()
                && is_gone(key.network(), state.home)
            {
                self.write(record, 0);
            }
        }
    }

    /// Those whose window or quarantine is not over.
    pub(super) fn all(&self, now: Tick, limits: &FlapLimits) -> Vec<Flapping> {
        let records = self.records.as_flattened().iter();
        let flapping = |record: &Record| {
            let (key, state) = record.get()?;
            let left = state.left(now, limits.window_s)?;
            Some(Flapping {
                network: key.network(),
                mac: key.mac(),
                home: state.home,
                moves: state.moves,
                quarantine_left_s: state.quarantined.then_some(left),
            })
        };
        records.filter_map(flapping).collect()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const LIMITS: FlapLimits = FlapLimits {
        moves: 2,
        window_s: 10,
        quarantine_s: 60,
    };

    fn key(number: u64) -> Key {
        Key::new(
            NetworkIndex::new(3),
            Mac::from_u64(0x0200_0000_0000 | number).into(),
        )
    }

    impl FlapTable {
        /// Whether an address that has moved may.
        fn may_move(
            &self,
            key: Key,
            from: PortIndex,
            to: PortIndex,
            now: Tick,
            limits: &FlapLimits,
        ) -> bool {
            self.note_move(key, from, to, now, limits).is_ok()
        }
    }

    fn table() -> FlapTable {
        // As the forwarding database makes them: without that, all addresses share four places.
        FlapTable::new([1, 3].map(super::super::spread))
    }

    #[test]
    fn who_loses_an_address_keeps_it_in_the_end() {
        // Across the wrap of the ticks, too.
        for start in [0, u32::MAX - 5] {
            let table = table();
            let at = |seconds: u32| Tick(start.wrapping_add(seconds));
            let [home, thief, other] = [1, 2, 3].map(PortIndex::new);
            let moves = |from, to, now| table.may_move(key(7), from, to, at(now), &LIMITS);
            assert!(moves(home, thief, 0) && moves(thief, home, 1));
            assert!(moves(home, other, 2) && moves(other, home, 3));
            assert!(!table.is_held(key(7), thief, at(3)));
            assert!(!moves(home, thief, 4), "the third time");
            for port in [thief, other] {
                assert!(table.is_held(key(7), port, at(63)));
                assert!(!table.is_held(key(7), port, at(64)), "it recovers");
            }
            assert!(!table.is_held(key(7), home, at(10)));
            assert!(!table.is_held(key(8), thief, at(10)), "another address");
            let expected = Flapping {
                network: NetworkIndex::new(3),
                mac: key(7).mac(),
                home,
                moves: 3,
                quarantine_left_s: Some(50),
            };
            assert_eq!(table.all(at(14), &LIMITS), [expected]);
            assert_eq!(table.duplicate().all(at(14), &LIMITS), [expected]);
            assert_eq!(table.all(at(64), &LIMITS), []);
            assert!(moves(home, thief, 64), "and begins anew");
        }
    }

    /// Who has an address just when the window is over is not taken for the first one.
    #[test]
    fn a_thief_gains_nothing_by_waiting_for_the_end_of_a_window() {
        let table = table();
        let [home, thief] = [1, 2].map(PortIndex::new);
        let moves = |from, to, now| table.may_move(key(7), from, to, Tick(now), &LIMITS);
        assert!(moves(home, thief, 0));
        assert!(moves(thief, home, 10), "back, when the window is over");
        for now in 11..13 {
            assert!(moves(home, thief, now) && moves(thief, home, now));
        }
        assert!(!moves(home, thief, 13));
        assert!(table.is_held(key(7), thief, Tick(13)));
        assert!(!table.is_held(key(7), home, Tick(13)));
    }

    #[test]
    fn a_port_that_is_gone_holds_nothing() {
        let table = table();
        let [home, thief] = [1, 2].map(PortIndex::new);
        for now in 0..3 {
            let _ = table.may_move(key(7), home, thief, Tick(now), &LIMITS);
        }
        assert!(table.is_held(key(7), thief, Tick(3)));
        table.forget_where(|network, port| network.get() == 3 && port == thief);
        assert!(table.is_held(key(7), thief, Tick(3)), "it is not its home");
        table.forget_where(|network, port| network.get() == 3 && port == home);
        assert!(!table.is_held(key(7), thief, Tick(3)));
        assert_eq!(table.all(Tick(3), &LIMITS), []);
    }

    /// Who was first is known as long as nobody needs the place.
    #[test]
    fn what_is_over_stays_where_others_have_room() {
        let table = table();
        let [home, thief] = [1, 2].map(PortIndex::new);
        let shared = table.ways(key(0));
        let same = (0..).filter(|number| std::ptr::eq(table.ways(key(*number)), shared));
        let numbers: Vec<u64> = same.take(WAYS + 1).collect();
        let known = || {
            let known = numbers
                .iter()
                .filter(|number| table.find(key(**number)).is_some());
            known.count()
        };
        for (count, number) in numbers.iter().enumerate() {
            assert_eq!(known(), count);
            let now = Tick(100 * count as u32);
            assert!(table.may_move(key(*number), home, thief, now, &LIMITS));
        }
        assert_eq!(known(), WAYS);
    }

    #[test]
    fn seldom_moves_are_not_counted_together() {
        let table = table();
        let ports = [1, 2].map(PortIndex::new);
        for hour in 0..24 {
            let (from, to) = (ports[hour % 2], ports[(hour + 1) % 2]);
            let now = Tick(hour as u32 * 3600);
            assert!(table.may_move(key(1), from, to, now, &LIMITS));
        }
    }

    /// Records by the count of each port, and how many there are.
    fn counted(table: &FlapTable) -> (u32, usize) {
        let counts = table.homes.iter().map(|count| count.load(Relaxed));
        let records = table.records.as_flattened().iter();
        (counts.sum(), records.filter_map(Record::get).count())
    }

    /// A guest that moves addresses of its own between its two ports fills the table, and hides
    /// nothing by that: not what happens to others afterwards, nor what was known of them before.
    #[test]
    fn who_fills_the_table_pays_for_it_alone() {
        let table = table();
        let [home, thief, one, two] = [1, 2, 3, 4].map(PortIndex::new);
        let moves = |number, from, to| table.may_move(key(number), from, to, Tick(5), &LIMITS);
        let flood = |numbers: std::ops::Range<u64>| {
            for number in numbers {
                let (from, to) = if number % 2 == 0 {
                    (one, two)
                } else {
                    (two, one)
                };
                assert!(moves(number, from, to));
            }
        };
        assert!(moves(0, home, thief));
        flood(1000..50_000);
        assert_eq!(table.all(Tick(5), &LIMITS).len(), RECORDS);
        for number in 0..100 {
            if number != 0 {
                assert!(moves(number, home, thief));
            }
            flood(50_000 + number * 1000..51_000 + number * 1000);
            assert!(moves(number, home, thief));
            assert!(!moves(number, home, thief), "the third time, of {number}");
        }
        flood(200_000..250_000);
        for number in 0..100 {
            assert!(table.is_held(key(number), thief, Tick(5)), "{number}");
        }
        assert_eq!(table.count(home), 100);
        assert_eq!(counted(&table), (RECORDS as u32, RECORDS));
        assert_eq!(counted(&table.duplicate()), (RECORDS as u32, RECORDS));
        table.forget_where(|_, port| port == one || port == two);
        assert_eq!(counted(&table), (100, 100));
        assert_eq!((table.count(one), table.count(two)), (0, 0));
    }

    #[test]
    fn of_the_port_that_has_most_the_first_that_is_over_makes_place() {
        let table = table();
        let thief = PortIndex::new(9);
        let moves = |number, from, now| {
            table.may_move(key(number), PortIndex::new(from), thief, Tick(now), &LIMITS)
        };
        let shared = table.ways(key(0));
        let same = (0..).filter(|number| std::ptr::eq(table.ways(key(*number)), shared));
        let numbers: Vec<u64> = same.take(9).collect();
        let known = || {
            let known = numbers.iter().map(|number| table.find(key(*number)));
            known.map(|found| found.is_some()).collect::<Vec<_>>()
        };
        for (number, now) in [(0, 5), (0, 5), (0, 5), (1, 7), (2, 6), (3, 8)] {
            let _ = moves(numbers[number], 1, now);
        }
        assert!(table.is_held(key(numbers[0]), thief, Tick(8)));
        // The port of each; those that have nothing yet get a place while port 1 has two.
        for (number, from) in [(4, 2), (5, 3), (6, 3), (7, 4), (8, 5)] {
            assert!(moves(numbers[number], from, 8));
        }
        let expected = [true, false, false, false, true, true, false, true, false];
        assert_eq!(known(), expected);
        assert!(
            table.is_held(key(numbers[0]), thief, Tick(8)),
            "the last to go"
        );
    }

    #[test]
    fn more_addresses_than_places_displace_none_that_is_held() {
        let table = table();
        let [home, thief] = [1, 2].map(PortIndex::new);
        for _ in 0..3 {
            let _ = table.may_move(key(0), home, thief, Tick(5), &LIMITS);
        }
        for number in 1..100_000 {
            assert!(table.may_move(key(number), home, thief, Tick(5), &LIMITS));
        }
        assert!(table.is_held(key(0), thief, Tick(5)));
        assert_eq!(table.all(Tick(5), &LIMITS).len(), RECORDS);
        // When their windows are over there is room again.
        let _ = table.may_move(key(200_000), home, thief, Tick(20), &LIMITS);
        assert!(table.all(Tick(20), &LIMITS).len() == 2);
    }
}
