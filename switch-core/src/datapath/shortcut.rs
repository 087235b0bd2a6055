//! What policy has said about the flows of late, where an ordinary frame finds it by a few loads.
//!
//! **Which frames.** A whole TCP or UDP packet over IPv4 without options or IPv6 without extension
//! headers, in one segment, with no tag or one of its port's protocol. All that the stages from
//! classifying to access control lists may ask of such a frame is in its [`Key`], so that frames
//! with the same key have the same fate up to there. Whether a header lies about a length is asked
//! of each frame. Everything else, such as ARP, neighbour discovery, fragments and what is
//! malformed, has no key and goes through the stages.
//!
//! **What is kept.** The frame's entry as the stages left it; at a way out, whether it may leave. A
//! shortcut counts its frames itself; [`Shortcuts::settle`] adds them to the counters of rules and
//! to the flow table, at least once a second and whenever the worker finds nothing to do.
//!
//! **Bounded and fair.** A shortcut has two sets of four places that it may be in, which keyed
//! hashes choose. A flow takes a free place, in the second set only where the first has none, or
//! that of a flow that was silent for a second; else one of a port that has more places than its
//! own, or now and then one of its own port. A flow gets one with its second frame, so that flows
//! of a single frame take nobody's.
//!
//! **Quick where it is first looked for.** Frames of one kind that go on, and whose flow is in the
//! first of its places, are entered by one loop ([`run`]); all others out of line.

mod key;
mod run;

use arrayvec::ArrayVec;

use super::Entry;
use crate::{
    clock::Tick,
    counters::WorkerCounters,
    limits::{MAX_PORTS, PortIndex, SHORTCUTS_PER_WORKER},
    mem::{Frame, Region, prefetch},
    table::{
        fdb::View,
        flow::{FlowTable, Ticket, Verdict},
    },
};
use key::{Key, Secrets};
pub(super) use key::{Reading, Unknown};
pub(super) use run::Scene;

/// Places that a flow may have in each of two sets.
const WAYS: usize = 4;
const _: () = assert!(WAYS.is_power_of_two() && SHORTCUTS_PER_WORKER.is_multiple_of(WAYS));

/// Behind how many attempts a flow takes the place of another one of its port: flows that share
/// their places would otherwise drive each other out with every frame.
const PATIENCE: u32 = 8;

/// Shortcuts that are settled together, while frames wait: some microseconds.
const SETTLED_TOGETHER: usize = 32;

/// One flow: two cache lines, a pair that is loaded together.
#[derive(Clone, Debug)]
#[repr(C, align(128))]
struct Shortcut {
    key: Key,
    entry: Entry,
    /// Bytes and frames since it was settled.
    bytes: u64,
    /// [`UNTOUCHED`] where it is not among those with something to settle.
    frames: u32,
}

const _: () = assert!(size_of::<Shortcut>() == 128);

/// The number before 0, so that the first frame is found out by counting it.
const UNTOUCHED: u32 = u32::MAX;

impl Shortcut {
    const NOTHING: Self = Self {
        key: Key::NONE,
        entry: Entry::NOTHING,
        bytes: 0,
        frames: UNTOUCHED,
    };

    /// Enters a frame of this flow, and counts it; whether it is the first to settle.
    #[inline(always)]
    fn follow(&mut self, stations: &View<'_>, size: usize, entry: &mut Entry) -> bool {
        *entry = self.entry;
        stations.prefetch_again(self.entry.source);
        stations.prefetch_again(self.entry.destination);
        self.count(size)
    }

    /// Counts a frame; whether it is the first to settle.
    #[inline(always)]
    fn count(&mut self, size: usize) -> bool {
        self.bytes += size as u64;
        self.frames = self.frames.wrapping_add(1);
        self.frames == UNTOUCHED.wrapping_add(1)
    }

    fn is_idle(&self) -> bool {
        [0, UNTOUCHED].contains(&self.frames)
    }
}

/// Frames and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) frames: u64,
    pub(super) bytes: u64,
}

impl Counted {
    #[inline(always)]
    pub(super) fn add(&mut self, frames: usize, bytes: usize) {
        self.frames += frames as u64;
        self.bytes += bytes as u64;
    }
}

/// What is asked of a shortcut only when it is settled or replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner {
    /// Where its frames come from.
    pub(super) port: PortIndex,
    /// Where the flow is in the flow table, and the rules that it met; nothing where no list is.
    pub(super) flow: Option<(Ticket, Verdict)>,
    /// When it was settled last.
    pub(super) seen: Tick,
}

/// Why a flow may have a place, the best reason first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    Free,
    /// Its flow was silent.
    Silent,
    /// It is one of a port that has more.
    FromRicher,
    /// It is one of the same port, and for once it is given away.
    OwnTurn,
}

