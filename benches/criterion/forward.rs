//! Benches of the engine without I/O: what `forward()` costs a frame.
//!
//! `cargo bench -p shunt-benches` prints the time of one burst of 64 frames and the frames a
//! second. Times on a shared machine are for comparing two runs beside each other, nothing more.
#![allow(
    missing_docs,
    reason = "criterion_group! makes a public function without documentation"
)]

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use switch_core::{
    clock::Tick,
    config::snapshot::{
        EgressTag, Link, Member, NetworkRules, PortRules, Role, Ruleset, Snapshot, VidMap,
    },
    counters::WorkerCounters,
    datapath::{Context, Outbox, forward},
    limits::{BURST, NetworkIndex, PortIndex},
    mem::{Burst, FrameCache, HugePages, Pool, Region},
    table::fdb::Fdb,
    wire::{
        ethernet::Mac,
        vlan::{Tpid, Vid},
    },
};

const WEB: NetworkIndex = NetworkIndex::new(0);
const CHUNKS: usize = 4096;

/// Ports 0 and 1 are access ports, ports 2 and 3 trunks that carry the network as VLAN 20.
fn snapshot() -> Snapshot {
    let vid = Vid::new(20).expect("a VID");
    let tag = |port: usize| {
        if port < 2 {
            EgressTag::Untagged
        } else {
            EgressTag::Tagged(vid)
        }
    };
    let port = |index: usize| {
        let mut vids = VidMap::new();
        vids.set(vid, WEB);
        let access = index < 2;
        PortRules {
            name: format!("port-{index}").into(),
            role: Role::Guest,
            isolated: false,
            tpid: Tpid::Customer,
            mac_limit: None,
            untagged: access.then_some(WEB),
            tagged: (!access).then_some(vids),
            egress: [tag(index)].into(),
        }
    };
    let member = |index| Member {
        port: PortIndex::new(index),
        tag: tag(index),
        uplink: false,
        isolated: false,
    };
    let link = Link {
        up: true,
        mtu: 1500,
        served_by: [].into(),
    };
    Snapshot {
        generation: 1,
        rules: std::sync::Arc::new(Ruleset {
            forward_reserved: false,
            ageing_s: 300,
            ports: (0..4).map(|index| Some(port(index))).collect(),
            networks: [Some(NetworkRules {
                name: "web".into(),
                vid: Some(vid),
                members: (0..4).map(member).collect(),
            })]
            .into(),
            static_entries: [].into(),
        }),
        links: vec![link; 4].into(),
    }
}

/// What a worker has, without queues.
struct Bench {
    snapshot: Snapshot,
    fdb: Fdb,
    counters: WorkerCounters,
    cache: FrameCache,
    outbox: Outbox,
    burst: Burst,
}

impl Bench {
    fn new() -> Self {
        let region = Region::new(CHUNKS, HugePages::No).expect("a region");
        let fdb = Fdb::new(131_072, [1, 2]);
        fdb.set_ageing(300);
        Self {
            snapshot: snapshot(),
            fdb,
            counters: WorkerCounters::default(),
            cache: FrameCache::new(Pool::new(region.into())),
            outbox: Outbox::default(),
            burst: Burst::new(),
        }
    }

    fn station(number: usize, side: u8) -> Mac {
        let [.., a, b, c] = (number as u32).to_be_bytes();
        Mac([2, 0, side, a, b, c])
    }

    /// Forwards one burst of 64-byte frames from port to port, and takes it out of the outbox.
    fn burst(&mut self, from: usize, to: usize, flows: usize, next: &mut usize) {
        for _ in 0..BURST {
            let mut bytes = [0_u8; 60];
            bytes[..6].copy_from_slice(&Self::station(*next, to as u8).0);
            bytes[6..12].copy_from_slice(&Self::station(*next, from as u8).0);
            let behind: &[u8] = if from < 2 {
                &[8, 0]
            } else {
                &[0x81, 0, 0, 20, 8, 0]
            };
            bytes[12..12 + behind.len()].copy_from_slice(behind);
            self.burst
                .push(self.cache.frame_from(&bytes).expect("a free frame"));
            *next = (*next + 1) % flows;
        }
        let Self {
            snapshot,
            fdb,
            counters,
            cache,
            outbox,
            burst,
        } = self;
        let context = Context {
            snapshot,
            fdb,
            counters,
            now: Tick(1),
        };
        forward(&context, PortIndex::new(from), burst, cache, outbox);
        while let Some((_, burst)) = outbox.take() {
            for frame in burst.drain(..) {
                cache.free(frame);
            }
        }
    }
}

fn forwarding(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(BURST as u64));
    group
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    group.sample_size(20);
    let kinds = [
        ("untagged", 0, 1),
        ("push", 0, 2),
        ("pop", 2, 0),
        ("retag", 2, 3),
    ];
    for (kind, from, to) in kinds {
        for flows in [1, 64, 4096, 32_768] {
            let mut bench = Bench::new();
            for number in 0..flows {
                let mac = Bench::station(number, to as u8);
                let _ = bench.fdb.learn(WEB, mac, PortIndex::new(to), Tick(1), None);
            }
            let mut next = 0;
            group.bench_function(BenchmarkId::new(kind, flows), |bencher| {
                bencher.iter(|| bench.burst(from, to, flows, &mut next));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, forwarding);
criterion_main!(benches);
