//! One thread: what each call gives, and all of them together against a model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::limits::FDB_SLOTS;

#[test]
fn an_address_is_learnt_refreshed_moved_and_expires() {
    let fdb = table(64);
    fdb.set_ageing(10);
    let learn = |on: usize, now| fdb.learn(NET, mac(1), port(on), Tick(now), None);
    let lookup = |now| fdb.lookup(NET, mac(1), Tick(now)).map(PortIndex::get);

    assert_eq!(lookup(0), None);
    assert_eq!(learn(1, 0), Learned::New);
    assert_eq!(learn(1, 0), Learned::Unchanged);
    assert_eq!(learn(1, 5), Learned::Refreshed);
    assert_eq!(learn(1, 4), Learned::Unchanged, "a worker with a late tick");
    assert_eq!((lookup(15), lookup(16)), (Some(1), None));
    assert_eq!(learn(2, 15), Learned::Moved { from: port(1) });
    assert_eq!(fdb.lookup(network(8), mac(1), Tick(15)), None);
    assert_eq!(learn(3, 26), Learned::New, "expired is as good as gone");
    assert_eq!((lookup(26), fdb.len(), fdb.age(Tick(36))), (Some(3), 1, 0));
    assert_eq!((fdb.age(Tick(37)), fdb.len()), (1, 0));
    let expected = Events {
        learned: 2,
        moved: 1,
        aged: 2,
        ..Events::default()
    };
    assert_eq!(fdb.events(), expected);
    check_counts(&fdb);
}

#[test]
fn nobody_moves_evicts_or_ages_a_static_entry() {
    let fdb = table(1);
    assert_eq!(fdb.capacity(), 2 * SLOTS);
    let learned = fdb.learn(NET, mac(0), port(1), Tick(0), None);
    assert_eq!(learned, Learned::New);
    for number in 0..fdb.capacity() as u64 {
        assert_eq!(fdb.add_static(NET, mac(number), port(1)), Ok(()));
        assert_eq!(fdb.add_static(NET, mac(number), port(1)), Ok(()));
    }
    let there = AddStaticError::Exists { port: port(1) };
    assert_eq!(fdb.add_static(NET, mac(0), port(2)), Err(there));
    let full = Err(AddStaticError::Full);
    assert_eq!(fdb.add_static(NET, mac(99), port(2)), full);
    for wrong in [Mac::NULL, Mac::BROADCAST] {
        let error = Err(AddStaticError::NotUnicast(wrong));
        assert_eq!(fdb.add_static(NET, wrong, port(2)), error);
    }

    let learn = |number, on| fdb.learn(NET, mac(number), port(on), Tick(9), Some(0));
    assert_eq!(learn(0, 1), Learned::Static);
    assert_eq!(learn(0, 2), Learned::StaticElsewhere);
    let learned = fdb.learn(NET, mac(99), port(2), Tick(9), None);
    assert_eq!(learned, Learned::NoRoom);
    assert_eq!(fdb.age(Tick(1_000_000)), 0);
    assert_eq!(fdb.flush(&Filter::default()), 0);
    let found = fdb.lookup(NET, mac(0), Tick(1_000_000));
    assert_eq!(found, Some(port(1)));
    assert_eq!(fdb.port_count(port(1)), 0, "static ones do not count");
    check_counts(&fdb);
    assert!(fdb.remove(NET, mac(0)) && !fdb.remove(NET, mac(0)));
    let all = Filter {
        include_static: true,
        ..Filter::default()
    };
    assert_eq!(fdb.flush(&all), 2 * SLOTS - 1);
    check_counts(&fdb);
}

#[test]
fn a_static_entry_displaces_a_dynamic_one() {
    let fdb = table(1);
    for number in 0..2 * SLOTS as u64 {
        let _ = fdb.learn(NET, mac(number), port(3), Tick(0), None);
    }
    assert_eq!(fdb.len(), 2 * SLOTS);
    assert_eq!(fdb.add_static(NET, mac(99), port(1)), Ok(()));
    assert_eq!(fdb.lookup(NET, mac(99), Tick(0)), Some(port(1)));
    assert_eq!((fdb.len(), fdb.events().evicted), (2 * SLOTS, 1));
    check_counts(&fdb);
}

