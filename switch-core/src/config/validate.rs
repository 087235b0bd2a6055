//! From what the user wrote to what is valid: names that resolve, keys that agree, nothing twice.
//!
//! Every function goes on after an error, with as much as is known; what is made of a document
//! with errors is thrown away by [`super::parse`].

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    num::NonZero,
};

use serde_spanned::Spanned;

use super::{
    model,
    reader::Field,
    report::{Code, Problem, Problems, Span, printable},
    shape::{NETWORK, PORT, STATIC, Shape},
    valid::{AttachedAcls, Config, Name, Network, Policed, Port, StaticEntry, Switch},
};
use crate::{
    limits,
    table::fdb::FlapLimits,
    wire::{ethernet::Mac, vlan::Vid},
};

mod acl;
mod classes;
mod port;
mod qos;
mod rule;
mod scheduler;
mod trunk;

/// Checks a whole document. The result holds if no problem was found.
pub(super) fn validate(document: &model::Document, problems: &mut Problems) -> Config {
    let switch = switch(&document.switch, problems);
    let policers = qos::policers(&document.policers, problems);
    let schedulers = scheduler::schedulers(&document.schedulers, problems);
    let class_maps = classes::class_maps(&document.class_maps, problems);
    let (networks, directory) = networks(&document.networks, &policers, problems);
    let lists = acl::lists(document, &directory, &policers, problems);
    let networks = acl::attach_to_networks(networks, document, &lists, problems);
    let parts = port::Parts {
        directory: &directory,
        policers: &policers,
        lists: &lists,
        class_maps: &class_maps,
        schedulers: &schedulers,
    };
    let ports = port::ports(&document.ports, &parts, problems);
    let statics = statics(&document.statics, &directory, &ports, problems);
    let ports = ports.into_iter().filter_map(|(_, port)| port).collect();
    let config = Config {
        switch,
        networks,
        ports,
        statics,
        policers: policers.valid,
        acls: lists.acls,
        address_sets: lists.address_sets,
        schedulers: schedulers.valid,
    };
    scheduler::check_room(&document.switch, &config, problems);
    config
}

fn switch(written: &model::Switch, problems: &mut Problems) -> Switch {
    let cores = cores(written, problems);
    let by_cores = NonZero::new(cores.len());
    let workers = written
        .workers
        .get()
        .and_then(|count| NonZero::new(*count as usize));
    let frames = written.frames.get().map(|count| *count as usize);
    Switch {
        workers: workers.or(by_cores),
        cores,
        ageing_s: written
            .ageing_s
            .get()
            .copied()
            .unwrap_or(limits::DEFAULT_AGEING_S),
        idle: written.idle.get().copied().unwrap_or_default(),
        huge_pages: written.huge_pages.get().copied().unwrap_or_default(),
        frames: frames.map(|count| count.next_multiple_of(limits::SLAB_SIZE)),
        forward_reserved: written.forward_reserved.get().copied().unwrap_or_default(),
        flaps: flaps(written, problems),
    }
}

/// When an address moves too often: nothing without `flap_moves`.
fn flaps(written: &model::Switch, problems: &mut Problems) -> Option<FlapLimits> {
    let times = [
        ("flap_window_s", &written.flap_window_s),
        ("flap_quarantine_s", &written.flap_quarantine_s),
    ];
    for (key, span) in times.map(|(key, field)| (key, field.span())) {
        if let Some(span) = span.filter(|_| !written.flap_moves.is_written()) {
            let message = format!("`{key}` without `flap_moves`");
            let help = "say how often an address may move in that time: `flap_moves = 5`";
            problems.push(Problem::new(Code::Conflict, span, message).help(help));
        }
    }
    let or = |field: &Field<u32>, default| field.get().copied().unwrap_or(default);
    Some(FlapLimits {
        moves: *written.flap_moves.get()?,
        window_s: or(&written.flap_window_s, limits::DEFAULT_FLAP_WINDOW_S),
        quarantine_s: or(
            &written.flap_quarantine_s,
            limits::DEFAULT_FLAP_QUARANTINE_S,
        ),
    })
}

