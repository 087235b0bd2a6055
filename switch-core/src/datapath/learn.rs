//! Stage 6: remember where the source is (802.1Q-2022, 8.7).

use super::{Entry, Received};
use crate::{
    counters::DropReason,
    table::fdb::{Learned, View},
};

#[inline]
pub(super) fn learn(
    received: &Received<'_>,
    stations: &View<'_>,
    entry: &Entry<'_>,
) -> Result<(), DropReason> {
    if stations.is_settled(entry.source, received.ingress) {
        return Ok(());
    }
    learn_news(received, entry)
}

/// A station that is new, has moved, or was last seen a second ago.
#[inline(never)]
fn learn_news(received: &Received<'_>, entry: &Entry<'_>) -> Result<(), DropReason> {
    let &Received {
        context,
        ingress,
        rules,
    } = received;
    match context
        .fdb
        .learn_at(entry.source, ingress, context.now, rules.mac_limit)
    {
        Learned::LimitReached => Err(DropReason::MacLimit),
        Learned::StaticElsewhere => Err(DropReason::StaticMoved),
        // A table without room forwards all the same: the answer is flooded.
        _ => Ok(()),
    }
}
