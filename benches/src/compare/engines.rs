//! Engines without I/O: ours beside the peer, in turns, for each number of flows; then ours alone
//! by addresses.

use std::time::Duration;

use anyhow::{Error, Result};

use super::{
    Run,
    measure::engine,
    notebook::measured,
    peers::{
        self,
        ovs_dpdk::{self, OvsDpdk},
    },
    signals,
};
use crate::report::results::{Engine, Missing, Point};

/// What both engines have come to, so far.
#[derive(Default)]
struct Points {
    own: Vec<Point>,
    own_by_macs: Vec<Point>,
    peer: Vec<Point>,
}

/// Frames a second of both engines in each turn, and why the peer has fewer turns than ours.
type Rates = (Vec<f64>, Vec<f64>, Option<Error>);

impl Run<'_> {
    /// All of it.
    ///
    /// # Errors
    /// When a signal asks for the end, and when the peer does not end.
    pub(super) fn engines(&mut self) -> Result<()> {
        let ours = self.takes_part(engine::OURS);
        let mut peer = self.takes_part(ovs_dpdk::NAME);
        if peer && let Some(missing) = peers::missing(ovs_dpdk::NAME, ovs_dpdk::NEEDS) {
            self.leave_out(missing);
            peer = false;
        }
        let mut points = Points::default();
        for &flows in self.pace.engine_flows {
            eprintln!("engines without I/O: {flows} flows");
            let with_peer = peer && flows <= ovs_dpdk::MOST_FLOWS;
            let found = by_flows(flows, ours, with_peer, self.turns, self.pace.engine);
            let (own, theirs, failed) = found?;
            points.own.extend(point(flows, &own));
            points.peer.extend(point(flows, &theirs));
            if let Some(error) = failed {
                // What it cannot do with these it does not do with more.
                peer = false;
                self.note_failure(flows, &error, points.peer.is_empty());
            }
        }
        for &macs in self.pace.engine_macs.iter().filter(|_| ours) {
            let turn = |_| Ok(engine::ours_by_macs(macs, self.pace.engine)?.fps());
            let numbers: Vec<f64> = (0..self.turns).map(turn).collect::<Result<_>>()?;
            points.own_by_macs.extend(point(macs, &numbers));
        }
        self.results.engines.extend(points.engines());
        Ok(())
    }

    /// Somebody without any number was left out; with numbers, something disturbed the run.
    fn note_failure(&mut self, flows: usize, error: &Error, has_nothing: bool) {
        if has_nothing {
            self.leave_out(Missing {
                name: ovs_dpdk::NAME.to_owned(),
                reason: format!("{error:#}"),
                remedy: "see the reason".to_owned(),
            });
        } else {
            self.disturb(failure(flows, error));
        }
    }
}

/// In words, who has failed at what.
fn failure(flows: usize, error: &Error) -> String {
    let name = ovs_dpdk::NAME;
    format!("{name}: without I/O, {flows} flows: {error:#}; not tried with more")
}

fn point(count: usize, turns: &[f64]) -> Option<Point> {
    let count = count as u64;
    measured(turns).map(|fps| Point { count, fps })
}

impl Points {
    /// As results hold them; without those that have no number.
    fn engines(self) -> impl Iterator<Item = Engine> {
        let engine = |name: &str, description: &str, by_flows, by_macs| Engine {
            name: name.to_owned(),
            description: description.to_owned(),
            by_flows,
            by_macs,
        };
        let (own, by_macs) = (self.own, self.own_by_macs);
        let ours = engine(engine::OURS, engine::DESCRIPTION, own, by_macs);
        let theirs = engine(ovs_dpdk::NAME, ovs_dpdk::DESCRIPTION, self.peer, vec![]);
        let all = [ours, theirs].into_iter();
        all.filter(|engine| !engine.by_flows.is_empty())
    }
}

fn by_flows(
    flows: usize,
    with_ours: bool,
    with_peer: bool,
    turns: usize,
    length: Duration,
) -> Result<Rates> {
    let (mut own, mut theirs, mut failed) = (vec![], vec![], None);
    let mut peer = None;
    if with_peer {
        match OvsDpdk::start(flows).and_then(|ovs| ovs.pause().map(|()| ovs)) {
            Ok(ovs) => peer = Some(ovs),
            Err(error) => failed = Some(error),
        }
        signals::check()?;
    }
    for _ in 0..turns {
        if with_ours {
            own.push(engine::ours_by_flows(flows, length)?.fps());
        }
        if let Some(ovs) = &peer {
            match engine::peer(ovs, length) {
                Ok(fps) => theirs.push(fps),
                Err(error) => {
                    signals::check()?;
                    failed = Some(error);
                    peer = None;
                }
            }
        }
    }
    if let Some(ovs) = peer {
        ovs.resume()?;
        ovs.tear_down()?;
    }
    Ok((own, theirs, failed))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn who_has_no_number_is_no_engine_of_the_results() {
        let points = Points {
            own: point(64, &[1e6]).into_iter().collect(),
            peer: point(64, &[]).into_iter().collect(),
            ..Points::default()
        };
        let names: Vec<String> = points.engines().map(|engine| engine.name).collect();
        assert_eq!(names, [engine::OURS]);
    }

    #[test]
    fn a_failure_says_with_how_many_flows() {
        let text = failure(65_536, &anyhow!("not within 30s"));
        assert!(text.starts_with("ovs-dpdk: without I/O, 65536 flows: not within 30s"));
    }
}
