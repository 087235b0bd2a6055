//! The rules of a simulated switch as a person would describe them, and their compilation to what
//! the engine reads.

use std::collections::BTreeMap;

use switch_core::{
    config::snapshot::{
        EgressTag, Member, NetworkRules, PortRules, Role, Ruleset, StaticEntry, VidMap,
    },
    limits::{NetworkIndex, PortIndex},
    table::fdb::FlapLimits,
    wire::{
        ethernet::Mac,
        vlan::{Tpid, Vid},
    },
};

use super::{
    acl::{Acl, Attached},
    classes::{Classes, Map, Scheduler},
    flap::Limits,
    guard::Security,
    meter::{self, Policed, Storms},
};

/// Six bytes of an address.
pub type Address = [u8; 6];

/// All rules; networks and ports by the engine's index.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    pub ageing_s: u32,
    pub forward_reserved: bool,
    pub flaps: Option<Limits>,
    pub networks: BTreeMap<usize, Network>,
    pub ports: BTreeMap<usize, Port>,
    pub statics: Vec<Static>,
    /// Only where the rules go through a file.
    pub acls: Vec<Acl>,
    /// The same.
    pub policers: Vec<meter::Policer>,
    pub class_maps: Vec<Map>,
    pub schedulers: Vec<Scheduler>,
}

#[derive(Clone, Debug)]
pub struct Network {
    pub name: String,
    /// None: private.
    pub vid: Option<u16>,
    pub acls: Attached,
    pub policed: Policed,
}

#[derive(Clone, Debug)]
pub struct Port {
    pub name: String,
    pub role: Role,
    pub isolated: bool,
    pub tpid: u16,
    pub mac_limit: Option<u32>,
    pub accept: Accept,
    pub membership: Membership,
    pub acls: Attached,
    pub policed: Policed,
    pub security: Security,
    pub storms: Storms,
    /// Only where the rules go through a file.
    pub classes: Classes,
}

/// Acceptable frame types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accept {
    All,
    Tagged,
    Untagged,
}

/// The networks that a port is a member of.
#[derive(Clone, Debug)]
pub enum Membership {
    Access(usize),
    Trunk {
        native: Option<usize>,
        native_tagged: bool,
        /// VID and network.
        tagged: Vec<(u16, usize)>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Static {
    pub network: usize,
    pub mac: Address,
    pub port: usize,
}

impl Port {
    /// The networks of the port, a network once or twice.
    pub fn networks(&self) -> Vec<usize> {
        match &self.membership {
            Membership::Access(network) => vec![*network],
            Membership::Trunk { native, tagged, .. } => {
                let tagged = tagged.iter().map(|(_, network)| *network);
                native.iter().copied().chain(tagged).collect()
            }
        }
    }
}

fn vid(number: u16) -> Vid {
    Vid::new(number).expect("a VID")
}

/// What the engine reads.
pub fn compile(rules: &Rules) -> Ruleset {
    let table = |len: Option<usize>| len.map_or(0, |last| last + 1);
    let ports = table(rules.ports.keys().copied().max());
    let networks = table(rules.networks.keys().copied().max());
    let compiled: Vec<Option<PortRules>> = (0..ports)
        .map(|index| Some(compile_port(rules, rules.ports.get(&index)?, networks)))
        .collect();
    let networks = (0..networks)
        .map(|index| compile_network(rules, &compiled, index))
        .collect();
    let statics = rules.statics.iter().map(|entry| StaticEntry {
        network: NetworkIndex::new(entry.network),
        mac: Mac(entry.mac),
        port: PortIndex::new(entry.port),
    });
    Ruleset {
        forward_reserved: rules.forward_reserved,
        ageing_s: rules.ageing_s,
        flaps: rules.flaps.map(|limits| FlapLimits {
            moves: limits.moves,
            window_s: limits.window_s,
            quarantine_s: limits.quarantine_s,
        }),
        ports: compiled.into(),
        networks,
        static_entries: statics.collect(),
        ..Ruleset::default()
    }
}

fn compile_port(rules: &Rules, port: &Port, networks: usize) -> PortRules {
    let mut egress = vec![EgressTag::NotMember; networks];
    let mut vids = VidMap::new();
    let (untagged, takes_tags) = match &port.membership {
        Membership::Access(network) => {
            egress[*network] = EgressTag::Untagged;
            (Some(*network), false)
        }
        Membership::Trunk {
            native,
            native_tagged,
            tagged,
        } => {
            if let Some(native) = native {
                let own = rules.networks[native].vid;
                egress[*native] = EgressTag::Untagged;
                if let Some(own) = own {
                    vids.set(vid(own), NetworkIndex::new(*native));
                    if *native_tagged {
                        egress[*native] = EgressTag::Tagged(vid(own));
                    }
                }
            }
            for (number, network) in tagged {
                vids.set(vid(*number), NetworkIndex::new(*network));
                egress[*network] = EgressTag::Tagged(vid(*number));
            }
            let of_native = native.and_then(|native| rules.networks[&native].vid);
            (*native, of_native.is_some() || !tagged.is_empty())
        }
    };
    PortRules {
        name: port.name.as_str().into(),
        role: port.role,
        isolated: port.isolated,
        tpid: Tpid::from_ethertype(port.tpid).expect("a TPID"),
        mac_limit: port.mac_limit,
        untagged: untagged
            .filter(|_| port.accept != Accept::Tagged)
            .map(NetworkIndex::new),
        tagged: (takes_tags && port.accept != Accept::Untagged).then_some(vids),
        egress: egress.into(),
    }
}

fn compile_network(
    rules: &Rules,
    ports: &[Option<PortRules>],
    index: usize,
) -> Option<NetworkRules> {
    let network = rules.networks.get(&index)?;
    let members = ports.iter().enumerate().filter_map(|(number, port)| {
        let port = port.as_ref()?;
        let tag = port.egress(NetworkIndex::new(index));
        (tag != EgressTag::NotMember).then_some(Member {
            port: PortIndex::new(number),
            tag,
            uplink: port.role == Role::Uplink,
            isolated: port.isolated,
        })
    });
    Some(NetworkRules {
        name: network.name.as_str().into(),
        vid: network.vid.map(vid),
        members: members.collect(),
    })
}
