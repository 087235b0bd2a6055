//! What has been measured so far, number by number, until all turns are over.

use std::collections::{BTreeMap, BTreeSet};

use crate::report::results::{
    Contender, Cpu, Impossible, Latency, Learning, LossPoint, Measured, Point, RoundTrip,
    Throughput,
};

use super::{bed::Offloads, peers::Peer};

/// What a number is of. Sizes are bytes without FCS, 0 for IMIX; rates are whole frames a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The highest rate without loss.
    ZeroLoss { size: usize },
    /// What arrives at full load.
    Overload { size: usize },
    /// What is offered at full load.
    Offered { size: usize },
    /// Part of the frames lost at a rate.
    Loss { size: usize, offered_fps: u64 },
    /// A quantile, in parts of a thousand, of the time on the way, in ns.
    Latency {
        size: usize,
        offered_fps: u64,
        permille: u32,
    },
    /// A quantile, in parts of a thousand, of the time until the answer, in ns.
    RoundTrip { pause_us: u64, permille: u32 },
    /// Bits a second, with or without the devices' offloads.
    Tcp { offloads: Offloads },
    /// Segments sent again.
    Retransmissions { offloads: Offloads },
    /// Processor time in ms.
    CpuPerMillion,
    /// The rate of that.
    CpuOffered,
    /// Per cent of one core.
    Idle,
    /// MiB.
    Memory,
    /// Frames a second at full load.
    Flows { count: u64 },
    /// Frames a second at full load.
    Macs { count: u64 },
    /// Frames a second at full load.
    Ports { count: u64 },
}

/// The quantiles that are kept, in parts of a thousand.
pub const QUANTILES: [u32; 3] = [500, 990, 999];

/// Classes of a distribution: the upper end in ns, and how many.
type Histogram = BTreeMap<u64, u64>;

/// The numbers of one contender.
#[derive(Clone, Debug, Default)]
pub struct Notebook {
    numbers: BTreeMap<Key, Vec<f64>>,
    /// Time on the way, by frame size and rate; turns are added up.
    histograms: BTreeMap<(usize, u64), Histogram>,
    /// Frames that the contender cannot take.
    impossible: BTreeSet<Impossible>,
    /// Is measured once.
    pub learning: Option<Learning>,
}

impl Notebook {
    /// Notes the number of one more turn.
    pub fn note(&mut self, key: Key, number: f64) {
        self.numbers.entry(key).or_default().push(number);
    }

    /// Adds a distribution to that of the turns before.
    pub fn note_histogram(&mut self, size: usize, offered_fps: u64, classes: &[(f64, u64)]) {
        let histogram = self.histograms.entry((size, offered_fps)).or_default();
        for (end, count) in classes {
            *histogram.entry(end.round() as u64).or_default() += count;
        }
    }

    /// Notes that there cannot be numbers of frames of a size, and why.
    pub fn note_impossible(&mut self, frame_size: usize, reason: &str) {
        self.impossible.insert(Impossible {
            frame_size,
            reason: reason.to_owned(),
        });
    }

