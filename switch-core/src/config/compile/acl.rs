//! From rules as they are written to conjunctions of tests, and to counters that stay theirs.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::Builder;
use crate::{
    acl::{
        case::{Set, Test},
        guard::Guard,
        key::Field,
        list::{self, List},
    },
    config::{
        policy::{Attached, Policy},
        valid::{
            Acl, Action, Addresses, AttachedAcls, Config, Families, Fragments, Match, NumberRange,
            Prefix, Protocol, Rule, Security,
        },
    },
    limits::{MAX_HITS, NetworkIndex},
    wire::{
        arp::ETHERTYPE_ARP,
        ethernet::PackedMac,
        ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, Fragment, protocol},
    },
};

/// Which rule has which counter, by what the rule is told from others by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HitSlots {
    used: HashMap<Arc<str>, u32>,
    /// What the configuration before had and this one has not: workers that still have that one
    /// may count here.
    retired: Vec<u32>,
    free: Vec<u32>,
    /// How many there ever were.
    count: u32,
}

impl HitSlots {
    /// The counters of all lists: of their rules, and last of their defaults.
    pub(super) fn of(&mut self, config: &Config) -> Box<[Box<[u32]>]> {
        let identities: Vec<Arc<str>> = config.acls.iter().flat_map(identities).collect();
        let mut slots = self.assign(&identities).into_iter();
        let of_list = |acl: &Acl| slots.by_ref().take(acl.rules.len() + 1).collect();
        config.acls.iter().map(of_list).collect()
    }

    /// Gives each rule a counter, the one that it has or a free one. Those of all others are
    /// retired, and free for the configuration after this.
    fn assign(&mut self, identities: &[Arc<str>]) -> Vec<u32> {
        self.free.append(&mut self.retired);
        let stay: HashSet<&Arc<str>> = identities.iter().collect();
        let retired = &mut self.retired;
        self.used.retain(|identity, slot| {
            let stays = stay.contains(identity);
            retired.extend((!stays).then_some(*slot));
            stays
        });
        retired.sort_unstable();
        let mut next = || {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.count += 1;
                self.count - 1
            });
            assert!(
                (slot as usize) < MAX_HITS,
                "twice as many as there are rules"
            );
            slot
        };
        let mut slots = Vec::with_capacity(identities.len());
        for identity in identities {
            let slot = self.used.entry(Arc::clone(identity));
            slots.push(*slot.or_insert_with(&mut next));
        }
        slots
    }
}

/// What tells the rules of a list, and last its default, from all others: the list and the rule's
/// name, or what the rule says.
fn identities(acl: &Acl) -> impl Iterator<Item = Arc<str>> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let rules = acl.rules.iter().map(move |rule| match &rule.name {
        Some(name) => format!("{}\n@{name}", acl.name),
        None => {
            let times = seen.entry(&rule.text).or_default();
            *times += 1;
            format!("{}\n{}\n{times}", acl.name, rule.text)
        }
    });
    let default = std::iter::once_with(|| format!("{}\n", acl.name));
    rules.chain(default).map(Arc::from)
}

