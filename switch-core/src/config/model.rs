//! What the user wrote: every value is of the right type and stands with its place, but nothing
//! is known yet of how values go together.

use std::str::FromStr;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    reader::{Field, Table, Value, Wrong, as_number, as_text, one_of, wrong_type},
    report::{Code, Problem, Problems, Span, printable},
    shape::{
        ACL, ADDRESS_SET, CLASS_MAP, NETWORK, POLICER, PORT, PORT_SET, SCHEDULER, STATIC, SWITCH,
        Shape, TABLES, TRUNK_ENTRY,
    },
    units,
    valid::{
        AcceptableFrames, Attach, Device, InvalidIpPrefix, IpPrefix, Name, NumberRange, Prefix,
    },
};
use crate::{
    idle::Policy,
    limits,
    qos::storm::{Kind, StormRate},
    table::fdb::{MAX_FLAP_S, MAX_MOVES},
    wire::{
        ethernet::Mac,
        vlan::{InvalidVid, Tpid, Vid},
    },
};

mod acl;
mod classes;
mod qos;
mod scheduler;

pub(super) use acl::{Acl, Acts, Item, Rule, Set, Several};
pub(super) use classes::{ClassMap, Classes};
pub(super) use qos::{Policed, Policer};
pub(super) use scheduler::{Drop, Queue, Scheduler};

/// A file.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) switch: Switch,
    pub(super) networks: Vec<Network>,
    pub(super) ports: Vec<Port>,
    pub(super) statics: Vec<Static>,
    pub(super) policers: Vec<Policer>,
    pub(super) acls: Vec<Acl>,
    pub(super) address_sets: Vec<Set<Prefix>>,
    pub(super) port_sets: Vec<Set<NumberRange>>,
    pub(super) schedulers: Vec<Scheduler>,
    pub(super) class_maps: Vec<ClassMap>,
}

/// `[switch]`.
#[derive(Debug, Default)]
pub(super) struct Switch {
    pub(super) workers: Field<u32>,
    pub(super) cores: Field<Vec<Spanned<u32>>>,
    pub(super) ageing_s: Field<u32>,
    pub(super) idle: Field<Policy>,
    pub(super) huge_pages: Field<bool>,
    pub(super) frames: Field<u32>,
    pub(super) forward_reserved: Field<bool>,
    pub(super) flap_moves: Field<u32>,
    pub(super) flap_window_s: Field<u32>,
    pub(super) flap_quarantine_s: Field<u32>,
}

/// `[[network]]`.
#[derive(Debug)]
pub(super) struct Network {
    /// The header.
    pub(super) span: Span,
    pub(super) name: Field<Name>,
    pub(super) vlan: Field<Vid>,
    pub(super) policed: Policed,
    pub(super) acls: Attached,
}

/// The lists that frames from a port, or to a port, have to pass.
#[derive(Debug)]
pub(super) struct Attached {
    pub(super) from_port: Field<String>,
    pub(super) to_port: Field<String>,
}

/// `[[port]]`. Names of networks are what is written: whether they exist is another matter.
#[derive(Debug)]
pub(super) struct Port {
    /// The header.
    pub(super) span: Span,
    pub(super) name: Field<Name>,
    pub(super) device: Field<Device>,
    pub(super) role: Field<Role>,
    pub(super) network: Field<String>,
    pub(super) native: Field<String>,
    pub(super) native_tagged: Field<bool>,
    pub(super) trunk: Field<Vec<Spanned<TrunkEntry>>>,
    pub(super) tpid: Field<Tpid>,
    pub(super) accept: Field<AcceptableFrames>,
    pub(super) isolated: Field<bool>,
    pub(super) mac_limit: Field<u32>,
    pub(super) attach: Field<Attach>,
    pub(super) queues: Field<u32>,
    pub(super) addresses: Field<Vec<Spanned<IpPrefix>>>,
    pub(super) mac: Field<Mac>,
    pub(super) policed: Policed,
    pub(super) acls: Attached,
    pub(super) security: Field<()>,
    pub(super) allowed_macs: Several<Mac>,
    pub(super) allowed_addresses: Several<Prefix>,
    pub(super) dhcp_server: Field<bool>,
    pub(super) router_advertisements: Field<bool>,
    pub(super) bpdus: Field<bool>,
    /// By kind; none: as many as there are.
    pub(super) storm: [Field<Option<StormRate>>; Kind::ALL.len()],
    pub(super) classes: Classes,
}

