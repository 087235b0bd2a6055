//! What policy costs: the bare switch and one with policy, both at work, trial by trial in turns.
//!
//! Both have a bed of their own at the same time, so that a trial of the one is followed by a trial
//! of the other, and what the machine does meanwhile it does to both. The one that gets no frames
//! sleeps.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{
    check,
    load::{Load, shape},
};
use crate::{
    compare::{
        bed::Bed,
        peers::{Peer, Running},
        signals,
    },
    traffic::Shape,
};

/// The loads: bytes of a frame without FCS, 0 for IMIX, and flows between two addresses.
pub const LOADS: [(usize, u64); 3] = [(60, 64), (60, 10_000), (0, 64)];
/// Trials of each in a round, of which the middle one counts.
const TRIALS: usize = 5;
/// Time for the counters of rules: those of shortcuts are added up once a second.
const SETTLING: Duration = Duration::from_millis(1200);

/// One load in one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Bytes without FCS, 0 for IMIX.
    pub size: usize,
    /// Flows.
    pub flows: u64,
    /// Frames a second that the bare switch forwards at full load.
    pub bare_fps: f64,
    /// The same with policy.
    pub policed_fps: f64,
}

/// A switch on its bed.
struct Side {
    bed: Bed,
    peer: Peer,
    running: Running,
    /// Frames that have come through it.
    received: u64,
}

impl Side {
    fn set_up(peer: Peer) -> Result<Self> {
        let bed = Bed::new(peer.plan(2))?;
        let running = peer.set_up(&bed).context("set up")?;
        check::check(&bed, peer.learns()).context("the look at the path")?;
        Ok(Self {
            bed,
            peer,
            running,
            received: 0,
        })
    }

    fn load(&self, shape: &Shape) -> Result<Load> {
        Load::new(&self.bed, self.peer, shape, 0, 1)
    }

    /// Frames a second of one trial at full load.
    fn trial(&mut self, load: &mut Load, length: Duration) -> Result<f64> {
        let trial = load.offer(None, length)?.trial;
        self.received += trial.received;
        Ok(trial.received_fps)
    }

    /// Checks that each frame was asked for by the last of all rules.
    fn check_rules(&self) -> Result<()> {
        let (received, hits) = (self.received, self.running.hits_of_last_rule()?);
        ensure!(
            hits >= received && received > 0,
            "{received} frames came through, and {hits} of them met the rule that lets them"
        );
        Ok(())
    }

    fn tear_down(mut self) -> Result<()> {
        self.running.check().context("it has not lasted")?;
        self.running.tear_down()
    }
}

/// A round on new beds. `number` says who is set up and measured first.
///
/// # Errors
/// When one cannot be set up, when frames do not get through, or the rules were not asked.
pub fn round(number: usize, length: Duration) -> Result<Vec<Cost>> {
    let peers = [Peer::Shunt, Peer::ShuntPolicy];
    let first = number % 2;
    let mut sides = [Side::set_up(peers[first])?, Side::set_up(peers[1 - first])?];
    let mut costs = Vec::new();
    for (size, flows) in LOADS {
        let shape = Shape {
            flows,
            ..shape(size)
        };
        let fps = in_turns(&mut sides, &shape, length)?;
        costs.push(Cost {
            size,
            flows,
            bare_fps: fps[first],
            policed_fps: fps[1 - first],
        });
    }
    signals::sleep(SETTLING)?;
    sides[1 - first].check_rules()?;
    sides.into_iter().try_for_each(Side::tear_down)?;
    Ok(costs)
}

/// The middle one of some trials of each; who was second comes first in the next pair.
fn in_turns(sides: &mut [Side; 2], shape: &Shape, length: Duration) -> Result<[f64; 2]> {
    let mut loads = [sides[0].load(shape)?, sides[1].load(shape)?];
    for (side, load) in sides.iter_mut().zip(&mut loads) {
        // Once for flow tables to fill and for threads to wake up.
        side.trial(load, length / 2)?;
    }
    let mut fps = [Vec::new(), Vec::new()];
    for pair in 0..TRIALS {
        for turn in 0..2 {
            let one = (pair + turn) % 2;
            fps[one].push(sides[one].trial(&mut loads[one], length)?);
        }
    }
    Ok(fps.map(|mut fps| {
        fps.sort_by(f64::total_cmp);
        fps[TRIALS / 2]
    }))
}
