//! What the control thread tells a worker, and what it gets back.
//!
//! Orders go through a bounded queue for each worker and are carried out between bursts, in their
//! order. What a worker no longer needs goes back the same way, so that it is freed by the control
//! thread and never in a worker's loop.

use std::{io, sync::Arc};

use crossbeam::queue::ArrayQueue;

use crate::{
    config::snapshot::Snapshot,
    limits::{PortIndex, WorkerIndex},
    port::{Queue, wait::Waker},
};

/// Orders that may wait for a worker; the control thread waits for answers long before.
const MAILBOX_SIZE: usize = 256;

/// What a worker is to do between two bursts.
#[derive(Debug)]
pub enum Order {
    /// Read this snapshot from now on.
    Adopt(Arc<Snapshot>),
    /// Serve this queue of a port.
    Attach(PortIndex, Box<Queue>),
    /// Give all queues of a port back.
    Detach(PortIndex),
    /// Bring the counters that the kernel keeps for the queues up to date.
    Refresh,
    /// End.
    Stop,
}

/// What a worker gives back.
#[derive(Debug)]
pub enum Answer {
    /// The snapshot that it read before.
    Adopted(Arc<Snapshot>),
    /// A queue that it no longer serves.
    Detached(Box<Queue>),
    /// There are no more queues of the port that was to be given back.
    DetachedAll,
    /// What the kernel has counted is in the counters.
    Refreshed,
}

/// The two-way letter box of one worker.
#[derive(Debug)]
pub struct Mailbox {
    orders: ArrayQueue<Order>,
    answers: ArrayQueue<Answer>,
    waker: Waker,
}

impl Mailbox {
    fn new() -> io::Result<Self> {
        Ok(Self {
            orders: ArrayQueue::new(MAILBOX_SIZE),
            answers: ArrayQueue::new(2 * MAILBOX_SIZE),
            waker: Waker::new()?,
        })
    }

    /// Wakes the worker.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Gives an order.
    ///
    /// # Errors
    /// Gives it back when the worker has not read the last [`MAILBOX_SIZE`] ones.
    pub fn order(&self, order: Order) -> Result<(), Order> {
        self.orders.push(order)?;
        self.waker.wake();
        Ok(())
    }

    /// The next order, for the worker.
    #[inline]
    pub fn next_order(&self) -> Option<Order> {
        // Nearly always empty: a load, not the locked operation of `pop`.
        if self.orders.is_empty() {
            None
        } else {
            self.orders.pop()
        }
    }

    /// Whether an order waits.
    pub fn has_order(&self) -> bool {
        !self.orders.is_empty()
    }

    /// Gives an answer, from the worker.
    ///
    /// # Panics
    /// When the control thread has not read the last 512 answers: it gives an order only when it
    /// can take the answers.
    pub fn answer(&self, answer: Answer) {
        assert!(
            self.answers.push(answer).is_ok(),
            "the control thread reads its answers"
        );
    }

    /// The next answer, for the control thread.
    pub fn next_answer(&self) -> Option<Answer> {
        self.answers.pop()
    }
}

/// The letter boxes of all workers.
#[derive(Debug)]
pub struct Mailboxes(Box<[Mailbox]>);

impl Mailboxes {
    /// Empty letter boxes for so many workers.
    ///
    /// # Errors
    /// When the process has no descriptor left.
    pub fn new(workers: usize) -> io::Result<Self> {
        (0..workers)
            .map(|_| Mailbox::new())
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// The letter box of one worker.
    #[must_use]
    #[inline]
    pub fn of(&self, worker: WorkerIndex) -> &Mailbox {
        &self.0[worker.get()]
    }
}