/// The keys of storm control, in the order of [`Kind::ALL`].
pub(super) const STORM_KEYS: [&str; Kind::ALL.len()] = [
    "broadcast_limit",
    "multicast_limit",
    "unknown_unicast_limit",
];

/// The word after `role =`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Guest,
    Uplink,
    Host,
}

/// An element of `trunk`.
#[derive(Debug)]
pub(super) enum TrunkEntry {
    /// `"*"`.
    All,
    /// `"web"`.
    Network(String),
    /// `{ network = "web", vid = 120 }`; a field is missing where it was wrong.
    Translated {
        network: Option<Spanned<String>>,
        vid: Option<Spanned<Vid>>,
    },
}

/// `[[static]]`.
#[derive(Debug)]
pub(super) struct Static {
    /// The header.
    pub(super) span: Span,
    pub(super) network: Field<String>,
    pub(super) mac: Field<Mac>,
    pub(super) port: Field<String>,
}

/// Reads a whole document.
pub(super) fn read(document: &DeTable<'_>, problems: &mut Problems) -> Document {
    let mut read = Document::default();
    for (key, value) in document {
        match &**key.get_ref() {
            "switch" => {
                if let Some(table) = one_table(key.get_ref(), value, problems) {
                    read.switch = switch(&mut Table::new(&SWITCH, table, problems));
                }
            }
            "network" => for_each_table(&NETWORK, key, value, problems, |span, table| {
                read.networks.push(network(span, table));
            }),
            "port" => for_each_table(&PORT, key, value, problems, |span, table| {
                read.ports.push(port(span, table));
            }),
            "static" => for_each_table(&STATIC, key, value, problems, |span, table| {
                read.statics.push(static_entry(span, table));
            }),
            "policer" => for_each_table(&POLICER, key, value, problems, |span, table| {
                read.policers.push(qos::policer(span, table));
            }),
            "acl" => for_each_table(&ACL, key, value, problems, |span, table| {
                read.acls.push(acl::acl(span, table));
            }),
            "address_set" => for_each_table(&ADDRESS_SET, key, value, problems, |span, table| {
                read.address_sets.push(acl::address_set(span, table));
            }),
            "port_set" => for_each_table(&PORT_SET, key, value, problems, |span, table| {
                read.port_sets.push(acl::port_set(span, table));
            }),
            "class_map" => for_each_table(&CLASS_MAP, key, value, problems, |span, table| {
                read.class_maps.push(classes::class_map(span, table));
            }),
            "scheduler" => for_each_table(&SCHEDULER, key, value, problems, |span, table| {
                read.schedulers.push(scheduler::scheduler(span, table));
            }),
            _ => {
                let problem = unknown_table(key, value, problems);
                problems.push(problem);
            }
        }
    }
    read
}

fn unknown_table(
    key: &Spanned<impl AsRef<str>>,
    value: &Value<'_>,
    problems: &mut Problems,
) -> Problem {
    let word = key.get_ref().as_ref();
    let close = problems.closest(word, TABLES.map(|(name, _)| name));
    let close = TABLES.iter().find(|(name, _)| Some(*name) == close);
    let mut help = close.map_or_else(String::new, |(_, shape)| {
        format!("did you mean `{}`? ", shape.header)
    });
    if help.is_empty()
        && let Some((_, shape)) = TABLES
            .iter()
            .find(|(_, shape)| shape.key_names().any(|known| known == word))
    {
        help = format!(
            "`{word}` is a key of {}, and belongs under that line; ",
            shape.header
        );
    }
    let table = match value.get_ref() {
        DeValue::Table(_) => true,
        DeValue::Array(elements) => elements.iter().all(|element| element.get_ref().is_table()),
        _ => false,
    };
    let what = if table { "table" } else { "key" };
    let message = format!("a configuration has no {what} `{}`", printable(word));
    let headers = TABLES.map(|(_, shape)| shape.header).join(", ");
    Problem::new(Code::UnknownKey, key.span(), message)
        .help(format!("{help}the tables of a configuration are {headers}"))
}

