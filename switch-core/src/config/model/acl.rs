//! Access control lists and the sets that they name, as they are written.

use std::{fmt::Write as _, net::IpAddr, str::FromStr};

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::{classes::MOST, name};
use crate::{
    config::{
        reader::{Field, Table, Wrong, as_number, as_text, one_of, wrong_type},
        report::{Span, printable},
        shape::{ADDRESS_SET, PORT_SET, RULE, Shape},
        valid::{Action, Fragments, MacPattern, Name, NumberRange, Prefix, Protocol, TcpFlags},
    },
    wire::{
        arp::ETHERTYPE_ARP,
        ethernet::Mac,
        ip::{ETHERTYPE_IPV4, ETHERTYPE_IPV6, protocol},
        vlan::Vid,
    },
};

/// A value that may be a list of several, each with its place.
pub(in crate::config) type Several<T> = Field<Vec<Spanned<T>>>;

/// `[[acl]]`.
#[derive(Debug)]
pub(in crate::config) struct Acl {
    /// The header.
    pub(in crate::config) span: Span,
    pub(in crate::config) name: Field<Name>,
    pub(in crate::config) default: Field<Action>,
    pub(in crate::config) rules: Vec<Rule>,
}

/// `[[acl.rule]]`.
#[derive(Debug)]
pub(in crate::config) struct Rule {
    /// The header.
    pub(in crate::config) span: Span,
    /// What it says, in one line.
    pub(in crate::config) text: String,
    pub(in crate::config) name: Field<Name>,
    pub(in crate::config) action: Field<Action>,
    pub(in crate::config) source_mac: Several<MacPattern>,
    pub(in crate::config) destination_mac: Several<MacPattern>,
    pub(in crate::config) ethertype: Several<NumberRange>,
    pub(in crate::config) network: Several<String>,
    pub(in crate::config) vid: Several<Vid>,
    pub(in crate::config) pcp: Several<NumberRange>,
    pub(in crate::config) arp_operation: Several<NumberRange>,
    pub(in crate::config) source: Several<Item<Prefix>>,
    pub(in crate::config) destination: Several<Item<Prefix>>,
    pub(in crate::config) protocol: Several<Protocol>,
    pub(in crate::config) source_port: Several<Item<NumberRange>>,
    pub(in crate::config) destination_port: Several<Item<NumberRange>>,
    pub(in crate::config) icmp_type: Several<NumberRange>,
    pub(in crate::config) icmp_code: Several<NumberRange>,
    pub(in crate::config) tcp_flags: Field<TcpFlags>,
    pub(in crate::config) dscp: Several<NumberRange>,
    pub(in crate::config) fragment: Field<Fragments>,
    pub(in crate::config) acts: Acts,
}

/// What a rule does besides.
#[derive(Debug)]
pub(in crate::config) struct Acts {
    pub(in crate::config) class: Field<u32>,
    pub(in crate::config) police: Field<String>,
    pub(in crate::config) mark_pcp: Field<u32>,
    pub(in crate::config) mark_dscp: Field<u8>,
}

/// An element of a list that may name a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::config) enum Item<T> {
    /// `"@web-servers"`, without the `@`.
    Set(String),
    /// What stands there.
    One(T),
}

/// `[[address_set]]` or `[[port_set]]`.
#[derive(Debug)]
pub(in crate::config) struct Set<T> {
    /// The header.
    pub(in crate::config) span: Span,
    pub(in crate::config) name: Field<Name>,
    pub(in crate::config) elements: Several<T>,
}

pub(super) fn address_set(span: Span, table: &mut Table<'_, '_>) -> Set<Prefix> {
    Set {
        span,
        name: table.text("name", |text| name("name", text)),
        elements: table.several("addresses", |value| {
            prefix(&ADDRESS_SET, "addresses", value)
        }),
    }
}

pub(super) fn port_set(span: Span, table: &mut Table<'_, '_>) -> Set<NumberRange> {
    Set {
        span,
        name: table.text("name", |text| name("name", text)),
        elements: table.several("ports", |value| numbers(&PORT_SET, "ports", value, 0xffff)),
    }
}

