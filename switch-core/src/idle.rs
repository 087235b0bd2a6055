//! What a worker does while no frame comes: look again, or sleep, and until when.
//!
//! To wake up takes a sleeper some 90 us on a virtual machine, of which most is the processor's way
//! out of its halt; a worker that looks all the time has the frame at once and takes a whole core.
//! Between the two: a worker looks for [`SPIN`] after its last frame and then sleeps, as long as it
//! knows nothing better. When frames come in a rhythm, as the requests of a client do that thinks
//! for the same time after each answer, it sleeps until just before the next one is due and looks
//! for as long as the rhythm varies, and longer for one that is late. That is what the kernel's
//! idle governor does for the processor itself (drivers/cpuidle/governors/menu.c,
//! `get_typical_interval`), but for the late ones: a governor is not asked to be awake.
//!
//! Who wants every frame at once, and has a core to give, asks for [`Policy::Poll`].
//!
//! Time is passed in, and nothing here is touched while frames come.

use std::time::Duration;

/// How long a worker looks again and again after a frame, whatever it knows.
pub const SPIN: Duration = Duration::from_micros(50);
/// How long before a frame is due the worker wants to be awake: the timer's own way out of the halt
/// takes as long as a frame's.
const LEAD: Duration = Duration::from_micros(150);
/// How long after the latest time at which a frame has been due it is still looked for, at least.
const TAIL: Duration = Duration::from_micros(50);
/// The same at most, if that much is saved. What is late is seldom, so that this costs little.
const LONGEST_TAIL: Duration = Duration::from_millis(2);
/// How much the pauses of a rhythm may differ.
const LARGEST_SPREAD: Duration = Duration::from_micros(300);
/// Longest pause that is waited out: for a slower rhythm, 90 us more are no matter.
const LONGEST_PAUSE: Duration = Duration::from_millis(10);
/// Pauses that are remembered.
const PAUSES: usize = 12;
/// How many of them have to be alike: the other half may be those of frames that have nothing to do
/// with the rhythm, or come late.
const ALIKE: usize = 6;
/// The part of its time that a worker may look for frames that are due, beside what [`SPIN`] takes.
const SHARE: u32 = 5;
/// Longest time that may be looked for at once, when much has been saved.
const SAVINGS: Duration = Duration::from_millis(10);

/// What a worker does as long as no frame comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// It sleeps whenever it expects none.
    #[default]
    Sleep,
    /// It looks, always: it takes the whole of its core.
    Poll,
}

/// What to do after a turn that had no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Another turn at once.
    Look,
    /// Sleep for so long at most.
    Sleep(Duration),
}

/// When, after the last frame, the next one is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    opens: Duration,
    closes: Duration,
}

/// What one worker knows about its pauses. All times are since the same beginning.
#[derive(Debug)]
pub struct Idle {
    policy: Policy,
    last_frame: Duration,
    /// Looking goes on until then, whatever is known.
    look_until: Duration,
    /// The latest pauses that were longer than [`SPIN`], in no order that matters.
    pauses: [Duration; PAUSES],
    /// Where the next one goes.
    next: usize,
    /// When the next frame is due, if that is known and paid for.
    due: Option<Window>,
    /// Time that may still be looked for frames that are due.
    savings: Duration,
}

impl Idle {
    /// Knows of no pause.
    #[must_use]
    pub fn new(policy: Policy, now: Duration) -> Self {
        Self {
            policy,
            last_frame: now,
            look_until: now + SPIN,
            pauses: [Duration::MAX; PAUSES],
            next: 0,
            due: None,
            savings: Duration::ZERO,
        }
    }

    /// A turn had frames.
    #[inline]
    pub fn worked(&mut self, now: Duration) {
        let pause = now.saturating_sub(self.last_frame);
        self.last_frame = now;
        self.look_until = now + SPIN;
        if pause > SPIN {
            self.remember(pause);
        }
    }

    /// Something other than a frame or the time ended a sleep: frames may follow.
    pub fn woken(&mut self, now: Duration) {
        self.look_until = now + SPIN;
    }