/// The table of `[switch]`.
fn one_table<'t>(
    name: &str,
    value: &'t Value<'t>,
    problems: &mut Problems,
) -> Option<&'t DeTable<'t>> {
    let table = value.get_ref().as_table();
    if table.is_none() {
        let message = format!("`{name}` must be one table");
        let help = format!("write `[{name}]` once, in single brackets, and its keys below");
        problems.push(Problem::new(Code::WrongType, value.span(), message).help(help));
    }
    table
}

/// The tables of a header in double brackets.
fn for_each_table<'t>(
    shape: &'static Shape,
    key: &Spanned<impl AsRef<str>>,
    value: &'t Value<'t>,
    problems: &mut Problems,
    mut read: impl FnMut(Span, &mut Table<'t, '_>),
) {
    let name = key.get_ref().as_ref();
    let header = shape.header;
    let elements = match value.get_ref() {
        DeValue::Array(elements) => elements.iter().collect(),
        _ => vec![value],
    };
    if !value.get_ref().is_array() {
        let message = format!("`{name}` must stand in double brackets, as there can be several");
        let first = shape.example(shape.keys[0].0);
        let help = format!("begin each {name} with `{header}`, and its keys below, as in {first}");
        problems.push(Problem::new(Code::WrongType, value.span(), message).help(help));
    }
    for element in elements {
        match element.get_ref() {
            DeValue::Table(table) => {
                // `[network.web]`: the error above says what is wrong, the keys are not ours.
                let nested = !value.get_ref().is_array()
                    && table.values().all(|value| value.get_ref().is_table());
                if !nested {
                    read(element.span(), &mut Table::new(shape, table, problems));
                }
            }
            _ if value.get_ref().is_array() => {
                let message = format!("a {name} must be a table");
                let help = format!("begin each {name} with `{header}`, and its keys below");
                problems.push(Problem::new(Code::WrongType, element.span(), message).help(help));
            }
            _ => {}
        }
    }
}

fn switch(table: &mut Table<'_, '_>) -> Switch {
    const CORES: u32 = 1023; // CPU_SETSIZE (sched.h) less one
    table.field("express", |value| match value {
        DeValue::Boolean(false) => Ok(()),
        DeValue::Boolean(true) => Err(Wrong {
            code: Code::NotBuilt,
            message: "the express path is not built yet".to_owned(),
            help: "leave `express` out, or set it to false".to_owned(),
        }),
        other => Err(wrong_type(&SWITCH, "express", "true or false", other)),
    });
    Switch {
        workers: table.number("workers", 1..=limits::MAX_WORKERS as u32),
        cores: table.list("cores", |core, _| {
            as_number(&SWITCH, "cores", core.get_ref(), 0..=CORES)
                .map_err(|wrong| wrong.element(&SWITCH, "cores").at(core.span()))
        }),
        ageing_s: table.number("ageing_s", limits::MIN_AGEING_S..=limits::MAX_AGEING_S),
        idle: table.choice("idle", &[("sleep", Policy::Sleep), ("poll", Policy::Poll)]),
        huge_pages: table.boolean("huge_pages"),
        frames: table.number(
            "frames",
            limits::MIN_CHUNKS as u32..=limits::MAX_CHUNKS as u32,
        ),
        forward_reserved: table.boolean("forward_reserved"),
        flap_moves: table.number("flap_moves", 1..=MAX_MOVES),
        flap_window_s: table.number("flap_window_s", 1..=MAX_FLAP_S),
        flap_quarantine_s: table.number("flap_quarantine_s", 1..=MAX_FLAP_S),
    }
}

fn network(span: Span, table: &mut Table<'_, '_>) -> Network {
    Network {
        span,
        name: table.text("name", |text| name("name", text)),
        vlan: table.field("vlan", |value| vid(&NETWORK, "vlan", value)),
        policed: qos::policed(table),
        acls: attached(table),
    }
}

fn attached(table: &mut Table<'_, '_>) -> Attached {
    Attached {
        from_port: table.text("acl_from_port", |text| Ok(text.to_owned())),
        to_port: table.text("acl_to_port", |text| Ok(text.to_owned())),
    }
}

