//! Many worlds, on all cores; and what to do about one that fails.

use std::{
    collections::BTreeSet,
    env,
    hash::{BuildHasher as _, RandomState},
    panic::{self, AssertUnwindSafe},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Instant,
};

use super::{
    rng::Rng,
    world::{Outcome, Plan, run},
};

/// The first worlds are the same in every run: those with the seeds from 0 to here.
const FIXED_WORLDS: u64 = 40;

/// In so many frames everything has happened that may.
const FRAMES_OF_ALL_KINDS: u64 = 100_000;

/// What differs when the switch or the reference panics.
pub const PANICKED: &str = "it panicked";

/// Runs of a failing world that are spent on making it smaller.
const SHRINKING_RUNS: usize = 300;

fn variable(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.replace('_', "").parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

/// Frames to run: 10 million in optimised builds without assertions and where it is told so.
fn frames_to_run() -> u64 {
    let quick = cfg!(debug_assertions);
    variable("SHUNT_SIM_FRAMES").unwrap_or(if quick { 200_000 } else { 10_000_000 })
}

/// Runs a world; a panic is a failure as well.
pub fn run_caught(plan: &Plan) -> Outcome {
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| run(plan)));
    outcome.unwrap_or_else(|_| Outcome {
        failure: Some((plan.end.unwrap_or(usize::MAX), PANICKED.into())),
        ..Outcome::default()
    })
}

/// Leaves out steps as long as the world still fails.
fn shrink(seed: u64, failed: usize) -> Plan {
    let end = failed.saturating_add(1);
    let mut best = Plan {
        seed,
        end: Some(end.min(1000)),
        ..Plan::default()
    };
    let fails = |plan: &Plan| run_caught(plan).failure.is_some();
    if !fails(&best) {
        return Plan {
            seed,
            ..Plan::default()
        };
    }
    let mut runs = 0;
    let mut size = (end.min(1000) / 2).max(1);
    loop {
        let mut start = 0;
        while start < best.end.unwrap_or(0) {
            let mut plan = best.clone();
            plan.without.extend(start..start + size);
            runs += 1;
            if plan.without != best.without && fails(&plan) {
                best = plan;
            }
            start += size;
        }
        if size == 1 || runs > SHRINKING_RUNS {
            return best;
        }
        size /= 2;
    }
}

/// What to print about a world that failed: how to run it again, and what happens in it.
fn report(seed: u64, failed: usize) -> String {
    let plan = Plan {
        verbose: true,
        ..shrink(seed, failed)
    };
    let outcome = run_caught(&plan);
    let end = plan.end.unwrap_or(0);
    let kept: Vec<usize> = (0..end)
        .filter(|step| !plan.without.contains(step))
        .collect();
    let steps: Vec<String> = kept.iter().map(ToString::to_string).collect();
    let log: String = outcome.log.iter().map(|line| format!("{line}\n")).collect();
    format!(
        "{log}seed {seed:#x}: {:?}\nagain: SHUNT_SIM_SEED={seed:#x} SHUNT_SIM_STEPS={} \
         cargo test -p shunt-tests --test all simulation::worlds -- --nocapture",
        outcome.failure,
        steps.join(","),
    )
}

/// The world that `SHUNT_SIM_SEED` names, if it does.
fn asked_for() -> Option<Plan> {
    let seed = variable("SHUNT_SIM_SEED")?;
    let steps = env::var("SHUNT_SIM_STEPS").ok();
    let steps: Option<BTreeSet<usize>> = steps.map(|text| {
        text.split(',')
            .map(|step| step.parse().expect("steps"))
            .collect()
    });
    let end = steps
        .as_ref()
        .map(|steps| steps.last().map_or(0, |last| last + 1));
    let without = match (&steps, end) {
        (Some(steps), Some(end)) => (0..end).filter(|step| !steps.contains(step)).collect(),
        _ => BTreeSet::new(),
    };
    Some(Plan {
        seed,
        end,
        without,
        verbose: true,
        wrong: None,
    })
}

#[test]
fn the_switch_is_the_reference_switch() {
    if let Some(plan) = asked_for() {
        let Outcome { log, failure, .. } = run_caught(&plan);
        log.iter().for_each(|line| println!("{line}"));
        assert_eq!(failure, None);
        return;
    }
    let base = RandomState::new().hash_one(Instant::now());
    let goal = frames_to_run();
    let (next, frames) = (AtomicU64::new(0), AtomicU64::new(0));
    let (quarantined, recovered) = (AtomicU64::new(0), AtomicU64::new(0));
    let failed = AtomicBool::new(false);
    let first: Mutex<Option<(u64, usize)>> = Mutex::new(None);
    let started = Instant::now();
    let work = || {
        while frames.load(Relaxed) < goal && !failed.load(Relaxed) {
            let number = next.fetch_add(1, Relaxed);
            let seed = match number {
                0..FIXED_WORLDS => number,
                _ => Rng::new(base, number).next(),
            };
            let outcome = run_caught(&Plan {
                seed,
                ..Plan::default()
            });
            frames.fetch_add(outcome.frames, Relaxed);
            quarantined.fetch_add(outcome.quarantined, Relaxed);
            recovered.fetch_add(outcome.recovered, Relaxed);
            if let Some((step, _)) = outcome.failure {
                failed.store(true, Relaxed);
                *first.lock().expect("first") = Some((seed, step));
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let (worlds, frames) = (next.into_inner(), frames.into_inner());
    println!(
        "{frames} frames in {worlds} worlds, {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let (quarantined, recovered) = (quarantined.into_inner(), recovered.into_inner());
    println!("{quarantined} addresses quarantined, {recovered} of them moved again afterwards");
    if let Some((seed, step)) = first.into_inner().expect("first") {
        panic!("{}", report(seed, step));
    }
    // Addresses are lost now and then, or nothing has been said about what becomes of them.
    if frames >= FRAMES_OF_ALL_KINDS {
        assert!(quarantined > 0 && recovered > 0, "addresses move too often");
    }
}
