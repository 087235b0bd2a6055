//! The numbers of SPECIFICATION.md that need the real daemon: what it costs when nothing happens,
//! how fast it wakes up and starts, and how much memory it takes.
//!
//! Other programs on the machine can make any of these late, and none early: the best of a few
//! tries counts, and all are printed.

use std::{
    thread,
    time::{Duration, Instant},
};

use shunt_tests::{
    config::Config,
    daemon::{Daemon, wait_for},
    process::{Thread, Usage},
    sys,
    traffic::{Frame, Wire},
    world::{Guest, World},
};
use switch_core::limits::{CHUNK_SIZE, chunks_needed};

/// Ports of the promises about an idle daemon and its memory.
const PORTS: usize = 8;
/// Tries of what a busy machine can make late.
const TRIES: u32 = 3;

/// Longest time for the first frame after a silence.
const FIRST_FRAME_LIMIT: Duration = Duration::from_millis(1);
/// How long the silence is.
const SILENCE: Duration = Duration::from_mins(1);
/// Most time on all cores, per second, of an idle daemon.
const IDLE_LIMIT_PERCENT: f64 = 1.0;
/// From the start of the process to the first frame that it forwards.
const START_LIMIT: Duration = Duration::from_secs(1);
/// Resident memory beside the frames' region.
const MEMORY_LIMIT_KIB: u64 = 64 << 10;

/// A world with its guests, all in one network.
fn guests(world: &World) -> (Vec<Guest>, Config) {
    let names: Vec<_> = (0..PORTS).map(|number| format!("g{number}")).collect();
    let guests = names.iter().map(|name| world.guest(name)).collect();
    let config = Config::switch("workers = 1\ncores = [1]").private("lab");
    let add = |config: Config, name: &String| config.access(name, "lab");
    (guests, names.iter().fold(config, add))
}

#[test]
fn a_minute_of_silence_costs_nothing_and_the_next_frame_crosses_at_once() {
    let mut world = World::new("silence");
    let (guests, config) = guests(&world);
    let mut daemon = world.start(&config);
    let (from, to) = (guests[0].wire(), guests[1].wire());
    let frame = Frame::new(guests[1].mac, guests[0].mac);
    let mut percents = Vec::new();
    let mut delays = Vec::new();
    for number in 0..u64::from(TRIES) {
        let before = Usage::of(daemon.pid()).cpu;
        let begin = Instant::now();
        world.rest();
        thread::sleep(SILENCE);
        let idle = Usage::of(daemon.pid()).cpu - before;
        percents.push(idle.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0);
        world.wake();
        delays.push(crossing_time(&from, &to, &frame.clone().seed(number)));
        println!("idle: {percents:.2?} % of a core; first frame after that: {delays:?}");
        if percents[number as usize] < IDLE_LIMIT_PERCENT
            && delays[number as usize] < FIRST_FRAME_LIMIT
        {
            daemon.stop();
            return;
        }
    }
    panic!("idle: {percents:.2?} % of a core; first frame after that: {delays:?}");
}

#[test]
fn a_worker_that_polls_never_sleeps() {
    let world = World::alone("poll");
    let guests: Vec<_> = ["g0", "g1"].iter().map(|name| world.guest(name)).collect();
    let config = Config::switch("workers = 1\ncores = [1]\nidle = \"poll\"").private("lab");
    let mut daemon = world.start(&config.access("g0", "lab").access("g1", "lab"));
    let times_asleep = || {
        let threads = Thread::all_of(daemon.pid());
        let worker = threads.into_iter().find(|it| it.name == "worker-0");
        worker.expect("a worker").slept
    };
    let (from, to) = (guests[0].wire(), guests[1].wire());
    let frame = Frame::new(guests[1].mac, guests[0].mac);
    let before = times_asleep();
    // One that may sleep does at least once a second.
    thread::sleep(Duration::from_secs(3));
    let delay = crossing_time(&from, &to, &frame);
    let slept = times_asleep() - before;
    println!("polling: asleep {slept} times in 3 s; a frame crosses in {delay:?}");
    assert!(slept <= 1, "{slept}");
    daemon.stop();
}

