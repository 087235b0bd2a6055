//! What a dry run tells of a frame.

use std::sync::Arc;

use crate::{
    counters::DropReason,
    limits::{NetworkIndex, PortIndex},
    qos::classes::Class,
};

/// Where on its way a frame is, in the order of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Its port takes part.
    Receive,
    /// 1 and 2: the header, and the network that it belongs to.
    Classify,
    /// 3: whether its port may send it.
    Secure,
    /// 4: access control lists on the way in.
    Lists,
    /// 5: policers on the way in.
    Police,
    /// 6: where its source is.
    Learn,
    /// 7: where it goes.
    Destination,
    /// 9 and 10: lists, tag and policers on the way out.
    Leave,
}

impl Stage {
    /// All, in the order of the way.
    pub const ALL: [Self; 8] = [
        Self::Receive,
        Self::Classify,
        Self::Secure,
        Self::Lists,
        Self::Police,
        Self::Learn,
        Self::Destination,
        Self::Leave,
    ];

    /// The word in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Classify => "classify",
            Self::Secure => "secure",
            Self::Lists => "lists",
            Self::Police => "police",
            Self::Learn => "learn",
            Self::Destination => "destination",
            Self::Leave => "leave",
        }
    }

    /// Where a frame ends that is dropped for this reason and counted at the port where it came
    /// in. What cannot be read ends where somebody has to read it: `guarded` tells whether that is
    /// the port's security.
    #[must_use]
    pub const fn of_drop(reason: DropReason, guarded: bool) -> Self {
        use DropReason as R;
        match reason {
            R::PortDown | R::TooLong => Self::Receive,
            R::Truncated
            | R::SourceInvalid
            | R::ReservedGroup
            | R::TaggedNotAccepted
            | R::UntaggedNotAccepted
            | R::TpidMismatch
            | R::VidReserved
            | R::VidNotMember
            | R::HiddenTag => Self::Classify,
            R::Malformed if !guarded => Self::Lists,
            R::Malformed
            | R::MacNotAllowed
            | R::AddressNotAllowed
            | R::DhcpServerGuard
            | R::RouterGuard
            | R::BpduGuard => Self::Secure,
            R::AclFromPort => Self::Lists,
            R::PolicedFromPort => Self::Police,
            R::MacLimit | R::StaticMoved | R::MacFlapping => Self::Learn,
            R::SamePort
            | R::Isolated
            | R::UplinkToUplink
            | R::BroadcastStorm
            | R::MulticastStorm
            | R::UnknownUnicastStorm
            | R::NoDestination => Self::Destination,
            R::AclToPort
            | R::MtuExceeded
            | R::PolicedToPort
            | R::NoFreeFrame
            | R::HandoffFull
            | R::QueueFull
            | R::QueueLate
            | R::TxRingFull
            | R::TxError => Self::Leave,
        }
    }
}

/// A rule that a frame met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleMet {
    /// The position of the list in the configuration.
    pub list: usize,
    /// The rule's position in the list; one past the last rule for the list's default.
    pub rule: usize,
}

/// Whose frames a policer measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policed {
    /// Those of a port.
    Port(PortIndex),
    /// Those of a network, at all its ports.
    Network(NetworkIndex),
    /// Those that meet a rule, wherever its list is attached.
    Rule(RuleMet),
}

/// A policer that measured a frame, or several copies of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicerMet {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// Whose frames it measures.
    pub of: Policed,
    /// How many were green, yellow and red.
    pub frames: [u64; 3],
}

/// What is learnt about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// It was not known.
    New,
    /// It is known at this port.
    Known,
    /// It was known at another port.
    Moved {
        /// That port.
        from: PortIndex,
    },
    /// It is not learnt: the table has no room that this port may have.
    NoRoom,
}

/// What is known of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A group address.
    Group,
    /// A station that nobody has heard of.
    Unknown,
    /// A station behind this port.
    Behind(PortIndex),
}

/// What becomes of a frame at a port that it should leave by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The port.
    pub port: PortIndex,
    /// The rules that it meets there.
    pub rules: Vec<RuleMet>,
    /// The policers of the port, and of its network for all ports together.
    pub policed: Vec<PolicerMet>,
    /// The class that it waits as until it is sent; none where the port has no queues.
    pub class: Option<Class>,
    /// Its bytes as it leaves, or why it does not.
    pub result: Result<Vec<u8>, DropReason>,
}

/// What becomes of a frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The network that it belongs to; none where it ends before that is known.
    pub network: Option<NetworkIndex>,
    /// The rules that it meets on the way in.
    pub rules: Vec<RuleMet>,
    /// The policers that measure it on the way in.
    pub policed: Vec<PolicerMet>,
    /// What is learnt of its source; none where it ends before that.
    pub source: Option<Source>,
    /// What is known of its destination; none where it ends before that.
    pub destination: Option<Destination>,
    /// It goes to all ports of its network that may have it.
    pub flooded: bool,
    /// Where and why it ends, when it goes to no port at all.
    pub dropped: Option<(Stage, DropReason)>,
    /// The ports that it should leave by, in the order of their indices.
    pub ways: Vec<Way>,
}
