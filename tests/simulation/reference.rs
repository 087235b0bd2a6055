//! The reference switch: slow, obvious, and written from 802.1Q and the documentation alone. It
//! shares no code with the engine but the names of roles and drop reasons.

use std::collections::{BTreeMap, HashMap};

use switch_core::{config::snapshot::Role, counters::DropReason, limits::MAX_FRAME_SIZE};

use super::{
    acl::{self, Acl, Acts, Attached},
    classes,
    flap::Flaps,
    hits::Hits,
    meter::{Meters, Place},
    rules::{Accept, Address, Membership, Port, Rules, Static},
    wrong::Wrong,
};

/// What was counted for a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub rx_frames: u64,
    pub rx_bytes: u64,
    pub tx_frames: u64,
    pub tx_bytes: u64,
    pub drops: BTreeMap<DropReason, u64>,
}

/// The state of an attached port's device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    pub up: bool,
    pub mtu: u32,
}

/// Where a station is, and when it was last heard of; a static entry has no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Station {
    pub port: usize,
    pub seen: Option<u64>,
}

/// The whole switch.
#[derive(Clone, Debug, Default)]
pub struct Reference {
    pub now: u64,
    pub rules: Rules,
    /// Attached ports.
    pub links: BTreeMap<usize, Link>,
    /// By network and address.
    pub fdb: HashMap<(usize, Address), Station>,
    pub totals: BTreeMap<usize, Totals>,
    pub flooded: BTreeMap<usize, u64>,
    pub copies: u64,
    /// Frames that a port's TX ring still has room for, where that is limited.
    pub room: HashMap<usize, usize>,
    pub meters: Meters,
    pub hits: Hits,
    pub flaps: Flaps,
    /// Frames that left, in their order, with the port that they left by, and the queue that they
    /// waited in there.
    pub sent: Vec<(usize, usize, Vec<u8>)>,
    /// What it does wrong, to see that somebody notices.
    pub wrong: Option<Wrong>,
}

/// What the rules do with a frame that the lists of a place let pass.
#[derive(Clone, Debug, Default)]
struct Passed {
    acts: Acts,
    /// Those that measure it.
    measuring: Vec<Place>,
}

impl Passed {
    /// By rules of these lists, in the order in which they are met.
    fn by(acls: &[Acl], met: &[(usize, usize)]) -> Self {
        // A default does nothing besides.
        let rules = met.iter().filter_map(|(list, position)| {
            let rule = acls[*list].rules.get(*position)?;
            Some((Place::Rule(*list, *position), rule))
        });
        let acts = rules.clone().map(|(_, rule)| rule.acts);
        let measuring = rules.filter(|(_, rule)| rule.police.is_some());
        Self {
            acts: acts.fold(Acts::default(), Acts::then),
            measuring: measuring.map(|(place, _)| place).collect(),
        }
    }
}

/// A frame taken apart.
struct Frame<'a> {
    bytes: &'a [u8],
    destination: Address,
    source: Address,
    /// TPID and TCI of the outer tag.
    tag: Option<(u16, u16)>,
    /// A second tag follows.
    further_tag: bool,
    /// Green or yellow.
    colour: u8,
    /// The traffic class, as the port believes it.
    class: u8,
    /// What rules do with it where it comes in.
    passed: Passed,
}

fn is_tpid(ethertype: u16) -> bool {
    ethertype == 0x8100 || ethertype == 0x88a8
}

fn is_group(mac: Address) -> bool {
    mac[0] & 1 == 1
}

fn parse(bytes: &[u8]) -> Result<Frame<'_>, DropReason> {
    let word = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
    let ethertype = word(12).ok_or(DropReason::Truncated)?;
    let mut frame = Frame {
        bytes,
        destination: bytes[..6].try_into().expect("6 bytes"),
        source: bytes[6..12].try_into().expect("6 bytes"),
        tag: None,
        further_tag: false,
        colour: 0,
        class: 1,
        passed: Passed::default(),
    };
    if is_tpid(ethertype) {
        let tci = word(14).ok_or(DropReason::Truncated)?;
        frame.tag = Some((ethertype, tci));
        frame.further_tag = is_tpid(word(16).ok_or(DropReason::Truncated)?);
    }
    Ok(frame)
}

