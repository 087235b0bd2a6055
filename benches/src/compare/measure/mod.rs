//! What is measured of a contender, each in a file of its own.

pub mod check;
pub mod cpu;
pub mod engine;
pub mod learning;
pub mod load;
pub mod policy;
pub mod round_trip;
pub mod search;
pub mod tcp;