#[test]
fn a_limit_counts_dynamic_entries_and_not_what_has_expired_in_the_way() {
    let fdb = table(64);
    fdb.set_ageing(10);
    let learn = |number, on, now| fdb.learn(NET, mac(number), port(on), Tick(now), Some(2));
    assert_eq!(learn(1, 1, 0), Learned::New);
    assert_eq!(learn(2, 1, 0), Learned::New);
    assert_eq!(learn(3, 1, 0), Learned::LimitReached);
    assert_eq!(learn(3, 2, 0), Learned::New);
    assert_eq!(learn(3, 1, 0), Learned::LimitReached, "a move onto it too");
    assert_eq!(fdb.lookup(NET, mac(3), Tick(0)), Some(port(2)));
    assert_eq!(learn(2, 1, 5), Learned::Refreshed);
    assert_eq!(learn(1, 1, 11), Learned::New, "its own old entry is free");
    assert_eq!(fdb.add_static(NET, mac(2), port(1)), Ok(()));
    assert_eq!(learn(4, 1, 11), Learned::New);
    check_counts(&fdb);
}

#[test]
fn an_expired_entry_makes_place_before_a_live_one() {
    let fdb = table(1);
    fdb.set_ageing(10);
    for number in 0..2 * SLOTS as u64 {
        let seen = if number == 5 { 0 } else { 4 };
        let _ = fdb.learn(NET, mac(number), port(1), Tick(seen), None);
    }
    // At the limit already: the expired one does not count.
    let learned = fdb.learn(NET, mac(99), port(1), Tick(11), Some(2 * SLOTS as u32));
    assert_eq!(learned, Learned::New);
    assert_eq!(fdb.entries(Tick(11)).count(), 2 * SLOTS);
    let events = fdb.events();
    assert_eq!((events.aged, events.evicted), (1, 0));
    check_counts(&fdb);
}

#[test]
fn the_default_table_takes_65_536_random_addresses_without_an_eviction() {
    for seed in 0..4 {
        let fdb = Fdb::new(FDB_SLOTS, [seed, seed ^ 99]);
        let mut numbers = Numbers(seed << 32);
        for _ in 0..65_536 {
            let _ = fdb.learn(NET, mac(numbers.next()), port(1), Tick(0), None);
        }
        let events = fdb.events();
        assert_eq!((events.evicted, events.no_room), (0, 0), "seed {seed}");
    }
    // Addresses as hypervisors hand them out: one after the other, the same in each network.
    let fdb = table(FDB_SLOTS);
    for number in 0..65_536 {
        let (net, host) = (network(number % 16), number as u64 / 16);
        let learned = fdb.learn(net, mac(host), port(1), Tick(0), None);
        assert_eq!(learned, Learned::New);
    }
    assert_eq!(fdb.len(), 65_536);
    assert_eq!(fdb.events().evicted, 0);
}

#[test]
fn six_of_seven_addresses_are_at_home_in_the_default_table() {
    let fdb = table(FDB_SLOTS);
    let mut numbers = Numbers(0);
    let keys = (0..65_536).map(|_| {
        let mac = mac(numbers.next());
        let _ = fdb.learn(NET, mac, port(1), Tick(0), None);
        Key::new(NET, mac.into())
    });
    let keys: Vec<_> = keys.collect();
    let is_at_home = |key: &&Key| fdb.candidates(**key)[0][fdb.home(**key)].has(**key);
    let at_home = keys.iter().filter(is_at_home).count();
    assert!(at_home > 65_536 * 6 / 7, "{at_home}");
}

#[test]
fn another_key_puts_the_same_addresses_elsewhere() {
    let [one, two] = [[1, 2], [1, 3]].map(|key| Fdb::new(FDB_SLOTS, key));
    let index = |fdb: &Fdb, number| {
        let buckets = fdb.candidates(Key::new(NET, mac(number).into()));
        buckets.map(|bucket| bucket.as_ptr().addr() - fdb.slots.as_ptr().addr())
    };
    for side in 0..2 {
        let same = (0..1000).filter(|&n| index(&one, n)[side] == index(&two, n)[side]);
        assert!(same.count() < 5);
    }
}

#[test]
fn a_flood_from_one_port_leaves_the_entries_of_others_alone() {
    let fdb = table(FDB_SLOTS);
    let (flooding, quiet) = (port(1), port(2));
    let early = |n: u64| Mac::from_u64(0x5254_0000_0000 | n);
    let late = |n: u64| Mac::from_u64(0x5254_0001_0000 | n);
    for number in 0..1000 {
        let learned = fdb.learn(NET, early(number), quiet, Tick(0), None);
        assert_eq!(learned, Learned::New);
    }
    let mut numbers = Numbers(0);
    // Many times what the table holds, so that most of it has to drive others out.
    for number in 0..2_000_000_u64 {
        let _ = fdb.learn(NET, mac(numbers.next()), flooding, Tick(1), None);
        if number % 2000 == 1999 {
            let learned = fdb.learn(NET, late(number / 2000), quiet, Tick(1), None);
            assert_eq!(learned, Learned::New);
        }
    }
    for number in 0..1000 {
        let found = [early(number), late(number)].map(|mac| fdb.lookup(NET, mac, Tick(1)));
        assert_eq!(found, [Some(quiet); 2], "address {number}");
    }
    assert_eq!(fdb.port_count(quiet), 2000);
    let events = fdb.events();
    assert!(events.evicted > 1_700_000, "{events:?}");
    assert!(fdb.len() > FDB_SLOTS * 9 / 10, "{}", fdb.len());
    check_counts(&fdb);
}

