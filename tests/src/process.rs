//! What a running process takes of the machine, from `/proc`.

use std::{fs, time::Duration};

/// Ticks of `utime` and `stime` in a second: `USER_HZ` (include/asm-generic/param.h), the same on
/// all machines that we build for.
const TICKS_PER_S: u64 = 100;

/// A process's share of the machine at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Time on all cores, in user space and in the kernel, in steps of 10 ms.
    pub cpu: Duration,
    /// Resident memory in KiB, shared memory included.
    pub resident_kib: u64,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Usage {
    /// Looks at a process.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    #[track_caller]
    pub fn of(pid: u32) -> Self {
        let read = |file: &str| {
            let path = format!("/proc/{pid}/{file}");
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
        };
        let stat = read("stat");
        // The second field is a name in parentheses, which may hold anything.
        let (_, fields) = stat.rsplit_once(") ").expect("fields");
        // Field 3 of proc_pid_stat(5) is the first here.
        let field = |number: usize| fields.split(' ').nth(number - 3);
        let ticks = |number| field(number).and_then(|it| it.parse::<u64>().ok());
        let ticks = ticks(14).expect("utime") + ticks(15).expect("stime");
        let status = read("status");
        let resident = status.lines().find_map(|it| it.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|it| it.trim().strip_suffix(" kB"));
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
        Self {
            cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_S),
            resident_kib: resident.and_then(|it| it.parse().ok()).expect("VmRSS"),
            descriptors: descriptors.count(),
        }
    }
}
