//! The report of results that nobody has measured: round numbers of a machine that does not exist.

use std::collections::BTreeSet;
use std::fs;

use super::results::{
    Cpu, Engine, Impossible, Kind, Latency, Learning, LossPoint, Measured, Missing, Point,
    PolicyCost, RoundTrip, Setting, Throughput,
};
use super::*;

/// Turns that vary by a tenth to both sides.
fn turns(median: f64) -> Measured {
    Measured {
        median,
        min: 0.9 * median,
        max: 1.1 * median,
        turns: 3,
    }
}

fn points(base: f64, counts: &[u64]) -> Vec<Point> {
    let point = |(index, count): (usize, &u64)| Point {
        count: *count,
        fps: turns(base / (1.0 + index as f64)),
    };
    counts.iter().enumerate().map(point).collect()
}

/// A contender that has every number, each in proportion to `speed` frames a second.
fn contender(name: &str, kind: Kind, speed: f64) -> Contender {
    let throughput = |frame_size: usize| Throughput {
        frame_size,
        zero_loss_fps: Some(turns(0.5 * speed)),
        overload_fps: Some(turns(speed)),
        offered_fps: Some(turns(2e6)),
    };
    let loss = |offered_fps: f64| LossPoint {
        frame_size: 60,
        offered_fps,
        loss: (1.0 - speed / offered_fps).max(0.0),
    };
    let time_ns = 1e10 / speed;
    Contender {
        name: name.to_owned(),
        kind,
        description: format!("an invented {name}"),
        throughput: [60, 1514, 0].map(throughput).to_vec(),
        impossible: Vec::new(),
        loss: [0.5e6, 1e6, 2e6].map(loss).to_vec(),
        latency: vec![Latency {
            frame_size: 60,
            offered_fps: 1e5,
            p50_ns: turns(time_ns),
            p99_ns: turns(2.0 * time_ns),
            p999_ns: turns(4.0 * time_ns),
            histogram: vec![(time_ns, 500), (2.0 * time_ns, 490), (5.0 * time_ns, 10)],
        }],
        round_trip: [0, 2_000]
            .map(|pause_us| RoundTrip {
                pause_us,
                p50_ns: turns(5.0 * time_ns),
                p99_ns: turns(9.0 * time_ns),
                p999_ns: turns(20.0 * time_ns),
            })
            .to_vec(),
        learning: Some(Learning {
            capacity: 1_000,
            capacity_is_limit_of_search: kind == Kind::Ours,
            rate_per_s: Some(0.1 * speed),
        }),
        tcp_bps: Some(turns(1e3 * speed)),
        tcp_without_offloads_bps: Some(turns(0.5e3 * speed)),
        tcp_retransmissions: Some(turns(0.0)),
        cpu: Some(Cpu {
            ms_per_million_frames: Some(turns(1e9 / speed)),
            offered_fps: Some(1e5),
            idle_percent: Some(turns(if kind == Kind::Ours { 0.05 } else { 100.0 })),
        }),
        memory_mib: Some(64.0),
        by_flows: points(speed, &[1, 64, 4_096]),
        by_macs: points(speed, &[16, 65_536]),
        by_ports: points(speed, &[2, 16]),
    }
}

fn engine(name: &str, fps: f64) -> Engine {
    Engine {
        name: name.to_owned(),
        description: "an invented engine".to_owned(),
        by_flows: points(fps, &[64, 10_000, 1_048_576]),
        by_macs: points(fps, &[64, 65_536]),
    }
}

fn policy(flows: u64, ratio: f64) -> PolicyCost {
    PolicyCost {
        frame_size: 60,
        flows,
        bare_fps: turns(1e6),
        policed_fps: turns(1e6 * ratio),
        ratio: Measured {
            min: ratio - 0.01,
            max: ratio + 0.015,
            ..turns(ratio)
        },
    }
}

/// Everybody, with every number.
fn full() -> Results {
    Results {
        setting: Setting {
            date: "2001-01-01".to_owned(),
            commit: "an invented commit".to_owned(),
            command: "nothing was run".to_owned(),
            cpu: "Imaginary | <fast> CPU".to_owned(),
            cores: 2,
            pinning: "core 0: generator; core 1: switch".to_owned(),
            memory_mib: 1_024,
            kernel: "0.0.0".to_owned(),
            versions: vec![("Open vSwitch".to_owned(), "0.0".to_owned())],
            disturbance: vec!["load of 0.1 before".to_owned()],
        },
        contenders: vec![
            contender("shunt", Kind::Ours, 1e6),
            contender("bridge", Kind::Peer, 0.95e6),
            contender("ovs-afxdp", Kind::Peer, 0.5e6),
            contender("shunt-2", Kind::Variant, 1.5e6),
            contender("xsk-rs", Kind::Floor, 1.01e6),
            contender("redirect", Kind::Limit, 4e6),
        ],
        missing: vec![Missing {
            name: "testpmd".to_owned(),
            reason: "`dpdk-testpmd` is not there".to_owned(),
            remedy: "apt-get install dpdk".to_owned(),
        }],
        policy: vec![policy(64, 0.98), policy(10_000, 0.96)],
        engines: vec![engine("shunt", 50e6), engine("ovs-dpdk", 10e6)],
        instructions: [("forward.push_64".to_owned(), 100.0)].into(),
    }
}

