//! Random rules, and random changes of rules.

use switch_core::{
    config::snapshot::Role,
    limits::{MAX_NETWORKS, MAX_PORTS, MIN_AGEING_S},
};

use super::{
    acl::Attached,
    classes::Classes,
    guard::Security,
    meter::{Policed, Storms},
    rng::Rng,
    rules::{Accept, Address, Membership, Network, Port, Rules, Static},
};

/// The VIDs of networks: few, so that a translated VID is often another network's own.
const VIDS: &[u16] = &[1, 2, 20, 30, 300, 4093, 4094];

/// Makes names, and the indices that they get.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Counts names, so that none comes twice.
    names: usize,
    most_ports: usize,
    most_networks: usize,
    /// Now and then an index from the end of the tables.
    far: bool,
    /// The rules have to be such as a file can say.
    for_file: bool,
}

impl Topology {
    pub fn new(rng: &mut Rng, for_file: bool) -> Self {
        Self {
            names: 0,
            most_ports: rng.range(2, 12),
            most_networks: rng.range(1, 5),
            far: rng.chance(5) && !for_file,
            for_file,
        }
    }

    fn ageing(&self, rng: &mut Rng) -> u32 {
        let shortest = if self.for_file { MIN_AGEING_S } else { 0 };
        rng.pick(&[0, 1, 2, 10, 60, 300]).max(shortest)
    }

    fn name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}-{}", self.names)
    }

    /// The rules that a world begins with.
    pub fn rules(&mut self, rng: &mut Rng, macs: &[Address]) -> Rules {
        let mut rules = Rules {
            ageing_s: self.ageing(rng),
            forward_reserved: rng.chance(20),
            ..Rules::default()
        };
        for _ in 0..rng.range(1, self.most_networks) {
            self.add_network(rng, &mut rules);
        }
        for _ in 0..self.most_ports {
            self.add_port(rng, &mut rules, &Rules::default());
        }
        statics(rng, &mut rules, macs);
        rules
    }

    /// Other rules: most of what was there stays, under its index.
    pub fn change(&mut self, rng: &mut Rng, before: &Rules, macs: &[Address]) -> Rules {
        let mut rules = before.clone();
        for _ in 0..rng.range(1, 4) {
            match rng.below(10) {
                0 if rules.networks.len() < self.most_networks => {
                    self.add_network_beside(rng, &mut rules, before);
                }
                1 if rules.networks.len() > 1 => remove_network(rng, &mut rules),
                2 if rules.ports.len() < self.most_ports => {
                    self.add_port(rng, &mut rules, before);
                }
                3 if rules.ports.len() > 2 => {
                    let gone = rng.choose(rules.ports.keys().copied()).expect("ports");
                    rules.ports.remove(&gone);
                }
                4 => rules.ageing_s = self.ageing(rng),
                5 => rules.forward_reserved = !rules.forward_reserved,
                6 => renumber(rng, &mut rules),
                _ => {
                    let index = rng.choose(rules.ports.keys().copied()).expect("ports");
                    let name = rules.ports[&index].name.clone();
                    let port = port(rng, &rules, name);
                    rules.ports.insert(index, port);
                }
            }
        }
        sanitise(&mut rules);
        if rng.chance(40) {
            statics(rng, &mut rules, macs);
        }
        rules
    }

    fn free_index(&self, rng: &mut Rng, end: usize, taken: impl Fn(usize) -> bool) -> usize {
        let far = (end - 3..end).find(|index| self.far && !taken(*index));
        let near = (0..end).filter(|index| !taken(*index)).take(3);
        far.or_else(|| rng.choose(near)).expect("a free index")
    }

    fn add_network(&mut self, rng: &mut Rng, rules: &mut Rules) {
        self.add_network_beside(rng, rules, &Rules::default());
    }

    /// Adds a network whose index was free before, too.
    fn add_network_beside(&mut self, rng: &mut Rng, rules: &mut Rules, before: &Rules) {
        let taken = |i: usize| rules.networks.contains_key(&i) || before.networks.contains_key(&i);
        let index = self.free_index(rng, MAX_NETWORKS, taken);
        let vid = if rng.chance(25) {
            None
        } else {
            free_vid(rng, rules)
        };
        let name = self.name("network");
        let acls = Attached::default();
        rules.networks.insert(
            index,
            Network {
                name,
                vid,
                acls,
                policed: Policed::default(),
            },
        );
    }

    fn add_port(&mut self, rng: &mut Rng, rules: &mut Rules, before: &Rules) {
        let taken = |i: usize| rules.ports.contains_key(&i) || before.ports.contains_key(&i);
        let index = self.free_index(rng, MAX_PORTS, taken);
        let name = self.name("port");
        let port = port(rng, rules, name);
        rules.ports.insert(index, port);
    }
}

fn free_vid(rng: &mut Rng, rules: &Rules) -> Option<u16> {
    let taken = |vid: &u16| rules.networks.values().any(|n| n.vid == Some(*vid));
    rng.choose(VIDS.iter().copied().filter(|vid| !taken(vid)))
}

