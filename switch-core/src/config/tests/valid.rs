//! What a configuration that is right becomes.

use std::num::NonZero;

use crate::{
    config::{
        AcceptableFrames, Attach, Config, HostInterface, Membership, Native, Role, Switch, Tagged,
        Trunk, parse,
    },
    wire::vlan::{Tpid, Vid},
};

fn good(text: &str) -> Config {
    parse("switch.toml", text).unwrap_or_else(|report| panic!("{report}"))
}

fn vid(number: u16) -> Vid {
    Vid::new(number).expect("1 to 4094")
}

#[test]
fn an_empty_file_has_all_defaults() {
    let config = good("");
    assert_eq!(config.switch, Switch::default());
    assert!(config.networks.is_empty() && config.ports.is_empty() && config.statics.is_empty());
}

#[test]
fn every_key_of_the_switch() {
    let config = good(
        "[switch]\nworkers = 2\ncores = [1, 3]\nageing_s = 10\nidle = \"poll\"\nhuge_pages = true\n\
         frames = 10_000\nforward_reserved = true\nexpress = false\n",
    );
    let expected = Switch {
        workers: NonZero::new(2),
        cores: vec![1, 3],
        ageing_s: 10,
        idle: crate::idle::Policy::Poll,
        huge_pages: true,
        // A multiple of the slab's 64.
        frames: Some(10_048),
        forward_reserved: true,
        flaps: None,
    };
    assert_eq!(config.switch, expected);
    assert_eq!(
        good("[switch]\ncores = [5, 4, 3]").switch.workers,
        NonZero::new(3)
    );
}

const NETWORKS: &str = r#"
[[network]]
name = "web"
vlan = 20

[[network]]
name = "db"
vlan = 30

[[network]]
name = "backstage"

"#;

/// The port of a file that has the networks above and these keys in its one port.
fn port(keys: &str) -> crate::config::Port {
    let text = format!("{NETWORKS}[[port]]\nname = \"p\"\ndevice = \"veP\"\n{keys}");
    good(&text).ports.remove(0)
}

#[test]
fn a_port_has_defaults() {
    let port = port("network = \"web\"");
    assert_eq!((port.name.as_str(), port.device.as_str()), ("p", "veP"));
    assert_eq!(port.role, Role::Guest);
    assert_eq!(
        (port.tpid, port.accept),
        (Tpid::Customer, AcceptableFrames::Untagged)
    );
    assert_eq!((port.isolated, port.mac_limit), (false, None));
    assert_eq!((port.attach, port.queues), (Attach::Auto, None));
}

#[test]
fn every_key_of_a_port() {
    let port = port(
        "role = \"uplink\"\nnative = \"web\"\nnative_tagged = true\ntrunk = [\"*\"]\n\
         tpid = \"802.1ad\"\naccept = \"tagged\"\nisolated = true\nmac_limit = 5\n\
         attach = \"xdp\"\nqueues = 4",
    );
    assert_eq!(port.role, Role::Uplink);
    assert_eq!(
        (port.tpid, port.accept),
        (Tpid::Service, AcceptableFrames::Tagged)
    );
    assert_eq!((port.isolated, port.mac_limit), (true, NonZero::new(5)));
    assert_eq!((port.attach, port.queues), (Attach::Xdp, NonZero::new(4)));
}

#[test]
fn a_host_port_has_addresses() {
    let port = port(
        "role = \"host\"\nnetwork = \"web\"\nmac = \"52:54:00:00:00:01\"\n\
         addresses = [\"10.0.0.1/24\", \"fd00::1/64\"]",
    );
    let host = HostInterface {
        addresses: ["10.0.0.1/24", "fd00::1/64"]
            .map(|text| text.parse().expect("good"))
            .to_vec(),
        mac: "52:54:00:00:00:01".parse().ok(),
    };
    assert_eq!(port.role, Role::Host(host));
}

#[test]
fn memberships() {
    let check = |keys: &str, native: Option<(&str, Option<u16>)>, tagged: &[(&str, u16)]| {
        let name = |text: &str| text.parse().expect("a name");
        let expected = Membership::Trunk(Trunk {
            native: native.map(|(network, tagged_as)| Native {
                network: name(network),
                tagged_as: tagged_as.map(vid),
            }),
            tagged: tagged
                .iter()
                .map(|(network, number)| Tagged {
                    network: name(network),
                    vid: vid(*number),
                })
                .collect(),
        });
        assert_eq!(port(keys).membership, expected, "{keys}");
    };
    check("native = \"backstage\"", Some(("backstage", None)), &[]);
    check(
        "native = \"web\"\nnative_tagged = true",
        Some(("web", Some(20))),
        &[],
    );
    check("trunk = [\"*\"]", None, &[("web", 20), ("db", 30)]);
    // The native network is not tagged as well.
    check(
        "native = \"web\"\ntrunk = [\"*\"]",
        Some(("web", None)),
        &[("db", 30)],
    );
    // What is listed takes precedence over `*`, wherever it stands.
    check(
        "trunk = [\"*\", { network = \"web\", vid = 120 }]",
        None,
        &[("web", 120), ("db", 30)],
    );
    // VIDs may be exchanged, and a private network may be tagged towards a guest.
    check(
        "trunk = [{ network = \"web\", vid = 30 }, { network = \"db\", vid = 20 }, \
         { network = \"backstage\", vid = 7 }]",
        None,
        &[("web", 30), ("db", 20), ("backstage", 7)],
    );
    // An untagged native network leaves its VID to another one.
    check(
        "native = \"web\"\ntrunk = [{ network = \"db\", vid = 20 }]",
        Some(("web", None)),
        &[("db", 20)],
    );
}

#[test]
fn tag_protocols() {
    let check = |text: &str, expected: Tpid| {
        let keys = format!("trunk = [\"*\"]\ntpid = {text}");
        assert_eq!(port(&keys).tpid, expected, "{text}");
    };
    check("\"0x8100\"", Tpid::Customer);
    check("\"802.1q\"", Tpid::Customer);
    check("\"802.1Q\"", Tpid::Customer);
    check("0x8100", Tpid::Customer);
    check("\"0x88A8\"", Tpid::Service);
    check("0x88A8", Tpid::Service);
    check("\"802.1ad\"", Tpid::Service);
}

#[test]
fn a_byte_order_mark_is_no_error() {
    assert_eq!(
        good("\u{feff}[switch]\nageing_s = 60\n").switch.ageing_s,
        60
    );
}

#[test]
fn errors_serialize_for_programs() {
    let report = parse("switch.toml", "[switch]\nworker = 2\n").expect_err("the file is wrong");
    let [error] = report.errors() else {
        panic!("{report}")
    };
    assert_eq!(
        (error.code.name(), error.line, error.column),
        ("unknown-key", 2, 1)
    );
    assert_eq!(error.message, "[switch] has no key `worker`");
    assert!(
        error.help.starts_with("did you mean `workers`?"),
        "{}",
        error.help
    );
}