/// Little of it: some are missing, and what is there was measured once or is 0.
fn sparse() -> Results {
    let mut results = full();
    results.contenders.truncate(2);
    results.engines.truncate(1);
    results.policy.clear();
    results.setting = Setting::default();
    results.missing.push(Missing {
        name: "ovs-afxdp".to_owned(),
        reason: "the port stays down".to_owned(),
        remedy: String::new(),
    });
    for contender in &mut results.contenders {
        contender.throughput.truncate(1);
        contender.throughput[0].zero_loss_fps = Some(Measured::once(0.0));
        contender.throughput[0].overload_fps = Some(Measured::once(1e6));
        contender.loss.clear();
        contender.latency[0].histogram.clear();
        contender.round_trip.clear();
        contender.learning = None;
        contender.cpu = None;
        contender.by_flows.truncate(1);
        contender.by_macs.clear();
        contender.by_ports.clear();
    }
    results.contenders[0].tcp_bps = None;
    results.contenders[1].memory_mib = None;
    results.engines[0].by_flows.truncate(2);
    results.engines[0].by_macs[0].fps = Measured::once(0.0);
    results
}

/// The report and its plots, by file name.
fn written(results: &Results) -> Vec<(String, String)> {
    let directory = tempfile::tempdir().unwrap();
    write(results, directory.path()).unwrap();
    let mut files: Vec<(String, String)> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn text_of(files: &[(String, String)], name: &str) -> String {
    let file = files.iter().find(|(known, _)| known == name);
    file.unwrap_or_else(|| panic!("no {name}")).1.clone()
}

fn snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

#[test]
fn the_texts_are_as_a_reader_gets_them() {
    for (name, results) in [
        ("full", full()),
        ("sparse", sparse()),
        ("nothing", Results::default()),
    ] {
        snapshot(&format!("{name}_terminal"), &terminal::tables(&results));
        let sections = sections::sections(&results);
        snapshot(
            &format!("{name}_markdown"),
            &markdown::report(&results, &sections),
        );
    }
}

#[test]
fn the_same_results_give_the_same_bytes() {
    let files = written(&full());
    assert_eq!(files, written(&full()));
    let kept = serde_json::from_str(&text_of(&files, RESULTS)).unwrap();
    assert!(full() == kept, "numbers change when they are kept");
    assert_eq!(files, written(&kept));
}

#[test]
fn plots_are_whole() {
    for results in [full(), sparse()] {
        let mut plots = 0;
        for (name, svg) in written(&results) {
            if !name.ends_with(".svg") {
                continue;
            }
            plots += 1;
            let document = roxmltree::Document::parse(&svg).unwrap();
            for node in document.descendants() {
                for attribute in node.attributes() {
                    let value = attribute.value();
                    assert!(
                        !value.contains("NaN") && !value.contains("inf"),
                        "{name}: {value}"
                    );
                }
            }
            assert!(document.root_element().has_attribute("viewBox"), "{name}");
        }
        assert!(plots > 3, "{plots} plots");
    }
}

/// The names in a plot's legend, or beside its bars.
fn legend(svg: &str) -> BTreeSet<String> {
    let document = roxmltree::Document::parse(svg).unwrap();
    let entries = document
        .descendants()
        .filter(|node| node.attribute("class") == Some("legend"));
    let texts = entries.map(|node| {
        let texts = node.descendants().filter(|inner| inner.is_text());
        let texts: String = texts.filter_map(|inner| inner.text()).collect();
        texts.trim().to_owned()
    });
    texts.collect()
}

#[test]
fn everybody_is_in_the_legends() {
    let files = written(&full());
    for name in [
        "shunt",
        "bridge",
        "ovs-afxdp",
        "xsk-rs (floor)",
        "redirect (limit)",
    ] {
        for file in [
            "throughput-full-load",
            "loss-64b",
            "latency-1",
            "round-trip-0us",
            "tcp",
        ] {
            let entries = legend(&text_of(&files, &format!("{file}.svg")));
            assert!(
                entries.contains(name),
                "{file}: {name} is not in {entries:?}"
            );
        }
    }
    let engines = legend(&text_of(&files, "engine-flows.svg"));
    assert_eq!(engines, ["ovs-dpdk", "shunt"].map(str::to_owned).into());
    let above = legend(&text_of(&files, "flows.svg"));
    let limit = "redirect (limit)";
    assert!(
        above.iter().any(|entry| entry.starts_with(limit)),
        "{above:?}"
    );
}

#[test]
fn the_report_shows_each_plot_that_is_written() {
    let files = written(&full());
    let report = text_of(&files, REPORT);
    let plots = files.iter().filter(|(name, _)| name.ends_with(".svg"));
    for (name, _) in plots {
        assert!(report.contains(&format!("({name})")), "{name}");
    }
}

#[test]
fn plots_of_an_older_report_go_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("mine.svg"), "").unwrap();
    write(&full(), directory.path()).unwrap();
    assert!(path("engine-flows.svg").exists());
    let mut without = full();
    without.engines.clear();
    write(&without, directory.path()).unwrap();
    assert!(!path("engine-flows.svg").exists());
    assert!(path("mine.svg").exists() && path("tcp.svg").exists());
}