#[test]
fn the_port_with_the_most_entries_gives_way() {
    let fdb = table(1);
    for number in 0..2 * SLOTS as u64 {
        let on = if number < 3 { 1 } else { 2 };
        let seen = Tick(100 - number as u32);
        let learned = fdb.learn(NET, mac(number), port(on), seen, None);
        assert_eq!(learned, Learned::New);
    }
    let learn = |number, on| fdb.learn(NET, mac(number), port(on), Tick(100), None);
    assert_eq!(learn(50, 3), Learned::New);
    assert_eq!(fdb.lookup(NET, mac(7), Tick(100)), None, "port 2's oldest");
    assert_eq!(learn(51, 1), Learned::New, "4 of port 2 against 3");
    assert_eq!(fdb.port_count(port(2)), 3);
    assert_eq!(learn(52, 2), Learned::New, "4 of port 1 against 3");
    assert_eq!(learn(53, 2), Learned::New, "its own, when no port has more");
    assert_eq!(fdb.port_count(port(2)), 4);
    check_counts(&fdb);

    assert_eq!(fdb.flush(&Filter::default()), 2 * SLOTS);
    for number in 0..2 * SLOTS {
        assert_eq!(learn(number as u64, number), Learned::New);
    }
    let elsewhere = fdb.port_counts[9].fetch_add(1, Relaxed);
    assert_eq!((elsewhere, learn(60, 9)), (0, Learned::NoRoom));
    assert_eq!(fdb.events().no_room, 1);
}

#[derive(Clone, Debug)]
enum Op {
    Learn(usize, u64, usize, Option<u32>),
    AddStatic(usize, u64, usize),
    Remove(usize, u64),
    Flush(Option<usize>, Option<u64>, Option<usize>, bool),
    Pass(u32),
    Age,
    SetAgeing(u32),
}

const NETWORKS: usize = 3;
const STATIONS: u64 = 12;
const PORTS: usize = 4;

fn op() -> impl Strategy<Value = Op> {
    let net = || 0..NETWORKS;
    let station = || 0..STATIONS;
    let on = || 0..PORTS;
    let maybe = prop::option::of::<std::ops::Range<usize>>;
    let limit = prop_oneof![Just(None), (0..8_u32).prop_map(Some)];
    prop_oneof![
        12 => (net(), station(), on(), limit).prop_map(|(n, m, p, l)| Op::Learn(n, m, p, l)),
        2 => (net(), station(), on()).prop_map(|(n, m, p)| Op::AddStatic(n, m, p)),
        2 => (net(), station()).prop_map(|(n, m)| Op::Remove(n, m)),
        1 => (maybe(net()), prop::option::of(station()), maybe(on()), any::<bool>())
            .prop_map(|(n, m, p, s)| Op::Flush(n, m, p, s)),
        4 => (0..4_u32).prop_map(Op::Pass),
        1 => Just(Op::Age),
        1 => (0..8_u32).prop_map(Op::SetAgeing),
    ]
}

/// The same in the simplest form: a map, and a count by looking at all of it.
#[derive(Debug, Default)]
struct Model {
    entries: BTreeMap<(usize, u64), (usize, Kind, u32)>,
    ageing: u32,
    now: u32,
}

impl Model {
    fn expired(&self, kind: Kind, seen: u32) -> bool {
        kind == Kind::Dynamic && self.now - seen > self.ageing
    }

    fn count(&self, on: usize) -> u32 {
        let entries = self.entries.values();
        let own = entries.filter(|&&(p, kind, _)| p == on && kind == Kind::Dynamic);
        own.count() as u32
    }

    fn learn(&mut self, net: usize, station: u64, on: usize, limit: u32) -> Learned {
        let mut before = self.entries.get(&(net, station)).copied();
        let mut others = self.count(on);
        if let Some((p, kind, seen)) = before
            && self.expired(kind, seen)
        {
            others -= u32::from(p == on);
            before = None;
        }
        let learned = match before {
            Some((p, Kind::Static, _)) if p == on => return Learned::Static,
            Some((_, Kind::Static, _)) => return Learned::StaticElsewhere,
            Some((p, _, seen)) if p == on && seen == self.now => Learned::Unchanged,
            Some((p, ..)) if p == on => Learned::Refreshed,
            _ if others >= limit => return Learned::LimitReached,
            Some((from, ..)) => Learned::Moved { from: port(from) },
            None => Learned::New,
        };
        let entry = (on, Kind::Dynamic, self.now);
        self.entries.insert((net, station), entry);
        learned
    }

