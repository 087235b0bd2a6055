//! The scheduler in virtual time: who gets how much, and that no frame is lost on the way.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::{
    bucket::{Burst, Rate},
    classes::Class,
    codel::CodelRules,
    scheduler::{Next, QueueRules, Scheduler, SchedulerRules, Service},
};
use crate::limits::{
    MAX_FRAME_SIZE, MAX_SEGMENTS, QUEUED_CHUNKS_PER_PORT, chunks_for_queues, queued_chunks,
};

const CHUNKS: usize = 1024;
const SECOND: u64 = 1_000_000_000;

fn rate(bits_per_second: u64) -> Rate {
    Rate::new(bits_per_second).expect("a rate")
}

fn queue(class: u32, service: Service) -> QueueRules {
    QueueRules {
        classes: 1 << class,
        service,
        min_rate: None,
        max_rate: None,
        limit_bytes: 1 << 20,
        codel: None,
    }
}

fn rules(shaped_to: Option<u64>, queues: &[QueueRules]) -> SchedulerRules {
    SchedulerRules {
        name: "test".into(),
        shaper: shaped_to.map(|bits| (rate(bits), Burst::new(20_000).expect("a burst"))),
        queues: queues.into(),
    }
}

/// The classes of the frames of 1000 bytes that may go at a time, 50 of each class at most.
fn go(scheduler: &mut Scheduler<u8>, now_ns: u64) -> Vec<u8> {
    for class in [0, 7] {
        let queue = scheduler.queue_of(Class::of_bits(class));
        while scheduler.waiting(queue).frames < 50 {
            let put = scheduler.put(now_ns, queue, 1000, 1, class);
            put.expect("there is room");
        }
    }
    let mut gone = Vec::new();
    while let Next::Frame(class, _) = scheduler.next(now_ns, |_, _| {}) {
        gone.push(class);
    }
    gone
}

/// Changes that leave a queue's rates as they are give it no burst anew, at whatever position it is
/// then; and what it has saved up stays.
#[test]
fn rates_of_queues_go_on_when_the_scheduler_changes() {
    let slow = QueueRules {
        max_rate: Some(rate(8_000_000)),
        ..queue(0, Service::Weighted(1))
    };
    let owed = QueueRules {
        min_rate: Some(rate(8_000_000)),
        ..slow
    };
    let strict = QueueRules {
        max_rate: Some(rate(16_000_000)),
        ..queue(7, Service::Strict)
    };
    // 10 kB at once, and a frame that is longer than what is left.
    for first in [slow, owed] {
        let changed = QueueRules {
            service: Service::Weighted(9),
            classes: 0b11,
            ..first
        };
        for after in [[first, strict], [strict, changed]] {
            let mut before = Scheduler::new(&rules(None, &[first, strict]), CHUNKS);
            let gone = go(&mut before, SECOND);
            assert_eq!(gone.len(), 20, "{gone:?}");
            let mut scheduler = Scheduler::new(&rules(None, &after), CHUNKS);
            scheduler.take_over(before, |class| Class::of_bits(*class), |_, _| {});
            assert_eq!(go(&mut scheduler, SECOND), [], "nothing is for free");
            // A millisecond is one frame of the one and two of the other.
            let mut gone = go(&mut scheduler, SECOND + 1_000_000);
            gone.sort_unstable();
            assert_eq!(gone, [0, 7, 7]);
            let gone = go(&mut scheduler, 2 * SECOND);
            assert_eq!(gone.len(), 20, "{gone:?}");
        }
    }
}

/// A queue that has had its minimum does not get it again.
#[test]
fn a_minimum_is_had_once_when_the_scheduler_changes() {
    let owed = QueueRules {
        min_rate: Some(rate(8_000_000)),
        ..queue(0, Service::Weighted(1))
    };
    let strict = queue(7, Service::Strict);
    let of = |weight| {
        let owed = QueueRules {
            service: Service::Weighted(weight),
            ..owed
        };
        Scheduler::new(&rules(Some(16_000_000), &[owed, strict]), CHUNKS)
    };
    let mut before = of(1);
    let gone = go(&mut before, SECOND);
    // 20 kB at once, of which the queue's minimum is the first half.
    assert_eq!(gone, [[0; 10], [7; 10]].concat());
    let mut scheduler = of(2);
    scheduler.take_over(before, |class| Class::of_bits(*class), |_, _| {});
    // Half of what the port may send meanwhile, and no more.
    let gone = go(&mut scheduler, SECOND + 5_000_000);
    assert_eq!(gone, [[0; 5], [7; 5]].concat());
}

