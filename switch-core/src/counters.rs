//! Why a frame was dropped, and how many frames went where.
//!
//! [`DropReason`] is the one list from which counters, API, trace texts and documentation are made.

pub mod recent;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::limits::{MAX_HITS, MAX_NETWORKS, MAX_PORTS, NetworkIndex, PortIndex};
use recent::RecentDrops;

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a frame was dropped. Every frame that is not transmitted or consumed has one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum DropReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl DropReason {
            /// All reasons, in the order of a frame's way.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The name in counters and JSON, snake_case.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What happened and what to do, for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc,)+).trim_ascii(),)+ }
            }
        }
    };
}

drop_reasons! {
    /// Shorter than an Ethernet header, or ends inside a VLAN tag.
    Truncated = "truncated",
    /// Longer than the engine takes (9216 bytes), or in more segments than the kernel sends.
    TooLong = "too_long",
    /// The source address is a group address or null, which no station has.
    SourceInvalid = "source_invalid",
    /// To a reserved group address (01-80-C2-00-00-0x), which bridges do not relay; see
    /// `forward_reserved`.
    ReservedGroup = "reserved_group",
    /// Tagged on a port that takes untagged frames only (an access port, or `accept = "untagged"`).
    TaggedNotAccepted = "tagged_not_accepted",
    /// Untagged on a port that takes tagged frames only (no `native` network, or
    /// `accept = "tagged"`).
    UntaggedNotAccepted = "untagged_not_accepted",
    /// The outer tag's TPID is not the one that the port uses; see `tpid`.
    TpidMismatch = "tpid_mismatch",
    /// VID 4095, which 802.1Q reserves.
    VidReserved = "vid_reserved",
    /// The VID belongs to no network that this port is a member of (ingress filtering).
    VidNotMember = "vid_not_member",
    /// A further tag would come to light where the frame is or leaves untagged (VLAN hopping).
    HiddenTag = "hidden_tag",
    /// Its ARP, IP or transport header is cut short, lies or deceives, or it hides what it carries
    /// behind a priority tag or in an LLC header, where an access control list or the port's
    /// security has to know.
    Malformed = "malformed",
    /// From, or about, a MAC address that this port does not have; see `allowed_macs`.
    MacNotAllowed = "mac_not_allowed",
    /// From, or about, an IP address that this port does not have; see `allowed_addresses`.
    AddressNotAllowed = "address_not_allowed",
    /// From a DHCP or DHCPv6 server, which this port may not have; see `dhcp_server`.
    DhcpServerGuard = "dhcp_server_guard",
    /// A router advertisement or redirect, which this port may not send; see
    /// `router_advertisements`.
    RouterGuard = "router_guard",
    /// A BPDU, which this port may not send because no bridge is behind it; see `bpdus`.
    BpduGuard = "bpdu_guard",
    /// Denied by an access control list on the way into the switch, from this port; see
    /// `acl_from_port`.
    AclFromPort = "acl_from_port",
    /// Over the rate that `police_from_port` allows the port, or its network.
    PolicedFromPort = "policed_from_port",
    /// The port has as many addresses as its `mac_limit` allows, and this source is a new one.
    MacLimit = "mac_limit",
    /// The source address is a static entry of another port.
    StaticMoved = "static_moved",
    /// The source address has moved between ports too often, and stays at another one for a while;
    /// see `flap_moves`.
    MacFlapping = "mac_flapping",
    /// The destination is behind the port that the frame came from.
    SamePort = "same_port",
    /// Between two isolated ports.
    Isolated = "isolated",
    /// From an uplink to an uplink, which would close a loop.
    UplinkToUplink = "uplink_to_uplink",
    /// To all stations, over the rate that `broadcast_limit` allows the port.
    BroadcastStorm = "broadcast_storm",
    /// To a group of stations, over the rate that `multicast_limit` allows the port.
    MulticastStorm = "multicast_storm",
    /// To an address that is not known, over the rate that `unknown_unicast_limit` allows the port.
    UnknownUnicastStorm = "unknown_unicast_storm",
    /// There is no other port in the network to send it to.
    NoDestination = "no_destination",
    /// Denied by an access control list on the way out of the switch, to this port; see
    /// `acl_to_port`.
    AclToPort = "acl_to_port",
    /// Longer than the MTU of the port that it should leave by.
    MtuExceeded = "mtu_exceeded",
    /// Over the rate that `police_to_port` allows the port that it should leave by, or its network.
    PolicedToPort = "policed_to_port",
    /// The port that it came in by or should leave by is down, missing or being changed.
    PortDown = "port_down",
    /// No free frame for a copy: the region is too small for this flood.
    NoFreeFrame = "no_free_frame",
    /// The ring to the worker that owns the port was full.
    HandoffFull = "handoff_full",
    /// The queue of its class at the port that it should leave by was at its limit.
    QueueFull = "queue_full",
    /// It has waited for too long in a queue with `drop = "codel"`.
    QueueLate = "queue_late",
    /// The TX ring of the port was full: the receiver is slower than its senders.
    TxRingFull = "tx_ring_full",
    /// The kernel refused or dropped the frame at transmission.
    TxError = "tx_error",
}

