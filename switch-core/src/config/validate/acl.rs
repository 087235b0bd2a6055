//! Checks of access control lists, of the sets that they name, and of where they are attached.

use std::{collections::HashMap, ops::Range};

use super::{Directory, Seen, check_count, listed, missing, qos::Policers, rule, unique_name};
use crate::{
    config::{
        model::{self, Attached, Set},
        reader::Field,
        report::{Code, Problem, Problems, printable},
        shape::{ACL, ADDRESS_SET, PORT_SET, RULE, Shape},
        valid::{Acl, AddressSet, AttachedAcls, Name, Network, NumberRange, Prefix},
    },
    limits,
};

/// All lists and sets of a file.
#[derive(Debug, Default)]
pub(super) struct Lists<'m> {
    pub(super) acls: Vec<Acl>,
    pub(super) address_sets: Vec<AddressSet>,
    names: Known<'m, Name>,
}

/// Things by the names that they have in the file; none in place of one with errors.
#[derive(Debug)]
pub(super) struct Known<'m, T> {
    known: HashMap<&'m str, Option<T>>,
    order: Vec<&'m str>,
}

impl<T> Default for Known<'_, T> {
    fn default() -> Self {
        Self {
            known: HashMap::new(),
            order: Vec::new(),
        }
    }
}

impl<'m, T> Known<'m, T> {
    fn add(&mut self, name: &'m str, value: Option<T>) {
        self.known.insert(name, value);
        self.order.push(name);
    }

    /// What has this name; an error where nothing does.
    pub(super) fn resolve(
        &self,
        shape: &Shape,
        text: &str,
        at: Range<usize>,
        problems: &mut Problems,
    ) -> Option<&T> {
        let found = self.known.get(text);
        if found.is_none() {
            let kind = shape.header.trim_matches(['[', ']']);
            let message = format!("there is no {kind} `{}`", printable(text));
            let mut help = problems.did_you_mean(text, self.order.iter().copied());
            help.push_str(&listed(kind, &self.order));
            problems.push(Problem::new(Code::UnknownName, at, message).help(help));
        }
        found?.as_ref()
    }
}

/// What a rule may name.
pub(super) struct Names<'d, 'm> {
    pub(super) networks: &'d Directory<'m>,
    pub(super) policers: &'d Policers<'m>,
    pub(super) addresses: Known<'m, Content>,
    pub(super) ports: Known<'m, Vec<NumberRange>>,
}

/// A set of addresses: its position, and which families it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) position: usize,
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
}

/// Checks all lists and sets.
pub(super) fn lists<'m>(
    document: &'m model::Document,
    networks: &Directory<'m>,
    policers: &Policers<'m>,
    problems: &mut Problems,
) -> Lists<'m> {
    let mut lists = Lists::default();
    let addresses = sets(&ADDRESS_SET, &document.address_sets, problems, |set| {
        let prefixes = values(set);
        let content = Content {
            position: lists.address_sets.len(),
            ipv4: prefixes.iter().any(Prefix::is_ipv4),
            ipv6: prefixes.iter().any(|prefix| !prefix.is_ipv4()),
        };
        let name = set.name.get()?.clone();
        lists.address_sets.push(AddressSet { name, prefixes });
        Some(content)
    });
    let ports = sets(&PORT_SET, &document.port_sets, problems, |set| {
        set.elements.is_written().then(|| values(set))
    });
    let names = Names {
        networks,
        policers,
        addresses,
        ports,
    };
    check_counts(document, problems);
    let mut seen = Seen::default();
    for written in &document.acls {
        let name = unique_name(&ACL, &written.span, &written.name, &mut seen, problems);
        lists.acls.extend(check(written, &names, problems));
        if let Some(name) = name {
            lists.names.add(name, written.name.get().cloned());
        }
    }
    lists
}

fn values<T: Copy>(set: &Set<T>) -> Vec<T> {
    let elements = set.elements.get().into_iter().flatten();
    elements.map(|element| *element.get_ref()).collect()
}

