//! Changes of the forwarding database, by name.

use switch_core::{
    config::snapshot::EgressTag,
    engine::{AddStaticError, Filter},
    limits::{NetworkIndex, PortIndex},
    wire::ethernet::Mac,
};

use super::{problem::Problem, switch::Switch};
use crate::api::{FdbFilter, NewFdbEntry, Removed};

/// Binds an address to a port until the daemon ends.
///
/// # Errors
/// When a name or the address means nothing here, or the address is bound elsewhere.
pub fn add(switch: &mut Switch, entry: &NewFdbEntry) -> Result<(), Problem> {
    let network = network(switch, &entry.network)?;
    let port = port(switch, &entry.port)?;
    let mac = mac(&entry.mac)?;
    let rules = switch.engine.rules();
    let tag = rules.port(port).map(|port| port.egress(network));
    if tag.is_none_or(|tag| tag == EgressTag::NotMember) {
        return Err(Problem::bad(
            format!(
                "port {} is no member of network {}",
                entry.port, entry.network
            ),
            "name a port that `shunt describe network NAME` shows",
        ));
    }
    let name = |port: PortIndex| {
        let rules = rules.port(port);
        rules.map_or_else(String::new, |port| port.name.to_string())
    };
    let added = switch.engine.fdb().add_static(network, mac, port);
    added.map_err(|error| match error {
        AddStaticError::Exists { port } => Problem::refused(
            format!("{mac} is bound to port {} already", name(port)),
            format!(
                "first: shunt fdb del --network {} --mac {mac}",
                entry.network
            ),
        ),
        AddStaticError::NotUnicast(_) => {
            Problem::bad(error.to_string(), "name the address of one station")
        }
        AddStaticError::Full => Problem::refused(error.to_string(), "remove some static entries"),
    })
}

/// Removes the entries that match all that is given.
///
/// # Errors
/// When a name or the address means nothing here.
pub fn flush(switch: &mut Switch, filter: &FdbFilter) -> Result<Removed, Problem> {
    let filter = Filter {
        network: filter
            .network
            .as_deref()
            .map(|name| network(switch, name))
            .transpose()?,
        port: filter
            .port
            .as_deref()
            .map(|name| port(switch, name))
            .transpose()?,
        mac: filter.mac.as_deref().map(mac).transpose()?,
        include_static: filter.include_static,
    };
    let removed = switch.engine.fdb().flush(&filter);
    Ok(Removed { removed })
}

/// Removes the entry of one address, dynamic or static.
///
/// # Errors
/// When there is no such network or entry.
pub fn delete(switch: &mut Switch, name: &str, text: &str) -> Result<Removed, Problem> {
    let mac = mac(text)?;
    if switch.engine.fdb().remove(network(switch, name)?, mac) {
        Ok(Removed { removed: 1 })
    } else {
        let error = format!("network {name} knows no {mac}");
        Err(Problem::not_found(
            error,
            "`shunt get fdb` shows what is known",
        ))
    }
}

fn network(switch: &Switch, name: &str) -> Result<NetworkIndex, Problem> {
    let found = switch.engine.rules().network_named(name);
    found.ok_or_else(|| no_network(name))
}

fn port(switch: &Switch, name: &str) -> Result<PortIndex, Problem> {
    let found = switch.engine.rules().port_named(name);
    found.ok_or_else(|| no_port(name))
}

/// There is no network of this name.
pub fn no_network(name: &str) -> Problem {
    let error = format!("there is no network {name:?}");
    Problem::not_found(error, "`shunt get networks` shows all")
}

/// There is no port of this name.
pub fn no_port(name: &str) -> Problem {
    let error = format!("there is no port {name:?}");
    Problem::not_found(error, "`shunt get ports` shows all")
}

fn mac(text: &str) -> Result<Mac, Problem> {
    let read = text.parse::<Mac>();
    read.map_err(|error| Problem::bad(format!("{text:?} is {error}"), ""))
}
