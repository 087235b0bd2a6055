//! A changed configuration is taken as a whole or not at all, and without losing a frame on ports
//! that it does not change.

use std::time::Duration;

use serde_json::json;
use shunt_tests::{
    attempts::attempts,
    config::Config,
    daemon::{Daemon, wait_for},
    flow::Flow,
    process,
    sys::SIGHUP,
    traffic::{BROADCAST, Frame, check_crossing},
    world::{Guest, World},
};

/// Frames a second of each flow.
const RATE: u64 = 2000;

fn base() -> Config {
    Config::workers(2)
        .network("web", 20)
        .private("lab")
        .access("a", "web")
        .access("b", "web")
}

/// The configurations between which is changed, all with the same two ports that stay.
fn others(base: &Config) -> [Config; 5] {
    [
        base.clone().access("c", "web"),
        base.clone().access("c", "lab"),
        base.clone().network("db", 30).access("c", "db"),
        base.clone()
            .port("c", "role = \"uplink\"\ntrunk = [\"web\"]"),
        base.clone(),
    ]
}

#[test]
fn no_frame_is_lost_on_ports_that_stay() {
    attempts(try_no_frame_is_lost_on_ports_that_stay);
}

fn try_no_frame_is_lost_on_ports_that_stay() {
    let world = World::new("reload");
    let (a, b) = (world.guest("a"), world.guest("b"));
    let _c = world.guest("c");
    let base = base();
    let mut daemon = world.start(&base);
    process::put_before_other_sessions(daemon.pid());
    let flows = [Flow::start(&a, &b, RATE), Flow::start(&b, &a, RATE)];
    for round in 0..6 {
        for config in others(&base) {
            if round % 2 == 0 {
                daemon.reload(&config);
            } else {
                hang_up(&daemon, &config);
            }
            if round % 3 == 0 {
                daemon.wait_up();
            }
        }
    }
    for flow in flows {
        println!("{:?}", flow.stop_whole());
    }
    daemon.stop();
}

/// Reloads by SIGHUP, and waits until that is done.
#[track_caller]
fn hang_up(daemon: &Daemon, config: &str) {
    const DONE: &str = "the configuration is in force";
    let before = daemon.log().matches(DONE).count();
    daemon.write_config(config);
    daemon.signal(SIGHUP);
    wait_for("the reload", || {
        (daemon.log().matches(DONE).count() > before).then_some(())
    });
}

#[test]
fn what_was_changed_is_told_and_in_force() {
    let world = World::new("changed");
    let guests = ["a", "b", "c"].map(|name| world.guest(name));
    let wires = guests.each_ref().map(Guest::wire);
    let wires = wires.each_ref();
    let base = base();
    let mut daemon = world.start(&base);
    let frame = Frame::new(BROADCAST, guests[0].mac).bytes();
    check_crossing(&wires, 0, &frame, &[(1, frame.clone())]);

    let changed = daemon.reload(&others(&base)[0]);
    assert_eq!(changed["ports_added"], json!(["c"]), "{changed}");
    daemon.wait_up();
    check_crossing(&wires, 0, &frame, &[(1, frame.clone()), (2, frame.clone())]);
    let changed = daemon.reload(&others(&base)[1]);
    assert_eq!(changed["ports_changed"], json!(["c"]), "{changed}");
    check_crossing(&wires, 0, &frame, &[(1, frame.clone())]);
    let changed = daemon.reload(&others(&base)[3]);
    assert_eq!(changed["ports_reattached"], json!(["c"]), "{changed}");
    daemon.wait_up();
    let tagged = Frame::new(BROADCAST, guests[0].mac).vid(20).bytes();
    check_crossing(&wires, 0, &frame, &[(1, frame.clone()), (2, tagged)]);
    let changed = daemon.reload(&base);
    assert_eq!(changed["ports_removed"], json!(["c"]), "{changed}");
    check_crossing(&wires, 0, &frame, &[(1, frame.clone())]);
    let changed = daemon.reload(&base);
    let lists = changed.as_object().expect("lists").values();
    assert!(
        lists.into_iter().all(|list| *list == json!([])),
        "{changed}"
    );
    daemon.stop();
}

#[test]
fn an_invalid_file_changes_nothing() {
    attempts(try_an_invalid_file_changes_nothing);
}

fn try_an_invalid_file_changes_nothing() {
    let world = World::new("invalid");
    let (a, b) = (world.guest("a"), world.guest("b"));
    let base = base();
    let daemon = world.start(&base);
    process::put_before_other_sessions(daemon.pid());
    let flows = [Flow::start(&a, &b, RATE), Flow::start(&b, &a, RATE)];
    let before = (daemon.get("networks"), daemon.port("a"));

    // One of the changes would be right.
    let wrong = base
        .clone()
        .network("db", 30)
        .network("dd", 4095)
        .access("c", "dbb");
    daemon.write_config(&wrong);
    let output = daemon.try_shunt(&["reload"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{error}");
    let checks = |text: &str| {
        let file = daemon.config_path().display().to_string();
        text.contains("VLAN 4095") && text.contains("`dbb`") && text.contains(&format!("{file}:"))
    };
    assert!(checks(&error), "{error}");
    let told = daemon.log();
    daemon.signal(SIGHUP);
    wait_for("the report in the log", || {
        checks(&daemon.log()[told.len()..]).then_some(())
    });

    // What needs another engine is refused as a whole.
    let workers = Config::workers(1).network("web", 20).access("a", "web");
    daemon.write_config(&workers);
    let output = daemon.try_shunt(&["reload"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("`workers`") && error.contains("help: restart"),
        "{error}"
    );

    std::thread::sleep(Duration::from_millis(100));
    let names = |networks: &[serde_json::Value]| {
        let names = networks.iter().map(|network| network["name"].to_string());
        names.collect::<Vec<_>>()
    };
    assert_eq!(names(&daemon.get("networks")), names(&before.0));
    assert_eq!(daemon.port("a")["state"], before.1["state"]);
    for flow in flows {
        println!("{:?}", flow.stop_whole());
    }
    // The file may be corrected, and the daemon goes on.
    daemon.reload(&base);
}