impl Builder<'_> {
    /// The lists and where they are attached; nothing where none is.
    pub(super) fn policy(&self, hits: &[Box<[u32]>]) -> Option<Policy> {
        let none = AttachedAcls::default();
        let of_ports = self.config.ports.iter().map(|port| &port.acls);
        let mut all = of_ports.chain(self.config.networks.iter().map(|network| &network.acls));
        let guards = self.guards();
        if all.all(|acls| *acls == none) && guards.iter().all(Option::is_none) {
            return None;
        }
        let sets: Vec<Sets> = self
            .config
            .address_sets
            .iter()
            .map(|set| Sets::of(set.prefixes.iter().copied()))
            .collect();
        let list = |(acl, hits): (&Acl, &[u32])| {
            let compile = |(rule, hit): (_, &u32)| self.rule(rule, *hit, &sets);
            let rules: Vec<_> = acl.rules.iter().zip(hits).map(compile).collect();
            List::new(&rules, acl.default, hits[rules.len()])
        };
        let lists = self
            .config
            .acls
            .iter()
            .zip(hits.iter().map(AsRef::as_ref))
            .map(list)
            .collect();
        let position: HashMap<&str, usize> = self
            .config
            .acls
            .iter()
            .enumerate()
            .map(|(position, acl)| (acl.name.as_str(), position))
            .collect();
        let attached = |acls: &AttachedAcls| {
            let of = |name: &Option<_>| {
                name.as_ref()
                    .map(|name: &super::Name| position[name.as_str()])
            };
            Attached::new(of(&acls.from_port), of(&acls.to_port))
        };
        let mut by_port = vec![Attached::NONE; self.port_slots];
        for port in &self.config.ports {
            by_port[self.port(&port.name).get()] = attached(&port.acls);
        }
        let mut by_network = vec![Attached::NONE; self.network_slots];
        for network in &self.config.networks {
            by_network[self.network(&network.name).get()] = attached(&network.acls);
        }
        Some(Policy::new(lists, by_port, by_network, guards))
    }

    /// By port, what it may say about itself.
    fn guards(&self) -> Vec<Option<Guard>> {
        let mut guards = vec![None; self.port_slots];
        for port in &self.config.ports {
            let Security {
                allowed_macs,
                allowed_addresses,
                dhcp_server,
                router_advertisements,
                bpdus,
                storm: _,
            } = &port.security;
            let guard = Guard {
                macs: allowed_macs
                    .as_ref()
                    .map(|macs| macs.iter().copied().map(PackedMac::from).collect()),
                addresses: allowed_addresses.as_ref().map(|prefixes| {
                    let sets = Sets::of(prefixes.iter().copied());
                    (Set::clone(&sets.ipv4), Set::clone(&sets.ipv6))
                }),
                no_dhcp_server: !dhcp_server,
                no_router: !router_advertisements,
                no_bpdus: !bpdus,
            };
            let open = guard == Guard::default();
            guards[self.port(&port.name).get()] = (!open).then_some(guard);
        }
        guards
    }

    fn rule(&self, rule: &Rule, hit: u32, sets: &[Sets]) -> list::Rule {
        let networks = rule.matches.networks.iter();
        let networks = networks.map(|name| self.network(name)).collect();
        let cases = Cases {
            matches: &rule.matches,
            action: rule.action,
            networks,
            source: Sets::of_list(&rule.matches.source, sets),
            destination: Sets::of_list(&rule.matches.destination, sets),
        };
        list::Rule {
            action: rule.action,
            hit,
            cases: cases.all(),
        }
    }
}

/// Addresses of both families.
#[derive(Clone, Debug, Default)]
struct Sets {
    ipv4: Arc<Set>,
    ipv6: Arc<Set>,
}

impl Sets {
    fn of(prefixes: impl Iterator<Item = Prefix>) -> Self {
        let (ipv4, ipv6): (Vec<_>, Vec<_>) = prefixes.partition(Prefix::is_ipv4);
        let set = |list: Vec<Prefix>| Arc::new(Set::new(list.iter().map(Prefix::bounds).collect()));
        Self {
            ipv4: set(ipv4),
            ipv6: set(ipv6),
        }
    }

    /// What a rule lists; none where it lists nothing. A single set is shared, not copied.
    fn of_list(list: &[Addresses], sets: &[Self]) -> Option<Self> {
        match list {
            [] => None,
            [Addresses::Set(position)] => Some(sets[*position].clone()),
            list => {
                let mut all = (Vec::new(), Vec::new());
                for addresses in list {
                    match addresses {
                        Addresses::Prefix(prefix) if prefix.is_ipv4() => {
                            all.0.push(prefix.bounds())
                        }
                        Addresses::Prefix(prefix) => all.1.push(prefix.bounds()),
                        Addresses::Set(position) => {
                            all.0.extend_from_slice(sets[*position].ipv4.ranges());
                            all.1.extend_from_slice(sets[*position].ipv6.ranges());
                        }
                    }
                }
                Some(Self {
                    ipv4: Arc::new(Set::new(all.0)),
                    ipv6: Arc::new(Set::new(all.1)),
                })
            }
        }
    }
}

/// Which family a case is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Ipv4,
    Ipv6,
    Arp,
}

/// A rule on its way to cases.
struct Cases<'r> {
    matches: &'r Match,
    action: Action,
    networks: Vec<NetworkIndex>,
    source: Option<Sets>,
    destination: Option<Sets>,
}

