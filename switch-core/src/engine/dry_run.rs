//! What would become of a frame, asked of a running engine or of rules alone.

use std::{sync::Arc, time::Duration};

use super::{Engine, EngineError};
use crate::{
    config::snapshot::{Link, Ruleset, Snapshot},
    datapath::dry_run::DryRun,
    limits::{CHUNK_SIZE, MAX_PORTS, WorkerIndex},
    table::fdb::Fdb,
};

/// Places for addresses of a switch that has only those which its rules bind to ports.
const OFFLINE_FDB_CAPACITY: usize = 65_536;
/// The longest payload while no device says another one.
const OFFLINE_MTU: u32 = 1500;

impl Engine {
    /// A copy of the switch as it is now, in which nothing happens but what it is asked: no worker
    /// is disturbed, and what frames do to the copy the switch does not see.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn dry_run(&self) -> Result<DryRun, EngineError> {
        let snapshot = Snapshot {
            generation: self.generation,
            policy_generation: self.policy_generation,
            rules: Arc::clone(&self.rules),
            links: self.links.as_slice().into(),
        };
        let first = |owners: &Vec<WorkerIndex>| owners.first().copied();
        let owners = self.owners.iter().map(first);
        let receivers = owners.map(|owner| owner.unwrap_or(WorkerIndex::new(0)));
        let fdb = self.fdb().duplicate();
        copy(&snapshot, fdb, receivers.collect(), self.elapsed())
    }
}

/// A switch that has just begun to follow these rules, with every device there and up.
///
/// # Errors
/// When there is no memory for it.
pub fn dry_run_of(rules: Ruleset) -> Result<DryRun, EngineError> {
    let worker = WorkerIndex::new(0);
    let fdb = Fdb::new(OFFLINE_FDB_CAPACITY, [0x5eed, 0x5eed]);
    fdb.set_ageing(rules.ageing_s);
    for entry in rules.static_entries.iter() {
        // One that finds no room is learnt from its frames, as in a running switch.
        let _ = fdb.add_static(entry.network, entry.mac, entry.port);
    }
    let link = Link {
        up: true,
        mtu: OFFLINE_MTU,
        served_by: [worker].into(),
    };
    let snapshot = Snapshot {
        rules: Arc::new(rules),
        links: vec![link; MAX_PORTS].into(),
        ..Snapshot::default()
    };
    let receivers = vec![worker; MAX_PORTS];
    copy(&snapshot, fdb, receivers.into(), Duration::ZERO)
}

fn copy(
    snapshot: &Snapshot,
    fdb: Fdb,
    receivers: Box<[WorkerIndex]>,
    elapsed: Duration,
) -> Result<DryRun, EngineError> {
    DryRun::new(snapshot, fdb, receivers, elapsed).map_err(|source| EngineError::Region {
        bytes: snapshot.rules.ports.len() * CHUNK_SIZE,
        source,
    })
}
