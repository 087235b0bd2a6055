//! The four rings of an AF_XDP socket, as xsk.h has them.
//!
//! A ring is made over memory that holds its positions, flags and entries: mapped from the kernel
//! (`Ring::mapped`), or plain memory shared with whoever plays the kernel (`testing`).
//! The entries are plain numbers: whatever the other side writes there, reading it is harmless, and
//! following it is for `queue` to decide.

use std::{any::Any, ptr::NonNull};

use super::mapping::Mapping;
use crate::{
    mem::{ConsumerCursor, ProducerCursor},
    sync::{AtomicU32, Ordering, UnsafeCell},
};

/// `struct xdp_desc` (include/uapi/linux/if_xdp.h): an entry of an RX or TX ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct XdpDesc {
    /// Offset of the first byte in the UMEM.
    pub addr: u64,
    /// Bytes of this segment.
    pub len: u32,
    /// `XDP_PKT_CONTD` and others.
    pub options: u32,
}

const _: () = assert!(size_of::<XdpDesc>() == size_of::<libc::xdp_desc>());

/// Chunks on their way to the kernel, to be filled with received frames.
pub(super) type FillRing = Producer<u64>;
/// Chunks of transmitted frames on their way back.
pub(super) type CompletionRing = Consumer<u64>;
/// Received frames.
pub(super) type RxRing = Consumer<XdpDesc>;
/// Frames to transmit.
pub(super) type TxRing = Producer<XdpDesc>;

/// Where the words of a ring are.
#[derive(Debug)]
pub(super) struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<UnsafeCell<T>>,
    size: u32,
    /// What keeps the memory alive.
    _owner: Box<dyn Any + Send>,
}

// SAFETY: the memory lives as long as the ring (`_owner`) and is valid from any thread; positions
// and flags are atomics, and the cursors say whose an entry is.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T> Ring<T> {
    /// A ring in memory that is mapped from the kernel, with the offsets that it gave.
    ///
    /// `None` when the offsets do not lie in the mapping or are not aligned.
    pub(super) fn mapped(
        mapping: Mapping,
        offsets: &libc::xdp_ring_offset,
        size: u32,
    ) -> Option<Self> {
        if cfg!(loom) {
            // The model checker's atomics are not words of the kernel's.
            return None;
        }
        let word = |offset| mapping.place::<AtomicU32>(offset, 1);
        Some(Self {
            producer: word(offsets.producer)?,
            consumer: word(offsets.consumer)?,
            flags: word(offsets.flags)?,
            entries: mapping.place::<UnsafeCell<T>>(offsets.desc, size as usize)?,
            size,
            _owner: Box::new(mapping),
        })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: points to an aligned word of memory that lives as long as `self`, and that both
        // sides access atomically only.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as for `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn flags(&self) -> u32 {
        // SAFETY: as for `producer`.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed)
    }

    fn entry(&self, index: usize) -> &UnsafeCell<T> {
        assert!(index < self.size as usize);
        // SAFETY: there are `size` entries, and the index is below that.
        unsafe { self.entries.add(index).as_ref() }
    }
}

/// Our end of a ring that we fill.
#[derive(Debug)]
pub(super) struct Producer<T> {
    cursor: ProducerCursor,
    ring: Ring<T>,
}

impl<T: Copy> Producer<T> {
    /// The producer of a ring that is empty.
    pub(super) fn new(ring: Ring<T>) -> Self {
        let start = ring.producer().load(Ordering::Relaxed);
        Self {
            cursor: ProducerCursor::new(ring.size, start),
            ring,
        }
    }

    /// Free entries; looks at the consumer when fewer than `wanted` are known of.
    #[inline]
    pub(super) fn free(&mut self, wanted: u32) -> u32 {
        self.cursor.free(wanted, self.ring.consumer())
    }

    /// Writes the next entry, which the other side sees after `publish`.
    ///
    /// # Panics
    /// When the caller has not seen a free entry.
    #[inline]
    pub(super) fn push(&mut self, value: T) {
        assert!(self.free(1) > 0);
        let entry = self.ring.entry(self.cursor.advance());
        // SAFETY: a free entry is ours until it is published. Volatile: the memory is shared with
        // the kernel.
        entry.with_mut(|entry| unsafe { entry.write_volatile(value) });
    }

    /// Shows the other side all entries that have been pushed.
    #[inline]
    pub(super) fn publish(&mut self) {
        self.cursor.publish(self.ring.producer());
    }

    /// Whether the kernel waits to be told about new entries (`XDP_RING_NEED_WAKEUP`).
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.ring.flags() & libc::XDP_RING_NEED_WAKEUP != 0
    }

    /// Entries that the other side has not taken yet.
    #[inline]
    pub(super) fn pending(&self) -> u32 {
        self.cursor.pending(self.ring.consumer())
    }
}

