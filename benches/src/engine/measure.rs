//! What a frame costs, on the thread that asks.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use shunt_tests::alloc;

use super::{Kind, Spacing, Worker, Workload};
use switch_core::limits::BURST;

/// Bursts between two looks at the clock: some tens of microseconds.
const BURSTS_PER_LOOK: usize = 16;
/// How long tables and predictors get used to the workload before it counts.
const WARM_UP: Duration = Duration::from_millis(200);

/// What is in the measured time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// The copy of each frame from the capture into a chunk, and the datapath: what a peer that
    /// reads its frames from memory does.
    WithCopy(Spacing),
    /// The datapath alone, on frames that stay in their chunks; 64 flows at most, and a
    /// [`Kind`] that keeps their bytes.
    Forwarding,
}

/// What a run has found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Frames that were forwarded in that time.
    pub frames: u64,
    /// The time.
    pub elapsed: Duration,
    /// Allocations, 0 if the program does not count them.
    pub allocations: u64,
}

impl Measurement {
    /// Frames a second.
    #[must_use]
    pub fn fps(&self) -> f64 {
        self.frames as f64 / self.elapsed.as_secs_f64()
    }

    /// Nanoseconds a frame.
    #[must_use]
    pub fn ns(&self) -> f64 {
        1e9 / self.fps()
    }
}

/// Runs a workload on this thread for a time, after a warm-up.
///
/// # Panics
/// When a frame did not go where it should have, or the workload does not suit the cost.
#[must_use]
pub fn measure(workload: &Workload, cost: Cost, time: Duration) -> Measurement {
    let spacing = match cost {
        Cost::WithCopy(spacing) => spacing,
        Cost::Forwarding => Spacing::Packed,
    };
    let mut worker = Worker::new(workload, spacing);
    let measurement = match cost {
        Cost::WithCopy(_) => timed(&mut worker, time, |worker| {
            worker.fill();
            worker.turn();
        }),
        Cost::Forwarding => {
            assert!(workload.flows <= BURST, "a burst has no more flows");
            worker.fill();
            timed(&mut worker, time, Worker::put_back)
        }
    };
    worker.check();
    measurement
}

fn timed(worker: &mut Worker, time: Duration, mut turn: impl FnMut(&mut Worker)) -> Measurement {
    let mut run = |time: Duration| {
        let (start, before) = (Instant::now(), worker.received());
        let elapsed = loop {
            for _ in 0..BURSTS_PER_LOOK {
                turn(worker);
            }
            let elapsed = start.elapsed();
            if elapsed >= time {
                break elapsed;
            }
        };
        (worker.received() - before, elapsed)
    };
    run(WARM_UP);
    let ((frames, elapsed), allocations) = alloc::count(|| run(time));
    Measurement {
        frames,
        elapsed,
        allocations,
    }
}

/// What `shunt-bench engine` is told.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Address pairs
    #[arg(long, default_value_t = 64)]
    flows: usize,
    /// Addresses that the switch knows [default: two a flow, 65536 at most]
    #[arg(long)]
    macs: Option<usize>,
    /// What becomes of the tag: untagged, push, pop, retag; or flood
    #[arg(long, default_value = "untagged", value_parser = kind)]
    kind: Kind,
    /// Leave the copy of the frames out: 64 flows at most, untagged or retag
    #[arg(long)]
    no_copy: bool,
    /// Seconds
    #[arg(long, default_value_t = 2.0)]
    time: f64,
}

fn kind(name: &str) -> Result<Kind, String> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
    kind.ok_or_else(|| "one of untagged, push, pop, retag, flood".to_owned())
}

/// Runs one workload on this thread and prints what a frame costs: something to profile, too.
///
/// # Errors
/// When the options do not suit each other.
pub fn run(options: &Options) -> Result<()> {
    let mut workload = Workload::of_flows(options.flows).with_kind(options.kind);
    workload.macs = options.macs.unwrap_or(workload.macs);
    ensure!(options.time > 0.0, "--time must be more than 0");
    ensure!(
        (1..=65_536).contains(&workload.macs),
        "--macs must be 1 to 65536: so many always fit"
    );
    ensure!(
        (1..=workload.sources() * workload.destinations()).contains(&workload.flows),
        "{} addresses have no {} pairs",
        workload.macs,
        workload.flows
    );
    let cost = if options.no_copy {
        ensure!(
            workload.flows <= BURST && workload.kind.keeps_bytes(),
            "--no-copy needs 64 flows at most, and untagged or retag"
        );
        Cost::Forwarding
    } else {
        Cost::WithCopy(Spacing::Packed)
    };
    let found = measure(&workload, cost, Duration::from_secs_f64(options.time));
    println!(
        "{} flows, {} addresses, {}: {:.1} ns a frame, {:.2} million frames a second",
        workload.flows,
        workload.macs,
        workload.kind.name(),
        found.ns(),
        found.fps() / 1e6
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_as_long_as_it_was_told() {
        let time = Duration::from_millis(5);
        for cost in [Cost::WithCopy(Spacing::Buffers), Cost::Forwarding] {
            let found = measure(&Workload::of_flows(64), cost, time);
            assert!(found.elapsed >= time && found.frames > 0);
            assert!((found.ns() * found.fps() - 1e9).abs() < 1.0);
        }
    }
}
