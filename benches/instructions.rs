//! Instructions a frame, counted by callgrind: the same on an idle and on a busy machine.
//!
//! `cargo xtask bench instructions` runs this, divides, and compares with the numbers in
//! `instructions.toml`. Each case runs [`FRAMES`] frames; what prepares them is not counted.
#![allow(
    missing_docs,
    reason = "the harness makes public items without documentation"
)]

use std::{hint::black_box, process::Command};

use gungraun::prelude::*;
use gungraun::{Callgrind, EntryPoint};
use shunt_benches::engine::{
    Capture, Kind, Policy, Spacing, Table, Worker, Workload,
    trips::{HandoffTrip, RingTrip},
};
use switch_core::{
    limits::{BURST, FLOWS_PER_WORKER},
    table::fdb::Learned,
    wire::parse::Header,
};

/// Frames of every case.
const FRAMES: usize = 1024 * BURST;

/// Counts what happens inside of one function of `shunt_benches::engine`, and nothing else.
fn only(function: &str) -> LibraryBenchmarkConfig {
    // What the linker adds to the name of a function that it has moved is matched too.
    let entry = EntryPoint::Custom(format!("shunt_benches::engine::{function}*"));
    let mut callgrind = Callgrind::default();
    callgrind.entry_point(entry);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

/// A worker that has seen every flow once.
fn worker(kind: Kind, flows: usize) -> Worker {
    let workload = Workload::of_flows(flows).with_kind(kind);
    Worker::new(&workload, Spacing::Packed)
}

// Only `forward()` counts, neither the copy of a frame into its chunk nor its way out.
#[library_benchmark(config = only("worker::Worker::forward"), setup = worker)]
#[bench::untagged_64(Kind::Untagged, 64)]
#[bench::push_64(Kind::Push, 64)]
#[bench::pop_64(Kind::Pop, 64)]
#[bench::retag_64(Kind::Retag, 64)]
#[bench::flood_64(Kind::Flood, 64)]
#[bench::untagged_4096(Kind::Untagged, 4096)]
fn forward(mut worker: Worker) {
    for _ in 0..FRAMES / BURST {
        worker.fill();
        worker.turn();
    }
    worker.check();
}

/// A worker with this policy, a guard and a policer, that knows all flows or, if they are more than
/// it can know, as many of others.
fn policed(kind: Kind, flows: usize, policy: Policy) -> Worker {
    let frames = if flows <= FRAMES / 2 {
        // What an unknown one costs is another case.
        2 * flows
    } else {
        FRAMES
    };
    let workload = Workload::with_policy(flows, policy).with_kind(kind);
    let mut worker = Worker::new(&workload, Spacing::Packed);
    for _ in 0..frames.div_ceil(BURST) {
        worker.fill();
        worker.rehearse();
    }
    worker
}

// Cached: all flows are known, of 1000 rules. Miss: each frame is the first of its flow; the number
// of rules must matter little.
#[library_benchmark(config = only("worker::Worker::forward"), setup = policed)]
#[bench::cached_64(Kind::Untagged, 64, Policy::Rules(1000))]
#[bench::cached_1024(Kind::Untagged, 1024, Policy::Rules(1000))]
#[bench::cached_10000(Kind::Untagged, 10_000, Policy::Rules(1000))]
#[bench::cached_tagged_64(Kind::Retag, 64, Policy::Rules(1000))]
#[bench::cached_ipv6_64(Kind::Untagged, 64, Policy::Ipv6(1000))]
#[bench::cached_way_out_64(Kind::Untagged, 64, Policy::WayOut(1000))]
#[bench::cached_acts_64(Kind::Untagged, 64, Policy::Acts(1000))]
#[bench::miss(Kind::Untagged, 2 * FRAMES, Policy::Rules(1000))]
#[bench::miss_10_rules(Kind::Untagged, 2 * FRAMES, Policy::Rules(10))]
#[bench::miss_10000_rules(Kind::Untagged, 2 * FRAMES, Policy::Rules(10_000))]
fn policy(mut worker: Worker) {
    for _ in 0..FRAMES / BURST {
        worker.fill();
        worker.turn();
    }
    worker.check();
}

// Each frame is the first of its flow, and nearly every one finds a free place in the flow table.
#[library_benchmark(config = only("worker::Worker::forward"))]
#[bench::miss(policed(Kind::Untagged, 2 * FRAMES, Policy::Rules(1000)))]
#[bench::miss_10_rules(policed(Kind::Untagged, 2 * FRAMES, Policy::Rules(10)))]
#[bench::miss_10000_rules(policed(Kind::Untagged, 2 * FRAMES, Policy::Rules(10_000)))]
fn policy_with_room(mut worker: Worker) {
    const HALF: usize = FLOWS_PER_WORKER / 2 / BURST;
    for turn in 0..FRAMES / BURST {
        if turn % HALF == 0 {
            worker.forget_flows();
        }
        worker.fill();
        worker.turn();
    }
    worker.check();
}

fn capture(kind: Kind) -> Vec<Vec<u8>> {
    let workload = Workload::of_flows(FRAMES).with_kind(kind);
    let capture = Capture::new(
        &Workload {
            flows: 64,
            ..workload
        },
        Spacing::Packed,
    );
    capture.frames().map(<[u8]>::to_vec).collect()
}

#[library_benchmark(setup = capture)]
#[bench::untagged(Kind::Untagged)]
#[bench::tagged(Kind::Retag)]
fn parse(frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    for _ in 0..FRAMES / frames.len() {
        for frame in &frames {
            black_box(Header::parse(black_box(frame))).expect("long enough");
        }
    }
    frames
}

fn known(addresses: usize) -> Table {
    Table::new(addresses, true)
}

fn unknown(addresses: usize) -> Table {
    Table::new(addresses, false)
}

#[library_benchmark(config = only("table::Table::look_up"))]
#[bench::hit_64(known(64))]
#[bench::hit_65536(known(65_536))]
#[bench::miss_64(unknown(64))]
fn fdb_lookup(mut table: Table) {
    for _ in 0..FRAMES / BURST {
        table.look_up();
    }
}

#[library_benchmark(config = only("table::Table::learn"))]
#[bench::known_64(known(64), Learned::Unchanged)]
#[bench::again_64(known(64), Learned::Refreshed)]
#[bench::new_10000(known(10_000), Learned::New)]
fn fdb_learn(mut table: Table, expected: Learned) {
    for _ in 0..FRAMES / BURST {
        match expected {
            Learned::Refreshed => table.tick(),
            Learned::New => table.forget(),
            _ => {}
        }
        table.learn(expected);
    }
}

// From the RX ring to the TX ring, with the fill and the completion ring.
#[library_benchmark(config = only("trips::RingTrip::turn"))]
#[bench::receive_and_transmit(RingTrip::new())]
fn rings(mut trip: RingTrip) {
    for _ in 0..FRAMES / BURST {
        trip.play_kernel();
        trip.turn();
    }
}

#[library_benchmark(config = only("trips::HandoffTrip::turn"))]
#[bench::send_and_receive(HandoffTrip::new())]
fn handoff(mut trip: HandoffTrip) {
    for _ in 0..FRAMES / BURST {
        trip.turn();
        trip.put_back();
    }
}

mod harness {
    use super::*;

    library_benchmark_group!(
        name = engine,
        benchmarks = [
            parse,
            fdb_lookup,
            fdb_learn,
            forward,
            policy,
            policy_with_room,
            rings,
            handoff
        ]
    );

    gungraun::main!(library_benchmark_groups = engine);

    pub fn run() {
        main();
    }
}

fn main() {
    // The harness calls this program again, under callgrind, for every case.
    let is_case = std::env::args().any(|argument| argument == "--gungraun-run");
    if !is_case {
        if Command::new("gungraun-runner").output().is_err() {
            eprintln!("instructions: left out, there is no gungraun-runner: cargo xtask setup");
            return;
        }
        println!("frames {FRAMES}");
    }
    harness::run();
}