fn port(span: Span, table: &mut Table<'_, '_>) -> Port {
    use AcceptableFrames::{All, Tagged, Untagged};
    Port {
        span,
        name: table.text("name", |text| name("name", text)),
        device: table.text("device", device),
        role: table.choice(
            "role",
            &[
                ("guest", Role::Guest),
                ("uplink", Role::Uplink),
                ("host", Role::Host),
            ],
        ),
        network: table.text("network", |text| Ok(text.to_owned())),
        native: table.text("native", |text| Ok(text.to_owned())),
        native_tagged: table.boolean("native_tagged"),
        trunk: table.list("trunk", trunk_entry),
        tpid: table.field("tpid", tpid),
        accept: table.choice(
            "accept",
            &[("all", All), ("tagged", Tagged), ("untagged", Untagged)],
        ),
        isolated: table.boolean("isolated"),
        mac_limit: table.number("mac_limit", 1..=u32::MAX),
        attach: table.text("attach", attach),
        queues: table.number("queues", 1..=limits::MAX_QUEUES as u32),
        addresses: table.list("addresses", |value, _| {
            as_text(&PORT, "addresses", value.get_ref())
                .and_then(ip_prefix)
                .map_err(|wrong| wrong.element(&PORT, "addresses").at(value.span()))
        }),
        mac: table.text("mac", individual_mac),
        policed: qos::policed(table),
        acls: attached(table),
        security: table.choice("security", &[("strict", ())]),
        allowed_macs: table.several("allowed_macs", |value| {
            as_text(&PORT, "allowed_macs", value).and_then(individual_mac)
        }),
        allowed_addresses: table.several("allowed_addresses", |value| {
            acl::prefix(&PORT, "allowed_addresses", value)
        }),
        dhcp_server: table.boolean("dhcp_server"),
        router_advertisements: table.boolean("router_advertisements"),
        bpdus: table.boolean("bpdus"),
        storm: STORM_KEYS.map(|key| {
            table.field(key, |value| {
                units::storm_rate(key, &units::text(&PORT, key, value)?)
            })
        }),
        classes: classes::classes(table),
    }
}

fn static_entry(span: Span, table: &mut Table<'_, '_>) -> Static {
    Static {
        span,
        network: table.text("network", |text| Ok(text.to_owned())),
        mac: table.text("mac", individual_mac),
        port: table.text("port", |text| Ok(text.to_owned())),
    }
}

fn name(key: &str, text: &str) -> Result<Name, Wrong> {
    Name::from_str(text).map_err(|wrong| {
        Wrong::value(
            format!("`{key}` cannot be \"{}\"", printable(text)),
            wrong.to_string(),
        )
    })
}

fn device(text: &str) -> Result<Device, Wrong> {
    if text == "lo" {
        let message = "the loopback interface `lo` cannot be a port";
        let help = "to connect the host's own IP stack, use a port with `role = \"host\"`";
        return Err(Wrong::value(message, help));
    }
    Device::from_str(text).map_err(|wrong| {
        let message = format!("no interface can be called \"{}\"", printable(text));
        Wrong::value(message, wrong.to_string())
    })
}

fn vid(shape: &Shape, key: &str, value: &DeValue<'_>) -> Result<Vid, Wrong> {
    let number = match as_number(shape, key, value, 0..=u16::MAX.into()) {
        Ok(number) => number as u16,
        Err(wrong) if wrong.code == Code::OutOfRange => u16::MAX,
        Err(wrong) => return Err(wrong),
    };
    Vid::new(number).map_err(|wrong| {
        let message = match wrong {
            InvalidVid::Zero => "VLAN 0 does not exist: it marks frames that carry a priority only",
            InvalidVid::Reserved => "VLAN 4095 is reserved by 802.1Q",
            InvalidVid::TooLarge => "a VLAN is a number of 12 bits",
        };
        let private = "; without a `vlan` the network is private to this host";
        let help = if key == "vlan" { private } else { "" };
        let (message, help) = (message.to_owned(), format!("use 1 to 4094{help}"));
        Wrong {
            code: Code::OutOfRange,
            message,
            help,
        }
    })
}

