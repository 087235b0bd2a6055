//! The XDP program: its verdicts by test run, its attachment on devices, live frames through it.

use std::{
    io::{BufRead as _, BufReader},
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use aya::{TestRunOptions, programs::TestRun as _};
use serde_json::Value;
use shunt_tests::{
    netns::{Namespace, run},
    sys,
};
use switch_core::port::xdp::program::{HostAddress, Mode, Outcome, Program, ProgramError, Role};

const XDP_DROP: u32 = 1;
const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

const HOST: [u8; 6] = [0x02, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [0x02, 0, 0, 0, 0, 2];
const BROADCAST: [u8; 6] = [0xff; 6];
const GROUP: [u8; 6] = [0x01, 0, 0x5e, 0, 0, 1];

/// A frame of 60 bytes to `destination` with these bytes behind the addresses.
fn frame(destination: [u8; 6], rest: &[u8]) -> Vec<u8> {
    let mut frame = destination.to_vec();
    frame.extend(OTHER);
    frame.extend(rest);
    frame.resize(60, 0);
    frame
}

/// Runs the program on one frame, and checks its action, that exactly this outcome was counted
/// once, and that the frame came out as it went in.
fn check(program: &Program, frame: &[u8], action: u32, outcome: Outcome) {
    let before = program.counts().expect("counts");
    let mut out = vec![0; frame.len()];
    let options = TestRunOptions {
        data_in: Some(frame),
        data_out: Some(&mut out),
        ..TestRunOptions::default()
    };
    let result = program
        .kernel_program()
        .test_run(options)
        .expect("test run");
    assert_eq!(result.return_value, action, "{frame:02x?}");
    assert_eq!(out, frame);
    for ((counted, before), (same, after)) in
        before.into_iter().zip(program.counts().expect("counts"))
    {
        assert_eq!(counted, same);
        assert_eq!(
            after - before,
            u64::from(counted == outcome),
            "{counted:?}, {frame:02x?}"
        );
    }
}

#[test]
fn a_guests_frames_go_to_the_socket_or_nowhere() {
    let mut program = Program::load(Role::Guest).expect("load, which needs root");
    let frames = [HOST, OTHER, BROADCAST, GROUP].map(|mac| frame(mac, &[8, 0]));
    // On a guest's port the host has no addresses.
    program
        .set_host_addresses(&[HostAddress { vid: 0, mac: HOST }])
        .expect("not looked at");
    for frame in &frames {
        check(&program, frame, XDP_DROP, Outcome::NoSocketDropped);
    }
    let socket = sys::xdp_socket().expect("socket");
    program.set_socket(0, socket.as_fd()).expect("set");
    for frame in &frames {
        check(&program, frame, XDP_REDIRECT, Outcome::ToEngine);
    }
    program.clear_socket(0).expect("clear");
    program.clear_socket(0).expect("clear again");
    check(&program, &frames[0], XDP_DROP, Outcome::NoSocketDropped);

    // A socket of another queue is not this one's; a closed one leaves the map by itself.
    program.set_socket(63, socket.as_fd()).expect("set");
    check(&program, &frames[0], XDP_DROP, Outcome::NoSocketDropped);
    program.set_socket(0, socket.as_fd()).expect("set");
    drop(socket);
    check(&program, &frames[0], XDP_DROP, Outcome::NoSocketDropped);
    let error = program
        .set_socket(64, std::io::stdin().as_fd())
        .expect_err("past the last");
    assert!(
        matches!(error, ProgramError::QueueTooLarge { queue: 64 }),
        "{error}"
    );
    let error = program
        .set_socket(1, std::io::stdin().as_fd())
        .expect_err("not a socket");
    assert!(
        error
            .to_string()
            .starts_with("cannot steer a queue to its socket: "),
        "{error}"
    );
}

#[test]
fn an_uplinks_frames_reach_the_host_as_far_as_it_listens() {
    let mut program = Program::load(Role::Uplink).expect("load, which needs root");
    let addresses = [(0, HOST), (0, BROADCAST), (20, BROADCAST), (20, GROUP)];
    let addresses = addresses.map(|(vid, mac)| HostAddress { vid, mac });
    let socket = sys::xdp_socket().expect("socket");
    let untagged: &[u8] = &[8, 0];
    let tagged_20: &[u8] = &[0x81, 0, 0xb0, 20, 8, 0];
    let service_20: &[u8] = &[0x88, 0xa8, 0, 20, 8, 0];
    let tagged_21: &[u8] = &[0x81, 0, 0, 21, 8, 0];
    let priority: &[u8] = &[0x81, 0, 0xe0, 0, 8, 0];
    let double: &[u8] = &[0x88, 0xa8, 0, 21, 0x81, 0, 0, 20, 8, 0];

    for (sockets, action, outcome) in [
        (false, XDP_PASS, Outcome::NoSocketPassed),
        (true, XDP_REDIRECT, Outcome::ToEngine),
    ] {
        if sockets {
            program.set_socket(0, socket.as_fd()).expect("set");
        }
        program.set_host_addresses(&[]).expect("no addresses");
        check(&program, &frame(HOST, untagged), action, outcome);
        check(&program, &frame(BROADCAST, untagged), action, outcome);
        program.set_host_addresses(&addresses).expect("addresses");
        for rest in [untagged, tagged_20, service_20, tagged_21, priority, double] {
            check(&program, &frame(HOST, rest), XDP_PASS, Outcome::ToHost);
            check(&program, &frame(OTHER, rest), action, outcome);
        }
        for rest in [untagged, tagged_20, service_20, priority] {
            check(&program, &frame(BROADCAST, rest), XDP_PASS, Outcome::Copied);
        }
        for rest in [tagged_20, service_20] {
            check(&program, &frame(GROUP, rest), XDP_PASS, Outcome::Copied);
        }
        for rest in [tagged_21, double] {
            check(&program, &frame(BROADCAST, rest), action, outcome);
        }
        check(&program, &frame(GROUP, untagged), action, outcome);
        // The shortest that the kernel tests with: no more than the header.
        check(
            &program,
            &frame(BROADCAST, tagged_20)[..14],
            action,
            outcome,
        );
    }
}

#[test]
fn the_hosts_addresses_are_replaced_as_a_whole() {
    let mut program = Program::load(Role::Uplink).expect("load, which needs root");
    let address = |mac| HostAddress { vid: 0, mac };
    program
        .set_host_addresses(&[address(HOST), address(HOST)])
        .expect("twice the same");
    check(&program, &frame(HOST, &[8, 0]), XDP_PASS, Outcome::ToHost);
    program
        .set_host_addresses(&[address(OTHER)])
        .expect("another");
    check(
        &program,
        &frame(HOST, &[8, 0]),
        XDP_PASS,
        Outcome::NoSocketPassed,
    );
    check(&program, &frame(OTHER, &[8, 0]), XDP_PASS, Outcome::ToHost);

    let many = |first: u32, count: u32| -> Vec<HostAddress> {
        let number = |number: u32| {
            let [_, b, c, d] = number.to_be_bytes();
            address([0x02, 0, 1, b, c, d])
        };
        (first..first + count).map(number).collect()
    };
    program
        .set_host_addresses(&many(0, 32_768))
        .expect("as many as fit");
    program
        .set_host_addresses(&many(32_768, 32_768))
        .expect("as many others");
    check(
        &program,
        &frame([0x02, 0, 1, 0, 0x80, 0], &[8, 0]),
        XDP_PASS,
        Outcome::ToHost,
    );
    check(
        &program,
        &frame([0x02, 0, 1, 0, 0, 0], &[8, 0]),
        XDP_PASS,
        Outcome::NoSocketPassed,
    );
    let error = program
        .set_host_addresses(&many(0, 32_769))
        .expect_err("one too many");
    assert!(
        matches!(error, ProgramError::TooManyAddresses { count: 32_769 }),
        "{error}"
    );
}

/// What `ip` sees on a device: mode (1 native, 2 generic), id and name of the program.
pub(super) fn seen(namespace: &Namespace, device: &str) -> Option<(u64, u32, String)> {
    let shown = namespace
        .ip(&["-j", "-d", "link", "show", "dev", device])
        .expect("ip link");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let xdp = shown[0].get("xdp")?;
    let id = xdp["prog"]["id"].as_u64().expect("id") as u32;
    let name = xdp["prog"]["name"].as_str().unwrap_or_default().to_owned();
    Some((xdp["mode"].as_u64().expect("mode"), id, name))
}

/// Two namespaces with a veth pair between them: `veA` is the switch's end, `veB` the guest's.
fn pair(queues: usize) -> (Namespace, Namespace) {
    let near = Namespace::new("near").expect("namespace");
    let far = Namespace::new("far").expect("namespace");
    near.veth("veA", &far, "veB", queues).expect("veth");
    (near, far)
}

/// Attaches in the namespace, as a daemon that runs there would.
fn attach(
    namespace: &Namespace,
    program: &mut Program,
    device: &str,
) -> Result<Mode, ProgramError> {
    let ifindex = namespace.ifindex(device).expect("ifindex");
    namespace.enter(|| program.attach(ifindex)).expect("enter")
}

#[test]
fn native_mode_on_veth_and_nothing_left_after() {
    let (near, _far) = pair(2);
    near.ip(&["link", "set", "veA", "mtu", "9000"])
        .expect("mtu");
    let mut program = Program::load(Role::Guest).expect("load");
    assert!(program.has_frags(), "kernel 5.18 and later");
    assert_eq!(program.mode(), None);

    assert_eq!(
        attach(&near, &mut program, "veA").expect("attach"),
        Mode::Native
    );
    assert_eq!(
        (program.mode(), program.fallback_reason()),
        (Some(Mode::Native), None)
    );
    let (mode, id, name) = seen(&near, "veA").expect("a program");
    assert_eq!((mode, name.as_str()), (1, "shunt_guest_sg"));
    assert_eq!(id, program.kernel_program().info().expect("info").id());

    // Again: from the device to the same device.
    assert_eq!(
        attach(&near, &mut program, "veA").expect("attach again"),
        Mode::Native
    );
    program.detach();
    program.detach();
    assert_eq!((seen(&near, "veA"), program.mode()), (None, None));

    attach(&near, &mut program, "veA").expect("attach");
    drop(program);
    assert_eq!(seen(&near, "veA"), None);
}

#[test]
fn generic_mode_where_native_is_refused_and_the_reason() {
    let near = Namespace::new("near").expect("namespace");
    let far = Namespace::new("far").expect("namespace");
    let queues = |rx, tx| ["numrxqueues", rx, "numtxqueues", tx];
    let mut arguments = vec!["link", "add", "veA"];
    arguments.extend(queues("1", "1"));
    arguments.extend(["up", "type", "veth", "peer", "name", "veB"]);
    arguments.extend(queues("2", "2"));
    arguments.extend(["netns", far.name()]);
    near.ip(&arguments).expect("veth");
    near.ip(&["link", "add", "br0", "up", "type", "bridge"])
        .expect("bridge");

    let mut program = Program::load(Role::Uplink).expect("load");
    for (device, reason) in [
        ("veA", "veA has fewer RX queues than its peer has TX queues"),
        ("br0", "the driver has no native XDP"),
    ] {
        assert_eq!(
            attach(&near, &mut program, device).expect("attach"),
            Mode::Generic
        );
        assert_eq!(program.mode(), Some(Mode::Generic));
        let found = program.fallback_reason().expect("reason");
        assert!(found.starts_with(reason), "{found}");
        let (mode, _, name) = seen(&near, device).expect("a program");
        assert_eq!((mode, name.as_str()), (2, "shunt_uplink_sg"));
    }
    assert_eq!(seen(&near, "veA"), None, "a program is on one device only");
    program.detach();
    assert_eq!(seen(&near, "br0"), None);

    let error = near
        .enter(|| program.attach(999_999))
        .expect("enter")
        .expect_err("no device");
    assert!(
        matches!(error, ProgramError::NoDevice { ifindex: 999_999 }),
        "{error}"
    );
}

/// Attaches a program that passes all frames and has this name by `ip link`, without a BPF link.
pub(super) fn attach_by_iproute2(namespace: &Namespace, device: &str, mode: &str, name: &str) {
    let directory = tempfile::tempdir().expect("directory");
    let (source, object) = (directory.path().join("p.c"), directory.path().join("p.o"));
    let text = format!(
        "__attribute__((section(\"xdp\"), used)) int {name}(void *frame) {{ return 2; }}\n\
         char licence[] __attribute__((section(\"license\"))) = \"GPL\";\n"
    );
    std::fs::write(&source, text).expect("write");
    let [source, object] = [&source, &object].map(|path| path.to_str().expect("UTF-8"));
    run(
        "clang",
        &["-O2", "-target", "bpf", "-c", source, "-o", object],
    )
    .expect("clang");
    let arguments = [
        "link", "set", "dev", device, mode, "obj", object, "sec", "xdp",
    ];
    namespace.ip(&arguments).expect("attach by iproute2");
}

#[test]
fn a_foreign_program_is_named_and_left_alone() {
    let (near, _far) = pair(1);
    let mut program = Program::load(Role::Guest).expect("load");
    for (option, number, mode) in [("xdpdrv", 1, "native"), ("xdpgeneric", 2, "generic")] {
        attach_by_iproute2(&near, "veA", option, "their_firewall");
        let (_, id, _) = seen(&near, "veA").expect("theirs");
        let error = attach(&near, &mut program, "veA").expect_err("foreign");
        let expected = format!(
            "veA already has an XDP program of somebody else: `their_firewall`, id {id}, {mode}; \
             it is left alone. If nobody needs it: ip link set dev veA {option} off"
        );
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert_eq!(
            seen(&near, "veA"),
            Some((number, id, "their_firewall".to_owned()))
        );
        // The remedy that the message names works.
        near.ip(&["link", "set", "dev", "veA", option, "off"])
            .expect("remedy");
        assert_eq!(
            attach(&near, &mut program, "veA").expect("attach"),
            Mode::Native
        );
        program.detach();
    }
}

#[test]
fn a_stale_program_of_ours_is_replaced() {
    let (near, _far) = pair(1);
    let mut program = Program::load(Role::Guest).expect("load");
    for mode in ["xdpdrv", "xdpgeneric"] {
        attach_by_iproute2(&near, "veA", mode, "shunt_old");
        let (_, stale, _) = seen(&near, "veA").expect("stale");
        assert_eq!(
            attach(&near, &mut program, "veA").expect("attach"),
            Mode::Native
        );
        let (mode, id, name) = seen(&near, "veA").expect("ours");
        assert_eq!((mode, name.as_str()), (1, "shunt_guest_sg"));
        assert_ne!(id, stale);
        program.detach();
    }
}

#[test]
fn a_device_in_use_by_another_shunt_is_refused() {
    let (near, _far) = pair(1);
    let mut first = Program::load(Role::Guest).expect("load");
    let mut second = Program::load(Role::Guest).expect("load");
    attach(&near, &mut first, "veA").expect("attach");
    let before = seen(&near, "veA");
    let error = attach(&near, &mut second, "veA").expect_err("in use");
    assert!(matches!(error, ProgramError::InUse { .. }), "{error}");
    assert_eq!(seen(&near, "veA"), before);
    assert_eq!(second.mode(), None);
    drop(first);
    attach(&near, &mut second, "veA").expect("now it is free");
}

#[test]
fn live_frames_are_passed_or_dropped_and_counted() {
    let (near, far) = pair(1);
    near.ip(&["addr", "add", "10.1.0.1/24", "dev", "veA"])
        .expect("address");
    far.ip(&["addr", "add", "10.1.0.2/24", "dev", "veB"])
        .expect("address");
    let ping = || far.run("ping", &["-c1", "-W1", "10.1.0.1"]);
    let count =
        |program: &Program, outcome: Outcome| program.counts().expect("counts")[outcome as usize].1;

    let mut uplink = Program::load(Role::Uplink).expect("load");
    attach(&near, &mut uplink, "veA").expect("attach");
    ping().expect("an uplink without sockets passes everything");
    assert!(
        count(&uplink, Outcome::NoSocketPassed) >= 2,
        "ARP and ICMP: {:?}",
        uplink.counts()
    );

    let text = near
        .run("cat", &["/sys/class/net/veA/address"])
        .expect("MAC address");
    let mac: Vec<u8> = text
        .trim()
        .split(':')
        .map(|b| u8::from_str_radix(b, 16).unwrap())
        .collect();
    let mac: [u8; 6] = mac.try_into().expect("six bytes");
    let addresses = [mac, BROADCAST].map(|mac| HostAddress { vid: 0, mac });
    uplink.set_host_addresses(&addresses).expect("addresses");
    let before = count(&uplink, Outcome::NoSocketPassed);
    far.ip(&["neigh", "flush", "dev", "veB"]).expect("flush");
    ping().expect("the host's own frames pass");
    assert!(count(&uplink, Outcome::ToHost) >= 1 && count(&uplink, Outcome::Copied) >= 1);
    assert_eq!(count(&uplink, Outcome::NoSocketPassed), before);
    drop(uplink);

    let mut guest = Program::load(Role::Guest).expect("load");
    attach(&near, &mut guest, "veA").expect("attach");
    ping().expect_err("a guest without sockets reaches nobody");
    assert!(count(&guest, Outcome::NoSocketDropped) >= 1);
    drop(guest);
    ping().expect("as before");
}

/// Tells `in_another_process` what to do.
const TASK_VARIABLE: &str = "SHUNT_TEST_TASK";

/// This test binary, running `in_another_process` with a task.
fn another_process(mut command: Command, task: &str) -> Command {
    command.args([
        "--ignored",
        "--nocapture",
        "--exact",
        "netns::program::in_another_process",
    ]);
    command.env(TASK_VARIABLE, task).stdout(Stdio::piped());
    command
}

#[test]
#[ignore = "the other process of two tests, which give it a task"]
fn in_another_process() {
    let task = std::env::var(TASK_VARIABLE).expect("a task");
    let mut program = match Program::load(Role::Guest) {
        Ok(program) => program,
        Err(error) => return println!("\nload: {error}"),
    };
    program
        .attach(task.parse().expect("ifindex"))
        .expect("attach");
    println!("\nattached");
    thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_process_leaves_nothing() {
    let (near, _far) = pair(1);
    let ifindex = near.ifindex("veA").expect("ifindex");
    let own = std::env::current_exe().expect("own path");
    let command = near.command(own.to_str().expect("UTF-8"));
    let mut child = another_process(command, &ifindex.to_string())
        .spawn()
        .expect("spawn");
    let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    assert!(lines.map_while(Result::ok).any(|line| line == "attached"));
    assert!(seen(&near, "veA").is_some());

    child.kill().expect("kill -9");
    // At once, as a supervisor would start it again: attaching waits for the kernel to let go.
    let mut program = Program::load(Role::Guest).expect("load");
    let started = Instant::now();
    attach(&near, &mut program, "veA").expect("attach");
    assert!(started.elapsed() < Duration::from_secs(1));
    program.detach();
    assert_eq!(seen(&near, "veA"), None);
    child.wait().expect("wait");
}

/// A copy of this binary: its own directory may be closed to others.
fn copy_for_others() -> (tempfile::TempDir, PathBuf) {
    assert!(sys::is_root(), "this test gives up root and so needs it");
    let directory = tempfile::tempdir().expect("directory");
    run("chmod", &["755", directory.path().to_str().expect("UTF-8")]).expect("chmod");
    let copy = directory.path().join("all");
    std::fs::copy(std::env::current_exe().expect("own path"), &copy).expect("copy");
    (directory, copy)
}

#[test]
fn without_privilege_the_error_names_it() {
    let (_directory, copy) = copy_for_others();
    let mut command = another_process(Command::new(&copy), "0");
    let output = command
        .uid(65534)
        .gid(65534)
        .current_dir("/")
        .output()
        .expect("run");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("load: no privilege to load BPF programs: run as root"),
        "{text}"
    );
}

#[test]
fn three_capabilities_are_enough() {
    let (near, _far) = pair(1);
    let (_directory, copy) = copy_for_others();
    let mut command = near.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command.args([
        "--inh-caps=-all,+bpf,+net_admin,+perfmon",
        "--ambient-caps=-all,+bpf,+net_admin,+perfmon",
    ]);
    command.arg(copy).current_dir("/");
    let ifindex = near.ifindex("veA").expect("ifindex");
    let mut child = another_process(command, &ifindex.to_string())
        .spawn()
        .expect("spawn");
    let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let is_attached = lines.map_while(Result::ok).any(|line| line == "attached");
    let seen = seen(&near, "veA");
    child.kill().expect("kill");
    child.wait().expect("wait");
    assert!(is_attached);
    let (mode, _, name) = seen.expect("a program");
    assert_eq!((mode, name.as_str()), (1, "shunt_guest_sg"));
}
