//! The API as a client sees it: the real router and control task over a socket, an engine that
//! runs turn by turn on simulated wires, and no device.

use std::{
    path::PathBuf,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use switch_core::{
    config::{self, Indices},
    engine::{Engine, HugePages, Options},
    port::{Queue, SimQueue, SimWire},
};

use super::{
    instance::Instance,
    server::{Control, Request},
    switch::Switch,
};
use crate::{
    api::{FdbFilter, NewFdbEntry, trace::TraceRequest},
    client::{Client, render},
    failure::{Exit, Failure},
    frame::pcap::MOST_FRAMES,
};

const CONFIG: &str = r#"
[[policer]]
name = "gold"
rate = "100 Mbit/s"
peak_rate = "1 Gbit/s"
[[policer]]
name = "slow"
rate = "8 kbit/s"
burst = "10 kB"
[[scheduler]]
name = "wan"
rate = "1 Gbit/s"
[[scheduler.queue]]
classes = [7]
strict = true
max_rate = "10 Mbit/s"
[[scheduler.queue]]
weight = 3
drop = "codel"
[[network]]
name = "web"
vlan = 20
police_to_port = "slow"
[[network]]
name = "backstage"
[[port]]
name = "a"
device = "veA"
network = "web"
police_from_port = "gold"
[[port]]
name = "b"
device = "veB"
native = "backstage"
trunk = ["web"]
scheduler = "wan"
mac_limit = 2
allowed_macs = ["02:00:00:00:00:01", "02:00:00:00:00:02"]
allowed_addresses = ["10.0.0.0/8", "fd00::1"]
dhcp_server = false
broadcast_limit = "100 frames/s"
multicast_limit = "1 Mbit/s"
[[static]]
network = "web"
mac = "52:54:00:00:00:01"
port = "a"
"#;

/// A served switch, and a client of it.
struct World {
    client: Client,
    _directory: tempfile::TempDir,
    end: mpsc::Sender<()>,
    server: Option<thread::JoinHandle<()>>,
}

impl World {
    fn new() -> Self {
        Self::of(switch)
    }

    fn of(switch: impl FnOnce() -> Switch + Send + 'static) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("shunt.sock");
        let (end, ended) = mpsc::channel();
        let (ready, is_ready) = mpsc::channel();
        let server = {
            let socket = socket.clone();
            thread::spawn(move || serve(socket, switch, &ready, &ended))
        };
        is_ready.recv().unwrap();
        Self {
            client: Client::new(socket, Duration::from_secs(5)),
            _directory: directory,
            end,
            server: Some(server),
        }
    }

    fn get(&self, path: &str) -> Value {
        self.client.get_json(path).unwrap()
    }

    /// The answer, for comparison with a snapshot.
    fn text(&self, path: &str) -> String {
        render::json(&self.get(path))
    }

    fn refused(&self, path: &str) -> Failure {
        self.client.get_json(path).unwrap_err()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.end.send(());
        if let Some(server) = self.server.take() {
            let ended = server.join();
            assert!(ended.is_ok() || thread::panicking());
        }
    }
}

/// A switch with two ports on wires, of which one has said something.
fn switch() -> Switch {
    switch_of(64, 1)
}

/// The same with room for so many addresses, where the other port has brought so many frames that
/// are cut off.
fn switch_of(fdb_capacity: usize, cut_off: usize) -> Switch {
    let config = config::parse("test", CONFIG).unwrap();
    let compiled = config::compile(&config, &Indices::new()).unwrap();
    let mut engine = Engine::manual(&Options {
        cores: vec![None],
        chunks: 256,
        huge_pages: HugePages::No,
        fdb_capacity,
        hash_key: [1, 2],
        idle: Default::default(),
    })
    .unwrap();
    engine.apply(compiled.rules).unwrap();
    let wires = [SimWire::new(), SimWire::new()];
    for (name, wire) in ["a", "b"].iter().zip(&wires) {
        let port = compiled.indices.port(name).unwrap();
        let queue = Queue::Sim(SimQueue::new(wire.clone()));
        engine.attach(port, vec![queue], 1500).unwrap();
    }
    let mut frame = [0; 60];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[0x52, 0x54, 0, 0, 0, 0x0a]);
    wires[0].send(&frame);
    // From one of our own, and cut off: two reasons to drop.
    (0..cut_off).for_each(|_| wires[1].send(&frame[..10]));
    engine.turn();
    let file = PathBuf::from("switch.toml");
    Switch::new(engine, config, file, compiled.indices, vec![None])
}

