//! Access control lists as a person would describe them: random ones, their text in a file, and
//! what they say about a frame's bytes. Written from the manual and the RFCs, without the engine's
//! parser and classifier.

use std::fmt::Write as _;

use super::{
    rng::Rng,
    rules::{Address, Rules},
    wrong::Wrong,
};

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Allow,
    Deny,
    Count,
    Log,
}

impl Action {
    /// Whether it decides nothing, and the next rule is asked.
    fn goes_on(self) -> bool {
        matches!(self, Self::Count | Self::Log)
    }
}

#[derive(Clone, Debug)]
pub struct Acl {
    pub default_allows: bool,
    pub rules: Vec<Rule>,
}

/// The lists that a port or network has attached, by their positions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attached {
    pub from_port: Option<usize>,
    pub to_port: Option<usize>,
}

/// An address and the length of its prefix.
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    pub ipv6: bool,
    address: u128,
    length: u32,
}

/// Conditions; an empty list is none.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Whatever else changes, the rule stays the same one.
    name: Option<String>,
    action: Action,
    /// Address and mask.
    source_mac: Option<(Address, Address)>,
    ethertype: Option<u16>,
    pcp: Option<(u8, u8)>,
    arp_operation: Option<u8>,
    source: Vec<Prefix>,
    destination: Vec<Prefix>,
    protocol: Vec<u8>,
    source_port: Vec<(u16, u16)>,
    destination_port: Vec<(u16, u16)>,
    /// Set, and clear.
    tcp_flags: Option<(u8, u8)>,
    dscp: Option<u8>,
    fragment: Option<&'static str>,
    pub acts: Acts,
    /// The policer that measures what meets it, by buckets of the rule's own.
    pub police: Option<usize>,
}

/// What rules do with a frame besides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acts {
    pub class: Option<u8>,
    pub pcp: Option<u8>,
    pub dscp: Option<u8>,
}

impl Acts {
    /// These, and others that have the last word.
    pub fn then(self, later: Self) -> Self {
        Self {
            class: later.class.or(self.class),
            pcp: later.pcp.or(self.pcp),
            dscp: later.dscp.or(self.dscp),
        }
    }
}

const FLAGS: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
const PORTS: [u16; 5] = [22, 53, 80, 443, 8080];
const PROTOCOLS: [u8; 8] = [6, 6, 17, 17, 1, 58, 132, 47];

/// Gives rules other lists, or some other rules in the lists that they have, and ports and networks
/// other attachments.
pub fn decorate(rng: &mut Rng, rules: &mut Rules) {
    if rules.acls.is_empty() || rng.chance(35) {
        let count = rng.below(4);
        rules.acls = (0..count).map(|_| acl(rng)).collect();
    } else {
        rules.acls.iter_mut().for_each(|acl| edit(rng, acl));
    }
    let count = rules.acls.len();
    let mut attach = || {
        let mut one = || rng.chance(40).then(|| rng.choose(0..count)).flatten();
        Attached {
            from_port: one(),
            to_port: one(),
        }
    };
    rules
        .ports
        .values_mut()
        .for_each(|port| port.acls = attach());
    rules
        .networks
        .values_mut()
        .for_each(|network| network.acls = attach());
}

fn acl(rng: &mut Rng) -> Acl {
    let count = rng.pick(&[0, 1, 2, 4, 8, 20]);
    let mut counting = 0;
    let mut rules: Vec<Rule> = (0..count).map(|_| rule(rng)).collect();
    // What people write most: some ports are open, and nothing else.
    let open = rng.chance(25);
    if open {
        let mut first = Rule::new(Action::Allow);
        first.destination_port = vec![(1, 500)];
        rules.insert(0, first);
    }
    // More than a flow can keep.
    let all = rng.pick(&[0, 0, 0, 0, 0, 0, 0, 5, 9, 14]);
    rules.splice(..0, std::iter::repeat_n(Rule::new(Action::Count), all));
    for rule in &mut rules {
        counting += usize::from(rule.action.goes_on());
        if rule.action.goes_on() && counting > 16 {
            rule.action = Action::Deny;
            rule.acts = Acts::default();
        }
    }
    let mut acl = Acl {
        default_allows: !open && rng.chance(60),
        rules,
    };
    name_rules(rng, &mut acl);
    acl
}

impl Acl {
    /// Whether the rule at a position denies, or the default behind the last.
    pub fn denies(&self, position: usize) -> bool {
        let rule = self.rules.get(position);
        rule.map_or(!self.default_allows, |rule| rule.action == Action::Deny)
    }

