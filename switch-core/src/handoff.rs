//! Frames from one worker to another: a ring for each ordered pair of workers.

use arrayvec::ArrayVec;

use crate::{
    limits::{BURST, HANDOFF_RING_SIZE, PortIndex, WorkerIndex},
    mem::{Burst, Frame, spsc},
};

/// A frame that is ready to leave by a port which another worker transmits for.
#[derive(Debug)]
pub struct Handed {
    /// The port.
    pub port: PortIndex,
    /// The frame, tagged for it.
    pub frame: Frame,
}

/// One worker's ends of all its rings.
#[derive(Debug, Default)]
pub struct Handoff {
    /// By worker; none to itself.
    outbound: Vec<Option<spsc::Producer<Handed>>>,
    inbound: Vec<spsc::Consumer<Handed>>,
    /// The inbound ring that is looked at first, so that none starves behind another.
    first: usize,
}

impl Handoff {
    /// The ends for so many workers, in their order.
    #[must_use]
    pub fn mesh(workers: usize) -> Vec<Self> {
        let mut ends: Vec<Self> = (0..workers).map(|_| Self::default()).collect();
        for from in 0..workers {
            for to in 0..workers {
                if from == to {
                    ends[from].outbound.push(None);
                    continue;
                }
                let (producer, consumer) = spsc::ring(HANDOFF_RING_SIZE);
                ends[from].outbound.push(Some(producer));
                ends[to].inbound.push(consumer);
            }
        }
        ends
    }

    /// Hands frames to a worker, from the front of the burst as far as its ring has room; the
    /// others stay. Gives the number handed over.
    pub fn send(&mut self, to: WorkerIndex, port: PortIndex, burst: &mut Burst) -> usize {
        let Some(Some(ring)) = self.outbound.get_mut(to.get()) else {
            return 0;
        };
        let mut handed: ArrayVec<Handed, BURST> = burst
            .drain(..)
            .map(|frame| Handed { port, frame })
            .collect();
        let count = ring.push_batch(&mut handed);
        burst.extend(handed.into_iter().map(|handed| handed.frame));
        count
    }

    /// Takes the frames that other workers have handed over, as many as the list has room for.
    pub fn receive(&mut self, frames: &mut ArrayVec<Handed, BURST>) {
        let (later, now) = self.inbound.split_at_mut(self.first);
        for ring in now.iter_mut().chain(later) {
            ring.pop_batch(frames);
        }
        self.first = (self.first + 1) % self.inbound.len().max(1);
    }

    /// Whether another worker has handed over something.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.inbound.iter().any(|ring| !ring.is_empty())
    }
}