fn port(rng: &mut Rng, rules: &Rules, name: String) -> Port {
    let mut role = [Role::Guest, Role::Uplink, Role::Host][rng.weighted(&[6, 3, 1])];
    let public: Vec<usize> = rules.networks.keys().copied().collect();
    let public: Vec<usize> = public
        .into_iter()
        .filter(|n| rules.networks[n].vid.is_some())
        .collect();
    if public.is_empty() {
        role = Role::Guest;
    }
    let candidates: Vec<usize> = if role == Role::Uplink {
        public
    } else {
        rules.networks.keys().copied().collect()
    };
    let membership = if rng.chance(45) {
        Membership::Access(rng.pick(&candidates))
    } else {
        trunk(rng, rules, &candidates)
    };
    let mut port = Port {
        name,
        role,
        isolated: rng.chance(25),
        tpid: if rng.chance(80) { 0x8100 } else { 0x88a8 },
        mac_limit: rng.chance(20).then(|| rng.range(1, 5) as u32),
        accept: rng.pick(&[
            Accept::All,
            Accept::All,
            Accept::All,
            Accept::Tagged,
            Accept::Untagged,
        ]),
        membership,
        acls: Attached::default(),
        policed: Policed::default(),
        security: Security::default(),
        storms: Storms::default(),
        classes: Classes::default(),
    };
    accept_something(&mut port);
    port
}

/// Acceptable frame types that leave no frame at all are refused; so they are not generated.
fn accept_something(port: &mut Port) {
    let (native, tags) = match &port.membership {
        Membership::Access(_) => (true, false),
        Membership::Trunk {
            native,
            native_tagged,
            tagged,
        } => (native.is_some(), *native_tagged || !tagged.is_empty()),
    };
    let nothing = match port.accept {
        Accept::Tagged => !tags,
        Accept::Untagged => !native,
        Accept::All => false,
    };
    if nothing {
        port.accept = Accept::All;
    }
}

fn trunk(rng: &mut Rng, rules: &Rules, candidates: &[usize]) -> Membership {
    let native = rng.chance(60).then(|| rng.pick(candidates));
    let own = |network: usize| rules.networks[&network].vid;
    let native_tagged = native.and_then(own).is_some() && rng.chance(30);
    let mut tagged: Vec<(u16, usize)> = Vec::new();
    for network in candidates.iter().copied().filter(|n| Some(*n) != native) {
        let vid = match own(network) {
            Some(vid) if rng.chance(60) => Some(vid),
            _ if rng.chance(40) => Some(rng.pick(VIDS)),
            _ => None,
        };
        let taken = |vid: u16| {
            tagged.iter().any(|(other, _)| *other == vid)
                || (native_tagged && native.and_then(own) == Some(vid))
        };
        tagged.extend(vid.filter(|vid| !taken(*vid)).map(|vid| (vid, network)));
    }
    if native.is_none() && tagged.is_empty() {
        return Membership::Access(rng.pick(candidates));
    }
    Membership::Trunk {
        native,
        native_tagged,
        tagged,
    }
}

fn remove_network(rng: &mut Rng, rules: &mut Rules) {
    let gone = rng
        .choose(rules.networks.keys().copied())
        .expect("networks");
    rules.networks.remove(&gone);
    let another = rng
        .choose(rules.networks.keys().copied())
        .expect("networks");
    for port in rules.ports.values_mut() {
        let fallback = Membership::Access(another);
        match &mut port.membership {
            Membership::Access(network) if *network == gone => *network = another,
            Membership::Access(_) => {}
            Membership::Trunk {
                native,
                native_tagged,
                tagged,
            } => {
                if *native == Some(gone) {
                    *native = None;
                    *native_tagged = false;
                }
                tagged.retain(|(_, network)| *network != gone);
                if native.is_none() && tagged.is_empty() {
                    port.membership = fallback;
                }
            }
        }
    }
}

/// Gives a network another VLAN, or none.
fn renumber(rng: &mut Rng, rules: &mut Rules) {
    let index = rng
        .choose(rules.networks.keys().copied())
        .expect("networks");
    let vid = free_vid(rng, rules);
    let network = rules.networks.get_mut(&index).expect("a network");
    network.vid = vid;
}

/// Makes what changes have left behind valid again: what a configuration's check would refuse.
fn sanitise(rules: &mut Rules) {
    let own: std::collections::BTreeMap<usize, Option<u16>> = rules
        .networks
        .iter()
        .map(|(index, n)| (*index, n.vid))
        .collect();
    for port in rules.ports.values_mut() {
        if let Membership::Trunk {
            native,
            native_tagged,
            tagged,
        } = &mut port.membership
        {
            let native_vid = native.and_then(|network| own[&network]);
            *native_tagged &= native_vid.is_some();
            if *native_tagged {
                tagged.retain(|(vid, _)| Some(*vid) != native_vid);
            }
        }
        accept_something(port);
        if port.networks().iter().any(|network| own[network].is_none()) {
            port.role = Role::Guest;
        }
    }
    let Rules { ports, statics, .. } = rules;
    statics.retain(|entry| {
        let port = ports.get(&entry.port);
        port.is_some_and(|port| port.networks().contains(&entry.network))
    });
}

fn statics(rng: &mut Rng, rules: &mut Rules, macs: &[Address]) {
    rules.statics.clear();
    for _ in 0..rng.pick(&[0, 0, 1, 3]) {
        let port = rng.choose(rules.ports.keys().copied()).expect("ports");
        let network = rng.pick(&rules.ports[&port].networks());
        let mac = rng.pick(macs);
        let taken = |entry: &Static| (entry.network, entry.mac) == (network, mac);
        if !rules.statics.iter().any(taken) {
            rules.statics.push(Static { network, mac, port });
        }
    }
}
