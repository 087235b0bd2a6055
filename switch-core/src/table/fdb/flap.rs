//! Addresses that move too often: a loop, or a station that takes another one's address.
//!
//! An address that leaves a port more often than is allowed within a window is **quarantined**: it
//! stays behind the port where it was at first, and frames that come with it from elsewhere are
//! dropped, until a time is over. Going back there is always allowed and does not count, so that
//! who loses an address again and again is not taken for who steals it.
//!
//! The table has its size, and only moves of known addresses come into it: whoever sends ever new
//! addresses leaves nothing here. A place is taken from another address only when that one's window
//! and quarantine are over. Where there is none, moves are not counted.
//!
//! A record is two numbers, which workers write one after the other. Whoever reads half of an old
//! and half of a new one takes it for nobody's, because some bits of the key are in both.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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

impl State {
    fn pack(self, key: Key) -> u64 {
        u64::from(self.at)
            | (self.home.get() as u64) << AT_BITS
            | u64::from(self.moves) << (AT_BITS + HOME_BITS)
            | u64::from(self.quarantined) << (TAG_SHIFT - 1)
            | tag(key) << TAG_SHIFT
    }

    fn unpack(word: u64, key: Key) -> Option<Self> {
        let field = |shift: u32, bits: u32| word >> shift & ((1 << bits) - 1);
        (word >> TAG_SHIFT == tag(key)).then(|| Self {
            at: word as u32,
            home: PortIndex::new(field(AT_BITS, HOME_BITS) as usize),
            moves: field(AT_BITS + HOME_BITS, MOVES_BITS) as u32,
            quarantined: field(TAG_SHIFT - 1, 1) != 0,
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

    fn set(&self, key: Key, state: State) {
        self.key.store(key.to_u64(), Relaxed);
        self.state.store(state.pack(key), Relaxed);
    }
}

/// The addresses that have moved of late.
#[derive(Debug)]
pub(super) struct FlapTable {
    records: Box<[[Record; WAYS]]>,
    secrets: [u64; 2],
}

impl FlapTable {
    pub(super) fn new(secrets: [u64; 2]) -> Self {
        Self {
            records: (0..RECORDS / WAYS).map(|_| Default::default()).collect(),
            secrets,
        }
    }

    /// What is known goes to another table.
    pub(super) fn duplicate(&self) -> Self {
        let copy = Self::new(self.secrets);
        let (from, to) = (self.records.as_flattened(), copy.records.as_flattened());
        for (from, to) in from.iter().zip(to) {
            to.key.store(from.key.load(Relaxed), Relaxed);
            to.state.store(from.state.load(Relaxed), Relaxed);
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

    /// Takes note that an address has moved; whether it may.
    pub(super) fn may_move(
        &self,
        key: Key,
        from: PortIndex,
        to: PortIndex,
        now: Tick,
        limits: &FlapLimits,
    ) -> bool {
        let begun = State {
            home: from,
            moves: 1,
            quarantined: false,
            at: now.0,
        };
        match self.find(key) {
            // Whenever that is: who has held it just when the window was over is not the first.
            Some((_, state)) if state.home == to => true,
            Some((record, state)) if state.left(now, limits.window_s).is_none() => {
                record.set(key, begun);
                true
            }
            Some((record, state)) => {
                let moves = (state.moves + 1).min(MAX_MOVES + 1);
                let allowed = moves <= limits.moves;
                record.set(
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
                allowed
            }
            None => {
                let over = |record: &&Record| {
                    let state = record.get().map(|(_, state)| state);
                    state.is_none_or(|state| state.left(now, limits.window_s).is_none())
                };
                if let Some(record) = self.ways(key).iter().find(over) {
                    record.set(key, begun);
                }
                true
            }
        }
    }

    /// Forgets the addresses whose network or first port `is_gone` tells: the next port with its
    /// number is another one.
    pub(super) fn forget_where(&self, is_gone: impl Fn(NetworkIndex, PortIndex) -> bool) {
        for record in self.records.as_flattened() {
            if let Some((key, state)) = record.get()
                && is_gone(key.network(), state.home)
            {
                record.state.store(0, Relaxed);
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

    fn table() -> FlapTable {
        FlapTable::new([1, 3])
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
        assert!(table.all(Tick(5), &LIMITS).len() <= RECORDS);
        // When their windows are over there is room again.
        let _ = table.may_move(key(200_000), home, thief, Tick(20), &LIMITS);
        assert!(table.all(Tick(20), &LIMITS).len() == 2);
    }
}
