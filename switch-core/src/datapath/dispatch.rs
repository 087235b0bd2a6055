//! Stages 9 and 10: carry the verdicts out, one simple loop.

use super::{Context, Entry, Outbox, Verdict, may_pass, rewrite::rewrite};
use crate::{
    config::snapshot::{EgressTag, Member, PortRules},
    counters::DropReason,
    limits::PortIndex,
    mem::{Burst, Frame, FrameCache},
    wire::{ethernet::ETHERNET_HEADER_SIZE, vlan::TAG_SIZE},
};

pub(super) fn dispatch(
    context: &Context<'_>,
    ingress: PortIndex,
    rules: &PortRules,
    burst: &mut Burst,
    entries: &[Entry],
    cache: &mut FrameCache,
    outbox: &mut Outbox,
) {
    let mut egress = Egress {
        context,
        cache,
        outbox,
    };
    for (frame, entry) in burst.drain(..).zip(entries) {
        match entry.verdict {
            Verdict::Forward(port, tag) => egress.send(frame, entry, port, tag),
            Verdict::Flood => egress.flood(frame, entry, ingress, rules),
            Verdict::Drop(reason) => egress.discard(frame, ingress, reason),
            Verdict::Undecided => unreachable!("stage 7 decides about every frame"),
        }
    }
}

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
        cache.free(frame);
    }
}

/// Where frames end: in the outbox, or in the cache and a drop counter.
struct Egress<'a> {
    context: &'a Context<'a>,
    cache: &'a mut FrameCache,
    outbox: &'a mut Outbox,
}

impl Egress<'_> {
    fn discard(&mut self, frame: Frame, port: PortIndex, reason: DropReason) {
        self.context.counters.port(port).dropped(reason).add(1);
        self.cache.free(frame);
    }

    fn send(&mut self, mut frame: Frame, entry: &Entry, port: PortIndex, tag: EgressTag) {
        match self.prepare(&mut frame, entry, port, tag) {
            Ok(()) => self.outbox.push(port, frame),
            Err(reason) => self.discard(frame, port, reason),
        }
    }

    /// Tags the frame for a port and sees that the port can take it.
    fn prepare(
        &self,
        frame: &mut Frame,
        entry: &Entry,
        port: PortIndex,
        tag: EgressTag,
    ) -> Result<(), DropReason> {
        let snapshot = self.context.snapshot;
        let link = snapshot.link_up(port).ok_or(DropReason::PortDown)?;
        let tpid = snapshot.rules.port(port).ok_or(DropReason::PortDown)?.tpid;
        rewrite(frame, self.cache.region(), &entry.header, tag, tpid)?;
        let tag_size = if tag == EgressTag::Untagged {
            0
        } else {
            TAG_SIZE
        };
        if frame.size() > ETHERNET_HEADER_SIZE + tag_size + link.mtu as usize {
            return Err(DropReason::MtuExceeded);
        }
        Ok(())
    }

    /// Sends a frame to every port of its network that may have it. The frame itself goes to the
    /// last, copies to the others: a copy is made before its original is tagged.
    fn flood(&mut self, frame: Frame, entry: &Entry, ingress: PortIndex, rules: &PortRules) {
        let snapshot = self.context.snapshot;
        let members = snapshot
            .rules
            .network(entry.network)
            .map_or(&[][..], |n| &n.members);
        let eligible = |member: &&Member| {
            member.port != ingress
                && may_pass(rules, member.uplink, member.isolated).is_ok()
                && snapshot.link_up(member.port).is_some()
        };
        let mut members = members.iter().filter(eligible).peekable();
        if members.peek().is_none() {
            return self.discard(frame, ingress, DropReason::NoDestination);
        }
        self.context.counters.flooded(entry.network).add(1);
        while let Some(member) = members.next() {
            if members.peek().is_none() {
                return self.send(frame, entry, member.port, member.tag);
            }
            self.context.counters.copies.add(1);
            match self.cache.copy(&frame) {
                Some(copy) => self.send(copy, entry, member.port, member.tag),
                // The copy that could not be made is counted on both sides of the balance.
                None => {
                    let port = self.context.counters.port(member.port);
                    port.dropped(DropReason::NoFreeFrame).add(1);
                }
            }
        }
    }
}