/// Protocols that a later IPv6 fragment may name in place of the transport protocol: headers that
/// may stand between the fragment header and that one (RFC 8200, 4.1).
const BETWEEN: [u8; 4] = [
    protocol::HOP_BY_HOP,
    protocol::ROUTING,
    protocol::AUTHENTICATION,
    protocol::DESTINATION_OPTIONS,
];

impl Cases<'_> {
    /// All cases: for each pair of MAC addresses, family, and whether it is a later fragment.
    fn all(&self) -> Vec<Vec<Test>> {
        let mut cases = Vec::new();
        for base in self.bases() {
            let Some(families) = self.matches.families else {
                self.push_other(base, &mut cases);
                continue;
            };
            for family in each(families) {
                self.push_family(&base, family, &mut cases);
            }
            if !self.matches.ethertype.is_empty() {
                self.push_other(base, &mut cases);
            }
        }
        cases
    }

    /// What does not depend on the payload.
    fn bases(&self) -> Vec<Vec<Test>> {
        let mut common = Vec::new();
        let networks = self.networks.iter().map(|network| network.get() as u64);
        common.extend(among(
            Field::Network,
            networks.map(|number| (number, number)),
        ));
        common.extend(within(Field::Pcp, &self.matches.pcp));
        let mut bases = vec![common];
        for (field, patterns) in [
            (Field::SourceMac, &self.matches.source_mac),
            (Field::DestinationMac, &self.matches.destination_mac),
        ] {
            if patterns.is_empty() {
                continue;
            }
            let with = |base: &Vec<Test>| -> Vec<Vec<Test>> {
                let add = |pattern: &crate::config::valid::MacPattern| {
                    let mut tests = base.clone();
                    tests.push(match pattern.mask == field.largest() {
                        true => Test::is(field, pattern.address),
                        false => Test::masked(field, pattern.mask, pattern.address),
                    });
                    tests
                };
                patterns.iter().map(add).collect()
            };
            bases = bases.iter().flat_map(with).collect();
        }
        bases
    }

    /// The case of EtherTypes that are no family.
    fn push_other(&self, mut tests: Vec<Test>, cases: &mut Vec<Vec<Test>>) {
        tests.extend(within(Field::Ethertype, &self.matches.ethertype));
        cases.push(tests);
    }

    /// The cases of one family: one, and another for the later fragments of what is denied by
    /// something that they do not show.
    fn push_family(&self, base: &[Test], family: Family, cases: &mut Vec<Vec<Test>>) {
        let mut tests = base.to_vec();
        tests.push(Test::is(Field::Ethertype, family.ethertype().into()));
        for (sets, high, low) in [
            (&self.source, Field::SourceHigh, Field::SourceLow),
            (
                &self.destination,
                Field::DestinationHigh,
                Field::DestinationLow,
            ),
        ] {
            if let Some(sets) = sets {
                addresses(&mut tests, family, sets, high, low);
            }
        }
        tests.extend(within(Field::Dscp, &self.matches.dscp));
        if family == Family::Arp {
            tests.extend(within(Field::Protocol, &self.matches.arp_operation));
            return cases.push(tests);
        }
        let protocols = self.protocols(family);
        if protocols.is_empty() && !self.matches.protocol.is_empty() {
            return;
        }
        self.push_later(&tests, family, &protocols, cases);
        tests.extend(among(Field::Protocol, protocols.iter().copied()));
        if self.matches.transport.any() {
            tests.push(Test::is(Field::Transport, 1));
            tests.extend(within(Field::SourcePort, &self.matches.transport.source));
            tests.extend(within(
                Field::DestinationPort,
                &self.matches.transport.destination,
            ));
            tests.extend(
                self.matches.transport.tcp_flags.map(|flags| {
                    Test::masked(Field::TcpFlags, flags.mask.into(), flags.value.into())
                }),
            );
        }
        let is = |fragment: Fragment| Test::is(Field::Fragment, fragment as u64);
        match self.matches.fragment {
            None => {}
            Some(Fragments::No) => tests.push(is(Fragment::No)),
            Some(Fragments::First) => tests.push(is(Fragment::First)),
            Some(Fragments::Later) => tests.push(is(Fragment::Later)),
            Some(Fragments::Any) => tests.push(Test::between(
                Field::Fragment,
                Fragment::First as u64,
                Fragment::Later as u64,
            )),
        }
        cases.push(tests);
    }

    /// What is denied by ports, or by a protocol that an IPv6 fragment may hide, is denied to later
    /// fragments, which may belong to it.
    fn push_later(
        &self,
        tests: &[Test],
        family: Family,
        protocols: &[(u64, u64)],
        cases: &mut Vec<Vec<Test>>,
    ) {
        let reached = matches!(
            self.matches.fragment,
            None | Some(Fragments::Any | Fragments::Later)
        );
        let hidden = family == Family::Ipv6 && !protocols.is_empty();
        let unseen = self.matches.transport.any() || hidden;
        if self.action != Action::Deny || !reached || !unseen {
            return;
        }
        let between = BETWEEN
            .iter()
            .map(|number| (u64::from(*number), u64::from(*number)));
        let between = between.filter(|_| hidden);
        let mut later = tests.to_vec();
        later.extend(among(
            Field::Protocol,
            protocols.iter().copied().chain(between),
        ));
        later.push(Test::is(Field::Fragment, Fragment::Later as u64));
        cases.push(later);
    }

    /// The protocols that packets of a family can have: ICMP is IPv4's and ICMPv6 IPv6's.
    fn protocols(&self, family: Family) -> Vec<(u64, u64)> {
        let foreign = match family {
            Family::Ipv4 => protocol::ICMPV6,
            Family::Ipv6 | Family::Arp => protocol::ICMP,
        };
        let foreign = NumberRange::from(u16::from(foreign));
        let own = self
            .matches
            .protocol
            .iter()
            .filter(|Protocol(range)| *range != foreign);
        own.map(|Protocol(range)| (range.first.into(), range.last.into()))
            .collect()
    }
}

