//! Single numbers of all contenders beside each other: what tables, bars and sentences are made of.

use super::human::{self, Unit};
use super::results::{Contender, Cpu, Kind, Latency, Learning, Measured, Results, RoundTrip};

/// Which end of a number is the good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Frames a second.
    More,
    /// Nanoseconds.
    Less,
}

/// One number of a contender.
#[derive(Clone, Debug)]
pub struct Value {
    /// The contender.
    pub name: String,
    /// For whom it takes part.
    pub kind: Kind,
    /// Nothing when it was not measured.
    pub measured: Option<Measured>,
    /// Whether the measurement ended before the contender did, so that there may be more.
    pub is_open: bool,
}

/// One number of every contender.
#[derive(Clone, Debug)]
pub struct Metric {
    /// What the number is, to be read before a colon.
    pub title: String,
    /// In what it is counted.
    pub unit: Unit,
    /// Which end is the good one.
    pub better: Better,
    /// In the order of the contenders.
    pub values: Vec<Value>,
}

impl Metric {
    /// Asks every contender for its number.
    pub fn new(
        results: &Results,
        title: impl Into<String>,
        (unit, better): (Unit, Better),
        number: impl Fn(&Contender) -> Option<Measured>,
    ) -> Self {
        let value = |contender: &Contender| Value {
            name: contender.name.clone(),
            kind: contender.kind,
            measured: number(contender),
            is_open: false,
        };
        Self {
            title: title.into(),
            unit,
            better,
            values: results.contenders.iter().map(value).collect(),
        }
    }

    /// The text of a number, with a sign where there may be more.
    pub fn format(&self, value: &Value, number: String) -> String {
        let sign = if value.is_open { "≥ " } else { "" };
        format!("{sign}{number}")
    }

    /// Whether nobody has this number.
    pub fn is_empty(&self) -> bool {
        self.values.iter().all(|value| value.measured.is_none())
    }

    /// This project's number.
    pub fn ours(&self) -> Option<&Measured> {
        let ours = self.values.iter().find(|value| value.kind == Kind::Ours);
        ours.and_then(|value| value.measured.as_ref())
    }
}

/// All sizes of frames that somebody was measured with; IMIX comes last.
pub fn frame_sizes(results: &Results) -> Vec<usize> {
    let all = results.contenders.iter().flat_map(|one| &one.throughput);
    let mut sizes: Vec<usize> = all.map(|throughput| throughput.frame_size).collect();
    sizes.sort_by_key(|size| size.wrapping_sub(1));
    sizes.dedup();
    sizes
}

/// Frames a second that pass without loss.
pub fn zero_loss(results: &Results, size: usize) -> Metric {
    let title = format!("without loss, {}", human::frame_size(size));
    Metric::new(results, title, (Unit::Rate, Better::More), |contender| {
        let mut sizes = contender.throughput.iter();
        sizes.find(|one| one.frame_size == size)?.zero_loss_fps
    })
}

/// Frames a second that pass when more is offered than can.
pub fn full_load(results: &Results, size: usize) -> Metric {
    let title = format!("at full load, {}", human::frame_size(size));
    Metric::new(results, title, (Unit::Rate, Better::More), |contender| {
        let mut sizes = contender.throughput.iter();
        sizes.find(|one| one.frame_size == size)?.overload_fps
    })
}

/// One load under which latency was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Bytes without FCS, 0 for IMIX.
    pub frame_size: usize,
    /// Frames a second that were offered.
    pub offered_fps: f64,
}

impl Load {
    /// For titles.
    pub fn format(&self) -> String {
        let size = human::frame_size(self.frame_size);
        format!("{size} at {}", Unit::Rate.format(self.offered_fps))
    }

    /// What the contender had under this load. A generator never hits a rate exactly, so 2 % off
    /// is the same load.
    pub fn of<'a>(&self, contender: &'a Contender) -> Option<&'a Latency> {
        contender.latency.iter().find(|latency| {
            let same_rate =
                (latency.offered_fps - self.offered_fps).abs() <= 0.02 * self.offered_fps;
            latency.frame_size == self.frame_size && same_rate
        })
    }
}

/// The loads, by size and rate, each once.
pub fn loads(results: &Results) -> Vec<Load> {
    let mut loads: Vec<Load> = Vec::new();
    for latency in results.contenders.iter().flat_map(|one| &one.latency) {
        let (frame_size, offered_fps) = (latency.frame_size, latency.offered_fps);
        let new = Load {
            frame_size,
            offered_fps,
        };
        let is_known = |known: &Load| {
            let same_rate = (known.offered_fps - offered_fps).abs() <= 0.02 * known.offered_fps;
            known.frame_size == frame_size && same_rate
        };
        if !loads.iter().any(is_known) {
            loads.push(new);
        }
    }
    loads.sort_by(|a, b| {
        let sizes = a.frame_size.cmp(&b.frame_size);
        sizes.then(a.offered_fps.total_cmp(&b.offered_fps))
    });
    loads
}