/// Who sends into a queue: frames of a size, so many bits a second.
#[derive(Clone, Copy)]
struct Source {
    queue: usize,
    size: usize,
    bits_per_second: u64,
    begins_ns: u64,
}

fn source(queue: usize, size: usize, bits_per_second: u64) -> Source {
    Source {
        queue,
        size,
        bits_per_second,
        begins_ns: 0,
    }
}

/// What became of a queue's frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    offered: u64,
    refused: u64,
    late: u64,
    sent: u64,
    sent_bytes: u64,
    /// Nanoseconds that a frame waited at most, in the second half.
    longest_ns: u64,
}

/// Runs for so long on a link of so many bits a second, with a look at it at least every 100 us.
fn run(rules: &SchedulerRules, link: u64, sources: &[Source], until_ns: u64) -> Vec<Outcome> {
    let mut scheduler = Scheduler::new(rules, CHUNKS);
    let mut outcomes = vec![Outcome::default(); rules.queues.len()];
    let begins_ps = |source: &Source| u128::from(source.begins_ns) * 1000;
    let mut due: Vec<u128> = sources.iter().map(begins_ps).collect();
    let (mut now_ns, mut link_free_ps) = (0, 0_u128);
    while now_ns < until_ns {
        for (source, due_ps) in sources.iter().zip(&mut due) {
            while *due_ps / 1000 <= u128::from(now_ns) {
                let outcome = &mut outcomes[source.queue];
                outcome.offered += 1;
                let put =
                    scheduler.put(now_ns, source.queue, source.size, 1, (source.size, now_ns));
                outcome.refused += u64::from(put.is_err());
                *due_ps +=
                    source.size as u128 * 8_000_000_000_000 / u128::from(source.bits_per_second);
            }
        }
        let mut wake_ns = now_ns + 100_000;
        if link_free_ps / 1000 <= u128::from(now_ns) {
            match scheduler.next(now_ns, |_, queue| outcomes[queue].late += 1) {
                Next::Frame((size, since_ns), queue) => {
                    let outcome = &mut outcomes[queue];
                    outcome.sent += 1;
                    outcome.sent_bytes += size as u64;
                    if now_ns > until_ns / 2 {
                        outcome.longest_ns = outcome.longest_ns.max(now_ns - since_ns);
                    }
                    let from_ps = link_free_ps.max(u128::from(now_ns) * 1000);
                    link_free_ps = from_ps + size as u128 * 8_000_000_000_000 / u128::from(link);
                }
                Next::At(ns) => {
                    assert!(ns > now_ns, "never a time that is past");
                    wake_ns = wake_ns.min(ns);
                }
                Next::Empty => {}
            }
        }
        if link_free_ps / 1000 > u128::from(now_ns) {
            wake_ns = wake_ns.min((link_free_ps / 1000) as u64 + 1);
        }
        let next_due = due
            .iter()
            .min()
            .map_or(u64::MAX, |ps| (ps / 1000) as u64 + 1);
        now_ns = wake_ns.min(next_due).max(now_ns + 1);
    }
    for (queue, outcome) in outcomes.iter().enumerate() {
        let waiting = u64::from(scheduler.waiting(queue).frames);
        assert_eq!(
            outcome.offered,
            outcome.refused + outcome.late + outcome.sent + waiting,
            "no frame is lost: {outcome:?}"
        );
    }
    outcomes
}

/// Whether a number is what it should be to so many parts of a thousand.
#[track_caller]
fn assert_near(is: f64, should_be: f64, per_mille: f64) {
    let off = (is - should_be).abs() / should_be * 1000.0;
    assert!(
        off <= per_mille,
        "{is}, not {should_be}: {off} per mille off"
    );
}

#[test]
fn weighted_queues_share_by_their_weights_whatever_the_sizes() {
    for sizes in [[60, 60, 60], [1514, 60, 9000], [60, 9000, 1514]] {
        let weights = [1, 2, 5];
        let queues: Vec<_> = weights
            .iter()
            .zip(0..)
            .map(|(weight, class)| queue(class, Service::Weighted(*weight)))
            .collect();
        let sources: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(index, size)| source(index, *size, 1_000_000_000))
            .collect();
        let outcomes = run(&rules(None, &queues), 1_000_000_000, &sources, SECOND);
        let all: u64 = outcomes.iter().map(|outcome| outcome.sent_bytes).sum();
        for (outcome, weight) in outcomes.iter().zip(weights) {
            let share = outcome.sent_bytes as f64 / all as f64;
            assert_near(share, f64::from(weight) / 8.0, 20.0);
        }
    }
}

