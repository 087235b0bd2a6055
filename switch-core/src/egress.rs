//! Frames that wait for ports with queues, between the outbox and the TX rings.
//!
//! One worker sends for a port that has queues, whatever the number of its device's queues, so that
//! strict priority and the shaper hold for the port as a whole; the others hand frames to it. Which
//! class a frame is of stands in its note. What waits is bounded for each port, by a share of the
//! region's chunks: a port that is slow, or that nobody takes frames from, holds up nobody else.

use std::sync::Arc;

use crate::{
    config::snapshot::Snapshot,
    counters::DropReason,
    limits::{BURST, MAX_PORTS, PortIndex, QUEUED_CHUNKS_PER_PORT, WorkerIndex, queued_chunks},
    loss::Losses,
    mem::{Burst, Frame, FrameCache},
    qos::{
        classes::Class,
        queues::PortQueues,
        scheduler::{Next, Scheduler},
    },
};

/// Most bursts that one port sends in a turn: others have their turn too.
const BURSTS_PER_TURN: usize = 4;
/// When a port that took no more frames is tried again.
const RETRY_NS: u64 = 1_000_000;
/// A position that no port has.
const NONE: u16 = u16::MAX;

/// A port with queues that this worker sends for.
#[derive(Debug)]
struct Port {
    port: PortIndex,
    queues: Arc<PortQueues>,
    scheduler: Scheduler<Frame>,
    /// Frames whose turn has come and that found no room in the TX ring yet.
    ready: Burst,
}

/// What was sent, and when there is more to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames that went into TX rings.
    pub frames: usize,
    /// When frames that wait may go, at the earliest; none where none waits.
    pub wake_ns: Option<u64>,
}

/// All that waits at one worker.
#[derive(Debug)]
pub struct Egress {
    /// By port, its position in `ports`.
    positions: Box<[u16; MAX_PORTS]>,
    ports: Vec<Port>,
}

impl Default for Egress {
    fn default() -> Self {
        Self {
            positions: Box::new([NONE; MAX_PORTS]),
            ports: Vec::new(),
        }
    }
}

impl Egress {
    /// Whether no port has queues here.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.ports.is_empty()
    }

    /// Whether frames for a port have to wait in queues here.
    #[must_use]
    pub fn has_queues(&self, port: PortIndex) -> bool {
        self.positions[port.get()] != NONE
    }

    /// Puts frames for a port into its queues; those that find no room are dropped and counted.
    ///
    /// # Panics
    /// When the port has no queues here.
    pub fn put(
        &mut self,
        port: PortIndex,
        burst: &mut Burst,
        cache: &mut FrameCache,
        losses: &Losses<'_>,
    ) {
        let Port {
            queues, scheduler, ..
        } = &mut self.ports[usize::from(self.positions[port.get()])];
        for frame in burst.drain(..) {
            let class = Class::of_bits(cache.region().note(&frame));
            let queue = scheduler.queue_of(class);
            let (size, chunks) = (frame.size(), frame.segments());
            let of_queue = &queues.counters()[queue];
            match scheduler.put(losses.now_ns, queue, size, chunks, frame) {
                Ok(()) => {
                    of_queue.queued_frames.add(1);
                    of_queue.queued_bytes.add(size as u64);
                    of_queue.set_waiting(scheduler.waiting(queue));
                }
                Err(frame) => {
                    of_queue.full_frames.add(1);
                    losses.lose(cache, port, DropReason::QueueFull, frame);
                }
            }
        }
    }

    /// Lets all ports send what may go now. `transmit` takes frames from the front of a burst as
    /// far as the port takes them.
    pub fn send(
        &mut self,
        cache: &mut FrameCache,
        losses: &Losses<'_>,
        mut transmit: impl FnMut(PortIndex, &mut FrameCache, &mut Burst),
    ) -> Sent {
        let mut sent = Sent::default();
        for port in &mut self.ports {
            let of_port = port.send(cache, losses, &mut transmit);
            sent.frames += of_port.frames;
            sent.wake_ns = sent.wake_ns.into_iter().chain(of_port.wake_ns).min();
        }
        sent
    }

    /// Follows a new snapshot: makes queues for the ports that `worker` sends for now, with what
    /// waits in those that they had before, keeps those that are the same, and gives up the others
    /// with what waits in them.
    pub fn adopt(
        &mut self,
        snapshot: &Snapshot,
        worker: WorkerIndex,
        cache: &mut FrameCache,
        losses: &Losses<'_>,
    ) {
        let queues = &snapshot.rules.qos.queues;
        let share = queued_chunks(cache.region().chunks(), queues.iter().flatten().count());
        let mut before = std::mem::take(&mut self.ports);
        self.positions.fill(NONE);
        for (index, queues) in queues.iter().enumerate() {
            let (port, Some(queues)) = (PortIndex::new(index), queues) else {
                continue;
            };
            let link = snapshot.link_up(port);
            if link.and_then(|link| link.served_by.get(worker.get())) != Some(&worker) {
                continue;
            }
            let found = before.iter().position(|it| it.port == port);
            let found = found.map(|position| before.swap_remove(position));
            self.positions[index] = self.ports.len() as u16;
            let port = match found {
                Some(mut same) if Arc::ptr_eq(&same.queues, queues) => {
                    same.scheduler.set_share(share);
                    same
                }
                other => {
                    let mut anew = Port::new(port, queues, share);
                    if let Some(other) = other {
                        anew.take_over(other, cache, losses);
                    }
                    anew
                }
            };
            self.ports.push(port);
        }
        before
            .into_iter()
            .for_each(|port| port.give_up(cache, losses));
    }

    /// Gives all up with what waits.
    pub fn finish(self, cache: &mut FrameCache, losses: &Losses<'_>) {
        for port in self.ports {
            port.give_up(cache, losses);
        }
    }
}

