//! Binding a worker's thread to a core (sched_setaffinity(2)).

use std::io;

/// The cores that this process may run on, in order.
#[must_use]
pub fn allowed_cores() -> Vec<usize> {
    // SAFETY: all bits zero is a valid, empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is live and its size is given.
    let failed = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) } != 0;
    if failed {
        return Vec::new();
    }
    let in_set = |core: &usize| {
        // SAFETY: the number is below the set's size.
        unsafe { libc::CPU_ISSET(*core, &set) }
    };
    (0..libc::CPU_SETSIZE as usize).filter(in_set).collect()
}

/// Binds the calling thread to a core.
///
/// # Errors
/// When there is no such core, or the process may not use it.
pub fn pin_current_thread(core: usize) -> io::Result<()> {
    if core >= libc::CPU_SETSIZE as usize {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: all bits zero is a valid, empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the number is below the set's size, as checked above.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the set is live and its size is given; 0 is the calling thread.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
