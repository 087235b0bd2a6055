//! From what the user wrote to what the datapath reads.

pub mod snapshot;
