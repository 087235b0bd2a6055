//! What a rule is compiled to: conjunctions of tests on fields.

use std::sync::Arc;

use super::key::{Field, Key};

/// Numbers in disjoint, ascending ranges: an address set or a port set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(Box<[(u128, u128)]>);

impl Set {
    /// The union of ranges, both ends included.
    #[must_use]
    pub fn new(mut ranges: Vec<(u128, u128)>) -> Self {
        ranges.retain(|(low, high)| low <= high);
        ranges.sort_unstable();
        let mut disjoint: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
        for (low, high) in ranges {
            match disjoint.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                _ => disjoint.push((low, high)),
            }
        }
        Self(disjoint.into())
    }

    /// Whether a number is in one of the ranges: a binary search.
    #[must_use]
    #[inline(always)]
    pub fn contains(&self, number: u128) -> bool {
        // Nearly every guard has one address of a family.
        if let [(low, high)] = *self.0 {
            return low <= number && number <= high;
        }
        self.one_contains(number)
    }

    #[inline(never)]
    fn one_contains(&self, number: u128) -> bool {
        let behind = self.0.partition_point(|(low, _)| *low <= number);
        behind > 0 && number <= self.0[behind - 1].1
    }

    /// The ranges, both ends included.
    #[must_use]
    pub fn ranges(&self) -> &[(u128, u128)] {
        &self.0
    }

    /// The smallest and the largest number; none of an empty set.
    #[must_use]
    pub fn bounds(&self) -> Option<(u128, u128)> {
        Some((self.0.first()?.0, self.0.last()?.1))
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// The field, with `mask` applied, lies between two numbers, both included.
    Range {
        /// Of what.
        field: Field,
        /// The bits that count.
        mask: u64,
        /// The smallest number.
        low: u64,
        /// The largest number.
        high: u64,
    },
    /// The number that two fields make lies in a set.
    InSet {
        /// The upper 64 bits; none: they are 0.
        high: Option<Field>,
        /// The lower 64 bits.
        low: Field,
        /// The set, which several rules may share.
        set: Arc<Set>,
    },
}

impl Test {
    /// The field is a number.
    #[must_use]
    pub const fn is(field: Field, value: u64) -> Self {
        Self::between(field, value, value)
    }

    /// The field lies between two numbers, both included.
    #[must_use]
    pub const fn between(field: Field, low: u64, high: u64) -> Self {
        Self::Range {
            field,
            mask: u64::MAX,
            low,
            high,
        }
    }

    /// The bits of `mask` are those of `value`.
    #[must_use]
    pub const fn masked(field: Field, mask: u64, value: u64) -> Self {
        Self::Range {
            field,
            mask,
            low: value & mask,
            high: value & mask,
        }
    }

    /// Whether a frame meets it.
    #[must_use]
    #[inline]
    pub fn holds(&self, key: &Key) -> bool {
        match self {
            Self::Range {
                field,
                mask,
                low,
                high,
            } => (key.get(*field) & mask).wrapping_sub(*low) <= high.wrapping_sub(*low),
            Self::InSet { high, low, set } => {
                let upper = high.map_or(0, |field| u128::from(key.get(field)));
                set.contains(upper << 64 | u128::from(key.get(*low)))
            }
        }
    }

    /// A range of one field outside of which it does not hold, and whether it always holds inside.
    #[must_use]
    pub fn bounds(&self) -> Option<(Field, u64, u64, bool)> {
        match self {
            Self::Range {
                field,
                mask: u64::MAX,
                low,
                high,
            } => Some((*field, *low, *high, true)),
            Self::Range { .. } => None,
            Self::InSet { high, low, set } => {
                let (first, last) = set.bounds()?;
                match high {
                    Some(field) => Some((*field, (first >> 64) as u64, (last >> 64) as u64, false)),
                    None => Some((*low, first as u64, last as u64, false)),
                }
            }
        }
    }
}

/// Frames that meet all tests belong to a rule. A rule may have several cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// The position of the rule in its list.
    pub rule: u32,
    /// All of them hold.
    pub tests: Box<[Test]>,
}

impl Case {
    /// Whether a frame is one of these.
    #[must_use]
    #[inline]
    pub fn matches(&self, key: &Key) -> bool {
        self.tests.iter().all(|test| test.holds(key))
    }
}

/// The reference: the first rule of which a case matches, found by looking at each.
#[must_use]
pub fn first_match(cases: &[Case], key: &Key) -> Option<u32> {
    let matching = cases.iter().filter(|case| case.matches(key));
    matching.map(|case| case.rule).min()
}
