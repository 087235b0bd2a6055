//! What the datapath gets to read, and which indices it goes by.

use std::fmt::Write;

use proptest::prelude::*;

use crate::{
    config::{
        Compiled, Config, Indices, compile, lost_memberships, parse,
        snapshot::{EgressTag, Ruleset},
    },
    limits::{MAX_PORTS, NetworkIndex, PortIndex},
};

fn good(text: &str) -> Config {
    parse("switch.toml", text).unwrap_or_else(|report| panic!("{report}"))
}

fn compiled(text: &str, previous: &Indices) -> Compiled {
    compile(&good(text), previous).expect("indices suffice")
}

/// The rules in short: for each port what goes in and out, for each network its members.
fn summary(rules: &Ruleset) -> String {
    let mut out = String::new();
    let network = |index: NetworkIndex| {
        rules
            .network(index)
            .map_or_else(|| "?".to_owned(), |network| network.name.to_string())
    };
    for port in rules.ports.iter().flatten() {
        write!(out, "{} {}:", port.name, port.role.name()).expect("a string");
        if let Some(index) = port.untagged {
            write!(out, " in untagged={}", network(index)).expect("a string");
        }
        match &port.tagged {
            None => out += " no-tags",
            Some(vids) => {
                for vid in 0..=4095 {
                    if let Some(index) = vids.get(vid) {
                        write!(out, " in {vid}={}", network(index)).expect("a string");
                    }
                }
            }
        }
        for (index, tag) in port.egress.iter().enumerate() {
            let name = network(NetworkIndex::new(index));
            match tag {
                EgressTag::NotMember => {}
                EgressTag::Untagged => write!(out, " out {name}").expect("a string"),
                EgressTag::Tagged(vid) => write!(out, " out {name}={vid}").expect("a string"),
            }
        }
        out.push('\n');
    }
    for network in rules.networks.iter().flatten() {
        write!(out, "{}:", network.name).expect("a string");
        for member in &network.members {
            let port = rules.port(member.port).expect("a member is a port");
            write!(out, " {}", port.name).expect("a string");
            out += if member.uplink { "^" } else { "" };
            out += if member.isolated { "!" } else { "" };
        }
        out.push('\n');
    }
    out
}

#[test]
fn rules_follow_from_membership() {
    let check = |keys: &str, expected: &str| {
        let text = format!(
            "[[network]]\nname = \"web\"\nvlan = 20\n[[network]]\nname = \"db\"\nvlan = 30\n\
             [[network]]\nname = \"back\"\n[[port]]\nname = \"p\"\ndevice = \"d\"\n{keys}\n"
        );
        let rules = compiled(&text, &Indices::new()).rules;
        assert_eq!(summary(&rules).lines().next(), Some(expected), "{keys}");
    };
    check(
        "network = \"web\"",
        "p guest: in untagged=web no-tags out web",
    );
    check(
        "native = \"back\"",
        "p guest: in untagged=back no-tags out back",
    );
    check(
        "native = \"web\"",
        "p guest: in untagged=web in 20=web out web",
    );
    check(
        "native = \"web\"\nnative_tagged = true",
        "p guest: in untagged=web in 20=web out web=20",
    );
    check(
        "native = \"web\"\naccept = \"untagged\"",
        "p guest: in untagged=web no-tags out web",
    );
    check("trunk = [\"web\"]", "p guest: in 20=web out web=20");
    check(
        "trunk = [\"*\"]\nrole = \"uplink\"",
        "p uplink: in 20=web in 30=db out web=20 out db=30",
    );
    check(
        "native = \"back\"\ntrunk = [\"*\"]\naccept = \"tagged\"",
        "p guest: in 20=web in 30=db out web=20 out db=30 out back",
    );
    check(
        "trunk = [{ network = \"web\", vid = 30 }, { network = \"db\", vid = 20 }]",
        "p guest: in 20=db in 30=web out web=30 out db=20",
    );
    // The native network's VID means another network here, and what is written wins.
    check(
        "native = \"web\"\ntrunk = [{ network = \"db\", vid = 20 }]",
        "p guest: in untagged=web in 20=db out web out db=20",
    );
}

#[test]
fn the_example_compiles() {
    let text = include_str!("../../../../examples/shunt.toml");
    let rules = compiled(text, &Indices::new()).rules;
    let expected = "\
guest-a guest: in untagged=web no-tags out web
guest-b guest: in untagged=backstage no-tags out backstage
firewall guest: in untagged=backstage in 20=web out web=20 out backstage
up0 uplink: in 20=web in 30=storage out web=20 out storage=30
host host: in untagged=storage no-tags out storage
web: guest-a firewall up0^
storage: up0^ host
backstage: guest-b firewall
";
    assert_eq!(summary(&rules), expected);
    assert_eq!((rules.ageing_s, rules.forward_reserved), (300, false));
    let guest = rules.port(PortIndex::new(0)).expect("the first port");
    assert_eq!(guest.mac_limit, Some(16));
    let [entry] = *rules.static_entries else {
        panic!("one static entry")
    };
    assert_eq!(
        (entry.network, entry.port),
        (NetworkIndex::new(0), PortIndex::new(0))
    );
}

