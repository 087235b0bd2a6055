//! Policers and storm control, from RFC 2697, RFC 2698 and the manual: buckets of bits, filled by
//! the second, since a world's time goes by whole seconds.

use std::{collections::BTreeMap, fmt::Write as _};

use switch_core::counters::DropReason;

use super::{rng::Rng, rules::Rules, wrong::Wrong};

/// Bits a second and bytes at once.
pub type Limit = (u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain,
    /// RFC 2697, with the excess burst in bytes.
    SingleRate(u64),
    /// RFC 2698.
    TwoRate(Limit),
}

/// The words for what becomes of a frame.
const ACTIONS: [&str; 3] = ["drop", "mark", "pass"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policer {
    limit: Limit,
    kind: Kind,
    aware: bool,
    exceed: Option<&'static str>,
    violate: Option<&'static str>,
}

impl Policer {
    /// What becomes of frames above the first level and above the second, whether the file says it
    /// or leaves it out.
    fn actions(self) -> [&'static str; 2] {
        let exceed = match self.kind {
            Kind::Plain => "drop",
            _ => "mark",
        };
        [
            self.exceed.unwrap_or(exceed),
            self.violate.unwrap_or("drop"),
        ]
    }

    /// Whether another one, perhaps in other words, does the same.
    fn does_as(self, other: Self) -> bool {
        let all = |it: Self| (it.limit, it.kind, it.aware, it.actions());
        all(self) == all(other)
    }
}

/// Policers by their positions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Policed {
    pub from_port: Option<usize>,
    pub to_port: Option<usize>,
}

/// What storm control counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storm {
    Frames(u64),
    Bits(u64),
}

/// What a file says of broadcast, multicast and unknown unicast: nothing, `none`, or a rate.
pub type Storms = [Option<Option<Storm>>; 3];

const STORM_KEYS: [&str; 3] = [
    "broadcast_limit",
    "multicast_limit",
    "unknown_unicast_limit",
];

/// Rates at which a byte takes a whole number of the engine's units of time.
const RATES: [u64; 5] = [8_000, 16_000, 64_000, 80_000, 800_000];
const BURSTS: [u64; 4] = [10_000, 10_240, 20_000, 65_536];

/// Gives rules other policers, and ports other limits.
pub fn decorate(rng: &mut Rng, rules: &mut Rules) {
    let count = rng.range(1, 3);
    rules.policers = (0..count).map(|_| policer(rng)).collect();
    let policed = |rng: &mut Rng| {
        let mut one = || rng.chance(45).then(|| rng.choose(0..count)).flatten();
        Policed {
            from_port: one(),
            to_port: one(),
        }
    };
    for network in rules.networks.values_mut() {
        network.policed = policed(rng);
    }
    for port in rules.ports.values_mut() {
        port.policed = policed(rng);
        port.storms = [(); 3].map(|()| {
            rng.chance(50).then(|| match rng.below(5) {
                0 => None,
                1 | 2 => Some(Storm::Bits(rng.pick(&RATES))),
                _ => Some(Storm::Frames(rng.pick(&[1, 1, 2, 5, 10, 100]))),
            })
        });
    }
}

fn policer(rng: &mut Rng) -> Policer {
    let rate = rng.pick(&RATES[1..4]);
    let burst = rng.pick(&BURSTS);
    let kind = match rng.below(3) {
        0 => Kind::Plain,
        1 => Kind::SingleRate(rng.pick(&BURSTS)),
        _ => Kind::TwoRate((rate * rng.pick(&[1, 5, 10]), rng.pick(&BURSTS))),
    };
    let action = |rng: &mut Rng| rng.chance(50).then(|| rng.pick(&ACTIONS));
    Policer {
        limit: (rate, burst),
        kind,
        aware: rng.chance(40),
        exceed: action(rng),
        violate: action(rng).filter(|_| kind != Kind::Plain),
    }
}

