//! Stage 5, and what belongs to it at egress: who may use how much, and who goes first.
//!
//! A frame's class and colour go with it from where it comes in to where it leaves, beside the
//! entries: without QoS there are none. From there the class goes on with the frame itself, in its
//! note, to the worker that has the queues of the port.

use arrayvec::ArrayVec;

use super::{
    Context, Entry, Received, acts,
    exit::Exit,
    policy,
    shortcut::{Counted, Shortcuts},
};
use crate::{
    counters::DropReason,
    limits::{BURST, PortIndex},
    mem::{Burst, Frame, Region},
    qos::{
        classes::Class,
        meter::Colour,
        remark::set_dscp,
        storm::{Kind, Storm},
    },
    wire::{
        ethernet::ETHERNET_HEADER_SIZE,
        vlan::{DEI_MASK, PCP_MASK, PCP_POSITION, PCP_SHIFT, TAG_SIZE},
    },
};

/// What is thought of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) class: Class,
    pub(super) colour: Colour,
    /// What a rule wants in its tag.
    pub(super) pcp: Option<u8>,
    /// What a rule wants in its packet.
    pub(super) dscp: Option<u8>,
}

impl Mark {
    /// Of a frame of a port of which nothing is believed: best effort, and what the tag says of its
    /// drop eligibility (802.1Q-2022, 6.9.3).
    fn of(entry: &Entry) -> Self {
        let colour = match entry.tag {
            Some(tag) if tag.tci().dei() => Colour::Yellow,
            _ => Colour::Green,
        };
        Self {
            class: Class::BEST_EFFORT,
            colour,
            pcp: None,
            dscp: None,
        }
    }
}

/// The marks of the frames of a burst, in their order; empty where they have none but what they
/// came with.
pub(super) type Marks = ArrayVec<Mark, BURST>;

/// Polices what came from a port, and says which class it is of. Frames that an earlier stage has
/// dropped use nothing up.
pub(super) fn enter(
    received: &Received<'_>,
    frames: (&Burst, &Region),
    entries: &mut [Entry],
    policed: Counted,
    shortcuts: Option<&Shortcuts>,
    marks: &mut Marks,
) {
    let (context, ingress) = (received.context, received.ingress);
    let qos = &context.snapshot.rules.qos;
    let is_asked = qos.has_acts() || qos.classes(ingress).is_some();
    if !qos.has_ingress() && !is_asked {
        return;
    }
    // What nobody has dropped together conforms, as nearly always: then each frame does.
    if !is_asked
        && let Some(policer) = qos.only_ingress(ingress)
        && policer.police_together(
            context.worker,
            context.now_ns,
            policed.frames,
            policed.bytes,
        )
    {
        return;
    }
    enter_each(received, frames, entries, shortcuts, marks);
}

/// One frame after the other.
#[cold]
#[inline(never)]
fn enter_each(
    received: &Received<'_>,
    (burst, region): (&Burst, &Region),
    entries: &mut [Entry],
    shortcuts: Option<&Shortcuts>,
    marks: &mut Marks,
) {
    let (context, ingress) = (received.context, received.ingress);
    let qos = &context.snapshot.rules.qos;
    let classes = qos.classes(ingress);
    for (frame, entry) in burst.iter().zip(entries) {
        let mut mark = Mark::of(entry);
        if entry.is_undecided() {
            if let Some(classes) = classes {
                let tag = entry.tag.map(|tag| tag.tci());
                let (ethertype, payload) = behind_tag(region.head(frame), tag.is_some());
                mark.class = classes.classify(tag, ethertype, payload);
            }
            let place = policy::way_in(received);
            let met = acts::met(received, place, (frame, region), entry, shortcuts);
            let mut obey = |met: &[u32]| acts::obey(context, met, frame.size(), &mut mark).is_ok();
            let within = met.is_none_or(|met| obey(&met));
            if !within || !police(context, ingress, frame, entry, &mut mark) {
                entry.drop(DropReason::PolicedFromPort);
            }
        }
        marks.push(mark);
    }
}