/// The cores: each at most once, and one for each worker.
fn cores(written: &model::Switch, problems: &mut Problems) -> Vec<usize> {
    let Some(cores) = written.cores.spanned() else {
        return Vec::new();
    };
    let count = cores.get_ref().len();
    let mut seen = Seen::default();
    for core in cores.get_ref() {
        if let Err(first) = seen.insert(*core.get_ref(), core.span()) {
            let message = format!("core {} is listed twice", core.get_ref());
            let problem = Problem::new(Code::Duplicate, core.span(), message);
            problems.push(
                problem
                    .help("name one core for each worker")
                    .also(first, "here first"),
            );
        }
    }
    if let Some(workers) = written.workers.spanned() {
        let wanted = *workers.get_ref() as usize;
        if wanted != count {
            let message = format!("{count} cores for {wanted} workers");
            let help = "name one core for each worker, or leave `workers` or `cores` out";
            let problem = Problem::new(Code::Conflict, cores.span(), message);
            problems.push(problem.help(help).also(workers.span(), "the workers"));
        }
    } else if count > limits::MAX_WORKERS {
        let message = format!(
            "{count} cores, and there can be {} workers",
            limits::MAX_WORKERS
        );
        let problem = Problem::new(Code::Limit, cores.span(), message);
        problems.push(problem.help(format!("name at most {} cores", limits::MAX_WORKERS)));
    }
    cores
        .get_ref()
        .iter()
        .map(|core| *core.get_ref() as usize)
        .collect()
}

/// What is known of a network that is written down, right or wrong.
#[derive(Clone, Debug)]
struct Known {
    /// None: the name is wrong.
    name: Option<Name>,
    vlan: Vlan,
    policed: Policed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vlan {
    Private,
    Vid(Vid),
    /// Written and wrong: nothing follows from it.
    Wrong,
}

/// The networks of a file by their names.
#[derive(Debug, Default)]
struct Directory<'m> {
    known: HashMap<&'m str, Known>,
    /// The names in the order of the file.
    order: Vec<&'m str>,
    by_vid: HashMap<Vid, &'m str>,
}

impl Directory<'_> {
    /// The network of this name; an error where there is none.
    fn resolve(&self, text: &Spanned<String>, problems: &mut Problems) -> Option<&Known> {
        let known = self.known.get(text.get_ref().as_str());
        if known.is_none() {
            let message = format!("there is no network `{}`", printable(text.get_ref()));
            let mut help = problems.did_you_mean(text.get_ref(), self.order.iter().copied());
            help.push_str(&listed("network", &self.order));
            problems.push(Problem::new(Code::UnknownName, text.span(), message).help(help));
        }
        known
    }
}

impl Directory<'_> {
    /// The network with this VLAN; its name where that is right.
    fn with_vid(&self, vid: Vid) -> Option<&Option<Name>> {
        let text = self.by_vid.get(&vid)?;
        self.known.get(text).map(|known| &known.name)
    }
}

/// "the networks are a, b and 3 more", or how to make one.
fn listed(kind: &str, names: &[&str]) -> String {
    const SHOWN: usize = 8;
    if names.is_empty() {
        return format!("this file has no {kind}s: add a `[[{kind}]]` with this `name`");
    }
    let shown: Vec<_> = names
        .iter()
        .take(SHOWN)
        .map(|name| printable(name))
        .collect();
    let more = names.len() - shown.len();
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("the {kind}s of this file are {}{more}", shown.join(", "))
}

