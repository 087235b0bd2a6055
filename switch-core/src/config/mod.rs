//! The configuration: from a file's text to what the daemon and the datapath work with.
//!
//! Three types, one after the other: `model` is what the user wrote, [`Config`] is what is valid,
//! [`snapshot::Ruleset`] is what the datapath reads. [`parse`] is the first arrow, where all errors
//! are found, collected, with their positions, in a [`Report`]; [`compile`] is the second.

use crate::limits;

mod compile;
mod model;
pub mod policy;
mod reader;
mod report;
mod shape;
pub mod snapshot;
mod suggest;
mod syntax;
#[cfg(test)]
mod tests;
pub mod units;
mod valid;
mod validate;

pub use compile::{Compiled, Indices, OutOfIndices, compile, lost_memberships};
pub use report::{Code, ConfigError, Report};
pub use valid::{
    AcceptableFrames, Acl, Action, Acts, AddressSet, Addresses, Attach, AttachedAcls, Config,
    Device, Families, Fragments, HostInterface, InvalidDevice, InvalidIpPrefix, InvalidName,
    IpPrefix, KeyLines, MacPattern, Match, Membership, Name, Native, Network, NumberRange, Policed,
    Policer, Port, Prefix, Protocol, Role, Rule, Scheduler, Security, StaticEntry, Switch, Tagged,
    TcpFlags, TransportMatch, Trunk,
};

use report::{Problem, Problems};

/// Reads a configuration. `file_name` is for messages only, no file is opened.
///
/// Takes any text: it is total, and bounded in time and memory by the size of the text.
///
/// # Errors
/// When anything is wrong; the report holds all errors.
pub fn parse(file_name: &str, text: &str) -> Result<Config, Report> {
    // The byte order mark of some editors; positions count from after it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut problems = Problems::default();
    if text.len() > limits::MAX_CONFIG_SIZE {
        let message = format!("the file has {} bytes", text.len());
        let help = format!(
            "a configuration has at most {} bytes",
            limits::MAX_CONFIG_SIZE
        );
        problems.push(Problem::new(Code::Limit, 0..0, message).help(help));
        return Err(problems.into_report(file_name, ""));
    }
    let parsed = syntax::parse(text, &mut problems);
    if parsed.broken.any() {
        // What is missing or does not resolve may be what could not be read: only what is wrong
        // by itself is reported beside the syntax.
        let mut local = Problems::default();
        model::read(&parsed.document, &mut local);
        local.retain(|problem| !parsed.broken.touches(&problem.span));
        problems.append(local);
        return Err(problems.into_report(file_name, text));
    }
    let document = model::read(&parsed.document, &mut problems);
    let mut config = validate::validate(&document, &mut problems);
    if problems.is_empty() {
        number_lines(&mut config, text);
        Ok(config)
    } else {
        Err(problems.into_report(file_name, text))
    }
}

/// Turns the positions of lists, rules and keys of ports into lines.
fn number_lines(config: &mut Config, text: &str) {
    let mut lines = Vec::new();
    for acl in &mut config.acls {
        lines.push(&mut acl.line);
        lines.extend(acl.rules.iter_mut().map(|rule| &mut rule.line));
    }
    let ports = config.ports.iter_mut();
    lines.extend(ports.flat_map(|port| port.lines.iter_mut()));
    lines.sort();
    let (mut line, mut position) = (1, 0);
    for number in lines {
        let start = (*number).min(text.len());
        line += text.as_bytes()[position..start]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        (position, *number) = (start, line);
    }
}

/// The text of a file's bytes.
///
/// # Errors
/// When they are no UTF-8; the report points at the first byte that is wrong.
pub fn decode<'b>(file_name: &str, bytes: &'b [u8]) -> Result<&'b str, Report> {
    std::str::from_utf8(bytes).map_err(|error| {
        let good = error.valid_up_to();
        // Valid up to there, as the error says.
        let before = std::str::from_utf8(&bytes[..good]).unwrap_or_default();
        let mut problems = Problems::default();
        let message = format!("byte 0x{:02x} is no UTF-8", bytes[good]);
        let help = "save the file as UTF-8 text";
        problems.push(Problem::new(Code::Syntax, good..good, message).help(help));
        problems.into_report(file_name, before)
    })
}