    /// Whether the rule at a position decides nothing, and the next is asked.
    pub fn goes_on(&self, position: usize) -> bool {
        let rule = self.rules.get(position);
        rule.is_some_and(|rule| rule.action.goes_on())
    }

    /// What tells the rules of a list from others, whatever comes before and behind them: the name,
    /// or what a rule says and how many before it say the same.
    pub fn identities(&self) -> Vec<String> {
        let mut said: Vec<String> = Vec::new();
        let identity = |rule: &Rule| {
            if let Some(name) = &rule.name {
                return format!("@{name}");
            }
            let mut text = String::new();
            rule.render(&mut text);
            let before = said.iter().filter(|other| **other == text).count();
            said.push(text.clone());
            format!("{text}{before}")
        };
        self.rules.iter().map(identity).collect()
    }
}

/// Changes a list as people do: a rule comes, goes, or says something else under its name.
fn edit(rng: &mut Rng, acl: &mut Acl) {
    for _ in 0..rng.range(1, 3) {
        let counting = acl.rules.iter().filter(|it| it.action.goes_on());
        let new = rule(rng);
        let full = counting.count() >= 16 && new.action.goes_on();
        let at = rng.choose(0..acl.rules.len());
        match (rng.below(3), at) {
            _ if full => {}
            (0, _) | (_, None) => acl.rules.insert(rng.range(0, acl.rules.len()), new),
            (1, Some(at)) => drop(acl.rules.remove(at)),
            (_, Some(at)) => {
                let name = acl.rules[at].name.take();
                acl.rules[at] = Rule { name, ..new };
            }
        }
    }
    name_rules(rng, acl);
}

/// Gives rules names that no other of their list has.
fn name_rules(rng: &mut Rng, acl: &mut Acl) {
    for at in 0..acl.rules.len() {
        let name = format!("rule-{}", rng.below(100));
        let taken = |rule: &Rule| rule.name.as_ref() == Some(&name);
        let free = !acl.rules.iter().any(taken);
        if acl.rules[at].name.is_none() && free && rng.chance(10) {
            acl.rules[at].name = Some(name);
        }
    }
}

/// Lets some rules police what meets them, in lists that are attached one way only: where a list is
/// attached both ways, its rules measure a burst that comes in before any of it leaves, and what is
/// a burst is the engine's own affair.
pub fn police(rng: &mut Rng, rules: &mut Rules) {
    let policers = rules.policers.len();
    for list in 0..rules.acls.len() {
        let may = attach_one_way(rng, rules, list);
        for rule in &mut rules.acls[list].rules {
            let stays = rule.police.is_some_and(|policer| policer < policers) && rng.chance(85);
            if !may || rule.action == Action::Deny {
                rule.police = None;
            } else if !stays {
                rule.police = rng.choose(0..policers).filter(|_| rng.chance(35));
            }
        }
    }
}

/// Takes a list that is attached both ways off one of them, or leaves it as it is; whether it is
/// attached one way at most.
fn attach_one_way(rng: &mut Rng, rules: &mut Rules, list: usize) -> bool {
    let ports = rules.ports.values_mut().map(|port| &mut port.acls);
    let networks = rules.networks.values_mut();
    let mut all: Vec<&mut Attached> = ports
        .chain(networks.map(|network| &mut network.acls))
        .collect();
    let comes_in = all.iter().any(|acls| acls.from_port == Some(list));
    let goes_out = all.iter().any(|acls| acls.to_port == Some(list));
    if !(comes_in && goes_out) {
        return true;
    }
    if rng.chance(30) {
        return false;
    }
    let stays_in = rng.chance(50);
    for acls in &mut all {
        let gone = match stays_in {
            true => &mut acls.to_port,
            false => &mut acls.from_port,
        };
        *gone = gone.filter(|other| *other != list);
    }
    true
}

fn rule(rng: &mut Rng) -> Rule {
    let actions = [Action::Allow, Action::Deny, Action::Count, Action::Log];
    let action = actions[rng.weighted(&[10, 10, 3, 2])];
    let mut rule = Rule::new(action);
    if rng.chance(10) {
        rule.source_mac = Some(rng.pick(&[
            ([2, 0, 0, 0, 0, 1], [0xff; 6]),
            ([2, 0, 0, 0, 0, 0], [0xff, 0xff, 0xff, 0xff, 0xff, 0xfc]),
            ([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 2]),
        ]));
    }
    if rng.chance(10) {
        let first = rng.below(8) as u8;
        rule.pcp = Some((first, rng.range(first.into(), 7) as u8));
    }
    match rng.weighted(&[1, 2, 3, 14]) {
        0 => {}
        1 => rule.ethertype = Some(rng.pick(&[0x0800, 0x86dd, 0x0806, 0x9100, 0x8100])),
        2 => {
            rule.ethertype = Some(0x0806);
            rule.arp_operation = rng.chance(40).then(|| rng.pick(&[1, 2]));
            rule.source = prefixes(rng, Some(false));
        }
        _ => ip_conditions(rng, &mut rule),
    }
    if action != Action::Deny && rng.chance(25) {
        let mut number = |most| rng.chance(50).then(|| rng.range(0, most) as u8);
        rule.acts = Acts {
            class: number(7),
            pcp: number(7),
            dscp: number(63),
        };
    }
    rule
}