type Slots = [Shortcut; SHORTCUTS_PER_WORKER];
type Touched = ArrayVec<u16, SHORTCUTS_PER_WORKER>;

/// The shortcuts of one worker.
#[derive(Debug)]
pub struct Shortcuts {
    slots: Box<Slots>,
    secrets: Secrets,
    owners: Box<[Option<Owner>; SHORTCUTS_PER_WORKER]>,
    /// By port, its places.
    owned: Box<[u16; MAX_PORTS]>,
    /// Those with frames to settle.
    touched: Box<Touched>,
    /// Those of them that are being settled.
    unsettled: Box<Touched>,
    /// How often a flow found none of its places free.
    contended: u32,
}

impl Shortcuts {
    /// Shortcuts to the flows of a table, with secrets that follow from its own.
    #[must_use]
    pub fn new(flows: &FlowTable) -> Self {
        // Where there are fewer flows than shortcuts, all share the first places.
        let is_small = flows.capacity() < SHORTCUTS_PER_WORKER;
        let slots = vec![Shortcut::NOTHING; SHORTCUTS_PER_WORKER].into_boxed_slice();
        Self {
            slots: slots.try_into().expect("as many"),
            secrets: match is_small {
                true => Secrets::NONE,
                false => Secrets::new(flows.other_secrets()),
            },
            owners: vec![None; SHORTCUTS_PER_WORKER]
                .into_boxed_slice()
                .try_into()
                .expect("as many"),
            owned: Box::new([0; MAX_PORTS]),
            touched: Box::default(),
            unsettled: Box::default(),
            contended: 0,
        }
    }

    /// Enters a single frame of any kind as others of its flow have left the stages, and counts it;
    /// false, and nothing is done, where its flow is not known.
    #[inline(never)]
    pub(super) fn take_other(
        &mut self,
        scene: Scene<'_>,
        frame: &Frame,
        entry: &mut Entry,
    ) -> bool {
        let Some(index) = self.find_index(scene.reading, (frame, scene.region)) else {
            return false;
        };
        if self.slots[index].follow(scene.stations, frame.size(), entry) {
            touch(&mut self.slots, &mut self.touched, index);
        }
        true
    }

    fn find_index(&self, reading: &Reading, (frame, region): (&Frame, &Region)) -> Option<usize> {
        let key = reading.key(region, frame)?;
        let [first, second] = self.secrets.sets_of(&key);
        let is_there = |index: &usize| self.slots[*index].key.is_of(&key);
        let found = set_of(first).find(is_there);
        match found {
            None if has_spilt(&self.slots, first) => set_of(second).find(is_there),
            found => found,
        }
    }

