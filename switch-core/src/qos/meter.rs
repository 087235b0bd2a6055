//! Meters: the colour of a frame by how fast frames have come of late.
//!
//! Three of them: the plain token bucket, the single rate three color marker (RFC 2697) and the two
//! rate one (RFC 2698), each colour-blind or colour-aware. The RFCs count bytes of IP packets;
//! here, as everywhere in shunt, those of the whole frame without FCS are counted.

use super::bucket::{Bucket, Burst, Credit, Rate, Spare};

/// The colour of a frame (RFC 2697, 1), in the order of its fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Colour {
    /// Conforms.
    #[default]
    Green,
    /// Exceeds.
    Yellow,
    /// Violates; of a plain token bucket: exceeds.
    Red,
}

impl Colour {
    /// All colours.
    pub const ALL: [Self; 3] = [Self::Green, Self::Yellow, Self::Red];

    /// The word in counters and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        }
    }
}

/// What a meter measures by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MeterRates {
    /// A token bucket: green, or red above the rate.
    Plain {
        /// The rate.
        rate: Rate,
        /// The bucket's depth.
        burst: Burst,
    },
    /// RFC 2697: green within the committed burst, yellow within the excess burst.
    SingleRate {
        /// Committed information rate.
        cir: Rate,
        /// Committed burst size.
        cbs: Burst,
        /// Excess burst size.
        ebs: Burst,
    },
    /// RFC 2698: green within the committed rate, yellow within the peak rate.
    TwoRate {
        /// Committed information rate.
        cir: Rate,
        /// Committed burst size.
        cbs: Burst,
        /// Peak information rate, at least the committed one.
        pir: Rate,
        /// Peak burst size.
        pbs: Burst,
    },
}

/// The buckets of a meter, shared by all workers.
#[derive(Debug)]
enum Buckets {
    Plain(Bucket),
    SingleRate(Bucket, Spare),
    TwoRate(Bucket, Bucket),
}

/// What one worker has bought of the first and the second bucket.
#[derive(Debug, Default)]
pub struct Credits {
    committed: Credit,
    second: Credit,
}

impl Credits {
    /// As much, bought elsewhere.
    pub(super) fn duplicate(&self) -> Self {
        Self {
            committed: self.committed.duplicate(),
            second: self.second.duplicate(),
        }
    }
}

/// A meter: full buckets at first.
#[derive(Debug)]
pub struct Meter {
    buckets: Buckets,
    colour_aware: bool,
}

impl Meter {
    /// A meter; `colour_aware` where the colour that a frame comes with counts.
    #[must_use]
    pub fn new(rates: &MeterRates, colour_aware: bool) -> Self {
        let buckets = match *rates {
            MeterRates::Plain { rate, burst } => Buckets::Plain(Bucket::new(rate, burst)),
            MeterRates::SingleRate { cir, cbs, ebs } => {
                Buckets::SingleRate(Bucket::new(cir, cbs), Spare::new(cir, ebs))
            }
            MeterRates::TwoRate { cir, cbs, pir, pbs } => {
                Buckets::TwoRate(Bucket::new(cir, cbs), Bucket::new(pir, pbs))
            }
        };
        Self {
            buckets,
            colour_aware,
        }
    }

    /// A meter with as much in its buckets.
    pub(super) fn duplicate(&self) -> Self {
        let buckets = match &self.buckets {
            Buckets::Plain(bucket) => Buckets::Plain(bucket.duplicate()),
            Buckets::SingleRate(committed, excess) => {
                Buckets::SingleRate(committed.duplicate(), excess.duplicate())
            }
            Buckets::TwoRate(committed, peak) => {
                Buckets::TwoRate(committed.duplicate(), peak.duplicate())
            }
        };
        Self {
            buckets,
            colour_aware: self.colour_aware,
        }
    }

    /// The colour of a frame of so many bytes, which came with the colour `came`, at the time
    /// `now_ns`; `credits` are the worker's own.
    #[inline]
    pub fn measure(&self, credits: &Credits, now_ns: u64, bytes: usize, came: Colour) -> Colour {
        let came = if self.colour_aware {
            came
        } else {
            Colour::Green
        };
        match &self.buckets {
            Buckets::Plain(bucket) => plain(bucket, credits, now_ns, bytes, came),
            Buckets::SingleRate(committed, excess) => {
                single_rate(committed, excess, credits, now_ns, bytes, came)
            }
            Buckets::TwoRate(committed, peak) => {
                two_rate(committed, peak, credits, now_ns, bytes, came)
            }
        }
    }
}

impl Meter {
    /// Whether frames of so many bytes together, whatever their colours, would all be green; pays
    /// for them if so.
    #[inline]
    pub fn all_conform(&self, credits: &Credits, now_ns: u64, bytes: usize) -> bool {
        if self.colour_aware {
            return false;
        }
        let (first, second) = match &self.buckets {
            Buckets::Plain(bucket) => ((bucket, None), None),
            Buckets::SingleRate(committed, excess) => ((committed, Some(excess)), None),
            Buckets::TwoRate(committed, peak) => ((committed, None), Some(peak)),
        };
        let (committed, excess) = first;
        if let Some(peak) = second {
            let cost = peak.cost(bytes);
            let covered = peak.covers(&credits.second, now_ns, cost, None)
                && committed.covers(&credits.committed, now_ns, committed.cost(bytes), None);
            if !covered {
                return false;
            }
            credits.second.pay(cost);
        } else if !committed.covers(&credits.committed, now_ns, committed.cost(bytes), excess) {
            return false;
        }
        credits.committed.pay(committed.cost(bytes));
        true
    }
}

/// The plain bucket knows two colours: a frame that came worse than green takes no tokens.
#[inline]
fn plain(bucket: &Bucket, credits: &Credits, now_ns: u64, bytes: usize, came: Colour) -> Colour {
    let cost = bucket.cost(bytes);
    if came == Colour::Green && bucket.covers(&credits.committed, now_ns, cost, None) {
        credits.committed.pay(cost);
        Colour::Green
    } else {
        Colour::Red
    }
}

/// RFC 2697, 3.
#[inline]
fn single_rate(
    committed: &Bucket,
    excess: &Spare,
    credits: &Credits,
    now_ns: u64,
    bytes: usize,
    came: Colour,
) -> Colour {
    let cost = committed.cost(bytes);
    if came == Colour::Green && committed.covers(&credits.committed, now_ns, cost, Some(excess)) {
        credits.committed.pay(cost);
        return Colour::Green;
    }
    committed.spill(now_ns, excess);
    if came <= Colour::Yellow && excess.covers(&credits.second, cost) {
        credits.second.pay(cost);
        Colour::Yellow
    } else {
        Colour::Red
    }
}

/// RFC 2698, 3.
#[inline]
fn two_rate(
    committed: &Bucket,
    peak: &Bucket,
    credits: &Credits,
    now_ns: u64,
    bytes: usize,
    came: Colour,
) -> Colour {
    let cost = peak.cost(bytes);
    if came == Colour::Red || !peak.covers(&credits.second, now_ns, cost, None) {
        return Colour::Red;
    }
    credits.second.pay(cost);
    let cost = committed.cost(bytes);
    if came == Colour::Green && committed.covers(&credits.committed, now_ns, cost, None) {
        credits.committed.pay(cost);
        Colour::Green
    } else {
        Colour::Yellow
    }
}
