//! `[[policer]]`, and the keys of ports and networks that name them.

use super::name;
use crate::{
    config::{
        reader::{Field, Table},
        report::Span,
        shape::{POLICER, Shape},
        units,
        valid::Name,
    },
    qos::{
        bucket::{Burst, Rate},
        policer::Action,
    },
};

/// `[[policer]]`.
#[derive(Debug)]
pub(in crate::config) struct Policer {
    /// The header.
    pub(in crate::config) span: Span,
    pub(in crate::config) name: Field<Name>,
    pub(in crate::config) rate: Field<Rate>,
    pub(in crate::config) burst: Field<Burst>,
    pub(in crate::config) excess_burst: Field<Burst>,
    pub(in crate::config) peak_rate: Field<Rate>,
    pub(in crate::config) peak_burst: Field<Burst>,
    pub(in crate::config) colour_aware: Field<bool>,
    pub(in crate::config) exceed: Field<Action>,
    pub(in crate::config) violate: Field<Action>,
}

/// The policers of what comes from a port, or goes to one; of a network, from any of its ports.
#[derive(Debug)]
pub(in crate::config) struct Policed {
    pub(in crate::config) from_port: Field<String>,
    pub(in crate::config) to_port: Field<String>,
}

const ACTIONS: [(&str, Action); 3] = [
    ("drop", Action::Drop),
    ("mark", Action::Mark),
    ("pass", Action::Pass),
];

pub(super) fn policer(span: Span, table: &mut Table<'_, '_>) -> Policer {
    Policer {
        span,
        rate: rate(&POLICER, table, "rate"),
        burst: burst(&POLICER, table, "burst"),
        excess_burst: burst(&POLICER, table, "excess_burst"),
        peak_rate: rate(&POLICER, table, "peak_rate"),
        peak_burst: burst(&POLICER, table, "peak_burst"),
        name: table.text("name", |text| name("name", text)),
        colour_aware: table.boolean("colour_aware"),
        exceed: table.choice("exceed", &ACTIONS),
        violate: table.choice("violate", &ACTIONS),
    }
}

pub(super) fn rate(shape: &Shape, table: &mut Table<'_, '_>, key: &'static str) -> Field<Rate> {
    table.field(key, |value| {
        units::rate(key, &units::text(shape, key, value)?)
    })
}

pub(super) fn burst(shape: &Shape, table: &mut Table<'_, '_>, key: &'static str) -> Field<Burst> {
    table.field(key, |value| {
        units::burst(key, &units::text(shape, key, value)?)
    })
}

pub(super) fn policed(table: &mut Table<'_, '_>) -> Policed {
    Policed {
        from_port: table.text("police_from_port", |text| Ok(text.to_owned())),
        to_port: table.text("police_to_port", |text| Ok(text.to_owned())),
    }
}
