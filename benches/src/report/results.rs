//! What one run of `compare` has measured: the only thing between measuring and reporting.
//!
//! A rate is a number a second, a size is bytes of a frame without FCS, a time is nanoseconds,
//! unless a name says otherwise. What was not measured is absent, never 0.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Where, when and how.
    pub setting: Setting,
    /// Those that were measured with I/O, in the order of the report.
    pub contenders: Vec<Contender>,
    /// Those that were left out.
    pub missing: Vec<Missing>,
    /// What policy costs on the path.
    #[serde(default)]
    pub policy: Vec<PolicyCost>,
    /// Switching without I/O.
    pub engines: Vec<Engine>,
    /// Instructions a frame, by bench and case, as `benches/instructions.toml` keeps them. Where
    /// this is empty, the report fills it from there.
    #[serde(default)]
    pub instructions: BTreeMap<String, f64>,
}

impl Results {
    /// The contender, when it has taken part.
    pub fn contender(&self, name: &str) -> Option<&Contender> {
        self.contenders.iter().find(|one| one.name == name)
    }

    /// This project, when it has taken part.
    pub fn ours(&self) -> Option<&Contender> {
        self.contenders.iter().find(|one| one.kind == Kind::Ours)
    }

    /// What the contender is for. One that has taken part without I/O alone is a peer, unless it
    /// is this project.
    pub fn kind(&self, name: &str) -> Kind {
        match self.contender(name) {
            Some(contender) => contender.kind,
            None if name == "shunt" => Kind::Ours,
            None => Kind::Peer,
        }
    }

    /// The engine without I/O, when it was measured.
    pub fn engine(&self, name: &str) -> Option<&Engine> {
        self.engines.iter().find(|one| one.name == name)
    }
}

/// Where, when and how a run was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The day, as 2026-01-31.
    pub date: String,
    /// The commit of this project, and whether the tree had changes.
    pub commit: String,
    /// The whole command.
    pub command: String,
    /// The processor's name.
    pub cpu: String,
    /// Cores that the machine has.
    pub cores: usize,
    /// What each core did: generator, switch.
    pub pinning: String,
    /// Memory of the machine.
    pub memory_mib: u64,
    /// As `uname -r` says.
    pub kernel: String,
    /// Name and version of everything that took part.
    pub versions: Vec<(String, String)>,
    /// What disturbed the run, for the reader to know: load, steal time, frequency.
    pub disturbance: Vec<String>,
}

/// Somebody who was not measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Missing {
    /// The contender.
    pub name: String,
    /// What is not there.
    pub reason: String,
    /// What would install it.
    pub remedy: String,
}

/// One value of several turns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The middle one.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Turns.
    pub turns: usize,
}

impl Measured {
    /// A number that was taken once, so that its spread is not known.
    pub fn once(value: f64) -> Self {
        Self {
            median: value,
            min: value,
            max: value,
            turns: 1,
        }
    }

    /// A number without spread, which every turn would give.
    pub fn exactly(value: f64) -> Self {
        Self {
            turns: usize::MAX,
            ..Self::once(value)
        }
    }
}

/// What a contender is for in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// This project.
    Ours,
    /// This project in another setting: it is shown, and not compared with itself.
    Variant,
    /// A switch that users would take instead.
    Peer,
    /// The least that an AF_XDP forwarder can do.
    Floor,
    /// The most that the kernel path can do.
    Limit,
}

/// Everything about one contender. What it cannot do, or was not asked, is empty.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contender {
    /// A short name: `shunt`, `bridge`, `ovs-afxdp`, `testpmd`, `xsk-rs`, `redirect`.
    pub name: String,
    /// For whom.
    pub kind: Kind,
    /// Software and settings, in a sentence.
    pub description: String,
    /// RFC 2544, 26.1, and what passes at full load.
    pub throughput: Vec<Throughput>,
    /// Frames that it cannot take, which is something else than to have taken none of them.
    #[serde(default)]
    pub impossible: Vec<Impossible>,
    /// RFC 2544, 26.3.
    pub loss: Vec<LossPoint>,
    /// Frames on their way, one direction, under load.
    pub latency: Vec<Latency>,
    /// A request and its answer, one at a time, between two stacks.
    pub round_trip: Vec<RoundTrip>,
    /// RFC 2889, 5.7 and 5.8.
    pub learning: Option<Learning>,
    /// One TCP stream between two stacks, bits a second, with the offloads that the contender can
    /// keep.
    pub tcp_bps: Option<Measured>,
    /// The same without any: every segment crosses by itself.
    #[serde(default)]
    pub tcp_without_offloads_bps: Option<Measured>,
    /// Segments that were sent again in that time.
    pub tcp_retransmissions: Option<Measured>,
    /// Processor time.
    pub cpu: Option<Cpu>,
    /// Resident memory of its processes.
    pub memory_mib: Option<f64>,
    /// By number of flows.
    pub by_flows: Vec<Point>,
    /// By number of addresses, in one flow each.
    #[serde(default)]
    pub by_macs: Vec<Point>,
    /// By number of ports.
    pub by_ports: Vec<Point>,
}