#[test]
fn what_one_does_not_use_is_the_others() {
    let queues = [1, 1, 2].map(|weight| queue(u32::from(weight), Service::Weighted(weight)));
    let sources = [
        source(0, 1514, 1_000_000_000),
        source(2, 1514, 1_000_000_000),
    ];
    let outcomes = run(&rules(None, &queues), 600_000_000, &sources, SECOND);
    assert_near(outcomes[0].sent_bytes as f64 * 8.0, 200e6, 20.0);
    assert_near(outcomes[2].sent_bytes as f64 * 8.0, 400e6, 20.0);
}

#[test]
fn the_shaper_keeps_its_rate_to_one_percent() {
    for bits in [64_000, 1_000_000, 123_456_789, 10_000_000_000] {
        for size in [60, 1514, 9000] {
            let queues = [queue(0, Service::Weighted(1))];
            // As long as 20 000 frames take.
            let until = 20_000 * size as u64 * 8 * SECOND / bits;
            let outcomes = run(
                &rules(Some(bits), &queues),
                100_000_000_000,
                &[source(0, size, bits * 2)],
                until,
            );
            let allowed = until as f64 / 1e9 * bits as f64 / 8.0;
            let without_burst = outcomes[0].sent_bytes as f64 - 20_000.0;
            assert_near(without_burst, allowed, 10.0);
        }
    }
}

#[test]
fn strict_priority_waits_for_one_frame_only() {
    let queues = [queue(0, Service::Weighted(1)), queue(7, Service::Strict)];
    let sources = [source(0, 1514, 2_000_000_000), source(1, 200, 10_000_000)];
    let outcomes = run(
        &rules(Some(100_000_000), &queues),
        1_000_000_000,
        &sources,
        2 * SECOND,
    );
    assert_eq!((outcomes[1].refused, outcomes[1].late), (0, 0));
    assert_near(outcomes[1].sent_bytes as f64 * 8.0, 20e6, 10.0);
    // A frame of 1514 bytes at 100 Mbit/s takes 121 us.
    assert!(outcomes[1].longest_ns < 250_000, "{:?}", outcomes[1]);
    assert!(
        outcomes[0].sent_bytes * 8 > 170_000_000,
        "{:?}",
        outcomes[0]
    );
}

#[test]
fn minimum_and_maximum_rates_are_kept() {
    let mut queues = [queue(0, Service::Weighted(1)), queue(7, Service::Strict)];
    queues[0].min_rate = Some(rate(10_000_000));
    let flood = [source(0, 1514, 200_000_000), source(1, 1514, 200_000_000)];
    let outcomes = run(
        &rules(Some(100_000_000), &queues),
        1_000_000_000,
        &flood,
        5 * SECOND,
    );
    assert_near(outcomes[0].sent_bytes as f64 * 8.0 / 5.0, 10e6, 10.0);

    let mut queues = [queue(0, Service::Weighted(1)), queue(7, Service::Strict)];
    queues[1].max_rate = Some(rate(30_000_000));
    let outcomes = run(
        &rules(Some(100_000_000), &queues),
        1_000_000_000,
        &flood,
        5 * SECOND,
    );
    assert_near(outcomes[1].sent_bytes as f64 * 8.0 / 5.0, 30e6, 10.0);
    assert_near(outcomes[0].sent_bytes as f64 * 8.0 / 5.0, 70e6, 10.0);
}

/// Turns in which a queue may not send, since it is at its maximum, are not made up for later.
#[test]
fn a_maximum_rate_saves_nothing_up() {
    let mut queues = [0, 1].map(|class| queue(class, Service::Weighted(4)));
    queues[0].max_rate = Some(rate(90_000_000));
    let shaped = rules(Some(100_000_000), &queues);
    let later = Source {
        begins_ns: 5 * SECOND,
        ..source(1, 1514, 200_000_000)
    };
    let sources = [
        source(0, 1514, 200_000_000),
        source(1, 100, 9_000_000),
        later,
    ];
    let until = |seconds: u64| run(&shaped, 1_000_000_000, &sources, seconds * SECOND);
    let (before, after) = (until(5), until(6));
    assert_near(before[0].sent_bytes as f64 * 8.0 / 5.0, 90e6, 10.0);
    for (before, after) in before.iter().zip(&after) {
        let sent = (after.sent_bytes - before.sent_bytes) as f64;
        assert_near(sent * 8.0, 50e6, 50.0);
    }
}

