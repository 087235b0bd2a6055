//! Which threads run where, before which others, and how exactly they wake up:
//! sched_setaffinity(2), sched_setattr(2), prctl(2).

use std::io;

/// The nice value of workers: frames wait in rings that hold a millisecond or two of them, while
/// whatever else wants the core can wait.
const WORKER_NICE: i32 = -20;
/// How long a worker asks to run at a time, in nanoseconds: the shortest that the kernel takes. A
/// thread that asks for less gets its core back sooner when it wakes up (since Linux 6.12,
/// `PREEMPT_SHORT` in kernel/sched/features.h; before, it is ignored).
const WORKER_SLICE_NS: u64 = 100_000;

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

/// Keeps the calling thread, and those that it will start, off some cores, if that leaves any.
///
/// # Errors
/// What the kernel said.
pub fn keep_current_thread_off(cores: &[usize]) -> io::Result<()> {
    let mut left = allowed_cores();
    left.retain(|core| !cores.contains(core));
    if left.is_empty() {
        return Ok(());
    }
    bind_current_thread(&left)
}

/// Binds the calling thread to a core.
///
/// # Errors
/// When there is no such core, or the process may not use it.
pub fn pin_current_thread(core: usize) -> io::Result<()> {
    bind_current_thread(&[core])
}

fn bind_current_thread(cores: &[usize]) -> io::Result<()> {
    // SAFETY: all bits zero is a valid, empty cpu_set_t.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for core in cores {
        if *core >= libc::CPU_SETSIZE as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: the number is below the set's size, as checked above.
        unsafe { libc::CPU_SET(*core, &mut set) };
    }
    // SAFETY: the set is live and its size is given; 0 is the calling thread.
    if unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Lets the calling thread run before nearly all others, and soon after it wakes up. It stays in
/// the class of ordinary threads: one that never sleeps must not stop the kernel's own threads,
/// which deliver its frames.
///
/// # Errors
/// What the kernel said: EPERM without `CAP_SYS_NICE`.
pub fn put_current_thread_first() -> io::Result<()> {
    // SAFETY: all bits zero is a valid sched_attr.
    let mut attributes: libc::sched_attr = unsafe { std::mem::zeroed() };
    attributes.size = size_of_val(&attributes) as u32;
    attributes.sched_policy = libc::SCHED_OTHER as u32;
    attributes.sched_nice = WORKER_NICE;
    attributes.sched_runtime = WORKER_SLICE_NS;
    // SAFETY: the structure is live and tells its size; 0 is the calling thread, and no flags.
    let failed =
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) } != 0;
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Lets the calling thread wake up when it wanted to, and not up to 50 us later together with
/// others (`PR_SET_TIMERSLACK`). Where the kernel refuses, it is late.
pub fn make_timers_exact() {
    let slack_ns: libc::c_ulong = 1;
    // SAFETY: prctl with this option takes a number and touches no memory.
    let _ = unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, slack_ns) };
}
