//! Time as the engine sees it: a number that is passed in. Nothing in the library reads a clock but
//! the worker's thread, once a burst.

use std::time::{Duration, Instant};

/// Whole seconds since the switch was started: the resolution of the forwarding database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u32);

impl Tick {
    /// The tick so long after the start.
    #[must_use]
    pub const fn after(elapsed: Duration) -> Self {
        let seconds = elapsed.as_secs();
        Self(if seconds > u32::MAX as u64 {
            u32::MAX
        } else {
            seconds as u32
        })
    }

    /// Seconds from `earlier` to here, 0 if that is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The monotonic clock of one switch; its tick 0 is when it was started.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The tick now.
    #[must_use]
    pub fn tick(&self) -> Tick {
        Tick::after(self.elapsed())
    }
}
