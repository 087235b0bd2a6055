//! The engine of shunt, a virtual switch: frames, tables, datapath, ports and workers.
//!
//! Modules depend on each other in one direction: `limits`, `counters`, `wire`, `mem`, `table`,
//! `config`, `datapath`; `port` stands beside `datapath`, and the two meet in `worker`.

pub mod acl;
pub mod clock;
pub mod config;
pub mod counters;
pub mod datapath;
mod egress;
pub mod engine;
pub mod handoff;
pub mod idle;
pub mod limits;
mod loss;
pub mod mem;
pub mod port;
mod publish;
pub mod qos;
mod sync;
pub mod table;
pub mod wire;
mod worker;