/// A counter with one writer and any number of readers; wraps at 2^64.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds, by the one thread that owns this counter: a load and a store, no locked operation.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0
            .store(self.0.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// The count so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What one worker did for one port.
#[derive(Debug)]
pub struct PortCounters {
    /// Frames received.
    pub rx_frames: Counter,
    /// Bytes received, without FCS.
    pub rx_bytes: Counter,
    /// Frames put into the port's TX ring.
    pub tx_frames: Counter,
    /// Bytes put into the port's TX ring, without FCS.
    pub tx_bytes: Counter,
    drops: [Counter; DropReason::COUNT],
}

impl Default for PortCounters {
    fn default() -> Self {
        Self {
            rx_frames: Counter::default(),
            rx_bytes: Counter::default(),
            tx_frames: Counter::default(),
            tx_bytes: Counter::default(),
            drops: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl PortCounters {
    /// The counter of frames dropped for this reason: at ingress on the port where the frame came
    /// in, at egress on the port that it should have left by.
    #[must_use]
    #[inline]
    pub fn dropped(&self, reason: DropReason) -> &Counter {
        &self.drops[reason as usize]
    }
}

/// What one worker did because of a rule.
#[derive(Debug, Default)]
pub struct HitCounters {
    /// Frames that met it.
    pub frames: Counter,
    /// Their bytes, without FCS, as they were received.
    pub bytes: Counter,
}

/// What one worker did.
#[derive(Debug)]
pub struct WorkerCounters {
    ports: Box<[PortCounters]>,
    hits: Box<[HitCounters]>,
    flooded: Box<[Counter]>,
    /// The last frames that it dropped, where they are kept.
    pub recent: Option<RecentDrops>,
    /// Frames made by copying one that goes to several ports.
    pub copies: Counter,
    /// Frames that were received.
    pub frames: Counter,
    /// Bursts that they came in.
    pub bursts: Counter,
    /// Frames handed to another worker.
    pub handed_off: Counter,
    /// Nanoseconds in turns that found work.
    pub busy_ns: Counter,
    /// Nanoseconds in turns that found none, and asleep.
    pub idle_ns: Counter,
    /// The generation of the snapshot that the worker reads.
    pub generation: Counter,
}

impl Default for WorkerCounters {
    fn default() -> Self {
        Self {
            recent: Some(RecentDrops::default()),
            ..Self::without_records()
        }
    }
}

impl WorkerCounters {
    /// Counters that keep nothing of what is counted.
    #[must_use]
    pub fn without_records() -> Self {
        let counter = Counter::default;
        Self {
            recent: None,
            ports: (0..MAX_PORTS).map(|_| PortCounters::default()).collect(),
            hits: (0..MAX_HITS).map(|_| HitCounters::default()).collect(),
            flooded: (0..MAX_NETWORKS).map(|_| Counter::default()).collect(),
            copies: counter(),
            frames: counter(),
            bursts: counter(),
            handed_off: counter(),
            busy_ns: counter(),
            idle_ns: counter(),
            generation: counter(),
        }
    }

    /// What the worker did for a port.
    #[must_use]
    #[inline]
    pub fn port(&self, port: PortIndex) -> &PortCounters {
        &self.ports[port.get()]
    }

    /// What the worker did because of the rule with this counter.
    ///
    /// # Panics
    /// When there is no such counter.
    #[must_use]
    #[inline]
    pub fn hit(&self, hit: u32) -> &HitCounters {
        &self.hits[hit as usize]
    }

    /// Adds frames to the counters of rules that they met.
    pub fn count_hits(&self, hits: &[u32], frames: u64, bytes: u64) {
        for hit in hits {
            self.count_hit(*hit, frames, bytes);
        }
    }

    /// The same for one rule.
    #[inline(always)]
    pub fn count_hit(&self, hit: u32, frames: u64, bytes: u64) {
        let counters = self.hit(hit);
        counters.frames.add(frames);
        counters.bytes.add(bytes);
    }

    /// Frames of a network that went to all its ports.
    #[must_use]
    #[inline]
    pub fn flooded(&self, network: NetworkIndex) -> &Counter {
        &self.flooded[network.get()]
    }
}

/// The sum over workers of what met a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HitTotals {
    /// Frames.
    pub frames: u64,
    /// Bytes.
    pub bytes: u64,
}

impl HitTotals {
    /// The sum over these workers of one counter.
    #[must_use]
    pub fn sum<'a>(workers: impl IntoIterator<Item = &'a WorkerCounters>, hit: u32) -> Self {
        let hits = workers.into_iter().map(|worker| worker.hit(hit));
        hits.fold(Self::default(), |sum, hits| Self {
            frames: sum.frames + hits.frames.get(),
            bytes: sum.bytes + hits.bytes.get(),
        })
    }

    /// What was added since `earlier`.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self {
            frames: self.frames - earlier.frames,
            bytes: self.bytes - earlier.bytes,
        }
    }
}

