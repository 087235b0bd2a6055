//! What the benches have in common: a frame as the unit, and no allocation.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use criterion::{Bencher, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use shunt_tests::alloc;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

/// Short, because there are many: all of them take two minutes.
pub fn config() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800))
        .sample_size(20)
        .without_plots()
}

/// A group in which an iteration is a frame.
pub fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    group
}

/// Times `work`, which handles so many frames each time, and leaves `prepare` before each out.
///
/// Between them the clock is read, as a worker reads it once a burst: some 20 ns, which are in the
/// time.
///
/// # Panics
/// When one of the two allocates.
pub fn time<S>(
    bencher: &mut Bencher<'_>,
    state: &mut S,
    frames: usize,
    prepare: impl Fn(&mut S),
    work: impl Fn(&mut S),
) {
    bencher.iter_custom(|wanted| {
        let turns = wanted.div_ceil(frames as u64);
        let (elapsed, allocations) = alloc::count(|| {
            let mut elapsed = Duration::ZERO;
            for _ in 0..turns {
                prepare(state);
                let start = Instant::now();
                work(state);
                elapsed += start.elapsed();
            }
            elapsed
        });
        ALLOCATIONS.fetch_add(allocations, Relaxed);
        assert_eq!(allocations, 0, "allocations in the loop");
        elapsed.mul_f64(wanted as f64 / (turns * frames as u64) as f64)
    });
}

/// Allocations in the loops so far.
pub fn allocations() -> u64 {
    ALLOCATIONS.load(Relaxed)
}