/// A quantile of the time on the way.
pub type Quantile = (&'static str, fn(&Latency) -> Measured);

/// The quantiles of the time on the way.
pub const QUANTILES: [Quantile; 3] = [
    ("p50", |latency| latency.p50_ns),
    ("p99", |latency| latency.p99_ns),
    ("p99.9", |latency| latency.p999_ns),
];

/// Time on the way under a load, at one quantile.
pub fn latency(results: &Results, load: Load, (name, quantile): Quantile) -> Metric {
    let title = format!("latency {name}, {}", load.format());
    Metric::new(results, title, (Unit::Time, Better::Less), |contender| {
        load.of(contender).map(quantile)
    })
}

/// The load that most contenders were measured under, and of those the highest.
pub fn main_load(results: &Results) -> Option<Load> {
    let contenders = |load: &Load| {
        let with = results
            .contenders
            .iter()
            .filter(|one| load.of(one).is_some());
        with.count()
    };
    loads(results).into_iter().max_by_key(contenders)
}

/// The pauses between requests, the shortest first.
pub fn pauses(results: &Results) -> Vec<u64> {
    let all = results.contenders.iter().flat_map(|one| &one.round_trip);
    let mut pauses: Vec<u64> = all.map(|trip| trip.pause_us).collect();
    pauses.sort_unstable();
    pauses.dedup();
    pauses
}

/// A quantile of a round trip.
pub type TripQuantile = (&'static str, fn(&RoundTrip) -> Measured);

/// The quantiles of a round trip.
pub const TRIP_QUANTILES: [TripQuantile; 3] = [
    ("p50", |trip| trip.p50_ns),
    ("p99", |trip| trip.p99_ns),
    ("p99.9", |trip| trip.p999_ns),
];

/// Time from request to answer, at one quantile.
pub fn round_trip(results: &Results, pause_us: u64, (name, quantile): TripQuantile) -> Metric {
    let title = format!("round trip {name}, {}", human::pause(pause_us));
    Metric::new(results, title, (Unit::Time, Better::Less), |contender| {
        let mut trips = contender.round_trip.iter();
        trips.find(|trip| trip.pause_us == pause_us).map(quantile)
    })
}

/// Bits a second of one TCP stream.
pub fn tcp(results: &Results) -> Metric {
    let number = |contender: &Contender| contender.tcp_bps;
    Metric::new(
        results,
        "TCP, one stream",
        (Unit::Bits, Better::More),
        number,
    )
}

/// Bits a second of one TCP stream whose segments all cross by themselves.
pub fn tcp_without_offloads(results: &Results) -> Metric {
    let number = |contender: &Contender| contender.tcp_without_offloads_bps;
    let title = "TCP, one stream, no offload";
    Metric::new(results, title, (Unit::Bits, Better::More), number)
}

/// Processor time for a million frames.
pub fn cpu(results: &Results) -> Metric {
    let title = "CPU time for a million frames";
    let number = |cpu: Cpu| cpu.ms_per_million_frames;
    Metric::new(results, title, (Unit::CpuTime, Better::Less), |one| {
        one.cpu.and_then(number)
    })
}

/// Processor time when no frame comes.
pub fn idle(results: &Results) -> Metric {
    let title = "CPU when idle, of one core";
    let number = |cpu: Cpu| cpu.idle_percent;
    Metric::new(results, title, (Unit::Percent, Better::Less), |one| {
        one.cpu.and_then(number)
    })
}

/// Resident memory.
pub fn memory(results: &Results) -> Metric {
    Metric::new(results, "memory", (Unit::Mebibytes, Better::Less), |one| {
        one.memory_mib.map(Measured::once)
    })
}

/// Addresses that are known at once.
pub fn capacity(results: &Results) -> Metric {
    let kind = (Unit::Count, Better::More);
    let number = |learning: Learning| Measured::once(learning.capacity as f64);
    let mut metric = Metric::new(results, "addresses known at once", kind, |contender| {
        contender.learning.map(number)
    });
    for (value, contender) in metric.values.iter_mut().zip(&results.contenders) {
        let is_open = |learning: Learning| learning.capacity_is_limit_of_search;
        value.is_open = contender.learning.is_some_and(is_open);
    }
    metric
}

/// New addresses a second.
pub fn learning_rate(results: &Results) -> Metric {
    let title = "addresses learnt a second";
    let number = |learning: Learning| learning.rate_per_s.map(Measured::once);
    Metric::new(results, title, (Unit::PerSecond, Better::More), |one| {
        one.learning.and_then(number)
    })
}

/// The numbers that stand in the table of all contenders; those that nobody has are left out.
pub fn main_numbers(results: &Results) -> Vec<Metric> {
    let sizes = frame_sizes(results);
    let mut metrics = Vec::new();
    let small = sizes.iter().find(|size| **size > 0);
    let mixed = sizes.iter().find(|size| **size == 0);
    for size in small.into_iter().chain(mixed) {
        metrics.push(zero_loss(results, *size));
        metrics.push(full_load(results, *size));
    }
    if let Some(load) = main_load(results) {
        metrics.extend(QUANTILES.map(|quantile| latency(results, load, quantile)));
    }
    for pause_us in pauses(results) {
        for quantile in &TRIP_QUANTILES[..2] {
            metrics.push(round_trip(results, pause_us, *quantile));
        }
    }
    let once = [
        tcp,
        tcp_without_offloads,
        cpu,
        idle,
        memory,
        capacity,
        learning_rate,
    ];
    metrics.extend(once.map(|one| one(results)));
    metrics.retain(|metric| !metric.is_empty());
    metrics
}
