//! Which frames go through the switch.

use super::topology::{Kind, station};
use switch_core::wire::ethernet::Mac;

/// Most addresses of a workload: as many as always fit into the forwarding database.
const MOST_ADDRESSES: usize = 65_536;
/// Pairs of addresses of a workload with policy.
pub(super) const POLICED_PAIRS: usize = 64;

/// A set of frames, and what the switch knows before the first of them.
///
/// Half of the addresses are sources, the other half destinations; a flow is a pair of them, and no
/// pair comes twice. All are known, but for the destinations of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Address pairs, each with one frame in a round.
    pub flows: usize,
    /// Addresses that the forwarding database knows. With fewer than twice as many flows, some
    /// have several; with more, some addresses are silent.
    pub macs: usize,
    /// What becomes of the tag.
    pub kind: Kind,
    /// Bytes of a frame as it comes in, without FCS: 60 is the shortest on a wire.
    pub frame_size: usize,
    /// What the switch asks of the frames, which carry UDP then.
    pub policy: Policy,
}

/// What is configured besides ports and networks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Nothing: the bare switch.
    #[default]
    None,
    /// A list of so many rules, a guard of addresses and a policer where frames come in.
    Rules(usize),
    /// The same for packets of IPv6.
    Ipv6(usize),
    /// The same, but the list is where frames leave.
    WayOut(usize),
    /// The same, and the rule that lets them pass gives them a class.
    Acts(usize),
}

impl Policy {
    /// Rules of the list.
    #[must_use]
    pub fn rules(self) -> Option<usize> {
        match self {
            Self::None => None,
            Self::Rules(rules) | Self::Ipv6(rules) | Self::WayOut(rules) | Self::Acts(rules) => {
                Some(rules)
            }
        }
    }

    /// Where all stations are that the guest sends to.
    pub(super) fn destination(self) -> &'static str {
        match self {
            Self::Ipv6(_) => "fd00:1::/32",
            _ => "10.1.0.0/16",
        }
    }

    /// The only address of the guest.
    pub(super) fn source(self) -> &'static str {
        match self {
            Self::Ipv6(_) => "fd00::1",
            _ => "10.0.0.1",
        }
    }
}

impl Workload {
    /// So many flows of short untagged frames, each with two addresses of its own as far as the
    /// forwarding database has room for them (32 768 flows), and with every pair once beyond.
    #[must_use]
    pub fn of_flows(flows: usize) -> Self {
        Self {
            flows,
            macs: (2 * flows).min(MOST_ADDRESSES),
            kind: Kind::Untagged,
            frame_size: 60,
            policy: Policy::None,
        }
    }

    /// So many addresses, each in one flow of short untagged frames.
    #[must_use]
    pub fn of_macs(macs: usize) -> Self {
        Self {
            flows: (macs / 2).max(1),
            macs,
            ..Self::of_flows(1)
        }
    }

