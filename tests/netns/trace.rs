//! Traces of the real daemon: what they say of a frame is what becomes of it.

use std::{fs, time::Duration};

use serde_json::Value;
use shunt_tests::{
    config::Config,
    daemon::{Daemon, wait_for},
    traffic::text_of,
    world::World,
};

const PATIENCE: Duration = Duration::from_secs(5);
/// How long nothing has to come.
const SILENCE: Duration = Duration::from_millis(300);

const LISTS: &str = "\n[[acl]]\nname = \"from-a\"\ndefault = \"allow\"\n\n\
                     [[acl.rule]]\nname = \"mail\"\naction = \"deny\"\nprotocol = \"tcp\"\n\
                     destination_port = 25\n\n\
                     [[acl.rule]]\naction = \"log\"\nprotocol = \"icmp\"\n";

fn bytes_of(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().expect("digits").as_bytes();
    let digits = hex
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).expect("digits"));
    digits
        .map(|pair| u8::from_str_radix(pair, 16).expect("a byte"))
        .collect()
}

fn way(trace: &Value, port: &str) -> Value {
    let ways = trace["egress"].as_array().expect("ports");
    let found = ways.iter().find(|way| way["port"] == port);
    found.unwrap_or_else(|| panic!("{port} in {trace}")).clone()
}

/// What a trace says of a frame of 10.8.0.1 to 10.8.0.2.
fn trace(daemon: &Daemon, from: &str, more: &[&str]) -> Value {
    let start = [
        "trace", "--from", from, "--src-ip", "10.8.0.1", "--dst-ip", "10.8.0.2",
    ];
    daemon.json(&[&start, more, &["-o", "json"]].concat())[0].clone()
}

fn switch() -> String {
    let config = Config::workers(2)
        .network("web", 20)
        .port("a", "network = \"web\"\nacl_from_port = \"from-a\"")
        .access("b", "web")
        .uplink("up");
    format!("{}{LISTS}", &*config)
}

#[test]
fn what_a_trace_says_is_what_happens_and_the_trace_alone_changes_nothing() {
    let world = World::new("trace");
    let (a, b, up) = (world.guest("a"), world.guest("b"), world.guest("up"));
    let mut daemon = world.start(&switch());
    let (from_a, at_b, at_up) = (a.wire(), b.wire(), up.wire());
    let (mac_a, mac_b) = (text_of(a.mac), text_of(b.mac));
    // Nobody has been heard of: to all ports, with the tag of the uplink.
    let to_b = ["--src-mac", &mac_a, "--dst-mac", &mac_b, "--udp", "9999"];
    let said = trace(&daemon, "a", &to_b);
    assert_eq!(said["verdict"], "flooded", "{said}");
    assert_eq!(
        trace(&daemon, "a", &to_b),
        said,
        "the first trace has taught nothing"
    );
    from_a.send(&bytes_of(&said["frame"]["hex"]));
    for (wire, port) in [(&at_b, "b"), (&at_up, "up")] {
        let expected = bytes_of(&way(&said, port)["frame"]["hex"]);
        let found = wire.find(PATIENCE, |frame| frame == expected);
        assert!(found.is_some(), "at {port} as the trace says: {said}");
    }
    // The way back is known now.
    let to_a = ["--src-mac", &mac_b, "--dst-mac", &mac_a, "--udp", "9999"];
    let back = trace(&daemon, "b", &to_a);
    assert_eq!(back["verdict"], "forwarded", "{back}");
    assert_eq!(way(&back, "a")["rewrite"], "unchanged");
    // What is denied: counted when the frame comes, not when it is traced.
    let mail = ["--src-mac", &mac_a, "--dst-mac", &mac_b, "--tcp", "25"];
    let said = trace(&daemon, "a", &mail);
    assert_eq!(said["drop"]["reason"], "acl_from_port", "{said}");
    assert_eq!(daemon.drops("a").get("acl_from_port"), None);
    at_b.clear();
    let denied = bytes_of(&said["frame"]["hex"]);
    from_a.send(&denied);
    daemon.wait_drops("a", &[("acl_from_port", 1)]);
    assert!(at_b.find(SILENCE, |frame| frame == denied).is_none());
    // Why, afterwards.
    let why = daemon.json(&["why", "a", "-o", "json"])[0].clone();
    assert_eq!(why["frame"]["text"], said["frame"]["text"], "{why}");
    let rules = &said["stages"]
        .as_array()
        .expect("stages")
        .last()
        .expect("a stage")["rules"];
    assert_eq!(
        (&why["reason"], &why["rule"]),
        (&said["drop"]["reason"], &rules[0])
    );
    let page = daemon.shunt(&["why", "a"]);
    assert!(page.contains("from-a rule 1 (mail)"), "{page}");
    assert!(daemon.shunt(&["why", "b"]).contains("no frame"));
    daemon.stop();
}

