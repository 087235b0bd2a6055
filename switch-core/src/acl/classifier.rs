//! The classifier: which rule of a list is the first that a frame belongs to.
//!
//! Nearly all frames carry a whole TCP or UDP packet over IPv4. These have trees of their own,
//! where nothing is left of what rules ask for that all of them have.

use super::{
    case::Case,
    pack::Packed,
    tree::{Cost, Forest},
};

/// The compiled form of a list of cases.
#[derive(Clone, Debug)]
pub struct Classifier {
    ordinary: Forest,
    any: Forest,
}

impl Classifier {
    /// Compiles cases, whatever their order.
    #[must_use]
    pub fn new(mut cases: Vec<Case>) -> Self {
        cases.sort_by_key(|case| case.rule);
        Self {
            ordinary: Forest::new(&cases, &Packed::ORDINARY),
            any: Forest::new(&cases, &[]),
        }
    }

    /// The first rule that a frame belongs to.
    #[must_use]
    pub fn first_match(&self, key: &Packed) -> Option<u32> {
        match key.is_ordinary() {
            true => self.ordinary.first_match(key),
            false => self.any.first_match(key),
        }
    }

    /// The same for the key of an ordinary packet.
    #[must_use]
    #[inline(always)]
    pub fn first_match_of_ordinary(&self, key: &Packed) -> Option<u32> {
        debug_assert!(key.is_ordinary(), "it is asked about ordinary packets only");
        self.ordinary.first_match(key)
    }

    /// What the worst frame costs.
    #[must_use]
    pub fn cost(&self) -> Cost {
        self.any.cost().worse(self.ordinary.cost())
    }
}