impl Port {
    /// Empty queues that together hold so many chunks.
    fn new(port: PortIndex, queues: &Arc<PortQueues>, share: usize) -> Self {
        let mut scheduler = Scheduler::new(queues.rules(), QUEUED_CHUNKS_PER_PORT);
        scheduler.set_share(share);
        Self {
            port,
            queues: Arc::clone(queues),
            scheduler,
            ready: Burst::new(),
        }
    }

    /// Lets what waited by other rules wait by these: each frame in the queue that has its class
    /// now, and lost where that has no room.
    fn take_over(&mut self, before: Self, cache: &mut FrameCache, losses: &Losses<'_>) {
        let (port, of_queues) = (self.port, self.queues.counters());
        self.ready = before.ready;
        let region = Arc::clone(cache.region());
        let class_of = |frame: &Frame| Class::of_bits(region.note(frame));
        let lose = |frame, queue: usize| {
            of_queues[queue].full_frames.add(1);
            losses.lose(cache, port, DropReason::QueueFull, frame);
        };
        self.scheduler.take_over(before.scheduler, class_of, lose);
        for (queue, of_queue) in of_queues.iter().enumerate() {
            let waiting = self.scheduler.waiting(queue);
            of_queue.queued_frames.add(waiting.frames.into());
            of_queue.queued_bytes.add(waiting.bytes);
            of_queue.set_waiting(waiting);
        }
    }

    fn send(
        &mut self,
        cache: &mut FrameCache,
        losses: &Losses<'_>,
        transmit: &mut impl FnMut(PortIndex, &mut FrameCache, &mut Burst),
    ) -> Sent {
        let mut sent = Sent::default();
        for _ in 0..BURSTS_PER_TURN {
            let wake_ns = self.fill(cache, losses);
            let count = self.ready.len();
            if count == 0 {
                sent.wake_ns = wake_ns;
                return sent;
            }
            transmit(self.port, cache, &mut self.ready);
            sent.frames += count - self.ready.len();
            if !self.ready.is_empty() {
                sent.wake_ns = Some(losses.now_ns + RETRY_NS);
                return sent;
            }
        }
        // There may be more: come back at once.
        sent.wake_ns = (!self.scheduler.is_empty()).then_some(losses.now_ns);
        sent
    }

    /// Moves frames whose turn it is to `ready`; gives the time of the next one, where one waits.
    fn fill(&mut self, cache: &mut FrameCache, losses: &Losses<'_>) -> Option<u64> {
        let (port, of_queues) = (self.port, self.queues.counters());
        // What did not fit goes first, and alone: nothing overtakes it, and it holds no more back
        // than one burst.
        if !self.ready.is_empty() {
            return None;
        }
        while self.ready.len() < BURST {
            let next = self.scheduler.next(losses.now_ns, |frame, queue| {
                of_queues[queue].late_frames.add(1);
                losses.lose(cache, port, DropReason::QueueLate, frame);
            });
            match next {
                Next::Frame(frame, queue) => {
                    let of_queue = &of_queues[queue];
                    of_queue.sent_frames.add(1);
                    of_queue.sent_bytes.add(frame.size() as u64);
                    of_queue.set_waiting(self.scheduler.waiting(queue));
                    self.ready.push(frame);
                }
                Next::At(ns) => return Some(ns),
                Next::Empty => return None,
            }
        }
        None
    }

    fn give_up(mut self, cache: &mut FrameCache, losses: &Losses<'_>) {
        let waiting = std::iter::from_fn(|| self.scheduler.evict());
        for frame in waiting.chain(self.ready) {
            losses.lose(cache, self.port, DropReason::PortDown, frame);
        }
        for counters in self.queues.counters() {
            counters.set_waiting(Default::default());
        }
    }
}
