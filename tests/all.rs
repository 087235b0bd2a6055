//! The one test binary.

mod netns;