impl Contender {
    /// Whether frames of a size are beyond it.
    pub fn cannot(&self, frame_size: usize) -> bool {
        let mut sizes = self.impossible.iter().map(|one| one.frame_size);
        sizes.any(|size| size == frame_size)
    }
}

/// Frames of a size that a contender cannot take.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Impossible {
    /// Bytes without FCS.
    pub frame_size: usize,
    /// Why.
    pub reason: String,
}

/// Frames that pass, of one size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Throughput {
    /// Bytes without FCS; 0 for IMIX.
    pub frame_size: usize,
    /// The highest offered rate without loss.
    pub zero_loss_fps: Option<Measured>,
    /// What arrives when as much is offered as the generator can.
    pub overload_fps: Option<Measured>,
    /// What the generator offered then.
    pub offered_fps: Option<Measured>,
}

/// Loss at one offered rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossPoint {
    /// Bytes without FCS.
    pub frame_size: usize,
    /// Frames a second that were offered.
    pub offered_fps: f64,
    /// Part of them that did not arrive, 0 to 1.
    pub loss: f64,
}

/// Time on the way under one load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Bytes without FCS.
    pub frame_size: usize,
    /// Frames a second that were offered.
    pub offered_fps: f64,
    /// Half of the frames took no longer.
    pub p50_ns: Measured,
    /// 99 of 100.
    pub p99_ns: Measured,
    /// 999 of 1 000.
    pub p999_ns: Measured,
    /// Upper end of a class in ns, and the frames in it, of all turns together.
    pub histogram: Vec<(f64, u64)>,
}

/// Request and answer.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundTrip {
    /// The pause between two requests.
    pub pause_us: u64,
    /// Half of them took no longer.
    pub p50_ns: Measured,
    /// 99 of 100.
    pub p99_ns: Measured,
    /// 999 of 1 000.
    pub p999_ns: Measured,
}

/// RFC 2889 about addresses.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learning {
    /// Addresses that are known at once (5.7).
    pub capacity: u64,
    /// Whether the search ended at its own limit, so that there may be more.
    pub capacity_is_limit_of_search: bool,
    /// New addresses a second that are all learnt (5.8).
    pub rate_per_s: Option<f64>,
}

/// Processor time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// Milliseconds for a million frames in which cores were not idle, less what the sender alone
    /// takes; under the same offered rate for all.
    pub ms_per_million_frames: Option<Measured>,
    /// Offered frames a second of that.
    pub offered_fps: Option<f64>,
    /// What its threads take when no frame comes, per cent of one core.
    pub idle_percent: Option<Measured>,
}

/// The bare switch and one with policy under one load, trial by trial in turns.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyCost {
    /// Bytes without FCS; 0 for IMIX.
    pub frame_size: usize,
    /// Flows between two addresses.
    pub flows: u64,
    /// What arrives at full load without policy.
    pub bare_fps: Measured,
    /// What arrives at full load with it.
    pub policed_fps: Measured,
    /// The second over the first, in the same round.
    pub ratio: Measured,
}

/// Frames a second, and what they depend on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Flows, addresses or ports.
    pub count: u64,
    /// What arrives at full load.
    pub fps: Measured,
}

/// Switching without I/O, on one core.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    /// `shunt` or `ovs-dpdk`.
    pub name: String,
    /// Software and settings, in a sentence.
    pub description: String,
    /// By number of flows, each an address pair of its own.
    pub by_flows: Vec<Point>,
    /// By number of addresses, in one flow each.
    pub by_macs: Vec<Point>,
}
