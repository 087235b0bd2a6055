//! Controlled delay (RFC 8289): a queue that stays long loses frames, more and more often, until
//! the senders slow down; a queue that is long for a moment does not.

/// CoDel's parameters, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodelRules {
    /// The delay that a standing queue may have.
    pub target_ns: u64,
    /// The time that it may stand: about the longest round trip.
    pub interval_ns: u64,
}

/// The state of one queue (RFC 8289, 5.2).
#[derive(Clone, Copy, Debug, Default)]
pub struct Codel {
    /// When dropping may begin; none while the delay is below the target.
    first_above_ns: Option<u64>,
    /// The next drop while dropping.
    drop_next_ns: u64,
    count: u32,
    last_count: u32,
    dropping: bool,
}

impl Codel {
    /// Whether the frame at the head, which has waited for so long, is to be dropped. `small` where
    /// no more than one frame waits, which is no queue. To be asked again about the next one.
    pub fn drops(&mut self, rules: &CodelRules, now_ns: u64, waited_ns: u64, small: bool) -> bool {
        let late = self.is_late(rules, now_ns, waited_ns, small);
        if !late {
            self.dropping = false;
            return false;
        }
        if self.dropping {
            if now_ns < self.drop_next_ns {
                return false;
            }
            self.count = self.count.saturating_add(1);
            self.drop_next_ns = next(self.drop_next_ns, rules, self.count);
            return true;
        }
        self.dropping = true;
        // Begin near the rate that was right a short while ago.
        let recently = now_ns.saturating_sub(self.drop_next_ns) < 16 * rules.interval_ns;
        let grown = self.count.saturating_sub(self.last_count);
        self.count = if grown > 1 && recently { grown } else { 1 };
        self.drop_next_ns = next(now_ns, rules, self.count);
        self.last_count = self.count;
        true
    }

    /// Nothing waits any more.
    pub fn emptied(&mut self) {
        self.first_above_ns = None;
        self.dropping = false;
    }

    fn is_late(&mut self, rules: &CodelRules, now_ns: u64, waited_ns: u64, small: bool) -> bool {
        if waited_ns < rules.target_ns || small {
            self.first_above_ns = None;
            return false;
        }
        match self.first_above_ns {
            None => {
                self.first_above_ns = Some(now_ns + rules.interval_ns);
                false
            }
            Some(first) => now_ns >= first,
        }
    }
}

/// The time of the next drop: the interval over the square root of the count later, in whole
/// numbers.
fn next(from_ns: u64, rules: &CodelRules, count: u32) -> u64 {
    let root = (u64::from(count.max(1)) << 32).isqrt();
    from_ns + (rules.interval_ns << 16) / root
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const RULES: CodelRules = CodelRules {
        target_ns: 5 * MS,
        interval_ns: 100 * MS,
    };

    /// When frames are dropped that come each millisecond and have waited for so long.
    fn drops(codel: &mut Codel, ms: std::ops::Range<u64>, waited_ns: u64) -> Vec<u64> {
        ms.filter(|ms| codel.drops(&RULES, ms * MS, waited_ns, false))
            .collect()
    }

    /// The times of drops from the first on, with the count that it begins with: each 100 ms over
    /// the square root of the count later than the one before.
    #[track_caller]
    fn check(drops: &[u64], first: u64, count: usize) {
        assert!(drops.len() > 20, "{drops:?}");
        let mut at = first as f64;
        for (drop, count) in drops.iter().zip(count..) {
            assert_eq!(*drop as f64, at.ceil(), "{drops:?}");
            at += 100.0 / (count as f64).sqrt();
        }
    }

    #[test]
    fn drops_at_the_times_of_the_rfc() {
        let mut codel = Codel::default();
        // After the interval.
        check(&drops(&mut codel, 0..1000, 10 * MS), 100, 1);
        assert!(
            !codel.drops(&RULES, 1000 * MS, 5 * MS - 1, false),
            "below the target"
        );
        assert!(
            !codel.drops(&RULES, 2000 * MS, 10 * MS, true),
            "a single frame"
        );
    }

    /// RFC 8289, 5.5: who was dropping less than 16 intervals ago goes on with the count that it
    /// had come to since it began, and who was not begins with 1.
    #[test]
    fn goes_on_where_it_was_a_short_while_ago() {
        for (pause, goes_on) in [(1, true), (1400, true), (1700, false)] {
            let mut codel = Codel::default();
            let (mut begin, mut count) = (0, 1);
            for _ in 0..3 {
                let dropped = drops(&mut codel, begin..begin + 1000, 10 * MS);
                check(&dropped, begin + 100, count);
                let below = begin + 1000..begin + 1000 + pause;
                begin = below.end;
                assert!(drops(&mut codel, below, 0).is_empty());
                count = if goes_on { dropped.len() - 1 } else { 1 };
            }
        }
    }

    /// A single drop tells nothing about the rate that is right.
    #[test]
    fn one_drop_is_not_gone_on_with() {
        let mut codel = Codel::default();
        for begin in [0, 200, 400] {
            assert_eq!(
                drops(&mut codel, begin..begin + 150, 10 * MS),
                [begin + 100]
            );
            assert!(drops(&mut codel, begin + 150..begin + 200, 0).is_empty());
        }
        check(&drops(&mut codel, 600..1600, 10 * MS), 700, 1);
    }
}
