//! The daemon ends, dies and starts again: nothing is left to be cleaned up by hand.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use shunt_tests::{
    config::Config,
    daemon::Daemon,
    netns::Namespace,
    traffic::{BROADCAST, Frame, check_crossing},
    world::{Guest, World, check_interfaces, interfaces},
};

/// A guest, one with two queues, and an uplink, as the switch's devices.
struct Site {
    world: World,
    guests: Vec<Guest>,
    found: Vec<BTreeMap<String, String>>,
}

impl Site {
    fn new(label: &str) -> Self {
        let world = World::new(label);
        let guests = vec![
            world.guest("a"),
            world.guest_with_queues("b", 2),
            world.guest("up"),
        ];
        let mut site = Self {
            world,
            guests,
            found: Vec::new(),
        };
        site.found = site.interfaces();
        site
    }

    fn namespaces(&self) -> impl Iterator<Item = &Namespace> {
        let guests = self.guests.iter().map(|guest| &guest.namespace);
        std::iter::once(&self.world.switch).chain(guests)
    }

    /// All devices, of the switch and of the guests.
    fn interfaces(&self) -> Vec<BTreeMap<String, String>> {
        self.namespaces().map(interfaces).collect()
    }

    #[track_caller]
    fn check_interfaces(&self, expected: &[BTreeMap<String, String>]) {
        for (namespace, expected) in self.namespaces().zip(expected) {
            check_interfaces(namespace, expected);
        }
    }

    /// Checks that all is as it was found.
    #[track_caller]
    fn check_restored(&self) {
        self.check_interfaces(&self.found);
    }

    /// Checks that something was changed.
    #[track_caller]
    fn check_changed(&self) {
        assert!(self.interfaces() != self.found, "all is as it was found");
    }

    /// Sends a frame each way between the guests, and to the uplink.
    #[track_caller]
    fn check_forwards(&self) {
        let wires: Vec<_> = self.guests.iter().map(Guest::wire).collect();
        let wires: Vec<_> = wires.iter().collect();
        let [a, b, _] = &self.guests[..] else {
            unreachable!()
        };
        let tagged = |frame: &Frame| frame.clone().vid(20).bytes();
        let frame = Frame::new(BROADCAST, a.mac);
        let flooded = [(1, frame.bytes()), (2, tagged(&frame))];
        check_crossing(&wires, 0, &frame.bytes(), &flooded);
        let frame = Frame::new(a.mac, b.mac).bytes();
        check_crossing(&wires, 1, &frame, &[(0, frame.clone())]);
    }
}

fn config() -> Config {
    Config::workers(2)
        .network("web", 20)
        .access("a", "web")
        .access("b", "web")
        .uplink("up")
        .port("shunt0", "role = \"host\"\nnetwork = \"web\"")
}

#[test]
fn sigterm_leaves_every_interface_as_it_was_found() {
    let site = Site::new("term");
    let mut daemon = site.world.start(&config());
    site.check_changed();
    site.check_forwards();
    let log = daemon.stop();
    site.check_restored();
    assert!(log.contains("frames came back"), "{log}");
    assert!(!daemon.socket().exists());
}

#[test]
fn after_kill_9_a_start_at_once_works_and_sigterm_restores_all() {
    let site = Site::new("kill");
    let mut daemon = site.world.start(&config());
    site.check_forwards();
    for _ in 0..3 {
        daemon.kill();
        site.check_changed();
        let begin = Instant::now();
        daemon.spawn_again();
        daemon.wait_up();
        println!("up {} ms after kill -9", begin.elapsed().as_millis());
        site.check_forwards();
    }
    let log = daemon.stop();
    site.check_restored();
    assert_eq!(log.matches("frames came back").count(), 1, "{log}");
}

#[test]
fn after_kill_9_ports_that_are_configured_no_more_are_restored_at_the_start() {
    let site = Site::new("gone");
    let mut daemon = site.world.start(&config());
    daemon.kill();
    // `b` and the host's port are gone, and so is what was done to their devices.
    daemon.write_config(&Config::workers(1).network("web", 20).access("a", "web"));
    daemon.spawn_again();
    daemon.wait_up();
    let (now, found) = (interfaces(&site.world.switch), &site.found[0]);
    assert!(now["b"] == found["b"] && now["up"] == found["up"]);
    assert!(!now.contains_key("shunt0"), "{:?}", now.keys());
    daemon.stop();
    site.check_restored();
}

#[test]
fn killed_while_it_attaches_or_ends() {
    let site = Site::new("early");
    let mut daemon = Daemon::spawn(&site.world.switch, &config());
    // Somewhere in the middle of it; each time at another point.
    for delay_ms in [3, 6, 10, 15, 20, 30, 40, 60, 80, 120] {
        std::thread::sleep(Duration::from_millis(delay_ms));
        daemon.try_kill();
        daemon.spawn_again();
    }
    daemon.wait_up();
    site.check_forwards();
    for delay_ms in [1, 5, 10, 20, 40] {
        daemon.signal(shunt_tests::sys::SIGTERM);
        std::thread::sleep(Duration::from_millis(delay_ms));
        daemon.try_kill();
        daemon.spawn_again();
        daemon.wait_up();
    }
    site.check_forwards();
    daemon.stop();
    site.check_restored();
}

#[test]
fn a_second_daemon_on_the_same_socket_is_refused() {
    let site = Site::new("socket");
    let mut daemon = site.world.start(&config());
    let socket = daemon.socket();
    let empty = Config::workers(1).private("lab");
    let mut second = Daemon::spawn_at(&site.world.switch, &empty, Some(&socket));
    let status = second.wait_end();
    let log = second.log();
    assert_eq!(status.code(), Some(1), "{log}");
    let other = format!("process {}", daemon.pid());
    assert!(
        log.contains(&other) && log.contains(&socket.display().to_string()),
        "{log}"
    );
    assert!(log.contains("help: "), "{log}");
    // The first has not noticed.
    assert!(socket.exists());
    site.check_forwards();
    daemon.stop();
    site.check_restored();
}

#[test]
fn a_second_daemon_does_not_get_the_first_ones_device() {
    let site = Site::new("device");
    let both = Config::workers(1).network("web", 20).access("a", "web");
    let mut first = site.world.start(&config());
    let changed = site.interfaces();

    let mut second = Daemon::spawn(&site.world.switch, &both);
    let port = second.wait_state("a", "error");
    let reason = port["reason"].as_str().unwrap_or_default();
    let other = format!("a is in use by another shunt (process {})", first.pid());
    assert!(reason.contains(&other), "{port}");
    assert!(second.log().contains(&other));
    site.check_interfaces(&changed);
    site.check_forwards();
    second.stop();
    site.check_interfaces(&changed);
    site.check_forwards();

    // When the first ends, the device is free for the second.
    second.spawn_again();
    second.wait_state("a", "error");
    first.stop();
    second.wait_state("a", "up");
    second.stop();
    site.check_restored();
}
