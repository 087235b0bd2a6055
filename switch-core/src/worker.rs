//! One worker: the queues it owns, and the turn that serves them all once.
//!
//! Nothing allocates, locks or logs in a turn unless an order from the control thread is carried
//! out in it; the time is passed in.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use arrayvec::ArrayVec;

use crate::{
    clock::Tick,
    config::snapshot::Snapshot,
    counters::{DropReason, WorkerCounters},
    datapath::{self, Context, Entries, Outbox},
    egress::{Egress, Sent},
    handoff::{Handed, Handoff},
    limits::{BURST, MAX_PORTS, MAX_WORKERS, PortIndex, TAKE_OVER, WorkerIndex},
    loss::Losses,
    mem::{Burst, FrameCache, Pool},
    port::{Queue, wait::WaitSet},
    publish::{Answer, Mailboxes, Order},
    table::{fdb::Fdb, flow::FlowTable},
};

/// What all workers share, and the control thread with them.
#[derive(Debug)]
pub struct Shared {
    /// Where stations are.
    pub fdb: Fdb,
    /// Free frames.
    pub pool: Arc<Pool>,
    /// By worker.
    pub counters: Box<[WorkerCounters]>,
    /// By worker.
    pub mailboxes: Mailboxes,
    /// By worker, from when there is policy.
    pub flows: Box<[OnceLock<FlowTable>]>,
}

/// What a turn did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Frames that were received or taken over from other workers.
    pub frames: usize,
    /// The kernel has frames left to send: come back soon.
    pub pending: bool,
    /// A fill ring lacks frames that the pool does not have: look again before long.
    pub starved: bool,
    /// When frames that wait in queues may go, at the earliest; none where none waits.
    pub wake: Option<Duration>,
    /// The control thread has ended the worker.
    pub stopped: bool,
}

/// A queue, and whose it is.
#[derive(Debug)]
struct Served {
    port: PortIndex,
    queue: Box<Queue>,
    /// Frames were put into the TX ring and the kernel has not been told, or has not sent all.
    kick: bool,
    /// The kernel could not send all at the last kick.
    congested: bool,
}

impl Served {
    /// Lets the kernel send what is in the TX ring; afterwards `kick` says whether it has sent all.
    fn kick(&mut self, counters: &WorkerCounters) {
        let kicked = self.queue.kick();
        let port = counters.port(self.port);
        port.dropped(DropReason::TxError).add(kicked.errors);
        self.kick = kicked.pending;
        self.congested = kicked.pending;
    }
}

/// A queue position that no port has.
const NO_QUEUE: u16 = u16::MAX;
/// Set in the position of a port whose frames wait in queues before they are transmitted. Like
/// [`NO_QUEUE`] it makes it one that nothing is at, so that who needs neither asks for neither.
const QUEUED: u16 = 1 << 15;

/// The state of one worker; it moves to the worker's thread.
#[derive(Debug)]
pub struct Worker {
    index: WorkerIndex,
    shared: Arc<Shared>,
    snapshot: Arc<Snapshot>,
    handoff: Handoff,
    cache: FrameCache,
    entries: Entries,
    outbox: Outbox,
    /// What waits in queues, for the ports that have some.
    egress: Egress,
    served: Vec<Served>,
    /// By port, the position in `served` of the queue to transmit by.
    transmit_by: Box<[u16; MAX_PORTS]>,
    wait_set: WaitSet,
    burst: Burst,
    handed: ArrayVec<Handed, BURST>,
    /// Workers that were handed frames and are not woken yet: a bit for each.
    to_wake: u32,
    /// The time of the turn, in nanoseconds since the start.
    now_ns: u64,
    /// The time of the last turn with frames, where there are flows.
    last_frame_ns: u64,
    /// When the kernel's counters were read last.
    refreshed: Tick,
}

/// Behind a pause as long as this a worker has time for what is not about frames.
const QUIET_NS: u64 = 1_000_000;

const _: () = assert!(MAX_WORKERS <= u32::BITS as usize);

impl Worker {
    /// A worker without queues.
    #[must_use]
    pub fn new(index: WorkerIndex, shared: Arc<Shared>, handoff: Handoff) -> Self {
        let wait_set = WaitSet::new(shared.mailboxes.of(index).waker(), std::iter::empty());
        Self {
            index,
            snapshot: Arc::default(),
            handoff,
            cache: FrameCache::new(Arc::clone(&shared.pool)),
            entries: Entries::default(),
            outbox: Outbox::default(),
            egress: Egress::default(),
            now_ns: 0,
            served: Vec::new(),
            transmit_by: Box::new([NO_QUEUE; MAX_PORTS]),
            wait_set,
            burst: Burst::new(),
            handed: ArrayVec::new(),
            to_wake: 0,
            last_frame_ns: 0,
            refreshed: Tick(0),
            shared,
        }
    }

