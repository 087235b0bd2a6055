//! Stage 6: remember where the source is (802.1Q-2022, 8.7).

use super::{Context, Entry};
use crate::{
    config::snapshot::PortRules,
    counters::DropReason,
    limits::PortIndex,
    table::fdb::{Learned, View},
};

#[inline]
pub(super) fn learn(
    context: &Context<'_>,
    stations: &View<'_>,
    ingress: PortIndex,
    rules: &PortRules,
    entry: &Entry<'_>,
) -> Result<(), DropReason> {
    if stations.is_settled(entry.source, ingress) {
        return Ok(());
    }
    learn_news(context, ingress, rules, entry)
}

/// A station that is new, has moved, or was last seen a second ago.
#[inline(never)]
fn learn_news(
    context: &Context<'_>,
    ingress: PortIndex,
    rules: &PortRules,
    entry: &Entry<'_>,
) -> Result<(), DropReason> {
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
