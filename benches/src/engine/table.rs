//! A forwarding database that knows some addresses, and those that it is asked for.

use std::hint::black_box;

use arrayvec::ArrayVec;
use switch_core::{
    clock::Tick,
    limits::{BURST, FDB_SLOTS, MAX_AGEING_S, PortIndex},
    table::fdb::{Fdb, Learned, Location, Place},
    wire::ethernet::Mac,
};

use super::topology::{NETWORK, station};

const PORT: PortIndex = PortIndex::new(1);
/// Behind this port is nobody.
const NOWHERE: PortIndex = PortIndex::new(2);

/// A table that knows some addresses, and those to ask for.
///
/// A burst's addresses are hashed and their buckets asked for first, as the datapath does.
#[derive(Debug)]
pub struct Table {
    fdb: Fdb,
    now: Tick,
    asked: Box<[Mac]>,
    next: usize,
    expected: Option<PortIndex>,
}

impl Table {
    /// A table of `count` addresses, which is asked for these, or for unknown ones.
    ///
    /// # Panics
    /// When there is no room for so many.
    #[must_use]
    pub fn new(count: usize, is_known: bool) -> Self {
        let asked_port = if is_known { PORT } else { NOWHERE };
        let fdb = Fdb::new(FDB_SLOTS, [1, 2]);
        // A round in which every burst has a second of its own is longer than the usual time.
        fdb.set_ageing(MAX_AGEING_S);
        for number in 0..count {
            let learned = fdb.learn(NETWORK, station(PORT, number), PORT, Tick(1), None);
            assert_eq!(learned, Learned::New);
        }
        // In the order of a linear congruential generator, which comes to every number below a
        // power of two once; whole bursts, and at least one.
        let numbers = count.next_power_of_two();
        let step = |number: &usize| Some((number * 1_664_525 + 1_013_904_223) % numbers);
        let order = std::iter::successors(Some(0), step).take(numbers);
        let order: Vec<usize> = order.filter(|number| *number < count).collect();
        let round = (count / BURST * BURST).max(BURST);
        let asked = order.iter().cycle().take(round);
        Self {
            fdb,
            now: Tick(1),
            asked: asked.map(|number| station(asked_port, *number)).collect(),
            next: 0,
            expected: is_known.then_some(PORT),
        }
    }

    /// Where the next burst of addresses begins.
    #[inline]
    fn advance(&mut self) -> usize {
        let start = self.next;
        self.next = (start + BURST) % self.asked.len();
        start
    }

    /// Hashes a burst of addresses and asks for their buckets.
    #[inline]
    fn places(&self, start: usize) -> ArrayVec<Place, BURST> {
        let macs = self.asked[start..start + BURST].iter();
        let stations = self.fdb.at(self.now);
        macs.map(|mac| stations.prefetch(NETWORK, *mac)).collect()
    }

    /// Looks the next burst up.
    ///
    /// # Panics
    /// When the answer is wrong.
    #[inline(never)]
    pub fn look_up(&mut self) {
        let start = self.advance();
        let stations = self.fdb.at(self.now);
        for place in self.places(start) {
            let found = stations.lookup(black_box(place)).map(Location::port);
            assert!(black_box(found) == self.expected);
        }
    }

    /// Learns the next burst.
    ///
    /// # Panics
    /// When that is not what was expected.
    #[inline(never)]
    pub fn learn(&mut self, expected: Learned) {
        let start = self.advance();
        for place in self.places(start) {
            let learned = self.fdb.learn_at(black_box(place), PORT, self.now, None);
            assert!(black_box(learned) == expected);
        }
    }

    /// A second goes by, so that whatever is learnt is written again.
    pub fn tick(&mut self) {
        self.now.0 += 1;
    }

    /// Forgets the burst that comes next, so that it is new.
    pub fn forget(&mut self) {
        for mac in &self.asked[self.next..self.next + BURST] {
            self.fdb.remove(NETWORK, *mac);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_asks_for_every_address_once() {
        for (count, expected) in [(16, 16), (64, 64), (1000, 960), (4096, 4096)] {
            let mut table = Table::new(count, true);
            let mut asked = table.asked.to_vec();
            asked.sort_unstable();
            asked.dedup();
            assert_eq!(asked.len(), expected);
            for _ in 0..2 * count.div_ceil(BURST) {
                table.look_up();
                table.learn(Learned::Unchanged);
            }
        }
    }

    #[test]
    fn what_is_forgotten_is_new_and_what_is_old_is_refreshed() {
        let mut table = Table::new(1000, true);
        for _ in 0..100 {
            table.forget();
            table.learn(Learned::New);
            table.tick();
            table.learn(Learned::Refreshed);
        }
        Table::new(1000, false).look_up();
    }

    #[test]
    fn nothing_is_forgotten_in_a_long_round() {
        let mut table = Table::new(65_536, true);
        for _ in 0..2 * 65_536 / BURST {
            table.tick();
            table.learn(Learned::Refreshed);
        }
    }
}
