//! Traces without a daemon: a switch that follows a file, with all devices there and nobody heard.

use std::path::Path;

use switch_core::{
    config::{self, Compiled, Config, Indices},
    engine::dry_run_of,
};

use super::{Names, explain};
use crate::{
    api::trace::{Trace, TraceRequest},
    daemon::settings,
    failure::Failure,
    frame::{build::Known, build::build, hex, pcap::MOST_FRAMES},
};

/// A switch that is only a file.
#[derive(Debug)]
pub struct Offline {
    config: Config,
    compiled: Compiled,
    file: String,
}

impl Offline {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read or is not valid.
    pub fn read(file: &Path) -> Result<Self, Failure> {
        Self::new(settings::read(file)?, file.display().to_string())
    }

    fn new(config: Config, file: String) -> Result<Self, Failure> {
        let compiled = config::compile(&config, &Indices::new());
        let compiled = compiled.map_err(|error| Failure::failed(error.to_string()))?;
        Ok(Self {
            config,
            compiled,
            file,
        })
    }

    /// The names of the ports, in the order of the file.
    pub fn ports(&self) -> Vec<String> {
        let ports = self.config.ports.iter();
        ports.map(|port| port.name.to_string()).collect()
    }

    /// What would become of frames, one after the other.
    ///
    /// # Errors
    /// When the request makes no sense.
    pub fn trace(&self, request: &TraceRequest) -> Result<Vec<Trace>, Failure> {
        let known = Known {
            config: &self.config,
            learnt: &|_| None,
        };
        let frames = frames(request, &known).map_err(Failure::failed)?;
        let Some(ingress) = self.compiled.indices.port(&request.from) else {
            let error = format!("{} has no port {:?}", self.file, request.from);
            return Err(Failure::failed(error));
        };
        let rules = self.compiled.rules.clone();
        let mut switch = dry_run_of(rules).map_err(|error| Failure::failed(error.to_string()))?;
        let names = Names {
            config: &self.config,
            rules: &self.compiled.rules,
            file: &self.file,
        };
        let trace = |bytes: &Vec<u8>| {
            let outcome = switch.forward(ingress, bytes);
            explain(names, ingress, bytes, &outcome)
        };
        Ok(frames.iter().map(trace).collect())
    }
}

