//! Stage 7: where the frame goes (802.1Q-2022, 8.6.3 and 8.8).

use super::{
    Entry, Received, Verdict,
    exit::{Exit, Exits},
    may_pass,
};
use crate::{
    config::snapshot::{EgressTag, Role},
    counters::DropReason,
    table::fdb::{Location, View},
};

pub(super) fn find(
    received: &Received<'_>,
    stations: &View<'_>,
    entry: &Entry,
    exits: &mut Exits,
) -> Verdict {
    if entry.destination.is_group() {
        return Verdict::FLOOD;
    }
    let Some(location) = stations.lookup(entry.destination) else {
        return Verdict::FLOOD;
    };
    match exits.known(location) {
        Some(verdict) => verdict,
        None => leave(received, location, exits),
    }
}

/// For the first frame of a burst to a location.
fn leave(received: &Received<'_>, location: Location, exits: &mut Exits) -> Verdict {
    match judge(received, location) {
        Ok(exit) => exits.remember(location, exit),
        Err(verdict) => verdict,
    }
}

/// What holds for all frames of a network whose destination is behind one port: how they leave, or
/// why they do not.
fn judge(received: &Received<'_>, location: Location) -> Result<Exit, Verdict> {
    let snapshot = received.context.snapshot;
    let port = location.port();
    if port == received.ingress {
        return Err(Verdict::drop(DropReason::SamePort));
    }
    // An entry that outlived a change of configuration does not lead a frame out of its network.
    let to = snapshot.rules.port(port).ok_or(Verdict::FLOOD)?;
    let tag = to.egress(location.network());
    if tag == EgressTag::NotMember {
        return Err(Verdict::FLOOD);
    }
    may_pass(received.rules, to.role == Role::Uplink, to.isolated).map_err(Verdict::drop)?;
    Exit::new(snapshot, port, tag).ok_or(Verdict::closed(port))
}
