//! Checks of one `[[acl.rule]]`: that what it names exists, and that some frame can meet it.

use serde_spanned::Spanned;

use super::{acl::Names, classes::class_of, missing};
use crate::{
    config::{
        model::{self, Item, Several},
        reader::Field,
        report::{Code, Problem, Problems, Span},
        shape::{ADDRESS_SET, PORT_SET, RULE},
        valid::{
            Action, Acts, Addresses, Families, Fragments, Match, Name, NumberRange, Prefix,
            Protocol, Rule, TransportMatch,
        },
    },
    wire::{
        arp::ETHERTYPE_ARP,
        ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, protocol},
    },
};

/// Most pairs of MAC addresses that one rule lists.
const MOST_MAC_PAIRS: usize = 64;

const ANY_IP: Families = Families {
    ipv4: true,
    ipv6: true,
    arp: false,
};
const ARP: Families = Families {
    ipv4: false,
    ipv6: false,
    arp: true,
};

/// Checks a rule.
pub(super) fn check(
    rule: &model::Rule,
    names: &Names<'_, '_>,
    problems: &mut Problems,
) -> Option<Rule> {
    if !rule.action.is_written() {
        missing(&RULE, &rule.span, "action", None, problems);
    }
    let (source, of_source) = addresses(&rule.source, names, problems);
    let (destination, of_destination) = addresses(&rule.destination, names, problems);
    let transport = transport(rule, names, problems);
    let (protocol, of_protocol) = protocols(rule, problems);
    let families = families(rule, problems).map(|families| {
        let met = families.and(of_source).and(of_destination).and(of_protocol);
        if met.is_none() && !families.is_none() {
            problems.push(no_frame(rule));
        }
        met
    });
    fragments(rule, &transport, problems);
    let macs = |list: &Several<_>| list.get().map_or(1, Vec::len);
    if macs(&rule.source_mac) * macs(&rule.destination_mac) > MOST_MAC_PAIRS {
        let message = format!("more than {MOST_MAC_PAIRS} pairs of MAC addresses in one rule");
        let help = "write several rules, or masks";
        problems.push(Problem::new(Code::Limit, rule.span.clone(), message).help(help));
    }
    let others = others(rule);
    Some(Rule {
        name: rule.name.get().cloned(),
        action: *rule.action.get()?,
        text: rule.text.clone(),
        // A position, which becomes a line when the whole file is known to be right.
        line: rule.span.start,
        matches: Match {
            source_mac: plain(&rule.source_mac),
            destination_mac: plain(&rule.destination_mac),
            families,
            ethertype: others,
            networks: networks(rule, names, problems),
            pcp: plain(&rule.pcp),
            arp_operation: plain(&rule.arp_operation),
            source,
            destination,
            protocol,
            transport,
            dscp: plain(&rule.dscp),
            fragment: rule.fragment.get().copied(),
        },
        acts: acts(rule, names, problems),
    })
}

/// What a rule does besides, which must not be with frames that it drops.
fn acts(rule: &model::Rule, names: &Names<'_, '_>, problems: &mut Problems) -> Acts {
    let model::Acts {
        class,
        police,
        mark_pcp,
        mark_dscp,
    } = &rule.acts;
    let written = [
        ("class", class.span()),
        ("police", police.span()),
        ("mark_pcp", mark_pcp.span()),
        ("mark_dscp", mark_dscp.span()),
    ];
    for (key, span) in written {
        if let Some(span) = span
            && rule.action.get() == Some(&Action::Deny)
        {
            let message = format!("`{key}` of a rule that denies");
            let help = "what is dropped needs none: allow it, or remove this";
            problems.push(Problem::new(Code::Conflict, span, message).help(help));
        }
    }
    let police = police.spanned();
    Acts {
        class: class.get().copied().map(class_of),
        police: police.and_then(|text| names.policers.resolve(text, problems)),
        mark_pcp: mark_pcp.get().map(|pcp| *pcp as u8),
        mark_dscp: mark_dscp.get().copied(),
    }
}

