//! What the switch costs, beside what users would take instead.
//!
//! - [`engine`]: a worker without queues and the frames for it, for the benches without I/O;
//! - [`traffic`]: a generator and a sink of frames;
//! - [`compare`]: peers side by side, in turns in one run;
//! - [`report`]: what a run has found, as a table, Markdown and plots;
//! - [`rules`]: the list that policy is measured with.

pub mod compare;
pub mod engine;
pub mod report;
pub mod rules;
pub mod traffic;
