//! What a worker has but for its queues.

use switch_core::{
    clock::Tick,
    config::snapshot::Snapshot,
    counters::{DropReason, WorkerCounters},
    datapath::{Context, Entries, Outbox, forward},
    limits::{
        BURST, FDB_SLOTS, FLOWS_PER_WORKER, MAX_AGEING_S, PortIndex, WorkerIndex, chunks_needed,
    },
    mem::{Burst, FrameCache, HugePages, Pool, Region},
    table::{
        fdb::{Fdb, Learned},
        flow::FlowTable,
    },
};

use super::{
    Capture, Kind, Policy, Spacing, Workload,
    topology::{self, NETWORK, PORTS, station},
};

/// Frames in a simulated second, after which the first frame of each source writes to the
/// forwarding database again: a busy worker's rate.
pub const FRAMES_PER_TICK: u64 = 10_000_000;
/// The key of the forwarding database's hash. Fixed, so that every run has the same collisions.
const HASH_KEY: [u64; 2] = [1, 2];

/// A worker without queues, a workload for it, and tables that know its addresses.
#[derive(Debug)]
pub struct Worker {
    snapshot: Snapshot,
    fdb: Fdb,
    counters: WorkerCounters,
    cache: FrameCache,
    entries: Entries,
    flows: Option<FlowTable>,
    outbox: Outbox,
    burst: Burst,
    capture: Capture,
    kind: Kind,
    now: Tick,
    /// Frames until the next tick.
    left_of_tick: u64,
    received: u64,
    sent: u64,
}

impl Worker {
    /// A worker whose tables know the workload.
    ///
    /// # Panics
    /// When the machine has no memory for it, or the tables no room.
    #[must_use]
    pub fn new(workload: &Workload, spacing: Spacing) -> Self {
        let region = Region::new(chunks_needed(1, PORTS), HugePages::No).expect("a region");
        let fdb = Fdb::new(FDB_SLOTS, HASH_KEY);
        // The destinations never speak, and a long run must not forget them.
        fdb.set_ageing(MAX_AGEING_S);
        let mut entries = Entries::default();
        let (snapshot, flows) = match workload.policy {
            Policy::None => (topology::snapshot(), None),
            policy => {
                let flows = FlowTable::new(FLOWS_PER_WORKER, HASH_KEY);
                entries.make_shortcuts(&flows);
                let snapshot = topology::snapshot_with_policy(workload.kind, policy);
                (snapshot, Some(flows))
            }
        };
        let worker = Self {
            snapshot,
            fdb,
            counters: WorkerCounters::default(),
            cache: FrameCache::new(Pool::new(region.into())),
            entries,
            flows,
            outbox: Outbox::default(),
            burst: Burst::new(),
            capture: Capture::new(workload, spacing),
            kind: workload.kind,
            now: Tick(1),
            left_of_tick: FRAMES_PER_TICK,
            received: 0,
            sent: 0,
        };
        worker.teach(workload.kind.ingress(), workload.sources());
        if workload.kind != Kind::Flood {
            worker.teach(workload.kind.egress(), workload.destinations());
        }
        worker
    }

    fn teach(&self, port: PortIndex, stations: usize) {
        for number in 0..stations {
            let mac = station(port, number);
            let learned = self.fdb.learn(NETWORK, mac, port, self.now, None);
            assert_eq!(learned, Learned::New, "address {number} of port {port}");
        }
    }

    /// Copies the next burst from the capture into free chunks, as a driver would write it.
    #[inline(never)]
    pub fn fill(&mut self) {
        while !self.burst.is_full() {
            let bytes = self.capture.next_frame();
            let mut frame = self.cache.allocate().expect("a free frame");
            frame.set_size(bytes.len() as u16);
            self.cache
                .region()
                .head_mut(&mut frame)
                .copy_from_slice(bytes);
            self.burst.push(frame);
        }
    }

    /// Takes the burst through the datapath and its frames out of the outbox, back into the cache.
    #[inline(never)]
    pub fn turn(&mut self) {
        self.forward();
        self.drain();
    }

    /// The same, but the instruction counts do not see it.
    pub fn rehearse(&mut self) {
        self.forward_burst();
        self.drain();
    }

    /// Empties the flow table.
    pub fn forget_flows(&mut self) {
        self.flows = Some(FlowTable::new(FLOWS_PER_WORKER, HASH_KEY));
    }

    fn drain(&mut self) {
        while let Some((_, burst)) = self.outbox.take() {
            self.sent += burst.len() as u64;
            for frame in burst.drain(..) {
                self.cache.free(frame);
            }
        }
    }