/// Checks the sets of one kind.
fn sets<'m, T, V>(
    shape: &Shape,
    written: &'m [Set<T>],
    problems: &mut Problems,
    mut value: impl FnMut(&Set<T>) -> Option<V>,
) -> Known<'m, V> {
    let kind = shape.header.trim_matches(['[', ']']);
    check_count(
        kind,
        written.iter().map(|set| &set.span),
        limits::MAX_SETS,
        problems,
    );
    let size = |set: &Set<T>| set.elements.get().map_or(0, Vec::len);
    if let Some(last) = written.last()
        && written.iter().map(size).sum::<usize>() > limits::MAX_SET_ELEMENTS
    {
        let most = limits::MAX_SET_ELEMENTS;
        let message = format!("the {kind}s have more than {most} elements together");
        let help = "use shorter prefixes and longer ranges";
        problems.push(Problem::new(Code::Limit, last.span.clone(), message).help(help));
    }
    let key = shape.keys[1].0;
    let mut known = Known::default();
    let mut seen = Seen::default();
    for set in written {
        if !set.elements.is_written() {
            missing(shape, &set.span, key, None, problems);
        }
        if let Some(name) = unique_name(shape, &set.span, &set.name, &mut seen, problems) {
            known.add(name, value(set));
        }
    }
    known
}

fn check_counts(document: &model::Document, problems: &mut Problems) {
    let lists = &document.acls;
    check_count(
        "acl",
        lists.iter().map(|acl| &acl.span),
        limits::MAX_ACLS,
        problems,
    );
    let mut left = limits::MAX_RULES;
    for acl in lists {
        let needed = acl.rules.len() + 1;
        if needed > left {
            let most = limits::MAX_RULES;
            let message = format!("more than {most} rules, with a default for each list");
            let help = "name many addresses or ports in sets, and use them in few rules";
            problems.push(Problem::new(Code::Limit, acl.span.clone(), message).help(help));
            return;
        }
        left -= needed;
    }
}

fn check(written: &model::Acl, names: &Names<'_, '_>, problems: &mut Problems) -> Option<Acl> {
    if !written.default.is_written() {
        missing(&ACL, &written.span, "default", None, problems);
    }
    let counts = |rule: &&model::Rule| rule.action.get().is_some_and(|it| it.goes_on());
    if let Some(rule) = written
        .rules
        .iter()
        .filter(counts)
        .nth(limits::MAX_COUNT_RULES)
    {
        let most = limits::MAX_COUNT_RULES;
        let message = format!("more than {most} rules of this list only count or log");
        let help = "rules that allow or deny count, too: remove some of the others";
        problems.push(Problem::new(Code::Limit, rule.span.clone(), message).help(help));
    }
    let mut seen = Seen::default();
    let mut rules = Vec::with_capacity(written.rules.len());
    for rule in &written.rules {
        if rule.name.is_written() {
            unique_name(&RULE, &rule.span, &rule.name, &mut seen, problems);
        }
        rules.extend(rule::check(rule, names, problems));
    }
    Some(Acl {
        name: written.name.get()?.clone(),
        default: *written.default.get()?,
        rules,
        // A position, as in its rules.
        line: written.span.start,
    })
}

impl Lists<'_> {
    /// What a port or network has attached.
    pub(super) fn attached(&self, written: &Attached, problems: &mut Problems) -> AttachedAcls {
        let mut resolve = |field: &Field<String>| {
            let text = field.spanned()?;
            let found = self
                .names
                .resolve(&ACL, text.get_ref(), text.span(), problems);
            found.cloned()
        };
        AttachedAcls {
            from_port: resolve(&written.from_port),
            to_port: resolve(&written.to_port),
        }
    }
}

/// Gives the networks what they have attached.
pub(super) fn attach_to_networks(
    networks: Vec<Network>,
    document: &model::Document,
    lists: &Lists<'_>,
    problems: &mut Problems,
) -> Vec<Network> {
    let mut attached: HashMap<&str, AttachedAcls> = HashMap::new();
    for written in &document.networks {
        let acls = lists.attached(&written.acls, problems);
        if let Some(name) = written.name.get() {
            attached.entry(name.as_str()).or_insert(acls);
        }
    }
    let give = |network: Network| Network {
        acls: attached.remove(network.name.as_str()).unwrap_or_default(),
        ..network
    };
    networks.into_iter().map(give).collect()
}