/// How a network's frames leave by a port: without a tag, or with this VID; none: not at all.
fn egress(rules: &Rules, port: &Port, network: usize) -> Option<Option<u16>> {
    match &port.membership {
        Membership::Access(own) => (*own == network).then_some(None),
        Membership::Trunk {
            native,
            native_tagged,
            tagged,
        } => {
            if *native == Some(network) {
                return Some(rules.networks[&network].vid.filter(|_| *native_tagged));
            }
            let own = tagged.iter().find(|(_, member)| *member == network);
            own.map(|(vid, _)| Some(*vid))
        }
    }
}

impl Reference {
    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    fn count_drop(&mut self, port: usize, reason: DropReason) {
        let drops = &mut self.totals.entry(port).or_default().drops;
        *drops.entry(reason).or_default() += 1;
    }

    /// A port receives a frame.
    pub fn receive(&mut self, ingress: usize, bytes: &[u8]) {
        let totals = self.totals.entry(ingress).or_default();
        totals.rx_frames += 1;
        totals.rx_bytes += bytes.len() as u64;
        let classified = self.classify(ingress, bytes);
        if self.is(Wrong::LearnsWhatItRefuses)
            && classified.as_ref().err() == Some(&DropReason::VidNotMember)
        {
            let mac = bytes[6..12].try_into().expect("6 bytes");
            let network = *self.rules.networks.keys().next().expect("a network");
            let _ = self.learn(ingress, network, mac);
        }
        let admitted = classified.and_then(|(network, mut frame)| {
            if !self.is(Wrong::DeniedTeaches) {
                frame.passed = self.meet(ingress, network, bytes, false)?;
            }
            Ok((network, frame))
        });
        let policed = admitted.and_then(|(network, frame)| {
            // Drop eligible, says the tag: yellow.
            let came = u8::from(frame.tag.is_some_and(|(_, tci)| tci & 0x1000 != 0));
            let rules = frame.passed.measuring.clone();
            let owners = [Place::FromPort(ingress), Place::FromNetwork(network)];
            let colour = self.police(rules, owners, bytes.len(), came);
            let colour = colour.ok_or(DropReason::PolicedFromPort)?;
            Ok((network, Frame { colour, ..frame }))
        });
        let learned = policed.and_then(|(network, frame)| {
            self.learn(ingress, network, frame.source)?;
            if self.is(Wrong::DeniedTeaches) {
                self.meet(ingress, network, bytes, false)?;
            }
            Ok((network, frame))
        });
        match learned {
            Ok((network, frame)) => self.forward(ingress, network, &frame),
            Err(reason) => self.count_drop(ingress, reason),
        }
    }

    /// The network of a frame: reception, acceptable frame types, ingress filtering and policy.
    pub fn network_of(&self, ingress: usize, bytes: &[u8]) -> Result<usize, DropReason> {
        self.admit(ingress, bytes).map(|(network, _)| network)
    }