    /// What is known of the flow of a frame, which is as it came in: whether its frames go on, and
    /// the counters of the rules that they meet.
    pub(super) fn find(&self, reading: &Reading, frame: (&Frame, &Region)) -> Option<Found<'_>> {
        let index = match self.find_at_home(reading, frame) {
            Some(index) => index,
            None => self.find_index(reading, frame)?,
        };
        let (_, verdict) = self.owners[index].as_ref()?.flow.as_ref()?;
        Some(Found { index, verdict })
    }

    /// Counts a frame at a way out, where nothing is entered.
    pub(super) fn count(&mut self, index: usize, size: usize) {
        if self.slots[index].count(size) {
            touch(&mut self.slots, &mut self.touched, index);
        }
    }

    /// Gives the flow of a frame that the stages have found out about a shortcut, if it may have
    /// one; `entry` is what the stages have left.
    #[inline(never)]
    pub(super) fn insert(
        &mut self,
        reading: &Reading,
        (frame, region): (&Frame, &Region),
        entry: &Entry,
        owner: Owner,
        settling: &Settling<'_>,
    ) {
        let Some(key) = reading.key(region, frame) else {
            return;
        };
        let best = self.best_claim(&key, &owner);
        if best.is_none_or(|(claim, _)| claim >= Claim::FromRicher) {
            self.contended = self.contended.wrapping_add(1);
        }
        let Some((_, index)) = best else {
            return;
        };
        self.settle_one(index, settling);
        self.free(index);
        self.owned[owner.port.get()] += 1;
        self.owners[index] = Some(owner);
        let shortcut = &mut self.slots[index];
        shortcut.entry = *entry;
        shortcut.key = match entry.is_undecided() {
            true => key,
            false => key.of_dropped(),
        };
    }

    /// The place that a flow may have for the best reason, the first of several.
    fn best_claim(&self, key: &Key, newcomer: &Owner) -> Option<(Claim, usize)> {
        let mut best: Option<(Claim, usize)> = None;
        for index in places(self.secrets.sets_of(key)) {
            let Some(claim) = self.claim(index, newcomer) else {
                continue;
            };
            if claim == Claim::Free {
                return Some((claim, index));
            }
            if best.is_none_or(|(other, _)| claim < other) {
                best = Some((claim, index));
            }
        }
        best
    }

    /// Why a flow may have this place; none: it may not.
    fn claim(&self, index: usize, newcomer: &Owner) -> Option<Claim> {
        let Some(owner) = self.owners[index] else {
            return Some(Claim::Free);
        };
        let owns = |port: PortIndex| self.owned[port.get()];
        if self.slots[index].is_idle() && newcomer.seen.since(owner.seen) > 1 {
            Some(Claim::Silent)
        } else if owns(owner.port) > owns(newcomer.port) {
            Some(Claim::FromRicher)
        } else if owner.port == newcomer.port && self.contended.is_multiple_of(PATIENCE) {
            Some(Claim::OwnTurn)
        } else {
            None
        }
    }

    fn free(&mut self, index: usize) {
        if let Some(before) = self.owners[index].take() {
            self.owned[before.port.get()] -= 1;
        }
        self.slots[index].key = Key::NONE;
    }

    /// Adds what was counted since the last time to the counters of the rules and to the flows of
    /// the flow table.
    pub(super) fn settle(&mut self, settling: &Settling<'_>) {
        while self.settle_some(settling) {}
        self.begin_settling();
        while self.settle_some(settling) {}
    }

    /// Begins to settle what was counted until now, unless what was before is not settled yet.
    pub(super) fn begin_settling(&mut self) {
        if self.unsettled.is_empty() {
            std::mem::swap(&mut self.touched, &mut self.unsettled);
        }
    }

    /// Settles a few of those that it was begun with, so that frames need not wait for all of them.
    /// False where there are none.
    pub(super) fn settle_some(&mut self, settling: &Settling<'_>) -> bool {
        let start = self.unsettled.len().saturating_sub(SETTLED_TOGETHER);
        let some: ArrayVec<u16, SETTLED_TOGETHER> = self.unsettled.drain(start..).collect();
        // What their counts are added to has not been looked at for a second: the cache misses of
        // all go on together.
        for index in some.iter().copied().map(usize::from) {
            prefetch(&self.slots[index].bytes);
            prefetch(&self.owners[index]);
        }
        for index in some.iter().copied().map(usize::from) {
            if let Some((ticket, _)) = self.owners[index].as_ref().and_then(|owner| owner.flow) {
                settling.flows.prefetch(ticket);
            }
        }
        for index in some.iter().copied().map(usize::from) {
            self.settle_one(index, settling);
            self.slots[index].frames = UNTOUCHED;
        }
        !some.is_empty()
    }

    /// What has nothing to settle is not among those that have, or was settled already.
    fn settle_one(&mut self, index: usize, settling: &Settling<'_>) {
        let shortcut = &mut self.slots[index];
        if shortcut.is_idle() {
            return;
        }
        let (frames, bytes) = (u64::from(shortcut.frames), shortcut.bytes);
        (shortcut.frames, shortcut.bytes) = (0, 0);
        let Some(owner) = &mut self.owners[index] else {
            return;
        };
        owner.seen = settling.now;
        let Some((ticket, verdict)) = owner.flow else {
            return;
        };
        let &Settling {
            counters,
            flows,
            now,
        } = settling;
        counters.count_hits(verdict.hits(), frames, bytes);
        if !flows.credit(ticket, frames, bytes, now) {
            // The flow table has given its place away: the next frame enters it again.
            self.free(index);
        }
    }
}

/// What is known of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<'a> {
    pub(super) index: usize,
    pub(super) verdict: &'a Verdict,
}

/// The places that a flow may have, given the first of each set.
fn places(firsts: [usize; 2]) -> impl Iterator<Item = usize> {
    firsts.into_iter().flat_map(set_of)
}

/// Whether a flow may be in its second set, given the first place in the first one: while the place
/// there that it would take last is taken. When that becomes free, nothing is known of the flow any
/// more, until its next frame takes the place.
#[inline(always)]
fn has_spilt(slots: &Slots, first: usize) -> bool {
    !slots[first ^ (WAYS - 1)].key.is_none()
}

/// The places of a set, given the first of them.
fn set_of(first: usize) -> impl Iterator<Item = usize> {
    (0..WAYS).map(move |way| first ^ way)
}

/// Notes that a shortcut has something to settle, now that its first frame is counted.
#[cold]
#[inline(never)]
fn touch(slots: &mut Slots, touched: &mut Touched, index: usize) {
    slots[index].frames = 1;
    touched.push(index as u16);
}

/// Where what shortcuts have counted belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settling<'a> {
    pub(super) counters: &'a WorkerCounters,
    pub(super) flows: &'a FlowTable,
    pub(super) now: Tick,
}

#[cfg(test)]
mod tests;
