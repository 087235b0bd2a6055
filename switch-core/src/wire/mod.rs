//! Bytes to meaning, pure and total: no input panics, nothing is allocated, no state is kept.

pub mod ethernet;
pub mod parse;
pub mod vlan;