    /// What to do after a turn without frames; `longest` is what else may be slept.
    #[inline]
    #[must_use]
    pub fn wait(&self, now: Duration, longest: Duration) -> Wait {
        if self.policy == Policy::Poll || now <= self.look_until {
            return Wait::Look;
        }
        let since = now.saturating_sub(self.last_frame);
        match self.due {
            Some(due) if since < due.opens => Wait::Sleep(longest.min(due.opens - since)),
            Some(due) if since <= due.closes => Wait::Look,
            _ => Wait::Sleep(longest),
        }
    }

    /// Notes a pause that is over, and foretells the next one.
    #[cold]
    fn remember(&mut self, pause: Duration) {
        let looked = self.due.map_or(Duration::ZERO, |due| {
            pause.min(due.closes).saturating_sub(due.opens.max(SPIN))
        });
        let saved = self.savings + pause / SHARE;
        self.savings = SAVINGS.min(saved.saturating_sub(looked));
        self.pauses[self.next] = pause;
        self.next = (self.next + 1) % PAUSES;
        self.due = window(self.pauses).and_then(|due| due.within(self.savings));
    }
}

impl Window {
    /// As long as these savings allow; nothing where they are too small.
    fn within(self, savings: Duration) -> Option<Self> {
        let left = savings.checked_sub(self.closes - self.opens)?;
        Some(Self {
            closes: self.closes + left.min(LONGEST_TAIL),
            ..self
        })
    }
}

