//! Benches of the engine without I/O.
fn main() {}
