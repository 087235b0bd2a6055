//! What the datapath reads: the configuration compiled to tables that are indexed, never searched.
//!
//! A [`Ruleset`] is immutable. The control thread builds the next one and publishes it; a worker
//! sees the old one or the new one, at a burst's boundary, never a mixture.

pub mod qos;

use std::{fmt, sync::Arc};

use super::policy::Policy;
use crate::{
    limits::{MAX_NETWORKS, NetworkIndex, PortIndex, WorkerIndex},
    table::fdb::FlapLimits,
    wire::{
        ethernet::Mac,
        vlan::{Tpid, Vid},
    },
};

/// What a port is to the switch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// A VM's or container's interface.
    #[default]
    Guest,
    /// A NIC to the physical network. Frames never go from one uplink to another.
    Uplink,
    /// The host's own IP stack on a network.
    Host,
}

impl Role {
    /// The word in configuration and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guest => "guest",
            Self::Uplink => "uplink",
            Self::Host => "host",
        }
    }
}

/// How frames of a network leave by a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EgressTag {
    /// They do not: the port is not in the network's member set.
    NotMember,
    /// Without a tag: the port is in the network's untagged set.
    Untagged,
    /// With a tag of the port's TPID and this VID.
    Tagged(Vid),
}

/// Which network a tagged frame belongs to, by VID: one load, no search.
#[derive(Clone)]
pub struct VidMap(Box<[u16; 4096]>);

impl VidMap {
    const NONE: u16 = u16::MAX;

    /// A map in which no VID belongs to a network.
    #[must_use]
    pub fn new() -> Self {
        Self(Box::new([Self::NONE; 4096]))
    }

    /// Lets a VID mean a network.
    pub fn set(&mut self, vid: Vid, network: NetworkIndex) {
        self.0[usize::from(vid.get())] = network.get() as u16;
    }

    /// The network of the twelve VID bits of a tag.
    #[must_use]
    pub fn get(&self, vid_bits: u16) -> Option<NetworkIndex> {
        Vids(&self.0).get(vid_bits)
    }
}

/// A [`VidMap`], or one without networks: a reference, by which a burst looks its VIDs up.
#[derive(Clone, Copy)]
pub struct Vids<'a>(&'a [u16; 4096]);

impl Vids<'_> {
    /// The network of the twelve VID bits of a tag.
    #[must_use]
    #[inline]
    pub fn get(self, vid_bits: u16) -> Option<NetworkIndex> {
        let number = usize::from(self.0[usize::from(vid_bits & 0x0fff)]);
        (number < MAX_NETWORKS).then(|| NetworkIndex::new(number))
    }
}

impl Default for VidMap {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for VidMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vids = (0..4096).filter_map(|vid| Some((vid, self.get(vid)?)));
        f.debug_map().entries(vids).finish()
    }
}

/// A port as the datapath sees it.
#[derive(Clone, Debug)]
pub struct PortRules {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// What it is to the switch.
    pub role: Role,
    /// Frames never go between two isolated ports.
    pub isolated: bool,
    /// The tag protocol that the port speaks, both ways.
    pub tpid: Tpid,
    /// Most addresses that may be learnt behind it.
    pub mac_limit: Option<u32>,
    /// The network of untagged and priority-tagged frames (PVID); `None` where they are dropped.
    pub untagged: Option<NetworkIndex>,
    /// The networks of tagged frames; `None` where no tagged frame is accepted.
    pub tagged: Option<VidMap>,
    /// How each network's frames leave, by network; a network past the end is `NotMember`.
    pub egress: Box<[EgressTag]>,
}

impl PortRules {
    /// The networks of tagged frames: of none, where no tagged frame is accepted.
    #[must_use]
    pub fn vids(&self) -> Vids<'_> {
        static NONE: [u16; 4096] = [VidMap::NONE; 4096];
        Vids(self.tagged.as_ref().map_or(&NONE, |map| &map.0))
    }

    /// How frames of `network` leave by this port.
    #[must_use]
    #[inline]
    pub fn egress(&self, network: NetworkIndex) -> EgressTag {
        self.egress
            .get(network.get())
            .copied()
            .unwrap_or(EgressTag::NotMember)
    }

    /// The networks that the port is a member of.
    pub fn networks(&self) -> impl Iterator<Item = NetworkIndex> + '_ {
        let tags = self.egress.iter().enumerate();
        tags.filter(|(_, tag)| **tag != EgressTag::NotMember)
            .map(|(index, _)| NetworkIndex::new(index))
    }
}