pub(super) fn acl(span: Span, table: &mut Table<'_, '_>) -> Acl {
    let mut rules = Vec::new();
    table.tables("rule", &RULE, |span, source, table| {
        rules.push(rule(span, source, table));
    });
    Acl {
        span,
        name: table.text("name", |text| name("name", text)),
        default: table.choice(
            "default",
            &[("allow", Action::Allow), ("deny", Action::Deny)],
        ),
        rules,
    }
}

fn acts(table: &mut Table<'_, '_>) -> Acts {
    Acts {
        class: table.number("class", 0..=MOST),
        police: table.text("police", |text| Ok(text.to_owned())),
        mark_pcp: table.number("mark_pcp", 0..=MOST),
        mark_dscp: table.field("mark_dscp", |value| {
            let range = dscp("mark_dscp", value)?;
            if range.first == range.last {
                return Ok(range.first as u8);
            }
            let help = format!("write, for example, {}", RULE.example("mark_dscp"));
            Err(Wrong::value("`mark_dscp` is one value", help))
        }),
    }
}

fn rule(span: Span, source: &DeTable<'_>, table: &mut Table<'_, '_>) -> Rule {
    let ports = |key: &'static str| {
        move |value: &DeValue<'_>| item(value, |value| numbers(&RULE, key, value, 0xffff))
    };
    let addresses = |key: &'static str| {
        move |value: &DeValue<'_>| item(value, |value| prefix(&RULE, key, value))
    };
    Rule {
        span,
        text: text_of(source),
        name: table.text("name", |text| name("name", text)),
        action: table.choice(
            "action",
            &[
                ("allow", Action::Allow),
                ("deny", Action::Deny),
                ("count", Action::Count),
                ("log", Action::Log),
            ],
        ),
        source_mac: table.several("source_mac", |value| mac("source_mac", value)),
        destination_mac: table.several("destination_mac", |value| mac("destination_mac", value)),
        ethertype: table.several("ethertype", ethertype),
        network: table.several("network", |value| {
            as_text(&RULE, "network", value).map(str::to_owned)
        }),
        vid: table.several("vid", |value| super::vid(&RULE, "vid", value)),
        pcp: table.several("pcp", |value| numbers(&RULE, "pcp", value, 7)),
        arp_operation: table.several("arp_operation", arp_operation),
        source: table.several("source", addresses("source")),
        destination: table.several("destination", addresses("destination")),
        protocol: table.several("protocol", ip_protocol),
        source_port: table.several("source_port", ports("source_port")),
        destination_port: table.several("destination_port", ports("destination_port")),
        icmp_type: table.several("icmp_type", |value| numbers(&RULE, "icmp_type", value, 255)),
        icmp_code: table.several("icmp_code", |value| numbers(&RULE, "icmp_code", value, 255)),
        tcp_flags: table.text("tcp_flags", tcp_flags),
        dscp: table.several("dscp", |value| dscp("dscp", value)),
        fragment: table.choice(
            "fragment",
            &[
                ("no", Fragments::No),
                ("first", Fragments::First),
                ("later", Fragments::Later),
                ("any", Fragments::Any),
            ],
        ),
        acts: acts(table),
    }
}

/// A rule in one line: its action, then its conditions as they are written, in the order of the
/// manual. It is what tells a rule without a name from others.
fn text_of(table: &DeTable<'_>) -> String {
    let mut text = String::new();
    for key in RULE.key_names().filter(|key| *key != "name") {
        let Some(value) = table.get(key) else {
            continue;
        };
        let title = if key == "action" { "" } else { key };
        for part in [title, &value_text(value.get_ref())] {
            if !text.is_empty() && !part.is_empty() {
                text.push(' ');
            }
            text.push_str(part);
        }
    }
    text
}

