//! Quality of service: who may use how much.

use super::{Config, Name};
use crate::{
    limits::chunks_for_queues,
    qos::{
        bucket::{Burst, Rate},
        meter::MeterRates,
        policer::Action,
        scheduler::QueueRules,
    },
};

/// `[[policer]]`: what may pass, wherever a port or network names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policer {
    /// The name, unique among policers.
    pub name: Name,
    /// What it measures by.
    pub rates: MeterRates,
    /// Whether the colour that a frame comes with counts.
    pub colour_aware: bool,
    /// What becomes of yellow frames; a plain policer has none.
    pub yellow: Action,
    /// What becomes of red frames.
    pub red: Action,
}

/// The policers of a port or a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policed {
    /// Of frames that the switch receives from the port, or from the network's ports together.
    pub from_port: Option<Name>,
    /// Of frames that the switch sends to the port, or to the network's ports together.
    pub to_port: Option<Name>,
}

/// `[[scheduler]]`: how frames wait for a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheduler {
    /// The name, unique among schedulers.
    pub name: Name,
    /// What the port sends at most, and at once; none: what the device takes.
    pub shaper: Option<(Rate, Burst)>,
    /// The queues, at least one, in the order of the file. Each class is in one of them.
    pub queues: Vec<QueueRules>,
}

impl Config {
    /// The fewest chunks of the region with which every queue has room for the longest frame.
    #[must_use]
    pub fn chunks_for_queues(&self) -> usize {
        let named = self.ports.iter().filter_map(|port| port.scheduler.as_ref());
        let queues = |name: &Name| {
            let mut schedulers = self.schedulers.iter();
            let scheduler = schedulers.find(|scheduler| scheduler.name == *name);
            scheduler.map_or(0, |scheduler| scheduler.queues.len())
        };
        let most = named.clone().map(queues).max();
        chunks_for_queues(named.count(), most.unwrap_or(0))
    }
}
