//! The one test binary.

mod netns;
mod simulation;