/// The policers as a file says them.
pub fn render(text: &mut String, policers: &[Policer]) {
    for (index, policer) in policers.iter().enumerate() {
        let (rate, burst) = policer.limit;
        let _ = write!(
            text,
            "[[policer]]\nname = \"policer-{index}\"\nrate = \"{rate} bit/s\"\n\
             burst = \"{burst} B\"\ncolour_aware = {}\n",
            policer.aware
        );
        let _ = match policer.kind {
            Kind::Plain => Ok(()),
            Kind::SingleRate(excess) => writeln!(text, "excess_burst = \"{excess} B\""),
            Kind::TwoRate((rate, burst)) => write!(
                text,
                "peak_rate = \"{rate} bit/s\"\npeak_burst = \"{burst} B\"\n"
            ),
        };
        for (key, action) in [("exceed", policer.exceed), ("violate", policer.violate)] {
            if let Some(action) = action {
                let _ = writeln!(text, "{key} = \"{action}\"");
            }
        }
    }
}

pub fn render_policed(text: &mut String, policed: &Policed) {
    for (key, policer) in [
        ("police_from_port", policed.from_port),
        ("police_to_port", policed.to_port),
    ] {
        if let Some(policer) = policer {
            let _ = writeln!(text, "{key} = \"policer-{policer}\"");
        }
    }
}

pub fn render_storms(text: &mut String, storms: &Storms) {
    for (key, storm) in STORM_KEYS.iter().zip(storms) {
        let _ = match storm {
            None => Ok(()),
            Some(None) => writeln!(text, "{key} = \"none\""),
            Some(Some(Storm::Frames(rate))) => writeln!(text, "{key} = \"{rate} frames/s\""),
            Some(Some(Storm::Bits(rate))) => writeln!(text, "{key} = \"{rate} bit/s\""),
        };
    }
}

/// What is in a bucket, in bits, since when.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    bits: u64,
    depth: u64,
}

impl Bucket {
    fn full(bytes: u64) -> Self {
        let depth = bytes * 8;
        Self { bits: depth, depth }
    }

    /// Fills it; gives what does not fit.
    fn add(&mut self, bits: u64) -> u64 {
        let all = self.bits + bits;
        self.bits = all.min(self.depth);
        all - self.bits
    }

    fn has(&self, bits: u64) -> bool {
        self.bits >= bits
    }

    fn take(&mut self, bits: u64) {
        self.bits -= bits;
    }
}

/// Frames and bytes of each colour.
pub type Counted = [(u64, u64); 3];

/// A policer at work.
#[derive(Clone, Debug)]
struct Meter {
    rules: Policer,
    seen: u64,
    first: Bucket,
    second: Bucket,
    counted: Counted,
}

impl Meter {
    fn new(rules: Policer, now: u64) -> Self {
        let second = match rules.kind {
            Kind::Plain => 0,
            Kind::SingleRate(excess) => excess,
            Kind::TwoRate((_, burst)) => burst,
        };
        Self {
            rules,
            seen: now,
            first: Bucket::full(rules.limit.1),
            second: Bucket::full(second),
            counted: Counted::default(),
        }
    }

    /// The colour of a frame (0 green, 1 yellow, 2 red) that came green or yellow.
    fn measure(&mut self, now: u64, bytes: usize, came: u8, wrong: Option<Wrong>) -> u8 {
        let seconds = now - self.seen;
        self.seen = now;
        let over = self.first.add(self.rules.limit.0 * seconds);
        match self.rules.kind {
            Kind::Plain => {}
            Kind::SingleRate(_) if wrong == Some(Wrong::ExcessNeverFills) => {}
            Kind::SingleRate(_) => drop(self.second.add(over)),
            Kind::TwoRate((rate, _)) => drop(self.second.add(rate * seconds)),
        }
        let bits = bytes as u64 * 8;
        let aware = self.rules.aware && wrong != Some(Wrong::ColoursIgnored);
        let came = if aware { came } else { 0 };
        match self.rules.kind {
            Kind::Plain if came == 0 && self.first.has(bits) => self.first.take(bits),
            Kind::Plain => return 2,
            Kind::SingleRate(_) if came == 0 && self.first.has(bits) => self.first.take(bits),
            Kind::SingleRate(_) if self.second.has(bits) => {
                self.second.take(bits);
                return 1;
            }
            Kind::SingleRate(_) => return 2,
            Kind::TwoRate(_) if !self.second.has(bits) => return 2,
            Kind::TwoRate(_) => {
                self.second.take(bits);
                if came > 0 || !self.first.has(bits) {
                    return 1;
                }
                self.first.take(bits);
            }
        }
        0
    }

