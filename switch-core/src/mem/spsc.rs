//! A bounded ring between two threads for values that move: the hand-off from worker to worker.
//!
//! One end pushes, the other pops; a value is owned by the pusher before, by the ring while it is
//! in there, and by the popper afterwards. Nothing is allocated once the ring is made, nothing
//! blocks, and what is left in the ring is dropped with it.

use std::{fmt, mem::MaybeUninit};

use arrayvec::ArrayVec;
use crossbeam::utils::CachePadded;

use super::cursor::{ConsumerCursor, ProducerCursor};
use crate::sync::{Arc, AtomicU32, Ordering, UnsafeCell};

/// What both ends share. The positions are on cache lines of their own: each is written by one end.
struct Shared<T> {
    produced: CachePadded<AtomicU32>,
    consumed: CachePadded<AtomicU32>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a slot is touched by the producer while it is free and by the consumer while it is
// filled; the cursors hand it over with Release and Acquire. Values cross threads: T is Send.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let mask = self.slots.len() as u32 - 1;
        let produced = self.produced.load(Ordering::Relaxed);
        let mut next = self.consumed.load(Ordering::Relaxed);
        while next != produced {
            // SAFETY: both ends are gone, and the slots from consumed to produced hold values.
            self.slots[(next & mask) as usize]
                .with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            next = next.wrapping_add(1);
        }
    }
}

/// The end that values go into.
pub struct Producer<T> {
    cursor: ProducerCursor,
    shared: Arc<Shared<T>>,
}

/// The end that values come out of, in the order they went in.
pub struct Consumer<T> {
    cursor: ConsumerCursor,
    shared: Arc<Shared<T>>,
}

/// A ring of `size` slots.
///
/// # Panics
/// When the size is no power of two.
#[must_use]
pub fn ring<T: Send>(size: usize) -> (Producer<T>, Consumer<T>) {
    ring_from(size, 0)
}

/// A ring whose positions begin at `start`, so that tests see the wrap.
fn ring_from<T: Send>(size: usize, start: u32) -> (Producer<T>, Consumer<T>) {
    let count = u32::try_from(size).expect("the size of a ring fits 32 bits");
    let slots = (0..size).map(|_| UnsafeCell::new(MaybeUninit::uninit()));
    let shared = Arc::new(Shared {
        produced: CachePadded::new(AtomicU32::new(start)),
        consumed: CachePadded::new(AtomicU32::new(start)),
        slots: slots.collect(),
    });
    let producer = Producer {
        cursor: ProducerCursor::new(count, start),
        shared: shared.clone(),
    };
    let consumer = Consumer {
        cursor: ConsumerCursor::new(count, start),
        shared,
    };
    (producer, consumer)
}

impl<T: Send> Producer<T> {
    /// Puts one value in.
    ///
    /// # Errors
    /// Gives it back when the ring is full.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.cursor.free(1, &self.shared.consumed) == 0 {
            return Err(value);
        }
        self.write(value);
        self.cursor.publish(&self.shared.produced);
        Ok(())
    }

    /// Moves values in, from the front of the list, until it is empty or the ring full; those that
    /// did not fit stay in the list, in their order. Gives the number moved.
    pub fn push_batch<const N: usize>(&mut self, values: &mut ArrayVec<T, N>) -> usize {
        let free = self.cursor.free(values.len() as u32, &self.shared.consumed) as usize;
        let count = values.len().min(free);
        for value in values.drain(..count) {
            self.write(value);
        }
        self.cursor.publish(&self.shared.produced);
        count
    }

    fn write(&mut self, value: T) {
        let slot = &self.shared.slots[self.cursor.advance()];
        // SAFETY: the caller saw a free slot; it is ours until the cursor is published.
        slot.with_mut(|slot| unsafe { slot.write(MaybeUninit::new(value)) });
    }

    /// Whether the consumer is gone: nobody will take what is pushed.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.shared) == 1
    }
}

