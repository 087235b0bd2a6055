//! The shapes of `shunt trace`, where the binary has them.

#[path = "../../switch-cli/src/api/trace.rs"]
#[allow(dead_code, reason = "the target reads requests and no more")]
pub mod trace;