    /// The colour that a frame goes on with; none: it is dropped.
    fn police(&mut self, now: u64, bytes: usize, came: u8, wrong: Option<Wrong>) -> Option<u8> {
        let [exceed, violate] = self.rules.actions();
        let colour = self.measure(now, bytes, came, wrong);
        let (frames, sum) = &mut self.counted[usize::from(colour)];
        *frames += 1;
        *sum += bytes as u64;
        let action = match (colour, self.rules.kind) {
            (0, _) => return Some(came),
            (_, Kind::Plain) | (1, _) => exceed,
            _ => violate,
        };
        match action {
            "drop" => None,
            "mark" if wrong != Some(Wrong::NeverMarks) => Some(1),
            _ => Some(came),
        }
    }
}

/// Where something is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    FromPort(usize),
    ToPort(usize),
    FromNetwork(usize),
    ToNetwork(usize),
    /// A rule, by its list and its position there, wherever the list is attached.
    Rule(usize, usize),
}

/// All that is measured, with the names of its owners.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    policers: BTreeMap<Place, (String, usize, Meter)>,
    storms: BTreeMap<usize, StormControl>,
}

/// Storm control of a port at work.
#[derive(Clone, Debug)]
struct StormControl {
    port: String,
    limits: [Option<Storm>; 3],
    buckets: [Bucket; 3],
    seen: u64,
}

/// What the limits of a port come to.
fn limits(port: &super::rules::Port) -> [Option<Storm>; 3] {
    let default = port.security.strict.then_some(Storm::Frames(1000));
    port.storms.map(|storm| storm.unwrap_or(default))
}

/// A frame counts as one, or as its bits.
fn storm_bucket(storm: Option<Storm>) -> Bucket {
    match storm {
        None => Bucket::default(),
        Some(Storm::Frames(rate)) => {
            let depth = (rate / 10).max(64);
            Bucket { bits: depth, depth }
        }
        Some(Storm::Bits(rate)) => Bucket::full((rate / 80).max(65_536)),
    }
}

impl Meters {
    /// Goes on with what is as it was, and begins the rest anew.
    pub fn adopt(&mut self, rules: &Rules, now: u64, wrong: Option<Wrong>) {
        let before = std::mem::take(self);
        let keeps = wrong != Some(Wrong::ReloadFillsBuckets);
        let mut enter = |place: Place, name: &String, policer: Option<usize>| {
            let Some(index) = policer else { return };
            let rules = rules.policers[index];
            let same = before.of(place, name).filter(|(_, number, meter)| {
                keeps && *number == index && meter.rules.does_as(rules)
            });
            let meter = same.map_or_else(|| Meter::new(rules, now), |(.., old)| old.clone());
            self.policers.insert(place, (name.clone(), index, meter));
        };
        for (index, port) in &rules.ports {
            enter(Place::FromPort(*index), &port.name, port.policed.from_port);
            enter(Place::ToPort(*index), &port.name, port.policed.to_port);
        }
        for (index, network) in &rules.networks {
            let policed = network.policed;
            enter(Place::FromNetwork(*index), &network.name, policed.from_port);
            enter(Place::ToNetwork(*index), &network.name, policed.to_port);
        }
        for (list, acl) in rules.acls.iter().enumerate() {
            let identities = acl.identities().into_iter().zip(&acl.rules);
            for (position, (identity, rule)) in identities.enumerate() {
                let name = match wrong {
                    Some(Wrong::RulesKeepPositions) => format!("{position}"),
                    _ => format!("acl-{list} {identity}"),
                };
                enter(Place::Rule(list, position), &name, rule.police);
            }
        }
        for (index, port) in &rules.ports {
            let limits = limits(port);
            let old = before.storms.get(index);
            let same = old.filter(|old| keeps && old.port == port.name && old.limits == limits);
            let storm = same.cloned().unwrap_or_else(|| StormControl {
                port: port.name.clone(),
                limits,
                buckets: limits.map(storm_bucket),
                seen: now,
            });
            self.storms.insert(*index, storm);
        }
    }

