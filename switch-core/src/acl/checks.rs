//! Cases as they are tried on a frame: comparisons with the words of its packed key.
//!
//! Tests on one word that ask for one value each are a single comparison, so that of a rule's
//! protocol, ports and flags there is one left. [`Case::matches`] is the reference.

use std::{collections::HashMap, sync::Arc};

use super::{
    case::{Case, Set, Test},
    key::Field,
    pack::{Packed, bits, place},
};

/// The bits of a word, less the smallest number that they may be, are at most `span`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Comparison {
    word: usize,
    mask: u64,
    low: u64,
    span: u64,
}

impl Comparison {
    /// What no word does: 0, less 1, is more.
    const NEVER: Self = Self {
        word: 0,
        mask: 0,
        low: 1,
        span: 0,
    };

    /// A field, with `mask` applied, lies between two numbers. Its bits stay where the word has
    /// them, as nothing but the order of numbers matters.
    fn new(field: Field, mask: u64, low: u64, high: u64) -> Self {
        let (word, shift) = place(field);
        let high = high.min(bits(field));
        if low > high {
            return Self::NEVER;
        }
        Self {
            word,
            mask: (mask & bits(field)) << shift,
            low: low << shift,
            span: (high - low) << shift,
        }
    }

    fn holds(&self, key: &Packed) -> bool {
        (key.0[self.word] & self.mask).wrapping_sub(self.low) <= self.span
    }

    /// Both in one, where both ask for one value of bits of the same word.
    fn and(&self, other: &Self) -> Option<Self> {
        if self.word != other.word || self.span != 0 || other.span != 0 {
            return None;
        }
        let common = self.mask & other.mask;
        let are_exact = self.low & !self.mask == 0 && other.low & !other.mask == 0;
        if !are_exact || self.low & common != other.low & common {
            return Some(Self::NEVER);
        }
        Some(Self {
            mask: self.mask | other.mask,
            low: self.low | other.low,
            ..*self
        })
    }
}

/// The number that two fields make lies in a set.
#[derive(Clone, Debug)]
struct Membership {
    high: Option<Field>,
    low: Field,
    set: Arc<Set>,
}

impl Membership {
    fn holds(&self, key: &Packed) -> bool {
        let upper = self.high.map_or(0, |field| u128::from(key.get(field)));
        self.set
            .contains(upper << 64 | u128::from(key.get(self.low)))
    }
}

/// Where what one case asks for begins, and how much it is.
#[derive(Clone, Copy, Debug)]
struct Checked {
    rule: u32,
    first_comparison: u32,
    first_membership: u32,
    /// A case has no more of either than there are fields.
    comparisons: u16,
    memberships: u16,
}

const _: () = assert!(size_of::<Checked>() == 16);

/// Cases, in the order of their rules.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    cases: Box<[Checked]>,
    comparisons: Box<[Comparison]>,
    memberships: Box<[Membership]>,
}

impl Checks {
    /// What these cases ask for.
    #[must_use]
    pub fn new(cases: &[Case]) -> Self {
        let mut collector = Collector::default();
        for (number, case) in cases.iter().enumerate() {
            collector.add(number as u32, case, |_| true);
        }
        collector.finish()
    }

    /// The rules of the cases, in their order.
    pub fn rules(&self) -> impl Iterator<Item = u32> + '_ {
        self.cases.iter().map(|case| case.rule)
    }

    /// Whether a frame is one of a case's.
    #[must_use]
    pub fn hold(&self, case: usize, key: &Packed) -> bool {
        self.are_met(&self.cases[case], key)
    }

    /// The rule of the first of so many cases from `first` on that a frame is one of, if that is
    /// before `best`; else `best`.
    #[must_use]
    #[inline]
    pub fn first_match(&self, first: usize, count: usize, key: &Packed, best: u32) -> u32 {
        for case in &self.cases[first..][..count] {
            if case.rule >= best {
                break;
            }
            if self.are_met(case, key) {
                return case.rule;
            }
        }
        best
    }

    #[inline]
    fn are_met(&self, case: &Checked, key: &Packed) -> bool {
        let comparisons = &self.comparisons[case.first_comparison as usize..];
        let comparisons = &comparisons[..usize::from(case.comparisons)];
        comparisons.iter().all(|comparison| comparison.holds(key))
            && (case.memberships == 0 || self.are_members(case, key))
    }

    #[inline(never)]
    fn are_members(&self, case: &Checked, key: &Packed) -> bool {
        let memberships = &self.memberships[case.first_membership as usize..];
        let memberships = &memberships[..usize::from(case.memberships)];
        memberships.iter().all(|membership| membership.holds(key))
    }
}

/// Collects cases. One may be tried at several places, with fewer tests where it is known that the
/// others hold.
#[derive(Debug, Default)]
pub struct Collector {
    cases: Vec<Checked>,
    comparisons: Vec<Comparison>,
    memberships: Vec<Membership>,
    /// Where the comparisons begin that some case has already.
    known: HashMap<Vec<Comparison>, u32>,
    /// By a case's number, where its memberships begin.
    members: HashMap<u32, u32>,
}