/// Our end of a ring that the other side fills.
#[derive(Debug)]
pub(super) struct Consumer<T> {
    cursor: ConsumerCursor,
    ring: Ring<T>,
}

impl<T: Copy> Consumer<T> {
    /// The consumer of a ring of which nothing has been taken.
    pub(super) fn new(ring: Ring<T>) -> Self {
        let start = ring.consumer().load(Ordering::Relaxed);
        Self {
            cursor: ConsumerCursor::new(ring.size, start),
            ring,
        }
    }

    /// Takes the next entry; the other side has it back after `release`.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.cursor.available(self.ring.producer()) == 0 {
            return None;
        }
        let entry = self.ring.entry(self.cursor.advance());
        // SAFETY: a filled entry is ours until it is released. Volatile: read once, whatever a
        // faulty other side does to it meanwhile; any bits are a valid value of our two types.
        Some(entry.with(|entry| unsafe { entry.read_volatile() }))
    }

    /// Gives all entries that have been taken back to the other side.
    #[inline]
    pub(super) fn release(&mut self) {
        self.cursor.release(self.ring.consumer());
    }

    /// Entries that wait to be taken.
    #[inline]
    pub(super) fn pending(&self) -> u32 {
        self.cursor.pending(self.ring.producer())
    }
}

/// Rings over plain memory, and the kernel's end of them: for tests, and for `plain`.
pub(super) mod testing {
    use std::{fs::File, io};

    use super::*;
    use crate::{
        limits::{COMPLETION_RING_SIZE, FILL_RING_SIZE, RX_RING_SIZE},
        port::xdp::socket::{Rings, Socket},
        sync::Arc,
    };

    /// The kernel's ends of a socket's rings.
    #[derive(Debug)]
    pub(in super::super) struct KernelRings {
        pub(in super::super) fill: Consumer<u64>,
        pub(in super::super) completion: Producer<u64>,
        pub(in super::super) rx: Producer<XdpDesc>,
        pub(in super::super) tx: Consumer<XdpDesc>,
    }

    /// A socket that takes frames in several segments, with rings of the usual sizes but for TX,
    /// whose positions begin at `start`; and the other ends of the rings.
    ///
    /// # Errors
    /// When `/dev/null`, which stands in for the socket, cannot be opened.
    pub(in super::super) fn socket(tx_size: u32, start: u32) -> io::Result<(Socket, KernelRings)> {
        let (fill, kernel_fill) = pair(FILL_RING_SIZE as u32, start);
        let (kernel_completion, completion) = pair(COMPLETION_RING_SIZE as u32, start);
        let (kernel_rx, rx) = pair(RX_RING_SIZE as u32, start);
        let (tx, kernel_tx) = pair(tx_size, start);
        let socket = Socket {
            rings: Rings {
                fill,
                completion,
                rx,
                tx,
            },
            fd: File::open("/dev/null")?.into(),
            zero_copy: false,
            multi_buffer: true,
        };
        let kernel = KernelRings {
            fill: kernel_fill,
            completion: kernel_completion,
            rx: kernel_rx,
            tx: kernel_tx,
        };
        Ok((socket, kernel))
    }

    /// A ring's memory, with nothing of the kernel in it.
    #[derive(Debug)]
    pub(in super::super) struct PlainRing<T> {
        producer: AtomicU32,
        consumer: AtomicU32,
        flags: AtomicU32,
        entries: Box<[UnsafeCell<T>]>,
    }

    // SAFETY: as for `Ring`.
    unsafe impl<T: Send> Send for PlainRing<T> {}
    // SAFETY: as for `Ring`.
    unsafe impl<T: Send> Sync for PlainRing<T> {}

    #[cfg(all(test, not(loom)))]
    impl<T> PlainRing<T> {
        /// What the kernel does to the words, whether it may or not.
        pub(in super::super) fn producer(&self) -> &AtomicU32 {
            &self.producer
        }

        /// As `producer`.
        pub(in super::super) fn consumer(&self) -> &AtomicU32 {
            &self.consumer
        }

        /// As `producer`.
        pub(in super::super) fn flags(&self) -> &AtomicU32 {
            &self.flags
        }
    }

    /// Memory for a ring whose positions begin at `start`.
    pub(in super::super) fn plain<T: Default>(size: u32, start: u32) -> Arc<PlainRing<T>> {
        Arc::new(PlainRing {
            producer: AtomicU32::new(start),
            consumer: AtomicU32::new(start),
            flags: AtomicU32::new(0),
            entries: (0..size).map(|_| UnsafeCell::new(T::default())).collect(),
        })
    }