fn serve(
    socket: PathBuf,
    switch: impl FnOnce() -> Switch,
    ready: &mpsc::Sender<()>,
    ended: &mpsc::Receiver<()>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut instance = Instance::claim(&socket).unwrap();
        let (control, mut requests) = Control::new();
        super::serve(instance.listen().unwrap(), control).unwrap();
        ready.send(()).unwrap();
        let mut switch = switch();
        while ended.try_recv().is_err() {
            let wait = tokio::time::timeout(Duration::from_millis(10), requests.recv());
            if let Ok(Some(Request::Call { call, .. })) = wait.await {
                call(&mut switch);
            }
        }
    });
}

#[test]
fn lists() {
    let world = World::new();
    for what in ["networks", "fdb", "qos", "security", "queues"] {
        insta::assert_snapshot!(what, world.text(&format!("/v1/{what}")));
    }
    let ports = world.get("/v1/ports");
    let port = &ports[0];
    assert_eq!(
        (&port["name"], &port["state"], &port["mode"], &port["mtu"]),
        (&json!("a"), &json!("missing"), &json!(null), &json!(null))
    );
    assert_eq!(
        (&port["rx_frames"], &port["rx_bytes"]),
        (&json!(1), &json!(60))
    );
    assert_eq!(ports[1]["drops"]["truncated"], 1);
    assert_eq!(ports[1]["drops"]["kernel_rx_dropped"], 0);
    let worker = &world.get("/v1/workers")[0];
    assert_eq!(
        (&worker["index"], &worker["frames"]),
        (&json!(0), &json!(2))
    );
    assert_eq!(
        (&worker["ports"], &worker["core"]),
        (&json!(["a", "b"]), &json!(null))
    );
}

#[test]
fn counters_have_a_scope_and_a_text() {
    let world = World::new();
    let counters = world.get("/v1/counters");
    let counters = counters.as_array().unwrap();
    let truncated = counters
        .iter()
        .find(|counter| counter["scope"] == "port/b" && counter["name"] == "truncated")
        .unwrap();
    assert_eq!(truncated["value"], 1);
    for counter in counters {
        assert!(
            counter["text"].as_str().unwrap().ends_with('.'),
            "{counter}"
        );
    }
}

#[test]
fn details() {
    let world = World::new();
    let mut port = world.get("/v1/ports/b");
    port.as_object_mut().unwrap().remove("drops");
    insta::assert_snapshot!(render::json(&port));
    insta::assert_snapshot!(world.text("/v1/networks/web"));
    let listed = world.get("/v1/security");
    let of_b = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|port| port["port"] == "b");
    assert_eq!(Some(&world.get("/v1/security/b")), of_b);
    let slow = world.get("/v1/qos/slow");
    assert_eq!(slow["places"][0]["policer"], "slow");
    assert!(world.refused("/v1/qos/fast").message.contains("no policer"));
    assert!(world.refused("/v1/security/x").message.contains("no port"));
}