impl Collector {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.cases.len()
    }

    /// Adds a case, of whose ranges only those that are open are to be tried. Cases with the same
    /// number are the same.
    pub fn add(&mut self, number: u32, case: &Case, is_open: impl Fn(&Test) -> bool) {
        let open: Vec<&Test> = case.tests.iter().filter(|test| is_open(test)).collect();
        let comparisons = comparisons_of(&open);
        let memberships = case.tests.iter().filter_map(membership).count();
        let checked = Checked {
            rule: case.rule,
            comparisons: comparisons.len() as u16,
            memberships: memberships as u16,
            first_comparison: self.place_of(comparisons),
            first_membership: self.members_of(number, case),
        };
        self.cases.push(checked);
    }

    fn place_of(&mut self, comparisons: Vec<Comparison>) -> u32 {
        let end = self.comparisons.len() as u32;
        *self.known.entry(comparisons).or_insert_with_key(|new| {
            self.comparisons.extend(new);
            end
        })
    }

    fn members_of(&mut self, number: u32, case: &Case) -> u32 {
        let end = self.memberships.len() as u32;
        *self.members.entry(number).or_insert_with(|| {
            let sets = case.tests.iter().filter_map(membership);
            self.memberships.extend(sets);
            end
        })
    }

    /// The cases, in the order in which they were added.
    #[must_use]
    pub fn finish(self) -> Checks {
        Checks {
            cases: self.cases.into(),
            comparisons: self.comparisons.into(),
            memberships: self.memberships.into(),
        }
    }
}

/// The comparisons of a case: as few as there can be, first those that most frames fail.
fn comparisons_of(tests: &[&Test]) -> Vec<Comparison> {
    let mut all: Vec<Comparison> = Vec::new();
    for test in tests {
        let Test::Range {
            field,
            mask,
            low,
            high,
        } = test
        else {
            continue;
        };
        let new = Comparison::new(*field, *mask, *low, *high);
        let joined = all.iter_mut().find_map(|old| {
            let both = old.and(&new)?;
            *old = both;
            Some(())
        });
        if joined.is_none() {
            all.push(new);
        }
    }
    all.sort_by_key(|comparison| {
        let exact = comparison.mask.count_ones();
        let open = u64::BITS - comparison.span.leading_zeros();
        std::cmp::Reverse(exact.saturating_sub(open))
    });
    all
}

fn membership(test: &Test) -> Option<Membership> {
    match test {
        Test::Range { .. } => None,
        Test::InSet { high, low, set } => Some(Membership {
            high: *high,
            low: *low,
            set: Arc::clone(set),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acl::key::Key;

    /// TCP to a port of a network.
    fn tests() -> [Test; 5] {
        [
            Test::is(Field::Ethertype, 0x0800),
            Test::between(Field::DestinationLow, 0x0a00_0000, 0x0a00_00ff),
            Test::is(Field::Protocol, 6),
            Test::is(Field::Transport, 1),
            Test::is(Field::DestinationPort, 443),
        ]
    }

    #[test]
    fn tests_for_one_value_each_in_one_word_are_one_comparison() {
        let check = |tests: &[Test], expected: usize| {
            let comparisons = comparisons_of(&tests.iter().collect::<Vec<_>>());
            assert_eq!(comparisons.len(), expected, "{comparisons:?}");
        };
        check(&[], 0);
        check(&tests(), 3);
        check(&tests()[2..], 1);
        let ports = Test::between(Field::DestinationPort, 80, 90);
        check(&[Test::is(Field::Protocol, 6), ports], 2);
        let syn = Test::masked(Field::TcpFlags, 0x12, 0x02);
        check(&[Test::is(Field::Protocol, 6), syn], 1);
    }

    #[test]
    fn every_test_of_a_case_counts() {
        let case = Case {
            rule: 7,
            tests: tests().into(),
        };
        let checks = Checks::new(std::slice::from_ref(&case));
        let mut key = Key::default();
        for test in &case.tests {
            if let Test::Range { field, low, .. } = test {
                key.set(*field, *low);
            }
        }
        assert!(case.matches(&key) && checks.hold(0, &Packed::of(&key)));
        for field in Field::ALL {
            let mut other = key;
            other.set(field, key.get(field) ^ (field.largest() / 2 + 1));
            let expected = case.matches(&other);
            assert_eq!(checks.hold(0, &Packed::of(&other)), expected, "{field:?}");
        }
    }

    #[test]
    fn tests_that_are_not_open_do_not_count() {
        let case = Case {
            rule: 7,
            tests: tests().into(),
        };
        let mut collector = Collector::default();
        collector.add(0, &case, |test| {
            *test != Test::is(Field::DestinationPort, 443)
        });
        collector.add(0, &case, |_| false);
        let checks = collector.finish();
        let mut key = Key::default();
        for (field, value) in [
            (Field::Ethertype, 0x0800),
            (Field::DestinationLow, 0x0a00_0007),
            (Field::Protocol, 6),
            (Field::Transport, 1),
        ] {
            assert!(!checks.hold(0, &Packed::of(&key)), "without {field:?}");
            key.set(field, value);
        }
        assert!(checks.hold(0, &Packed::of(&key)));
        assert!(checks.hold(1, &Packed::default()));
    }

    #[test]
    fn tests_that_contradict_each_other_never_hold() {
        let tests = [6, 17]
            .map(|protocol| Test::is(Field::Protocol, protocol))
            .into();
        let checks = Checks::new(&[Case { rule: 0, tests }]);
        for protocol in 0..=255 {
            let mut key = Key::default();
            key.set(Field::Protocol, protocol);
            assert!(!checks.hold(0, &Packed::of(&key)));
        }
    }
}
