//! From what is valid to what the datapath reads.
//!
//! Names become indices here. A port or network that keeps its name keeps its index over a reload,
//! so that its counters and learned addresses stay its own. The index of a removed one is
//! *retired*: frames in flight and the forwarding database may still mean the old owner by it, so
//! it is given out again only after [`Indices::release_port`] or [`Indices::release_network`].

mod acl;
mod qos;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{
    policy::{Direction, Policy},
    snapshot::{
        self, Concern, EgressTag, Member, NetworkRules, PortRules, Role as PortRole, Ruleset,
        VidMap, qos::Qos,
    },
    valid::{AcceptableFrames, Config, Membership, Name, Port, Role, Trunk},
};
use crate::limits::{MAX_NETWORKS, MAX_PORTS, NetworkIndex, PortIndex};

/// A configuration ready to be published, and the indices that it goes by.
#[derive(Clone, Debug)]
pub struct Compiled {
    /// What the datapath reads.
    pub rules: Ruleset,
    /// The indices in use, for the next [`compile`].
    pub indices: Indices,
    /// Indices of ports that the previous configuration had and this one has not. To be released
    /// when no worker uses the previous rules and nothing learned points at them.
    pub retired_ports: Vec<PortIndex>,
    /// The same for networks.
    pub retired_networks: Vec<NetworkIndex>,
}

/// Retired indices fill the tables. Releasing them, and compiling again, helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many removed {kind}s are still being forgotten; try again in a moment")]
pub struct OutOfIndices {
    kind: &'static str,
}

/// Which name has which index, and which indices are retired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Indices {
    ports: Slots,
    networks: Slots,
    hits: acl::HitSlots,
}

impl Indices {
    /// No index is in use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The index of the port with this name.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<PortIndex> {
        self.ports.position(name).map(PortIndex::new)
    }

    /// The index of the network with this name.
    #[must_use]
    pub fn network(&self, name: &str) -> Option<NetworkIndex> {
        self.networks.position(name).map(NetworkIndex::new)
    }

    /// Lets a retired index be used again. Does nothing to one that is not retired.
    pub fn release_port(&mut self, port: PortIndex) {
        self.ports.release(port.get());
    }

    /// Lets a retired index be used again. Does nothing to one that is not retired.
    pub fn release_network(&mut self, network: NetworkIndex) {
        self.networks.release(network.get());
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Slot {
    Free,
    Used(Name),
    Retired,
}

/// The owners of the indices of one kind, by index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Slots(Vec<Slot>);

impl Slots {
    fn position(&self, name: &str) -> Option<usize> {
        self.0
            .iter()
            .position(|slot| matches!(slot, Slot::Used(used) if used.as_str() == name))
    }

    fn release(&mut self, index: usize) {
        if let Some(slot) = self.0.get_mut(index).filter(|slot| **slot == Slot::Retired) {
            *slot = Slot::Free;
        }
    }

    /// Gives each name an index, the one that it has or the lowest that is free, and retires those
    /// of all other names, which it returns.
    fn assign(&mut self, names: &[&Name], most: usize) -> Option<Vec<usize>> {
        let mut new: HashSet<&Name> = names.iter().copied().collect();
        let mut retired = Vec::new();
        for (index, slot) in self.0.iter_mut().enumerate() {
            if let Slot::Used(name) = slot
                && !new.remove(name)
            {
                *slot = Slot::Retired;
                retired.push(index);
            }
        }
        let mut next = 0;
        for name in names.iter().filter(|name| new.contains(**name)) {
            while self.0.get(next).is_some_and(|slot| *slot != Slot::Free) {
                next += 1;
            }
            if next == self.0.len() {
                self.0.push(Slot::Free);
            }
            if next == most {
                return None;
            }
            self.0[next] = Slot::Used((*name).clone());
        }
        Some(retired)
    }

    /// The indices by name, and one more than the highest of them.
    fn by_name(&self) -> (HashMap<&str, usize>, usize) {
        let used = self
            .0
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| match slot {
                Slot::Used(name) => Some((name.as_str(), index)),
                Slot::Free | Slot::Retired => None,
            });
        let by_name: HashMap<_, _> = used.collect();
        let size = by_name.values().max().map_or(0, |highest| highest + 1);
        (by_name, size)
    }
}

