//! Stages 9 and 10: carry the verdicts out, one simple loop.

use std::iter;

use arrayvec::ArrayVec;

use super::{
    Context, Decision, Entry, Outbox, Received, acts,
    exit::{Exit, Exits},
    leave, may_pass, qos,
    rewrite::rewrite,
    shortcut::Shortcuts,
};
use crate::{
    config::snapshot::Member,
    counters::DropReason,
    limits::{BURST, PortIndex},
    mem::{Burst, Frame, FrameCache, Region},
};

/// Drops a whole burst for one reason.
pub(super) fn drop_all(
    context: &Context<'_>,
    port: PortIndex,
    reason: DropReason,
    burst: &mut Burst,
    cache: &mut FrameCache,
) {
    context
        .counters
        .port(port)
        .dropped(reason)
        .add(burst.len() as u64);
    for frame in burst.drain(..) {
        keep(context, cache.region(), &frame, (port, port), reason);
        cache.free(frame);
    }
}

/// Keeps what people may ask about a frame that is dropped: why, and what was in it. `places` are
/// where it is counted and where it came in.
#[cold]
#[inline(never)]
fn keep(
    context: &Context<'_>,
    region: &Region,
    frame: &Frame,
    places: (PortIndex, PortIndex),
    reason: DropReason,
) {
    if let Some(recent) = &context.counters.recent {
        let when = (context.now, context.now_ns);
        let places = (places.0, Some(places.1));
        recent.note(places, reason, when, (frame.size(), region.head(frame)));
    }
}

/// Where frames end: in the outbox, or in the cache and a drop counter.
pub(super) struct Egress<'a> {
    pub(super) received: &'a Received<'a>,
    pub(super) marks: &'a qos::Marks,
    pub(super) shortcuts: Option<&'a mut Shortcuts>,
    pub(super) cache: &'a mut FrameCache,
    pub(super) outbox: &'a mut Outbox,
}