    /// Serves every queue once: orders, received frames, frames from other workers, kicks.
    pub fn turn(&mut self, now: Duration) -> Turn {
        self.now_ns = now.as_nanos() as u64;
        let mut turn = Turn {
            stopped: self.carry_out_orders(),
            ..Turn::default()
        };
        for position in 0..self.served.len() {
            turn.frames += self.receive(position, now);
        }
        // The others work while we are in the kernel.
        self.wake_others();
        turn.frames += self.take_over();
        if !self.egress.is_empty() {
            let sent = self.send_queued();
            turn.frames += sent.frames;
            turn.wake = sent.wake_ns.map(Duration::from_nanos);
        }
        self.wake_others();
        turn.pending = self.kick();
        turn.starved = self.served.iter().any(|served| served.queue.is_starved());
        let tick = Tick::after(now);
        let is_new_tick = self.refreshed != tick;
        self.keep_flows(turn.frames, is_new_tick, tick);
        if is_new_tick {
            self.refreshed = tick;
            self.refresh_statistics();
        }
        turn
    }

    /// What all workers share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Brings the counters of rules and flows up to date: all at once where no frames have come for
    /// a while, else bit by bit, from each second on. Then flows leave that are idle, too.
    ///
    /// A turn between two bursts that finds nothing is no pause: to settle then would be to settle
    /// flows with each of their frames.
    fn keep_flows(&mut self, frames: usize, is_new_tick: bool, now: Tick) {
        let index = self.index.get();
        let Some(flows) = self.shared.flows[index].get() else {
            return;
        };
        if frames > 0 {
            self.last_frame_ns = self.now_ns;
        }
        let (entries, counters) = (&mut self.entries, &self.shared.counters[index]);
        if self.now_ns.saturating_sub(self.last_frame_ns) >= QUIET_NS {
            entries.settle(counters, flows, now);
        } else {
            entries.settle_some(counters, flows, now, is_new_tick);
        }
        if is_new_tick {
            flows.sweep(now);
        }
    }

    /// Brings the counters of rules and flows up to date, where there is nothing else to do.
    pub fn settle(&mut self, now: Tick) {
        let index = self.index.get();
        if let Some(flows) = self.shared.flows[index].get() {
            self.entries
                .settle(&self.shared.counters[index], flows, now);
        }
    }

    fn refresh_statistics(&self) {
        for served in &self.served {
            served.queue.refresh_statistics();
        }
    }

    fn counters(&self) -> &WorkerCounters {
        &self.shared.counters[self.index.get()]
    }

    /// Receives one burst from a queue and forwards it.
    fn receive(&mut self, position: usize, now: Duration) -> usize {
        let Served { port, queue, .. } = &mut self.served[position];
        queue.receive(&mut self.cache, &mut self.burst);
        let frames = self.burst.len();
        if frames == 0 {
            return 0;
        }
        let port = *port;
        let counters = &self.shared.counters[self.index.get()];
        let bytes: usize = self.burst.iter().map(|frame| frame.size()).sum();
        counters.frames.add(frames as u64);
        counters.bursts.add(1);
        counters.port(port).rx_frames.add(frames as u64);
        counters.port(port).rx_bytes.add(bytes as u64);
        let context = Context {
            snapshot: &self.snapshot,
            fdb: &self.shared.fdb,
            counters,
            worker: self.index,
            now: Tick::after(now),
            now_ns: self.now_ns,
            flows: self.shared.flows[self.index.get()].get(),
        };
        datapath::forward(
            &context,
            port,
            &mut self.burst,
            &mut self.entries,
            &mut self.cache,
            &mut self.outbox,
        );
        self.flush();
        frames
    }

    /// Sends what other workers have handed over: more than one burst, since they may have received
    /// from several queues in the time of our turn.
    fn take_over(&mut self) -> usize {
        let mut frames = 0;
        for _ in 0..TAKE_OVER / BURST {
            self.handoff.receive(&mut self.handed);
            if self.handed.is_empty() {
                break;
            }
            frames += self.handed.len();
            for Handed { port, frame } in self.handed.drain(..) {
                self.outbox.push(port, frame);
            }
            self.flush();
        }
        frames
    }