/// Compiles a configuration. `previous` are the indices of the configuration that it follows.
///
/// # Errors
/// When there are not enough indices that are neither used nor retired.
///
/// # Panics
/// When a port or a static entry names what the configuration does not have; what
/// [`super::parse`] returns does not.
pub fn compile(config: &Config, previous: &Indices) -> Result<Compiled, OutOfIndices> {
    let mut indices = previous.clone();
    let names: Vec<_> = config.ports.iter().map(|port| &port.name).collect();
    let retired_ports = indices
        .ports
        .assign(&names, MAX_PORTS)
        .ok_or(OutOfIndices { kind: "port" })?;
    let names: Vec<_> = config
        .networks
        .iter()
        .map(|network| &network.name)
        .collect();
    let retired_networks = indices
        .networks
        .assign(&names, MAX_NETWORKS)
        .ok_or(OutOfIndices { kind: "network" })?;
    let mut hits = std::mem::take(&mut indices.hits);
    let rules = Builder::new(config, &indices).rules(&mut hits);
    indices.hits = hits;
    Ok(Compiled {
        rules,
        indices,
        retired_ports: retired_ports.into_iter().map(PortIndex::new).collect(),
        retired_networks: retired_networks
            .into_iter()
            .map(NetworkIndex::new)
            .collect(),
    })
}

/// The ports that are no members any more of networks that both rules have: what was learned behind
/// them there has to be forgotten.
#[must_use]
pub fn lost_memberships(old: &Ruleset, new: &Ruleset) -> Vec<(NetworkIndex, PortIndex)> {
    let mut lost = Vec::new();
    for (index, network) in old.networks.iter().enumerate() {
        let index = NetworkIndex::new(index);
        for member in network.iter().flat_map(|network| &network.members) {
            let port = new.port(member.port);
            let stays = port.is_some_and(|port| port.egress(index) != EgressTag::NotMember);
            if new.network(index).is_some() && !stays {
                lost.push((index, member.port));
            }
        }
    }
    lost
}

/// A configuration and the indices of its names.
struct Builder<'c> {
    config: &'c Config,
    ports: HashMap<&'c str, usize>,
    networks: HashMap<&'c str, usize>,
    port_slots: usize,
    network_slots: usize,
}

impl<'c> Builder<'c> {
    fn new(config: &'c Config, indices: &'c Indices) -> Self {
        let (ports, port_slots) = indices.ports.by_name();
        let (networks, network_slots) = indices.networks.by_name();
        Self {
            config,
            ports,
            networks,
            port_slots,
            network_slots,
        }
    }

    fn rules(&self, hits: &mut acl::HitSlots) -> Ruleset {
        let mut ports = vec![None; self.port_slots];
        for port in &self.config.ports {
            ports[self.port(&port.name).get()] = Some(self.port_rules(port));
        }
        let statics = self
            .config
            .statics
            .iter()
            .map(|entry| snapshot::StaticEntry {
                network: self.network(&entry.network),
                mac: entry.mac,
                port: self.port(&entry.port),
            });
        let hits = hits.of(self.config);
        let policy = self.policy(&hits).map(Arc::new);
        let qos = self.qos(&hits);
        Ruleset {
            forward_reserved: self.config.switch.forward_reserved,
            ageing_s: self.config.switch.ageing_s,
            flaps: self.config.switch.flaps,
            networks: self.network_rules(&ports),
            concerns: concerns(&ports, policy.as_deref(), &qos),
            policy,
            hits,
            ports: ports.into(),
            static_entries: statics.collect(),
            qos,
        }
    }

    fn port(&self, name: &Name) -> PortIndex {
        let index = self.ports.get(name.as_str());
        PortIndex::new(*index.expect("the configuration has the ports that it names"))
    }

    fn network(&self, name: &Name) -> NetworkIndex {
        let index = self.networks.get(name.as_str());
        NetworkIndex::new(*index.expect("the configuration has the networks that it names"))
    }

    fn port_rules(&self, port: &Port) -> PortRules {
        let (untagged, tagged, egress) = match &port.membership {
            Membership::Access(name) => {
                let network = self.network(name);
                (Some(network), None, vec![(network, EgressTag::Untagged)])
            }
            Membership::Trunk(trunk) => self.trunk(trunk),
        };
        let size = egress
            .iter()
            .map(|(network, _)| network.get() + 1)
            .max()
            .unwrap_or_default();
        let mut table = vec![EgressTag::NotMember; size];
        for (network, tag) in egress {
            table[network.get()] = tag;
        }
        PortRules {
            name: port.name.clone().into(),
            role: match port.role {
                Role::Guest => PortRole::Guest,
                Role::Uplink => PortRole::Uplink,
                Role::Host(_) => PortRole::Host,
            },
            isolated: port.isolated,
            tpid: port.tpid,
            mac_limit: port.mac_limit.map(Into::into),
            untagged: untagged.filter(|_| port.accept != AcceptableFrames::Tagged),
            tagged: tagged.filter(|_| port.accept != AcceptableFrames::Untagged),
            egress: table.into(),
        }
    }