    /// The network of a frame that goes on past all lists where it comes in.
    fn admit<'a>(&self, ingress: usize, bytes: &'a [u8]) -> Result<(usize, Frame<'a>), DropReason> {
        let (network, mut frame) = self.classify(ingress, bytes)?;
        if !self.is(Wrong::DeniedTeaches) {
            frame.passed = self.pass(&self.lists(ingress, network, false), bytes, false)?;
        }
        Ok((network, frame))
    }

    /// The network of a frame that comes to the lists.
    fn classify<'a>(
        &self,
        ingress: usize,
        bytes: &'a [u8],
    ) -> Result<(usize, Frame<'a>), DropReason> {
        use DropReason::*;
        let up = self.links.get(&ingress).is_some_and(|link| link.up);
        let port = self.rules.ports.get(&ingress).filter(|_| up);
        let port = port.ok_or(PortDown)?;
        if bytes.len() > MAX_FRAME_SIZE {
            return Err(TooLong);
        }
        let mut frame = parse(bytes)?;
        frame.class = classes::class_of(&self.rules, port, bytes, self.wrong);
        if is_group(frame.source) || frame.source == [0; 6] {
            return Err(SourceInvalid);
        }
        let reserved = frame.destination[..5] == [0x01, 0x80, 0xc2, 0, 0];
        let reserved = reserved && frame.destination[5] <= 0x0f;
        if reserved && !self.rules.forward_reserved && !self.is(Wrong::RelaysReserved) {
            return Err(ReservedGroup);
        }
        let network = self.classify_vlan(port, &frame)?;
        if !self.is(Wrong::GuardsIgnored) {
            port.security.check(bytes, self.wrong)?;
        }
        Ok((network, frame))
    }

    /// The lists between a port and the switch; `out` is towards the port.
    fn lists(&self, port: usize, network: usize, out: bool) -> Vec<usize> {
        if self.is(Wrong::ListsIgnored) {
            return Vec::new();
        }
        let of_network = self.rules.networks[&network].acls;
        let of_port = self.rules.ports[&port].acls;
        let forgotten = self.is(Wrong::NetworksForgotten);
        let of_network = if forgotten {
            Attached::default()
        } else {
            of_network
        };
        let lists = match out != self.is(Wrong::DirectionsSwapped) {
            true => [of_network.to_port, of_port.to_port],
            false => [of_port.from_port, of_network.from_port],
        };
        lists.into_iter().flatten().collect()
    }

    /// A frame comes to the lists between a port and the switch, and their rules count it.
    fn meet(
        &mut self,
        port: usize,
        network: usize,
        bytes: &[u8],
        out: bool,
    ) -> Result<Passed, DropReason> {
        let lists = self.lists(port, network, out);
        if !(out && self.is(Wrong::WaysOutUncounted)) {
            let acls = &self.rules.acls;
            self.hits.count(acls, &lists, bytes, self.wrong);
        }
        self.pass(&lists, bytes, out)
    }

    /// What these lists let pass.
    fn pass(&self, lists: &[usize], bytes: &[u8], out: bool) -> Result<Passed, DropReason> {
        let all = &self.rules.acls;
        let acls: Vec<_> = lists.iter().map(|list| &all[*list]).collect();
        if acls.is_empty() {
            return Ok(Passed::default());
        }
        match (acl::allows(&acls, bytes, self.wrong), out) {
            (None, _) => Err(DropReason::Malformed),
            (Some(true), _) if self.is(Wrong::RulesOnlyAllow) => Ok(Passed::default()),
            (Some(true), _) => {
                let met = acl::met(all, lists, bytes, self.wrong);
                Ok(Passed::by(all, &met))
            }
            (Some(false), true) => Err(DropReason::AclToPort),
            (Some(false), false) => Err(DropReason::AclFromPort),
        }
    }

    /// The colour that a frame of so many bytes goes on with, after the rules that it has met and
    /// the port and the network that it is of; none: it is dropped.
    fn police(
        &mut self,
        rules: Vec<Place>,
        owners: [Place; 2],
        bytes: usize,
        came: u8,
    ) -> Option<u8> {
        let (now, wrong) = (self.now, self.wrong);
        let places: Vec<Place> = match wrong {
            Some(Wrong::RulePolicersIgnored) => owners.into(),
            Some(Wrong::RulePolicersLast) => owners.into_iter().chain(rules).collect(),
            _ => rules.into_iter().chain(owners).collect(),
        };
        self.meters.police(places, now, bytes, came, wrong)
    }

    fn classify_vlan(&self, port: &Port, frame: &Frame<'_>) -> Result<usize, DropReason> {
        use DropReason::*;
        // A trunk whose only network has no VID is an access port by another name.
        let (pvid, has_vids) = match &port.membership {
            Membership::Access(network) => (Some(*network), false),
            Membership::Trunk { native, tagged, .. } => {
                let of_native = native.and_then(|network| self.rules.networks[&network].vid);
                (*native, of_native.is_some() || !tagged.is_empty())
            }
        };
        let access = matches!(port.membership, Membership::Access(_));
        let pvid = pvid.filter(|_| port.accept != Accept::Tagged);
        let takes_tags = has_vids && port.accept != Accept::Untagged;
        let Some((tpid, tci)) = frame.tag else {
            return pvid.ok_or(UntaggedNotAccepted);
        };
        if tpid != port.tpid && self.is(Wrong::ForeignTagIsPayload) {
            return pvid.ok_or(UntaggedNotAccepted);
        }
        if tpid != port.tpid {
            return Err(if takes_tags {
                TpidMismatch
            } else {
                TaggedNotAccepted
            });
        }
        let vid = tci & 0xfff;
        if vid == 0 {
            if frame.further_tag && !self.is(Wrong::PriorityTagHidesTag) {
                return Err(HiddenTag);
            }
            return pvid.ok_or(UntaggedNotAccepted);
        }
        if access && self.is(Wrong::AccessTakesOwnVid) {
            let own = pvid.filter(|network| self.rules.networks[network].vid == Some(vid));
            return own.ok_or(TaggedNotAccepted);
        }
        if !takes_tags {
            return Err(TaggedNotAccepted);
        }
        if vid == 0xfff {
            return Err(VidReserved);
        }
        self.network_of_vid(port, vid).ok_or(VidNotMember)
    }

    /// The network that a VID means on a trunk.
    fn network_of_vid(&self, port: &Port, vid: u16) -> Option<usize> {
        let Membership::Trunk { native, tagged, .. } = &port.membership else {
            return None;
        };
        let own = |network: &usize| self.rules.networks[network].vid == Some(vid);
        if self.is(Wrong::NoIngressFiltering) {
            return self.rules.networks.keys().find(|n| own(n)).copied();
        }
        let listed = tagged.iter().find(|(number, _)| *number == vid);
        listed.map(|(_, network)| *network).or(native
            .filter(own)
            .filter(|_| !self.is(Wrong::NativeVidRefused)))
    }

    fn has_expired(&self, station: Station) -> bool {
        let ageing = u64::from(self.rules.ageing_s);
        station
            .seen
            .is_some_and(|seen| match self.is(Wrong::AgesOneTickEarly) {
                true => self.now - seen >= ageing.max(1),
                false => self.now - seen > ageing,
            })
    }

    fn database(&self, network: usize) -> usize {
        if self.is(Wrong::SharedLearning) {
            0
        } else {
            network
        }
    }

    /// Remembers where the source is, unless that is not allowed.
    fn learn(&mut self, ingress: usize, network: usize, mac: Address) -> Result<(), DropReason> {
        let key = (self.database(network), mac);
        let entry = self.fdb.get(&key).copied();
        let seen = Some(self.now);
        let limits = self.rules.flaps;
        let limits = limits.filter(|_| !self.is(Wrong::NeverQuarantined));
        if limits.is_some() && self.flaps.holds(key, ingress, self.now, self.wrong) {
            return Err(DropReason::MacFlapping);
        }
        match entry {
            Some(Station { port, seen: None }) if !self.is(Wrong::StaticsMove) => {
                return if port == ingress {
                    Ok(())
                } else {
                    Err(DropReason::StaticMoved)
                };
            }
            Some(station) if station.port == ingress && !self.has_expired(station) => {
                if self.is(Wrong::NeverRefreshes) {
                    return Ok(());
                }
            }
            Some(_) if self.is(Wrong::NeverMoves) => return Ok(()),
            // New, for this port at least: does it have room for one more?
            _ => {
                let is_other = |(other, station): &(&(usize, Address), &Station)| {
                    let counts = station.seen.is_some() || self.is(Wrong::MacLimitCountsStatics);
                    station.port == ingress && counts && **other != key
                };
                let others = self.fdb.iter().filter(is_other).count();
                let slack = usize::from(self.is(Wrong::MacLimitPlusOne));
                let limit = self.rules.ports[&ingress].mac_limit;
                if limit.is_some_and(|limit| others >= limit as usize + slack) {
                    return Err(DropReason::MacLimit);
                }
            }
        }
        let mut port = ingress;
        let came = entry.filter(|s| s.port != ingress && !self.has_expired(*s));
        if let (Some(limits), Some(Station { port: from, .. })) = (limits, came) {
            let way = (from, ingress);
            let moved = self.flaps.moves(key, way, self.now, limits, self.wrong);
            port = moved.err().unwrap_or(ingress);
        }
        self.fdb.insert(key, Station { port, seen });
        match port == ingress {
            true => Ok(()),
            false => Err(DropReason::MacFlapping),
        }
    }

    fn may_pass(&self, from: usize, to: usize) -> Result<(), DropReason> {
        let (from, to) = (&self.rules.ports[&from], &self.rules.ports[&to]);
        if from.role == Role::Uplink && to.role == Role::Uplink && !self.is(Wrong::UplinksBridged) {
            return Err(DropReason::UplinkToUplink);
        }
        if from.isolated && to.isolated && !self.is(Wrong::IsolationForgotten) {
            return Err(DropReason::Isolated);
        }
        Ok(())
    }

    fn is_member(&self, port: usize, network: usize) -> bool {
        let port = self.rules.ports.get(&port);
        port.is_some_and(|port| egress(&self.rules, port, network).is_some())
    }

    fn forward(&mut self, ingress: usize, network: usize, frame: &Frame<'_>) {
        let key = (self.database(network), frame.destination);
        let station = self.fdb.get(&key).copied();
        let station = station.filter(|s| !is_group(frame.destination) && !self.has_expired(*s));
        if let Some(Station { port, .. }) = station {
            if port == ingress {
                return self.count_drop(ingress, DropReason::SamePort);
            }
            if self.is_member(port, network) {
                return match self.may_pass(ingress, port) {
                    Ok(()) => self.send(network, frame, port),
                    Err(reason) => self.count_drop(ingress, reason),
                };
            }
        }
        let (now, wrong) = (self.now, self.wrong);
        if let Err(reason) = self.meters.flood(ingress, now, frame.bytes, wrong) {
            return self.count_drop(ingress, reason);
        }
        let is_up = |port: &usize| {
            self.links.get(port).is_some_and(|link| link.up) || self.is(Wrong::FloodsToDownPorts)
        };
        let ports: Vec<usize> = self.targets(ingress, network).filter(is_up).collect();
        if ports.is_empty() {
            return self.count_drop(ingress, DropReason::NoDestination);
        }
        *self.flooded.entry(network).or_default() += 1;
        self.copies += ports.len() as u64 - 1;
        for port in ports {
            self.send(network, frame, port);
        }
    }

    /// The ports that a frame of a network may go to at all.
    fn targets(&self, ingress: usize, network: usize) -> impl Iterator<Item = usize> {
        let back = self.is(Wrong::FloodsBack);
        let ports = self.rules.ports.keys().copied();
        ports.filter(move |port| {
            self.is_member(*port, network)
                && (*port != ingress || back)
                && self.may_pass(ingress, *port).is_ok()
        })
    }

    /// Everything that may come out if this comes in, wherever the station is that it is for.
    pub fn possible(&self, ingress: usize, bytes: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let Ok((network, frame)) = self.admit(ingress, bytes) else {
            return Vec::new();
        };
        let targets = self.targets(ingress, network);
        let frames = targets.filter_map(|port| {
            let lists = self.lists(port, network, true);
            let passed = self.pass(&lists, bytes, true).ok()?;
            let (bytes, _) = self.retag(network, &frame, port, &passed).ok()?;
            Some((port, bytes))
        });
        // A policer may mark what leaves with a tag.
        let marked = |(port, bytes): (usize, Vec<u8>)| {
            let mut other = bytes.clone();
            if egress(&self.rules, &self.rules.ports[&port], network)
                .flatten()
                .is_some()
            {
                other[14] |= 0x10;
            }
            [(port, bytes), (port, other)]
        };
        frames.flat_map(marked).collect()
    }

    fn send(&mut self, network: usize, frame: &Frame<'_>, port: usize) {
        let is_up = self.mtu_of(port).map(drop);
        let passed = is_up.and_then(|()| self.meet(port, network, frame.bytes, true));
        let left = passed.and_then(|passed| {
            let (bytes, class) = self.retag(network, frame, port, &passed)?;
            Ok((bytes, class, passed.measuring))
        });
        let (mut bytes, class, rules) = match left {
            Ok(left) => left,
            Err(reason) => return self.count_drop(port, reason),
        };
        let owners = [Place::ToNetwork(network), Place::ToPort(port)];
        let Some(colour) = self.police(rules, owners, bytes.len(), frame.colour) else {
            return self.count_drop(port, DropReason::PolicedToPort);
        };
        let tagged = egress(&self.rules, &self.rules.ports[&port], network).flatten();
        if tagged.is_some() && colour == 1 && !self.is(Wrong::DropEligibilityLost) {
            bytes[14] |= 0x10;
        }
        if let Some(room) = self.room.get_mut(&port) {
            if *room == 0 {
                return self.count_drop(port, DropReason::TxRingFull);
            }
            *room -= 1;
        }
        let totals = self.totals.entry(port).or_default();
        totals.tx_frames += 1;
        totals.tx_bytes += bytes.len() as u64;
        let queue = classes::queue_of(&self.rules, &self.rules.ports[&port], class);
        self.sent.push((port, queue, bytes));
    }

    /// The MTU of a port's device, if it is up.
    fn mtu_of(&self, port: usize) -> Result<usize, DropReason> {
        let link = self.links.get(&port).filter(|link| link.up);
        Ok(link.ok_or(DropReason::PortDown)?.mtu as usize)
    }

    /// The frame as it leaves by a port that is a member of the network and whose lists it has
    /// passed, and its class there.
    fn retag(
        &self,
        network: usize,
        frame: &Frame<'_>,
        port: usize,
        passed: &Passed,
    ) -> Result<(Vec<u8>, u8), DropReason> {
        let mtu = self.mtu_of(port)?;
        let acts = frame.passed.acts.then(passed.acts);
        let class = acts.class.unwrap_or(frame.class);
        let rules = &self.rules.ports[&port];
        let tag = egress(&self.rules, rules, network).ok_or(DropReason::NoDestination)?;
        let payload = &frame.bytes[if frame.tag.is_some() { 16 } else { 12 }..];
        let mut bytes = frame.bytes[..12].to_vec();
        let mut longest = 14 + mtu;
        match tag {
            None if frame.further_tag && !self.is(Wrong::PopsHiddenTags) => {
                return Err(DropReason::HiddenTag);
            }
            None => {}
            Some(vid) => {
                let own = self.rules.networks[&network].vid;
                let vid = own.filter(|_| self.is(Wrong::NoTranslation)).unwrap_or(vid);
                let priority = match frame.tag {
                    Some((_, 0x1000..)) if self.is(Wrong::PriorityLost) => 0,
                    Some((_, tci)) if self.is(Wrong::DropEligibilityLost) => tci & 0xe000,
                    tag => tag.map_or(0, |(_, tci)| tci & 0xf000),
                };
                bytes.extend(rules.tpid.to_be_bytes());
                bytes.extend((priority | vid).to_be_bytes());
                longest += if self.is(Wrong::MtuIncludesTag) { 0 } else { 4 };
            }
        }
        bytes.extend(payload);
        if bytes.len() > longest {
            return Err(DropReason::MtuExceeded);
        }
        if !self.is(Wrong::MarksForgotten) {
            classes::mark(&self.rules, rules, class, acts, &mut bytes, self.wrong);
        }
        Ok((bytes, class))
    }
}

