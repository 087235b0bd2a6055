//! What is known of a frame on its way through the stages, and what they decide about it.

use super::{
    exit::ExitIndex,
    shortcut::{Settling, Shortcuts},
};
use crate::{
    clock::Tick,
    counters::{DropReason, WorkerCounters},
    limits::{BURST, NetworkIndex, PortIndex},
    table::{fdb::Place, flow::FlowTable},
    wire::parse::Tag,
};

/// What is to be done with one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// To one port, by a way out that the burst knows.
    Forward(ExitIndex),
    /// To one port, which is down.
    Closed(PortIndex),
    /// To every port of its network that may have it.
    Flood,
    /// To nobody.
    Drop(DropReason),
}

/// A [`Decision`], or none yet, in one word: to compare those of neighbours is one instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict(u32);

impl Verdict {
    /// No stage has decided yet.
    pub(super) const UNDECIDED: Self = Self(0);
    pub(super) const FLOOD: Self = Self(1 << 16);
    const FORWARD: u32 = 2 << 16;
    const CLOSED: u32 = 3 << 16;
    const DROP: u32 = 4 << 16;

    #[inline]
    pub(super) fn forward(index: ExitIndex) -> Self {
        Self(Self::FORWARD | u32::from(index.get()))
    }

    pub(super) fn closed(port: PortIndex) -> Self {
        Self(Self::CLOSED | port.get() as u32)
    }

    #[inline]
    pub(super) fn drop(reason: DropReason) -> Self {
        Self(Self::DROP | reason as u32)
    }

    /// The decision.
    ///
    /// # Panics
    /// When there is none.
    pub(super) fn decision(self) -> Decision {
        let operand = self.0 & 0xffff;
        match self.0 - operand {
            Self::FORWARD => Decision::Forward(ExitIndex::new(operand as u16)),
            Self::CLOSED => Decision::Closed(PortIndex::new(operand as usize)),
            Self::DROP => Decision::Drop(DropReason::ALL[operand as usize]),
            _ if self == Self::FLOOD => Decision::Flood,
            _ => unreachable!("stage 7 decides about every frame"),
        }
    }
}

/// One frame's place in the burst's table: what is known of it so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Where the forwarding database has the source, hashed once and asked for early.
    pub(super) source: Place,
    /// Where it has the destination.
    pub(super) destination: Place,
    /// The outer tag, where the frame has one.
    pub(super) tag: Option<Tag>,
    verdict: Verdict,
}

impl Entry {
    /// What is known of no frame.
    pub(super) const NOTHING: Self = Self {
        source: Place::NOWHERE,
        destination: Place::NOWHERE,
        tag: None,
        verdict: Verdict::UNDECIDED,
    };

    /// What is known of a frame that no stage has decided about.
    #[inline]
    pub(super) fn new(source: Place, destination: Place, tag: Option<Tag>) -> Self {
        Self {
            source,
            destination,
            tag,
            verdict: Verdict::UNDECIDED,
        }
    }

    /// The network of the frame.
    #[inline]
    pub(super) fn network(&self) -> NetworkIndex {
        self.destination.network()
    }

    /// Drops the frame: nothing is known of it any more but why, so that no later stage takes it
    /// for one to forward.
    pub(super) fn drop(&mut self, reason: DropReason) {
        *self = Self::NOTHING;
        self.verdict = Verdict::drop(reason);
    }

    /// Notes what stage 7 found out.
    #[inline]
    pub(super) fn decide(&mut self, verdict: Verdict) {
        self.verdict = verdict;
    }

    #[inline]
    pub(super) fn verdict(&self) -> Verdict {
        self.verdict
    }

    #[inline]
    pub(super) fn is_undecided(&self) -> bool {
        self.verdict == Verdict::UNDECIDED
    }
}

/// Room for what is known of the frames of one burst. A worker keeps it, so that no burst begins by
/// clearing it: what an earlier burst left in an entry is overwritten before it is read.
#[derive(Debug)]
pub struct Entries {
    room: Box<[Entry; BURST]>,
    shortcuts: Option<Shortcuts>,
}

impl Default for Entries {
    fn default() -> Self {
        Self {
            room: Box::new([Entry::NOTHING; BURST]),
            shortcuts: None,
        }
    }
}

impl Entries {
    /// Makes shortcuts to the flows of a table, if there are none yet: it allocates.
    pub fn make_shortcuts(&mut self, flows: &FlowTable) {
        self.shortcuts.get_or_insert_with(|| Shortcuts::new(flows));
    }

    /// Brings the counters of rules and flows up to date.
    pub fn settle(&mut self, counters: &WorkerCounters, flows: &FlowTable, now: Tick) {
        if let Some(shortcuts) = &mut self.shortcuts {
            shortcuts.settle(&Settling {
                counters,
                flows,
                now,
            });
        }
    }

    /// The same bit by bit, with a little of it in each turn; begins anew where `begins`.
    pub fn settle_some(
        &mut self,
        counters: &WorkerCounters,
        flows: &FlowTable,
        now: Tick,
        begins: bool,
    ) {
        let Some(shortcuts) = &mut self.shortcuts else {
            return;
        };
        if begins {
            shortcuts.begin_settling();
        }
        shortcuts.settle_some(&Settling {
            counters,
            flows,
            now,
        });
    }

    /// The room for a burst of so many frames, and the shortcuts.
    pub(super) fn of_burst(&mut self, count: usize) -> (&mut [Entry], Option<&mut Shortcuts>) {
        (&mut self.room[..count], self.shortcuts.as_mut())
    }
}
