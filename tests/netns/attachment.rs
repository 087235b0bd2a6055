//! Devices that cannot be attached as usual, and what the port's state says about them.

use std::{fs::File, process::Command, thread, time::Duration};

use shunt_tests::{
    config::Config,
    daemon::{Daemon, PATIENCE},
    netns::Namespace,
    sys,
    traffic::{BROADCAST, Frame, Tap, check_crossing, iperf3},
    world::{GUEST_DEVICE, World, new_mac, offloads, stack_count},
};

use super::program::{attach_by_iproute2, seen};

/// Access ports of one private network.
fn config(ports: &[&str]) -> Config {
    let config = Config::workers(1).private("lab");
    ports
        .iter()
        .fold(config, |config, name| config.access(name, "lab"))
}

fn reason(port: &serde_json::Value) -> &str {
    port["reason"]
        .as_str()
        .unwrap_or_else(|| panic!("a reason is missing: {port}"))
}

#[test]
fn a_foreign_program_is_left_alone_and_other_ports_work() {
    let world = World::new("foreign");
    let (a, b, c) = (world.guest("a"), world.guest("b"), world.guest("c"));
    attach_by_iproute2(&world.switch, "b", "xdpdrv", "their_firewall");
    let theirs = seen(&world.switch, "b").expect("their program");
    let before = offloads(&b.namespace, GUEST_DEVICE);

    let mut daemon = Daemon::spawn(&world.switch, &config(&["a", "b", "c"]));
    let port = daemon.wait_state("b", "error");
    assert!(reason(&port).contains("`their_firewall`"), "{port}");
    assert!(
        reason(&port).contains("ip link set dev b xdpdrv off"),
        "{port}"
    );
    daemon.wait_state("a", "up");
    daemon.wait_state("c", "up");
    let wires = [a.wire(), b.wire(), c.wire()];
    let wires: Vec<_> = wires.iter().collect();
    let frame = Frame::new(BROADCAST, a.mac).bytes();
    check_crossing(&wires, 0, &frame, &[(2, frame.clone())]);
    assert_eq!(seen(&world.switch, "b"), Some(theirs));
    // Not even for a moment when it is tried again.
    for _ in 0..20 {
        assert_eq!(offloads(&b.namespace, GUEST_DEVICE), before);
        thread::sleep(Duration::from_millis(50));
    }

    // The remedy helps, and nobody has to tell the daemon.
    let remedy = ["link", "set", "dev", "b", "xdpdrv", "off"];
    world.switch.ip(&remedy).expect("remedy");
    daemon.wait_up();
    check_crossing(&wires, 0, &frame, &[(1, frame.clone()), (2, frame.clone())]);
    daemon.stop();
    assert_eq!(seen(&world.switch, "b"), None);
}

#[test]
fn a_foreign_program_outlives_the_daemon() {
    let world = World::new("foreign-stays");
    let _guests = [world.guest("a"), world.guest("b")];
    attach_by_iproute2(&world.switch, "b", "xdpgeneric", "their_firewall");
    let theirs = seen(&world.switch, "b").expect("their program");
    let mut daemon = Daemon::spawn(&world.switch, &config(&["a", "b"]));
    daemon.wait_state("b", "error");
    daemon.wait_state("a", "up");
    daemon.stop();
    assert_eq!(seen(&world.switch, "b"), Some(theirs));
}

#[test]
fn a_far_end_out_of_reach_gets_a_command_to_run_there() {
    let world = World::new("hidden");
    let _reachable = world.guest("a");
    let hidden = Namespace::new("b").expect("namespace");
    world
        .switch
        .veth("b", &hidden, GUEST_DEVICE, 1)
        .expect("veth");
    // Without a name and a process, the namespace lives on in this descriptor only.
    let handle = File::open(hidden.path()).expect("namespace");
    drop(hidden);
    let mut daemon = world.start(&config(&["a", "b"]));
    assert_eq!(daemon.port("a")["reason"], serde_json::Value::Null);
    let port = daemon.port("b");
    let (_, command) = reason(&port).split_once("run there: ").expect("a command");
    let words: Vec<_> = command.split_whitespace().collect();
    assert_eq!(words[..3], ["ethtool", "-K", GUEST_DEVICE], "{port}");

    // It can be run there as it is, and does what it should.
    let run = |program: &str, arguments: &[&str]| {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                use std::os::fd::AsFd as _;
                sys::enter_network_namespace(handle.as_fd()).expect("enter");
                Command::new(program).args(arguments).output().expect("run")
            });
            inside.join().expect("a command in the hidden namespace")
        })
    };
    let found = run("ethtool", &["-k", GUEST_DEVICE]);
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(
        found.contains("tx-checksumming: on"),
        "nobody could set it: {found}"
    );
    let output = run(words[0], &words[1..]);
    assert!(output.status.success(), "{command}: {output:?}");
    let changed = run("ethtool", &["-k", GUEST_DEVICE]);
    let changed = String::from_utf8_lossy(&changed.stdout);
    assert!(
        changed.contains("tx-checksumming: off"),
        "{command}: {changed}"
    );
    assert!(
        changed.contains("tx-vlan-offload: off"),
        "{command}: {changed}"
    );
    daemon.stop();
}