fn plain<T: Copy>(list: &Several<T>) -> Vec<T> {
    let elements = list.get().into_iter().flatten();
    elements.map(|element| *element.get_ref()).collect()
}

/// The family that an EtherType is about.
fn family(ethertype: u16) -> Option<Families> {
    let none = Families::default();
    match ethertype {
        ETHERTYPE_IPV4 => Some(Families { ipv4: true, ..none }),
        ETHERTYPE_IPV6 => Some(Families { ipv6: true, ..none }),
        ETHERTYPE_ARP => Some(Families { arp: true, ..none }),
        _ => None,
    }
}

/// The EtherTypes that are written and no family, as a range of several is.
fn others(rule: &model::Rule) -> Vec<NumberRange> {
    let mut list = plain(&rule.ethertype);
    list.retain(|range| range.first != range.last || family(range.first).is_none());
    list
}

/// The families that a rule is about; none where it is about frames of any kind.
fn families(rule: &model::Rule, problems: &mut Problems) -> Option<Families> {
    let ip_only = [
        ("protocol", rule.protocol.span()),
        ("source_port", rule.source_port.span()),
        ("destination_port", rule.destination_port.span()),
        ("icmp_type", rule.icmp_type.span()),
        ("icmp_code", rule.icmp_code.span()),
        ("tcp_flags", rule.tcp_flags.span()),
        ("dscp", rule.dscp.span()),
        ("fragment", rule.fragment.span()),
    ];
    let ip_only = ip_only
        .into_iter()
        .find_map(|(key, span)| Some((key, span?)));
    let arp_only = rule
        .arp_operation
        .span()
        .map(|span| ("arp_operation", span));
    let either = rule.source.span().or(rule.destination.span());
    let wanted = match (&ip_only, &arp_only) {
        (Some((ip, at)), Some((arp, also))) => {
            let message = format!("`{ip}` is about IP packets, and `{arp}` about ARP");
            let problem = Problem::new(Code::Conflict, at.clone(), message);
            problems.push(
                problem
                    .help("write two rules")
                    .also(also.clone(), "about ARP"),
            );
            return Some(Families::default());
        }
        (Some(_), None) => Some(ANY_IP),
        (None, Some(_)) => Some(ARP),
        (None, None) => None,
    };
    if !rule.ethertype.is_written() {
        return wanted.or(either.map(|_| ANY_IP));
    }
    let written = rule.ethertype.get().into_iter().flatten();
    let mut listed = Families::default();
    for range in written {
        let NumberRange { first, last } = *range.get_ref();
        let own = family(first).filter(|_| first == last);
        let needed = ip_only.as_ref().or(arp_only.as_ref());
        let fits = match (own, wanted) {
            (Some(own), Some(wanted)) => !own.and(wanted).is_none(),
            (Some(_), None) => true,
            (None, _) => wanted.is_none() && either.is_none(),
        };
        if !fits {
            let (key, at) = match (needed, &rule.source, &rule.destination) {
                (Some((key, at)), ..) => (*key, at.clone()),
                (None, Field::Absent, field) => ("destination", field.span().unwrap_or_default()),
                (None, field, _) => ("source", field.span().unwrap_or_default()),
            };
            let message = format!("frames of this EtherType have no `{key}`");
            let problem = Problem::new(Code::Conflict, range.span(), message);
            let help = format!("remove `{key}`, or write two rules");
            problems.push(problem.help(help).also(at, "this condition"));
        }
        let own = own.unwrap_or_default();
        listed = Families {
            ipv4: listed.ipv4 || own.ipv4,
            ipv6: listed.ipv6 || own.ipv6,
            arp: listed.arp || own.arp,
        };
    }
    let listed = wanted.map_or(listed, |wanted| listed.and(wanted));
    (!listed.is_none()).then_some(listed)
}

