//! Programs that run beside a measurement, and what they take of the machine.

use std::{
    collections::HashMap,
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use shunt_tests::{netns::Namespace, sys};

/// Time that a program has to end after SIGTERM.
const END_LIMIT: Duration = Duration::from_secs(5);

/// A program in a namespace, which ends with us: by SIGTERM when this is dropped, by SIGKILL when
/// we are killed ourselves.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program with these arguments, which logs into a file of the folder.
    ///
    /// To be called by the thread that goes on for as long as the program shall: the kernel kills
    /// it when that thread ends.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        namespace: &Namespace,
        folder: &Path,
        program: &str,
        complete: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let name = Path::new(program).file_name().unwrap_or_default();
        let name = name.to_string_lossy().into_owned();
        let log = folder.join(format!("{name}.out"));
        let output = File::create(&log).with_context(|| log.display().to_string())?;
        // Each of them becomes the next: the pid is the program's in the end.
        let mut command = namespace.command("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]);
        complete(&mut command);
        // Ctrl-C is for us alone: we end the program when nobody measures it any more.
        command.process_group(0);
        command.stdin(Stdio::piped());
        command.stdout(output.try_clone()?).stderr(output);
        let child = command
            .spawn()
            .with_context(|| format!("start {name} by `ip netns exec`"))?;
        Ok(Self { name, child, log })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All that it has written.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Goes on while it runs.
    ///
    /// # Errors
    /// When it has ended; with the end of what it wrote.
    pub fn check_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} has ended ({status}): {}",
                self.name,
                last_lines(&self.output(), 6)
            ),
        }
    }

    /// Stops it where it is, until [`resume`](Self::resume).
    ///
    /// # Errors
    /// What the kernel says.
    pub fn pause(&self) -> Result<()> {
        Ok(sys::signal(&self.child, libc::SIGSTOP)?)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn resume(&self) -> Result<()> {
        Ok(sys::signal(&self.child, libc::SIGCONT)?)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        sys::signal(&self.child, sys::SIGTERM)?;
        self.resume()?;
        let deadline = Instant::now() + END_LIMIT;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.child.kill()?;
        self.child.wait()?;
        bail!("{} did not end in {END_LIMIT:?} and was killed", self.name)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}

/// The end of a text, for a message.
fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|it| !it.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" / ")
}

/// Runs a command to its end and gives what it printed.
///
/// # Errors
/// When it cannot be started or ends with another code than 0; with what it wrote.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success(),
        "{}: {}: {}",
        words(command),
        output.status,
        last_lines(
            &format!("{text}\n{}", String::from_utf8_lossy(&output.stderr)),
            6
        )
    );
    Ok(text)
}

/// The first words of a command, for a message.
fn words(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    let shown = words
        .iter()
        .take(8)
        .map(|it| &**it)
        .collect::<Vec<_>>()
        .join(" ");
    let rest = if words.len() > 8 { " .." } else { "" };
    format!("`{shown}{rest}`")
}

/// Where a program is: in a directory of `PATH`, or in one that only root has there.
#[must_use]
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let for_root = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut directories = std::env::split_paths(&path).chain(for_root);
    directories.find_map(|directory| Some(directory.join(name)).filter(|it| it.is_file()))
}

/// How long each thread of some processes has run on all cores, to the nanosecond
/// (Documentation/scheduler/sched-stats.rst).
#[derive(Clone, Debug)]
pub struct ThreadTimes(HashMap<PathBuf, Duration>);

impl ThreadTimes {
    /// Those until now.
    ///
    /// # Errors
    /// When a process has ended.
    pub fn of(pids: &[u32]) -> Result<Self> {
        let mut times = HashMap::new();
        for pid in pids {
            let threads = fs::read_dir(format!("/proc/{pid}/task"));
            for thread in threads.with_context(|| format!("process {pid}"))? {
                let path = thread?.path();
                // It may end meanwhile.
                let Ok(text) = fs::read_to_string(path.join("schedstat")) else {
                    continue;
                };
                let time = parse_schedstat(&text);
                times.insert(path, time.with_context(|| format!("schedstat: {text:?}"))?);
            }
        }
        Ok(Self(times))
    }

    /// What the threads of now have run since then. What one has run that has ended is not known.
    #[must_use]
    pub fn since(&self, then: &Self) -> Duration {
        let ran = self.0.iter().map(|(thread, time)| {
            let before = then.0.get(thread).copied().unwrap_or_default();
            // Below that it is another one, which has got the number of one that has ended.
            time.checked_sub(before).unwrap_or(*time)
        });
        ran.sum()
    }
}

fn parse_schedstat(text: &str) -> Option<Duration> {
    let running = text.split_whitespace().next()?;
    running.parse().ok().map(Duration::from_nanos)
}