#[test]
fn what_is_not_there_is_named() {
    let world = World::new();
    insta::assert_snapshot!(world.refused("/v1/ports/x%20y"), @r#"
    error: there is no port "x y"
    help: `shunt get ports` shows all
    "#);
    insta::assert_snapshot!(world.refused("/v1/networks/x"), @r#"
    error: there is no network "x"
    help: `shunt get networks` shows all
    "#);
    insta::assert_snapshot!(world.refused("/v1/nothing"), @r"
    error: there is no such path
    help: try /v1/ports, /v1/networks, /v1/fdb, /v1/qos, /v1/queues, /v1/security, /v1/acl, /v1/flows, /v1/counters or /v1/workers
    ");
    insta::assert_snapshot!(world.refused("/v1/reload"), @r"
    error: this path does not take that method
    help: GET reads; POST and DELETE change /v1/fdb, POST /v1/reload reloads, POST /v1/trace asks
    ");
}

#[test]
fn addresses_are_added_removed_and_flushed() {
    let world = World::new();
    let client = &world.client;
    let entry = |network: &str, mac: &str, port: &str| NewFdbEntry {
        network: network.into(),
        mac: mac.into(),
        port: port.into(),
    };
    let known = || world.get("/v1/fdb").as_array().unwrap().len();
    assert_eq!(known(), 2);
    client
        .fdb_add(&entry("web", "52-54-00-00-00-02", "b"))
        .unwrap();
    client
        .fdb_add(&entry("web", "52:54:00:00:00:02", "b"))
        .unwrap();
    assert_eq!(known(), 3);
    for (wrong, text) in [
        (
            entry("web", "52:54:00:00:00:02", "a"),
            "bound to port b already",
        ),
        (
            entry("backstage", "52:54:00:00:00:02", "a"),
            "no member of network",
        ),
        (
            entry("web", "01:54:00:00:00:02", "a"),
            "not the address of a station",
        ),
        (entry("web", "52:54", "a"), "not a MAC address"),
        (entry("web", "52:54:00:00:00:02", "x"), "no port \"x\""),
    ] {
        let failure = client.fdb_add(&wrong).unwrap_err();
        assert!(failure.message.contains(text), "{failure}");
        assert_eq!(failure.exit, Exit::Failed);
    }
    assert_eq!(client.fdb_flush(&FdbFilter::default()).unwrap().removed, 1);
    let of_b = FdbFilter {
        port: Some("b".into()),
        include_static: true,
        ..FdbFilter::default()
    };
    assert_eq!(client.fdb_flush(&of_b).unwrap().removed, 1);
    assert_eq!(
        client.fdb_del("web", "52:54:00:00:00:01").unwrap().removed,
        1
    );
    let failure = client.fdb_del("web", "52:54:00:00:00:01").unwrap_err();
    assert!(failure.message.contains("knows no"), "{failure}");
    assert_eq!(known(), 0);
}

/// The control task answers others while frames are traced, and a request has its bounds.
#[test]
fn traces_hold_nobody_up() {
    let world = World::new();
    let client = &world.client;
    let request = |count: usize| TraceRequest {
        from: "a".into(),
        fields: None,
        frames: vec!["ffffffffffff 020000000001 0806".into(); count],
    };
    assert_eq!(client.trace(&request(3)).unwrap().len(), 3);
    let failure = client.trace(&request(MOST_FRAMES + 1)).unwrap_err();
    assert!(failure.message.contains("more than 1000"), "{failure}");
    thread::scope(|scope| {
        let begun = Instant::now();
        let traced = scope.spawn(move || {
            assert_eq!(client.trace(&request(300)).unwrap().len(), 300);
            begun.elapsed()
        });
        // By then it has been asked for.
        thread::sleep(Duration::from_millis(50));
        let asked = Instant::now();
        world.get("/v1/ports");
        let answered = asked.elapsed();
        let traced = traced.join().unwrap();
        assert!(answered * 2 < traced, "{answered:?} of {traced:?}");
    });
}

/// Each lost frame is traced on a copy of the whole switch; others are answered meanwhile.
#[test]
fn lost_frames_hold_nobody_up() {
    let world = World::of(|| switch_of(1 << 19, 16));
    // How long the frames took, and the slowest other answer in that time.
    let attempt = || {
        thread::scope(|scope| {
            let lost = scope.spawn(|| {
                let begun = Instant::now();
                let lost = world.get("/v1/ports/b/drops");
                assert!(lost.as_array().unwrap().len() > 4, "{lost}");
                begun.elapsed()
            });
            let mut slowest = Duration::ZERO;
            while !lost.is_finished() {
                let asked = Instant::now();
                world.get("/v1/ports");
                slowest = slowest.max(asked.elapsed());
            }
            (slowest, lost.join().unwrap())
        })
    };
    // The machine may hold up anybody.
    let mut attempts = std::iter::repeat_with(attempt).take(5);
    assert!(attempts.any(|(slowest, lost)| slowest * 2 < lost));
}

#[test]
fn a_daemon_that_does_not_answer_is_late() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("mute.sock");
    let _mute = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let begun = Instant::now();
    let failure = Client::new(socket, Duration::from_secs(1)).reload();
    assert_eq!(failure.unwrap_err().exit, Exit::Timeout);
    assert!(begun.elapsed() < Duration::from_secs(4));
}
