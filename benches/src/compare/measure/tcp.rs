//! Bulk TCP: one stream of iperf3 between two guests' stacks.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::super::{
    bed::{Bed, GUEST_CORE},
    process::{Process, find_program, output},
    signals::wait_for,
};

/// What a stream has come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stream {
    /// Bits a second that the receiver got.
    pub received_bps: f64,
    /// Segments that were sent again.
    pub retransmissions: f64,
}

/// What it needs: program and package.
pub const NEEDS: &[(&str, &str)] = &[("iperf3", "iperf3"), ("taskset", "util-linux")];

/// Sends from the first guest to the second for so long, after the first second, in which the
/// window opens. Both ends are on the guests' core.
///
/// # Errors
/// When iperf3 fails.
pub fn stream(bed: &Bed, length: Duration) -> Result<Stream> {
    let (from, to) = (&bed.guests[0], &bed.guests[1]);
    let folder = tempfile::tempdir()?;
    let core = GUEST_CORE.to_string();
    let mut server = Process::start(&to.namespace, folder.path(), "taskset", |command| {
        command.args([
            "-c",
            &core,
            "iperf3",
            "--server",
            "--one-off",
            "--forceflush",
        ]);
    })?;
    wait_for("iperf3 listens", Duration::from_secs(5), || {
        server.check_running()?;
        Ok(server.output().contains("listening").then_some(()))
    })?;
    let seconds = length.as_secs_f64();
    let mut command = from.namespace.command("taskset");
    command.args(["-c", &core, "timeout", "60", "iperf3", "--json"]);
    command.args(["--connect-timeout", "3000", "--client", &to.address]);
    command.args(["--time", &format!("{}", seconds.ceil()), "--omit", "1"]);
    let text = output(command.stdin(Stdio::null())).context("iperf3")?;
    parse(&text)
}

fn parse(text: &str) -> Result<Stream> {
    let report: Value = serde_json::from_str(text).context("the report of iperf3")?;
    let end = &report["end"];
    let value = |value: &Value| value.as_f64().with_context(|| format!("no result: {end}"));
    let stream = Stream {
        received_bps: value(&end["sum_received"]["bits_per_second"])?,
        retransmissions: value(&end["sum_sent"]["retransmits"])?,
    };
    ensure!(stream.received_bps > 0.0, "nothing was received");
    Ok(stream)
}

/// Its version, for the report.
#[must_use]
pub fn version() -> Option<String> {
    let text = output(Command::new(find_program("iperf3")?).arg("--version")).ok()?;
    let words: Vec<&str> = text.lines().next()?.split_whitespace().collect();
    words.get(1).map(|it| (*it).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_of_iperf3_is_understood() {
        let text = r#"{"start": {}, "intervals": [], "end": {
            "streams": [], "sum_sent": {"start": 0, "end": 2.0, "seconds": 2.0,
            "bytes": 649854976, "bits_per_second": 2599321415.5, "retransmits": 17,
            "sender": true}, "sum_received": {"start": 0, "end": 2.0, "seconds": 2.0,
            "bytes": 649461760, "bits_per_second": 2597000000.25, "sender": true}}}"#;
        let expected = Stream {
            received_bps: 2_597_000_000.25,
            retransmissions: 17.0,
        };
        assert_eq!(parse(text).expect("a report"), expected);
        assert!(parse("{\"error\": \"unable to connect\"}").is_err());
        assert!(parse("").is_err());
    }
}