fn networks<'m>(
    written: &'m [model::Network],
    policers: &qos::Policers<'_>,
    problems: &mut Problems,
) -> (Vec<Network>, Directory<'m>) {
    let mut directory = Directory::default();
    let mut names = Seen::default();
    let mut vlans = Seen::default();
    check_count(
        "network",
        written.iter().map(|n| &n.span),
        limits::MAX_NETWORKS,
        problems,
    );
    for network in written {
        let vlan = match &network.vlan {
            Field::Absent => Vlan::Private,
            Field::Invalid(_) => Vlan::Wrong,
            Field::Present(vid) => Vlan::Vid(*vid.get_ref()),
        };
        let policed = policers.policed(&network.policed, problems);
        let Some(text) = unique_name(&NETWORK, &network.span, &network.name, &mut names, problems)
        else {
            continue;
        };
        if let Some(vid) = network.vlan.spanned()
            && let Err(first) = vlans.insert(*vid.get_ref(), vid.span())
        {
            let message = format!("VLAN {} belongs to another network already", vid.get_ref());
            let help = "a VLAN is one network: use another number, or one network for both";
            let problem = Problem::new(Code::Duplicate, vid.span(), message);
            problems.push(problem.help(help).also(first, "first used here"));
        }
        let known = Known {
            name: network.name.get().cloned(),
            vlan,
            policed,
        };
        if let Vlan::Vid(vid) = vlan {
            directory.by_vid.entry(vid).or_insert(text);
        }
        directory.known.insert(text, known);
        directory.order.push(text);
    }
    let valid = directory.order.iter().filter_map(|text| {
        let known = &directory.known[text];
        let vlan = match known.vlan {
            Vlan::Vid(vid) => Some(vid),
            Vlan::Private | Vlan::Wrong => None,
        };
        Some(Network {
            name: known.name.clone()?,
            vlan,
            policed: known.policed.clone(),
            acls: AttachedAcls::default(),
        })
    });
    (valid.collect(), directory)
}

/// The text of a name that no earlier table of this kind has; an error where it is missing or
/// taken.
fn unique_name<'m>(
    shape: &Shape,
    header: &Span,
    name: &'m Field<Name>,
    seen: &mut Seen<&'m str>,
    problems: &mut Problems,
) -> Option<&'m str> {
    let (text, span) = match name {
        Field::Absent => {
            missing(shape, header, "name", None, problems);
            return None;
        }
        Field::Invalid(text) => (text.get_ref().as_str(), text.span()),
        Field::Present(name) => (name.get_ref().as_str(), name.span()),
    };
    let Err(first) = seen.insert(text, span.clone()) else {
        return Some(text);
    };
    let kind = shape.header.trim_matches(['[', ']']);
    let message = format!("another {kind} is named `{}` already", printable(text));
    let problem = Problem::new(Code::Duplicate, span, message);
    problems.push(
        problem
            .help(format!("give each {kind} its own name"))
            .also(first, "the first"),
    );
    None
}

/// Reports a key that must be there.
fn missing(shape: &Shape, header: &Span, key: &str, owner: Option<&str>, problems: &mut Problems) {
    let owner = owner.map_or_else(|| format!("this {}", shape.header), str::to_owned);
    let message = format!("{owner} has no `{key}`");
    let help = format!("add a line, for example {}", shape.example(key));
    problems.push(Problem::new(Code::MissingKey, header.clone(), message).help(help));
}

/// Reports the first of too many tables.
fn check_count<'m>(
    kind: &str,
    mut spans: impl ExactSizeIterator<Item = &'m Span>,
    most: usize,
    problems: &mut Problems,
) {
    let count = spans.len();
    if let Some(span) = spans.nth(most) {
        let message = format!("{count} tables `[[{kind}]]`, and a switch can have {most}");
        let help = "remove some, from here on";
        problems.push(Problem::new(Code::Limit, span.clone(), message).help(help));
    }
}