/// What the control thread does. Where workers see a change before the forwarding database is
/// brought in line with it, there are two functions, and frames may be received between the two.
impl Reference {
    /// Rules come into force; ports that they do not have are detached before.
    pub fn publish_rules(&mut self, rules: Rules) -> Rules {
        let before = std::mem::replace(&mut self.rules, rules);
        self.meters.adopt(&self.rules, self.now, self.wrong);
        self.hits.adopt(&self.rules, self.wrong);
        if self.rules.flaps.is_none() {
            self.flaps.retain(|_, _| false);
        }
        for port in self.rules.ports.keys() {
            if !before.ports.contains_key(port) {
                self.totals.remove(port);
            }
        }
        before
    }

    /// Forgets what the rules no longer allow, and enters their static entries.
    pub fn align_fdb(&mut self, before: &Rules) {
        for entry in &before.statics {
            if !self.rules.statics.contains(entry) {
                self.fdb.remove(&(entry.network, entry.mac));
            }
        }
        let remembers = self.is(Wrong::RemembersFormerMembers);
        let rules = &self.rules;
        let member = |rules: &Rules, port: usize, network: usize| {
            let port = rules.ports.get(&port);
            port.is_some_and(|port| port.networks().contains(&network))
        };
        let stays = |network: usize, port: usize| {
            let was = member(before, port, network);
            let gone =
                before.networks.contains_key(&network) && !rules.networks.contains_key(&network);
            let left = before.ports.contains_key(&port) && !rules.ports.contains_key(&port);
            remembers || !gone && !left && (!was || member(rules, port, network))
        };
        self.flaps.retain(stays);
        self.fdb
            .retain(|(network, _), station| stays(*network, station.port));
        for entry in self.rules.statics.clone() {
            // What the rules say takes the place of what somebody has added by hand.
            if self.add_static(entry).is_err() {
                self.remove(entry.network, entry.mac);
                let _ = self.add_static(entry);
            }
        }
    }