/// The sum over workers of what was done for a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortTotals {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames transmitted.
    pub tx_frames: u64,
    /// Bytes transmitted.
    pub tx_bytes: u64,
    /// Frames dropped, in the order of [`DropReason::ALL`].
    pub drops: [u64; DropReason::COUNT],
}

impl PortTotals {
    /// The sum over these workers.
    #[must_use]
    pub fn sum<'a>(workers: impl IntoIterator<Item = &'a WorkerCounters>, port: PortIndex) -> Self {
        let mut sum = Self::default();
        for counters in workers.into_iter().map(|worker| worker.port(port)) {
            sum.rx_frames += counters.rx_frames.get();
            sum.rx_bytes += counters.rx_bytes.get();
            sum.tx_frames += counters.tx_frames.get();
            sum.tx_bytes += counters.tx_bytes.get();
            for (total, counter) in sum.drops.iter_mut().zip(&counters.drops) {
                *total += counter.get();
            }
        }
        sum
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            rx_frames: self.rx_frames - earlier.rx_frames,
            rx_bytes: self.rx_bytes - earlier.rx_bytes,
            tx_frames: self.tx_frames - earlier.tx_frames,
            tx_bytes: self.tx_bytes - earlier.tx_bytes,
            drops: std::array::from_fn(|index| self.drops[index] - earlier.drops[index]),
        }
    }

    /// Frames dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize]
    }
}

impl Default for PortTotals {
    fn default() -> Self {
        Self {
            rx_frames: 0,
            rx_bytes: 0,
            tx_frames: 0,
            tx_bytes: 0,
            drops: [0; DropReason::COUNT],
        }
    }
}
