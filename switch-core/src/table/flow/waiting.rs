//! Flows that have to wait for a place: those that would take one from another flow of their own
//! port. One of them gets it with its next frame, if that comes before four others of the set had
//! to wait; so a port that sends ever new flows of a single frame keeps those that it has, and
//! nobody chooses places for them.

use super::set::lanes_equal_to;
use crate::{
    clock::Tick,
    sync::{AtomicU64, Ordering::Relaxed},
};

/// What is to be known of a set where flows wait. For the worker alone.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// The fingerprints of the last four, the latest in the lowest lane. None of them is 0.
    flows: AtomicU64,
    /// In the lower half a port that has most places of the set, in the upper half the first tick
    /// at which a place may be idle. Holds until a flow is entered; 0 if it is not known.
    full: AtomicU64,
}

impl Waiting {
    /// Whether a flow is on the list.
    #[inline(always)]
    pub(super) fn has(&self, fingerprint: u16) -> bool {
        lanes_equal_to(self.flows.load(Relaxed), fingerprint) != 0
    }

    /// Takes a flow off the list. False where it is not there.
    #[inline]
    pub(super) fn take(&self, fingerprint: u16) -> bool {
        let flows = self.flows.load(Relaxed);
        let alike = lanes_equal_to(flows, fingerprint);
        if alike == 0 {
            return false;
        }
        // Those before it stay where they are, and those behind it move up.
        let start = alike.trailing_zeros() / 16 * 16;
        let before = flows & ((1 << start) - 1);
        let behind = flows >> 16 >> start << start;
        self.flows.store(before | behind, Relaxed);
        true
    }

    /// Puts a flow on the list, in place of the one that has waited for longest.
    #[inline]
    pub(super) fn put(&self, fingerprint: u16) {
        let others = self.flows.load(Relaxed) << 16;
        self.flows.store(others | u64::from(fingerprint), Relaxed);
    }

    /// Whether the set is known to have neither a free nor an idle place, and this port most of
    /// all.
    #[inline]
    pub(super) fn is_full_for(&self, port: u16, now: Tick) -> bool {
        let full = self.full.load(Relaxed);
        full as u16 == port && u64::from(now.0) < full >> 32
    }

    /// Notes that it is so until a tick.
    pub(super) fn set_full_for(&self, port: u16, until: Tick) {
        let full = u64::from(until.0) << 32 | u64::from(port);
        self.full.store(full, Relaxed);
    }

    /// Notes that the set has changed.
    pub(super) fn forget(&self) {
        self.full.store(0, Relaxed);
    }

    /// Notes that there are free places now, for which nobody waits.
    pub(super) fn clear(&self) {
        self.flows.store(0, Relaxed);
        self.forget();
    }
}
