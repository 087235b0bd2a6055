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

/// The state of one queue (RFC 8289, 5.4).
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
