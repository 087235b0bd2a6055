//! `shunt-bench compare` itself: it measures something, and leaves nothing behind however it ends.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use shunt_tests::{daemon, quiet, sys};

/// Far more than the shortest run takes on a machine that has much else to do.
const LIMIT: Duration = Duration::from_mins(3);
/// Time to end after a signal.
const END_LIMIT: Duration = Duration::from_secs(30);

/// The program beside the daemon that is tested, which one build makes.
fn binary() -> PathBuf {
    let binary = daemon::binary().with_file_name("shunt-bench");
    assert!(
        binary.is_file(),
        "there is no {}: run `cargo build --package shunt-benches` with the profile of the daemon",
        binary.display()
    );
    binary
}

/// Starts the shortest run, of those that need no package.
fn start(out: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(binary());
    command
        .args(["compare", "--tiny", "--quick", "--out"])
        .arg(out);
    command.args(arguments);
    command.env("SHUNT_BIN", daemon::binary());
    let log = fs::File::create(out.join("log")).expect("log");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    command.spawn().expect("start shunt-bench")
}

fn wait(child: &mut Child, limit: Duration) -> std::process::ExitStatus {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("wait") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("shunt-bench has not ended in {limit:?}");
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// What a process has made that others can see: namespaces with its number, and its notes.
fn left_by(pid: u32) -> Vec<String> {
    let names = |directory: &str| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect::<Vec<_>>()
    };
    let namespace = format!("shunttest-{pid}-");
    let note = format!("shunt-bench-hugepages-{pid}");
    let namespaces = names("/run/netns").into_iter();
    let notes = names("/run").into_iter();
    namespaces
        .filter(|name| name.starts_with(&namespace))
        .chain(notes.filter(|name| *name == note))
        .collect()
}

/// All descendants of a process.
fn descendants(pid: u32) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut look = vec![pid];
    while let Some(pid) = look.pop() {
        for thread in fs::read_dir(format!("/proc/{pid}/task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|it| it.parse().ok()) {
                if found.insert(child) {
                    look.push(child);
                }
            }
        }
    }
    found
}

fn wait_gone(pids: &BTreeSet<u32>) {
    let is_there = |pid: &&u32| Path::new("/proc").join(pid.to_string()).exists();
    let deadline = Instant::now() + END_LIMIT;
    while pids.iter().any(|pid| is_there(&pid)) {
        assert!(Instant::now() < deadline, "still there: {pids:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_comparison_finds_numbers_and_leaves_nothing() {
    let _alone = quiet::alone();
    let out = tempfile::tempdir().expect("folder");
    let contenders = ["shunt", "bridge", "xsk-rs", "redirect"];
    let everybody = format!("{},shunt-policy", contenders.join(","));
    let measurements = "throughput,round-trip,memory,policy";
    let arguments = ["--only", &everybody, "--measure", measurements];
    let mut child = start(out.path(), &arguments);
    let pid = child.id();
    let status = wait(&mut child, LIMIT);
    let log = fs::read_to_string(out.path().join("log")).unwrap_or_default();
    assert!(status.success(), "{status}: {log}");
    assert_eq!(left_by(pid), [""; 0]);
    let results = fs::read(out.path().join("results.json")).expect("results");
    let results: Value = serde_json::from_slice(&results).expect("JSON");
    let found = results["contenders"].as_array().expect("contenders");
    let names: Vec<_> = found.iter().filter_map(|it| it["name"].as_str()).collect();
    assert_eq!(names, contenders, "{log}");
    let policy = results["policy"].as_array().expect("what policy costs");
    let mut ratios = policy.iter().map(|cost| cost["ratio"]["median"].as_f64());
    let are_there = |ratio: Option<f64>| ratio.is_some_and(|it| (0.01..100.0).contains(&it));
    assert!(
        policy.len() == 3 && ratios.all(are_there),
        "{policy:?}: {log}"
    );
    for contender in found {
        let overload = &contender["throughput"][0]["overload_fps"]["median"];
        let overload = overload
            .as_f64()
            .unwrap_or_else(|| panic!("{contender}: {log}"));
        assert!((1e3..1e8).contains(&overload), "{contender}");
        assert!(knows_large_frames(contender), "{contender}: {log}");
        let p50 = contender["round_trip"][0]["p50_ns"]["median"].as_f64();
        let p50 = p50.unwrap_or_else(|| panic!("{contender}: {log}"));
        assert!((1e3..1e9).contains(&p50), "{contender}");
    }
}

/// Whether frames of 9018 bytes with FCS were measured, or named as not possible: never both.
fn knows_large_frames(contender: &Value) -> bool {
    let sizes = |list: &str| {
        let all = contender[list].as_array().into_iter().flatten();
        all.filter(|one| one["frame_size"] == 9014).count()
    };
    let measured = contender["name"] != "xsk-rs";
    let expected = if measured { (1, 0) } else { (0, 1) };
    (sizes("throughput"), sizes("impossible")) == expected
}

#[test]
fn a_comparison_that_is_interrupted_leaves_nothing() {
    let _alone = quiet::alone();
    for signal in [sys::SIGINT, sys::SIGTERM] {
        let out = tempfile::tempdir().expect("folder");
        let mut child = start(out.path(), &["--only", "xsk-rs,shunt"]);
        let pid = child.id();
        // In the middle: a contender is there, or the bed for it.
        let deadline = Instant::now() + LIMIT;
        while left_by(pid).len() < 3 || descendants(pid).is_empty() {
            assert!(Instant::now() < deadline, "it does not begin");
            assert!(child.try_wait().expect("wait").is_none(), "it has ended");
            thread::sleep(Duration::from_millis(20));
        }
        let children = descendants(pid);
        sys::signal(&child, signal).expect("signal");
        let status = wait(&mut child, END_LIMIT);
        assert!(!status.success(), "{status}");
        wait_gone(&children);
        assert_eq!(left_by(pid), [""; 0]);
        let log = fs::read_to_string(out.path().join("log")).unwrap_or_default();
        assert!(log.contains("ended by signal"), "{log}");
    }
}
