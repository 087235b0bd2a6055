//! A token bucket that all workers share, without a lock and without losing a fraction.
//!
//! The bucket is one number: the time at which it was empty, or would have been. What is in it is
//! the time since then, at most its depth. Whoever takes tokens moves that time forward by what
//! they take to come, with one compare-and-swap. So nothing accrues by steps, nothing is rounded
//! from visit to visit, and an idle bucket costs nothing.
//!
//! Time is kept in units of 2^-8 ns, and a worker buys whole units and keeps what a frame leaves of
//! them, in units of 2^-24 ns, as its own [`Credit`]. At high rates it also buys a little ahead,
//! 1/256 of the depth, so that it does not visit the shared number for every frame. The rate is
//! kept with a relative error below 2^-17, whatever the sizes of frames and the number of workers;
//! the burst grows by at most 1/256 for each worker, below [`AHEAD_FROM`] by nothing.

use std::sync::atomic::Ordering::Relaxed;

use crate::sync::AtomicU64;

/// Binary digits of a unit of time behind the nanosecond's point.
const UNIT_BITS: u32 = 8;
/// Binary digits of a worker's credit behind the unit's point.
const FINE_BITS: u32 = 16;
/// A worker's clock may lag behind another's by this much, in units: 68 s. What is further in the
/// future is the past of a number that has wrapped, after 2.3 years without a frame.
const MOST_LAG: u64 = 1 << 44;
/// Most units that a worker buys ahead, whatever the depth: a millisecond.
const MOST_AHEAD: u64 = 1 << 28;

/// Bits a second from which on workers buy ahead. Below, they visit the shared number for each
/// frame, 150 000 times a second at most.
const AHEAD_FROM: u64 = 100_000_000;

/// Bits a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rate(u64);

/// Bytes that may pass at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Burst(u64);

impl Rate {
    /// The lowest rate: 8 kbit/s.
    pub const MIN: Self = Self(8_000);
    /// The highest rate: 1 Tbit/s.
    pub const MAX: Self = Self(1_000_000_000_000);

    /// So many bits a second; nothing where that is out of range.
    #[must_use]
    pub const fn new(bits_per_second: u64) -> Option<Self> {
        if bits_per_second < Self::MIN.0 || bits_per_second > Self::MAX.0 {
            None
        } else {
            Some(Self(bits_per_second))
        }
    }

    /// Bits a second.
    #[must_use]
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// What a byte takes to come, in units of 2^-24 ns, rounded to the nearest.
    #[must_use]
    pub(super) const fn fine_per_byte(self) -> u64 {
        const BYTE_NS: u128 = 8_000_000_000 << (UNIT_BITS + FINE_BITS);
        ((BYTE_NS + self.0 as u128 / 2) / self.0 as u128) as u64
    }
}

impl Burst {
    /// The smallest burst, in which the longest frame fits: a frame that is longer than the burst
    /// would never pass.
    pub const MIN: Self = Self(10_000);
    /// The largest burst: 1 GiB.
    pub const MAX: Self = Self(1 << 30);

    /// So many bytes; nothing where that is out of range.
    #[must_use]
    pub const fn new(bytes: u64) -> Option<Self> {
        if bytes < Self::MIN.0 || bytes > Self::MAX.0 {
            None
        } else {
            Some(Self(bytes))
        }
    }

    /// Bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

const _: () = assert!(Burst::MIN.0 as usize > crate::limits::MAX_FRAME_SIZE + 8);

/// What a worker has bought and not used, in units of 2^-24 ns. Written by that worker alone.
#[derive(Debug)]
pub struct Credit(AtomicU64);

impl Default for Credit {
    fn default() -> Self {
        Self(AtomicU64::new(0))
    }
}

impl Credit {
    pub(super) fn duplicate(&self) -> Self {
        Self(AtomicU64::new(self.get()))
    }

    #[inline]
    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    #[inline]
    fn set(&self, fine: u64) {
        self.0.store(fine, Relaxed);
    }

