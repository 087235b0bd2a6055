//! Expected verdicts in a file (`shunt acl test`), for people who keep policy in git.

use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::{
    api::trace::{Trace, TraceDrop, TraceRequest, TraceRule},
    failure::Failure,
    frame::fields::Fields,
};

/// The file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "test")]
    tests: Vec<Spanned<Case>>,
}

/// `[[test]]`: a frame, and what should become of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The port that it comes from.
    from: String,
    #[serde(default)]
    frame: Fields,
    /// The frame in hexadecimal, instead of its fields.
    hex: Option<String>,
    expect: Expected,
    /// The port that it should or should not leave by; without it and `frame.to`, any.
    port: Option<String>,
    /// The rule that decides: LIST/NAME, LIST/NUMBER or LIST/default.
    rule: Option<String>,
    /// The drop reason.
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expected {
    Allow,
    Deny,
}

impl Expected {
    const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

/// The result of one test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tested {
    /// The test.
    pub name: String,
    /// Where it stands in its file.
    pub line: usize,
    /// All was as expected.
    pub passed: bool,
    /// The frame, in one line.
    pub frame: String,
    /// What was expected.
    pub expected: String,
    /// What was found.
    pub found: String,
}

/// Runs the tests of a file, given as its text, for a switch with these ports; `trace` says what
/// would become of a frame.
///
/// # Errors
/// When the file is not understood or has no test, or a test makes no sense.
pub fn run(
    file: &str,
    text: &str,
    ports: &[String],
    mut trace: impl FnMut(&TraceRequest) -> Result<Vec<Trace>, Failure>,
) -> Result<Vec<Tested>, Failure> {
    let parsed: File = toml::from_str(text)
        .map_err(|error| Failure::failed(format!("{file}: {}", error.to_string().trim_end())))?;
    let line = |case: &Spanned<Case>| {
        let before = text.as_bytes().iter().take(case.span().start);
        before.filter(|byte| **byte == b'\n').count() + 1
    };
    if parsed.tests.is_empty() {
        let error = format!("{file} has no test: each begins with [[test]]");
        return Err(Failure::failed(error));
    }
    let mut results = Vec::new();
    for case in &parsed.tests {
        let line = line(case);
        let case = case.get_ref();
        let request = TraceRequest {
            from: case.from.clone(),
            fields: case.hex.is_none().then(|| case.frame.clone()),
            frames: case.hex.iter().cloned().collect(),
        };
        let in_file = |failure: Failure| Failure {
            message: format!("{file}:{line}: {}: {}", case.name, failure.message),
            ..failure
        };
        check(case, ports).map_err(|error| in_file(Failure::failed(error)))?;
        let traces = trace(&request).map_err(in_file)?;
        results.extend(traces.iter().map(|trace| judge(case, line, trace)));
    }
    Ok(results)
}

/// Refuses what nobody looks at: a test of it would pass whatever the switch does.
fn check(case: &Case, ports: &[String]) -> Result<(), String> {
    if let Some(port) = case.port.as_ref().filter(|port| !ports.contains(port)) {
        return Err(format!("there is no port {port:?}"));
    }
    if case.hex.is_some() && case.frame != Fields::default() {
        let help = "leave `frame` out; `port` names where it should leave";
        return Err(format!("`hex` is the whole frame: {help}"));
    }
    Ok(())
}