    /// The same with other tags.
    #[must_use]
    pub fn with_kind(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// So many flows of UDP from a guest to 64 stations, with this policy: those to one station
    /// differ in their ports.
    #[must_use]
    pub fn with_policy(flows: usize, policy: Policy) -> Self {
        Self {
            flows,
            policy,
            // As long as addresses, tag, IPv6 and UDP are together.
            frame_size: if matches!(policy, Policy::Ipv6(_)) {
                66
            } else {
                60
            },
            ..Self::of_flows(POLICED_PAIRS)
        }
    }

    /// Addresses that send.
    #[must_use]
    pub fn sources(&self) -> usize {
        (self.macs / 2).max(1)
    }

    /// Addresses that are sent to.
    #[must_use]
    pub fn destinations(&self) -> usize {
        (self.macs - self.macs / 2).max(1)
    }

    /// Source and destination of a flow.
    ///
    /// The first flows have two addresses of their own each; then every source goes on to its next
    /// destination.
    ///
    /// # Panics
    /// When there are fewer pairs than flows.
    #[must_use]
    pub fn addresses(&self, flow: usize) -> (Mac, Mac) {
        let (sources, destinations) = (self.sources(), self.destinations());
        assert!(flow < self.flows);
        let flow = match self.policy {
            Policy::None => flow,
            _ => flow % POLICED_PAIRS,
        };
        assert!(flow < sources * destinations, "a pair for each flow");
        let (round, source) = (flow / sources, flow % sources);
        let destination = (source + round) % destinations;
        let source = match self.policy {
            Policy::None => source,
            // A guest with one address.
            _ => 0,
        };
        (
            station(self.kind.ingress(), source),
            station(self.kind.egress(), destination),
        )
    }

    /// Headers of IP and UDP, of all that fits into the frame.
    fn udp(&self, flow: usize) -> Vec<u8> {
        let packet = self.frame_size - 12 - self.kind.behind_addresses().len();
        let (station, ports) = ((flow % POLICED_PAIRS) as u8, (flow / POLICED_PAIRS) as u16);
        let (mut bytes, header) = match self.policy {
            Policy::Ipv6(_) => {
                let mut bytes = vec![0x60, 0, 0, 0];
                bytes.extend((packet as u16 - 40).to_be_bytes());
                bytes.extend([17, 64]);
                bytes.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
                bytes.extend([0xfd, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, station]);
                (bytes, 40)
            }
            _ => {
                let mut bytes = vec![0x45, 0];
                bytes.extend((packet as u16).to_be_bytes());
                bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
                bytes.extend([10, 0, 0, 1, 10, 1, 0, station]);
                (bytes, 20)
            }
        };
        bytes.extend((1024 + ports).to_be_bytes());
        bytes.extend(53_u16.to_be_bytes());
        bytes.extend((packet as u16 - header).to_be_bytes());
        bytes.extend([0, 0]);
        bytes
    }

    /// The frame of a flow, as it comes in.
    #[must_use]
    pub fn frame(&self, flow: usize) -> Vec<u8> {
        let (source, destination) = self.addresses(flow);
        let mut frame = [&destination.0[..], &source.0, self.kind.behind_addresses()].concat();
        if self.policy != Policy::None {
            let ethertype = frame.len() - 2;
            if let Policy::Ipv6(_) = self.policy {
                frame[ethertype..].copy_from_slice(&0x86dd_u16.to_be_bytes());
            }
            frame.extend(self.udp(flow));
        }
        assert!(frame.len() <= self.frame_size, "too short for its header");
        frame.resize(self.frame_size, 0);
        frame
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Every flow is another pair, and as many addresses are used as there can be.
    fn check(workload: Workload) {
        let pairs: HashSet<_> = (0..workload.flows)
            .map(|flow| workload.addresses(flow))
            .map(|(source, destination)| (source.0, destination.0))
            .collect();
        assert_eq!(pairs.len(), workload.flows, "{workload:?}");
        let sources: HashSet<_> = pairs.iter().map(|pair| pair.0).collect();
        let destinations: HashSet<_> = pairs.iter().map(|pair| pair.1).collect();
        let used = |addresses: usize| addresses.min(workload.flows);
        assert_eq!(sources.len(), used(workload.sources()), "{workload:?}");
        assert_eq!(
            destinations.len(),
            used(workload.destinations()),
            "{workload:?}"
        );
        assert!(sources.is_disjoint(&destinations));
    }

    #[test]
    fn flows_with_policy_are_different_frames_of_few_addresses() {
        let workload = Workload::with_policy(10_000, Policy::Rules(10));
        let frames: HashSet<_> = (0..10_000).map(|flow| workload.frame(flow)).collect();
        assert_eq!(frames.len(), 10_000);
        assert_eq!((workload.sources(), workload.destinations()), (64, 64));
    }

    #[test]
    fn flows_are_different_pairs_of_all_addresses() {
        for flows in [1, 64, 4096, 10_000, 65_536, 1 << 20] {
            check(Workload::of_flows(flows));
        }
        for macs in [2, 3, 16, 17, 65_536] {
            check(Workload::of_macs(macs));
        }
        for (flows, macs) in [(64, 16), (64, 17), (1, 65_536), (4096, 16_384)] {
            check(Workload {
                flows,
                macs,
                ..Workload::of_flows(1)
            });
        }
    }
}
