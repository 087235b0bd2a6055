//! Switching without I/O, on one core: our engine beside Open vSwitch on DPDK, in turns.

use std::time::Duration;

use anyhow::{Result, anyhow};
use shunt_tests::sys;

use crate::{
    compare::{bed::SWITCH_CORE, peers::ovs_dpdk::OvsDpdk, signals},
    engine::{Cost, Measurement, Spacing, Workload, measure},
};

/// As results name our engine.
pub const OURS: &str = "shunt";
/// What it is.
pub const DESCRIPTION: &str = "the engine's forward() with learning on one thread on core 1; it \
    copies each frame of 60 bytes from a capture in memory into a chunk, as a driver would write \
    it; each flow has an address pair of its own, all are known";

/// Frames of a capture that lie in buffers of 2 KiB of their own; more lie packed.
const MOST_BUFFERS: usize = 131_072;

/// Our engine on so many flows, on the switch's core.
///
/// # Errors
/// When a signal asks for the end.
pub fn ours_by_flows(flows: usize, length: Duration) -> Result<Measurement> {
    ours(&Workload::of_flows(flows), length)
}

/// Our engine on so many addresses, on the switch's core.
///
/// # Errors
/// When a signal asks for the end.
pub fn ours_by_macs(macs: usize, length: Duration) -> Result<Measurement> {
    ours(&Workload::of_macs(macs), length)
}

fn ours(workload: &Workload, length: Duration) -> Result<Measurement> {
    signals::check()?;
    let running = std::thread::scope(|scope| {
        let thread = scope.spawn(|| -> Result<Measurement> {
            sys::pin_to_core(SWITCH_CORE)?;
            // As far apart as the peer has them, as far as the machine has memory for it.
            let spacing = if workload.flows <= MOST_BUFFERS {
                Spacing::Buffers
            } else {
                Spacing::Packed
            };
            Ok(measure(workload, Cost::WithCopy(spacing), length))
        });
        thread.join()
    });
    running.map_err(|_| anyhow!("the engine has panicked"))?
}

/// One turn of the peer: it goes on, is measured, and stops again.
///
/// # Errors
/// What it says, and when frames were flooded.
pub fn peer(peer: &OvsDpdk, length: Duration) -> Result<f64> {
    peer.resume()?;
    // Its caches were ours for a while.
    signals::sleep(Duration::from_millis(200))?;
    let rate = peer.measure(length)?;
    peer.pause()?;
    Ok(rate.fps)
}