impl<T: Send> Consumer<T> {
    /// Takes the oldest value out.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        let value = self.read()?;
        self.cursor.release(&self.shared.consumed);
        Some(value)
    }

    /// Moves values to the end of the list until it is full or the ring empty; gives the number.
    pub fn pop_batch<const N: usize>(&mut self, values: &mut ArrayVec<T, N>) -> usize {
        let before = values.len();
        while !values.is_full()
            && let Some(value) = self.read()
        {
            values.push(value);
        }
        self.cursor.release(&self.shared.consumed);
        values.len() - before
    }

    fn read(&mut self) -> Option<T> {
        if self.cursor.available(&self.shared.produced) == 0 {
            return None;
        }
        let slot = &self.shared.slots[self.cursor.advance()];
        // SAFETY: the producer published this slot; it is ours until the cursor is released, and
        // the cursor never comes back to it before the producer has written it again.
        Some(slot.with(|slot| unsafe { (*slot).assume_init_read() }))
    }

    /// Whether nothing waits in the ring now: one load, for a worker that wants to sleep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Values that wait in the ring now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cursor.pending(&self.shared.produced) as usize
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cursor.fmt(f)
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cursor.fmt(f)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::{collections::VecDeque, sync::Arc};

    use proptest::prelude::*;

    use super::*;

    /// What one end does next.
    #[derive(Clone, Debug)]
    enum Step {
        Push,
        PushBatch(usize),
        Pop,
        PopBatch(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            Just(Step::Push),
            (0..8_usize).prop_map(Step::PushBatch),
            Just(Step::Pop),
            (0..8_usize).prop_map(Step::PopBatch),
        ]
    }

    /// Runs the steps on a ring and on a `VecDeque`; each value counts its owners.
    fn run(size: usize, start: u32, steps: &[Step]) {
        let alive = Arc::new(());
        let (mut producer, mut consumer) = ring_from(size, start);
        let mut model = VecDeque::new();
        let mut next = 0;
        let mut value = || {
            next += 1;
            (next, Arc::clone(&alive))
        };
        for step in steps {
            match step {
                Step::Push => {
                    let value = value();
                    let number = value.0;
                    assert_eq!(producer.push(value).is_ok(), model.len() < size);
                    if model.len() < size {
                        model.push_back(number);
                    }
                }
                Step::PushBatch(count) => {
                    let mut batch: ArrayVec<_, 8> = (0..*count).map(|_| value()).collect();
                    let numbers: Vec<_> = batch.iter().map(|value| value.0).collect();
                    let moved = producer.push_batch(&mut batch);
                    assert_eq!(moved, (size - model.len()).min(*count));
                    assert_eq!(batch.len(), count - moved);
                    assert!(
                        batch
                            .iter()
                            .map(|value| value.0)
                            .eq(numbers[moved..].iter().copied())
                    );
                    model.extend(&numbers[..moved]);
                }
                Step::Pop => {
                    assert_eq!(consumer.pop().map(|value| value.0), model.pop_front());
                }
                Step::PopBatch(room) => {
                    let filler = (0..8 - room).map(|_| (0, Arc::clone(&alive)));
                    let mut batch: ArrayVec<_, 8> = filler.collect();
                    let moved = consumer.pop_batch(&mut batch);
                    assert_eq!(moved, model.len().min(*room));
                    assert!(
                        batch[8 - room..]
                            .iter()
                            .map(|value| value.0)
                            .eq(model.drain(..moved))
                    );
                }
            }
            assert_eq!(consumer.len(), model.len());
            assert_eq!(Arc::strong_count(&alive), 1 + model.len());
        }
        assert!(!producer.is_abandoned());
        drop(consumer);
        assert!(producer.is_abandoned());
        drop(producer);
        assert_eq!(
            Arc::strong_count(&alive),
            1,
            "what was left is dropped, once"
        );
    }

    proptest! {
        #[test]
        fn a_ring_is_a_bounded_queue(
            size in (0..5_u32).prop_map(|bits| 1 << bits),
            start in prop_oneof![any::<u32>(), u32::MAX - 40..=u32::MAX],
            steps in prop::collection::vec(step(), 0..200),
        ) {
            run(size, start, &steps);
        }
    }

    #[test]
    fn two_threads_pass_everything_in_order() {
        let (mut producer, mut consumer) = ring_from(8, u32::MAX - 1000);
        let count = 20_000_u32;
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut batch = ArrayVec::<u32, 5>::new();
                let mut next = 0;
                while next < count || !batch.is_empty() {
                    while next < count && batch.try_push(next).is_ok() {
                        next += 1;
                    }
                    if producer.push_batch(&mut batch) == 0 {
                        std::thread::yield_now();
                    }
                }
            });
            let mut expected = 0;
            while expected < count {
                let mut batch = ArrayVec::<u32, 7>::new();
                if consumer.pop_batch(&mut batch) == 0 {
                    std::thread::yield_now();
                }
                for value in batch {
                    assert_eq!(value, expected);
                    expected += 1;
                }
            }
        });
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    /// A value that is counted while it lives.
    struct Counted(u32, Arc<AtomicU32>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Four values through two slots that wrap, of which the consumer takes only some: each
    /// arrives once, in order, and what is left is dropped with the ring.
    #[test]
    fn loom_values_move_and_the_rest_is_dropped() {
        loom::model(|| {
            let alive = Arc::new(AtomicU32::new(4));
            let (mut producer, mut consumer) = ring_from(2, u32::MAX);
            let mut values: ArrayVec<_, 4> = (0..4)
                .map(|number| Counted(number, alive.clone()))
                .collect();
            let pusher = thread::spawn(move || {
                for _ in 0..3 {
                    producer.push_batch(&mut values);
                    thread::yield_now();
                }
            });
            let mut expected = 0;
            for _ in 0..2 {
                let mut batch = ArrayVec::<_, 2>::new();
                consumer.pop_batch(&mut batch);
                for Counted(number, _) in &batch {
                    assert_eq!(*number, expected);
                    expected += 1;
                }
                thread::yield_now();
            }
            drop(consumer);
            pusher.join().expect("the pusher ends");
            assert_eq!(alive.load(Ordering::Relaxed), 0);
        });
    }
}