    fn add_static(&mut self, net: usize, station: u64, on: usize) -> Result<(), AddStaticError> {
        match self.entries.get(&(net, station)) {
            Some(&(p, Kind::Static, _)) if p != on => Err(AddStaticError::Exists { port: port(p) }),
            _ => {
                let entry = (on, Kind::Static, 0);
                self.entries.insert((net, station), entry);
                Ok(())
            }
        }
    }

    fn remove_where(&mut self, matches: impl Fn(usize, u64, usize, Kind, u32) -> bool) -> usize {
        let before = self.entries.len();
        self.entries
            .retain(|&(net, station), &mut (p, kind, seen)| !matches(net, station, p, kind, seen));
        before - self.entries.len()
    }

    fn valid_entries(&self) -> BTreeSet<Entry> {
        let valid = |&(_, &(_, kind, seen)): &(_, &(usize, Kind, u32))| !self.expired(kind, seen);
        let entry = |(&(net, station), &(p, kind, seen)): (&(usize, u64), &(usize, Kind, u32))| {
            let age_s = (kind == Kind::Dynamic).then(|| self.now - seen);
            Entry {
                network: network(net),
                mac: mac(station),
                port: port(p),
                kind,
                age_s,
            }
        };
        self.entries.iter().filter(valid).map(entry).collect()
    }
}

/// Does `op` to both, which have to say the same.
fn step(fdb: &Fdb, model: &mut Model, op: &Op) {
    let now = Tick(model.now);
    match *op {
        Op::Learn(n, m, p, limit) => {
            let learned = fdb.learn(network(n), mac(m), port(p), now, limit);
            let expected = model.learn(n, m, p, limit.unwrap_or(u32::MAX));
            assert_eq!(learned, expected);
        }
        Op::AddStatic(n, m, p) => {
            let added = fdb.add_static(network(n), mac(m), port(p));
            assert_eq!(added, model.add_static(n, m, p));
        }
        Op::Remove(n, m) => {
            let there = model.entries.remove(&(n, m)).is_some();
            assert_eq!(fdb.remove(network(n), mac(m)), there);
        }
        Op::Flush(n, m, p, include_static) => {
            let filter = Filter {
                network: n.map(network),
                mac: m.map(mac),
                port: p.map(port),
                include_static,
            };
            let expected = model.remove_where(|net, station, on, kind, _| {
                n.is_none_or(|n| n == net)
                    && m.is_none_or(|m| m == station)
                    && p.is_none_or(|p| p == on)
                    && (include_static || kind == Kind::Dynamic)
            });
            assert_eq!(fdb.flush(&filter), expected);
        }
        Op::Pass(ticks) => model.now += ticks,
        Op::Age => {
            let (now, ageing) = (model.now, model.ageing);
            let expected = model
                .remove_where(|_, _, _, kind, seen| kind == Kind::Dynamic && now - seen > ageing);
            assert_eq!(fdb.age(Tick(now)), expected);
        }
        Op::SetAgeing(ticks) => {
            model.ageing = ticks;
            fdb.set_ageing(ticks);
        }
    }
}

/// Everything that can be asked gives the same from both.
fn compare(fdb: &Fdb, model: &Model) {
    let now = Tick(model.now);
    let expected = model.valid_entries();
    let entries: BTreeSet<Entry> = fdb.entries(now).collect();
    assert_eq!(entries, expected);
    assert_eq!(fdb.len(), model.entries.len());
    for net in (0..NETWORKS).map(network) {
        for address in (0..STATIONS).map(mac) {
            let entry = expected
                .iter()
                .find(|entry| (entry.network, entry.mac) == (net, address));
            let found = fdb.lookup_at(fdb.at(now).prefetch(net, address), now);
            assert_eq!(found, entry.map(|entry| entry.port));
        }
    }
    for on in 0..PORTS {
        assert_eq!(fdb.port_count(port(on)), model.count(on));
    }
}

proptest! {
    #[test]
    fn the_table_is_a_map(ops in prop::collection::vec(op(), 1..120)) {
        let fdb = table(4096);
        fdb.set_ageing(3);
        let mut model = Model { ageing: 3, ..Model::default() };
        for op in &ops {
            step(&fdb, &mut model, op);
            compare(&fdb, &model);
        }
        check_counts(&fdb);
    }
}