    /// The state of a port's device: none when it is detached.
    pub fn publish_link(&mut self, port: usize, link: Option<Link>) {
        match link {
            Some(link) => self.links.insert(port, link),
            None => self.links.remove(&port),
        };
    }

    /// Forgets the stations behind a port that went down or away.
    pub fn forget_port(&mut self, port: usize) {
        if !self.is(Wrong::RemembersDownPorts) {
            self.flush(None, Some(port), None, false);
        }
    }

    /// Adds a static entry; the port that has the address already, if that is another static one.
    pub fn add_static(&mut self, entry: Static) -> Result<(), Option<usize>> {
        if is_group(entry.mac) || entry.mac == [0; 6] {
            return Err(None);
        }
        let key = (entry.network, entry.mac);
        match self.fdb.get(&key) {
            Some(Station { port, seen: None }) if *port != entry.port => Err(Some(*port)),
            _ => {
                let port = entry.port;
                self.fdb.insert(key, Station { port, seen: None });
                if !self.is(Wrong::StaticsAreHeld) {
                    self.flaps.forget(key);
                }
                Ok(())
            }
        }
    }

    pub fn remove(&mut self, network: usize, mac: Address) -> bool {
        self.fdb.remove(&(network, mac)).is_some()
    }

    /// Forgets what matches all that is given; gives the number.
    pub fn flush(
        &mut self,
        network: Option<usize>,
        port: Option<usize>,
        mac: Option<Address>,
        statics: bool,
    ) -> usize {
        let before = self.fdb.len();
        self.fdb.retain(|key, station| {
            let matches = network.is_none_or(|network| network == key.0)
                && port.is_none_or(|port| port == station.port)
                && mac.is_none_or(|mac| mac == key.1)
                && (statics || station.seen.is_some());
            !matches
        });
        before - self.fdb.len()
    }

    /// Forgets what has expired; gives the number.
    pub fn age(&mut self) -> usize {
        let expired: Vec<_> = self
            .fdb
            .iter()
            .filter(|(_, s)| self.has_expired(**s))
            .collect();
        let expired: Vec<_> = expired.into_iter().map(|(key, _)| *key).collect();
        for key in &expired {
            self.fdb.remove(key);
        }
        expired.len()
    }

    /// The valid entries: network, address, port, age.
    pub fn entries(&self) -> Vec<(usize, Address, usize, Option<u64>)> {
        let valid = self
            .fdb
            .iter()
            .filter(|(_, station)| !self.has_expired(**station));
        let entry = |((network, mac), station): (&(usize, Address), &Station)| {
            let age = station.seen.map(|seen| self.now - seen);
            (*network, *mac, station.port, age)
        };
        let mut entries: Vec<_> = valid.map(entry).collect();
        entries.sort_unstable();
        entries
    }
}
