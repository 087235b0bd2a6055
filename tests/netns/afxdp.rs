//! Our AF_XDP sockets against those of other make (xsk-rs), with our XDP programs on both ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use shunt_tests::{alloc, netns::Namespace, peer::Peer, traffic::Wire};
use switch_core::{
    config,
    engine::{Engine, Options},
    limits::{PortIndex, chunks_needed},
    mem::{Burst, FrameCache, HugePages, Pool, Region},
    port::{
        Queue,
        xdp::{XdpConfig, XdpQueue, program::Program},
    },
};
use xdp_ebpf::Role;

/// Frames in flight at a time: fewer than any ring or veth queue has room for.
const WINDOW: usize = 100;
/// How long a frame may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Loads a program and steers queue 0 of the device to the socket.
fn steer(ifindex: u32, socket: std::os::fd::BorrowedFd<'_>) -> Program {
    let mut program = Program::load(Role::Guest).expect("load, which needs root");
    program.set_socket(0, socket).expect("steer");
    program.attach(ifindex).expect("attach");
    program
}

/// Frame number `number`, of one of many sizes up to `longest`.
fn frame(number: usize, longest: usize) -> Vec<u8> {
    let size = 60 + number * 97 % (longest - 59);
    let mut frame: Vec<u8> = (0..size).map(|at| (at * 13 + number) as u8).collect();
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    frame[14..22].copy_from_slice(&(number as u64).to_be_bytes());
    frame
}

/// Our end: a queue, its cache, and the pool.
struct Ours {
    queue: XdpQueue,
    cache: FrameCache,
    pool: Arc<Pool>,
}

impl Ours {
    fn open(ifindex: u32) -> Self {
        let region = Region::new(chunks_needed(1, 1), HugePages::No).expect("a region");
        let pool = Pool::new(Arc::new(region));
        Self {
            queue: XdpQueue::open(&pool, &XdpConfig::new(ifindex, 0)).expect("open"),
            cache: FrameCache::new(Arc::clone(&pool)),
            pool,
        }
    }

    fn receive(&mut self) -> Vec<Vec<u8>> {
        let mut burst = Burst::new();
        self.queue.receive(&mut self.cache, &mut burst);
        let mut frames = Vec::new();
        for frame in burst {
            let bytes: Vec<_> = self.cache.region().bytes(&frame).collect();
            frames.push(bytes.concat());
            self.cache.free(frame);
        }
        frames
    }

    fn send(&mut self, bytes: &[u8]) -> bool {
        let mut burst: Burst = self.cache.frame_from(bytes).into_iter().collect();
        let sent = self.queue.transmit(&mut self.cache, &mut burst) == 1;
        self.queue.kick();
        burst.drain(..).for_each(|frame| self.cache.free(frame));
        sent
    }

    fn close(mut self) {
        self.queue.refresh_statistics().expect("statistics");
        let counters = self.queue.counters();
        let lost = [
            counters.rx_invalid.get(),
            counters.rx_too_long.get(),
            counters.tx_errors.get(),
            counters.completion_invalid.get(),
            counters.kernel_rx_dropped.get(),
            counters.kernel_rx_invalid_descs.get(),
            counters.kernel_tx_invalid_descs.get(),
            counters.kernel_rx_ring_full.get(),
        ];
        assert_eq!(lost, [0; 8]);
        self.queue.close(&mut self.cache);
        drop(self.cache);
        assert_eq!(self.pool.free_chunks(), self.pool.region().chunks());
    }
}

/// Passes `count` frames from one end to the other, at most a window ahead, and compares each.
fn pass(
    count: usize,
    longest: usize,
    mut send: impl FnMut(&[u8]) -> bool,
    mut receive: impl FnMut() -> Vec<Vec<u8>>,
) {
    let (mut sent, mut received) = (0, 0);
    let mut last = Instant::now();
    while received < count {
        while sent < count && sent - received < WINDOW && send(&frame(sent, longest)) {
            sent += 1;
        }
        for bytes in receive() {
            assert!(bytes == frame(received, longest), "frame {received}");
            received += 1;
            last = Instant::now();
        }
        assert!(
            last.elapsed() < PATIENCE,
            "{received} of {sent} frames came"
        );
    }
}

