//! Taking a changed configuration: as a whole or not at all, and without touching what stays.

use std::collections::{BTreeMap, BTreeSet};

use switch_core::{
    config::{self, Compiled, Config, lost_memberships},
    engine::{EngineError, Filter},
    limits::{NetworkIndex, PortIndex},
};

use super::{port::Port, problem::Problem, reconciler::Reconciler, settings, switch::Switch};
use crate::{api::Reloaded, failure::Failure};

/// Reads the configuration file again and puts it into force. The outer error is the engine's
/// end; the inner one says why nothing was changed.
///
/// # Errors
/// When a worker does not answer.
pub async fn reload(
    reconciler: &Reconciler,
    switch: &mut Switch,
) -> Result<Result<Reloaded, Problem>, EngineError> {
    let read = settings::read(&switch.config_file).and_then(|config| {
        check_fixed(&switch.config.switch, &config.switch)?;
        check_room(switch.engine.region().chunks(), &config)?;
        let compiled = config::compile(&config, &switch.indices).map_err(|error| {
            Failure::failed(error.to_string()).help("take fewer new names at once")
        })?;
        Ok((config, compiled))
    });
    match read {
        Ok((config, compiled)) => {
            let reloaded = differences(switch, &config);
            apply(reconciler, switch, config, compiled, &reloaded).await?;
            let changes = crate::client::render::reloaded(&reloaded);
            let changes: Vec<_> = changes.lines().collect();
            tracing::info!("the configuration is in force: {}", changes.join("; "));
            Ok(Ok(reloaded))
        }
        Err(failure) => {
            tracing::error!("the configuration stays as it was\n{failure}");
            Ok(Err(failure.into()))
        }
    }
}

/// Refuses what needs another engine.
fn check_fixed(now: &config::Switch, wanted: &config::Switch) -> Result<(), Failure> {
    let changed: Vec<_> = [
        ("workers", now.workers != wanted.workers),
        ("cores", now.cores != wanted.cores),
        ("frames", now.frames != wanted.frames),
        ("idle", now.idle != wanted.idle),
        ("huge_pages", now.huge_pages != wanted.huge_pages),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(format!("`{key}`")))
    .collect();
    if changed.is_empty() {
        return Ok(());
    }
    let message = format!(
        "{} in [switch] cannot change while the switch runs; nothing was changed",
        changed.join(" and ")
    );
    Err(Failure::failed(message).help("restart the daemon, or put the old value back"))
}

/// Refuses more queues than the region has frames for: the longest frames would never leave.
fn check_room(chunks: usize, config: &Config) -> Result<(), Failure> {
    let needed = config.chunks_for_queues();
    if chunks >= needed {
        return Ok(());
    }
    let message = format!(
        "the queues of all ports need a region of {needed} frames, and it has {chunks}; nothing \
         was changed"
    );
    Err(Failure::failed(message).help("restart the daemon, or have fewer queues"))
}

/// What is new, gone and different, by name.
fn differences(switch: &Switch, config: &Config) -> Reloaded {
    let mut reloaded = Reloaded::default();
    for port in &config.ports {
        let name = port.name.to_string();
        match switch.port(port.name.as_str()).map(|port| &port.config) {
            None => reloaded.ports_added.push(name),
            Some(before) if !same_device(before, port) => reloaded.ports_reattached.push(name),
            Some(before) if before != port => reloaded.ports_changed.push(name),
            Some(_) => {}
        }
    }
    let gone = switch
        .ports
        .iter()
        .filter(|port| config.port(port.name()).is_none());
    reloaded.ports_removed = gone.map(|port| port.name().to_owned()).collect();
    let name = |network: &config::Network| network.name.to_string();
    let networks = |of: &Config, without: &Config| {
        let new = of.networks.iter();
        let new = new.filter(|network| without.network(network.name.as_str()).is_none());
        new.map(name).collect()
    };
    reloaded.networks_added = networks(config, &switch.config);
    reloaded.networks_removed = networks(&switch.config, config);
    let changed = config.networks.iter().filter(|network| {
        let before = switch.config.network(network.name.as_str());
        before.is_some_and(|before| before.acls != network.acls)
    });
    reloaded.networks_changed = changed.map(name).collect();
    reloaded.acls_changed = acls_changed(&switch.config, config);
    reloaded
}

