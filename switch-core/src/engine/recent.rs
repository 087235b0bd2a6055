//! The last frames that were dropped, of all workers.

use std::time::Duration;

use super::{Drive, Engine};
use crate::{counters::recent::RecentDrop, limits::PortIndex};

impl Engine {
    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match &self.drive {
            Drive::Threads(_, clock) => clock.elapsed(),
            Drive::Manual(_, time) => *time,
        }
    }

    /// The last frames that were dropped at a port since the port was added, the last one first.
    /// Not all: so many a second of each worker, and none that the kernel dropped.
    #[must_use]
    pub fn recent_drops(&self, port: PortIndex) -> Vec<RecentDrop> {
        let since = self.added_ns[port.get()];
        let workers = self.counters().iter();
        let records = workers.filter_map(|worker| worker.recent.as_ref());
        let drops = records.flat_map(|records| records.of(port));
        let mut drops: Vec<_> = drops.filter(|drop| drop.at_ns >= since).collect();
        drops.sort_by_key(|drop| std::cmp::Reverse(drop.at_ns));
        drops
    }
}