fn ip_conditions(rng: &mut Rng, rule: &mut Rule) {
    let ipv6 = match rng.below(3) {
        0 => None,
        family => Some(family == 1),
    };
    rule.source = prefixes(rng, ipv6);
    rule.destination = prefixes(rng, ipv6);
    match rng.weighted(&[3, 3, 8, 2]) {
        0 => {}
        1 => {
            let number = rng.pick(&PROTOCOLS);
            // Of the other family there is no such packet, and a file is told so.
            let foreign = matches!((number, ipv6), (1, Some(true)) | (58, Some(false)));
            let mixed = number == 1 || number == 58;
            if !(foreign || mixed && ipv6.is_none()) {
                rule.protocol = vec![number];
            }
        }
        2 => {
            if rng.chance(60) {
                rule.protocol = [vec![6], vec![17], vec![6, 17]][rng.below(3)].clone();
            }
            let range = |rng: &mut Rng| {
                let first = rng.pick(&PORTS);
                (first, first + rng.pick(&[0, 0, 1, 100]))
            };
            if rng.chance(30) {
                rule.source_port = vec![range(rng)];
            }
            rule.destination_port = vec![range(rng)];
            if rng.chance(30) {
                rule.destination_port.push(range(rng));
            }
        }
        _ => rule.tcp_flags = Some(rng.pick(&[(2, 16), (16, 0), (0, 4)])),
    }
    if rng.chance(8) {
        rule.dscp = Some(rng.pick(&[0, 46]));
    }
    if rng.chance(15) {
        let denies = rule.action == Action::Deny;
        rule.fragment = Some(match (rule.needs_transport(), denies) {
            (true, false) => rng.pick(&["no", "first"]),
            (true, true) => rng.pick(&["no", "first", "any"]),
            (false, _) => rng.pick(&["no", "first", "later", "any"]),
        });
    }
}

/// Addresses of a family, or of both.
fn prefixes(rng: &mut Rng, ipv6: Option<bool>) -> Vec<Prefix> {
    if rng.chance(70) {
        return Vec::new();
    }
    let mut list = Vec::new();
    for family in [false, true] {
        if ipv6.is_some_and(|wanted| wanted != family) {
            continue;
        }
        for _ in 0..rng.range(1, 2) {
            let (whole, some) = if family { (128, 120) } else { (32, 24) };
            let length = rng.pick(&[whole, whole, whole - 1, some, 8]);
            let address = address(rng, family);
            let host = whole - length;
            list.push(Prefix {
                ipv6: family,
                address: address >> host << host,
                length,
            });
        }
    }
    list
}

/// Addresses of both families.
pub fn some_prefixes(rng: &mut Rng) -> Vec<Prefix> {
    std::iter::repeat_with(|| prefixes(rng, None))
        .find(|list| !list.is_empty())
        .expect("some are not empty")
}

pub fn mac_text(mac: Address) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

fn address(rng: &mut Rng, ipv6: bool) -> u128 {
    // Of a host that has none yet, and of one that made its own.
    match rng.below(20) {
        0 => return 0,
        1 | 2 if ipv6 => {
            let own = 0x0000_00ff_fe00_0000 | rng.range(1, 4) as u128;
            return 0xfe80 << 112 | own;
        }
        _ => {}
    }
    let host = rng.range(1, 4) as u128;
    let network = rng.pick(&[0, 0, 0, 1]) as u128;
    if ipv6 {
        0xfd00 << 112 | network << 64 | host
    } else {
        0x0a00_0000 | network << 8 | host
    }
}

impl Prefix {
    pub fn text(&self) -> String {
        if self.ipv6 {
            format!(
                "\"{}/{}\"",
                std::net::Ipv6Addr::from(self.address),
                self.length
            )
        } else {
            format!(
                "\"{}/{}\"",
                std::net::Ipv4Addr::from(self.address as u32),
                self.length
            )
        }
    }

