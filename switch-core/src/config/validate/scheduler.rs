//! Checks of `[[scheduler]]` and of what names them.

use std::collections::HashMap;

use super::{Seen, check_count, listed, missing, unique_name};
use crate::{
    config::{
        model::{self, Drop},
        report::{Code, Problem, Problems, Span, printable},
        shape::SCHEDULER,
        valid::{Config, Name, Scheduler},
    },
    limits,
    qos::{
        bucket::{Burst, Rate},
        codel::CodelRules,
        scheduler::{QueueRules, Service},
    },
};

/// Bytes that a queue holds where the file does not say: 40 ms at 100 Mbit/s.
const DEFAULT_LIMIT: u64 = 512 << 10;
/// RFC 8289, 4.2 and 4.3.
const DEFAULT_TARGET_MS: u32 = 5;
const DEFAULT_INTERVAL_MS: u32 = 100;

/// The schedulers of a file by their names.
#[derive(Debug, Default)]
pub(super) struct Schedulers<'m> {
    pub(super) valid: Vec<Scheduler>,
    names: Vec<&'m str>,
    /// None in place of one with errors.
    known: HashMap<&'m str, Option<Name>>,
}

/// All schedulers.
pub(super) fn schedulers<'m>(
    written: &'m [model::Scheduler],
    problems: &mut Problems,
) -> Schedulers<'m> {
    check_count(
        "scheduler",
        written.iter().map(|scheduler| &scheduler.span),
        limits::MAX_PORTS,
        problems,
    );
    let (mut schedulers, mut names) = (Schedulers::default(), Seen::default());
    for scheduler in written {
        let name = unique_name(
            &SCHEDULER,
            &scheduler.span,
            &scheduler.name,
            &mut names,
            problems,
        );
        let valid = check(scheduler, problems);
        if let Some(name) = name {
            schedulers.names.push(name);
            let valid_name = valid.as_ref().map(|valid| valid.name.clone());
            schedulers.known.insert(name, valid_name);
        }
        schedulers.valid.extend(valid);
    }
    schedulers
}

impl Schedulers<'_> {
    /// The scheduler that a port names.
    pub(super) fn resolve(
        &self,
        written: &model::Classes,
        problems: &mut Problems,
    ) -> Option<Name> {
        let text = written.scheduler.spanned()?;
        let known = self.known.get(text.get_ref().as_str());
        if known.is_none() {
            let message = format!("there is no scheduler `{}`", printable(text.get_ref()));
            let mut help = problems.did_you_mean(text.get_ref(), self.names.iter().copied());
            help.push_str(&listed("scheduler", &self.names));
            problems.push(Problem::new(Code::UnknownName, text.span(), message).help(help));
        }
        known?.clone()
    }
}

fn check(scheduler: &model::Scheduler, problems: &mut Problems) -> Option<Scheduler> {
    if scheduler.queues.is_empty() {
        missing(&SCHEDULER, &scheduler.span, "queue", None, problems);
    }
    if let Some(burst) = scheduler.burst.span()
        && !scheduler.rate.is_written()
    {
        let message = "`burst` without `rate`";
        let help = "add the `rate` that the port is shaped to, or leave `burst` out";
        problems.push(Problem::new(Code::Conflict, burst, message).help(help));
    }
    let queues = scheduler.queues.as_slice();
    check_classes(&scheduler.span, queues, problems);
    check_sum(scheduler, queues, problems);
    let rest = rest_of(queues);
    let queues: Vec<_> = queues
        .iter()
        .map(|queue| check_queue(queue, rest, problems))
        .collect();
    if queues.is_empty() {
        return None;
    }
    let shaper = scheduler.rate.get().map(|rate| {
        // Twice what comes between two looks of a worker that has slept.
        let bytes = rate.bits_per_second() / 8 / 250;
        let bytes = bytes.clamp(16 << 10, Burst::MAX.bytes());
        let burst = scheduler.burst.get().copied().or(Burst::new(bytes));
        (*rate, burst.unwrap_or(Burst::MIN))
    });
    Some(Scheduler {
        name: scheduler.name.get()?.clone(),
        shaper,
        queues,
    })
}

/// A bit for each class that no queue names.
fn rest_of(queues: &[model::Queue]) -> u8 {
    let named = queues.iter().filter_map(|queue| queue.classes.get());
    named
        .flatten()
        .fold(0xff, |rest, class| rest & !(1 << class.get_ref()))
}