fn value_text(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Array(elements) => {
            let mut text = String::new();
            for element in elements.iter() {
                let comma = if text.is_empty() { "" } else { "," };
                // Writing to a string cannot fail.
                let _ = write!(text, "{comma}{}", value_text(element.get_ref()));
            }
            text
        }
        _ => String::new(),
    }
}

/// A set's name behind an `@`, or what `read` makes of the value.
fn item<T>(
    value: &DeValue<'_>,
    read: impl FnOnce(&DeValue<'_>) -> Result<T, Wrong>,
) -> Result<Item<T>, Wrong> {
    match value.as_str().and_then(|text| text.strip_prefix('@')) {
        Some(set) => Ok(Item::Set(set.to_owned())),
        None => read(value).map(Item::One),
    }
}

/// A number, or a range of numbers as text.
fn numbers(shape: &Shape, key: &str, value: &DeValue<'_>, most: u32) -> Result<NumberRange, Wrong> {
    let Some(text) = value.as_str() else {
        if value.as_integer().is_none() {
            return Err(wrong_type(shape, key, "a number, a range or a list", value));
        }
        let number = as_number(shape, key, value, 0..=most)? as u16;
        return Ok(NumberRange::from(number));
    };
    let digits = |text: &str| {
        let good = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        good.then(|| text.parse::<u32>().ok()).flatten()
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = digits(first.trim()).zip(digits(last.trim()));
    let right = range.filter(|(first, last)| first <= last && *last <= most);
    match right {
        Some((first, last)) => Ok(NumberRange::new(first as u16, last as u16)),
        None => {
            let help = format!(
                "write a number from 0 to {most}, or a range such as {}",
                shape.example(key)
            );
            let message = format!("`{key}` cannot be \"{}\"", printable(text));
            Err(Wrong::value(message, help))
        }
    }
}

/// A word with a meaning, or a number.
fn word_or_number(
    key: &str,
    value: &DeValue<'_>,
    words: &[(&str, NumberRange)],
    most: u32,
) -> Result<NumberRange, Wrong> {
    let Some(text) = value.as_str() else {
        return numbers(&RULE, key, value, most);
    };
    if let Some((_, range)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*range);
    }
    numbers(&RULE, key, value, most).map_err(|wrong| {
        let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        Wrong {
            help: format!("use {}, or a number from 0 to {most}", one_of(&words)),
            ..wrong
        }
    })
}

fn ethertype(value: &DeValue<'_>) -> Result<NumberRange, Wrong> {
    // Hexadecimal is how these are written, and TOML knows it for numbers only.
    let hex = value.as_str().and_then(|text| text.strip_prefix("0x"));
    if let Some(number) = hex.and_then(|digits| u16::from_str_radix(digits, 16).ok()) {
        return Ok(NumberRange::from(number));
    }
    let words = [
        ("ipv4", NumberRange::from(ETHERTYPE_IPV4)),
        ("ipv6", NumberRange::from(ETHERTYPE_IPV6)),
        ("arp", NumberRange::from(ETHERTYPE_ARP)),
        // What is no type but a length (802.3-2022, 3.2.6).
        ("llc", NumberRange::new(0, 0x5ff)),
    ];
    word_or_number("ethertype", value, &words, 0xffff)
}

fn arp_operation(value: &DeValue<'_>) -> Result<NumberRange, Wrong> {
    let words = [
        ("request", NumberRange::from(1)),
        ("reply", NumberRange::from(2)),
    ];
    word_or_number("arp_operation", value, &words, 255)
}

fn ip_protocol(value: &DeValue<'_>) -> Result<Protocol, Wrong> {
    let words = [
        ("tcp", NumberRange::from(u16::from(protocol::TCP))),
        ("udp", NumberRange::from(u16::from(protocol::UDP))),
        ("sctp", NumberRange::from(u16::from(protocol::SCTP))),
        ("icmp", NumberRange::from(u16::from(protocol::ICMP))),
        ("icmpv6", NumberRange::from(u16::from(protocol::ICMPV6))),
    ];
    word_or_number("protocol", value, &words, 255).map(Protocol)
}

/// DSCP by number, or by the names of RFC 2474, RFC 2597 and RFC 3246.
fn dscp(key: &str, value: &DeValue<'_>) -> Result<NumberRange, Wrong> {
    let class = |text: &str, size: usize| {
        let digits: Vec<u16> = text
            .chars()
            .filter_map(|c| c.to_digit(10))
            .map(|d| d as u16)
            .collect();
        (text.len() == size && digits.len() == size).then_some(digits)
    };
    let named = value.as_str().and_then(|text| match text {
        "ef" => Some(46),
        _ => match (text.strip_prefix("cs"), text.strip_prefix("af")) {
            (Some(rest), _) => class(rest, 1).filter(|d| d[0] < 8).map(|d| d[0] << 3),
            (_, Some(rest)) => class(rest, 2)
                .filter(|d| (1..=4).contains(&d[0]) && (1..=3).contains(&d[1]))
                .map(|d| d[0] << 3 | d[1] << 1),
            _ => None,
        },
    });
    match named {
        Some(number) => Ok(NumberRange::from(number)),
        None => numbers(&RULE, key, value, 63),
    }
}

/// `52:54:00:12:34:56`, or with a mask behind a slash.
fn mac(key: &str, value: &DeValue<'_>) -> Result<MacPattern, Wrong> {
    let text = as_text(&RULE, key, value)?;
    let (address, mask) = text.split_once('/').unwrap_or((text, "ff:ff:ff:ff:ff:ff"));
    let help = "write an address, or an address and a mask as in \
                \"52:54:00:00:00:00/ff:ff:ff:00:00:00\"";
    let wrong = |message: String| Wrong::value(message, help);
    let read = |part: &str| {
        Mac::from_str(part).map_err(|_| wrong(format!("\"{}\" is no MAC address", printable(part))))
    };
    let (address, mask) = (read(address)?.to_u64(), read(mask)?.to_u64());
    if address & !mask != 0 {
        let message = format!("\"{}\" has bits that its mask leaves out", printable(text));
        return Err(wrong(message));
    }
    Ok(MacPattern { address, mask })
}

/// `10.0.0.0/8`, or an address alone.
pub(super) fn prefix(shape: &Shape, key: &str, value: &DeValue<'_>) -> Result<Prefix, Wrong> {
    let text = as_text(shape, key, value)?;
    let shown = printable(text);
    let help = format!("write an address or a prefix, as in {}", shape.example(key));
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return Err(Wrong::value(format!("\"{shown}\" is no IP address"), help));
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => Some(most),
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            digits.parse().ok().filter(|length| *length <= most)
        }
        Some(_) => None,
    };
    let Some(length) = length else {
        let message = format!("\"{shown}\" has no valid prefix length");
        return Err(Wrong::value(message, help));
    };
    Prefix::new(address, length).map_err(|network| {
        let message = format!("\"{shown}\" has bits that its prefix length leaves out");
        Wrong::value(message, format!("write \"{network}\""))
    })
}

/// `syn,!ack`: which flags are set and which are not; others do not matter.
fn tcp_flags(text: &str) -> Result<TcpFlags, Wrong> {
    let mut flags = TcpFlags::default();
    for word in text.split(',').map(str::trim) {
        let (flag, set) = match word.strip_prefix('!') {
            Some(flag) => (flag, false),
            None => (word, true),
        };
        let position = TcpFlags::NAMES.iter().position(|name| *name == flag);
        let Some(bit) = position.map(|position| 1_u8 << position) else {
            let message = format!("there is no TCP flag \"{}\"", printable(flag));
            let help = format!(
                "use {}, with `!` before it if it must not be set, as in \"syn,!ack\"",
                TcpFlags::NAMES.join(", ")
            );
            return Err(Wrong::value(message, help));
        };
        if flags.mask & bit != 0 {
            let message = format!("the flag \"{flag}\" is there twice");
            return Err(Wrong::value(message, "name each flag once"));
        }
        flags.mask |= bit;
        flags.value |= if set { bit } else { 0 };
    }
    Ok(flags)
}