/// The lists that are new, gone or different. One that names a set is different when the set is.
fn acls_changed(before: &Config, after: &Config) -> Vec<String> {
    let sets = before.address_sets != after.address_sets;
    let uses_sets = |acl: &config::Acl| {
        let lists = |rule: &config::Rule| {
            [
                rule.matches.source.clone(),
                rule.matches.destination.clone(),
            ]
        };
        let mut addresses = acl.rules.iter().flat_map(lists).flatten();
        addresses.any(|addresses| matches!(addresses, config::Addresses::Set(_)))
    };
    let by_name = |config: &Config| -> BTreeMap<String, config::Acl> {
        let acls = config.acls.iter();
        acls.map(|acl| (acl.name.to_string(), acl.clone()))
            .collect()
    };
    let (before, after) = (by_name(before), by_name(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let differs = |name: &&&String| {
        let (before, after) = (before.get(**name), after.get(**name));
        before != after || (sets && after.is_some_and(uses_sets))
    };
    names
        .iter()
        .filter(differs)
        .map(|name| (*name).clone())
        .collect()
}

/// Whether a port can keep its hold on its device.
fn same_device(before: &config::Port, after: &config::Port) -> bool {
    before.device == after.device
        && before.role == after.role
        && before.attach == after.attach
        && before.queues == after.queues
}

async fn apply(
    reconciler: &Reconciler,
    switch: &mut Switch,
    config: Config,
    compiled: Compiled,
    reloaded: &Reloaded,
) -> Result<(), EngineError> {
    let leaves = |port: &Port| {
        let named = |names: &[String]| names.iter().any(|name| name == port.name());
        named(&reloaded.ports_removed) || named(&reloaded.ports_reattached)
    };
    for position in 0..switch.ports.len() {
        let port = &mut switch.ports[position];
        if leaves(port)
            && let Some(attachment) = port.release()
        {
            let index = port.index;
            reconciler
                .let_go(&mut switch.engine, index, attachment)
                .await?;
        }
    }
    forget(switch, &compiled);
    let mut indices = compiled.indices;
    switch.engine.apply(compiled.rules)?;
    // No worker uses the old rules any more, and nothing learned points at what is gone.
    compiled
        .retired_ports
        .iter()
        .for_each(|port| indices.release_port(*port));
    compiled
        .retired_networks
        .iter()
        .for_each(|network| indices.release_network(*network));
    switch.indices = indices;

    let before = std::mem::replace(&mut switch.config, config);
    for port in &before.ports {
        let is_host = |port: &config::Port| matches!(port.role, config::Role::Host(_));
        let stays = switch.config.port(port.name.as_str()).is_some_and(is_host);
        if is_host(port) && !stays {
            reconciler.remove_host_device(port.name.as_str()).await;
        }
    }
    renew_ports(switch, leaves_device(reloaded));
    Ok(())
}

fn leaves_device(reloaded: &Reloaded) -> impl Fn(&str) -> bool {
    let names = reloaded.ports_reattached.clone();
    move |name| names.iter().any(|it| it == name)
}

/// The static entries that were made by hand go with their ports, networks and memberships, as the
/// learnt ones do; those of the new configuration are entered by the engine.
fn forget(switch: &Switch, compiled: &Compiled) {
    let fdb = switch.engine.fdb();
    let flush = |network: Option<NetworkIndex>, port: Option<PortIndex>| {
        fdb.flush(&Filter {
            network,
            port,
            mac: None,
            include_static: true,
        });
    };
    compiled
        .retired_ports
        .iter()
        .for_each(|port| flush(None, Some(*port)));
    compiled
        .retired_networks
        .iter()
        .for_each(|network| flush(Some(*network), None));
    for (network, port) in lost_memberships(switch.engine.rules(), &compiled.rules) {
        flush(Some(network), Some(port));
    }
}

/// Puts the ports into the order of the file. Those that stay keep their devices and counts.
fn renew_ports(switch: &mut Switch, starts_anew: impl Fn(&str) -> bool) {
    let mut before: Vec<_> = std::mem::take(&mut switch.ports);
    for port in &switch.config.ports {
        let name = port.name.as_str();
        let Some(index) = switch.indices.port(name) else {
            continue;
        };
        let found = before.iter().position(|port| port.name() == name);
        let renewed = match found.map(|position| before.swap_remove(position)) {
            Some(mut stays) if !starts_anew(name) => {
                stays.config = port.clone();
                stays
            }
            other => {
                let mut anew = Port::new(port.clone(), index);
                anew.past = other.map(|port| port.past).unwrap_or_default();
                anew
            }
        };
        switch.ports.push(renewed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_queues_than_there_are_frames_for_are_refused() {
        const TWO_QUEUES: &str = r#"
[[scheduler]]
name = "wan"

[[scheduler.queue]]
classes = [7]

[[scheduler.queue]]

[[network]]
name = "web"

[[port]]
name = "a"
device = "veA"
network = "web"
scheduler = "wan"
"#;
        let config = config::parse("test", TWO_QUEUES).expect("valid");
        assert!(check_room(config.chunks_for_queues(), &config).is_ok());
        let failure = check_room(143, &config).expect_err("two queues of 18 chunks");
        assert!(
            failure.message.contains("need a region of 144 frames"),
            "{failure}"
        );
    }
}
