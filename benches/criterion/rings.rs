//! Rings: from the kernel and back, and from worker to worker.

use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use arrayvec::ArrayVec;
use criterion::Criterion;
use shunt_benches::engine::trips::{self, HandoffTrip, RingTrip};
use switch_core::{
    handoff::{Handed, Handoff},
    limits::{BURST, PortIndex, WorkerIndex},
    mem::{Burst, spsc},
};

use super::kit;

pub fn benches(criterion: &mut Criterion) {
    let mut group = kit::group(criterion, "rings");
    let mut rings = RingTrip::new();
    group.bench_function("AF_XDP, receive and transmit", |bencher| {
        let (prepare, work) = (RingTrip::play_kernel, RingTrip::turn);
        kit::time(bencher, &mut rings, BURST, prepare, work);
    });
    let mut handoff = HandoffTrip::new();
    group.bench_function("hand-off, send and receive", |bencher| {
        let (prepare, work) = (HandoffTrip::put_back, HandoffTrip::turn);
        kit::time(bencher, &mut handoff, BURST, prepare, work);
    });
    let (producer, consumer) = spsc::ring::<u64>(512);
    let values: ArrayVec<u64, BURST> = (0..BURST as u64).collect();
    let mut state = (producer, consumer, values);
    group.bench_function("spsc, numbers in and out", |bencher| {
        let work = |(producer, consumer, values): &mut (_, spsc::Consumer<u64>, ArrayVec<_, _>)| {
            let producer: &mut spsc::Producer<u64> = producer;
            producer.push_batch::<BURST>(values);
            consumer.pop_batch(values);
            assert!(values.is_full());
        };
        kit::time(bencher, &mut state, BURST, |_| {}, work);
    });
    if thread::available_parallelism().is_ok_and(|cores| cores.get() > 1) {
        across_cores(&mut group);
    }
    group.finish();
}

/// A burst to a worker on another core, and back: what the cache lines' way costs too.
fn across_cores(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    let [here, there] = trips::ends();
    let (mut cache, done) = (trips::cache(), AtomicBool::new(false));
    let burst = trips::burst(&mut cache);
    thread::scope(|scope| {
        scope.spawn(|| echo(there, &done));
        let _ended = Ended(&done);
        let mut state = (here, burst, ArrayVec::<Handed, BURST>::new());
        group.bench_function("hand-off to another core and back", |bencher| {
            let work = |(here, burst, handed): &mut (Handoff, Burst, ArrayVec<_, BURST>)| {
                here.send(WorkerIndex::new(1), PortIndex::new(0), burst);
                while !handed.is_full() {
                    here.receive(handed);
                }
                burst.extend(handed.drain(..).map(|handed| handed.frame));
            };
            kit::time(bencher, &mut state, BURST, |_| {}, work);
        });
    });
}

/// Ends the other thread, after a panic too.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Hands back whatever comes.
fn echo(mut there: Handoff, done: &AtomicBool) {
    let mut handed = ArrayVec::<Handed, BURST>::new();
    let mut burst = Burst::new();
    while !done.load(Relaxed) {
        there.receive(&mut handed);
        burst.extend(handed.drain(..).map(|handed| handed.frame));
        there.send(WorkerIndex::new(0), PortIndex::new(0), &mut burst);
    }
}
