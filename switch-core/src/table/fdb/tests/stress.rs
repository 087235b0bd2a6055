//! Real threads on a table that is too small for them.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize},
    thread,
};

use super::*;

const NETWORKS: u64 = 4;
const PORTS_PER_NETWORK: u64 = 8;

/// A port that says which network its addresses are learnt in.
fn port_of(net: usize, numbers: &mut Numbers) -> PortIndex {
    port(net * PORTS_PER_NETWORK as usize + numbers.below(PORTS_PER_NETWORK))
}

fn check_port(net: usize, found: Option<PortIndex>) -> usize {
    if let Some(found) = found {
        assert_eq!(found.get() / PORTS_PER_NETWORK as usize, net, "leak");
    }
    usize::from(found.is_some())
}

fn work(fdb: &Fdb, seed: u64, stations: u64, steps: u32) -> usize {
    let mut numbers = Numbers(seed << 32);
    let mut hits = 0;
    for step in 0..steps {
        let net = numbers.below(NETWORKS);
        let now = Tick(step / 64);
        let place = fdb.place(network(net), mac(numbers.next() % stations));
        let limit = numbers.next().is_multiple_of(4).then_some(20);
        let _ = fdb.learn_at(place, port_of(net, &mut numbers), now, limit);
        let wanted = mac(numbers.next() % stations);
        hits += check_port(net, fdb.lookup(network(net), wanted, now));
    }
    hits
}

/// Flushes, ages, adds and removes until the workers have done.
fn control(fdb: &Fdb, done: &AtomicBool) {
    let mut numbers = Numbers(u64::MAX / 2);
    let mut now = 0;
    while !done.load(Relaxed) {
        now += 1;
        let net = numbers.below(NETWORKS);
        let lasting = mac((1 << 20) + numbers.next() % 2);
        let passing = mac(numbers.next() % 4);
        match numbers.below(5) {
            0 => drop(fdb.flush(&Filter {
                port: Some(port_of(net, &mut numbers)),
                ..Filter::default()
            })),
            1 => drop(fdb.age(Tick(now))),
            2 => drop(fdb.add_static(network(net), lasting, port_of(net, &mut numbers))),
            3 => drop(fdb.add_static(network(net), passing, port_of(net, &mut numbers))),
            _ => drop(fdb.remove(network(net), passing)),
        }
        for entry in fdb.entries(Tick(now)) {
            check_port(entry.network.get(), Some(entry.port));
        }
    }
}

/// No address in two slots, all counts right.
fn check_quiet(fdb: &Fdb) {
    check_counts(fdb);
    let mut keys: Vec<u64> = fdb
        .slots()
        .filter_map(|slot| slot.entry().map(|(key, _)| key.to_u64()))
        .collect();
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count, "an address is there twice");
}

#[test]
fn threads_that_evict_move_flush_and_age_leave_a_right_table() {
    for (capacity, stations) in [(16, 64), (64, 40), (64, 4000)] {
        let fdb = table(capacity);
        fdb.set_ageing(5);
        let done = AtomicBool::new(false);
        let hits = AtomicUsize::new(0);
        thread::scope(|scope| {
            scope.spawn(|| control(&fdb, &done));
            let workers = [1, 2, 3].map(|seed| {
                let (fdb, hits) = (&fdb, &hits);
                scope.spawn(move || {
                    hits.fetch_add(work(fdb, seed, stations, 60_000), Relaxed);
                })
            });
            for worker in workers {
                worker.join().expect("a worker found a leak");
            }
            done.store(true, Relaxed);
        });
        assert!(hits.into_inner() > 0);
        check_quiet(&fdb);
    }
}

#[test]
fn the_same_new_addresses_on_all_workers_at_once() {
    for round in 0..200 {
        let fdb = table(256);
        let start = std::sync::Barrier::new(3);
        thread::scope(|scope| {
            for on in 0..3 {
                let (fdb, start) = (&fdb, &start);
                scope.spawn(move || {
                    start.wait();
                    for number in 0..32 {
                        let station = mac(round << 8 | number);
                        let _ = fdb.learn(NET, station, port(on), Tick(1), None);
                    }
                });
            }
        });
        assert_eq!(fdb.len(), 32);
        check_quiet(&fdb);
    }
}

#[test]
fn a_limit_holds_for_all_workers_together() {
    let fdb = table(4096);
    thread::scope(|scope| {
        for worker in 0..3 {
            let fdb = &fdb;
            scope.spawn(move || {
                for number in 0..500 {
                    let station = mac(worker << 16 | number);
                    let _ = fdb.learn(NET, station, port(1), Tick(0), Some(100));
                    assert!(fdb.entries(Tick(0)).count() <= 100);
                }
            });
        }
    });
    assert_eq!(fdb.port_count(port(1)), 100);
    check_quiet(&fdb);
}