    /// A trunk's network of untagged frames, its networks of tagged ones, and how they leave.
    fn trunk(
        &self,
        trunk: &Trunk,
    ) -> (
        Option<NetworkIndex>,
        Option<VidMap>,
        Vec<(NetworkIndex, EgressTag)>,
    ) {
        let mut vids = VidMap::new();
        let mut egress = Vec::with_capacity(trunk.tagged.len() + 1);
        let native = trunk
            .native
            .as_ref()
            .map(|native| self.network(&native.network));
        let native_vid = trunk.native.as_ref().and_then(|native| {
            let network = self.config.network(native.network.as_str())?;
            native.tagged_as.or(network.vlan)
        });
        if let (Some(native), Some(network)) = (&trunk.native, native) {
            egress.push((
                network,
                native
                    .tagged_as
                    .map_or(EgressTag::Untagged, EgressTag::Tagged),
            ));
        }
        if let (Some(vid), Some(network)) = (native_vid, native) {
            // The port is in the native VLAN's member set, so frames tagged with its VID are of
            // that network (802.1Q-2022, 6.9), unless the VID is translated to another one below.
            vids.set(vid, network);
        }
        for tagged in &trunk.tagged {
            let network = self.network(&tagged.network);
            vids.set(tagged.vid, network);
            egress.push((network, EgressTag::Tagged(tagged.vid)));
        }
        // A port of nothing but a private native network takes no tagged frames at all.
        let takes_tags = native.is_none() || native_vid.is_some() || !trunk.tagged.is_empty();
        (native, takes_tags.then_some(vids), egress)
    }

    /// The networks, whose members are found in the rules of the ports.
    fn network_rules(&self, ports: &[Option<PortRules>]) -> Box<[Option<NetworkRules>]> {
        let mut members = vec![Vec::new(); self.network_slots];
        for (index, port) in ports.iter().enumerate() {
            let Some(port) = port else { continue };
            for (network, tag) in port.egress.iter().enumerate() {
                if *tag != EgressTag::NotMember {
                    members[network].push(Member {
                        port: PortIndex::new(index),
                        tag: *tag,
                        uplink: port.role == PortRole::Uplink,
                        isolated: port.isolated,
                    });
                }
            }
        }
        let mut rules = vec![None; self.network_slots];
        for network in &self.config.networks {
            let index = self.network(&network.name).get();
            rules[index] = Some(NetworkRules {
                name: network.name.clone().into(),
                vid: network.vlan,
                members: std::mem::take(&mut members[index]).into(),
            });
        }
        rules.into()
    }
}

/// Where policy has a say in what comes from a port, and in what goes to it. Empty where there is
/// no policy.
fn concerns(ports: &[Option<PortRules>], policy: Option<&Policy>, qos: &Qos) -> Box<[Concern]> {
    if policy.is_none() && qos.is_empty() {
        return Box::default();
    }
    let concern = |(index, rules): (usize, &Option<PortRules>)| {
        let port = PortIndex::new(index);
        let any = |concerns: &dyn Fn(NetworkIndex) -> bool| {
            rules.iter().flat_map(PortRules::networks).any(concerns)
        };
        let listed = |direction| {
            any(&|network| {
                policy.is_some_and(|policy| !policy.pair(direction, port, network).is_empty())
            })
        };
        let guarded = policy.is_some_and(|policy| policy.guard(port).is_some());
        Concern {
            from_port: listed(Direction::FromPort)
                || guarded
                || qos.classes(port).is_some()
                || any(&|network| qos.ingress(port, network).next().is_some()),
            // A colour that was given where a frame comes in shows where it leaves.
            to_port: listed(Direction::ToPort)
                || qos.recolours()
                || qos.has_acts()
                || qos.marks(port).is_some()
                || qos.queues(port).is_some()
                || any(&|network| qos.egress(port, network).next().is_some()),
        }
    };
    ports.iter().enumerate().map(concern).collect()
}