/// Compares what is expected with what was found.
fn judge(case: &Case, line: usize, trace: &Trace) -> Tested {
    let port = case.port.as_ref().or(case.frame.to.as_ref());
    let (drop, rules) = found_at(trace, port);
    let verdict = if drop.is_some() {
        Expected::Deny
    } else {
        Expected::Allow
    };
    let reason = drop.as_ref().map_or("", |drop| drop.reason.as_str());
    let decided: Vec<&TraceRule> = rules
        .iter()
        .filter(|rule| rule.action == verdict.name())
        .collect();
    let has_rule = |wanted: &String| decided.iter().any(|rule| names_of(rule).contains(wanted));
    let passed = verdict == case.expect
        && case.rule.as_ref().is_none_or(has_rule)
        && case.reason.as_ref().is_none_or(|wanted| wanted == reason);
    let mut expected = case.expect.name().to_owned();
    let mut found = verdict.name().to_owned();
    if let Some(port) = port {
        expected += &format!(" at {port}");
        found += &format!(" at {port}");
    }
    if let Some(reason) = &case.reason {
        expected += &format!(", {reason}");
    }
    if !reason.is_empty() {
        found += &format!(", {reason}");
    }
    if let Some(key) = drop.as_ref().and_then(|drop| drop.key.as_ref()) {
        found += &format!(", by {} ({}:{})", key.key, key.file, key.line);
    }
    if let Some(rule) = &case.rule {
        expected += &format!(", by {rule}");
    }
    for rule in decided {
        let name = names_of(rule).swap_remove(0);
        found += &format!(", by {name} ({}:{}): {}", rule.file, rule.line, rule.text);
    }
    Tested {
        name: case.name.clone(),
        line,
        passed,
        frame: trace.frame.text.clone(),
        expected,
        found,
    }
}

/// Why a frame does not leave by a port, or by any, and the rules that it met on its way there.
fn found_at(trace: &Trace, port: Option<&String>) -> (Option<TraceDrop>, Vec<TraceRule>) {
    let mut rules: Vec<_> = trace
        .stages
        .iter()
        .flat_map(|stage| stage.rules.clone())
        .collect();
    let ways = trace
        .egress
        .iter()
        .filter(|way| port.is_none_or(|port| way.port == *port));
    rules.extend(ways.clone().flat_map(|way| way.rules.clone()));
    let leaves = ways.clone().any(|way| way.drop.is_none());
    let first = ways.filter_map(|way| way.drop.clone()).next();
    let elsewhere = || TraceDrop {
        reason: "goes_elsewhere".to_owned(),
        text: "It does not go there.".to_owned(),
        port: port.cloned().unwrap_or_default(),
        key: None,
    };
    let drop = first
        .or_else(|| trace.drop.clone())
        .unwrap_or_else(elsewhere);
    ((!leaves).then_some(drop), rules)
}

/// How a rule may be called, the best first.
fn names_of(rule: &TraceRule) -> Vec<String> {
    let acl = &rule.acl;
    let Some(number) = rule.rule else {
        return vec![format!("{acl}/default")];
    };
    let name = rule.name.iter().map(|name| format!("{acl}/{name}"));
    name.chain([format!("{acl}/{number}")]).collect()
}