/// A file with ports of these names, each in a network of the same name.
fn ports(names: &[impl AsRef<str>]) -> String {
    let table = |name: &str| {
        format!(
            "[[network]]\nname = \"{name}\"\n[[port]]\nname = \"{name}\"\ndevice = \"{name}\"\n\
             network = \"{name}\"\n"
        )
    };
    names.iter().map(|name| table(name.as_ref())).collect()
}

#[test]
fn indices_stay_with_names_and_are_not_reused_before_release() {
    let first = compiled(&ports(&["a", "b", "c"]), &Indices::new());
    assert!(first.retired_ports.is_empty() && first.retired_networks.is_empty());

    // In another order, one removed, one added.
    let mut second = compiled(&ports(&["d", "c", "a"]), &first.indices);
    let index = |compiled: &Compiled, name: &str| {
        let port = compiled.rules.port_named(name).expect("a port");
        assert_eq!(compiled.indices.port(name), Some(port));
        let network = compiled.rules.network_named(name).expect("a network");
        assert_eq!(compiled.indices.network(name), Some(network));
        (port.get(), network.get())
    };
    assert_eq!(
        ["a", "c", "d"].map(|name| index(&second, name)),
        [(0, 0), (2, 2), (3, 3)]
    );
    assert_eq!(second.retired_ports, [PortIndex::new(1)]);
    assert_eq!(second.retired_networks, [NetworkIndex::new(1)]);
    assert!(second.rules.port(PortIndex::new(1)).is_none());
    assert_eq!(second.indices.port("b"), None);

    // Not before it is released, not even for its former owner.
    let third = compiled(&ports(&["d", "c", "a", "b"]), &second.indices);
    assert_eq!(index(&third, "b"), (4, 4));
    second.indices.release_port(PortIndex::new(1));
    second.indices.release_network(NetworkIndex::new(1));
    // An index in use is not retired, so this changes nothing.
    second.indices.release_port(PortIndex::new(0));
    let third = compiled(&ports(&["d", "c", "a", "e"]), &second.indices);
    assert_eq!(
        ["a", "c", "d", "e"].map(|name| index(&third, name).0),
        [0, 2, 3, 1]
    );
    assert!(third.retired_ports.is_empty());
}

#[test]
fn too_many_retired_indices_are_an_error_that_passes() {
    let names = |prefix: &str| -> Vec<_> {
        (0..MAX_PORTS)
            .map(|number| format!("{prefix}{number}"))
            .collect()
    };
    let first = compiled(&ports(&names("a")), &Indices::new());
    let mut second = compiled(&ports(&["b"; 0]), &first.indices);
    let again = good(&ports(&names("c")));
    assert!(compile(&again, &second.indices).is_err());
    second
        .retired_ports
        .iter()
        .for_each(|port| second.indices.release_port(*port));
    second
        .retired_networks
        .iter()
        .for_each(|network| second.indices.release_network(*network));
    let third = compile(&again, &second.indices).expect("all are released");
    assert_eq!(third.indices.port("c7"), Some(PortIndex::new(7)));
}

#[test]
fn memberships_that_end_are_told() {
    let text = |trunk: &str| {
        format!(
            "[[network]]\nname = \"web\"\nvlan = 20\n[[network]]\nname = \"db\"\nvlan = 30\n\
             [[port]]\nname = \"p\"\ndevice = \"d\"\ntrunk = [{trunk}]\n"
        )
    };
    let first = compiled(&text("\"*\""), &Indices::new());
    let check = |trunk: &str, expected: &[usize]| {
        let next = compiled(&text(trunk), &first.indices);
        let lost = lost_memberships(&first.rules, &next.rules);
        let lost: Vec<_> = lost
            .iter()
            .map(|(network, port)| (network.get(), port.get()))
            .collect();
        let expected: Vec<_> = expected.iter().map(|network| (*network, 0)).collect();
        assert_eq!(lost, expected, "{trunk}");
    };
    check("\"*\"", &[]);
    check("{ network = \"web\", vid = 7 }, \"db\"", &[]);
    check("\"db\"", &[0]);
    // The whole network has gone: its index is retired, and told as such.
    let next = compiled(&ports(&["other"]), &first.indices);
    assert!(lost_memberships(&first.rules, &next.rules).is_empty());
}

proptest! {
    /// Over any sequence of reloads, a name that stays keeps its index, no index has two owners,
    /// and a retired one has none.
    #[test]
    fn reloads(steps in prop::collection::vec((any::<u16>(), any::<bool>()), 1..12)) {
        let mut indices = Indices::new();
        let mut retired: Vec<PortIndex> = Vec::new();
        for (set, release) in steps {
            let names: Vec<_> =
                (0..16).filter(|bit| set >> bit & 1 == 1).map(|bit| format!("p{bit}")).collect();
            let next = compiled(&ports(&names), &indices);
            retired.extend(&next.retired_ports);
            let mut owners = std::collections::HashSet::new();
            for name in &names {
                let index = next.indices.port(name).expect("each port has an index");
                prop_assert_eq!(next.rules.port_named(name), Some(index));
                prop_assert!(owners.insert(index) && !retired.contains(&index));
                prop_assert!(indices.port(name).is_none_or(|before| before == index));
            }
            indices = next.indices;
            if release {
                retired.drain(..).for_each(|port| indices.release_port(port));
            }
        }
    }
}
