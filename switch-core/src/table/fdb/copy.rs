//! A table of one's own, in which nothing is learnt that others see.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crossbeam::utils::CachePadded;

use super::{EventCounters, Fdb, Slot};
use crate::{limits::MAX_NETWORKS, limits::MAX_PORTS, mem::HugeSlice};

impl Fdb {
    /// A table with the same entries in the same slots, which goes its own way from here on. What
    /// changes meanwhile is as it was before or after. For the control thread: it reads the whole
    /// table, about a millisecond.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let zeros = |count| -> Box<[AtomicU32]> { (0..count).map(|_| AtomicU32::new(0)).collect() };
        let copy = Self {
            slots: HugeSlice::new(self.slots.len(), Slot::new),
            secrets: self.secrets,
            ageing: AtomicU32::new(self.ageing.load(Relaxed)),
            port_counts: zeros(MAX_PORTS),
            network_counts: zeros(MAX_NETWORKS),
            events: CachePadded::new(EventCounters::default()),
            flaps: self.flaps.duplicate(),
        };
        for (slot, original) in copy.slots.iter().zip(self.slots.iter()) {
            let Some((key, word)) = original.entry() else {
                continue;
            };
            slot.adopt(key, word);
            // Counted anew, so that the counts are those of these entries whatever others did.
            copy.network_counts[word.network().get()].fetch_add(1, Relaxed);
            if word.is_dynamic() {
                copy.port_counts[word.port().get()].fetch_add(1, Relaxed);
            }
        }
        copy
    }
}
