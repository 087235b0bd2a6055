//! Stage 6: remember where the source is (802.1Q-2022, 8.7).

use super::{Context, Entry, Verdict};
use crate::{
    config::snapshot::PortRules, counters::DropReason, limits::PortIndex, table::fdb::Learned,
};

pub(super) fn learn(
    context: &Context<'_>,
    ingress: PortIndex,
    rules: &PortRules,
    entries: &mut [Entry],
) {
    let Context { fdb, now, .. } = *context;
    for entry in entries.iter_mut().filter(|entry| entry.is_undecided()) {
        let source = entry.header.source;
        match fdb.learn(entry.network, source, ingress, now, rules.mac_limit) {
            Learned::LimitReached => entry.verdict = Verdict::Drop(DropReason::MacLimit),
            Learned::StaticElsewhere => entry.verdict = Verdict::Drop(DropReason::StaticMoved),
            // A table without room forwards all the same: the answer is flooded.
            _ => {}
        }
    }
}