    /// Whether there is nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.learning.is_none()
    }

    /// The number of all turns.
    #[must_use]
    pub fn measured(&self, key: Key) -> Option<Measured> {
        measured(self.numbers.get(&key)?)
    }

    /// As results hold it.
    #[must_use]
    pub fn contender(&self, peer: Peer) -> Contender {
        Contender {
            name: peer.name().to_owned(),
            kind: peer.kind(),
            description: peer.description().to_owned(),
            throughput: self.throughput(),
            loss: self.loss(),
            latency: self.latency(),
            round_trip: self.round_trip(),
            learning: self.learning,
            impossible: self.impossible.iter().cloned().collect(),
            tcp_bps: self.with_best_offloads(|offloads| Key::Tcp { offloads }),
            tcp_without_offloads_bps: self.measured(Key::Tcp {
                offloads: Offloads::Off,
            }),
            tcp_retransmissions: self
                .with_best_offloads(|offloads| Key::Retransmissions { offloads }),
            cpu: self.cpu(),
            memory_mib: self.measured(Key::Memory).map(|it| it.median),
            by_flows: self.points(|key| match key {
                Key::Flows { count } => Some(count),
                _ => None,
            }),
            by_macs: self.points(|key| match key {
                Key::Macs { count } => Some(count),
                _ => None,
            }),
            by_ports: self.points(|key| match key {
                Key::Ports { count } => Some(count),
                _ => None,
            }),
        }
    }

    /// With the offloads of the devices, where the contender can keep them.
    fn with_best_offloads(&self, key: impl Fn(Offloads) -> Key) -> Option<Measured> {
        let number = |offloads| self.measured(key(offloads));
        number(Offloads::Kept).or_else(|| number(Offloads::Off))
    }

    fn throughput(&self) -> Vec<Throughput> {
        let size = |key: &Key| match *key {
            Key::ZeroLoss { size } | Key::Overload { size } => Some(size),
            _ => None,
        };
        let mut sizes: Vec<usize> = self.numbers.keys().filter_map(size).collect();
        sizes.sort_unstable();
        sizes.dedup();
        // IMIX, which is 0, comes last.
        sizes.sort_by_key(|size| (*size == 0, *size));
        let of_size = |frame_size: usize| Throughput {
            frame_size,
            zero_loss_fps: self.measured(Key::ZeroLoss { size: frame_size }),
            overload_fps: self.measured(Key::Overload { size: frame_size }),
            offered_fps: self.measured(Key::Offered { size: frame_size }),
        };
        sizes.into_iter().map(of_size).collect()
    }

    fn loss(&self) -> Vec<LossPoint> {
        let point = |(key, numbers): (&Key, &Vec<f64>)| match *key {
            Key::Loss { size, offered_fps } => Some(LossPoint {
                frame_size: size,
                offered_fps: offered_fps as f64,
                loss: measured(numbers)?.median,
            }),
            _ => None,
        };
        self.numbers.iter().filter_map(point).collect()
    }

    fn latency(&self) -> Vec<Latency> {
        let of_rate = |(&(size, offered_fps), histogram): (&(usize, u64), &Histogram)| {
            let quantile = |permille| {
                let key = Key::Latency {
                    size,
                    offered_fps,
                    permille,
                };
                self.measured(key)
            };
            let classes = histogram.iter().map(|(end, count)| (*end as f64, *count));
            Some(Latency {
                frame_size: size,
                offered_fps: offered_fps as f64,
                p50_ns: quantile(QUANTILES[0])?,
                p99_ns: quantile(QUANTILES[1])?,
                p999_ns: quantile(QUANTILES[2])?,
                histogram: classes.collect(),
            })
        };
        self.histograms.iter().filter_map(of_rate).collect()
    }

    fn round_trip(&self) -> Vec<RoundTrip> {
        let pause = |key: &Key| match *key {
            Key::RoundTrip { pause_us, .. } => Some(pause_us),
            _ => None,
        };
        let mut pauses: Vec<u64> = self.numbers.keys().filter_map(pause).collect();
        pauses.dedup();
        let of_pause = |pause_us| {
            let quantile = |permille| self.measured(Key::RoundTrip { pause_us, permille });
            Some(RoundTrip {
                pause_us,
                p50_ns: quantile(QUANTILES[0])?,
                p99_ns: quantile(QUANTILES[1])?,
                p999_ns: quantile(QUANTILES[2])?,
            })
        };
        pauses.into_iter().filter_map(of_pause).collect()
    }

    fn cpu(&self) -> Option<Cpu> {
        let cpu = Cpu {
            ms_per_million_frames: self.measured(Key::CpuPerMillion),
            offered_fps: self.measured(Key::CpuOffered).map(|it| it.median),
            idle_percent: self.measured(Key::Idle),
        };
        let is_there = cpu.ms_per_million_frames.is_some() || cpu.idle_percent.is_some();
        is_there.then_some(cpu)
    }

    fn points(&self, count: impl Fn(Key) -> Option<u64>) -> Vec<Point> {
        let point = |(key, numbers): (&Key, &Vec<f64>)| {
            Some(Point {
                count: count(*key)?,
                fps: measured(numbers)?,
            })
        };
        self.numbers.iter().filter_map(point).collect()
    }
}

