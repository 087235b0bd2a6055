//! Frames from the first guest to the second: offered, counted, timed.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result, ensure};

use super::{
    super::{
        bed::{Bed, GUEST_CORE, GUEST_DEVICE},
        peers::Peer,
        signals,
    },
    search::Trial,
};
use crate::traffic::{Device, Generator, Histogram, Length, Rate, Shape, Sink, SinkMode, Size};

/// Time in which no frame arrives when none is on its way any more.
const ARRIVAL: Duration = Duration::from_millis(12);
/// Looks in a row that must have seen none.
const QUIET_LOOKS: usize = 2;
/// How often is looked at most.
const MOST_LOOKS: usize = 200;
/// How often a trial is tried in which frames of an earlier one arrive.
const MOST_REPEATS: usize = 4;
/// Frames a second at which a switch is told where addresses are: none loses at that.
const ANNOUNCING_FPS: f64 = 50_000.0;
/// How often that is tried, each time at half of the rate, until every address has arrived.
const ANNOUNCEMENTS: usize = 5;

/// Trials at full load of which the middle one counts: in one of five, a tenth of the frames or
/// more is missing because the machine had other things to do.
const FULL_LOAD_TRIALS: usize = 5;

/// Frames that go through a contender, from one guest to its partner, or in turns from every second
/// guest to the one behind it.
pub struct Load {
    generator: Generator,
    sinks: Vec<Sink>,
}

/// What a trial has shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Frames and rates.
    pub trial: Trial,
    /// Time on the way.
    pub latency: Histogram,
}

/// Frames of one size, 0 for IMIX, in one flow between two addresses.
#[must_use]
pub fn shape(size: usize) -> Shape {
    let mut shape = Shape::new(if size == 0 { 60 } else { size });
    if size == 0 {
        shape.size = Size::Imix;
    }
    shape
}

impl Load {
    /// Between the guests `from` and `to` of a bed. The contender learns where the frames'
    /// addresses are, if it learns at all.
    ///
    /// # Errors
    /// When the kernel refuses a program, or addresses do not get through.
    pub fn new(bed: &Bed, peer: Peer, shape: &Shape, from: usize, to: usize) -> Result<Self> {
        let (near, far) = (device(bed, from)?, device(bed, to)?);
        if peer.learns() {
            announce(&near, &far, shape).context("tell the switch where addresses are")?;
        }
        Ok(Self {
            generator: Generator::new(&near, shape)?,
            sinks: vec![Sink::attach(&far, SinkMode::Native)?],
        })
    }

