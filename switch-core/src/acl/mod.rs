//! Rules on frames: which one decides about a frame.
//!
//! A rule is compiled to **cases**, conjunctions of tests on the fields of a [`key::Key`], and the
//! cases of a list to a [`classifier::Classifier`]. What a frame costs depends on the rules alone:
//! no traffic makes the tree deeper. [`case::first_match`] is the reference, which looks at each. A
//! [`list::List`] is what a port or network has attached; a [`pack::Packed`] key is what the flow
//! table keeps.

pub mod case;
mod checks;
pub mod classifier;
pub mod guard;
pub mod key;
pub mod list;
pub mod pack;
pub mod tree;
