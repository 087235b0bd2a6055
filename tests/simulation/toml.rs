//! The rules of a world as a configuration file, and the way from there to what the engine reads.

use std::{collections::BTreeMap, fmt::Write as _};

use switch_core::{
    config::{Indices, compile, parse, snapshot::Ruleset},
    limits::{NetworkIndex, PortIndex},
};

use super::{
    acl, classes, flap, guard, meter,
    rules::{Accept, Membership, Port, Rules, Static},
};

/// The rules as a file says them.
pub fn render(rules: &Rules) -> String {
    let mut text = format!(
        "[switch]\nageing_s = {}\nforward_reserved = {}\n",
        rules.ageing_s, rules.forward_reserved
    );
    flap::render(&mut text, rules.flaps);
    for network in rules.networks.values() {
        let _ = write!(text, "[[network]]\nname = \"{}\"\n", network.name);
        if let Some(vid) = network.vid {
            let _ = writeln!(text, "vlan = {vid}");
        }
        acl::render_attached(&mut text, &network.acls);
        meter::render_policed(&mut text, &network.policed);
    }
    for (index, port) in &rules.ports {
        render_port(&mut text, rules, *index, port);
    }
    for Static { network, mac, port } in &rules.statics {
        let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = write!(
            text,
            "[[static]]\nnetwork = \"{}\"\nport = \"{}\"\nmac = \"{}\"\n",
            rules.networks[network].name,
            rules.ports[port].name,
            mac.join(":")
        );
    }
    acl::render(&mut text, &rules.acls);
    meter::render(&mut text, &rules.policers);
    classes::render(&mut text, rules);
    text
}

fn render_port(text: &mut String, rules: &Rules, index: usize, port: &Port) {
    let name = |network: &usize| &rules.networks[network].name;
    let _ = write!(
        text,
        "[[port]]\nname = \"{}\"\ndevice = \"d{index}\"\n",
        port.name
    );
    let _ = writeln!(
        text,
        "role = \"{}\"\nisolated = {}",
        port.role.name(),
        port.isolated
    );
    let _ = writeln!(text, "tpid = \"{:#06x}\"", port.tpid);
    acl::render_attached(text, &port.acls);
    meter::render_policed(text, &port.policed);
    meter::render_storms(text, &port.storms);
    guard::render(text, &port.security);
    classes::render_port(text, port);
    if let Some(limit) = port.mac_limit {
        let _ = writeln!(text, "mac_limit = {limit}");
    }
    match port.accept {
        Accept::All => {}
        Accept::Tagged => text.push_str("accept = \"tagged\"\n"),
        Accept::Untagged => text.push_str("accept = \"untagged\"\n"),
    }
    match &port.membership {
        Membership::Access(network) => {
            let _ = writeln!(text, "network = \"{}\"", name(network));
        }
        Membership::Trunk {
            native,
            native_tagged,
            tagged,
        } => {
            if let Some(native) = native {
                let _ = writeln!(text, "native = \"{}\"", name(native));
                let _ = writeln!(text, "native_tagged = {native_tagged}");
            }
            if !tagged.is_empty() {
                let entries = trunk_entries(rules, *native, tagged);
                let _ = writeln!(text, "trunk = [{}]", entries.join(", "));
            }
        }
    }
}

/// The elements of `trunk`: `"*"` where it says the same, translated networks beside it.
fn trunk_entries(rules: &Rules, native: Option<usize>, tagged: &[(u16, usize)]) -> Vec<String> {
    let listed = |network: &usize| tagged.iter().any(|(_, other)| other == network);
    let public = rules
        .networks
        .iter()
        .filter(|(_, network)| network.vid.is_some());
    let all = public
        .map(|(index, _)| index)
        .all(|n| Some(*n) == native || listed(n));
    let mut entries: Vec<String> = all.then(|| "\"*\"".to_owned()).into_iter().collect();
    for (vid, network) in tagged {
        let network = &rules.networks[network];
        if network.vid != Some(*vid) {
            entries.push(format!("{{ network = \"{}\", vid = {vid} }}", network.name));
        } else if !all {
            entries.push(format!("\"{}\"", network.name));
        }
    }
    entries
}

/// The rules after their way through a file, under the indices that they got, and what the engine
/// reads. Names that `indices` has keep theirs.
pub fn through_file(rules: &Rules, indices: &mut Indices) -> Result<(Rules, Ruleset), String> {
    let text = render(rules);
    let config = parse("world.toml", &text).map_err(|report| format!("{report}\n{text}"))?;
    let compiled = compile(&config, indices).map_err(|error| error.to_string())?;
    for name in rules.ports.values().map(|port| &port.name) {
        let (before, after) = (indices.port(name), compiled.indices.port(name));
        assert!(
            before.is_none() || before == after,
            "{name} keeps its index"
        );
    }
    *indices = compiled.indices;
    let port = |index: &usize| indices.port(&rules.ports[index].name).map(PortIndex::get);
    let port = |index: &usize| port(index).expect("a port has an index");
    let network = |index: &usize| {
        let found = indices.network(&rules.networks[index].name);
        found
            .map(NetworkIndex::get)
            .expect("a network has an index")
    };
    let moved = |(index, old): (&usize, &Port)| {
        let mut new = old.clone();
        match &mut new.membership {
            Membership::Access(of) => *of = network(of),
            Membership::Trunk { native, tagged, .. } => {
                *native = native.as_ref().map(network);
                tagged.iter_mut().for_each(|(_, of)| *of = network(of));
            }
        }
        (port(index), new)
    };
    let statics = rules.statics.iter().map(|entry| Static {
        network: network(&entry.network),
        port: port(&entry.port),
        ..*entry
    });
    let networks = rules
        .networks
        .iter()
        .map(|(index, n)| (network(index), n.clone()));
    let rules = Rules {
        networks: networks.collect::<BTreeMap<_, _>>(),
        ports: rules.ports.iter().map(moved).collect(),
        statics: statics.collect(),
        ..rules.clone()
    };
    for retired in compiled.retired_ports {
        indices.release_port(retired);
    }
    for retired in compiled.retired_networks {
        indices.release_network(retired);
    }
    Ok((rules, compiled.rules))
}