    /// Moves the outbox to TX rings, queues and other workers; what finds no room is dropped and
    /// counted.
    fn flush(&mut self) {
        let losses = losses(&self.shared, self.index, self.now_ns);
        let counters = losses.counters;
        while let Some((port, burst)) = self.outbox.take() {
            let position = self.transmit_by[port.get()];
            let reason = match self.served.get_mut(usize::from(position)) {
                Some(served) => {
                    transmit(served, &mut self.cache, counters, burst);
                    DropReason::TxRingFull
                }
                None if position == NO_QUEUE => hand_off(
                    &self.shared,
                    &self.snapshot,
                    self.index,
                    &mut self.handoff,
                    port,
                    burst,
                    &mut self.to_wake,
                ),
                None => {
                    let cache = &mut self.cache;
                    self.egress.put(port, burst, cache, &losses);
                    DropReason::QueueFull
                }
            };
            for frame in burst.drain(..) {
                losses.lose(&mut self.cache, port, reason, frame);
            }
        }
    }

    /// Moves frames whose turn it is from queues to TX rings.
    #[inline(never)]
    fn send_queued(&mut self) -> Sent {
        let losses = losses(&self.shared, self.index, self.now_ns);
        let counters = losses.counters;
        let (served, transmit_by) = (&mut self.served, &self.transmit_by);
        let transmit = |port: PortIndex, cache: &mut FrameCache, burst: &mut Burst| {
            let position = usize::from(transmit_by[port.get()] & !QUEUED);
            // What the kernel has not sent yet would only wait in the ring, in no order.
            if let Some(served) = served.get_mut(position).filter(|it| !it.congested) {
                transmit(served, cache, counters, burst);
            }
        };
        self.egress.send(&mut self.cache, &losses, transmit)
    }

    /// Wakes the workers that were handed frames: once a turn and not for each burst.
    fn wake_others(&mut self) {
        while self.to_wake != 0 {
            let worker = WorkerIndex::new(self.to_wake.trailing_zeros() as usize);
            self.to_wake &= self.to_wake - 1;
            self.shared.mailboxes.of(worker).waker().wake();
        }
    }

    /// Tells the kernel about new frames in TX rings, once a turn for each queue.
    fn kick(&mut self) -> bool {
        let counters = &self.shared.counters[self.index.get()];
        let mut pending = false;
        for served in self.served.iter_mut().filter(|served| served.kick) {
            served.kick(counters);
            pending |= served.kick;
        }
        pending
    }

    /// Carries out what the control thread has ordered; says whether that was to stop.
    fn carry_out_orders(&mut self) -> bool {
        if !self.shared.mailboxes.of(self.index).has_order() {
            return false;
        }
        let shared = Arc::clone(&self.shared);
        let mailbox = shared.mailboxes.of(self.index);
        while let Some(order) = mailbox.next_order() {
            match order {
                Order::Adopt(snapshot) => {
                    // What was counted belongs to rules of the snapshot before.
                    self.settle(self.refreshed);
                    if let Some(flows) = shared.flows[self.index.get()].get() {
                        self.entries.make_shortcuts(flows);
                    }
                    let generation = snapshot.generation;
                    let before = std::mem::replace(&mut self.snapshot, snapshot);
                    let losses = losses(&shared, self.index, self.now_ns);
                    self.egress
                        .adopt(&self.snapshot, self.index, &mut self.cache, &losses);
                    self.index_queues();
                    mailbox.answer(Answer::Adopted(before));
                    let adopted = &self.counters().generation;
                    adopted.add(generation.wrapping_sub(adopted.get()));
                }
                Order::Attach(port, queue) => {
                    self.served.push(Served {
                        port,
                        queue,
                        kick: false,
                        congested: false,
                    });
                    self.index_queues();
                    self.index_descriptors();
                }
                Order::Detach(port) => {
                    while let Some(position) = self.served.iter().position(|s| s.port == port) {
                        // The others keep their order, and so the queues that they transmit by.
                        let served = self.served.remove(position);
                        mailbox.answer(Answer::Detached(served.queue));
                    }
                    self.index_queues();
                    self.index_descriptors();
                    mailbox.answer(Answer::DetachedAll);
                }
                Order::Refresh => {
                    self.refresh_statistics();
                    mailbox.answer(Answer::Refreshed);
                }
                Order::Stop => return true,
            }
        }
        false
    }