    /// As [`turn`](Self::turn), but the frames that have left are put into the next burst, with the
    /// bytes that they have: nothing but handles moves. The first burst comes from `fill`; there is
    /// room for 64 flows.
    ///
    /// # Panics
    /// When the datapath changes or copies such frames ([`Kind::keeps_bytes`]).
    #[inline(never)]
    pub fn put_back(&mut self) {
        assert!(self.kind.keeps_bytes());
        self.forward();
        while let Some((_, burst)) = self.outbox.take() {
            self.sent += burst.len() as u64;
            self.burst.extend(burst.drain(..));
        }
    }

    /// What the instruction counts count, by this function's name: `forward()` on one burst, and
    /// some twenty instructions of our own for all of it.
    #[inline(never)]
    fn forward(&mut self) {
        self.forward_burst();
    }

    #[inline(always)]
    fn forward_burst(&mut self) {
        let count = self.burst.len() as u64;
        let now_ns = self.received * (1_000_000_000 / FRAMES_PER_TICK);
        self.received += count;
        if self.left_of_tick < count {
            self.now.0 += 1;
            self.left_of_tick = FRAMES_PER_TICK;
        }
        self.left_of_tick -= count;
        let context = Context {
            snapshot: &self.snapshot,
            fdb: &self.fdb,
            counters: &self.counters,
            worker: WorkerIndex::new(0),
            flows: self.flows.as_ref(),
            now: self.now,
            now_ns,
        };
        forward(
            &context,
            self.kind.ingress(),
            &mut self.burst,
            &mut self.entries,
            &mut self.cache,
            &mut self.outbox,
        );
    }

    /// Frames that went through so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Sees that what was measured is what was meant: every frame has left by as many ports as its
    /// kind says, none was dropped, and no address was new.
    ///
    /// # Panics
    /// Otherwise.
    pub fn check(&self) {
        let copies = self.kind.copies() as u64;
        assert_eq!(self.sent, self.received * copies, "frames that left");
        let ports = (0..PORTS).map(|port| self.counters.port(PortIndex::new(port)));
        let dropped = |reason| ports.clone().map(move |port| port.dropped(reason).get());
        let drops: u64 = DropReason::ALL.iter().copied().flat_map(dropped).sum();
        assert_eq!(drops, 0, "drops");
        let learned = self.fdb.events().learned;
        assert_eq!(learned, self.fdb.len() as u64, "addresses that were new");
        assert_eq!(self.burst.len() % BURST, 0, "a burst is full or empty");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_forwarded_as_it_says() {
        for kind in Kind::ALL {
            for flows in [1, 64, 1000] {
                let workload = Workload::of_flows(flows).with_kind(kind);
                let mut worker = Worker::new(&workload, Spacing::Packed);
                for _ in 0..40 {
                    worker.fill();
                    worker.turn();
                }
                worker.check();
                assert_eq!(worker.received(), 40 * BURST as u64);
            }
        }
    }

    fn check_policy(workload: &Workload) {
        let mut worker = Worker::new(workload, Spacing::Packed);
        for _ in 0..40 {
            worker.fill();
            worker.turn();
        }
        worker.check();
        let events = worker.flows.as_ref().expect("a table").events();
        assert_eq!(events.entered, workload.flows as u64, "{workload:?}");
    }

    #[test]
    fn policy_lets_all_frames_pass_and_knows_their_flows() {
        for policy in [Policy::Rules, Policy::Ipv6, Policy::WayOut, Policy::Acts] {
            for flows in [64, 40 * BURST] {
                let workload = Workload::with_policy(flows, policy(1000));
                check_policy(&workload);
                check_policy(&workload.with_kind(Kind::Retag));
            }
        }
    }

    #[test]
    fn handles_go_round_where_no_byte_changes() {
        for kind in Kind::ALL.into_iter().filter(|kind| kind.keeps_bytes()) {
            let workload = Workload::of_flows(BURST).with_kind(kind);
            let mut worker = Worker::new(&workload, Spacing::Buffers);
            worker.fill();
            for _ in 0..40 {
                worker.put_back();
            }
            worker.check();
        }
    }

    #[test]
    fn a_second_goes_by_after_so_many_frames() {
        let mut worker = Worker::new(&Workload::of_flows(64), Spacing::Packed);
        worker.left_of_tick = 100;
        for expected in [1, 2, 2] {
            worker.fill();
            worker.turn();
            assert_eq!(worker.now, Tick(expected));
        }
        worker.check();
    }
}
