//! Stage 7: where the frame goes (802.1Q-2022, 8.6.3 and 8.8).

use super::{
    Context, Entry, Verdict,
    exit::{Exit, Exits},
    may_pass,
};
use crate::{
    config::snapshot::{EgressTag, PortRules, Role, Snapshot},
    counters::DropReason,
    limits::PortIndex,
    table::fdb::{Location, View},
};

#[inline]
pub(super) fn find(
    context: &Context<'_>,
    stations: &View<'_>,
    ingress: PortIndex,
    rules: &PortRules,
    entry: &Entry<'_>,
    exits: &mut Exits,
) -> Verdict {
    if let Some(location) = stations.lookup_at_home(entry.destination)
        && let Some(index) = exits.known(location)
    {
        return Verdict::forward(index);
    }
    find_slowly(context, stations, ingress, rules, entry, exits)
}

/// For a destination that is not where it is looked for first, or the burst's first of its location.
#[inline(never)]
fn find_slowly(
    context: &Context<'_>,
    stations: &View<'_>,
    ingress: PortIndex,
    rules: &PortRules,
    entry: &Entry<'_>,
    exits: &mut Exits,
) -> Verdict {
    if entry.destination.is_group() {
        return Verdict::FLOOD;
    }
    let Some(location) = stations.lookup(entry.destination) else {
        return Verdict::FLOOD;
    };
    if let Some(index) = exits.known(location) {
        return Verdict::forward(index);
    }
    match judge(context.snapshot, ingress, rules, location) {
        Ok(exit) => Verdict::forward(exits.remember(location, exit)),
        Err(verdict) => verdict,
    }
}

/// What holds for all frames of a network whose destination is behind one port: how they leave, or
/// why they do not.
fn judge(
    snapshot: &Snapshot,
    ingress: PortIndex,
    rules: &PortRules,
    location: Location,
) -> Result<Exit, Verdict> {
    let port = location.port();
    if port == ingress {
        return Err(Verdict::drop(DropReason::SamePort));
    }
    // An entry that outlived a change of configuration does not lead a frame out of its network.
    let to = snapshot.rules.port(port).ok_or(Verdict::FLOOD)?;
    let tag = to.egress(location.network());
    if tag == EgressTag::NotMember {
        return Err(Verdict::FLOOD);
    }
    may_pass(rules, to.role == Role::Uplink, to.isolated).map_err(Verdict::drop)?;
    Exit::new(snapshot, port, tag).ok_or(Verdict::closed(port))
}