#[test]
fn generic_mode_where_native_is_impossible() {
    let world = World::new("generic");
    let (a, b) = (Namespace::new("a").expect("namespace"), world.guest("b"));
    // Native mode needs as many RX queues here as the far end has TX queues.
    let queues = |rx, tx| ["numrxqueues", rx, "numtxqueues", tx];
    let mut arguments = vec!["link", "add", "name", "a"];
    arguments.extend(queues("1", "1"));
    arguments.extend(["up", "type", "veth", "peer", "name", GUEST_DEVICE]);
    arguments.extend(queues("2", "2"));
    arguments.extend(["netns", a.name()]);
    world.switch.ip(&arguments).expect("veth");
    a.ip(&["addr", "add", "10.84.0.1/24", "dev", GUEST_DEVICE])
        .expect("address");
    a.ip(&["link", "set", "dev", GUEST_DEVICE, "up"])
        .expect("up");
    b.add_address("10.84.0.2/24");
    let found = offloads(&world.switch, "a");

    let mut daemon = world.start(&config(&["a", "b"]));
    assert_eq!(daemon.port("a")["mode"], "generic");
    assert_eq!(daemon.port("b")["mode"], "native");
    let detail = daemon.json(&["describe", "port", "a", "-o", "json"]);
    let why = detail["mode_reason"].as_str().expect("a reason");
    assert!(why.contains("fewer RX queues"), "{why}");
    for arguments in [&["-t", "1"][..], &["-t", "1", "--reverse"]] {
        let report = iperf3(&b.namespace, "10.84.0.2", &a, arguments);
        let bps = report["end"]["sum_received"]["bits_per_second"]
            .as_f64()
            .expect("a result");
        println!("TCP in generic mode {arguments:?}: {:.0} Mb/s", bps / 1e6);
        assert!(
            bps > 50e6,
            "{arguments:?}: {bps} bit/s, {:?}",
            daemon.drops("a")
        );
    }
    for namespace in [&a, &b.namespace] {
        assert_eq!(stack_count(namespace, "InCsumErrors"), 0);
    }
    daemon.stop();
    assert_eq!(offloads(&world.switch, "a"), found);
    assert_eq!(seen(&world.switch, "a"), None);
}

#[test]
fn a_tap_works_as_a_virtual_machine_uses_it() {
    let world = World::new("tap");
    let guest = world.guest("a");
    let mut tap = Tap::new(&world.switch, "vm0");
    let mut daemon = world.start(&config(&["a", "vm0"]));
    assert_eq!(daemon.port("vm0")["mode"], "native");
    let (wire, machine) = (guest.wire(), new_mac());
    for round in 0..2 {
        for size in [60, 1000, 1514] {
            let frame = Frame::new(BROADCAST, machine).untagged_size(size).bytes();
            tap.send(&frame);
            assert_eq!(
                wire.receive(PATIENCE),
                Some(frame),
                "{size} bytes from the tap"
            );
            let frame = Frame::new(machine, guest.mac).untagged_size(size).bytes();
            wire.send(&frame);
            assert_eq!(
                tap.receive(PATIENCE),
                Some(frame),
                "{size} bytes to the tap"
            );
        }
        if round == 0 {
            // The machine ends, and its device with it; then it is started again.
            drop(tap);
            daemon.wait_state("vm0", "missing");
            tap = Tap::new(&world.switch, "vm0");
            daemon.wait_state("vm0", "up");
        }
    }
    daemon.stop();
    assert_eq!(seen(&world.switch, "vm0"), None);
}
