//! A small switch: four ports of one network.

use super::Policy;
use crate::rules;
use switch_core::{
    config::{
        Indices, compile, parse,
        snapshot::{
            EgressTag, Link, Member, NetworkRules, PortRules, Role, Ruleset, Snapshot, VidMap,
        },
    },
    limits::{NetworkIndex, PortIndex},
    wire::{
        ethernet::Mac,
        vlan::{Tpid, Vid},
    },
};

/// The network of all frames.
pub const NETWORK: NetworkIndex = NetworkIndex::new(0);
/// Ports of the network: two access ports and two trunks.
pub const PORTS: usize = 4;

const VID_BITS: u8 = 20;
const VID: Vid = match Vid::new(VID_BITS as u16) {
    Ok(vid) => vid,
    Err(_) => unreachable!(),
};

/// Where frames come in and leave, and so what becomes of their tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// From an access port to another one.
    Untagged,
    /// From an access port to a trunk.
    Push,
    /// From a trunk to an access port.
    Pop,
    /// From a trunk to another one.
    Retag,
    /// From an access port to all others: the destination is not known.
    Flood,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Untagged,
        Self::Push,
        Self::Pop,
        Self::Retag,
        Self::Flood,
    ];

    /// A word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Untagged => "untagged",
            Self::Push => "push",
            Self::Pop => "pop",
            Self::Retag => "retag",
            Self::Flood => "flood",
        }
    }

    /// The port that the frames come in by.
    #[must_use]
    pub const fn ingress(self) -> PortIndex {
        PortIndex::new(match self {
            Self::Untagged | Self::Push | Self::Flood => 0,
            Self::Pop | Self::Retag => 2,
        })
    }

    /// The port that the destinations are behind.
    #[must_use]
    pub const fn egress(self) -> PortIndex {
        PortIndex::new(match self {
            Self::Pop => 0,
            Self::Untagged | Self::Flood => 1,
            Self::Push => 2,
            Self::Retag => 3,
        })
    }

    /// Frames that leave for one that came in.
    #[must_use]
    pub const fn copies(self) -> usize {
        match self {
            Self::Flood => PORTS - 1,
            _ => 1,
        }
    }

    /// Whether a frame that has left could come in again as it is: no byte of it has changed.
    #[must_use]
    pub const fn keeps_bytes(self) -> bool {
        matches!(self, Self::Untagged | Self::Retag)
    }

    /// What stands behind the addresses of a frame that comes in: tag and EtherType.
    pub(super) const fn behind_addresses(self) -> &'static [u8] {
        match self {
            Self::Untagged | Self::Push | Self::Flood => &[0x08, 0x00],
            Self::Pop | Self::Retag => &[0x81, 0x00, 0x00, VID_BITS, 0x08, 0x00],
        }
    }
}

/// The address of a station behind a port.
#[must_use]
pub fn station(port: PortIndex, number: usize) -> Mac {
    Mac::from_u64(0x02 << 40 | (port.get() as u64) << 32 | number as u64)
}

/// Ports 0 and 1 are access ports, ports 2 and 3 trunks that carry the network as VLAN 20.
pub fn snapshot() -> Snapshot {
    let link = Link {
        up: true,
        mtu: 1500,
        served_by: [].into(),
    };
    let network = NetworkRules {
        name: "web".into(),
        vid: Some(VID),
        members: (0..PORTS).map(member).collect(),
    };
    Snapshot {
        generation: 1,
        policy_generation: 1,
        rules: std::sync::Arc::new(Ruleset {
            forward_reserved: false,
            ageing_s: switch_core::limits::DEFAULT_AGEING_S,
            ports: (0..PORTS).map(|index| Some(port(index))).collect(),
            networks: [Some(network)].into(),
            static_entries: [].into(),
            ..Ruleset::default()
        }),
        links: vec![link; PORTS].into(),
    }
}

/// The same switch, with policy about frames of this kind: so many rules, a guard and a policer.
///
/// # Panics
/// When the configuration has mistakes.
pub fn snapshot_with_policy(kind: Kind, policy: Policy) -> Snapshot {
    let file = policy_file(kind, policy);
    let config = parse("policy.toml", &file).unwrap_or_else(|report| panic!("{report}"));
    let compiled = compile(&config, &Indices::new()).expect("compiled");
    for port in 0..PORTS {
        let index = compiled.indices.port(&format!("port-{port}"));
        assert_eq!(index, Some(PortIndex::new(port)), "ports in their order");
    }
    assert_eq!(compiled.indices.network("web"), Some(NETWORK));
    Snapshot {
        rules: std::sync::Arc::new(compiled.rules),
        ..snapshot()
    }
}

/// So many rules, of which the last is about the frames.
fn policy_file(kind: Kind, policy: Policy) -> String {
    let mut file = format!("[[network]]\nname = \"web\"\nvlan = {VID_BITS}\n");
    let is_at_way_out = matches!(policy, Policy::WayOut(_));
    let (way_in, way_out) = (kind.ingress().get(), kind.egress().get());
    for port in 0..PORTS {
        let network = if is_access(port) {
            "network = \"web\""
        } else {
            "trunk = [\"web\"]"
        };
        file += &format!("[[port]]\nname = \"port-{port}\"\ndevice = \"d{port}\"\n{network}\n");
        if port == way_in {
            let mac = station(kind.ingress(), 0);
            let address = policy.source();
            file += &format!(
                "security = \"strict\"\nallowed_macs = \"{mac}\"\n\
                 allowed_addresses = \"{address}\"\npolice_from_port = \"limit\"\n"
            );
            if !is_at_way_out {
                file += "acl_from_port = \"rules\"\n";
            }
        }
        if port == way_out && is_at_way_out {
            file += "acl_to_port = \"rules\"\n";
        }
    }
    file += "[[policer]]\nname = \"limit\"\nrate = \"100 Gbit/s\"\nburst = \"64 MiB\"\n";
    let rules = policy.rules().expect("there is a policy");
    file += &rules::list("rules", rules, policy.destination(), 53);
    if let Policy::Acts(_) = policy {
        // Of the last rule, which is the frames'.
        file += "class = 5\n";
    }
    file
}

fn is_access(port: usize) -> bool {
    port < PORTS / 2
}

fn tag(port: usize) -> EgressTag {
    if is_access(port) {
        EgressTag::Untagged
    } else {
        EgressTag::Tagged(VID)
    }
}

fn member(index: usize) -> Member {
    Member {
        port: PortIndex::new(index),
        tag: tag(index),
        uplink: false,
        isolated: false,
    }
}

fn port(index: usize) -> PortRules {
    let mut vids = VidMap::new();
    vids.set(VID, NETWORK);
    PortRules {
        name: format!("port-{index}").into(),
        role: Role::Guest,
        isolated: false,
        tpid: Tpid::Customer,
        mac_limit: None,
        untagged: is_access(index).then_some(NETWORK),
        tagged: (!is_access(index)).then_some(vids),
        egress: [tag(index)].into(),
    }
}