/// Each class has one queue; one queue may have all that are left.
fn check_classes(header: &Span, queues: &[model::Queue], problems: &mut Problems) {
    let mut seen = Seen::default();
    let mut takes_rest: Option<Span> = None;
    for queue in queues {
        for class in queue.classes.get().into_iter().flatten() {
            if let Err(first) = seen.insert(*class.get_ref(), class.span()) {
                let message = format!("class {} has a queue already", class.get_ref());
                let problem = Problem::new(Code::Duplicate, class.span(), message);
                let help = "a class waits in one queue: remove one of the two";
                problems.push(problem.help(help).also(first, "the first"));
            }
        }
        if !queue.classes.is_written() {
            match &takes_rest {
                None => takes_rest = Some(queue.span.clone()),
                Some(first) => {
                    let message = "a second queue without `classes`";
                    let help = "one queue may take the classes that are left: name those of this";
                    let problem =
                        Problem::new(Code::Conflict, queue.span.clone(), message).help(help);
                    problems.push(problem.also(first.clone(), "this one takes them"));
                }
            }
        }
    }
    let rest = rest_of(queues);
    if let Some(queue) = takes_rest.clone().filter(|_| rest == 0) {
        let message = "no class is left for a queue without `classes`";
        let help = "the other queues have all eight: name the classes of this, or remove it";
        problems.push(Problem::new(Code::Conflict, queue, message).help(help));
    }
    if rest != 0 && takes_rest.is_none() && !queues.is_empty() {
        let left: Vec<_> = (0..8)
            .filter(|class| rest & 1 << class != 0)
            .map(|class: u8| class.to_string())
            .collect();
        let message = format!("no queue has the classes {}", left.join(", "));
        let help = "add them to a queue, or a queue without `classes`, which takes all others";
        problems.push(Problem::new(Code::Conflict, header.clone(), message).help(help));
    }
}

/// The minimum rates must not be more than there is.
fn check_sum(scheduler: &model::Scheduler, queues: &[model::Queue], problems: &mut Problems) {
    let rates = queues.iter().filter_map(|queue| queue.min_rate.get());
    let sum: u64 = rates.copied().map(Rate::bits_per_second).sum();
    if let Some(rate) = scheduler.rate.spanned()
        && sum > rate.get_ref().bits_per_second()
    {
        let message = "the minimum rates of the queues are more than this together";
        let help = "raise `rate`, or lower some `min_rate`";
        problems.push(Problem::new(Code::Conflict, rate.span(), message).help(help));
    }
}

/// Every queue has room for the longest frame, which otherwise never leaves.
pub(super) fn check_room(switch: &model::Switch, config: &Config, problems: &mut Problems) {
    let needed = config
        .chunks_for_queues()
        .next_multiple_of(limits::SLAB_SIZE);
    if let (Some(frames), Some(chunks)) = (switch.frames.spanned(), config.switch.frames)
        && chunks < needed
    {
        let message = "too few for the queues of all ports: into some no long frame would fit";
        let help = format!("make it at least {needed}, or leave it out");
        problems.push(Problem::new(Code::Conflict, frames.span(), message).help(help));
    }
}

fn check_queue(queue: &model::Queue, rest: u8, problems: &mut Problems) -> QueueRules {
    let strict = queue.strict.get().copied().unwrap_or_default();
    if strict && let Some(weight) = queue.weight.span() {
        let message = "`weight` of a strict queue";
        let help = "a strict queue is served whenever it has frames: remove one of the two";
        problems.push(Problem::new(Code::Conflict, weight, message).help(help));
    }
    if let (Some(min), Some(max)) = (queue.min_rate.spanned(), queue.max_rate.spanned())
        && min.get_ref() > max.get_ref()
    {
        let message = "`min_rate` is higher than `max_rate`";
        let problem = Problem::new(Code::Conflict, min.span(), message);
        let help = "make `max_rate` the higher one";
        problems.push(problem.help(help).also(max.span(), "the maximum"));
    }
    let codel = queue.drop.get() == Some(&Drop::Codel);
    for (key, span) in [
        ("target_ms", queue.target_ms.span()),
        ("interval_ms", queue.interval_ms.span()),
    ] {
        if let Some(span) = span.filter(|_| !codel) {
            let message = format!("`{key}` without `drop = \"codel\"`");
            let help = "it is a parameter of CoDel: add that, or remove this";
            problems.push(Problem::new(Code::Conflict, span, message).help(help));
        }
    }
    let ns = |ms: Option<&u32>, default| u64::from(*ms.unwrap_or(&default)) * 1_000_000;
    let classes = queue.classes.get();
    QueueRules {
        classes: classes.map_or(rest, |classes| {
            classes
                .iter()
                .fold(0, |bits, class| bits | 1 << class.get_ref())
        }),
        service: if strict {
            Service::Strict
        } else {
            Service::Weighted(queue.weight.get().map_or(1, |weight| *weight as u16))
        },
        min_rate: queue.min_rate.get().copied(),
        max_rate: queue.max_rate.get().copied(),
        limit_bytes: queue.limit.get().copied().unwrap_or(DEFAULT_LIMIT),
        codel: codel.then(|| CodelRules {
            target_ns: ns(queue.target_ms.get(), DEFAULT_TARGET_MS),
            interval_ns: ns(queue.interval_ms.get(), DEFAULT_INTERVAL_MS),
        }),
    }
}
