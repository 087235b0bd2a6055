//! An access control list, compiled: rules in order, of which the first that allows or denies
//! decides; rules that count are passed through on the way.

use std::ops::Deref;

use arrayvec::ArrayVec;

use super::{
    case::{self, Case, Test},
    checks::Checks,
    classifier::Classifier,
    key::Key,
    pack::Packed,
    tree::Cost,
};
use crate::limits::MAX_COUNT_RULES;

/// What a rule does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Lets it pass this list.
    Allow,
    /// Drops it.
    Deny,
    /// Counts it and goes on with the next rule.
    Count,
    /// The same, and the control thread writes into its log that something was counted.
    Log,
}

impl Action {
    /// Whether it leaves the decision to the rules behind it.
    #[must_use]
    pub const fn goes_on(self) -> bool {
        matches!(self, Self::Count | Self::Log)
    }
}

/// A rule before it is compiled.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it does.
    pub action: Action,
    /// The counter of its hits.
    pub hit: u32,
    /// It is about frames for which all tests of one of these hold.
    pub cases: Vec<Vec<Test>>,
}

/// Most counters that one list adds to for one frame.
pub const MOST_HITS: usize = MAX_COUNT_RULES + 1;

/// Counters to add a frame to: of a port's and of a network's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hits(ArrayVec<u32, { 2 * MOST_HITS }>);

impl Hits {
    /// None.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self(ArrayVec::new_const())
    }

    /// Adds one.
    ///
    /// # Panics
    /// When there are more than two lists can add.
    #[inline]
    pub fn push(&mut self, counter: u32) {
        self.0.push(counter);
    }

    /// The first so many, with 0 where there are fewer; none where there are more.
    #[must_use]
    pub fn first<const N: usize>(&self) -> Option<[u32; N]> {
        let mut first = [0; N];
        first.get_mut(..self.len())?.copy_from_slice(self);
        Some(first)
    }
}

impl FromIterator<u32> for Hits {
    fn from_iter<I: IntoIterator<Item = u32>>(counters: I) -> Self {
        Self(counters.into_iter().collect())
    }
}

impl Deref for Hits {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.0
    }
}

/// A compiled list.
#[derive(Clone, Debug)]
pub struct List {
    classifier: Classifier,
    /// The cases of rules that allow or deny, and of those that count.
    deciding: Box<[Case]>,
    counting: Box<[Case]>,
    counted: Checks,
    rules: Box<[(Action, u32)]>,
    default: (Action, u32),
    mask: Packed,
}

impl List {
    /// Compiles rules, in their order. `default` decides about what none of them does, and has a
    /// counter, too.
    ///
    /// # Panics
    /// When the default counts, or more than [`MAX_COUNT_RULES`] rules do.
    #[must_use]
    pub fn new(rules: &[Rule], default: Action, default_hit: u32) -> Self {
        assert!(!default.goes_on(), "a default decides");
        let counters = rules.iter().filter(|rule| rule.action.goes_on());
        assert!(counters.count() <= MAX_COUNT_RULES, "few rules count");
        let (mut deciding, mut counting) = (Vec::new(), Vec::new());
        let mut mask = Packed::default();
        for (position, rule) in rules.iter().enumerate() {
            let cases = match rule.action {
                Action::Count | Action::Log => &mut counting,
                Action::Allow | Action::Deny => &mut deciding,
            };
            for tests in &rule.cases {
                tests.iter().for_each(|test| mask.add_test(test));
                cases.push(Case {
                    rule: position as u32,
                    tests: tests.as_slice().into(),
                });
            }
        }
        Self {
            classifier: Classifier::new(deciding.clone()),
            deciding: deciding.into(),
            counted: Checks::new(&counting),
            counting: counting.into(),
            rules: rules.iter().map(|rule| (rule.action, rule.hit)).collect(),
            default: (default, default_hit),
            mask,
        }
    }

    /// The bits of a key that its decisions depend on.
    #[must_use]
    #[inline]
    pub fn mask(&self) -> &Packed {
        &self.mask
    }

    /// What the worst frame costs, rules that count not included.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.classifier.cost()
    }

    /// Whether a frame may pass; adds the counters of the rules that it met.
    #[inline(never)]
    pub fn allows(&self, key: &Packed, hits: &mut Hits) -> bool {
        let rule = self.classifier.first_match(key);
        if !self.counting.is_empty() {
            self.count(rule, self.counted.all_matches(key), hits);
        }
        let (action, hit) = self.conclude(rule);
        hits.push(hit);
        action == Action::Allow
    }

    /// Whether one rule or the default decides, and no others count.
    #[must_use]
    pub fn decides_alone(&self) -> bool {
        self.counting.is_empty()
    }

    /// [`allows`](Self::allows) of a list of which one rule decides alone, for the key of an
    /// ordinary packet: whether it may pass, and the counter of the rule.
    #[must_use]
    #[inline(always)]
    pub fn decide_on_ordinary(&self, key: &Packed) -> (bool, u32) {
        debug_assert!(self.decides_alone(), "no other rule counts");
        let (action, hit) = self.conclude(self.classifier.first_match_of_ordinary(key));
        (action == Action::Allow, hit)
    }

    /// The reference of [`allows`](Self::allows): looks at every rule.
    pub fn allows_by_looking_at_each(&self, key: &Key, hits: &mut Hits) -> bool {
        let rule = case::first_match(&self.deciding, key);
        let met = self.counting.iter().filter(|case| case.matches(key));
        self.count(rule, met.map(|case| case.rule), hits);
        let (action, hit) = self.conclude(rule);
        hits.push(hit);
        action == Action::Allow
    }

    /// Adds the counters of the rules that count, of those that the frame meets, before the one
    /// that decides.
    #[inline(never)]
    fn count(&self, deciding: Option<u32>, met: impl Iterator<Item = u32>, hits: &mut Hits) {
        let end = deciding.unwrap_or(u32::MAX);
        let mut last = None;
        for rule in met.take_while(|rule| *rule < end) {
            if last != Some(rule) {
                last = Some(rule);
                hits.push(self.rules[rule as usize].1);
            }
        }
    }

    /// What follows from the rule that decides.
    #[inline(always)]
    fn conclude(&self, rule: Option<u32>) -> (Action, u32) {
        rule.map_or(self.default, |rule| self.rules[rule as usize])
    }
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
