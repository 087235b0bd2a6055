//! Why a frame was dropped, and how many frames went where.
//!
//! [`DropReason`] is the one list from which counters, API, trace texts and documentation are made.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
    /// To a reserved group address (01-80-C2-00-00-0x), which bridges do not relay; see `forward_reserved`.
    ReservedGroup = "reserved_group",
    /// Tagged on a port that takes untagged frames only (an access port, or `accept = "untagged"`).
    TaggedNotAccepted = "tagged_not_accepted",
    /// Untagged on a port that takes tagged frames only (no `native` network, or `accept = "tagged"`).
    UntaggedNotAccepted = "untagged_not_accepted",
    /// The outer tag's TPID is not the one that the port uses; see `tpid`.
    TpidMismatch = "tpid_mismatch",
    /// VID 4095, which 802.1Q reserves.
    VidReserved = "vid_reserved",
    /// The VID belongs to no network that this port is a member of (ingress filtering).
    VidNotMember = "vid_not_member",
    /// A further tag would come to light where the frame is or leaves untagged (VLAN hopping).
    HiddenTag = "hidden_tag",
    /// The port has as many addresses as its `mac_limit` allows, and this source is a new one.
    MacLimit = "mac_limit",
    /// The source address is a static entry of another port.
    StaticMoved = "static_moved",
    /// The destination is behind the port that the frame came from.
    SamePort = "same_port",
    /// Between two isolated ports.
    Isolated = "isolated",
    /// From an uplink to an uplink, which would close a loop.
    UplinkToUplink = "uplink_to_uplink",
    /// There is no other port in the network to send it to.
    NoDestination = "no_destination",
    /// Longer than the MTU of the port that it should leave by.
    MtuExceeded = "mtu_exceeded",
    /// The port that it should leave by is down, missing or being changed.
    PortDown = "port_down",
    /// No free frame for a copy: the region is too small for this flood.
    NoFreeFrame = "no_free_frame",
    /// The ring to the worker that owns the port was full.
    HandoffFull = "handoff_full",
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
