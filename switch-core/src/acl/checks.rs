//! Cases as they are tried on a frame: comparisons with the words of its packed key.
//!
//! Tests on one word that ask for one value each are a single comparison, so that of a rule's
//! protocol, ports and flags there is one left. [`Case::matches`] is the reference.

use std::{collections::HashMap, sync::Arc};

use super::{
    case::{Case, Set, Test},
    key::Field,
    pack::{Packed, Word, bits, place},
};

/// The bits of a word, less the smallest number that they may be, are at most `span`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Comparison {
    word: Word,
    /// Steps from this one to the next case, which comes next where it does not hold.
    skip: u8,
    mask: u64,
    low: u64,
    span: u64,
}

impl Comparison {
    /// What no word does: 0, less 1, is more.
    const NEVER: Self = Self {
        word: Word::Transport,
        skip: 0,
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
            skip: 0,
            mask: (mask & bits(field)) << shift,
            low: low << shift,
            span: (high - low) << shift,
        }
    }

    fn holds(&self, key: &Packed) -> bool {
        (key.word(self.word) & self.mask).wrapping_sub(self.low) <= self.span
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

/// What is done with a frame next, where cases are tried on it one after the other. Of two kinds,
/// so that one look tells a comparison from all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    Compare(Comparison),
    Other(Other),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Other {
    /// Goes on if the membership of this number holds, else with the next case, so many steps from
    /// here.
    Find { membership: u32, skip: u8 },
    /// All has been met: the frame belongs to this rule.
    Met(u32),
    /// There is no further case.
    End,
}

const _: () = assert!(size_of::<Step>() == 32);

/// Lists of cases, each in the order of its rules.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// What is to be done for the cases of a list, step by step; lists that are the same share
    /// theirs.
    steps: Box<[Step]>,
    memberships: Box<[Membership]>,
}

impl Checks {
    /// What these cases ask for, in one list.
    #[must_use]
    pub fn new(cases: &[Case]) -> Self {
        let mut collector = Collector::default();
        collector.add((0..).zip(cases), |_| true);
        collector.finish()
    }

    /// The rules that a frame meets, in their order: of each case of the first list that it is one
    /// of.
    pub fn all_matches(&self, key: &Packed) -> impl Iterator<Item = u32> {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let (rule, at) = self.next_match(next?, key)?;
            next = Some(at + 1);
            Some(rule)
        })
    }

    /// The rule of the first case that a frame is one of, of the list that begins here.
    #[must_use]
    #[inline(always)]
    pub fn first_match(&self, start: u32, key: &Packed) -> Option<u32> {
        let mut left = self.steps.get(start as usize..)?;
        while let [step, behind @ ..] = left {
            left = match step {
                Step::Compare(comparison) if comparison.holds(key) => behind,
                Step::Compare(comparison) => left.get(usize::from(comparison.skip)..)?,
                Step::Other(Other::Met(rule)) => return Some(*rule),
                Step::Other(Other::End) => return None,
                // From the start, so that nothing has to be kept for what comes behind it.
                Step::Other(Other::Find { .. }) => return self.first_match_with_sets(start, key),
            };
        }
        None
    }

    /// The same where there are memberships.
    #[inline(never)]
    fn first_match_with_sets(&self, start: u32, key: &Packed) -> Option<u32> {
        let (rule, _) = self.next_match(start as usize, key)?;
        Some(rule)
    }

    /// The rule of the next case that a frame is one of, from a step on, and where that case ends.
    fn next_match(&self, mut at: usize, key: &Packed) -> Option<(u32, usize)> {
        loop {
            let (holds, skip) = match self.steps.get(at)? {
                Step::Compare(comparison) => (comparison.holds(key), comparison.skip),
                Step::Other(Other::Find { membership, skip }) => {
                    (self.memberships[*membership as usize].holds(key), *skip)
                }
                Step::Other(Other::Met(rule)) => return Some((*rule, at)),
                Step::Other(Other::End) => return None,
            };
            at += if holds { 1 } else { usize::from(skip) };
        }
    }
}

