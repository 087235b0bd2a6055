//! `forward()` with learning: by flows, by addresses, by what becomes of the tag.

use criterion::{BenchmarkId, Criterion};
use shunt_benches::engine::{Kind, Policy, Spacing, Worker, Workload};
use switch_core::limits::BURST;

use super::kit;

const FLOWS: [usize; 5] = [1, 64, 4096, 65_536, 1 << 20];
const ADDRESSES: [usize; 4] = [16, 256, 4096, 65_536];

pub fn benches(criterion: &mut Criterion) {
    let mut group = kit::group(criterion, "forward");
    let mut bench = |name: &str, parameter: usize, workload: Workload| {
        let mut worker = Worker::new(&workload, Spacing::Packed);
        group.bench_function(BenchmarkId::new(name, parameter), |bencher| {
            kit::time(bencher, &mut worker, BURST, Worker::fill, Worker::turn);
        });
        worker.check();
    };
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Flood) {
        for flows in FLOWS {
            let name = format!("{}, flows", kind.name());
            bench(&name, flows, Workload::of_flows(flows).with_kind(kind));
        }
    }
    for macs in ADDRESSES {
        bench("untagged, addresses", macs, Workload::of_macs(macs));
    }
    let flood = Workload::of_flows(64).with_kind(Kind::Flood);
    bench("flood to 3 ports, flows", 64, flood);
    group.finish();

    // A thousand rules, a guard and a policer. A million flows are more than any table has: each
    // frame is the first of its flow.
    let mut group = kit::group(criterion, "policy");
    for flows in [1, 64, 1024, 10_000, 1 << 20] {
        let mut worker = Worker::new(
            &Workload::with_policy(flows, Policy::Rules(1000)),
            Spacing::Packed,
        );
        group.bench_function(BenchmarkId::new("flows", flows), |bencher| {
            kit::time(bencher, &mut worker, BURST, Worker::fill, Worker::turn);
        });
        worker.check();
    }
    group.finish();

    // As a peer is measured that reads its frames from memory: the copy counts.
    let mut group = kit::group(criterion, "copy and forward");
    for flows in [1, 64, 10_000, 1 << 20] {
        let workload = Workload::of_flows(flows);
        let mut worker = Worker::new(&workload, Spacing::Packed);
        let turn = |worker: &mut Worker| {
            worker.fill();
            worker.turn();
        };
        group.bench_function(BenchmarkId::new("untagged, flows", flows), |bencher| {
            kit::time(bencher, &mut worker, BURST, |_| {}, turn);
        });
        worker.check();
    }
    group.finish();
}
