//! Something that goes on in a thread of its own until it is stopped, also by a failing test.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

/// A step that is taken again and again.
#[derive(Debug)]
pub struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Background {
    /// Starts to take the step again and again. It should be short: stopping waits for its end.
    #[must_use]
    pub fn start(mut step: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Relaxed) {
                step();
            }
        });
        Self {
            stop,
            thread: Some(thread),
        }
    }

    /// Ends it.
    ///
    /// # Panics
    /// When a step has.
    #[track_caller]
    pub fn stop(mut self) {
        self.stop.store(true, Relaxed);
        let thread = self.thread.take().expect("it is running");
        thread.join().expect("what goes on in the background");
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        // What it has to say is no matter when the test has failed already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