impl Egress<'_> {
    /// Carries the verdicts out: one simple loop for each run of frames with the same.
    #[inline(never)]
    pub(super) fn dispatch(mut self, burst: &mut Burst, entries: &[Entry], exits: &Exits) {
        let mut frames = burst.drain(..);
        let mut rest = entries.iter();
        while let Some(first) = rest.as_slice().first() {
            let verdict = first.verdict();
            let position = entries.len() - rest.len();
            // As long as the verdict is the same; what the run has no entry for stays.
            let run = iter::from_fn(|| {
                let [entry, ..] = rest.as_slice() else {
                    return None;
                };
                if entry.verdict() != verdict {
                    return None;
                }
                rest.next();
                Some((entry, frames.next()?))
            });
            match verdict.decision() {
                Decision::Forward(index) if !exits.get(index).has_policy => {
                    self.send_all(run, exits.get(index));
                }
                decision => {
                    // Collected, so that the drain never leaves the registers.
                    let run: ArrayVec<_, BURST> = run.collect();
                    self.carry_out(decision, position, run, exits);
                }
            }
        }
    }

    /// Carries out a decision about frames that go to no port, to several, or to one where policy
    /// has a say. `first` is the position of the first of them in the burst.
    #[inline(never)]
    fn carry_out(
        &mut self,
        decision: Decision,
        first: usize,
        frames: ArrayVec<(&Entry, Frame), BURST>,
        exits: &Exits,
    ) {
        for (position, (entry, frame)) in (first..).zip(frames) {
            match decision {
                Decision::Flood => self.flood(frame, entry, position),
                Decision::Drop(reason) => self.discard(frame, self.received.ingress, reason),
                Decision::Closed(port) => self.discard(frame, port, DropReason::PortDown),
                Decision::Forward(index) => self.send(frame, entry, position, exits.get(index)),
            }
        }
    }

    /// Drops a frame, and counts it at the port where it came in or should have gone out.
    #[cold]
    #[inline(never)]
    fn discard(&mut self, frame: Frame, port: PortIndex, reason: DropReason) {
        self.received
            .context
            .counters
            .port(port)
            .dropped(reason)
            .add(1);
        let region: &Region = self.cache.region();
        keep(
            self.received.context,
            region,
            &frame,
            (port, self.received.ingress),
            reason,
        );
        self.cache.free(frame);
    }

    /// Sends frames by the same way, but for those that cannot go so.
    #[inline]
    fn send_all<'e>(&mut self, frames: impl Iterator<Item = (&'e Entry, Frame)>, exit: Exit) {
        // Those wait, so that nothing but the region is asked of the cache meanwhile.
        let mut refused: ArrayVec<_, BURST> = ArrayVec::new();
        let region: &Region = self.cache.region();
        let sent = frames.filter_map(|(entry, mut frame)| {
            match prepare(&mut frame, region, entry, exit) {
                Ok(()) => Some(frame),
                Err(reason) => {
                    set_aside(&mut refused, frame, reason);
                    None
                }
            }
        });
        self.outbox.extend(exit.port, sent);
        for (frame, reason) in refused.drain(..) {
            self.discard(frame, exit.port, reason);
        }
    }

    fn send(&mut self, frame: Frame, entry: &Entry, position: usize, exit: Exit) {
        if exit.has_policy {
            self.send_if_allowed(frame, entry, position, exit);
        } else {
            self.send_all(iter::once((entry, frame)), exit);
        }
    }

    /// Sends a frame to a port where policy has a say.
    #[inline(never)]
    fn send_if_allowed(&mut self, mut frame: Frame, entry: &Entry, position: usize, exit: Exit) {
        match self.judge(&mut frame, entry, position, exit) {
            Ok(()) => self.outbox.push(exit.port, frame),
            Err(reason) => self.discard(frame, exit.port, reason),
        }
    }

    /// What policy says, and the frame as it leaves. Rules are met by what came in, and measure
    /// what leaves, tag included; what cannot leave uses up no rate.
    fn judge(
        &mut self,
        frame: &mut Frame,
        entry: &Entry,
        position: usize,
        exit: Exit,
    ) -> Result<(), DropReason> {
        let (received, region) = (self.received, self.cache.region());
        let context = received.context;
        let network = entry.network();
        let shortcuts = self.shortcuts.as_deref_mut();
        leave::leave(received, (frame, region), network, exit, shortcuts)?;
        let mut mark = qos::mark_of(self.marks, position, entry);
        let place = leave::way_out(context, exit.port, network);
        let shortcuts = self.shortcuts.as_deref();
        let met = acts::met(received, place, (frame, region), entry, shortcuts);
        prepare(frame, region, entry, exit)?;
        if let Some(met) = met {
            let policed = acts::obey(context, &met, frame.size(), &mut mark);
            policed.map_err(|_| DropReason::PolicedToPort)?;
        }
        qos::leave(context, region, frame, entry, exit, mark)
    }

    /// Sends a frame to every port of its network that may have it. The frame itself goes to the
    /// last, copies to the others: a copy is made before its original is tagged.
    #[inline(never)]
    fn flood(&mut self, frame: Frame, entry: &Entry, position: usize) {
        let snapshot = self.received.context.snapshot;
        if let Some(storm) = snapshot.rules.qos.storm(self.received.ingress)
            && let Err(reason) = qos::admit(self.received.context, storm, entry, frame.size())
        {
            return self.discard(frame, self.received.ingress, reason);
        }
        let network = entry.network();
        let members = snapshot
            .rules
            .network(network)
            .map_or(&[][..], |n| &n.members);
        let (ingress, rules) = (self.received.ingress, self.received.rules);
        let exit = |member: &Member| {
            let eligible =
                member.port != ingress && may_pass(rules, member.uplink, member.isolated).is_ok();
            eligible
                .then(|| Exit::new(snapshot, member.port, member.tag))
                .flatten()
        };
        let mut exits = members.iter().filter_map(exit).peekable();
        if exits.peek().is_none() {
            return self.discard(frame, self.received.ingress, DropReason::NoDestination);
        }
        self.received.context.counters.flooded(network).add(1);
        while let Some(exit) = exits.next() {
            if exits.peek().is_none() {
                return self.send(frame, entry, position, exit);
            }
            self.received.context.counters.copies.add(1);
            match self.cache.copy(&frame) {
                Some(copy) => self.send(copy, entry, position, exit),
                // The copy that could not be made is counted on both sides of the balance.
                None => {
                    let reason = DropReason::NoFreeFrame;
                    let port = self.received.context.counters.port(exit.port);
                    port.dropped(reason).add(1);
                    let region: &Region = self.cache.region();
                    keep(
                        self.received.context,
                        region,
                        &frame,
                        (exit.port, self.received.ingress),
                        reason,
                    );
                }
            }
        }
    }
}

#[cold]
#[inline(never)]
fn set_aside(refused: &mut ArrayVec<(Frame, DropReason), BURST>, frame: Frame, reason: DropReason) {
    refused.push((frame, reason));
}

/// Tags the frame for a way out and sees that it fits.
#[inline(always)]
fn prepare(
    frame: &mut Frame,
    region: &Region,
    entry: &Entry,
    exit: Exit,
) -> Result<(), DropReason> {
    rewrite(frame, region, entry, exit.tag)?;
    if frame.is_longer_than(exit.max_size) {
        return Err(DropReason::MtuExceeded);
    }
    Ok(())
}
