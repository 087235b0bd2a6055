//! Policers: a meter, what becomes of each colour, and what was counted.
//!
//! A policer belongs to one place, such as what comes from a port, whichever workers its frames
//! pass through: they share its buckets. Each worker has a lane of its own for the rest, so that a
//! frame writes to memory that only this worker writes.

use std::sync::Arc;

use super::meter::{Colour, Credits, Meter, MeterRates};
use crate::{
    counters::Counter,
    limits::{MAX_WORKERS, WorkerIndex},
};

/// What becomes of frames that do not conform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// They are dropped.
    Drop,
    /// They go on, marked yellow: drop eligible.
    Mark,
    /// They go on as they are; they are only counted.
    Pass,
}

impl Action {
    /// The word in configuration and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Mark => "mark",
            Self::Pass => "pass",
        }
    }
}

/// A policer as it is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicerRules {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// What it measures by.
    pub rates: MeterRates,
    /// Whether the colour that a frame comes with counts.
    pub colour_aware: bool,
    /// What becomes of yellow frames.
    pub yellow: Action,
    /// What becomes of red frames.
    pub red: Action,
}

/// One worker's part of a policer: two cache lines that nobody else writes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane {
    credits: Credits,
    /// By colour.
    frames: [Counter; 3],
    bytes: [Counter; 3],
}

const _: () = assert!(size_of::<Lane>() == 128);

/// What a policer has counted of one colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metered {
    /// Frames.
    pub frames: u64,
    /// Bytes, without FCS.
    pub bytes: u64,
}

/// A policer at work in one place.
#[derive(Debug)]
pub struct Policer {
    rules: PolicerRules,
    meter: Meter,
    lanes: Box<[Lane; MAX_WORKERS]>,
}

/// The frame is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

impl Policer {
    /// A policer that has seen nothing.
    #[must_use]
    pub fn new(rules: PolicerRules) -> Self {
        Self {
            meter: Meter::new(&rules.rates, rules.colour_aware),
            rules,
            lanes: Box::new(std::array::from_fn(|_| Lane::default())),
        }
    }

    /// A policer with the same in its buckets, which has counted nothing and goes its own way from
    /// here on.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let lane = |lane: &Lane| Lane {
            credits: lane.credits.duplicate(),
            ..Lane::default()
        };
        Self {
            rules: self.rules.clone(),
            meter: self.meter.duplicate(),
            lanes: Box::new(self.lanes.each_ref().map(lane)),
        }
    }

    /// How it is configured.
    #[must_use]
    pub fn rules(&self) -> &PolicerRules {
        &self.rules
    }

    /// Measures and counts a frame, for the worker that has it; gives the colour that it goes on
    /// with.
    ///
    /// # Errors
    /// When it is to be dropped.
    #[inline]
    pub fn police(
        &self,
        worker: WorkerIndex,
        now_ns: u64,
        bytes: usize,
        came: Colour,
    ) -> Result<Colour, Refused> {
        let lane = &self.lanes[worker.get()];
        let colour = self.meter.measure(&lane.credits, now_ns, bytes, came);
        lane.frames[colour as usize].add(1);
        lane.bytes[colour as usize].add(bytes as u64);
        let action = match colour {
            Colour::Green => return Ok(came),
            Colour::Yellow => self.rules.yellow,
            Colour::Red => self.rules.red,
        };
        match action {
            Action::Drop => Err(Refused),
            Action::Mark => Ok(Colour::Yellow),
            Action::Pass => Ok(came),
        }
    }

    /// Measures and counts frames that came together, if all of them conform: then each goes on as
    /// it came. Otherwise nothing is measured, and nothing counted.
    #[inline]
    #[must_use]
    pub fn police_together(
        &self,
        worker: WorkerIndex,
        now_ns: u64,
        frames: u64,
        bytes: u64,
    ) -> bool {
        let lane = &self.lanes[worker.get()];
        let conform = self
            .meter
            .all_conform(&lane.credits, now_ns, bytes as usize);
        if conform {
            lane.frames[Colour::Green as usize].add(frames);
            lane.bytes[Colour::Green as usize].add(bytes);
        }
        conform
    }

    /// Whether a frame may go on with another colour than it came with.
    #[must_use]
    pub fn recolours(&self) -> bool {
        self.rules.yellow == Action::Mark || self.rules.red == Action::Mark
    }

    /// What was counted of a colour since the policer was made.
    #[must_use]
    pub fn metered(&self, colour: Colour) -> Metered {
        let mut sum = Metered::default();
        for lane in self.lanes.iter() {
            sum.frames += lane.frames[colour as usize].get();
            sum.bytes += lane.bytes[colour as usize].get();
        }
        sum
    }
}