    /// What was counted at each place.
    pub fn counted(&mut self) -> impl Iterator<Item = (Place, &mut Counted)> {
        let all = self.policers.iter_mut();
        all.map(|(place, (.., meter))| (*place, &mut meter.counted))
    }

    /// What was at work for an owner at a place. A rule may have another place than before.
    fn of(&self, place: Place, owner: &str) -> Option<&(String, usize, Meter)> {
        let is_rule = |place: &Place| matches!(place, Place::Rule(..));
        let mut all = self.policers.iter();
        let same = |(other, (name, ..)): &(&Place, &(String, usize, Meter))| {
            name == owner && (**other == place || is_rule(&place) && is_rule(other))
        };
        all.find(same).map(|(_, policer)| policer)
    }

    /// The first rule with the same policer as the rule at this place.
    fn first_alike(&self, place: Place) -> Place {
        let is_rule = |place: &Place| matches!(place, Place::Rule(..));
        let number = |place: &Place| self.policers.get(place).map(|(_, number, _)| *number);
        let alike = |other: &&Place| is_rule(other) && number(other) == number(&place);
        let first = self.policers.keys().find(alike);
        first.copied().filter(|_| is_rule(&place)).unwrap_or(place)
    }

    /// Whether a frame goes on from these places, in their order, and with which colour.
    pub fn police(
        &mut self,
        places: impl IntoIterator<Item = Place>,
        now: u64,
        bytes: usize,
        mut colour: u8,
        wrong: Option<Wrong>,
    ) -> Option<u8> {
        if wrong == Some(Wrong::PolicersIgnored) {
            return Some(colour);
        }
        for place in places {
            let place = match wrong {
                Some(Wrong::RulesShareBuckets) => self.first_alike(place),
                _ => place,
            };
            if let Some((.., meter)) = self.policers.get_mut(&place) {
                colour = meter.police(now, bytes, colour, wrong)?;
            }
        }
        Some(colour)
    }

    /// Storm control.
    pub fn flood(
        &mut self,
        port: usize,
        now: u64,
        frame: &[u8],
        wrong: Option<Wrong>,
    ) -> Result<(), DropReason> {
        let Some(control) = self.storms.get_mut(&port) else {
            return Ok(());
        };
        let StormControl {
            limits, buckets, ..
        } = control;
        let seconds = now - control.seen;
        control.seen = now;
        for (limit, bucket) in limits.iter().zip(buckets.iter_mut()) {
            if let Some(Storm::Frames(rate) | Storm::Bits(rate)) = limit {
                bucket.add(rate * seconds);
            }
        }
        let (kind, reason) = match frame {
            [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, ..] => (0, DropReason::BroadcastStorm),
            [first, ..] if first & 1 == 1 => (1, DropReason::MulticastStorm),
            _ => (2, DropReason::UnknownUnicastStorm),
        };
        let cost = match limits[kind] {
            None => return Ok(()),
            Some(Storm::Frames(_)) => 1,
            Some(Storm::Bits(_)) => frame.len() as u64 * 8,
        };
        if buckets[kind].has(cost) {
            buckets[kind].take(cost);
        } else if wrong != Some(Wrong::StormsPass) {
            return Err(reason);
        }
        Ok(())
    }
}
