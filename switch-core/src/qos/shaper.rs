//! A shaper: when the next frame may go. It has one owner and is exact.
//!
//! Credit is counted in nanobits, so that a rate in bits a second adds exactly that many each
//! nanosecond. A frame may go while there is credit, and what it is longer than that is owed.

use super::bucket::{Burst, Rate};

/// Nanobits of a byte.
const BYTE: i64 = 8_000_000_000;

const _: () = assert!(Burst::MAX.bytes() < (i64::MAX / BYTE) as u64);

/// A token bucket of one owner.
#[derive(Clone, Copy, Debug)]
pub struct Shaper {
    rate: u64,
    depth: i64,
    credit: i64,
    filled_ns: u64,
}

impl Shaper {
    /// A full one.
    #[must_use]
    pub fn new(rate: Rate, burst: Burst) -> Self {
        let depth = burst.bytes() as i64 * BYTE;
        Self {
            rate: rate.bits_per_second(),
            depth,
            credit: depth,
            filled_ns: 0,
        }
    }

    /// Goes on with the credit or the debt of another one, as far as its burst allows.
    pub fn take_over(&mut self, before: &Self) {
        self.credit = before.credit.min(self.depth);
        self.filled_ns = before.filled_ns;
    }

    /// Adds what has come until now. A time before the last one adds nothing.
    #[inline]
    pub fn fill(&mut self, now_ns: u64) {
        let time = now_ns.saturating_sub(self.filled_ns);
        self.filled_ns += time;
        let come = self.rate.saturating_mul(time).min(i64::MAX as u64) as i64;
        self.credit = self.credit.saturating_add(come).min(self.depth);
    }

    /// Whether a frame may go.
    #[must_use]
    #[inline]
    pub fn is_open(&self) -> bool {
        self.credit > 0
    }

    /// When a frame may go, at the earliest.
    #[must_use]
    #[inline]
    pub fn opens_at_ns(&self) -> u64 {
        let owed = (1 - self.credit).max(0) as u64;
        self.filled_ns + owed.div_ceil(self.rate)
    }

    /// Takes the credit for a frame that goes.
    #[inline]
    pub fn charge(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_sub(bytes as i64 * BYTE);
    }

    /// The same, with a debt of at most 16 KiB, where more than the rate may go by other ways.
    #[inline]
    pub fn charge_at_most(&mut self, bytes: usize) {
        self.charge(bytes);
        self.credit = self.credit.max(-BYTE * 16_384);
    }
}
