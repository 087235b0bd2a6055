//! What is counted about a port outside of the engine: by the XDP program and the kernel's sockets.

use std::collections::BTreeMap;

use switch_core::port::xdp::{QueueCounters, program::Outcome};

use crate::device::stats::DeviceCounters;

/// A counter of a port that is not the engine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The name in counters and JSON, snake_case.
    pub name: &'static str,
    /// What it means, for people.
    pub text: &'static str,
    /// Whether it counts dropped frames.
    pub is_drop: bool,
}

const fn drop(name: &'static str, text: &'static str) -> Kind {
    Kind {
        name,
        text,
        is_drop: true,
    }
}

const fn note(name: &'static str, text: &'static str) -> Kind {
    Kind {
        name,
        text,
        is_drop: false,
    }
}

/// The counters of sockets, in the order of [`of_queue`].
const OF_QUEUE: [Kind; 8] = [
    drop(
        "kernel_rx_dropped",
        "The kernel had no free chunk for a received frame, or the frame was too long.",
    ),
    drop(
        "kernel_rx_ring_full",
        "The RX ring of a socket was full: the worker is too slow.",
    ),
    drop(
        "kernel_tx_invalid_descs",
        "The kernel refused a descriptor in a TX ring.",
    ),
    drop(
        "rx_invalid",
        "A received descriptor named no chunk that the kernel had.",
    ),
    note(
        "kernel_rx_fill_ring_empty",
        "Times that the kernel found no chunk in a fill ring.",
    ),
    note(
        "kernel_rx_invalid_descs",
        "Chunks in a fill ring that the kernel refused.",
    ),
    note(
        "kernel_tx_ring_empty",
        "Times that the kernel found nothing to send in a TX ring.",
    ),
    note(
        "completion_invalid",
        "Completions of a chunk that the kernel did not have.",
    ),
];

fn of_queue(counters: &QueueCounters) -> [u64; OF_QUEUE.len()] {
    [
        counters.kernel_rx_dropped.get(),
        counters.kernel_rx_ring_full.get(),
        counters.kernel_tx_invalid_descs.get(),
        counters.rx_invalid.get(),
        counters.kernel_rx_fill_ring_empty.get(),
        counters.kernel_rx_invalid_descs.get(),
        counters.kernel_tx_ring_empty.get(),
        counters.completion_invalid.get(),
    ]
}

/// Counters by name, of one attachment or of all that a port had.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    counts: BTreeMap<&'static str, u64>,
    /// Frames longer than the engine takes: counted under the engine's own reason.
    pub too_long: u64,
}

impl Tally {
    /// All kinds of counters.
    pub fn kinds() -> impl Iterator<Item = Kind> {
        let device = DeviceCounters::default().drops();
        let device = device.map(|(name, _, text)| drop(name, text));
        let outcomes = Outcome::ALL.iter().map(|outcome| Kind {
            name: outcome.name(),
            text: outcome.text(),
            is_drop: *outcome == Outcome::NoSocketDropped,
        });
        outcomes.chain(OF_QUEUE).chain(device)
    }

    /// The count of one kind.
    pub fn get(&self, kind: Kind) -> u64 {
        self.counts.get(kind.name).copied().unwrap_or(0)
    }

    /// Adds the counters of a socket.
    pub fn add_queue(&mut self, counters: &QueueCounters) {
        for (kind, count) in OF_QUEUE.iter().zip(of_queue(counters)) {
            self.add_count(kind.name, count);
        }
        self.too_long += counters.rx_too_long.get();
    }

    /// Adds the counters of a program.
    pub fn add_outcomes(&mut self, outcomes: &[(Outcome, u64)]) {
        for (outcome, count) in outcomes {
            self.add_count(outcome.name(), *count);
        }
    }

    /// Adds what a device has counted.
    pub fn add_device(&mut self, counters: &DeviceCounters) {
        for (name, count, _) in counters.drops() {
            self.add_count(name, count);
        }
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.counts {
            self.add_count(name, *count);
        }
        self.too_long += other.too_long;
    }

    fn add_count(&mut self, name: &'static str, count: u64) {
        *self.counts.entry(name).or_default() += count;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use switch_core::counters::DropReason;

    use super::*;

    #[test]
    fn every_name_means_one_thing() {
        let mut names = BTreeSet::new();
        let reasons = DropReason::ALL.iter().map(|reason| reason.name());
        for name in Tally::kinds().map(|kind| kind.name).chain(reasons) {
            assert!(names.insert(name), "{name}");
        }
    }

    #[test]
    fn tallies_add_up() {
        let counters = QueueCounters::default();
        counters.kernel_rx_dropped.add(3);
        counters.rx_too_long.add(2);
        let mut tally = Tally::default();
        tally.add_queue(&counters);
        tally.add_outcomes(&[(Outcome::NoSocketDropped, 4)]);
        let mut sum = tally.clone();
        sum.add(&tally);
        let drops = Tally::kinds().filter(|kind| kind.is_drop);
        assert_eq!(drops.map(|kind| sum.get(kind)).sum::<u64>(), 14);
        assert_eq!(sum.too_long, 4);
    }
}
