//! Every order in which two or three threads can meet in a table of two slots.

use ::loom::{model::Builder, sync::Arc, thread};

use super::*;

const NOW: Tick = Tick(1);

fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

fn new_table() -> Arc<Fdb> {
    let fdb = Arc::new(table(2));
    assert_eq!(fdb.capacity(), 2);
    fdb
}

fn learn(fdb: &Fdb, net: usize, number: u64, on: usize) {
    let _ = fdb.learn(network(net), mac(number), port(on), NOW, None);
}

fn lookup(fdb: &Fdb, net: usize, number: u64) -> Option<usize> {
    let found = fdb.lookup(network(net), mac(number), NOW);
    found.map(PortIndex::get)
}

#[test]
fn loom_one_address_learnt_twice_is_there_once() {
    explore(|| {
        let fdb = new_table();
        let other = fdb.clone();
        let thread = thread::spawn(move || learn(&other, 1, 1, 11));
        learn(&fdb, 1, 1, 12);
        thread.join().unwrap();
        assert_eq!(fdb.len(), 1);
        assert!(matches!(lookup(&fdb, 1, 1), Some(11 | 12)));
        check_counts(&fdb);
    });
}

/// Address 3 of a network drives address 2 of network 1 out, then that comes back elsewhere.
fn change_hands(net: usize) {
    explore(move || {
        let fdb = new_table();
        learn(&fdb, 1, 1, 11);
        learn(&fdb, 1, 2, 11);
        // The reader is the thread that is spawned: the model runs it last, and gives its loads
        // every value that they may see, also those of before the changes.
        let other = fdb.clone();
        let reader = thread::spawn(move || {
            assert!(matches!(lookup(&other, 1, 2), None | Some(11 | 12)));
            assert!(matches!(lookup(&other, net, 3), None | Some(13)));
        });
        learn(&fdb, net, 3, 13);
        learn(&fdb, 1, 2, 12);
        reader.join().unwrap();
        check_counts(&fdb);
    });
}

#[test]
fn loom_a_slot_that_changes_hands_is_never_read_half_and_half() {
    change_hands(1);
}

#[test]
fn loom_a_slot_that_goes_to_another_network_is_never_read_half_and_half() {
    change_hands(2);
}

#[test]
fn loom_a_flush_a_move_and_a_refresh_keep_the_counts() {
    explore(|| {
        let fdb = new_table();
        let _ = fdb.learn(network(1), mac(1), port(11), Tick(0), None);
        let mover = fdb.clone();
        let moves = thread::spawn(move || learn(&mover, 1, 1, 12));
        let flusher = fdb.clone();
        let flush = thread::spawn(move || flush_port(&flusher, 11));
        learn(&fdb, 1, 1, 11);
        moves.join().unwrap();
        flush.join().unwrap();
        assert!(fdb.len() <= 1);
        check_counts(&fdb);
    });
}

fn flush_port(fdb: &Fdb, on: usize) {
    fdb.flush(&Filter {
        port: Some(port(on)),
        ..Filter::default()
    });
}

#[test]
fn loom_a_static_entry_wins_over_one_that_is_being_learnt() {
    explore(|| {
        let fdb = new_table();
        let other = fdb.clone();
        let thread = thread::spawn(move || learn(&other, 1, 1, 12));
        assert_eq!(fdb.add_static(network(1), mac(1), port(11)), Ok(()));
        thread.join().unwrap();
        assert_eq!((lookup(&fdb, 1, 1), fdb.len()), (Some(11), 1));
        check_counts(&fdb);
    });
}