    pub fn has(&self, address: u128) -> bool {
        let size = if self.ipv6 { 128 } else { 32 };
        (0..self.length).all(|bit| {
            let at = size - 1 - bit;
            address >> at & 1 == self.address >> at & 1
        })
    }
}

pub fn list<T>(values: &[T], text: impl Fn(&T) -> String) -> String {
    let texts: Vec<String> = values.iter().map(text).collect();
    format!("[{}]", texts.join(", "))
}

/// The lists as a file says them.
pub fn render(text: &mut String, acls: &[Acl]) {
    for (index, acl) in acls.iter().enumerate() {
        let default = if acl.default_allows { "allow" } else { "deny" };
        let _ = write!(
            text,
            "[[acl]]\nname = \"acl-{index}\"\ndefault = \"{default}\"\n"
        );
        for rule in &acl.rules {
            rule.render(text);
        }
    }
}

/// The attachments of a port or network.
pub fn render_attached(text: &mut String, acls: &Attached) {
    for (key, list) in [
        ("acl_from_port", acls.from_port),
        ("acl_to_port", acls.to_port),
    ] {
        if let Some(list) = list {
            let _ = writeln!(text, "{key} = \"acl-{list}\"");
        }
    }
}

impl Rule {
    /// A rule that every frame meets.
    fn new(action: Action) -> Self {
        Self {
            name: None,
            action,
            source_mac: None,
            ethertype: None,
            pcp: None,
            arp_operation: None,
            source: Vec::new(),
            destination: Vec::new(),
            protocol: Vec::new(),
            source_port: Vec::new(),
            destination_port: Vec::new(),
            tcp_flags: None,
            dscp: None,
            fragment: None,
            acts: Acts::default(),
            police: None,
        }
    }

    fn needs_transport(&self) -> bool {
        !self.source_port.is_empty()
            || !self.destination_port.is_empty()
            || self.tcp_flags.is_some()
    }

    /// Whether it is about IP packets only.
    fn needs_ip(&self) -> bool {
        let addresses = !self.source.is_empty() || !self.destination.is_empty();
        self.needs_transport()
            || !self.protocol.is_empty()
            || self.dscp.is_some()
            || self.fragment.is_some()
            || (addresses && self.ethertype.is_none())
    }

    fn render(&self, text: &mut String) {
        let action = match self.action {
            Action::Allow => "allow",
            Action::Deny => "deny",
            Action::Count => "count",
            Action::Log => "log",
        };
        let _ = write!(text, "[[acl.rule]]\naction = \"{action}\"\n");
        if let Some(name) = &self.name {
            let _ = writeln!(text, "name = \"{name}\"");
        }
        if let Some((address, mask)) = self.source_mac {
            let (address, mask) = (mac_text(address), mac_text(mask));
            let _ = writeln!(text, "source_mac = \"{address}/{mask}\"");
        }
        if let Some(ethertype) = self.ethertype {
            let _ = writeln!(text, "ethertype = \"{ethertype:#06x}\"");
        }
        if let Some((first, last)) = self.pcp {
            let _ = writeln!(text, "pcp = \"{first}-{last}\"");
        }
        if let Some(operation) = self.arp_operation {
            let _ = writeln!(text, "arp_operation = {operation}");
        }
        for (key, prefixes) in [("source", &self.source), ("destination", &self.destination)] {
            if !prefixes.is_empty() {
                let _ = writeln!(text, "{key} = {}", list(prefixes, Prefix::text));
            }
        }
        if !self.protocol.is_empty() {
            let _ = writeln!(text, "protocol = {}", list(&self.protocol, u8::to_string));
        }
        for (key, ports) in [
            ("source_port", &self.source_port),
            ("destination_port", &self.destination_port),
        ] {
            if !ports.is_empty() {
                let range = |(first, last): &(u16, u16)| format!("\"{first}-{last}\"");
                let _ = writeln!(text, "{key} = {}", list(ports, range));
            }
        }
        if let Some((set, clear)) = self.tcp_flags {
            let words = |bits: u8, mark: &'static str| {
                let named = FLAGS.iter().enumerate();
                named
                    .filter(move |(bit, _)| bits >> bit & 1 == 1)
                    .map(move |(_, name)| format!("{mark}{name}"))
            };
            let all: Vec<String> = words(set, "").chain(words(clear, "!")).collect();
            let _ = writeln!(text, "tcp_flags = \"{}\"", all.join(","));
        }
        if let Some(dscp) = self.dscp {
            let _ = writeln!(text, "dscp = {dscp}");
        }
        if let Some(fragment) = self.fragment {
            let _ = writeln!(text, "fragment = \"{fragment}\"");
        }
        for (key, number) in [
            ("class", self.acts.class),
            ("mark_pcp", self.acts.pcp),
            ("mark_dscp", self.acts.dscp),
        ] {
            if let Some(number) = number {
                let _ = writeln!(text, "{key} = {number}");
            }
        }
        if let Some(policer) = self.police {
            let _ = writeln!(text, "police = \"policer-{policer}\"");
        }
    }
}