    /// One end of the ring in this memory. There may be one producer and one consumer.
    pub(in super::super) fn end<T: Send + 'static>(ring: &Arc<PlainRing<T>>) -> Ring<T> {
        Ring {
            producer: NonNull::from(&ring.producer),
            consumer: NonNull::from(&ring.consumer),
            flags: NonNull::from(&ring.flags),
            entries: NonNull::from(&ring.entries[0]),
            size: ring.entries.len() as u32,
            _owner: Box::new(ring.clone()),
        }
    }

    /// Both ends of one ring.
    pub(in super::super) fn pair<T: Copy + Default + Send + 'static>(
        size: u32,
        start: u32,
    ) -> (Producer<T>, Consumer<T>) {
        let ring = plain(size, start);
        (Producer::new(end(&ring)), Consumer::new(end(&ring)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    /// What one side does next.
    #[derive(Clone, Debug)]
    enum Step {
        Push(u32),
        Publish,
        Pop(u32),
        Release,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (1..6_u32).prop_map(Step::Push),
            Just(Step::Publish),
            (1..6_u32).prop_map(Step::Pop),
            Just(Step::Release),
        ]
    }

    /// Runs the steps on a ring and on a `VecDeque` that knows what is pushed, published and free.
    fn run(size: u32, start: u32, steps: &[Step]) {
        let (mut producer, mut consumer) = testing::pair::<u64>(size, start);
        let (mut staged, mut visible) = (VecDeque::new(), VecDeque::new());
        let (mut next, mut taken) = (0_u64, 0);
        for step in steps {
            match step {
                Step::Push(count) => {
                    let model = size - staged.len() as u32 - visible.len() as u32 - taken;
                    let free = producer.free(size);
                    assert_eq!(free, model);
                    for _ in 0..free.min(*count) {
                        producer.push(next);
                        staged.push_back(next);
                        next += 1;
                    }
                }
                Step::Publish => {
                    producer.publish();
                    visible.append(&mut staged);
                }
                Step::Pop(count) => {
                    for _ in 0..*count {
                        let expected = visible.pop_front();
                        assert_eq!(consumer.pop(), expected);
                        taken += u32::from(expected.is_some());
                    }
                }
                Step::Release => {
                    consumer.release();
                    taken = 0;
                }
            }
            assert_eq!(consumer.pending() as usize, visible.len());
            assert_eq!(producer.pending() as usize, visible.len() + taken as usize);
        }
    }

    proptest! {
        #[test]
        fn a_ring_is_a_queue(
            size in (0..6_u32).prop_map(|bits| 1 << bits),
            start in any::<u32>(),
            steps in prop::collection::vec(step(), 0..200),
        ) {
            run(size, start, &steps);
        }

        #[test]
        fn a_ring_is_a_queue_where_the_positions_wrap(
            size in (0..6_u32).prop_map(|bits| 1 << bits),
            before in 0..40_u32,
            steps in prop::collection::vec(step(), 100..300),
        ) {
            run(size, u32::MAX - before, &steps);
        }
    }

    #[test]
    fn corrupt_positions_do_no_harm() {
        for start in [0, u32::MAX - 1] {
            let ring = testing::plain::<u64>(4, start);
            let mut rx = Consumer::new(testing::end(&ring));
            ring.producer()
                .store(start.wrapping_add(5), Ordering::Release);
            assert_eq!((rx.pop(), rx.pending()), (None, 0));

            let ring = testing::plain::<u64>(4, start);
            let mut tx = Producer::new(testing::end(&ring));
            for value in 0..4 {
                tx.push(value);
            }
            tx.publish();
            assert_eq!(tx.free(1), 0);
            // The other side claims to have taken more than there was.
            ring.consumer()
                .store(start.wrapping_add(9), Ordering::Release);
            assert_eq!(tx.free(1), 0);
            ring.consumer()
                .store(start.wrapping_add(4), Ordering::Release);
            assert_eq!(tx.free(1), 4);
        }
    }

    #[test]
    fn the_wakeup_flag_is_the_kernels() {
        let ring = testing::plain::<u64>(4, 0);
        let tx = Producer::new(testing::end(&ring));
        assert!(!tx.needs_wakeup());
        ring.flags().store(2, Ordering::Relaxed);
        assert!(!tx.needs_wakeup());
        ring.flags()
            .store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
        assert!(tx.needs_wakeup());
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    /// Two threads on a ring of two entries that wraps: every value arrives once, in order, and
    /// loom sees no entry that both ends touch at once.
    #[test]
    fn loom_values_arrive_in_order() {
        loom::model(|| {
            let (mut producer, mut consumer) = testing::pair::<u64>(2, u32::MAX);
            let filler = thread::spawn(move || {
                let mut next = 0;
                while next < 4 {
                    let free = producer.free(1).min(4 - next);
                    for _ in 0..free {
                        producer.push(u64::from(next));
                        next += 1;
                    }
                    producer.publish();
                    thread::yield_now();
                }
            });
            let mut expected = 0;
            while expected < 4 {
                while let Some(value) = consumer.pop() {
                    assert_eq!(value, expected);
                    expected += 1;
                }
                consumer.release();
                thread::yield_now();
            }
            filler.join().expect("the filler ends");
        });
    }
}
