//! Who has the machine: tests that measure time, rates or load run alone, the others together.
//!
//! It is a lock on a file beside the test binary, so it also holds between test processes of one
//! build. A lock goes with its process, however that ends.

use std::fs::File;

/// A share in the machine, or all of it, until it is dropped.
#[derive(Debug)]
pub struct Hold {
    _lock: File,
}

/// Waits until nobody measures. Any number of tests may have such a share.
///
/// # Panics
/// When there is no place for the lock's file.
#[must_use]
pub fn share() -> Hold {
    let lock = open();
    lock.lock_shared().expect("lock");
    Hold { _lock: lock }
}

/// Waits until nobody else has a share. A test that has one itself would wait for ever.
///
/// # Panics
/// When there is no place for the lock's file.
#[must_use]
pub fn alone() -> Hold {
    let lock = open();
    lock.lock().expect("lock");
    Hold { _lock: lock }
}

fn open() -> File {
    let binary = std::env::current_exe().expect("own path");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(binary.with_file_name("quiet.lock"));
    file.expect("the lock's file")
}
