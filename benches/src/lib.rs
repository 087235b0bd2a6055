//! The benches are in `engine.rs`.
