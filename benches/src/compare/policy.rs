//! What policy costs on the path, round by round.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{
    Run,
    measure::policy::{Cost, LOADS, round},
    notebook::measured,
    peers::Peer,
    signals,
};
use crate::report::results::PolicyCost;

impl Run<'_> {
    /// Measures the switch with policy beside the bare one, if both take part. What one round says
    /// does not keep the others from being measured.
    ///
    /// # Errors
    /// When a signal asks for the end.
    pub(super) fn policy(&mut self) -> Result<()> {
        let takes_part = |peer| self.contenders.contains(&peer);
        if !takes_part(Peer::Shunt) || !takes_part(Peer::ShuntPolicy) {
            if takes_part(Peer::ShuntPolicy) {
                eprintln!("what policy costs is told beside shunt: left out");
            }
            return Ok(());
        }
        let mut costs: BTreeMap<_, Vec<Cost>> = BTreeMap::new();
        let rounds = self.turns * self.pace.policy_rounds;
        for number in 0..rounds {
            let seconds = self.begin.elapsed().as_secs();
            eprintln!(
                "[{:2}:{:02}] round {} of {rounds}: shunt and shunt-policy",
                seconds / 60,
                seconds % 60,
                number + 1
            );
            match round(number, self.pace.trial) {
                Ok(found) => {
                    for cost in found {
                        costs.entry((cost.size, cost.flows)).or_default().push(cost);
                    }
                }
                Err(error) => {
                    signals::check()?;
                    self.disturb(format!("what policy costs: {error:#}"));
                }
            }
        }
        let found = LOADS.iter().filter_map(|load| cost_of(costs.get(load)?));
        self.results.policy = found.collect();
        Ok(())
    }
}

/// The rounds of one load together.
fn cost_of(rounds: &[Cost]) -> Option<PolicyCost> {
    let of = |number: fn(&Cost) -> f64| {
        let numbers: Vec<f64> = rounds.iter().map(number).collect();
        measured(&numbers)
    };
    let first = rounds.first()?;
    Some(PolicyCost {
        frame_size: first.size,
        flows: first.flows,
        bare_fps: of(|cost| cost.bare_fps)?,
        policed_fps: of(|cost| cost.policed_fps)?,
        ratio: of(|cost| cost.policed_fps / cost.bare_fps)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_one_round() {
        let cost = |bare_fps, policed_fps| Cost {
            size: 60,
            flows: 64,
            bare_fps,
            policed_fps,
        };
        // A machine that slows down between rounds slows both.
        let rounds = [cost(8e5, 8e5), cost(4e5, 4e5), cost(2e5, 1.9e5)];
        let found = cost_of(&rounds).expect("rounds");
        let ratio = found.ratio;
        assert_eq!((ratio.min, ratio.median, ratio.max), (0.95, 1.0, 1.0));
        assert_eq!((found.bare_fps.min, ratio.turns), (2e5, 3));
        assert_eq!(cost_of(&[]), None);
    }
}
