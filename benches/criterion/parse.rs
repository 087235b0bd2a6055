//! Reading the header of a frame.

use std::hint::black_box;

use criterion::Criterion;
use shunt_benches::engine::{Capture, Kind, Spacing, Workload};
use switch_core::wire::parse::Header;

use super::kit;

const FRAMES: usize = 1024;

pub fn benches(criterion: &mut Criterion) {
    let mut group = kit::group(criterion, "parse");
    for (name, kind) in [("untagged", Kind::Untagged), ("tagged", Kind::Retag)] {
        let workload = Workload::of_flows(FRAMES).with_kind(kind);
        let mut capture = Capture::new(&workload, Spacing::Packed);
        group.bench_function(name, |bencher| {
            kit::time(
                bencher,
                &mut capture,
                FRAMES,
                |_| {},
                |capture| {
                    for frame in capture.frames() {
                        let header = Header::parse(black_box(frame));
                        black_box(header).expect("long enough");
                    }
                },
            );
        });
    }
    group.finish();
}
