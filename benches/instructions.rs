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
use shunt_benches::engine::{Capture, Kind, Spacing, Worker, Workload};
use switch_core::{limits::BURST, wire::parse::Header};

/// Frames of every case.
const FRAMES: usize = 1024 * BURST;

/// Only `forward()` counts, neither the copy of a frame into its chunk nor its way out.
fn forwarding() -> LibraryBenchmarkConfig {
    let entry = EntryPoint::Custom("shunt_benches::engine::worker::Worker::forward*".to_owned());
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

#[library_benchmark(config = forwarding(), setup = worker)]
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

mod harness {
    use super::*;

    library_benchmark_group!(name = wire, benchmarks = [parse]);
    library_benchmark_group!(name = datapath, benchmarks = [forward]);

    gungraun::main!(library_benchmark_groups = [wire, datapath]);

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
