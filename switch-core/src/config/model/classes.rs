//! `[[class_map]]`, and what a port says of classes.

use serde_spanned::Spanned;

use super::{acl::Several, name};
use crate::{
    config::{
        reader::{Field, Table, Value, as_number},
        report::{Code, Problem, Span},
        shape::{CLASS_MAP, DSCP_CLASS, PORT, Shape},
        valid::Name,
    },
    qos::classes::ClassSource,
};

/// `[[class_map]]`.
#[derive(Debug)]
pub(in crate::config) struct ClassMap {
    /// The header.
    pub(in crate::config) span: Span,
    pub(in crate::config) name: Field<Name>,
    pub(in crate::config) from_pcp: Several<u32>,
    pub(in crate::config) from_dscp: Vec<DscpClass>,
    pub(in crate::config) to_pcp: Several<u32>,
    pub(in crate::config) to_dscp: Several<u32>,
}

/// `[[class_map.from_dscp]]`.
#[derive(Debug)]
pub(in crate::config) struct DscpClass {
    /// The header.
    pub(in crate::config) span: Span,
    pub(in crate::config) dscp: Several<u32>,
    pub(in crate::config) class: Field<u32>,
}

/// The keys of a port that are about classes and queues.
#[derive(Debug)]
pub(in crate::config) struct Classes {
    pub(in crate::config) class: Field<u32>,
    pub(in crate::config) class_from: Several<ClassSource>,
    pub(in crate::config) class_map: Field<String>,
    pub(in crate::config) mark: Several<ClassSource>,
    pub(in crate::config) scheduler: Field<String>,
}

/// The highest class, and the highest PCP.
pub(super) const MOST: u32 = 7;
/// The highest DSCP.
const MOST_DSCP: u32 = 63;

pub(super) fn class_map<'t>(span: Span, table: &mut Table<'t, '_>) -> ClassMap {
    let mut from_dscp = Vec::new();
    table.tables("from_dscp", &DSCP_CLASS, |span, _, table| {
        from_dscp.push(DscpClass {
            span,
            dscp: table.several("dscp", |value| {
                as_number(&DSCP_CLASS, "dscp", value, 0..=MOST_DSCP)
            }),
            class: table.number("class", 0..=MOST),
        });
    });
    ClassMap {
        span,
        name: table.text("name", |text| name("name", text)),
        from_pcp: all_numbers(table, "from_pcp", MOST),
        from_dscp,
        to_pcp: all_numbers(table, "to_pcp", MOST),
        to_dscp: all_numbers(table, "to_dscp", MOST_DSCP),
    }
}

/// A list of which the positions count: invalid as a whole where an element is, so that nobody
/// counts the others.
fn all_numbers(
    table: &mut Table<'_, '_>,
    key: &'static str,
    most: u32,
) -> Field<Vec<Spanned<u32>>> {
    let written = table.length(key);
    match numbers(&CLASS_MAP, table, key, most) {
        Field::Present(list) if Some(list.get_ref().len()) != written => {
            Field::Invalid(Spanned::new(list.span(), String::new()))
        }
        field => field,
    }
}

/// A list of numbers up to `most`.
pub(super) fn numbers(
    shape: &'static Shape,
    table: &mut Table<'_, '_>,
    key: &'static str,
    most: u32,
) -> Field<Vec<Spanned<u32>>> {
    table.list(key, |value, _| {
        as_number(shape, key, value.get_ref(), 0..=most)
            .map_err(|wrong| wrong.element(shape, key).at(value.span()))
    })
}

pub(super) fn classes(table: &mut Table<'_, '_>) -> Classes {
    Classes {
        class: table.number("class", 0..=MOST),
        class_from: table.list("class_from", |value, _| place("class_from", value)),
        class_map: table.text("class_map", |text| Ok(text.to_owned())),
        mark: table.list("mark", |value, _| place("mark", value)),
        scheduler: table.text("scheduler", |text| Ok(text.to_owned())),
    }
}

/// `"pcp"` or `"dscp"`.
fn place(key: &str, value: &Value<'_>) -> Result<ClassSource, Problem> {
    match value.get_ref().as_str() {
        Some("pcp") => Ok(ClassSource::Pcp),
        Some("dscp") => Ok(ClassSource::Dscp),
        _ => {
            let message = format!("an element of `{key}` is \"dscp\" or \"pcp\"");
            let help = format!("write, for example, {}", PORT.example(key));
            Err(Problem::new(Code::InvalidValue, value.span(), message).help(help))
        }
    }
}