/// The report for people: what is not as expected, and a sum.
pub fn report(file: &str, results: &[Tested]) -> String {
    let failed: Vec<_> = results.iter().filter(|result| !result.passed).collect();
    let text = failed.iter().fold(String::new(), |text, result| {
        let Tested {
            name,
            line,
            frame,
            expected,
            found,
            ..
        } = result;
        text + &format!("{file}:{line}: {name}\n  {frame}\n- {expected}\n+ {found}\n\n")
    });
    let passed = results.len() - failed.len();
    text + &format!("{file}: {passed} passed, {} failed\n", failed.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::offline::tests::offline;

    const SWITCH: &str = r#"
[[network]]
name = "web"

[[port]]
name = "a"
device = "veA"
network = "web"
acl_from_port = "guests"

[[port]]
name = "b"
device = "veB"
network = "web"
acl_to_port = "inside"

[[port]]
name = "c"
device = "veC"
network = "web"

[[acl]]
name = "guests"
default = "deny"

[[acl.rule]]
name = "tls"
action = "allow"
destination_port = 443
protocol = "tcp"

[[acl.rule]]
action = "allow"
protocol = "icmp"

[[acl]]
name = "inside"
default = "allow"

[[acl.rule]]
action = "deny"
protocol = "icmp"
"#;

    fn test(text: &str) -> Result<Vec<Tested>, Failure> {
        let switch = offline(SWITCH);
        run("policy.toml", text, &switch.ports(), |request| {
            switch.trace(request)
        })
    }

    /// Whether a test passes, and what it has found.
    fn check(expectation: &str, passes: bool, found: &str) {
        let text = format!("[[test]]\nname = \"t\"\nfrom = \"a\"\n{expectation}\n");
        let results = test(&text).expect("understood");
        let [result] = &results[..] else {
            panic!("{results:?}");
        };
        assert_eq!(
            (result.passed, result.found.as_str()),
            (passes, found),
            "{expectation}"
        );
    }

    #[test]
    fn verdicts_ports_rules_and_reasons() {
        let tls = "allow, by guests/tls (switch.toml:26): allow protocol tcp destination_port 443, \
                   by inside/default (switch.toml:36): allow by default";
        check("frame.tcp = 443\nexpect = \"allow\"", true, tls);
        check(
            "frame.tcp = 443\nexpect = \"allow\"\nrule = \"guests/1\"",
            true,
            tls,
        );
        check(
            "frame.tcp = 443\nexpect = \"allow\"\nrule = \"guests/2\"",
            false,
            tls,
        );
        check("frame.tcp = 443\nexpect = \"deny\"", false, tls);
        let denied = "deny, acl_from_port, by guests/default (switch.toml:22): deny by default";
        check(
            "frame.udp = 53\nexpect = \"deny\"\nrule = \"guests/default\"",
            true,
            denied,
        );
        check(
            "frame.udp = 53\nexpect = \"deny\"\nreason = \"same_port\"",
            false,
            denied,
        );
        let ping = "frame = { icmp = 8, to = \"b\" }\nexpect = \"deny\"\nreason = \"acl_to_port\"";
        let at_b = "deny at b, acl_to_port, by inside/1 (switch.toml:40): deny protocol icmp";
        check(ping, true, at_b);
        let at_c = "allow at c, by guests/2 (switch.toml:32): allow protocol icmp";
        check(
            "frame.icmp = 8\nexpect = \"allow\"\nport = \"c\"",
            true,
            at_c,
        );
        check(
            "frame.icmp = 8\nexpect = \"deny\"\nport = \"a\"",
            true,
            "deny at a, goes_elsewhere",
        );
        check("hex = \"00\"\nexpect = \"deny\"", true, "deny, truncated");
    }

    #[test]
    fn the_report_shows_what_differs() {
        let text = "[[test]]\nname = \"good\"\nfrom = \"a\"\nframe.tcp = 443\nexpect = \"allow\"\n\
                    \n[[test]]\nname = \"bad\"\nfrom = \"a\"\nframe.udp = 53\nexpect = \"allow\"\n";
        let results = test(text).expect("understood");
        assert_eq!(
            report("policy.toml", &results),
            "policy.toml:7: bad\n  \
             02:00:00:00:00:01 > 02:00:00:00:00:02, 192.0.2.1 > 192.0.2.2 UDP 49152 > 53, 60 bytes\n\
             - allow\n\
             + deny, acl_from_port, by guests/default (switch.toml:22): deny by default\n\n\
             policy.toml: 1 passed, 1 failed\n"
        );
    }

    #[test]
    fn mistakes_name_file_and_line() {
        let check = |text: &str, expected: &[&str]| {
            let said = test(text).expect_err("a mistake").message;
            assert!(expected.iter().all(|part| said.contains(part)), "{said}");
        };
        let start = "[[test]]\nname = \"t\"\nfrom = \"a\"\nexpect = \"deny\"\n";
        check(
            &format!("{start}frame.tpc = 3"),
            &["policy.toml", "line 5", "tpc"],
        );
        check(
            &format!("{start}frame.src_mac = \"x\""),
            &["policy.toml:1: t", "src-mac"],
        );
        // Nothing leaves by a port that is not there: that must not be taken for a verdict.
        check(
            &format!("{start}port = \"bb\""),
            &["policy.toml:1: t", "no port \"bb\""],
        );
        check(
            &format!("{start}hex = \"00\"\nframe.tcp = 3"),
            &["policy.toml:1: t", "leave `frame` out"],
        );
        check("", &["policy.toml has no test", "[[test]]"]);
        check("[[tests]]", &["policy.toml", "tests"]);
        check(
            "[[test]]\nname = \"t\"\nfrom = \"a\"\nexpect = \"maybe\"",
            &["maybe"],
        );
    }
}
