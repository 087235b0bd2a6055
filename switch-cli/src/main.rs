//! shunt
#[allow(dead_code, reason = "the daemon's reconciler is the user of all of it")]
mod device;
#[allow(dead_code, reason = "the daemon is the user of some of it")]
mod sys;

fn main() {}
