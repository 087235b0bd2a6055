//! What a running process takes of the machine, from `/proc`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Ticks of `utime` and `stime` in a second: `USER_HZ` (include/asm-generic/param.h), the same on
/// all machines that we build for.
const TICKS_PER_S: u64 = 100;

/// The threads of a process that have such a name, e.g. `worker-0`.
///
/// # Panics
/// When there is no such process.
#[track_caller]
fn threads(pid: u32, name_begin: &str) -> Vec<PathBuf> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("threads");
    let named = |thread: &PathBuf| {
        let name = fs::read_to_string(thread.join("comm"));
        name.is_ok_and(|name| name.starts_with(name_begin))
    };
    let threads = threads.flatten().map(|thread| thread.path());
    threads.filter(named).collect()
}

/// Lets a daemon run before the programs of other sessions, so that what is measured is the daemon
/// and not what else the machine has to do: where the kernel shares the cores between sessions
/// (`CONFIG_SCHED_AUTOGROUP`), the precedence that the daemon gives its workers counts only within
/// its own.
pub fn put_before_other_sessions(pid: u32) {
    let _ = fs::write(format!("/proc/{pid}/autogroup"), "-20");
}

/// What the scheduler knows of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its name, e.g. `worker-0`.
    pub name: String,
    /// From -20, which runs first, to 19.
    pub nice: i32,
    /// The first 32 cores that it may run on, the lowest bit for core 0.
    pub cores: u32,
    /// How often it has gone to sleep.
    pub slept: u64,
}

impl Thread {
    /// All threads of a process.
    ///
    /// # Panics
    /// When there is no such process.
    #[must_use]
    #[track_caller]
    pub fn all_of(pid: u32) -> Vec<Self> {
        threads(pid, "")
            .iter()
            .filter_map(|path| Self::read(path))
            .collect()
    }

    /// `None` for a thread that has ended.
    fn read(path: &Path) -> Option<Self> {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        // The second field is a name in parentheses, which may hold anything; nice is the 19th.
        let (_, fields) = stat.rsplit_once(") ")?;
        let nice = fields.split(' ').nth(19 - 3)?;
        let status = fs::read_to_string(path.join("status")).ok()?;
        let field = |key| status.lines().find_map(|line| line.strip_prefix(key));
        let cores = field("Cpus_allowed:")?;
        let slept = field("voluntary_ctxt_switches:")?;
        // 32 cores a group, the last group is that of the first cores.
        let cores = cores.trim().rsplit(',').next()?;
        Some(Self {
            name: fs::read_to_string(path.join("comm"))
                .ok()?
                .trim()
                .to_owned(),
            nice: nice.parse().ok()?,
            cores: u32::from_str_radix(cores, 16).ok()?,
            slept: slept.trim().parse().ok()?,
        })
    }
}

/// How long the workers of a daemon would have run and could not since something else had their
/// core, in all.
///
/// # Panics
/// When there is no such process.
#[must_use]
#[track_caller]
pub fn workers_waited(pid: u32) -> Duration {
    let waited = threads(pid, "worker-").into_iter().map(|thread| {
        // Time running, time waiting, and how often: Documentation/scheduler/sched-stats.rst.
        let text = fs::read_to_string(thread.join("schedstat")).expect("schedstat");
        let waited = text.split(' ').nth(1).and_then(|it| it.parse().ok());
        Duration::from_nanos(waited.expect("nanoseconds"))
    });
    waited.sum()
}

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