/// Both ends in one namespace: a wire needs no more.
fn exchange(label: &str, mtu: usize, count: usize) {
    let namespace = Namespace::new(label).expect("namespace");
    namespace.veth("veA", &namespace, "veB", 1).expect("veth");
    let mtu_text = mtu.to_string();
    for device in ["veA", "veB"] {
        namespace
            .ip(&["link", "set", device, "mtu", &mtu_text])
            .expect("mtu");
    }
    let index = |device| namespace.ifindex(device).expect("ifindex");
    let (ours_index, peers_index) = (index("veA"), index("veB"));
    namespace
        .enter(|| {
            let mut ours = Ours::open(ours_index);
            let mut peer = Peer::open("veB", 0).expect("the peer");
            let _programs = [
                steer(ours_index, ours.queue.fd()),
                steer(peers_index, peer.fd()),
            ];
            let longest = mtu + 14;
            pass(
                count,
                longest,
                |bytes| ours.send(bytes),
                || peer.receive().expect("receive"),
            );
            pass(
                count,
                longest,
                |bytes| peer.send(bytes).expect("send"),
                || ours.receive(),
            );
            ours.close();
        })
        .expect("enter");
}

#[test]
fn frames_cross_to_and_from_a_socket_of_other_make() {
    exchange("xsk", 1500, 20_000);
}

#[test]
fn jumbo_frames_cross_to_and_from_a_socket_of_other_make() {
    exchange("xskjumbo", 9000, 5_000);
}

/// Two guests on one network.
const TWO_GUESTS: &str = r#"
[[network]]
name = "web"

[[port]]
name = "a"
device = "swA"
network = "web"

[[port]]
name = "b"
device = "swB"
network = "web"
"#;

/// An engine whose turns this thread takes, with the queues of `swA` and `swB`.
fn engine_on(devices: [u32; 2]) -> (Engine, Vec<Program>) {
    let mut engine = Engine::manual(&Options {
        cores: vec![None],
        chunks: chunks_needed(1, 2),
        huge_pages: HugePages::No,
        fdb_capacity: 1024,
        hash_key: [1, 2],
        idle: Default::default(),
    })
    .expect("an engine");
    let file = config::parse("two-guests.toml", TWO_GUESTS).expect("a configuration");
    let rules = config::compile(&file, &config::Indices::default()).expect("compiled");
    engine.apply(rules.rules).expect("applied");
    let mut programs = Vec::new();
    for (port, ifindex) in devices.into_iter().enumerate() {
        let queue = XdpQueue::open(engine.pool(), &XdpConfig::new(ifindex, 0)).expect("open");
        programs.push(steer(ifindex, queue.fd()));
        let queues = vec![Queue::Xdp(queue)];
        engine
            .attach(PortIndex::new(port), queues, 1500)
            .expect("attach");
    }
    (engine, programs)
}

#[test]
fn no_turn_over_sockets_allocates() {
    let namespace = Namespace::new("xskalloc").expect("namespace");
    for (ours, guests) in [("swA", "guA"), ("swB", "guB")] {
        namespace.veth(ours, &namespace, guests, 1).expect("veth");
    }
    let devices = ["swA", "swB"].map(|device| namespace.ifindex(device).expect("ifindex"));
    let wires = ["guA", "guB"].map(|device| Wire::open(&namespace, device));
    namespace
        .enter(|| {
            let (mut engine, programs) = engine_on(devices);
            let mut frames = 0;
            let mut allocations = 0;
            for round in 0..200 {
                let mut bytes = frame(round, 1514);
                // Odd rounds go the other way; every tenth frame is to an unknown station.
                let (from, to) = (round % 2, 1 - round % 2);
                bytes[5] = if round % 10 == 0 { 0x77 } else { to as u8 };
                bytes[11] = from as u8;
                wires[from].send(&bytes);
                let deadline = Instant::now() + PATIENCE;
                let ((), count) =
                    alloc::count(|| while engine.turn() == 0 && Instant::now() < deadline {});
                allocations += count;
                let arrived = wires[to].find(PATIENCE, |arrived| arrived == bytes);
                frames += usize::from(arrived.is_some());
            }
            assert_eq!((frames, allocations), (200, 0), "(frames, allocations)");
            drop(programs);
            assert!(engine.stop().expect("stopped").is_complete());
        })
        .expect("enter");
}
