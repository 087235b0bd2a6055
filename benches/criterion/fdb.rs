//! The forwarding database: by number of addresses that it knows, asked in random order.

use criterion::{BenchmarkId, Criterion};
use shunt_benches::engine::Table;
use switch_core::{limits::BURST, table::fdb::Learned};

use super::kit;

const ADDRESSES: [usize; 5] = [16, 64, 1000, 10_000, 65_536];
/// Bursts between two looks at the clock, where a burst changes nothing.
const BURSTS: usize = 16;

pub fn benches(criterion: &mut Criterion) {
    look_up(criterion);
    learn(criterion);
}

fn look_up(criterion: &mut Criterion) {
    let mut group = kit::group(criterion, "fdb");
    for count in ADDRESSES {
        for (name, is_known) in [("lookup hit", true), ("lookup miss", false)] {
            let mut table = Table::new(count, is_known);
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                let work = |table: &mut Table| (0..BURSTS).for_each(|_| table.look_up());
                kit::time(bencher, &mut table, BURST * BURSTS, |_| {}, work);
            });
        }
    }
    group.finish();
}

fn learn(criterion: &mut Criterion) {
    let mut group = kit::group(criterion, "fdb");
    for count in ADDRESSES {
        let mut table = Table::new(count, true);
        group.bench_function(BenchmarkId::new("learn known", count), |bencher| {
            let learn = |table: &mut Table| table.learn(Learned::Unchanged);
            let work = |table: &mut Table| (0..BURSTS).for_each(|_| learn(table));
            kit::time(bencher, &mut table, BURST * BURSTS, |_| {}, work);
        });
    }
    // What follows does something else with an address that comes twice in a burst.
    for count in ADDRESSES.into_iter().filter(|count| *count >= BURST) {
        let mut table = Table::new(count, true);
        group.bench_function(BenchmarkId::new("learn again", count), |bencher| {
            let work = |table: &mut Table| table.learn(Learned::Refreshed);
            kit::time(bencher, &mut table, BURST, Table::tick, work);
        });
        let mut table = Table::new(count, true);
        group.bench_function(BenchmarkId::new("learn new", count), |bencher| {
            let work = |table: &mut Table| table.learn(Learned::New);
            kit::time(bencher, &mut table, BURST, Table::forget, work);
        });
    }
    group.finish();
}
