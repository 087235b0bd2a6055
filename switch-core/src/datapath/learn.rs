//! Stage 6: remember where the source is (802.1Q-2022, 8.7).

use super::{Entry, Received};
use crate::{
    counters::DropReason,
    table::fdb::{Learned, View},
};

/// Learns the source of a frame, unless there is nothing to learn about it.
///
/// # Errors
/// When the port must not have this source.
pub(super) fn learn(
    received: &Received<'_>,
    stations: &View<'_>,
    entry: &Entry,
) -> Result<(), DropReason> {
    if stations.is_settled(entry.source, received.ingress) {
        return Ok(());
    }
    let &Received {
        context,
        ingress,
        rules,
    } = received;
    let (fdb, now) = (context.fdb, context.now);
    let flaps = context.snapshot.rules.flaps.as_ref();
    if flaps.is_some() && fdb.is_held(entry.source, ingress, now) {
        return Err(DropReason::MacFlapping);
    }
    match fdb.learn_at(entry.source, ingress, now, rules.mac_limit) {
        Learned::Moved { from } => match flaps {
            Some(limits) if !fdb.may_move(entry.source, from, ingress, now, limits) => {
                Err(DropReason::MacFlapping)
            }
            _ => Ok(()),
        },
        Learned::LimitReached => Err(DropReason::MacLimit),
        Learned::StaticElsewhere => Err(DropReason::StaticMoved),
        // A table without room forwards all the same: the answer is flooded.
        _ => Ok(()),
    }
}
