//! Tests that the machine itself can fail.
//!
//! Whoever asks for a whole flow of frames asks for a machine that lets the switch run: a virtual
//! machine that is stopped for a second by its host loses frames in the kernel before the switch
//! sees them. A switch that loses frames does so every time.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// How often a test may be tried.
const ATTEMPTS: usize = 3;

/// Runs a test, and again when it fails, three times at most. What failed is printed each time.
///
/// # Panics
/// As the test at its last attempt.
pub fn attempts(test: impl Fn()) {
    for attempt in 1..=ATTEMPTS {
        match catch_unwind(AssertUnwindSafe(&test)) {
            Ok(()) => return,
            Err(failure) if attempt == ATTEMPTS => resume_unwind(failure),
            Err(_) => println!("attempt {attempt} of {ATTEMPTS} has failed"),
        }
    }
}