fn no_frame(rule: &model::Rule) -> Problem {
    let message = "no frame can meet this rule: its conditions are about different protocols";
    let help = "addresses of IPv4 and IPv6 are in different frames, as are ICMP and ICMPv6: \
                write a rule for each";
    let spans = [
        rule.source.span(),
        rule.destination.span(),
        rule.protocol.span(),
    ];
    let mut spans = spans.into_iter().flatten();
    let at = spans.next().unwrap_or_else(|| rule.span.clone());
    let problem = Problem::new(Code::Conflict, at, message).help(help);
    match spans.last() {
        Some(other) => problem.also(other, "and this"),
        None => problem,
    }
}

/// The addresses of a list, and the families of frames that can have them.
fn addresses(
    list: &Several<Item<Prefix>>,
    names: &Names<'_, '_>,
    problems: &mut Problems,
) -> (Vec<Addresses>, Families) {
    let all = Families {
        arp: true,
        ..ANY_IP
    };
    let Some(elements) = list.get() else {
        return (Vec::new(), all);
    };
    let (mut ipv4, mut ipv6, mut unknown) = (false, false, false);
    let mut found = Vec::with_capacity(elements.len());
    for element in elements {
        match element.get_ref() {
            Item::One(prefix) => {
                ipv4 |= prefix.is_ipv4();
                ipv6 |= !prefix.is_ipv4();
                found.push(Addresses::Prefix(*prefix));
            }
            Item::Set(name) => {
                let at = element.span();
                let Some(set) = names.addresses.resolve(&ADDRESS_SET, name, at, problems) else {
                    unknown = true;
                    continue;
                };
                ipv4 |= set.ipv4;
                ipv6 |= set.ipv6;
                found.push(Addresses::Set(set.position));
            }
        }
    }
    // Where something is wrong, nothing follows from the rest.
    if unknown || elements.is_empty() {
        return (found, all);
    }
    let arp = ipv4;
    (found, Families { ipv4, ipv6, arp })
}

/// The protocols, also where they follow from other conditions, and the families that have them.
fn protocols(rule: &model::Rule, problems: &mut Problems) -> (Vec<Protocol>, Families) {
    let all = Families {
        arp: true,
        ..ANY_IP
    };
    let ports = rule.source_port.span().or(rule.destination_port.span());
    let icmp = rule.icmp_type.span().or(rule.icmp_code.span());
    let of = |numbers: &[u8]| -> Vec<Protocol> {
        let protocol = |number: &u8| Protocol(NumberRange::from(u16::from(*number)));
        numbers.iter().map(protocol).collect()
    };
    let with_ports = [protocol::TCP, protocol::UDP, protocol::SCTP];
    let with_types = [protocol::ICMP, protocol::ICMPV6];
    let mut needs: Vec<(&str, Span, &[u8], &str)> = Vec::new();
    needs.extend(ports.map(|at| ("ports", at, &with_ports[..], "\"tcp\", \"udp\" or \"sctp\"")));
    needs.extend(icmp.map(|at| {
        (
            "types and codes",
            at,
            &with_types[..],
            "\"icmp\" or \"icmpv6\"",
        )
    }));
    let flags = rule.tcp_flags.span();
    needs.extend(flags.map(|at| ("TCP flags", at, &with_ports[..1], "\"tcp\"")));
    let Some(written) = rule.protocol.get() else {
        if !rule.protocol.is_written()
            && let Some((_, at, _, names)) = needs.iter().find(|need| need.0 == "types and codes")
        {
            let message = "types and codes differ between ICMP and ICMPv6";
            let help = format!("say which with `protocol`: {names}");
            problems.push(Problem::new(Code::MissingKey, at.clone(), message).help(help));
        }
        let narrowest = needs.iter().min_by_key(|need| need.2.len());
        return (narrowest.map_or_else(Vec::new, |need| of(need.2)), all);
    };
    for protocol in written {
        let Protocol(NumberRange { first, last }) = *protocol.get_ref();
        for (what, at, having, names) in &needs {
            let has = |number: u16| having.iter().any(|known| u16::from(*known) == number);
            if first != last || !has(first) {
                let message = format!("packets of this protocol have no {what}");
                let problem = Problem::new(Code::Conflict, protocol.span(), message);
                let help = format!("with {what}, use {names}");
                problems.push(problem.help(help).also(at.clone(), "this condition"));
            }
        }
    }
    let is = |number: u8| {
        let number = NumberRange::from(u16::from(number));
        move |protocol: &Spanned<Protocol>| protocol.get_ref().0 == number
    };
    let ipv4 = !written.iter().all(is(protocol::ICMPV6));
    let ipv6 = !written.iter().all(is(protocol::ICMP));
    (
        plain(&rule.protocol),
        Families {
            ipv4,
            ipv6,
            arp: true,
        },
    )
}