/// Resident memory of some processes in MiB, shared memory included.
///
/// # Errors
/// When a process has ended.
pub fn resident_mib(pids: &[u32]) -> Result<f64> {
    let mut kib = 0;
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))
            .with_context(|| format!("process {pid}"))?;
        kib += parse_resident(&status).with_context(|| format!("VmRSS of process {pid}"))?;
    }
    Ok(kib as f64 / 1024.0)
}

fn parse_resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|it| it.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// What the machine's cores were not there for, all together, by `/proc/stat`, in steps of 10 ms a
/// core.
///
/// The kernel notes when a core goes idle and when an interrupt ends that, softirq work included
/// (`tick_nohz_stop_idle`, kernel/time/tick-sched.c). Its other times in that file are sampled at
/// ticks, of which an idle core has none: work in an interrupt out of idle would be missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Away {
    /// Time in which they had nothing to do, or waited for a disk.
    pub idle: Duration,
    /// Time that the hypervisor did not let them run.
    pub stolen: Duration,
}

impl Away {
    /// Since the machine was started.
    ///
    /// # Errors
    /// When `/proc/stat` is not as proc(5) says.
    pub fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat")?;
        Self::parse(&text).context("/proc/stat")
    }

    /// Since an earlier moment.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            idle: self.idle.saturating_sub(earlier.idle),
            stolen: self.stolen.saturating_sub(earlier.stolen),
        }
    }

    /// What is left of so much time of each of so many cores: they were busy.
    #[must_use]
    pub fn busy(self, elapsed: Duration, cores: usize) -> Duration {
        (elapsed * cores as u32).saturating_sub(self.idle + self.stolen)
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|it| it.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line
            .split_whitespace()
            .map_while(|it| it.parse().ok())
            .collect();
        let [_user, _nice, _system, idle, wait, _irq, _softirq, steal, ..] = ticks[..] else {
            return None;
        };
        // USER_HZ is 100 on all machines that we build for.
        let time = |ticks: u64| Duration::from_millis(ticks * 10);
        Some(Self {
            idle: time(idle + wait),
            stolen: time(steal),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_understood() {
        assert_eq!(
            parse_schedstat("1500000000 27 9\n"),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(parse_schedstat(""), None);
        assert_eq!(
            parse_resident("Name:\ta\nVmRSS:\t    2048 kB\n"),
            Some(2048)
        );
        let away = Away::parse("cpu  100 20 30 4000 50 6 7 8 0 0\ncpu0 1 2 3 4 5 6 7 8 0 0\n");
        let expected = Away {
            idle: Duration::from_millis(40_500),
            stolen: Duration::from_millis(80),
        };
        assert_eq!(away, Some(expected));
        assert_eq!(Away::parse("cpu  1 2\n"), None);
    }

    #[test]
    fn cores_are_busy_when_they_are_not_away() {
        let away = Away {
            idle: Duration::from_millis(1200),
            stolen: Duration::from_millis(300),
        };
        let check = |elapsed_ms, cores, expected_ms| {
            let busy = away.busy(Duration::from_millis(elapsed_ms), cores);
            assert_eq!(busy, Duration::from_millis(expected_ms));
        };
        check(1000, 2, 500);
        // The steps of 10 ms may give more than there was.
        check(700, 2, 0);
    }

    #[test]
    fn the_machine_gets_busier() {
        // Begun before and ended after the other look: what is idle lies within.
        let begin = Instant::now();
        let before = (
            Away::now().expect("stat"),
            ThreadTimes::of(&[std::process::id()]).expect("times"),
        );
        let spin = Instant::now();
        while spin.elapsed() < Duration::from_millis(60) {}
        let away = Away::now().expect("stat").since(before.0);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        // One core is this thread's, or somebody else's: it is not idle.
        let busy = away.busy(begin.elapsed(), cores) + away.stolen;
        assert!(busy >= Duration::from_millis(30), "{busy:?}");
        let now = ThreadTimes::of(&[std::process::id()]).expect("times");
        let ran = now.since(&before.1);
        assert!(ran >= Duration::from_millis(30), "{ran:?}");
        assert!(resident_mib(&[std::process::id()]).expect("memory") > 1.0);
    }

    #[test]
    fn threads_that_come_and_go_take_no_time_from_others() {
        let times = |of: &[(&str, u64)]| {
            let of = of
                .iter()
                .map(|(thread, ms)| (thread.into(), Duration::from_millis(*ms)));
            ThreadTimes(of.collect())
        };
        let before = times(&[("stays", 100), ("ends", 5000), ("again", 900)]);
        let after = times(&[("stays", 130), ("comes", 7), ("again", 3)]);
        assert_eq!(after.since(&before), Duration::from_millis(40));
    }

    #[test]
    fn only_the_end_of_a_log_is_told() {
        assert_eq!(last_lines("a\nb\n\nc\n", 2), "b / c");
        assert_eq!(last_lines("", 2), "");
    }
}
