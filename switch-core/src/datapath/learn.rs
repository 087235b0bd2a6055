//! Stage 6: remember where the source is (802.1Q-2022, 8.7).

use super::{Context, Entry};
use crate::{
    config::snapshot::PortRules, counters::DropReason, limits::PortIndex, table::fdb::Learned,
};

#[inline]
pub(super) fn learn(
    context: &Context<'_>,
    ingress: PortIndex,
    rules: &PortRules,
    entry: &Entry,
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