#[test]
fn strict_priority_may_starve_and_nothing_else_does() {
    let queues = [
        queue(0, Service::Weighted(1)),
        queue(1, Service::Weighted(60)),
        queue(2, Service::Weighted(1)),
    ];
    let flood = [0, 1, 2].map(|queue| source(queue, 9000, 1_000_000_000));
    let outcomes = run(&rules(None, &queues), 1_000_000_000, &flood, SECOND);
    assert!(
        outcomes.iter().all(|outcome| outcome.sent > 50),
        "{outcomes:?}"
    );
    let queues = [queue(0, Service::Weighted(1)), queue(7, Service::Strict)];
    let outcomes = run(&rules(None, &queues), 500_000_000, &flood[..2], SECOND);
    assert!(outcomes[0].sent <= 2, "{outcomes:?}");
}

#[test]
fn a_queue_takes_no_more_than_its_share_of_bytes_and_chunks() {
    let mut queues = [
        queue(0, Service::Weighted(1)),
        queue(1, Service::Weighted(1)),
    ];
    queues[0].limit_bytes = 10_000;
    let mut scheduler = Scheduler::new(&rules(None, &queues), 64);
    let fits = |scheduler: &mut Scheduler<()>, queue, size, chunks| {
        let mut count = 0;
        while scheduler.put(0, queue, size, chunks, ()).is_ok() {
            count += 1;
        }
        count
    };
    assert_eq!(fits(&mut scheduler, 0, 3000, 2), 3, "by bytes");
    assert_eq!(fits(&mut scheduler, 1, 60, 1), 32, "by chunks: half of all");
    assert_eq!(fits(&mut scheduler, 0, 100, 1), 10, "the rest of its bytes");
    assert_eq!(scheduler.len(), 45);
    let evicted = std::iter::from_fn(|| scheduler.evict()).count();
    assert_eq!((evicted, scheduler.len()), (45, 0));
    assert_eq!(fits(&mut scheduler, 1, 9000, 5), 6, "six times five chunks");
}

/// With as many chunks as a configuration must give at least, and not with fewer.
#[test]
fn the_longest_frame_fits_into_every_queue() {
    for (ports, count) in [(1, 1), (1, 8), (7, 3), (1024, 8)] {
        let queues: Vec<_> = (0..count as u32)
            .map(|class| queue(class, Service::Weighted(1)))
            .collect();
        let least = chunks_for_queues(ports, count);
        for (chunks, fits) in [(least, true), (least - 1, false)] {
            let mut scheduler = Scheduler::new(&rules(None, &queues), QUEUED_CHUNKS_PER_PORT);
            scheduler.set_share(queued_chunks(chunks, ports));
            for queue in 0..count {
                let put = scheduler.put(0, queue, MAX_FRAME_SIZE, MAX_SEGMENTS, ());
                assert_eq!(
                    put.is_ok(),
                    fits,
                    "{chunks} chunks, {ports} ports, {count} queues"
                );
            }
        }
    }
}

#[test]
fn codel_drops_of_a_standing_queue_and_not_of_a_burst() {
    let codel = CodelRules {
        target_ns: 5_000_000,
        interval_ns: 100_000_000,
    };
    let mut queues = [queue(0, Service::Weighted(1))];
    queues[0].codel = Some(codel);
    let shaped = rules(Some(10_000_000), &queues);
    let light = run(
        &shaped,
        1_000_000_000,
        &[source(0, 1000, 9_000_000)],
        5 * SECOND,
    );
    assert_eq!(light[0].late, 0, "below the rate nothing stands");
    let heavy = run(
        &shaped,
        1_000_000_000,
        &[source(0, 1000, 11_000_000)],
        60 * SECOND,
    );
    assert!(heavy[0].late > 1000, "{heavy:?}");
    assert_near(heavy[0].sent_bytes as f64 * 8.0 / 60.0, 10e6, 10.0);
    // Without CoDel the queue would stand at its limit: 1024 frames, more than 800 ms.
    assert!(heavy[0].longest_ns < 300_000_000, "{heavy:?}");
}

/// One step of a random run.
#[derive(Clone, Debug)]
enum Step {
    Put { queue: usize, size: usize },
    Next,
    Wait { ns: u64 },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_usize, 60..9000_usize).prop_map(|(queue, size)| Step::Put { queue, size }),
        3 => Just(Step::Next),
        1 => (0..10_000_000_u64).prop_map(|ns| Step::Wait { ns }),
    ]
}

