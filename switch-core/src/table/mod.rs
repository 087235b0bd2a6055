//! The tables that the datapath looks frames up in. Fixed in size, filled without a lock.

pub mod fdb;
pub mod flow;
