//! A time limit for work that may hang: a test that waits for ever must not keep a machine busy.

use std::collections::BTreeSet;
use std::process::{Command, exit};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Between asking processes to end and ending them, and until all hope is given up.
const GRACE: Duration = Duration::from_secs(5);

/// Does `work`, and says whether it has taken longer than `limit`. Then all processes that this
/// one has started, and theirs, have been ended: daemons are asked first, so that they can put
/// their devices back. When not even that ends the work, this process exits with 1.
pub fn within<T>(name: &str, limit: Duration, work: impl FnOnce() -> T) -> (T, bool) {
    let (done, end) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let watch = scope.spawn(move || {
            // Nothing is ever sent: the channel closes when the work is done.
            let is_over = |time| end.recv_timeout(time) == Err(RecvTimeoutError::Disconnected);
            if is_over(limit) {
                return false;
            }
            let seconds = limit.as_secs_f64();
            println!("{name} TOOK LONGER THAN {seconds:.0} s: ending it and what it has started");
            for signal in ["-TERM", "-KILL"] {
                signal_descendants(signal);
                if is_over(GRACE) {
                    return true;
                }
            }
            println!("{name} goes on without any process: giving up");
            exit(1)
        });
        let result = work();
        drop(done);
        (result, watch.join().unwrap_or(true))
    })
}

/// Sends a signal to every process that this one has started, and to theirs.
fn signal_descendants(signal: &str) {
    let pids = descendants(std::process::id(), &parents());
    if pids.is_empty() {
        return;
    }
    let pids = pids.iter().map(u32::to_string);
    // One that has ended meanwhile is no reason to complain.
    let _ = Command::new("kill").arg(signal).args(pids).output();
}

/// All processes with their parents.
fn parents() -> Vec<(u32, u32)> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pairs = processes.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(process.path().join("stat")).ok()?;
        Some((pid, parent(&stat)?))
    });
    pairs.collect()
}

/// The second field after the name, which is in brackets and may contain anything (proc(5)).
fn parent(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(1)?.parse().ok()
}

/// Those that descend from `root`.
fn descendants(root: u32, parents: &[(u32, u32)]) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut generation = vec![root];
    while let Some(parent) = generation.pop() {
        for (pid, _) in parents.iter().filter(|(_, of)| *of == parent) {
            if found.insert(*pid) {
                generation.push(*pid);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_is_done_in_time_is_left_alone() {
        let (result, late) = within("quick", Duration::from_secs(60), || 7);
        assert_eq!((result, late), (7, false));
    }

    #[test]
    fn what_hangs_is_ended_with_its_children() {
        let start = Instant::now();
        let (status, late) = within("slow", Duration::from_millis(300), || {
            let mut shell = Command::new("sh");
            shell.args(["-c", "sleep 600 & wait"]).status()
        });
        assert!(late && !status.unwrap().success());
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn only_descendants_are_found() {
        let parents = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 5)];
        assert_eq!(descendants(2, &parents), [3, 4].into());
        assert!(
            parents
                .iter()
                .all(|(pid, _)| descendants(1, &parents).contains(pid))
        );
        assert_eq!(parent("17 (a) b) S 4 17 17 0"), Some(4));
    }
}
