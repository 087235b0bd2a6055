//! Times in classes no wider than 1/64 of themselves.

use bench_ebpf::histogram::{CLASSES, bounds_ns, class_of};

/// How many times of each class there were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; CLASSES],
        }
    }
}

impl Histogram {
    /// A histogram of counts by class.
    pub(crate) fn of(counts: &[u64; CLASSES]) -> Self {
        Self {
            counts: counts.to_vec(),
        }
    }

    /// Counts a time in ns.
    pub fn record(&mut self, ns: u64) {
        self.counts[class_of(ns)] += 1;
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// What was counted since an earlier state of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let pairs = self.counts.iter().zip(&earlier.counts);
        Self {
            counts: pairs.map(|(now, before)| now - before).collect(),
        }
    }

    /// How many times were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time in ns that this part of all, 0 to 1, does not exceed: the middle of its class, so
    /// at most 0.8 % beside it. `None` when nothing was counted.
    #[must_use]
    pub fn quantile_ns(&self, part: f64) -> Option<f64> {
        let rank = ((self.count() as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        let class = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        let (lowest, next) = bounds_ns(class);
        Some((lowest + next - 1) as f64 / 2.0)
    }

    /// The classes that are not empty: the highest time of each in ns, and how many there were.
    #[must_use]
    pub fn classes(&self) -> Vec<(f64, u64)> {
        let classes = self.counts.iter().enumerate();
        classes
            .filter(|(_, count)| **count > 0)
            .map(|(class, count)| ((bounds_ns(class).1 - 1) as f64, *count))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_class_that_has_it() {
        let powers = (0..37).map(|bit| 1u64 << bit);
        let times = powers.flat_map(|power| [power - 1, power, power + 1, power + power / 3]);
        for ns in times.chain(0..5000) {
            let (lowest, next) = bounds_ns(class_of(ns));
            assert!((lowest..next).contains(&ns), "{ns} in {lowest}..{next}");
            assert!(
                (next - lowest) * 64 <= ns.max(64),
                "{ns} in {lowest}..{next}"
            );
        }
        assert_eq!(class_of(u64::MAX), CLASSES - 1);
    }

    #[test]
    fn classes_have_no_gap() {
        for class in 1..CLASSES {
            assert_eq!(bounds_ns(class - 1).1, bounds_ns(class).0);
        }
    }

    #[test]
    fn quantiles_are_within_one_percent() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile_ns(0.5), None);
        for time in 1..=100_000 {
            histogram.record(time);
        }
        for (part, expected) in [(0.5, 50_000.0), (0.99, 99_000.0), (0.999, 99_900.0)] {
            let found = histogram.quantile_ns(part).expect("some times");
            assert!(
                (found / expected - 1.0).abs() < 0.01,
                "{found} for {expected}"
            );
        }
        assert_eq!(histogram.count(), 100_000);
        let twice = {
            let mut twice = histogram.clone();
            twice.add(&histogram);
            twice
        };
        assert_eq!(twice.since(&histogram), histogram);
    }
}
