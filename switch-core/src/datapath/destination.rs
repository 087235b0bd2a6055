//! Stage 7: where the frame goes (802.1Q-2022, 8.6.3 and 8.8).

use super::{Context, Entry, Verdict, may_pass};
use crate::{
    config::snapshot::{EgressTag, PortRules, Role},
    counters::DropReason,
    limits::PortIndex,
};

#[inline]
pub(super) fn find(
    context: &Context<'_>,
    ingress: PortIndex,
    rules: &PortRules,
    entry: &Entry,
) -> Verdict {
    if entry.header.destination.is_group() {
        return Verdict::Flood;
    }
    let Some(port) = context.fdb.lookup_at(entry.destination, context.now) else {
        return Verdict::Flood;
    };
    if port == ingress {
        return Verdict::Drop(DropReason::SamePort);
    }
    // An entry that outlived a change of configuration does not lead a frame out of its network.
    let member = context
        .snapshot
        .rules
        .port(port)
        .map(|to| (to, to.egress(entry.network)));
    let Some((to, tag)) = member.filter(|(_, tag)| *tag != EgressTag::NotMember) else {
        return Verdict::Flood;
    };
    match may_pass(rules, to.role == Role::Uplink, to.isolated) {
        Ok(()) => Verdict::Forward(port, tag),
        Err(reason) => Verdict::Drop(reason),
    }
}