/// From the call that sends a frame to that which receives it. The switch is on another core.
fn crossing_time(from: &Wire, to: &Wire, frame: &Frame) -> Duration {
    let bytes = frame.bytes();
    thread::scope(|scope| {
        let timing = scope.spawn(|| {
            sys::pin_to_core(0).expect("pin");
            to.clear();
            let begin = Instant::now();
            from.send(&bytes);
            while begin.elapsed() < Duration::from_secs(2) {
                if to.poll().is_some_and(|received| received == bytes) {
                    return begin.elapsed();
                }
            }
            panic!("the frame has not arrived");
        });
        timing.join().expect("time a frame")
    })
}

#[test]
fn forwarding_begins_within_a_second_of_the_start() {
    let world = World::alone("start");
    let (guests, config) = guests(&world);
    let (from, to) = (guests[0].wire(), guests[PORTS - 1].wire());
    let frame = Frame::new(guests[PORTS - 1].mac, guests[0].mac).bytes();
    let mut delays = Vec::new();
    while delays.len() < TRIES as usize {
        to.clear();
        let begin = Instant::now();
        let mut daemon = Daemon::spawn(&world.switch, &config);
        wait_for("the first frame", || {
            from.send(&frame);
            to.find(Duration::from_millis(1), |it| it == frame)
        });
        delays.push(begin.elapsed());
        println!("from the start to the first frame: {delays:?}");
        daemon.wait_up();
        daemon.stop();
        if delays.last() < Some(&START_LIMIT) {
            return;
        }
    }
    panic!("from the start to the first frame: {delays:?}");
}

#[test]
fn memory_is_bounded_by_the_formula() {
    let world = World::new("memory");
    let (guests, config) = guests(&world);
    let daemon = world.start(&config);
    let chunks = chunks_needed(1, PORTS);
    let counters = daemon.get("counters");
    let told = counters.iter().find(|it| it["name"] == "chunks");
    assert_eq!(told.expect("chunks")["value"], chunks);

    // All of the tables has been used, and of the region what is used at all.
    let wires: Vec<_> = guests.iter().map(Guest::wire).collect();
    for (number, wire) in wires.iter().enumerate() {
        let source = |index: u16| {
            let [high, low] = index.to_be_bytes();
            [2, 0, 0, number as u8, high, low]
        };
        let frames = (0..4000).map(|index| Frame::new([0xff; 6], source(index)).bytes());
        wire.send_all(frames);
    }
    for what in ["ports", "fdb", "counters", "networks", "workers"] {
        assert!(!daemon.get(what).is_empty());
    }
    let region_kib = (chunks * CHUNK_SIZE) as u64 >> 10;
    let usage = Usage::of(daemon.pid());
    println!("{usage:?}, of which the region may take {region_kib} KiB");
    assert!(
        usage.resident_kib < MEMORY_LIMIT_KIB + region_kib,
        "{usage:?}"
    );
}

#[test]
fn workers_run_before_others_and_the_rest_keeps_off_their_cores() {
    let world = World::new("cores");
    let mut daemon = world.start(&Config::switch("workers = 1\ncores = [1]").private("lab"));
    let threads = Thread::all_of(daemon.pid());
    let (workers, others): (Vec<_>, Vec<_>) = threads
        .iter()
        .partition(|thread| thread.name.starts_with("worker-"));
    assert_eq!(workers.len(), 1, "{threads:?}");
    assert_eq!(
        (workers[0].nice, workers[0].cores),
        (-20, 1 << 1),
        "{threads:?}"
    );
    let keeps_off = |thread: &&Thread| thread.cores & 1 << 1 == 0 && thread.nice > -20;
    assert!(
        !others.is_empty() && others.iter().all(keeps_off),
        "{threads:?}"
    );
    daemon.stop();
}
