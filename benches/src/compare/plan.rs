//! What a run does: which measurements, how long each, in which order of contenders.

use std::time::Duration;

use super::measure::search::Search;

/// A measurement that can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Subject {
    /// RFC 2544 throughput, and what passes at full load
    Throughput,
    /// Bulk TCP
    Tcp,
    /// UDP request and answer
    RoundTrip,
    /// CPU time when no frame comes
    Idle,
    /// Resident memory
    Memory,
    /// Full load by number of flows
    Flows,
    /// Full load by number of addresses
    Macs,
    /// RFC 2544 frame loss by offered load
    Loss,
    /// Time on the way under the same load for all
    Latency,
    /// CPU time a million frames
    Cpu,
    /// RFC 2889: address caching capacity and learning rate
    Learning,
    /// Full load by number of ports
    Ports,
    /// What policy costs: the bare switch and one with policy, in turns
    Policy,
    /// Switching without I/O
    Engine,
}

impl Subject {
    /// Those of a short run.
    pub const QUICK: [Self; 6] = [
        Self::Throughput,
        Self::Tcp,
        Self::RoundTrip,
        Self::Idle,
        Self::Memory,
        Self::Engine,
    ];
}

/// How long each measurement takes, and on what.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    /// One trial with frames.
    pub trial: Duration,
    /// One trial of which times on the way are kept.
    pub long_trial: Duration,
    /// One trial of processor time, which the kernel tells in steps of 10 ms a core.
    pub cpu: Duration,
    /// One TCP stream, after the first second.
    pub tcp: Duration,
    /// Requests with one pause.
    pub round_trip: Duration,
    /// Doing nothing.
    pub idle: Duration,
    /// One turn of an engine.
    pub engine: Duration,
    /// Rounds of a turn in which policy is compared with the bare switch.
    pub policy_rounds: usize,
    /// Turns, unless told otherwise.
    pub turns: usize,
    /// Frame sizes without FCS, 0 for IMIX.
    pub sizes: &'static [usize],
    /// The size without FCS of frames on devices with an MTU to match, if there are such.
    pub jumbo: Option<usize>,
    /// Flows of an engine.
    pub engine_flows: &'static [usize],
    /// Addresses of an engine.
    pub engine_macs: &'static [usize],
    /// How the rate without loss is searched.
    pub search: Search,
    /// After so long, no further turn is begun.
    pub limit: Duration,
}

/// A rate is lossy when two trials in a row lose frames: one that the machine interrupts is
/// forgiven.
const SEARCH: Search = Search {
    resolution: 0.02,
    tries: 2,
    tolerance: 0.0,
};

/// Bytes before the payload of an untagged frame.
pub const ETHERNET_HEADER: usize = 14;

impl Pace {
    /// As RFC 2544 wants it, with shorter trials.
    pub const FULL: Self = Self {
        trial: Duration::from_millis(300),
        long_trial: Duration::from_secs(1),
        cpu: Duration::from_secs(3),
        tcp: Duration::from_secs(3),
        round_trip: Duration::from_millis(1500),
        idle: Duration::from_secs(5),
        engine: Duration::from_millis(700),
        policy_rounds: 3,
        turns: 3,
        sizes: &[60, 124, 252, 508, 1020, 1276, 1514, 0],
        jumbo: Some(ETHERNET_HEADER + 9000),
        engine_flows: &[1, 64, 4096, 10_000, 65_536, 1_048_576],
        engine_macs: &[64, 4096, 65_536],
        search: SEARCH,
        limit: Duration::from_mins(60),
    };

    /// For a look in between.
    pub const QUICK: Self = Self {
        trial: Duration::from_millis(250),
        long_trial: Duration::from_millis(500),
        cpu: Duration::from_secs(2),
        tcp: Duration::from_secs(1),
        round_trip: Duration::from_millis(500),
        idle: Duration::from_millis(500),
        engine: Duration::from_millis(300),
        sizes: &[60],
        jumbo: None,
        engine_flows: &[64, 10_000],
        engine_macs: &[],
        limit: Duration::from_mins(4),
        ..Self::FULL
    };

    /// For a test of all this: nothing that it finds is worth anything.
    pub const TINY: Self = Self {
        trial: Duration::from_millis(150),
        long_trial: Duration::from_millis(150),
        cpu: Duration::from_millis(150),
        tcp: Duration::from_secs(1),
        round_trip: Duration::from_millis(50),
        idle: Duration::from_millis(100),
        engine: Duration::from_millis(20),
        jumbo: Self::FULL.jumbo,
        policy_rounds: 1,
        turns: 1,
        search: Search {
            resolution: 0.3,
            ..SEARCH
        },
        ..Self::QUICK
    };
}

/// Who is when, in a turn: everybody comes first once, so that being early or late is nobody's.
#[must_use]
pub fn order<T: Copy>(contenders: &[T], turn: usize) -> Vec<T> {
    let mut order = contenders.to_vec();
    if !order.is_empty() {
        let first = turn % order.len();
        order.rotate_left(first);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_each_turn_and_each_place() {
        assert_eq!(order(&[1, 2, 3], 0), [1, 2, 3]);
        assert_eq!(order(&[1, 2, 3], 1), [2, 3, 1]);
        assert_eq!(order(&[1, 2, 3], 5), [3, 1, 2]);
        assert!(order::<u8>(&[], 1).is_empty());
    }
}