fn any_rules() -> impl Strategy<Value = SchedulerRules> {
    let any_rate = || prop::option::of((1_000_000..1_000_000_000_u64).prop_map(rate));
    let service = prop_oneof![
        Just(Service::Strict),
        (1..64_u16).prop_map(Service::Weighted)
    ];
    let queue = (
        service,
        any_rate(),
        any_rate(),
        9000..100_000_u64,
        any::<bool>(),
    );
    let queues = prop::collection::vec(queue, 4).prop_map(|queues: Vec<_>| {
        let queues = queues.into_iter().enumerate();
        let rules = queues.map(
            |(class, (service, min_rate, max_rate, limit_bytes, codel))| QueueRules {
                classes: 1 << class,
                service,
                min_rate,
                max_rate,
                limit_bytes,
                codel: codel.then_some(CodelRules {
                    target_ns: 1_000_000,
                    interval_ns: 5_000_000,
                }),
            },
        );
        rules.collect::<Vec<_>>()
    });
    (any::<bool>(), queues)
        .prop_map(|(shaped, queues)| rules(shaped.then_some(50_000_000), &queues))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Frames leave each queue in their order, each exactly once, and limits hold, whatever the
    /// rules; something goes whenever nothing has a rate.
    #[test]
    fn nothing_is_lost_doubled_or_reordered(
        rules in any_rules(),
        steps in prop::collection::vec(any_step(), 1..400),
    ) {
        let mut scheduler = Scheduler::new(&rules, 64);
        let mut model: Vec<VecDeque<(u64, usize)>> = vec![VecDeque::new(); 4];
        let (mut now_ns, mut number) = (0, 0);
        for step in steps {
            match step {
                Step::Wait { ns } => now_ns += ns,
                Step::Put { queue, size } => {
                    number += 1;
                    let bytes: usize = model[queue].iter().map(|(_, size)| size).sum();
                    let fits = (bytes + size) as u64 <= rules.queues[queue].limit_bytes
                        && model[queue].len() < 16;
                    let put = scheduler.put(now_ns, queue, size, 1, number);
                    prop_assert_eq!(put.is_ok(), fits);
                    if fits {
                        model[queue].push_back((number, size));
                    }
                }
                Step::Next => {
                    let mut lost = Vec::new();
                    let next = scheduler.next(now_ns, |item, queue| lost.push((item, queue)));
                    for (item, queue) in lost {
                        prop_assert!(rules.queues[queue].codel.is_some());
                        prop_assert_eq!(model[queue].pop_front().map(|(item, _)| item), Some(item));
                    }
                    let waiting = model.iter().any(|queue| !queue.is_empty());
                    match next {
                        Next::Frame(item, queue) => {
                            let first = model[queue].pop_front();
                            prop_assert_eq!(first.map(|(item, _)| item), Some(item));
                        }
                        Next::At(at) => prop_assert!(waiting && at > now_ns),
                        Next::Empty => prop_assert!(!waiting),
                    }
                }
            }
            let frames: usize = model.iter().map(VecDeque::len).sum();
            prop_assert_eq!(scheduler.len(), frames);
        }
    }

    /// Without rates, a strict queue is never passed over by a lower or a weighted one.
    #[test]
    fn strict_priority_is_strict(
        services in prop::collection::vec(prop_oneof![
            Just(Service::Strict),
            (1..64_u16).prop_map(Service::Weighted)
        ], 4),
        steps in prop::collection::vec(any_step(), 1..400),
    ) {
        let queues: Vec<_> = services.iter().zip(0..).map(|(s, class)| queue(class, *s)).collect();
        let mut scheduler = Scheduler::new(&rules(None, &queues), 1024);
        for step in steps {
            match step {
                Step::Put { queue, size } => drop(scheduler.put(0, queue, size, 1, ())),
                Step::Wait { .. } => {}
                Step::Next => {
                    let waiting: Vec<_> = (0..4).map(|q| scheduler.waiting(q).frames > 0).collect();
                    let strict = |q: &usize| waiting[*q] && services[*q] == Service::Strict;
                    let first = (0..4).rev().find(strict);
                    match scheduler.next(0, |_, _| ()) {
                        Next::Frame((), queue) => {
                            prop_assert!(first.is_none() || first == Some(queue));
                        }
                        other => prop_assert!(other == Next::Empty && !waiting.contains(&true)),
                    }
                }
            }
        }
    }
}
