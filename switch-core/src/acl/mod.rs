//! Rules on frames: which one decides about a frame.
//!
//! A rule is compiled to **cases**, conjunctions of tests on the fields of a [`key::Key`], and the
//! cases of a list to a [`tree::Classifier`]. What a frame costs depends on the rules alone: no
//! traffic makes the tree deeper. [`case::first_match`] is the reference, which looks at each.

pub mod case;
pub mod key;
pub mod tree;