impl Family {
    const fn ethertype(self) -> u16 {
        match self {
            Self::Ipv4 => ETHERTYPE_IPV4,
            Self::Ipv6 => ETHERTYPE_IPV6,
            Self::Arp => ETHERTYPE_ARP,
        }
    }
}

fn each(families: Families) -> impl Iterator<Item = Family> {
    let all = [
        (families.ipv4, Family::Ipv4),
        (families.ipv6, Family::Ipv6),
        (families.arp, Family::Arp),
    ];
    all.into_iter()
        .filter_map(|(is, family)| is.then_some(family))
}

/// The test that a field is in one of the ranges; none where there are none.
fn within(field: Field, ranges: &[NumberRange]) -> Option<Test> {
    among(
        field,
        ranges
            .iter()
            .map(|range| (range.first.into(), range.last.into())),
    )
}

fn among(field: Field, ranges: impl Iterator<Item = (u64, u64)>) -> Option<Test> {
    let ranges: Vec<_> = ranges
        .map(|(low, high)| (low.into(), high.into()))
        .collect();
    if ranges.is_empty() {
        return None;
    }
    let set = Set::new(ranges);
    Some(match set.ranges() {
        [(low, high)] => Test::between(field, *low as u64, *high as u64),
        _ => Test::InSet {
            high: None,
            low: field,
            set: Arc::new(set),
        },
    })
}

/// The tests that an address is in the set of its family.
fn addresses(tests: &mut Vec<Test>, family: Family, sets: &Sets, high: Field, low: Field) {
    let ipv6 = family == Family::Ipv6;
    let set = if ipv6 { &sets.ipv6 } else { &sets.ipv4 };
    let halves = |number: u128| ((number >> 64) as u64, number as u64);
    match set.ranges() {
        [(first, last)] => {
            let ((first_high, first_low), (last_high, last_low)) = (halves(*first), halves(*last));
            if !ipv6 {
                tests.push(Test::between(low, first_low, last_low));
            } else if first_high == last_high {
                tests.push(Test::is(high, first_high));
                tests.push(Test::between(low, first_low, last_low));
            } else if (first_low, last_low) == (0, u64::MAX) {
                tests.push(Test::between(high, first_high, last_high));
            } else {
                tests.push(in_set(ipv6, set, high, low));
            }
        }
        _ => tests.push(in_set(ipv6, set, high, low)),
    }
}

fn in_set(ipv6: bool, set: &Arc<Set>, high: Field, low: Field) -> Test {
    Test::InSet {
        high: ipv6.then_some(high),
        low,
        set: Arc::clone(set),
    }
}