/// What a packet of a frame is, for rules.
#[derive(Clone, Debug, Default)]
pub struct Packet {
    pub ethertype: u16,
    pub source_mac: Address,
    pcp: u8,
    /// IPv6?
    pub ip: Option<bool>,
    arp_operation: u8,
    pub arp_sender: Address,
    pub source: u128,
    pub destination: u128,
    pub protocol: u8,
    dscp: u8,
    /// `no`, `first` or `later`.
    pub fragment: &'static str,
    /// Ports and flags.
    pub transport: Option<(u16, u16, u8)>,
    /// Where in the frame the transport header begins, and where the packet ends.
    pub l4: (usize, usize),
}

/// The packet cannot be read.
pub struct Malformed;

/// Numbers from the front of some bytes, or the packet is cut short.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(Malformed)?;
        self.0 = rest;
        Ok(front)
    }

    fn number(&mut self, size: usize) -> Result<u128, Malformed> {
        let bytes = self.take(size)?.iter();
        Ok(bytes.fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }
}

pub fn read(bytes: &[u8]) -> Result<Packet, Malformed> {
    let mut reader = Reader(bytes);
    let mut packet = Packet {
        fragment: "no",
        ..Packet::default()
    };
    reader.take(6)?;
    packet.source_mac = reader.take(6)?.try_into().map_err(|_| Malformed)?;
    packet.ethertype = reader.number(2)? as u16;
    let is_tag = |ethertype: u16| ethertype == 0x8100 || ethertype == 0x88a8;
    if is_tag(packet.ethertype) {
        packet.pcp = (reader.number(2)? >> 13) as u8;
        packet.ethertype = reader.number(2)? as u16;
    }
    let mut inner = packet.ethertype;
    let mut further = 0;
    while is_tag(inner) {
        further += 1;
        // The engine looks at four, and takes more for a trick.
        if further > 4 || reader.number(2)? & 0xfff == 0 {
            return Err(Malformed);
        }
        inner = reader.number(2)? as u16;
    }
    if inner < 0x600 {
        let llc = reader.0.get(..6).unwrap_or_default();
        // Bits that receivers differ about do not count.
        let snap = matches!(llc, [0xaa | 0xab, 0xaa | 0xab, 0x03 | 0x13, 0, 0, 0 | 0xf8]);
        let of_snap = reader.0.get(6..8).map(|t| u16::from_be_bytes([t[0], t[1]]));
        let read = of_snap.is_some_and(|t| is_tag(t) || [0x800, 0x86dd, 0x806].contains(&t));
        return if snap && read {
            Err(Malformed)
        } else {
            Ok(packet)
        };
    }
    if further > 0 {
        return Ok(packet);
    }
    match packet.ethertype {
        0x0800 | 0x86dd => {
            // Where they end, from the end of the frame.
            let packet_start = bytes.len() - reader.0.len();
            match packet.ethertype {
                0x0800 => ipv4(&mut packet, reader.0)?,
                _ => ipv6(&mut packet, reader.0)?,
            }
            packet.l4.0 += packet_start;
            packet.l4.1 += packet_start;
        }
        0x0806 => arp(&mut packet, reader)?,
        _ => {}
    }
    Ok(packet)
}

fn arp(packet: &mut Packet, mut reader: Reader<'_>) -> Result<(), Malformed> {
    if reader.take(6)? != [0, 1, 8, 0, 6, 4] {
        return Err(Malformed);
    }
    packet.arp_operation = u8::try_from(reader.number(2)?).map_err(|_| Malformed)?;
    packet.arp_sender = reader.take(6)?.try_into().map_err(|_| Malformed)?;
    packet.source = reader.number(4)?;
    reader.take(6)?;
    packet.destination = reader.number(4)?;
    Ok(())
}