/// A port in a network's member set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The port.
    pub port: PortIndex,
    /// How the network's frames leave by it; never `NotMember`.
    pub tag: EgressTag,
    /// The port is an uplink.
    pub uplink: bool,
    /// The port is isolated.
    pub isolated: bool,
}

/// A network as the datapath sees it.
#[derive(Clone, Debug)]
pub struct NetworkRules {
    /// The name in the configuration.
    pub name: Arc<str>,
    /// The VLAN on uplinks; `None` for a private network.
    pub vid: Option<Vid>,
    /// The ports that a flooded frame goes to, ordered by index.
    pub members: Box<[Member]>,
}

/// An address that is bound to a port by the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StaticEntry {
    /// The network.
    pub network: NetworkIndex,
    /// The station's address.
    pub mac: Mac,
    /// The port that it is behind.
    pub port: PortIndex,
}

/// Whether policy has a say in what comes from a port and in what goes to it. All that the
/// datapath asks about a port that policy does not concern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Concern {
    /// In what comes from it.
    pub from_port: bool,
    /// In what goes to it.
    pub to_port: bool,
}

/// The compiled configuration.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    /// Relay frames to reserved group addresses.
    pub forward_reserved: bool,
    /// Seconds after which an address that was not seen again is forgotten.
    pub ageing_s: u32,
    /// When an address moves too often; none: never.
    pub flaps: Option<FlapLimits>,
    /// By port index.
    pub ports: Box<[Option<PortRules>]>,
    /// By network index.
    pub networks: Box<[Option<NetworkRules>]>,
    /// Addresses bound to ports.
    pub static_entries: Box<[StaticEntry]>,
    /// By port, whether policy has a say in its frames; nothing past the end.
    pub concerns: Box<[Concern]>,
    /// Who may use how much.
    pub qos: qos::Qos,
    /// What frames have to pass; none: no stage asks what is in them.
    pub policy: Option<Arc<Policy>>,
    /// By access control list, attached or not, the counters of its rules and of its default.
    pub hits: Box<[Box<[u32]>]>,
}

impl Ruleset {
    /// The rules of a port.
    #[must_use]
    #[inline]
    pub fn port(&self, port: PortIndex) -> Option<&PortRules> {
        self.ports.get(port.get())?.as_ref()
    }

    /// The rules of a network.
    #[must_use]
    #[inline]
    pub fn network(&self, network: NetworkIndex) -> Option<&NetworkRules> {
        self.networks.get(network.get())?.as_ref()
    }

    /// Whether policy has a say in a port's frames.
    #[must_use]
    #[inline]
    pub fn concerns(&self, port: PortIndex) -> Concern {
        self.concerns.get(port.get()).copied().unwrap_or_default()
    }

    /// The index of the port with this name.
    #[must_use]
    pub fn port_named(&self, name: &str) -> Option<PortIndex> {
        let is_it = |port: &Option<PortRules>| port.as_ref().is_some_and(|p| &*p.name == name);
        self.ports.iter().position(is_it).map(PortIndex::new)
    }

    /// The index of the network with this name.
    #[must_use]
    pub fn network_named(&self, name: &str) -> Option<NetworkIndex> {
        let is_it = |network: &Option<NetworkRules>| {
            network
                .as_ref()
                .is_some_and(|network| &*network.name == name)
        };
        self.networks.iter().position(is_it).map(NetworkIndex::new)
    }
}

/// Whether and how a port can be sent to, as the control thread sees the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The device is attached and up.
    pub up: bool,
    /// Longest payload in bytes, Ethernet header and VLAN tag not counted.
    pub mtu: u32,
    /// For each worker, the worker that transmits for it: itself where it owns a queue.
    pub served_by: Box<[WorkerIndex]>,
}

/// All that a worker reads while it forwards: the rules, and the state of the links.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Counts publications; a worker reports the one that it has adopted.
    pub generation: u64,
    /// Counts configurations: verdicts that an earlier one gave are not for this one.
    pub policy_generation: u64,
    /// The compiled configuration.
    pub rules: Arc<Ruleset>,
    /// By port index; a port past the end is down.
    pub links: Box<[Link]>,
}

impl Snapshot {
    /// The link of a port, if the port is up.
    #[must_use]
    #[inline]
    pub fn link_up(&self, port: PortIndex) -> Option<&Link> {
        self.links.get(port.get()).filter(|link| link.up)
    }
}