#[test]
fn a_rule_that_logs_writes_its_line_and_who_met_it() {
    let world = World::new("log");
    let (a, _b, _up) = (world.guest("a"), world.guest("b"), world.guest("up"));
    let mut daemon = world.start(&switch());
    let ping = trace(&daemon, "a", &["--src-mac", &text_of(a.mac), "--icmp"]);
    assert_eq!(ping["verdict"], "flooded", "{ping}");
    for _ in 0..3 {
        a.wire().send(&bytes_of(&ping["frame"]["hex"]));
    }
    let file = fs::read_to_string(daemon.config_path()).expect("the file");
    let rule = file
        .lines()
        .position(|line| line == "action = \"log\"")
        .expect("the rule");
    let place = format!("{}:{rule}", daemon.config_path().display());
    wait_for("a line in the log", || {
        let log = daemon.log();
        let mut lines = log
            .lines()
            .filter(|line| line.contains("log protocol icmp"));
        let line = lines.next()?;
        assert!(line.contains(&place) && line.contains("from a"), "{line}");
        Some(())
    });
    daemon.stop();
}

#[test]
fn rules_are_named_by_their_lines_and_verdicts_tested_with_and_without_a_daemon() {
    let world = World::new("verdicts");
    let _guests = [world.guest("a"), world.guest("b"), world.guest("up")];
    let mut daemon = world.start(&switch());
    let said = trace(&daemon, "a", &["--tcp", "25"]);
    let lists = said["stages"]
        .as_array()
        .expect("stages")
        .last()
        .expect("a stage");
    let rule = &lists["rules"][0];
    let file = fs::read_to_string(daemon.config_path()).expect("the file");
    let line = rule["line"].as_u64().expect("a line") as usize;
    assert_eq!(file.lines().nth(line - 1), Some("[[acl.rule]]"), "{rule}");
    assert_eq!(
        (&rule["name"], &rule["action"]),
        (&"mail".into(), &"deny".into())
    );

    let config = daemon.config_path();
    let config = ["--config", config.to_str().expect("a path")];
    let offline = trace(&daemon, "a", &[&["--tcp", "25"], &config[..]].concat());
    assert_eq!(offline["drop"], said["drop"]);
    let page = daemon.shunt(&["trace", "--from", "a", "--tcp", "25"]);
    assert!(page.contains("dropped: acl_from_port at a"), "{page}");
    let wrong = daemon.try_shunt(&["trace", "--from", "c"]);
    assert_eq!(wrong.status.code(), Some(1));

    let tests = "[[test]]\nname = \"mail\"\nfrom = \"a\"\nframe.tcp = 25\nexpect = \"EXPECTED\"\n";
    let verdicts = tempfile::NamedTempFile::new().expect("a file");
    let test = ["acl", "test", verdicts.path().to_str().expect("a path")];
    for (expected, code) in [("deny", 0), ("allow", 1)] {
        fs::write(verdicts.path(), tests.replace("EXPECTED", expected)).expect("written");
        for more in [&[][..], &config] {
            let tested = daemon.try_shunt(&[&test, more].concat());
            assert_eq!(tested.status.code(), Some(code), "{tested:?}");
        }
    }
    daemon.stop();
}