fn ipv4(packet: &mut Packet, bytes: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader(bytes);
    let first = reader.number(1)?;
    packet.dscp = (reader.number(1)? >> 2) as u8;
    let total = reader.number(2)? as usize;
    reader.take(2)?;
    let fragment = reader.number(2)?;
    reader.take(1)?;
    packet.protocol = reader.number(1)? as u8;
    reader.take(2)?;
    packet.source = reader.number(4)?;
    packet.destination = reader.number(4)?;
    let header = (first & 15) as usize * 4;
    if first >> 4 != 4 || header < 20 || total < header || total > bytes.len() {
        return Err(Malformed);
    }
    packet.ip = Some(false);
    let payload = &bytes[header..total];
    packet.l4 = (header, total);
    fragmented(packet, (fragment & 0x1fff) as u16, fragment & 0x2000 != 0)?;
    transport(packet, payload)
}

fn fragmented(packet: &mut Packet, offset: u16, more: bool) -> Result<(), Malformed> {
    packet.fragment = match (offset, more) {
        (0, false) => "no",
        (0, true) => "first",
        _ => "later",
    };
    if offset == 1 && packet.protocol == 6 {
        return Err(Malformed);
    }
    Ok(())
}

fn ipv6(packet: &mut Packet, bytes: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader(bytes);
    let first = reader.number(4)?;
    let length = reader.number(2)? as usize;
    packet.dscp = (first >> 22 & 63) as u8;
    packet.protocol = reader.number(1)? as u8;
    reader.take(1)?;
    packet.source = reader.number(16)?;
    packet.destination = reader.number(16)?;
    if first >> 28 != 6 || reader.0.len() < length {
        return Err(Malformed);
    }
    packet.ip = Some(true);
    reader.0 = &reader.0[..length];
    let mut had_fragment = false;
    for count in 0.. {
        let extension = packet.protocol;
        if ![0, 43, 44, 51, 60].contains(&extension) {
            break;
        }
        let next = reader.number(1)? as u8;
        let size = reader.number(1)? as usize;
        if count == 8 || (extension == 0 && count > 0) {
            return Err(Malformed);
        }
        packet.protocol = next;
        match extension {
            44 => {
                let offset = reader.number(2)? as u16;
                reader.take(4)?;
                if had_fragment && packet.fragment != "no" {
                    return Err(Malformed);
                }
                had_fragment = true;
                fragmented(packet, offset >> 3, offset & 1 != 0)?;
            }
            51 => drop(reader.take(size * 4 + 6)?),
            _ => drop(reader.take(size * 8 + 6)?),
        }
        if packet.fragment == "later" {
            return Ok(());
        }
    }
    packet.l4 = (40 + length - reader.0.len(), 40 + length);
    transport(packet, reader.0)
}

fn transport(packet: &mut Packet, payload: &[u8]) -> Result<(), Malformed> {
    if packet.fragment == "later" {
        return Ok(());
    }
    let mut reader = Reader(payload);
    packet.transport = match packet.protocol {
        6 => {
            let (source, destination) = (reader.number(2)?, reader.number(2)?);
            reader.take(8)?;
            let (offset, flags) = (reader.number(1)? >> 4, reader.number(1)?);
            reader.take(6)?;
            if offset < 5 || offset as usize * 4 > payload.len() {
                return Err(Malformed);
            }
            Some((source as u16, destination as u16, flags as u8))
        }
        17 => {
            let (source, destination) = (reader.number(2)?, reader.number(2)?);
            let length = reader.number(2)? as usize;
            reader.take(2)?;
            if length < 8 || (packet.fragment == "no" && length > payload.len()) {
                return Err(Malformed);
            }
            Some((source as u16, destination as u16, 0))
        }
        132 => {
            let ports = (reader.number(2)? as u16, reader.number(2)? as u16, 0);
            reader.take(8)?;
            Some(ports)
        }
        1 | 58 => {
            let kinds = (reader.number(1)? as u16, reader.number(1)? as u16, 0);
            reader.take(2)?;
            Some(kinds)
        }
        _ => None,
    };
    Ok(())
}

impl Rule {
    /// Whether a packet meets the conditions.
    fn is_met(&self, packet: &Packet, wrong: Option<Wrong>) -> bool {
        let mac = self.source_mac.is_none_or(|(address, mask)| {
            (0..6).all(|byte| packet.source_mac[byte] & mask[byte] == address[byte])
        });
        let below = mac
            && self
                .ethertype
                .is_none_or(|ethertype| ethertype == packet.ethertype)
            && self
                .pcp
                .is_none_or(|(first, last)| (first..=last).contains(&packet.pcp))
            && self
                .arp_operation
                .is_none_or(|operation| operation == packet.arp_operation);
        let ipv6 = packet.ip == Some(true);
        let inside = |prefixes: &[Prefix], address: u128| {
            let mut own = prefixes.iter().filter(|prefix| prefix.ipv6 == ipv6);
            prefixes.is_empty() || own.any(|prefix| prefix.has(address))
        };
        let addresses =
            inside(&self.source, packet.source) && inside(&self.destination, packet.destination);
        if !below || !addresses || (self.needs_ip() && packet.ip.is_none()) {
            return false;
        }
        self.dscp.is_none_or(|dscp| dscp == packet.dscp) && self.is_met_by_ip(packet, wrong)
    }