    /// Pays for a frame that [`Bucket::covers`] has found covered.
    #[inline]
    pub fn pay(&self, cost: Cost) {
        debug_assert!(self.get() >= cost.0, "a frame is covered before it is paid");
        self.set(self.get().wrapping_sub(cost.0));
    }
}

/// What a frame costs: the time that its bytes take to come, in units of 2^-24 ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost(u64);

impl Cost {
    /// Whole units, rounded up, that are missing of the cost.
    #[inline]
    fn missing(self, credit: u64) -> u64 {
        (self.0 - credit).div_ceil(1 << FINE_BITS)
    }
}

/// How fast a bucket fills and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    fine_per_byte: u64,
    /// What it holds, in units of 2^-8 ns.
    depth: u64,
    /// What a worker buys at least, in the same units.
    ahead: u64,
}

impl Size {
    fn new(rate: Rate, burst: Burst) -> Self {
        let fine_per_byte = rate.fine_per_byte();
        // At most 1 GiB at 8 kbit/s: 12 days, below 2^58 units.
        let depth = u128::from(burst.0) * u128::from(fine_per_byte);
        // Rounded up, so that frames which together are as long as the burst fit.
        let depth = depth.div_ceil(1 << FINE_BITS);
        let depth = depth as u64;
        let ahead = if rate.0 < AHEAD_FROM {
            0
        } else {
            (depth / 256).min(MOST_AHEAD)
        };
        Self {
            fine_per_byte,
            depth,
            ahead,
        }
    }
}

/// A bucket that fills with time.
#[derive(Debug)]
pub struct Bucket {
    size: Size,
    /// When it was empty, in units of 2^-8 ns, wrapping.
    empty_at: AtomicU64,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: Rate, burst: Burst) -> Self {
        let size = Size::new(rate, burst);
        Self {
            size,
            empty_at: AtomicU64::new(0_u64.wrapping_sub(size.depth)),
        }
    }

    /// A bucket with as much in it.
    pub(super) fn duplicate(&self) -> Self {
        Self {
            size: self.size,
            empty_at: AtomicU64::new(self.empty_at.load(Relaxed)),
        }
    }

    /// What so many bytes cost.
    #[must_use]
    #[inline]
    pub fn cost(&self, bytes: usize) -> Cost {
        Cost(bytes as u64 * self.size.fine_per_byte)
    }

    /// Whether the worker whose credit this is can pay, if need be after it has bought. What runs
    /// over at that is lost, or goes to `overflow`.
    #[inline]
    pub fn covers(
        &self,
        credit: &Credit,
        now_ns: u64,
        cost: Cost,
        overflow: Option<&Spare>,
    ) -> bool {
        let has = credit.get();
        if has >= cost.0 {
            return true;
        }
        let bought = self.buy(now_ns << UNIT_BITS, cost.missing(has), overflow);
        credit.set(has + (bought << FINE_BITS));
        bought > 0
    }

    /// Lets what has run over until now go to `overflow`.
    #[inline]
    pub fn spill(&self, now_ns: u64, overflow: &Spare) {
        // Nobody can buy as much as this, so nothing is bought.
        self.buy(now_ns << UNIT_BITS, u64::MAX, Some(overflow));
    }

    /// Takes `needed` units out of the bucket, or somewhat more; none where there are fewer.
    fn buy(&self, now: u64, needed: u64, overflow: Option<&Spare>) -> u64 {
        let mut empty_at = self.empty_at.load(Relaxed);
        loop {
            let ahead_of_us = empty_at.wrapping_sub(now);
            let there = if ahead_of_us < MOST_LAG {
                0
            } else {
                now.wrapping_sub(empty_at)
            };
            let content = there.min(self.size.depth);
            let taken = if needed > content {
                0
            } else {
                needed.max(self.size.ahead).min(content)
            };
            let spilt = there - content;
            if taken == 0 && (spilt == 0 || overflow.is_none()) {
                return 0;
            }
            let after = now.wrapping_sub(content).wrapping_add(taken);
            // Only the number itself is shared: no other memory is read on its account.
            match self
                .empty_at
                .compare_exchange_weak(empty_at, after, Relaxed, Relaxed)
            {
                Ok(_) => {
                    if let Some(overflow) = overflow.filter(|_| spilt > 0) {
                        overflow.add(spilt);
                    }
                    return taken;
                }
                Err(other) => empty_at = other,
            }
        }
    }
}