    /// Renews the tables that depend on which queues are served, and which worker sends for a port.
    fn index_queues(&mut self) {
        assert!(self.served.len() < usize::from(QUEUED));
        self.transmit_by.fill(NO_QUEUE);
        for (position, served) in self.served.iter().enumerate() {
            let port = served.port;
            let link = self.snapshot.link_up(port);
            let server = link.and_then(|link| link.served_by.get(self.index.get()));
            // A port with queues has one worker that sends for it.
            let by_another = server.is_some_and(|server| *server != self.index);
            let entry = &mut self.transmit_by[port.get()];
            if *entry == NO_QUEUE && served.queue.can_transmit() && !by_another {
                let queued = if self.egress.has_queues(port) {
                    QUEUED
                } else {
                    0
                };
                *entry = position as u16 | queued;
            }
        }
    }

    /// Renews the set of what the worker sleeps on.
    fn index_descriptors(&mut self) {
        let waker = self.shared.mailboxes.of(self.index).waker();
        let fds = self.served.iter().filter_map(|served| served.queue.fd());
        self.wait_set = WaitSet::new(waker, fds);
    }

    /// Sleeps until there is something to do, or the time is over. Says whether it was the former.
    pub fn sleep(&mut self, longest: Duration) -> bool {
        self.settle(self.refreshed);
        // A queue that nothing announces has to be looked at.
        let announced = self.served.iter().all(|served| served.queue.fd().is_some());
        let longest = if announced {
            longest
        } else {
            longest.min(Duration::from_millis(1))
        };
        let mailbox = self.shared.mailboxes.of(self.index);
        let has_work = || mailbox.has_order() || self.handoff.has_work();
        mailbox.waker().sleep(&mut self.wait_set, longest, has_work)
    }

    /// Ends the worker: gives its queues, and the frames on their way to it, back.
    ///
    /// Call it when no other worker runs a turn any more.
    pub fn finish(mut self) {
        loop {
            self.handoff.receive(&mut self.handed);
            if self.handed.is_empty() {
                break;
            }
            for Handed { port, frame } in self.handed.drain(..) {
                let counters = &self.shared.counters[self.index.get()];
                counters.port(port).dropped(DropReason::PortDown).add(1);
                self.cache.free(frame);
            }
        }
        let losses = losses(&self.shared, self.index, self.now_ns);
        self.egress.finish(&mut self.cache, &losses);
        for served in self.served.drain(..) {
            served.queue.close(&mut self.cache);
        }
    }
}

/// Puts frames into the TX ring of a port that this worker serves.
fn transmit(
    served: &mut Served,
    cache: &mut FrameCache,
    counters: &WorkerCounters,
    burst: &mut Burst,
) {
    let total: usize = burst.iter().map(|frame| frame.size()).sum();
    let count = burst.len();
    served.queue.transmit(cache, burst);
    if !burst.is_empty() && !served.congested {
        // The device keeps up: it is this turn that has more frames than the ring has room.
        served.kick(counters);
        served.queue.transmit(cache, burst);
    }
    let left: usize = burst.iter().map(|frame| frame.size()).sum();
    let port = counters.port(served.port);
    port.tx_frames.add((count - burst.len()) as u64);
    port.tx_bytes.add((total - left) as u64);
    served.kick |= count > burst.len();
}

/// Where a worker counts what it loses in this turn.
fn losses(shared: &Shared, worker: WorkerIndex, now_ns: u64) -> Losses<'_> {
    Losses {
        counters: &shared.counters[worker.get()],
        now: Tick::after(Duration::from_nanos(now_ns)),
        now_ns,
    }
}

/// Hands frames to the worker that serves a port; says why those that are left cannot go.
fn hand_off(
    shared: &Shared,
    snapshot: &Snapshot,
    from: WorkerIndex,
    handoff: &mut Handoff,
    port: PortIndex,
    burst: &mut Burst,
    to_wake: &mut u32,
) -> DropReason {
    let server = snapshot
        .link_up(port)
        .and_then(|link| link.served_by.get(from.get()));
    let Some(to) = server.copied().filter(|to| *to != from) else {
        return DropReason::PortDown;
    };
    let count = handoff.send(to, port, burst);
    shared.counters[from.get()].handed_off.add(count as u64);
    if count > 0 {
        *to_wake |= 1 << to.get();
    }
    DropReason::HandoffFull
}
