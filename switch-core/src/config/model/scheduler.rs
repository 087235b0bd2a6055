//! `[[scheduler]]` and its queues.

use super::{
    acl::Several,
    classes::{MOST, numbers},
    name, qos,
};
use crate::{
    config::{
        reader::{Field, Table},
        report::Span,
        shape::{QUEUE, SCHEDULER},
        units,
        valid::Name,
    },
    qos::bucket::{Burst, Rate},
};

/// `[[scheduler]]`.
#[derive(Debug)]
pub(in crate::config) struct Scheduler {
    /// The header.
    pub(in crate::config) span: Span,
    pub(in crate::config) name: Field<Name>,
    pub(in crate::config) rate: Field<Rate>,
    pub(in crate::config) burst: Field<Burst>,
    pub(in crate::config) queues: Vec<Queue>,
}

/// `[[scheduler.queue]]`.
#[derive(Debug)]
pub(in crate::config) struct Queue {
    /// The header.
    pub(in crate::config) span: Span,
    pub(in crate::config) classes: Several<u32>,
    pub(in crate::config) strict: Field<bool>,
    pub(in crate::config) weight: Field<u32>,
    pub(in crate::config) min_rate: Field<Rate>,
    pub(in crate::config) max_rate: Field<Rate>,
    pub(in crate::config) limit: Field<u64>,
    pub(in crate::config) drop: Field<Drop>,
    pub(in crate::config) target_ms: Field<u32>,
    pub(in crate::config) interval_ms: Field<u32>,
}

/// The word after `drop =`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::config) enum Drop {
    Tail,
    Codel,
}

pub(super) fn scheduler(span: Span, table: &mut Table<'_, '_>) -> Scheduler {
    let mut queues = Vec::new();
    table.tables("queue", &QUEUE, |span, _, table| {
        queues.push(queue(span, table));
    });
    Scheduler {
        span,
        name: table.text("name", |text| name("name", text)),
        rate: qos::rate(&SCHEDULER, table, "rate"),
        burst: qos::burst(&SCHEDULER, table, "burst"),
        queues,
    }
}

fn queue(span: Span, table: &mut Table<'_, '_>) -> Queue {
    Queue {
        span,
        classes: numbers(&QUEUE, table, "classes", MOST),
        strict: table.boolean("strict"),
        weight: table.number("weight", 1..=256),
        min_rate: qos::rate(&QUEUE, table, "min_rate"),
        max_rate: qos::rate(&QUEUE, table, "max_rate"),
        limit: table.field("limit", |value| {
            units::limit("limit", &units::text(&QUEUE, "limit", value)?)
        }),
        drop: table.choice("drop", &[("tail", Drop::Tail), ("codel", Drop::Codel)]),
        target_ms: table.number("target_ms", 1..=1_000),
        interval_ms: table.number("interval_ms", 1..=10_000),
    }
}