    fn is_met_by_ip(&self, packet: &Packet, wrong: Option<Wrong>) -> bool {
        let later = packet.fragment == "later";
        let fragment = match self.fragment {
            None => true,
            Some("any") => packet.fragment != "no",
            Some(word) => word == packet.fragment,
        };
        let mut protocols = self.protocol.clone();
        if protocols.is_empty() && self.tcp_flags.is_some() {
            protocols = vec![6];
        } else if protocols.is_empty() && self.needs_transport() {
            protocols = vec![6, 17, 132];
        }
        let ipv6 = packet.ip == Some(true);
        let foreign = if ipv6 { 1 } else { 58 };
        let listed = protocols.contains(&packet.protocol) && packet.protocol != foreign;
        let hidden = ipv6
            && later
            && self.action == Action::Deny
            && protocols.iter().any(|protocol| *protocol != foreign)
            && [0, 43, 51, 60].contains(&packet.protocol);
        let protocol = protocols.is_empty() || listed || hidden;
        if !fragment || !protocol {
            return false;
        }
        if !self.needs_transport() {
            return true;
        }
        if later {
            return match self.action {
                Action::Deny => wrong != Some(Wrong::LaterFragmentsEscape),
                _ => wrong == Some(Wrong::LaterFragmentsAreAllowed),
            };
        }
        let Some((source, destination, flags)) = packet.transport else {
            return false;
        };
        let inside = |ranges: &[(u16, u16)], port: u16| {
            ranges.is_empty()
                || ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&port))
        };
        inside(&self.source_port, source)
            && inside(&self.destination_port, destination)
            && self
                .tcp_flags
                .is_none_or(|(set, clear)| flags & set == set && flags & clear == 0)
    }
}

/// What a frame meets, by list and position: in each of these lists the rules up to the one that
/// decides, or else the default, which is behind the last. Where it is denied the next list is not
/// asked.
pub fn met(
    acls: &[Acl],
    lists: &[usize],
    bytes: &[u8],
    wrong: Option<Wrong>,
) -> Vec<(usize, usize)> {
    let mut met = Vec::new();
    let Ok(packet) = read(bytes) else {
        return met;
    };
    for list in lists {
        let acl = &acls[*list];
        let is_met = |position: &usize| {
            let rule = acl.rules.get(*position);
            rule.is_none_or(|rule| rule.is_met(&packet, wrong))
        };
        for position in (0..=acl.rules.len()).filter(is_met) {
            met.push((*list, position));
            if acl.denies(position) {
                return met;
            }
            if !acl.goes_on(position) {
                break;
            }
        }
    }
    met
}

/// What lists say about a frame: none, if it is malformed.
pub fn allows(acls: &[&Acl], bytes: &[u8], wrong: Option<Wrong>) -> Option<bool> {
    let packet = match read(bytes) {
        Ok(packet) => packet,
        Err(Malformed) => return (wrong == Some(Wrong::MalformedPasses)).then_some(true),
    };
    let allows = |acl: &&Acl| {
        let deciding = |rule: &&Rule| {
            let counts = rule.action.goes_on() && wrong != Some(Wrong::CountingAllows);
            !counts && rule.is_met(&packet, wrong)
        };
        let mut rules: Vec<&Rule> = acl.rules.iter().filter(deciding).collect();
        if wrong == Some(Wrong::LastMatchWins) {
            rules.reverse();
        }
        let default = acl.default_allows || wrong == Some(Wrong::DefaultAllows);
        rules
            .first()
            .map_or(default, |rule| rule.action != Action::Deny)
    };
    Some(acls.iter().all(allows))
}

/// A payload for this EtherType: mostly one that can be read.
pub fn payload(rng: &mut Rng, ethertype: [u8; 2]) -> Vec<u8> {
    let mut bytes = match ethertype {
        [8, 0] => ipv4_payload(rng),
        [0x86, 0xdd] => ipv6_payload(rng),
        [8, 6] => {
            let mut bytes = vec![0, 1, 8, 0, 6, 4, 0, rng.pick(&[1, 2, 3])];
            bytes.extend([2, 0, 0, 0, 0, rng.range(1, 4) as u8]);
            bytes.extend((address(rng, false) as u32).to_be_bytes());
            bytes.extend([0; 6]);
            bytes.extend((address(rng, false) as u32).to_be_bytes());
            bytes
        }
        _ => rng
            .pick(&[
                &[0xaa_u8, 0xaa, 3, 0, 0, 0, 8, 0][..],
                &[0x42, 0x42, 3],
                &[],
            ])
            .to_vec(),
    };
    if rng.chance(8) && !bytes.is_empty() {
        let at = rng.below(bytes.len());
        bytes[at] = rng.next() as u8;
    }
    bytes
}

