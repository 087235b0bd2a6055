//! Sleeping until a queue has frames or somebody wakes the worker (eventfd(2), ppoll(2)).

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsRawFd, FromRawFd, RawFd},
    sync::atomic::{AtomicBool, Ordering, fence},
    time::Duration,
};

/// Wakes one worker, from any thread. Costs a system call only when the worker sleeps.
#[derive(Debug)]
pub struct Waker {
    event: File,
    asleep: AtomicBool,
}

impl Waker {
    /// A waker of a worker that is awake.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        // SAFETY: a system call without memory arguments.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: eventfd has just returned this descriptor, and nobody else owns it.
        let event = unsafe { File::from_raw_fd(fd) };
        Ok(Self {
            event,
            asleep: AtomicBool::new(false),
        })
    }

    /// Wakes the worker if it sleeps. Call it after the work is where the worker looks.
    #[inline]
    pub fn wake(&self) {
        // Pairs with the fence in `sleep`: either we see it asleep, or it sees our work.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            // A full counter means that the worker has been woken already.
            let _ = (&self.event).write(&1_u64.to_ne_bytes());
        }
    }

    /// From now on calls are counted as if the worker slept.
    #[cfg(test)]
    pub(crate) fn pretend_sleep(&self) {
        self.asleep.store(true, Ordering::Relaxed);
    }

    /// How many calls have cost a system call since the last look.
    #[cfg(test)]
    pub(crate) fn calls(&self) -> u64 {
        let mut count = [0; 8];
        // Nothing to read is no call.
        let read = (&self.event).read(&mut count).unwrap_or(0);
        if read == count.len() {
            u64::from_ne_bytes(count)
        } else {
            0
        }
    }

    /// Sleeps until a descriptor of `waiting` is readable, the waker is called, or the time is
    /// over; not at all when `has_work` finds something after the waker has been armed. Says
    /// whether there was a reason to wake up but the time.
    pub fn sleep(
        &self,
        waiting: &mut WaitSet,
        longest: Duration,
        has_work: impl Fn() -> bool,
    ) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let woken = has_work() || waiting.wait(longest);
        self.asleep.store(false, Ordering::Relaxed);
        if woken {
            let _ = (&self.event).read(&mut [0; 8]);
        }
        woken
    }
}

/// The descriptors that a worker sleeps on.
pub struct WaitSet {
    entries: Vec<libc::pollfd>,
    /// Whether the entry of the same position had an error the last time.
    failed: Vec<bool>,
}

impl std::fmt::Debug for WaitSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.entries.iter().map(|entry| entry.fd))
            .finish()
    }
}

impl WaitSet {
    /// The descriptors of these queues, and the waker's.
    pub fn new(waker: &Waker, queues: impl Iterator<Item = RawFd>) -> Self {
        let entry = |fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        let fds = std::iter::once(waker.event.as_raw_fd()).chain(queues);
        let entries: Vec<_> = fds.map(entry).collect();
        Self {
            failed: vec![false; entries.len()],
            entries,
        }
    }

    /// Says whether something was ready before the time was over.
    fn wait(&mut self, longest: Duration) -> bool {
        let count = self.entries.len() as libc::nfds_t;
        let timeout = libc::timespec {
            tv_sec: longest.as_secs().min(60) as libc::time_t,
            tv_nsec: longest.subsec_nanos().into(),
        };
        let no_mask = std::ptr::null();
        // SAFETY: the pointer and the count are those of one live vector, and the time is read
        // during the call only.
        let ready = unsafe {
            libc::ppoll(
                self.entries.as_mut_ptr(),
                count,
                &raw const timeout,
                no_mask,
            )
        };
        if ready == 0 {
            return false;
        }
        // A packet socket reports an error once when its device goes down, and the next receive
        // takes it. Whoever reports one for ever is left out: with it poll would not sleep again.
        // The control thread hears of the device by other ways.
        for (entry, failed) in self.entries.iter_mut().zip(&mut self.failed) {
            let fails = entry.revents & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0;
            if fails && *failed {
                entry.fd = -1;
            }
            *failed = fails;
        }
        true
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_descriptor_that_fails_for_ever_does_not_keep_the_worker_awake() {
        let waker = Waker::new().expect("a descriptor");
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(writer);
        let mut waiting = WaitSet::new(&waker, std::iter::once(reader.as_raw_fd()));
        let longest = Duration::from_millis(50);
        let slept = [(); 3].map(|()| {
            let begin = Instant::now();
            let _ = waker.sleep(&mut waiting, longest, || false);
            begin.elapsed() >= longest
        });
        // An error may be of the kind that goes away: only the second time it is left out.
        assert_eq!(slept, [false, false, true]);
    }
}
