//! The highest rate without loss (RFC 2544, 26.1), by bisection.

use anyhow::{Result, ensure};

/// What became of the frames of one trial.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trial {
    /// Frames a second that were in fact offered.
    pub offered_fps: f64,
    /// Frames that were offered.
    pub sent: u64,
    /// Those of them that arrived.
    pub received: u64,
    /// Frames a second that arrived.
    pub received_fps: f64,
}

impl Trial {
    /// Part of the frames that did not arrive, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        let lost = self.sent.saturating_sub(self.received);
        lost as f64 / (self.sent as f64).max(1.0)
    }
}

/// How to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Search {
    /// Ends when what passes and what does not are no further apart, as a part of the rate.
    pub resolution: f64,
    /// A rate counts as lossy when so many trials in a row have lost frames: with 1 as the RFC has
    /// it. More forgive the machine that it has other things to do now and then.
    pub tries: usize,
    /// The part of the offered load that may be lost. 0 as the RFC has it.
    pub tolerance: f64,
}

impl Search {
    /// Finds the highest offered rate that passes, at most `highest`. `trial` offers a rate in
    /// frames a second and says what became of it.
    ///
    /// # Errors
    /// What a trial says, and when frames arrive that were not sent.
    pub fn run(&self, highest: f64, mut trial: impl FnMut(f64) -> Result<Trial>) -> Result<f64> {
        ensure!(highest > 0.0, "nothing arrives even at full load");
        let (mut passes, mut fails) = (0.0, highest);
        // What was offered in truth, which is never quite what was asked for.
        let mut found = 0.0;
        if let Some(offered) = self.try_rate(highest, &mut trial)? {
            return Ok(offered);
        }
        while fails - passes > self.resolution * fails {
            // Near full load first, where most switches end.
            let rate = if passes == 0.0 && fails == highest {
                fails * 0.8
            } else {
                (passes + fails) / 2.0
            };
            match self.try_rate(rate, &mut trial)? {
                Some(offered) => (passes, found) = (rate, offered),
                None => fails = rate,
            }
            if fails < highest / 1000.0 {
                return Ok(0.0);
            }
        }
        Ok(found)
    }

    /// The rate that was offered, if it passed.
    fn try_rate(
        &self,
        rate: f64,
        trial: &mut impl FnMut(f64) -> Result<Trial>,
    ) -> Result<Option<f64>> {
        for _ in 0..self.tries {
            let trial = trial(rate)?;
            ensure!(
                trial.received <= trial.sent,
                "{} frames arrived of {} sent",
                trial.received,
                trial.sent
            );
            if trial.sent > 0 && trial.loss() <= self.tolerance {
                return Ok(Some(trial.offered_fps));
            }
        }
        Ok(None)
    }
}

/// The largest count that passes, at most `limit`, by bisection to 1/64 of it. Gives whether the
/// search ended at its limit, too.
///
/// # Errors
/// What a trial says.
pub fn largest(limit: u64, mut passes: impl FnMut(u64) -> Result<bool>) -> Result<(u64, bool)> {
    if passes(limit)? {
        return Ok((limit, true));
    }
    let (mut good, mut bad) = (0, limit);
    while bad - good > (limit / 64).max(1) {
        let middle = good + (bad - good) / 2;
        if passes(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok((good, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: Search = Search {
        resolution: 0.01,
        tries: 2,
        tolerance: 0.0,
    };

    /// A device that forwards so many frames a second, and loses one frame in every `hiccup`th
    /// trial whatever the rate; the generator offers 1 % less than it was told.
    fn device(capacity: f64, hiccup: usize) -> impl FnMut(f64) -> Result<Trial> {
        let mut trials = 0;
        move |rate| {
            trials += 1;
            let offered_fps = 0.99 * rate;
            let sent = offered_fps as u64;
            let lost = (offered_fps - capacity).max(0.0) as u64;
            let lost = lost + u64::from(hiccup > 0 && trials % hiccup == 0);
            let received = sent.saturating_sub(lost);
            Ok(Trial {
                offered_fps,
                sent,
                received,
                received_fps: received as f64,
            })
        }
    }

    fn check(capacity: f64, highest: f64, hiccup: usize) {
        let found = SEARCH
            .run(highest, device(capacity, hiccup))
            .expect("a rate");
        let expected = capacity.min(0.99 * highest);
        let error = (expected - found) / expected;
        assert!((-0.001..=0.021).contains(&error), "{capacity}: {found}");
    }

    #[test]
    fn the_rate_of_a_known_device_is_found() {
        for capacity in [700_000.0, 10_000.0, 3_300_000.0, 123_456.0] {
            for over in [1.02, 1.3, 4.0] {
                check(capacity, over * capacity, 0);
                check(capacity, over * capacity, 3);
                check(capacity, over * capacity, 7);
            }
        }
    }

    #[test]
    fn a_generator_that_is_too_slow_is_the_limit() {
        check(5e6, 1e6, 0);
        check(5e6, 1e6, 2);
    }

    #[test]
    fn a_device_that_always_loses_has_no_rate() {
        let found = SEARCH.run(1e6, device(0.0, 1)).expect("an answer");
        assert!(found == 0.0);
    }

    #[test]
    fn frames_from_nowhere_are_an_error() {
        let trial = |rate| {
            Ok(Trial {
                offered_fps: rate,
                sent: 10,
                received: 11,
                received_fps: rate,
            })
        };
        assert!(SEARCH.run(1e6, trial).is_err());
        assert!(SEARCH.run(0.0, trial).is_err());
    }

    #[test]
    fn the_largest_count_is_found() {
        for capacity in [1_u64, 100, 8192, 99_000, 131_072] {
            let (found, at_limit) = largest(131_072, |count| Ok(count <= capacity)).expect("it");
            assert!(found <= capacity && capacity - found <= 131_072 / 64);
            assert_eq!(at_limit, capacity >= 131_072);
        }
    }
}