/// Collects lists of cases. A case may be in several, with fewer tests where it is known that the
/// others hold.
#[derive(Debug, Default)]
pub struct Collector {
    steps: Vec<Step>,
    memberships: Vec<Membership>,
    /// Where the list begins that has these steps.
    known: HashMap<Vec<Step>, u32>,
    /// By a case's number, where its memberships begin.
    members: HashMap<u32, u32>,
}

impl Collector {
    /// Adds a list of cases, of whose ranges only those that are open are to be tried, and gives
    /// where it begins. Cases with the same number are the same.
    pub fn add<'c>(
        &mut self,
        cases: impl IntoIterator<Item = (u32, &'c Case)>,
        is_open: impl Fn(&Test) -> bool,
    ) -> u32 {
        let mut steps = Vec::new();
        for (number, case) in cases {
            self.add_case(&mut steps, number, case, &is_open);
        }
        steps.push(Step::Other(Other::End));
        let end = self.steps.len() as u32;
        *self.known.entry(steps).or_insert_with_key(|new| {
            self.steps.extend(new);
            end
        })
    }

    fn add_case(
        &mut self,
        steps: &mut Vec<Step>,
        number: u32,
        case: &Case,
        is_open: impl Fn(&Test) -> bool,
    ) {
        let open: Vec<&Test> = case.tests.iter().filter(|test| is_open(test)).collect();
        let compared = comparisons_of(&open);
        let found = case.tests.iter().filter_map(membership).count();
        // No case has more tests than there are fields, by some.
        let mut skips = (1..=compared.len() + found + 1)
            .rev()
            .map(|skip| skip as u8);
        for (comparison, skip) in compared.into_iter().zip(&mut skips) {
            steps.push(Step::Compare(Comparison { skip, ..comparison }));
        }
        let first = self.members_of(number, case);
        for (membership, skip) in (first..).take(found).zip(&mut skips) {
            steps.push(Step::Other(Other::Find { membership, skip }));
        }
        steps.push(Step::Other(Other::Met(case.rule)));
    }

    fn members_of(&mut self, number: u32, case: &Case) -> u32 {
        let end = self.memberships.len() as u32;
        *self.members.entry(number).or_insert_with(|| {
            let sets = case.tests.iter().filter_map(membership);
            self.memberships.extend(sets);
            end
        })
    }

    /// All lists.
    #[must_use]
    pub fn finish(self) -> Checks {
        Checks {
            steps: self.steps.into(),
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

    fn hold(checks: &Checks, list: u32, key: &Packed) -> bool {
        checks.first_match(list, key).is_some()
    }

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
        assert!(case.matches(&key) && hold(&checks, 0, &Packed::of(&key)));
        for field in Field::ALL {
            let mut other = key;
            other.set(field, key.get(field) ^ (field.largest() / 2 + 1));
            let expected = case.matches(&other);
            assert_eq!(hold(&checks, 0, &Packed::of(&other)), expected, "{field:?}");
        }
    }

    #[test]
    fn tests_that_are_not_open_do_not_count() {
        let case = Case {
            rule: 7,
            tests: tests().into(),
        };
        let mut collector = Collector::default();
        let is_port = |test: &Test| *test == Test::is(Field::DestinationPort, 443);
        let open = collector.add([(0, &case)], |test| !is_port(test));
        let closed = collector.add([(0, &case)], |_| false);
        let checks = collector.finish();
        let mut key = Key::default();
        for (field, value) in [
            (Field::Ethertype, 0x0800),
            (Field::DestinationLow, 0x0a00_0007),
            (Field::Protocol, 6),
            (Field::Transport, 1),
        ] {
            assert!(!hold(&checks, open, &Packed::of(&key)), "without {field:?}");
            key.set(field, value);
        }
        assert!(hold(&checks, open, &Packed::of(&key)));
        assert!(hold(&checks, closed, &Packed::default()));
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
            assert!(!hold(&checks, 0, &Packed::of(&key)));
        }
    }
}