/// A bucket that fills with what runs over from another of the same rate (RFC 2697's Te).
#[derive(Debug)]
pub struct Spare {
    size: Size,
    /// What is in it, in units of 2^-8 ns.
    content: AtomicU64,
}

impl Spare {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: Rate, burst: Burst) -> Self {
        let size = Size::new(rate, burst);
        Self {
            size,
            content: AtomicU64::new(size.depth),
        }
    }

    /// A bucket with as much in it.
    pub(super) fn duplicate(&self) -> Self {
        Self {
            size: self.size,
            content: AtomicU64::new(self.content.load(Relaxed)),
        }
    }

    fn add(&self, units: u64) {
        let filled = |content: u64| Some(content.saturating_add(units).min(self.size.depth));
        // The closure always gives a value.
        let _ = self.content.fetch_update(Relaxed, Relaxed, filled);
    }

    /// As [`Bucket::covers`].
    #[inline]
    pub fn covers(&self, credit: &Credit, cost: Cost) -> bool {
        let has = credit.get();
        if has >= cost.0 {
            return true;
        }
        let needed = cost.missing(has);
        let wanted = needed.max(self.size.ahead);
        let take = |content: u64| (content >= needed).then(|| content - wanted.min(content));
        let Ok(before) = self.content.fetch_update(Relaxed, Relaxed, take) else {
            return false;
        };
        credit.set(has + (wanted.min(before) << FINE_BITS));
        true
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;
    use crate::sync::Arc;

    /// Two workers that take at the same time get no more than the bucket holds, and between them
    /// as much as fits.
    #[test]
    fn loom_nothing_is_sold_twice() {
        loom::model(|| {
            let rate = Rate::new(8_000_000_000).expect("a rate");
            let bucket = Arc::new(Bucket::new(rate, Burst::MIN));
            let take = |bucket: &Bucket| {
                let (credit, cost) = (Credit::default(), bucket.cost(4000));
                let mut bytes = 0;
                while bucket.covers(&credit, 0, cost, None) {
                    credit.pay(cost);
                    bytes += 4000;
                }
                bytes
            };
            let other = {
                let bucket = Arc::clone(&bucket);
                thread::spawn(move || take(&bucket))
            };
            let sum = take(&bucket) + other.join().expect("no panic");
            assert_eq!(sum, 8000);
        });
    }

    /// What runs over while two workers look goes to the spare bucket once.
    #[test]
    fn loom_what_runs_over_is_kept_once() {
        loom::model(|| {
            let rate = Rate::new(8_000_000_000).expect("a rate");
            let committed = Arc::new(Bucket::new(rate, Burst::MIN));
            let excess = Arc::new(Spare::new(rate, Burst::MAX));
            let (credit, all) = (Credit::default(), committed.cost(1 << 30));
            assert!(excess.covers(&credit, all), "it was full");
            let look = |committed: &Bucket, excess: &Spare| {
                let (credit, cost) = (Credit::default(), committed.cost(100));
                assert!(committed.covers(&credit, 1000, cost, Some(excess)));
            };
            let other = {
                let (committed, excess) = (Arc::clone(&committed), Arc::clone(&excess));
                thread::spawn(move || look(&committed, &excess))
            };
            look(&committed, &excess);
            other.join().expect("no panic");
            // 1000 ns at a byte each ran over, and no byte more.
            assert_eq!(excess.content.load(Relaxed), 1000 << UNIT_BITS);
        });
    }
}
