//! The engine without I/O, piece by piece: `cargo bench`, or `cargo bench --bench engine -- fdb`.
//!
//! An iteration is one frame, so a time is nanoseconds a frame and a throughput frames a second.
//! No loop may allocate: one that does ends the run. Times on a shared machine are for comparing
//! two runs beside each other; what must not grow is counted in instructions (`instructions.rs`).
#![allow(
    missing_docs,
    reason = "criterion_group! makes a public function without documentation"
)]

mod fdb;
mod forward;
mod kit;
mod parse;
mod rings;

use criterion::{Criterion, criterion_group};

#[global_allocator]
static ALLOCATOR: shunt_tests::alloc::Counting = shunt_tests::alloc::Counting;

criterion_group! {
    name = benches;
    config = kit::config();
    targets = parse::benches, fdb::benches, forward::benches, rings::benches
}

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    println!("allocations in all loops: {}", kit::allocations());
}