fn tpid(value: &DeValue<'_>) -> Result<Tpid, Wrong> {
    // TOML knows hexadecimal numbers too, and 0x8100 without quotes is what many would write.
    let text = match value {
        DeValue::Integer(number) => number.to_string(),
        other => as_text(&PORT, "tpid", other)?.to_ascii_lowercase(),
    };
    match text.as_str() {
        "0x8100" | "802.1q" => Ok(Tpid::Customer),
        "0x88a8" | "0x88A8" | "802.1ad" => Ok(Tpid::Service),
        other => {
            let help = "use \"0x8100\" (802.1Q) or \"0x88a8\" (802.1ad, for provider networks)";
            Err(Wrong::value(
                format!("`tpid` cannot be \"{}\"", printable(other)),
                help,
            ))
        }
    }
}

fn attach(text: &str) -> Result<Attach, Wrong> {
    match text {
        "auto" => Ok(Attach::Auto),
        "xdp" => Ok(Attach::Xdp),
        "tc" => Err(Wrong {
            code: Code::NotBuilt,
            message: "`attach = \"tc\"` is not built yet".to_owned(),
            help: "leave `attach` out, or use \"auto\" or \"xdp\"".to_owned(),
        }),
        other => {
            let message = format!("`attach` cannot be \"{}\"", printable(other));
            Err(Wrong::value(
                message,
                format!("use {}", one_of(&["auto", "xdp"])),
            ))
        }
    }
}

fn individual_mac(text: &str) -> Result<Mac, Wrong> {
    let help = "write six pairs of hex digits, as in \"52:54:00:12:34:56\"";
    let mac = Mac::from_str(text)
        .map_err(|_| Wrong::value(format!("\"{}\" is no MAC address", printable(text)), help))?;
    if mac.is_group() {
        let help = "a station's address has an even first byte, as in \"52:54:00:12:34:56\"";
        return Err(Wrong::value(
            format!("{mac} is a group address, which no station has"),
            help,
        ));
    }
    if mac == Mac::NULL {
        return Err(Wrong::value(
            "00:00:00:00:00:00 is no station's address",
            help,
        ));
    }
    Ok(mac)
}

fn ip_prefix(text: &str) -> Result<IpPrefix, Wrong> {
    IpPrefix::from_str(text).map_err(|wrong| {
        let shown = printable(text);
        let message = match wrong {
            InvalidIpPrefix::Length => format!("\"{shown}\" has no valid prefix length"),
            InvalidIpPrefix::Address => format!("\"{shown}\" is no IP address"),
            InvalidIpPrefix::Group => format!("\"{shown}\" cannot be an interface's address"),
        };
        Wrong::value(
            message,
            "write an address and its prefix length: \"10.0.0.1/24\"",
        )
    })
}

fn trunk_entry(value: &Value<'_>, problems: &mut Problems) -> Result<TrunkEntry, Problem> {
    match value.get_ref() {
        DeValue::String(text) if text == "*" => Ok(TrunkEntry::All),
        DeValue::String(text) => Ok(TrunkEntry::Network(text.clone().into_owned())),
        DeValue::Table(table) => Ok(translated(&value.span(), table, problems)),
        _ => {
            let message = "`trunk` lists networks";
            let help = "write \"web\", or { network = \"web\", vid = 120 }, or \"*\" for all";
            Err(Problem::new(Code::WrongType, value.span(), message).help(help))
        }
    }
}

fn translated(span: &Span, table: &DeTable<'_>, problems: &mut Problems) -> TrunkEntry {
    let mut reader = Table::new(&TRUNK_ENTRY, table, problems);
    let network = reader.text("network", |text| Ok(text.to_owned()));
    let vid = reader.field("vid", |value| vid(&TRUNK_ENTRY, "vid", value));
    for (key, written) in [("network", network.is_written()), ("vid", vid.is_written())] {
        if !written {
            let message = format!("this `trunk` entry has no `{key}`");
            let help = "write it as { network = \"web\", vid = 120 }";
            problems.push(Problem::new(Code::MissingKey, span.clone(), message).help(help));
        }
    }
    TrunkEntry::Translated {
        network: network.spanned().cloned(),
        vid: vid.spanned().cloned(),
    }
}