fn l4(rng: &mut Rng, protocol: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    match protocol {
        58 if rng.chance(60) => bytes.extend(discovery(rng)),
        1 | 58 => bytes.extend([rng.pick(&[0, 8, 128, 131, 143]), 0, 0, 0, 0, 0, 0, 0]),
        17 if rng.chance(25) => {
            let mut services = vec![[67, 68], [68, 67], [547, 546], [546, 547]];
            services.extend([[67, 9], [9, 68], [547, 9], [9, 546]]);
            bytes.extend(rng.pick(&services).map(u16::to_be_bytes).as_flattened());
            bytes.extend([0, 8, 0, 0]);
        }
        6 | 17 | 132 => {
            for _ in 0..2 {
                let port = rng.pick(&PORTS) + rng.pick(&[0, 0, 0, 1]);
                bytes.extend(port.to_be_bytes());
            }
            match protocol {
                6 => {
                    let flags = rng.pick(&[2, 16, 18, 4]);
                    bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0, 9, 0, 0, 0, 0]);
                }
                17 => bytes.extend([0, 8, 0, 0]),
                _ => bytes.extend([0; 8]),
            }
        }
        _ => bytes.extend([0; 8]),
    }
    bytes
}

/// A message of neighbour discovery, mostly a whole one.
fn discovery(rng: &mut Rng) -> Vec<u8> {
    let kind = rng.range(133, 137) as u8;
    let mut bytes = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    match kind {
        133 => {}
        134 => bytes.extend([0; 8]),
        _ => bytes.extend(address(rng, true).to_be_bytes()),
    }
    if kind == 137 {
        bytes.extend(address(rng, true).to_be_bytes());
    }
    while rng.chance(45) {
        let kind = rng.pick(&[1, 1, 2, 2, 5]);
        let length = rng.pick(&[1, 1, 1, 1, 1, 1, 1, 2, 0]);
        bytes.extend([kind, length, 2, 0, 0, 0, 0, rng.range(1, 4) as u8]);
    }
    bytes
}

fn ipv4_payload(rng: &mut Rng) -> Vec<u8> {
    let protocol = rng.pick(&PROTOCOLS);
    let fragment: u16 = rng.pick(&[0, 0, 0x4000, 0x2000, 0x2002, 0x0007, 0x0005, 0x0001]);
    let l4 = l4(rng, protocol);
    let total = (20 + l4.len()) as u16;
    let mut bytes = vec![0x45, rng.pick(&[0, 0, 0xb8])];
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, protocol, 0, 0]);
    if l4.starts_with(&[0, 68, 0, 67]) && rng.chance(60) {
        bytes.extend([0, 0, 0, 0, 255, 255, 255, 255]);
    } else {
        for _ in 0..2 {
            bytes.extend((address(rng, false) as u32).to_be_bytes());
        }
    }
    bytes.extend(l4);
    bytes
}

fn ipv6_payload(rng: &mut Rng) -> Vec<u8> {
    let protocol = rng.pick(&PROTOCOLS);
    let mut rest = l4(rng, protocol);
    let mut next = protocol;
    while rng.chance(35) {
        let kind: u8 = rng.pick(&[60, 43, 44, 44, 51]);
        let mut header = match kind {
            44 => {
                let offset: u16 = rng.pick(&[0, 1, 1, 0x0010, 0x0011, 0x0008]);
                let [high, low] = offset.to_be_bytes();
                vec![next, 0, high, low, 0, 0, 0, 1]
            }
            51 => vec![next, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            _ => vec![next, 0, 0, 0, 0, 0, 0, 0],
        };
        header.extend(rest);
        rest = header;
        next = kind;
    }
    let class: u8 = rng.pick(&[0, 0, 0xb8]);
    let mut bytes = vec![0x60 | class >> 4, class << 4, 0, 0];
    bytes.extend((rest.len() as u16).to_be_bytes());
    bytes.extend([next, 64]);
    for _ in 0..2 {
        bytes.extend(address(rng, true).to_be_bytes());
    }
    bytes.extend(rest);
    bytes
}