/// Conditions that only the transport header answers.
fn transport(rule: &model::Rule, names: &Names<'_, '_>, problems: &mut Problems) -> TransportMatch {
    let mut side = |ports: &Several<Item<NumberRange>>, icmp: &Several<NumberRange>| {
        let mut numbers = plain(icmp);
        for element in ports.get().into_iter().flatten() {
            match element.get_ref() {
                Item::One(range) => numbers.push(*range),
                Item::Set(name) => {
                    let at = element.span();
                    let set = names.ports.resolve(&PORT_SET, name, at, problems);
                    numbers.extend(set.into_iter().flatten());
                }
            }
        }
        numbers
    };
    TransportMatch {
        source: side(&rule.source_port, &rule.icmp_type),
        destination: side(&rule.destination_port, &rule.icmp_code),
        tcp_flags: rule.tcp_flags.get().copied(),
    }
}

/// Later fragments have no transport header.
fn fragments(rule: &model::Rule, transport: &TransportMatch, problems: &mut Problems) {
    let Some(fragment) = rule.fragment.spanned().filter(|_| transport.any()) else {
        return;
    };
    let denies = rule.action.get() == Some(&Action::Deny);
    let (message, help) = match fragment.get_ref() {
        Fragments::No | Fragments::First => return,
        Fragments::Any if denies => return,
        Fragments::Later => (
            "later fragments have no ports, types or flags",
            "remove `fragment`, or the conditions that only the transport header answers",
        ),
        Fragments::Any => (
            "only a rule that denies reaches later fragments of packets with these ports",
            "use \"first\", and a rule without ports for `fragment = \"later\"`",
        ),
    };
    problems.push(Problem::new(Code::Conflict, fragment.span(), message).help(help));
}

/// The networks, by their names and by their VLANs.
fn networks(rule: &model::Rule, names: &Names<'_, '_>, problems: &mut Problems) -> Vec<Name> {
    if let (Some(network), Some(vid)) = (rule.network.span(), rule.vid.span()) {
        let message = "`vid` is another way to name networks";
        let help = "keep one of `network` and `vid`";
        let problem = Problem::new(Code::Conflict, vid, message).help(help);
        problems.push(problem.also(network, "named here"));
    }
    let mut found = Vec::new();
    for text in rule.network.get().into_iter().flatten() {
        let known = names.networks.resolve(text, problems);
        found.extend(known.and_then(|known| known.name.clone()));
    }
    for vid in rule.vid.get().into_iter().flatten() {
        match names.networks.with_vid(*vid.get_ref()) {
            Some(name) => found.extend(name.clone()),
            None => {
                let message = format!("no network has VLAN {}", vid.get_ref());
                let help = "name the `vlan` of a network of this file, or use `network`";
                problems.push(Problem::new(Code::UnknownName, vid.span(), message).help(help));
            }
        }
    }
    found
}
