//! The test kit: namespaces, daemon, raw frames. The tests themselves are in `all.rs`.

pub mod netns;
pub mod peer;
pub mod sys;
