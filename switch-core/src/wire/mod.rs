//! Bytes to meaning, pure and total: no input panics, nothing is allocated, no state is kept.

pub mod arp;
pub mod ethernet;
pub mod ip;
pub mod l4;
pub mod layer2;
pub mod nd;
pub mod ordinary;
pub mod packet;
pub mod parse;
pub mod vlan;