#[test]
fn what_cannot_have_been_measured_is_refused() {
    type Spoil = fn(&mut Results);
    let cases: [(Spoil, &str); 10] = [
        (
            |it| it.contenders[0].memory_mib = Some(f64::NAN),
            "shunt, memory: NaN",
        ),
        (
            |it| it.contenders[1].tcp_bps = Some(Measured::once(f64::INFINITY)),
            "bridge, TCP: inf",
        ),
        (|it| it.contenders[0].loss[0].loss = 1.5, "more than all"),
        (
            |it| it.policy[0].ratio.median = f64::NAN,
            "what policy costs, 60 bytes",
        ),
        (
            |it| it.contenders[0].loss[0].offered_fps = -1.0,
            "-1 cannot",
        ),
        (|it| it.engines[0].by_flows[0].fps.min = 1e9, "not in order"),
        (
            |it| it.engines[0].by_flows[0].fps.turns = 0,
            "without a turn",
        ),
        (
            |it| it.contenders[1].name = "shunt".to_owned(),
            "`shunt` occurs twice",
        ),
        (
            |it| it.contenders[1].kind = Kind::Ours,
            "more than one contender is ours",
        ),
        (
            |it| it.contenders[0].latency[0].histogram.swap(0, 1),
            "do not rise",
        ),
    ];
    for (spoil, message) in cases {
        let mut results = full();
        spoil(&mut results);
        let directory = tempfile::tempdir().unwrap();
        let error = format!("{:#}", write(&results, directory.path()).unwrap_err());
        assert!(error.contains(message), "{error}");
        let files = fs::read_dir(directory.path()).unwrap();
        let names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
        assert_eq!(names, [REFUSED], "{message}");
    }
}

#[test]
fn a_peer_that_fails_at_one_number_keeps_the_others() {
    let mut results = full();
    results.missing.clear();
    let reason = "ovs-dpdk: 10 000 flows: its caches do not take them";
    results.setting.disturbance = vec![reason.to_owned()];
    results.engines[1]
        .by_flows
        .retain(|point| point.count != 10_000);
    let sections = sections::sections(&results);
    let report = markdown::report(&results, &sections);
    for line in [
        "| 10 000 | 40 ns (36–44) | not measured |",
        &format!("| disturbance | {reason} |"),
    ] {
        assert!(report.contains(line), "{line}: {report}");
    }
    assert!(report.contains("| 1 048 576 | 60 ns (55–67) | 300 ns"));
    let terminal = terminal::tables(&results);
    for text in [report, terminal] {
        assert!(text.contains("not measured") && !text.contains("was left out"));
    }
}

#[test]
fn what_is_not_possible_is_neither_0_nor_just_absent() {
    let mut results = full();
    let mut jumbo = results.contenders[1].throughput[0];
    jumbo.frame_size = 9014;
    results.contenders[1].throughput.push(jumbo);
    results.contenders[2].impossible.push(Impossible {
        frame_size: 9014,
        reason: "no multi-buffer".to_owned(),
    });
    let table = tables::throughput(&results).expect("numbers");
    let row = table.rows.iter().find(|row| row[0] == "9018 B").unwrap();
    let of = ["not measured", "0.47 Mpps (0.43–0.52)", "not possible"];
    assert_eq!(row[2..5], of);
    let note = "ovs-afxdp, 9018 B: not possible: no multi-buffer.";
    assert_eq!(table.notes, [note]);
    assert!(
        written(&results)
            .iter()
            .any(|(_, text)| text.contains(note))
    );
    results.contenders[1].impossible = results.contenders[2].impossible.clone();
    assert!(check::check(&results).is_err(), "measured and impossible");
}