    /// From every second guest of a bed to the one behind it, a frame each in turns: one load for
    /// all ports together. Each pair has addresses of its own.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn over_pairs(bed: &Bed, peer: Peer, shape: &Shape) -> Result<Self> {
        let (mut near, mut sinks) = (Vec::new(), Vec::new());
        for (pair, from) in (0..bed.guests.len() - 1).step_by(2).enumerate() {
            let (from, to) = (device(bed, from)?, device(bed, from + 1)?);
            let mut of_pair = shape.clone();
            for first in [&mut of_pair.source, &mut of_pair.destination] {
                first[5] += pair as u8;
            }
            if peer.learns() {
                let told = announce(&from, &to, &of_pair);
                told.context("tell the switch where addresses are")?;
            }
            near.push(from);
            sinks.push(Sink::attach(&to, SinkMode::Native)?);
        }
        let shape = Shape {
            source_macs: near.len() as u64,
            destination_macs: near.len() as u64,
            ..shape.clone()
        };
        Ok(Self {
            generator: Generator::in_turns(&near, &shape)?,
            sinks,
        })
    }

    /// Offers frames for so long: at a rate, or as many as there can be.
    ///
    /// # Errors
    /// When the kernel refuses, or the frames of somebody else arrive.
    pub fn offer(&mut self, rate: Option<f64>, length: Duration) -> Result<Seen> {
        for _ in 1..MOST_REPEATS {
            let seen = self.offer_once(rate, length)?;
            // More than were sent: the contender did not get to run for a while, and frames of an
            // earlier trial came out only now.
            if seen.trial.received <= seen.trial.sent {
                return Ok(seen);
            }
            signals::sleep(MOST_REPEATS as u32 * ARRIVAL)?;
        }
        self.offer_once(rate, length)
    }

    /// Offers as many frames as there can be, some times for so long; gives the trial in the middle
    /// by what arrived.
    ///
    /// # Errors
    /// As [`offer`](Self::offer).
    pub fn full(&mut self, length: Duration) -> Result<Trial> {
        let trial = |_| Ok(self.offer(None, length)?.trial);
        let trials: Result<Vec<Trial>> = (0..FULL_LOAD_TRIALS).map(trial).collect();
        Ok(middle(trials?))
    }

    fn offer_once(&mut self, rate: Option<f64>, length: Duration) -> Result<Seen> {
        signals::check()?;
        self.drain()?;
        let rate = rate.map_or(Rate::Full, Rate::PerSecond);
        let length = Length::Time(length);
        let sent = self.generator.run(rate, length, Some(GUEST_CORE))?;
        let (received, latency) = self.drain()?;
        let seconds = sent.took.as_secs_f64();
        Ok(Seen {
            trial: Trial {
                offered_fps: sent.made_per_second(),
                sent: sent.made,
                received,
                received_fps: received as f64 / seconds,
            },
            latency,
        })
    }

    /// Waits until no frame is on its way any more: what is late is of this trial, not of the
    /// next. Gives how many frames have come since the last call, and their times.
    fn drain(&mut self) -> Result<(u64, Histogram)> {
        let (mut frames, mut latency) = (0, Histogram::default());
        let mut quiet = 0;
        for _ in 0..MOST_LOOKS {
            thread::sleep(ARRIVAL);
            let mut new = 0;
            for sink in &mut self.sinks {
                let received = sink.take()?;
                new += received.frames;
                latency.add(&received.latency);
            }
            frames += new;
            quiet = if new == 0 { quiet + 1 } else { 0 };
            if quiet == QUIET_LOOKS {
                return Ok((frames, latency));
            }
        }
        anyhow::bail!("frames arrive long after the last was sent");
    }
}

fn device(bed: &Bed, guest: usize) -> Result<Device> {
    Device::open(Some(bed.guests[guest].namespace.name()), GUEST_DEVICE)
}

/// The trial in the middle by what arrived.
///
/// # Panics
/// When there is none.
fn middle(mut trials: Vec<Trial>) -> Trial {
    trials.sort_by(|a, b| a.received_fps.total_cmp(&b.received_fps));
    trials[trials.len() / 2]
}

/// Lets the far guest send one frame from each address, and checks that all come through.
fn announce(near: &Device, far: &Device, shape: &Shape) -> Result<()> {
    let announcement = shape.announcement();
    let mut heard = 0;
    for attempt in 0..ANNOUNCEMENTS {
        signals::check()?;
        let mut sink = Sink::attach(near, SinkMode::Native)?;
        let mut generator = Generator::new(far, &announcement)?;
        let rate = Rate::PerSecond(ANNOUNCING_FPS / f64::from(1 << attempt));
        let length = Length::Count(announcement.source_macs);
        generator.run(rate, length, Some(GUEST_CORE))?;
        thread::sleep(2 * ARRIVAL);
        heard = sink.take()?.frames;
        if heard >= announcement.source_macs {
            return Ok(());
        }
    }
    ensure!(
        heard >= announcement.source_macs,
        "{heard} of {} announcements arrived",
        announcement.source_macs
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_that_was_disturbed_does_not_count() {
        let trial = |received_fps| Trial {
            offered_fps: 8e6,
            sent: 2_400_000,
            received: 0,
            received_fps,
        };
        let trials = [1.60e6, 0.84e6, 1.61e6, 1.59e6, 1.35e6].map(trial);
        assert_eq!(middle(trials.to_vec()), trial(1.59e6));
    }
}