/// When a frame is due after these pauses, if enough of them are alike.
fn window(mut pauses: [Duration; PAUSES]) -> Option<Window> {
    pauses.sort_unstable();
    (ALIKE..=PAUSES)
        .rev()
        .flat_map(|count| pauses.windows(count))
        .map(|alike| (alike[0], alike[alike.len() - 1]))
        .find(|(shortest, longest)| {
            *longest <= LONGEST_PAUSE && *longest - *shortest <= LARGEST_SPREAD
        })
        .map(|(shortest, longest)| Window {
            opens: shortest.saturating_sub(LEAD),
            closes: longest + TAIL,
        })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    /// How late a sleeper is awake.
    const LATE: Duration = Duration::from_micros(90);
    /// How long a turn takes that finds nothing.
    const TURN: Duration = Duration::from_micros(1);

    /// A worker in virtual time, and what it did.
    struct Sleeper {
        idle: Idle,
        now: Duration,
        /// Time in turns that found nothing.
        looked: Duration,
    }

    impl Sleeper {
        fn new() -> Self {
            Self::with(Policy::Sleep)
        }

        fn with(policy: Policy) -> Self {
            Self {
                idle: Idle::new(policy, Duration::ZERO),
                now: Duration::ZERO,
                looked: Duration::ZERO,
            }
        }

        /// Waits for one frame; says how late it was seen.
        fn wait_for(&mut self, arrival: Duration) -> Duration {
            while self.now < arrival {
                match self.idle.wait(self.now, SECOND) {
                    Wait::Look => {
                        self.now += TURN;
                        self.looked += TURN;
                    }
                    Wait::Sleep(longest) if self.now + longest < arrival => {
                        self.now += longest + LATE;
                    }
                    Wait::Sleep(_) => {
                        self.now = arrival + LATE;
                        self.idle.woken(self.now);
                    }
                }
            }
            let late = self.now - arrival;
            self.idle.worked(self.now);
            late
        }

        /// Has a frame after each of these pauses; gives how many were seen at once.
        fn frames(&mut self, pauses: impl IntoIterator<Item = Duration>) -> usize {
            let seen_at_once = |pause: &Duration| self.wait_for(self.now + *pause) <= TURN;
            pauses.into_iter().filter(seen_at_once).count()
        }

        /// The part of all time that it looked, in per cent.
        fn looked_percent(&self) -> f64 {
            100.0 * self.looked.as_secs_f64() / self.now.as_secs_f64()
        }
    }

    /// So many pauses from `shortest` on that differ by up to `spread`, the same in each run.
    fn pauses(count: u64, shortest_us: u64, spread_us: u64) -> impl Iterator<Item = Duration> {
        let varied = move |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        (0..count)
            .map(move |number| Duration::from_micros(shortest_us + varied(number) % spread_us))
    }

    #[test]
    fn the_frames_of_a_rhythm_are_awaited_and_most_of_the_time_is_slept() {
        let mut sleeper = Sleeper::new();
        let at_once = sleeper.frames(pauses(1000, 2000, 150));
        assert!(at_once > 900, "{at_once} of 1000");
        assert!(
            (1.0..20.0).contains(&sleeper.looked_percent()),
            "{} %",
            sleeper.looked_percent()
        );
    }

    #[test]
    fn a_worker_that_polls_has_every_frame_at_once() {
        let mut sleeper = Sleeper::with(Policy::Poll);
        assert_eq!(sleeper.frames(pauses(200, 100, 9000)), 200);
        assert!(sleeper.looked_percent() > 99.0);
    }

    #[test]
    fn silence_costs_nothing_whatever_was_before() {
        let mut sleeper = Sleeper::new();
        sleeper.frames(pauses(100, 2000, 100));
        let before = sleeper.looked;
        sleeper.wait_for(sleeper.now + 60 * SECOND);
        let looked = sleeper.looked - before;
        assert!(
            looked < LONGEST_TAIL + Duration::from_millis(1),
            "{looked:?}"
        );
    }

    #[test]
    fn what_has_no_rhythm_or_a_slow_one_is_slept_through() {
        for (shortest_us, spread_us) in [(100, 9000), (15_000, 100), (500_000, 10)] {
            let mut sleeper = Sleeper::new();
            let frames = 200;
            sleeper.frames(pauses(frames, shortest_us, spread_us));
            let most = SPIN * (2 * frames as u32 + 1) + Duration::from_millis(1);
            assert!(sleeper.looked <= most, "{:?}", sleeper.looked);
        }
    }

    #[test]
    fn a_rhythm_that_would_cost_too_much_is_awaited_now_and_then() {
        let mut sleeper = Sleeper::new();
        let frames = 10_000;
        sleeper.frames(pauses(frames, 100, 250));
        let beside = sleeper.looked.saturating_sub(SPIN * frames as u32);
        assert!(beside > SAVINGS / 2, "{beside:?}");
        assert!(beside <= sleeper.now / SHARE + SAVINGS, "{beside:?}");
    }

    #[test]
    fn a_frame_that_is_late_is_seen_at_once_and_so_is_the_next() {
        let mut sleeper = Sleeper::new();
        sleeper.frames(pauses(100, 2000, 150));
        // One of five, by up to 1.5 ms.
        let lateness = |number: u64| number.is_multiple_of(5).then_some(number * 797 % 1500);
        let late = pauses(500, 2000, 150).zip(0..).map(|(pause, number)| {
            pause + Duration::from_micros(lateness(number).unwrap_or_default())
        });
        let at_once = sleeper.frames(late);
        assert!(at_once > 490, "{at_once} of 500");
        assert!(
            sleeper.looked_percent() < 25.0,
            "{} %",
            sleeper.looked_percent()
        );
    }

    #[test]
    fn pauses_of_another_kind_do_not_hide_the_rhythm() {
        let regular = [2000, 2050, 2010, 2090, 2020, 2030].map(Duration::from_micros);
        let expected = Window {
            opens: Duration::from_micros(2000) - LEAD,
            closes: Duration::from_micros(2090) + TAIL,
        };
        for others in [[700_000, 5000], [90, 5000], [90, 100]] {
            let [a, b] = others.map(Duration::from_micros);
            let [c, d, e, f, g, h] = regular;
            let late = [3000, 4000, 6000, 9000].map(Duration::from_micros);
            let [i, j, k, l] = late;
            assert_eq!(window([c, i, a, d, j, e, f, b, k, g, h, l]), Some(expected));
        }
        assert_eq!(window([Duration::MAX; PAUSES]), None);
    }
}
