//! Access control lists with the real daemon: what guests may do, and what is counted meanwhile.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use serde_json::Value;
use shunt_tests::{
    config::Config,
    daemon::Daemon,
    world::{Guest, World},
};

/// How long a connection may take that is allowed.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long one is tried that is denied: no answer may ever come.
const IMPATIENCE: Duration = Duration::from_millis(600);

/// The same switch each time, with these rules.
fn config(base: &Config, rules: &str) -> String {
    format!(
        "{}\n[[acl]]\nname = \"from-a\"\ndefault = \"deny\"\n\n\
         [[acl.rule]]\naction = \"allow\"\nethertype = \"arp\"\n\n{rules}",
        &**base
    )
}

const PING: &str = "[[acl.rule]]\nname = \"ping\"\naction = \"allow\"\nprotocol = \"icmp\"\n\n";
const WEB: &str =
    "[[acl.rule]]\naction = \"allow\"\nprotocol = \"tcp\"\ndestination_port = 8080\n\n";

fn pings(guest: &Guest, to: &str) -> bool {
    guest.namespace.run("ping", &["-c1", "-W1", to]).is_ok()
}

/// Whether a connection from one guest to a port of the other comes about.
fn connects(from: &Guest, to: &Guest, address: SocketAddr, patience: Duration) -> bool {
    let listener = to
        .namespace
        .enter(|| TcpListener::bind(address))
        .expect("entered");
    let _listener = listener.expect("a listener");
    let connected = from
        .namespace
        .enter(|| TcpStream::connect_timeout(&address, patience));
    match connected.expect("entered") {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            false
        }
    }
}

fn rule(daemon: &Daemon, text: &str) -> Value {
    let rules = daemon.get("acl");
    let found = rules.iter().find(|rule| rule["text"] == text);
    found
        .unwrap_or_else(|| panic!("{text} in {rules:?}"))
        .clone()
}

fn frames(daemon: &Daemon, text: &str) -> u64 {
    rule(daemon, text)["frames"].as_u64().expect("a count")
}

#[test]
fn guests_do_what_lists_allow_and_reloads_keep_the_counts() {
    let world = World::new("acl");
    let (a, b) = (world.guest("a"), world.guest("b"));
    a.add_address("10.7.0.1/24");
    b.add_address("10.7.0.2/24");
    let (open, closed) = ("10.7.0.2:8080", "10.7.0.2:8081");
    let [open, closed] = [open, closed].map(|text| text.parse().expect("an address"));

    let base = Config::workers(2)
        .network("web", 20)
        .port("a", "network = \"web\"\nacl_from_port = \"from-a\"")
        .access("b", "web");
    let mut daemon = world.start(&config(&base, &format!("{PING}{WEB}")));
    assert!(pings(&a, "10.7.0.2"), "ping is allowed");
    assert!(connects(&a, &b, open, PATIENCE), "port 8080 is allowed");
    assert!(!connects(&a, &b, closed, IMPATIENCE), "port 8081 is not");
    let allowed = frames(&daemon, "allow protocol tcp destination_port 8080");
    assert!(allowed >= 3, "{allowed} segments of a connection");
    assert_eq!(frames(&daemon, "allow protocol icmp"), 1);
    let denied = daemon.drops("a")["acl_from_port"];
    assert_eq!(frames(&daemon, "deny by default"), denied);
    assert!(denied >= 1);

    // The flows that were seen, with what decides about them.
    let flows = daemon.get("flows");
    let is_web = |flow: &&Value| flow["destination_port"] == 8080 && flow["protocol"] == 6;
    let flow = flows
        .iter()
        .find(is_web)
        .unwrap_or_else(|| panic!("{flows:?}"));
    assert_eq!(
        (&flow["port"], &flow["verdict"]),
        (&"a".into(), &"allow".into())
    );
    assert_eq!(flow["frames"], allowed, "{flow}");

    // Another rule before them, ping denied; the rule that is the same keeps its count.
    let no_ping = "[[acl.rule]]\naction = \"deny\"\nprotocol = \"icmp\"\n\n";
    daemon.reload(&config(&base, &format!("{no_ping}{WEB}")));
    assert!(!pings(&a, "10.7.0.2"), "ping is denied now");
    assert_eq!(frames(&daemon, "deny protocol icmp"), 1);
    assert_eq!(
        frames(&daemon, "allow protocol tcp destination_port 8080"),
        allowed
    );
    assert!(connects(&a, &b, open, PATIENCE));
    assert!(frames(&daemon, "allow protocol tcp destination_port 8080") > allowed);
    let page = daemon.shunt(&["describe", "acl", "from-a"]);
    assert!(page.contains("port/a"), "{page}");
    daemon.stop();
}
