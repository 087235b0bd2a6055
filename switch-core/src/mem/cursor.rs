//! The two ends of a single-producer single-consumer ring as numbers: who may touch which slot.
//!
//! Both count slots with a `u32` that wraps, as the kernel does (net/xdp/xsk_queue.h). Each end
//! keeps its own position and the last position that it has seen of the other end; it looks again
//! (one Acquire load) only when that says that there is nothing to do, and tells its own position
//! (one Release store) once a batch. A position of the other end that cannot be is taken for
//! "nothing to do": no slot is touched on the word of a corrupt number.

use crate::sync::{AtomicU32, Ordering};

/// The end that fills slots.
#[derive(Debug)]
pub(crate) struct ProducerCursor {
    /// Slots, a power of two.
    size: u32,
    /// The next slot to fill.
    next: u32,
    /// What the other end knows of `next`.
    published: u32,
    /// How far the other end had come when we last looked.
    consumed: u32,
}

impl ProducerCursor {
    /// The cursor of an empty ring whose counters both stand at `start`.
    pub(crate) fn new(size: u32, start: u32) -> Self {
        assert!(size.is_power_of_two());
        Self {
            size,
            next: start,
            published: start,
            consumed: start,
        }
    }

    /// Free slots as far as known; looks at the other end when that is fewer than `wanted`.
    #[inline]
    pub(crate) fn free(&mut self, wanted: u32, consumer: &AtomicU32) -> u32 {
        let free = self.known_free();
        if free >= wanted {
            return free;
        }
        // Acquire: the other end has read the slots that it gives back.
        self.consumed = consumer.load(Ordering::Acquire);
        self.known_free()
    }

    fn known_free(&self) -> u32 {
        self.size
            .saturating_sub(self.next.wrapping_sub(self.consumed))
    }

    /// The index of the next slot to fill, which the caller has seen to be free.
    #[inline]
    pub(crate) fn advance(&mut self) -> usize {
        debug_assert!(self.known_free() > 0);
        let index = self.next & (self.size - 1);
        self.next = self.next.wrapping_add(1);
        index as usize
    }

    /// Tells the other end about all filled slots.
    #[inline]
    pub(crate) fn publish(&mut self, producer: &AtomicU32) {
        if self.published != self.next {
            self.published = self.next;
            // Release: the slots are written before the other end may read them.
            producer.store(self.next, Ordering::Release);
        }
    }

    /// Slots that are filled and told, and that the other end has not taken yet.
    pub(crate) fn pending(&self, consumer: &AtomicU32) -> u32 {
        self.published
            .wrapping_sub(consumer.load(Ordering::Relaxed))
            .min(self.size)
    }
}

/// The end that empties slots.
#[derive(Debug)]
pub(crate) struct ConsumerCursor {
    /// Slots, a power of two.
    size: u32,
    /// The next slot to empty.
    next: u32,
    /// What the other end knows of `next`.
    released: u32,
    /// How far the other end had come when we last looked.
    produced: u32,
}

impl ConsumerCursor {
    /// The cursor of an empty ring whose counters both stand at `start`.
    pub(crate) fn new(size: u32, start: u32) -> Self {
        assert!(size.is_power_of_two());
        Self {
            size,
            next: start,
            released: start,
            produced: start,
        }
    }

    /// Filled slots as far as known; looks at the other end when that is none.
    #[inline]
    pub(crate) fn available(&mut self, producer: &AtomicU32) -> u32 {
        let available = self.known_available();
        if available > 0 {
            return available;
        }
        // Acquire: the other end has written the slots that it tells about.
        self.produced = producer.load(Ordering::Acquire);
        self.known_available()
    }

    fn known_available(&self) -> u32 {
        let available = self.produced.wrapping_sub(self.next);
        if available <= self.size { available } else { 0 }
    }

    /// The index of the next slot to empty, which the caller has seen to be filled.
    #[inline]
    pub(crate) fn advance(&mut self) -> usize {
        debug_assert!(self.known_available() > 0);
        let index = self.next & (self.size - 1);
        self.next = self.next.wrapping_add(1);
        index as usize
    }

    /// Gives all emptied slots back to the other end.
    #[inline]
    pub(crate) fn release(&mut self, consumer: &AtomicU32) {
        if self.released != self.next {
            self.released = self.next;
            // Release: the slots are read before the other end may write them again.
            consumer.store(self.next, Ordering::Release);
        }
    }

    /// Slots that are filled and not emptied yet.
    pub(crate) fn pending(&self, producer: &AtomicU32) -> u32 {
        let pending = producer.load(Ordering::Relaxed).wrapping_sub(self.next);
        if pending <= self.size { pending } else { 0 }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_impossible_position_means_nothing_to_do() {
        for start in [0, 5, u32::MAX, u32::MAX - 3] {
            for ahead in [5_u32, 100, u32::MAX / 2, u32::MAX - 4] {
                let mut consumer = ConsumerCursor::new(4, start);
                let produced = AtomicU32::new(start.wrapping_add(ahead));
                assert_eq!(consumer.available(&produced), 0);
                assert_eq!(consumer.pending(&produced), 0);
                // It heals when the other end does.
                produced.store(start.wrapping_add(4), Ordering::Relaxed);
                assert_eq!(consumer.available(&produced), 4);

                let mut producer = ProducerCursor::new(4, start);
                let consumed = AtomicU32::new(start.wrapping_add(ahead));
                producer.free(1, &consumed);
                while producer.free(1, &consumed) > 0 {
                    producer.advance();
                }
                let filled = producer.next.wrapping_sub(start);
                assert!(filled <= 4, "{filled} slots filled of 4");
            }
        }
    }
}