/// The frames that a request is about.
///
/// # Errors
/// Says which field is wrong, what is no hexadecimal digit, or that there are too many.
pub fn frames(request: &TraceRequest, known: &Known<'_>) -> Result<Vec<Vec<u8>>, String> {
    if request.frames.len() > MOST_FRAMES {
        return Err(format!(
            "more than {MOST_FRAMES} frames: ask about them in parts"
        ));
    }
    if request.frames.is_empty() {
        let fields = request.fields.clone().unwrap_or_default();
        return Ok(vec![build(&fields, &request.from, known)?]);
    }
    request
        .frames
        .iter()
        .map(|digits| hex::decode(digits))
        .collect()
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::{frame::fields::Fields, trace::verdicts};

    /// A file of which only the text is there.
    pub fn offline(text: &str) -> Offline {
        let config = config::parse("switch.toml", text).expect("valid");
        Offline::new(config, "switch.toml".into()).expect("a switch")
    }

    const FILE: &str = r#"
[[policer]]
name = "slow"
rate = "8 Mbit/s"

[[network]]
name = "web"
vlan = 20
acl_to_port = "out"

[[port]]
name = "a"
device = "veA"
network = "web"
security = "strict"
allowed_macs = "52:54:00:00:00:0a"
allowed_addresses = "10.0.0.1"
acl_from_port = "guests"
police_from_port = "slow"

[[port]]
name = "b"
device = "veB"
network = "web"
acl_to_port = "guests"

[[port]]
name = "up"
device = "eth1"
role = "uplink"
trunk = ["*"]

[[acl]]
name = "guests"
default = "deny"

[[acl.rule]]
action = "count"
ethertype = "ipv4"

[[acl.rule]]
name = "web"
action = "allow"
protocol = "tcp"
destination_port = 443

[[acl]]
name = "out"
default = "allow"
"#;

    fn shown(request: &TraceRequest) -> String {
        let traces = offline(FILE).trace(request).expect("traced");
        crate::client::trace::traces(&traces)
    }

    #[test]
    fn a_frame_that_is_flooded() {
        let request = TraceRequest {
            from: "a".into(),
            fields: Some(Fields {
                tcp: Some(443),
                ..Fields::default()
            }),
            frames: Vec::new(),
        };
        insta::assert_snapshot!(shown(&request));
        let traces = offline(FILE).trace(&request).expect("traced");
        insta::assert_snapshot!(crate::client::render::json(&traces));
    }

    #[test]
    fn frames_that_are_dropped() {
        let frame = |fields: Fields| {
            let request = TraceRequest {
                from: "a".into(),
                fields: Some(fields),
                frames: Vec::new(),
            };
            shown(&request)
        };
        insta::assert_snapshot!(frame(Fields {
            udp: Some(53),
            ..Fields::default()
        }));
        insta::assert_snapshot!(frame(Fields {
            src_ip: Some([10, 0, 0, 2].into()),
            ..Fields::default()
        }));
        insta::assert_snapshot!(frame(Fields {
            vlan: Some(20),
            ..Fields::default()
        }));
    }

    /// The key that is written, or else that which stands for it.
    #[test]
    fn what_security_drops_is_told_with_its_line() {
        let traced = |text: &str, fields: Fields| {
            let request = TraceRequest {
                from: "a".into(),
                fields: Some(fields),
                frames: Vec::new(),
            };
            let drop = offline(text)
                .trace(&request)
                .expect("traced")
                .swap_remove(0)
                .drop;
            let key = drop.as_ref().and_then(|drop| drop.key.clone());
            let key = key.map(|key| (key.key, key.file, key.line));
            (drop.map(|drop| drop.reason).unwrap_or_default(), key)
        };
        let line_of = |text: &str, key: &str| {
            let mut lines = text.lines();
            lines
                .position(|line| line.starts_with(key))
                .expect("the key")
                + 1
        };
        let check = |text: &str, fields: Fields, reason: &str, key: &str| {
            let expected = (key.to_owned(), "switch.toml".to_owned(), line_of(text, key));
            assert_eq!(traced(text, fields), (reason.to_owned(), Some(expected)));
        };
        let of_another = Fields {
            src_ip: Some([10, 0, 0, 2].into()),
            ..Fields::default()
        };
        check(FILE, of_another, "address_not_allowed", "allowed_addresses");
        let offer = Fields {
            udp: Some(68),
            src_port: Some(67),
            ..Fields::default()
        };
        check(FILE, offer.clone(), "dhcp_server_guard", "security");
        let no_server = FILE.replace("acl_from_port", "dhcp_server = false\nacl_from_port");
        check(
            &no_server,
            offer.clone(),
            "dhcp_server_guard",
            "dhcp_server",
        );
        let open = FILE.replace("acl_from_port", "dhcp_server = true\nacl_from_port");
        assert_eq!(traced(&open, offer), ("acl_from_port".to_owned(), None));
    }

    #[test]
    fn where_a_frame_waits_and_how_it_is_marked() {
        const QUEUES: &str = r#"
[[scheduler]]
name = "wan"
rate = "8 Mbit/s"

[[scheduler.queue]]
classes = [5, 6, 7]
strict = true

[[scheduler.queue]]
weight = 3

[[network]]
name = "web"
vlan = 20

[[port]]
name = "a"
device = "veA"
network = "web"
class = 5

[[port]]
name = "up"
device = "eth1"
role = "uplink"
trunk = ["*"]
class_from = ["dscp"]
scheduler = "wan"
mark = ["pcp", "dscp"]

[[port]]
name = "b"
device = "veB"
network = "web"
scheduler = "wan"
"#;
        let shown = |from: &str| {
            let fields = Fields {
                udp: Some(53),
                ..Fields::default()
            };
            let request = TraceRequest {
                from: from.into(),
                fields: Some(fields),
                frames: Vec::new(),
            };
            let traces = offline(QUEUES).trace(&request).expect("traced");
            crate::client::trace::traces(&traces)
        };
        insta::assert_snapshot!(shown("a"));
        insta::assert_snapshot!(shown("b"));
    }

    #[test]
    fn the_example_is_as_it_says() {
        const POLICY: &str = include_str!("../../../examples/policy.toml");
        const TESTS: &str = include_str!("../../../examples/policy-tests.toml");
        let switch = offline(POLICY);
        let run = |tests: &str| {
            let results = verdicts::run("policy-tests.toml", tests, &switch.ports(), |it| {
                switch.trace(it)
            });
            results.expect("understood")
        };
        let results = run(TESTS);
        let report = verdicts::report("policy-tests.toml", &results);
        assert_eq!(report, "policy-tests.toml: 8 passed, 0 failed\n");
        // And it would tell: the opposite of each.
        let swapped = TESTS.replace("expect = \"allow\"", "expect = \"Deny\"");
        let swapped = swapped.replace("expect = \"deny\"", "expect = \"allow\"");
        let opposite = run(&swapped.replace("\"Deny\"", "\"deny\""));
        assert!(opposite.iter().all(|result| !result.passed), "{opposite:?}");
    }

    #[test]
    fn what_makes_no_sense() {
        let check = |from: &str, frames: &[&str], expected: &str| {
            let request = TraceRequest {
                from: from.into(),
                fields: None,
                frames: frames.iter().map(ToString::to_string).collect(),
            };
            let said = offline(FILE).trace(&request).expect_err("no sense");
            assert!(said.message.contains(expected), "{said}");
        };
        check("c", &[], "no port \"c\"");
        check("c", &["00"], "no port \"c\"");
        check("a", &["0x"], "'x'");
        check("a", &["00"; MOST_FRAMES + 1], "more than 1000 frames");
    }
}