/// Storm control: whether a frame may go to all ports of its network.
///
/// # Errors
/// When too many such frames have come from its port.
#[cold]
pub(super) fn admit(
    context: &Context<'_>,
    storm: &Storm,
    entry: &Entry,
    size: usize,
) -> Result<(), DropReason> {
    let destination = entry.destination;
    let (kind, reason) = if destination.is_broadcast() {
        (Kind::Broadcast, DropReason::BroadcastStorm)
    } else if destination.is_group() {
        (Kind::Multicast, DropReason::MulticastStorm)
    } else {
        (Kind::UnknownUnicast, DropReason::UnknownUnicastStorm)
    };
    if storm.admits(kind, context.worker, context.now_ns, size) {
        Ok(())
    } else {
        Err(reason)
    }
}

/// Whether a frame conforms to the policers of the port that it came from, and of its network.
fn police(
    context: &Context<'_>,
    ingress: PortIndex,
    frame: &Frame,
    entry: &Entry,
    mark: &mut Mark,
) -> bool {
    let qos = &context.snapshot.rules.qos;
    let mut policers = qos.ingress(ingress, entry.network());
    policers.all(|policer| {
        let police = policer.police(context.worker, context.now_ns, frame.size(), mark.colour);
        mark.colour = police.unwrap_or(mark.colour);
        police.is_ok()
    })
}

/// The mark of the frame at this position when it is about to leave.
pub(super) fn mark_of(marks: &Marks, position: usize, entry: &Entry) -> Mark {
    let given = marks.get(position).copied();
    given.unwrap_or_else(|| Mark::of(entry))
}

/// Polices what is to go to a port, and marks it, with the tag that it leaves with, if any.
///
/// # Errors
/// When it is over the rate.
pub(super) fn leave(
    context: &Context<'_>,
    region: &Region,
    frame: &mut Frame,
    entry: &Entry,
    exit: Exit,
    mut mark: Mark,
) -> Result<(), DropReason> {
    let qos = &context.snapshot.rules.qos;
    for policer in qos.egress(exit.port, entry.network()) {
        mark.colour = policer
            .police(context.worker, context.now_ns, frame.size(), mark.colour)
            .map_err(|_| DropReason::PolicedToPort)?;
    }
    let tagged = exit.tag.is_some();
    if tagged && mark.colour == Colour::Yellow {
        // 802.1Q-2022, 6.9.3: drop eligible.
        let head = region.head_mut(frame);
        *head.get_mut(PCP_POSITION).ok_or(DropReason::Truncated)? |= DEI_MASK;
    }
    let rules = qos.marks(exit.port);
    let pcp = mark.pcp.or_else(|| rules?.pcp(mark.class));
    if let Some(pcp) = pcp.filter(|_| tagged) {
        let head = region.head_mut(frame);
        let byte = head.get_mut(PCP_POSITION).ok_or(DropReason::Truncated)?;
        *byte = *byte & !PCP_MASK | pcp << PCP_SHIFT;
    }
    if let Some(dscp) = mark.dscp.or_else(|| rules?.dscp(mark.class)) {
        let head = region.head_mut(frame);
        let (ethertype, _) = behind_tag(head, tagged);
        let payload = head.get_mut(payload_position(tagged)..);
        set_dscp(ethertype, payload.unwrap_or_default(), dscp);
    }
    if qos.queues(exit.port).is_some() {
        region.set_note(frame, mark.class.get());
    }
    Ok(())
}

/// Where the payload of a frame with or without a tag begins.
fn payload_position(tagged: bool) -> usize {
    ETHERNET_HEADER_SIZE + if tagged { TAG_SIZE } else { 0 }
}

/// The EtherType and the payload of a frame with or without a tag; 0 and nothing of a stump.
fn behind_tag(head: &[u8], tagged: bool) -> (u16, &[u8]) {
    let position = payload_position(tagged);
    match head.get(position - 2..) {
        Some([high, low, payload @ ..]) => (u16::from_be_bytes([*high, *low]), payload),
        _ => (0, &[]),
    }
}