/// The middle one of some numbers (of an even count, the mean of the two in the middle), and the
/// ends. None of none.
#[must_use]
pub fn measured(numbers: &[f64]) -> Option<Measured> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    } else {
        sorted[middle]
    };
    Some(Measured {
        median,
        min: first,
        max: last,
        turns: sorted.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_become_a_median_and_its_ends() {
        assert_eq!(measured(&[]), None);
        let expected = |median, min, max, turns| {
            Some(Measured {
                median,
                min,
                max,
                turns,
            })
        };
        assert_eq!(measured(&[3.0]), expected(3.0, 3.0, 3.0, 1));
        assert_eq!(measured(&[3.0, 1.0, 9.0]), expected(3.0, 1.0, 9.0, 3));
        assert_eq!(measured(&[3.0, 1.0]), expected(2.0, 1.0, 3.0, 2));
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let contender = Notebook::default().contender(Peer::Bridge);
        assert!(contender.throughput.is_empty() && contender.cpu.is_none());
        assert!(contender.latency.is_empty() && contender.round_trip.is_empty());
    }

    #[test]
    fn tcp_is_told_with_the_offloads_that_there_are_and_without() {
        let mut notebook = Notebook::default();
        let key = |offloads| Key::Tcp { offloads };
        notebook.note(key(Offloads::Off), 2e9);
        let bps = |measured: Option<Measured>| measured.map(|it| it.median);
        let contender = notebook.contender(Peer::Shunt);
        assert_eq!(bps(contender.tcp_bps), Some(2e9));
        assert_eq!(bps(contender.tcp_without_offloads_bps), Some(2e9));
        notebook.note(key(Offloads::Kept), 9e9);
        let contender = notebook.contender(Peer::Bridge);
        assert_eq!(bps(contender.tcp_bps), Some(9e9));
        assert_eq!(bps(contender.tcp_without_offloads_bps), Some(2e9));
    }

    #[test]
    fn what_is_not_possible_is_noted_once_for_all_turns() {
        let mut notebook = Notebook::default();
        for _ in 0..3 {
            notebook.note_impossible(9014, "no multi-buffer");
        }
        assert!(notebook.is_empty(), "no number");
        let contender = notebook.contender(Peer::OvsAfxdp);
        assert_eq!(contender.impossible.len(), 1);
        assert!(contender.cannot(9014) && !contender.cannot(60));
    }

    #[test]
    fn numbers_get_where_they_belong() {
        let mut notebook = Notebook::default();
        for turn in [1.0, 2.0, 3.0] {
            notebook.note(Key::ZeroLoss { size: 60 }, 1e6 * turn);
            notebook.note(Key::Overload { size: 0 }, 2e6 * turn);
            notebook.note(Key::Flows { count: 64 }, turn);
            for permille in QUANTILES {
                let time = f64::from(permille) * turn;
                notebook.note(
                    Key::RoundTrip {
                        pause_us: 0,
                        permille,
                    },
                    time,
                );
                notebook.note(
                    Key::Latency {
                        size: 60,
                        offered_fps: 1000,
                        permille,
                    },
                    time,
                );
            }
            notebook.note_histogram(60, 1000, &[(100.0, 5), (200.0, 1)]);
        }
        let contender = notebook.contender(Peer::Shunt);
        assert_eq!(contender.throughput[0].frame_size, 60);
        let zero_loss = contender.throughput[0].zero_loss_fps.expect("measured");
        assert!(zero_loss.median == 2e6 && zero_loss.turns == 3);
        assert_eq!(contender.throughput[1].frame_size, 0);
        assert_eq!(contender.by_flows[0].count, 64);
        assert!(contender.round_trip[0].p99_ns.median == 1980.0);
        assert_eq!(contender.latency[0].histogram, [(100.0, 15), (200.0, 3)]);
    }
}
