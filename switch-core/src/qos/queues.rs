//! The queues of one port: how they are configured, and what was counted.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::scheduler::{SchedulerRules, Waiting};
use crate::counters::Counter;

/// What was counted of one queue, by the worker that sends for the port.
#[derive(Debug, Default)]
pub struct QueueCounters {
    /// Frames that were put in.
    pub queued_frames: Counter,
    /// Their bytes, without FCS.
    pub queued_bytes: Counter,
    /// Frames that were taken out to be sent.
    pub sent_frames: Counter,
    /// Their bytes.
    pub sent_bytes: Counter,
    /// Frames that found the queue at its limit.
    pub full_frames: Counter,
    /// Frames that CoDel dropped.
    pub late_frames: Counter,
    waiting_frames: AtomicU64,
    waiting_bytes: AtomicU64,
}

impl QueueCounters {
    /// Says what waits now.
    pub fn set_waiting(&self, waiting: Waiting) {
        self.waiting_frames
            .store(u64::from(waiting.frames), Relaxed);
        self.waiting_bytes.store(waiting.bytes, Relaxed);
    }

    /// Frames and bytes that waited when it was said last.
    #[must_use]
    pub fn waiting(&self) -> (u64, u64) {
        (
            self.waiting_frames.load(Relaxed),
            self.waiting_bytes.load(Relaxed),
        )
    }
}

/// The queues of a port, as the control thread and the worker that sends for it know them.
#[derive(Debug)]
pub struct PortQueues {
    rules: SchedulerRules,
    counters: Box<[QueueCounters]>,
}

impl PortQueues {
    /// Queues that have seen nothing.
    #[must_use]
    pub fn new(rules: SchedulerRules) -> Self {
        let counters = rules.queues.iter().map(|_| QueueCounters::default());
        Self {
            counters: counters.collect(),
            rules,
        }
    }

    /// How they are configured.
    #[must_use]
    pub fn rules(&self) -> &SchedulerRules {
        &self.rules
    }

    /// What was counted, by queue.
    #[must_use]
    pub fn counters(&self) -> &[QueueCounters] {
        &self.counters
    }
}