/// Values that must be unique, and where each was first.
#[derive(Debug)]
struct Seen<T>(HashMap<T, Span>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Eq + Hash> Seen<T> {
    /// Notes a value, or says where it was before.
    fn insert(&mut self, value: T, span: Span) -> Result<(), Span> {
        match self.0.entry(value) {
            Entry::Vacant(entry) => {
                entry.insert(span);
                Ok(())
            }
            Entry::Occupied(entry) => Err(entry.get().clone()),
        }
    }
}

fn statics(
    written: &[model::Static],
    directory: &Directory<'_>,
    ports: &[(&str, Option<Port>)],
    problems: &mut Problems,
) -> Vec<StaticEntry> {
    check_count(
        "static",
        written.iter().map(|entry| &entry.span),
        limits::MAX_STATIC_ENTRIES,
        problems,
    );
    let ports = Ports {
        by_name: ports
            .iter()
            .map(|(name, port)| (*name, port.as_ref()))
            .collect(),
        order: ports.iter().map(|(name, _)| *name).collect(),
    };
    let mut seen = Seen::default();
    let check = |entry| static_entry(entry, directory, &ports, &mut seen, problems);
    written.iter().filter_map(check).collect()
}

/// The ports of a file by their names; none in place of one with errors.
struct Ports<'p> {
    by_name: HashMap<&'p str, Option<&'p Port>>,
    order: Vec<&'p str>,
}

impl<'p> Ports<'p> {
    /// The port of this name; an error where there is none.
    fn resolve(&self, text: &Spanned<String>, problems: &mut Problems) -> Option<&'p Port> {
        let known = self.by_name.get(text.get_ref().as_str());
        if known.is_none() {
            let message = format!("there is no port `{}`", printable(text.get_ref()));
            let mut help = problems.did_you_mean(text.get_ref(), self.order.iter().copied());
            help.push_str(&listed("port", &self.order));
            problems.push(Problem::new(Code::UnknownName, text.span(), message).help(help));
        }
        known.copied().flatten()
    }
}

fn static_entry(
    entry: &model::Static,
    directory: &Directory<'_>,
    ports: &Ports<'_>,
    seen: &mut Seen<(Name, Mac)>,
    problems: &mut Problems,
) -> Option<StaticEntry> {
    for (key, is_written) in [
        ("network", entry.network.is_written()),
        ("mac", entry.mac.is_written()),
        ("port", entry.port.is_written()),
    ] {
        if !is_written {
            missing(&STATIC, &entry.span, key, None, problems);
        }
    }
    let network = entry
        .network
        .spanned()
        .and_then(|text| directory.resolve(text, problems));
    let port = entry
        .port
        .spanned()
        .and_then(|text| ports.resolve(text, problems));
    let network = network?.name.clone()?;
    check_unique(entry, &network, seen, problems);
    let port = port?;
    check_member(entry, &network, port, problems);
    Some(StaticEntry {
        network,
        mac: *entry.mac.get()?,
        port: port.name.clone(),
    })
}

fn check_unique(
    entry: &model::Static,
    network: &Name,
    seen: &mut Seen<(Name, Mac)>,
    problems: &mut Problems,
) {
    if let Some(mac) = entry.mac.spanned()
        && let Err(first) = seen.insert((network.clone(), *mac.get_ref()), mac.span())
    {
        let message = format!(
            "{} has a static entry in `{network}` already",
            mac.get_ref()
        );
        let help = "an address is behind one port of a network: remove one of the two entries";
        let problem = Problem::new(Code::Duplicate, mac.span(), message);
        problems.push(problem.help(help).also(first, "the first"));
    }
}

fn check_member(entry: &model::Static, network: &Name, port: &Port, problems: &mut Problems) {
    if !port.membership.contains(network.as_str()) {
        let name = &port.name;
        let message = format!("port `{name}` is not in network `{network}`");
        let networks: Vec<_> = port
            .membership
            .networks()
            .map(Name::as_str)
            .take(8)
            .collect();
        let help = format!(
            "its networks are {}; use one of them, or another port",
            networks.join(", ")
        );
        let span = entry.port.span().unwrap_or_else(|| entry.span.clone());
        problems.push(Problem::new(Code::Conflict, span, message).help(help));
    }
}

/// "port `x`", or "this [[port]]" where its name is missing or wrong.
fn owner(port: &model::Port) -> String {
    let name = port.name.get();
    name.map_or_else(
        || format!("this {}", PORT.header),
        |name| format!("port `{name}`"),
    )
}
