//! The queue against a kernel that is played by the test, over plain memory: no root, no device.

use std::{collections::VecDeque, sync::atomic::Ordering};

use proptest::prelude::*;

use super::*;
use crate::{
    limits::{HEADROOM, MAX_FRAME_SIZE, MAX_SEGMENTS, SLAB_SIZE},
    mem::{HugePages, Region},
    port::xdp::ring::{
        Producer,
        testing::{self, KernelRings},
    },
};

const CHUNKS: usize = 4 * SLAB_SIZE;
const TX_SIZE: u32 = 16;

/// The other ends of the rings.
struct Kernel {
    rings: KernelRings,
    /// Chunks from the fill ring.
    free: VecDeque<u64>,
    region: Arc<Region>,
}

impl Kernel {
    /// Receives a frame into as many chunks as it takes, as `__xsk_rcv` does; false when it has too
    /// few, as the kernel drops the frame then.
    fn deliver(&mut self, bytes: &[u8], segment_size: usize) -> bool {
        while let Some(chunk) = self.rings.fill.pop() {
            self.free.push_back(chunk);
        }
        self.rings.fill.release();
        let count = bytes.len().div_ceil(segment_size);
        if self.free.len() < count || (self.rings.rx.free(count as u32) as usize) < count {
            return false;
        }
        for (index, part) in bytes.chunks(segment_size).enumerate() {
            let addr = self.free.pop_front().expect("counted") + HEADROOM as u64;
            let chunk = ChunkAddress::containing(addr as u32);
            let _written = self.region.fill(chunk, HEADROOM, part);
            let more = index + 1 < count;
            self.rings.rx.push(XdpDesc {
                addr,
                len: part.len() as u32,
                options: if more { libc::XDP_PKT_CONTD } else { 0 },
            });
        }
        self.rings.rx.publish();
        true
    }

    /// Shows a descriptor that nobody asked for.
    fn show(&mut self, desc: XdpDesc) {
        if self.rings.rx.free(1) > 0 {
            self.rings.rx.push(desc);
            self.rings.rx.publish();
        }
    }

    /// Sends the frames of up to `count` descriptors and completes them; gives the frames.
    fn send(&mut self) -> Vec<Vec<u8>> {
        let mut frames = vec![Vec::new()];
        while let Some(desc) = self.rings.tx.pop() {
            let frame = Frame::from_segment(desc.addr as u32, desc.len as u16);
            let bytes = self.region.bytes(&frame).collect::<Vec<_>>().concat();
            frames.last_mut().expect("one").extend(bytes);
            if desc.options & libc::XDP_PKT_CONTD == 0 {
                frames.push(Vec::new());
            }
            self.rings.completion.push(desc.addr);
        }
        self.rings.tx.release();
        self.rings.completion.publish();
        assert_eq!(frames.pop(), Some(Vec::new()), "frames are sent whole");
        frames
    }
}

/// A queue, the kernel that it talks to, and the pool.
fn queue(start: u32) -> (XdpQueue, Kernel, Arc<Pool>) {
    let region = Arc::new(Region::new(CHUNKS, HugePages::No).expect("a region"));
    let pool = Pool::new(Arc::clone(&region));
    let (socket, rings) = testing::socket(TX_SIZE, start).expect("/dev/null");
    let kernel = Kernel {
        rings,
        free: VecDeque::new(),
        region,
    };
    let queue = XdpQueue::new(socket, &pool, &XdpConfig::new(0, 0));
    (queue, kernel, pool)
}

fn text(cache: &FrameCache, frame: &Frame) -> Vec<u8> {
    cache.region().bytes(frame).collect::<Vec<_>>().concat()
}

fn pattern(size: usize, seed: usize) -> Vec<u8> {
    (0..size)
        .map(|index| (index * 31 + seed + (index >> 8)) as u8)
        .collect()
}

/// What happens next, on either side.
#[derive(Clone, Debug)]
enum Step {
    Deliver(usize, usize),
    Corrupt(u64, u32, u32),
    Receive,
    Transmit(usize),
    Send,
    Reclaim,
    FreeBurst,
}

fn step() -> impl Strategy<Value = Step> {
    let sizes = prop_oneof![14..1600_usize, 1600..MAX_FRAME_SIZE + 600];
    prop_oneof![
        4 => (sizes.clone(), 500..=CHUNK_SIZE - HEADROOM).prop_map(|(a, b)| Step::Deliver(a, b)),
        1 => (prop_oneof![0..CHUNKS as u64 * 2048 + 4096, any::<u64>()], any::<u32>(), 0..2_u32)
            .prop_map(|(addr, len, options)| Step::Corrupt(addr, len, options)),
        3 => Just(Step::Receive),
        3 => sizes.prop_map(|size| Step::Transmit(size.min(MAX_FRAME_SIZE))),
        2 => Just(Step::Send),
        1 => Just(Step::Reclaim),
        1 => Just(Step::FreeBurst),
    ]
}

/// Runs the steps, checks that frames come out as they went in, and that every chunk is somewhere.
fn run(start: u32, steps: &[Step], corrupt: bool) {
    let (mut queue, mut kernel, pool) = queue(start);
    let mut cache = FrameCache::new(Arc::clone(&pool));
    let (mut burst, mut out) = (Burst::new(), Burst::new());
    let (mut arriving, mut leaving) = (VecDeque::new(), VecDeque::new());
    for (number, step) in steps.iter().enumerate() {
        match *step {
            Step::Deliver(size, segment_size) => {
                let bytes = pattern(size, number);
                let fits = size <= MAX_FRAME_SIZE && size.div_ceil(segment_size) <= MAX_SEGMENTS;
                if kernel.deliver(&bytes, segment_size) && fits {
                    arriving.push_back(bytes);
                }
            }
            Step::Corrupt(addr, len, options) if corrupt => {
                kernel.show(XdpDesc { addr, len, options });
            }
            Step::Receive | Step::Corrupt(..) => {
                let before = burst.len();
                queue.receive(&mut cache, &mut burst);
                for frame in burst[before..].iter().filter(|_| !corrupt) {
                    assert_eq!(Some(text(&cache, frame)), arriving.pop_front());
                }
            }
            Step::Transmit(size) => {
                let bytes = pattern(size, number);
                if let (false, Some(frame)) = (out.is_full(), cache.frame_from(&bytes)) {
                    out.push(frame);
                    leaving.push_back(bytes);
                }
                queue.transmit(&mut cache, &mut out);
            }
            Step::Send => {
                for bytes in kernel.send() {
                    assert_eq!(Some(bytes), leaving.pop_front());
                }
            }
            Step::Reclaim => {
                queue.reclaim(&mut cache);
            }
            Step::FreeBurst => burst.drain(..).for_each(|frame| cache.free(frame)),
        }
        let in_bursts: usize = burst.iter().chain(&out).map(Frame::segments).sum();
        let all = pool.free_chunks() + cache.len() + in_bursts + queue.in_flight().total();
        assert_eq!(all, CHUNKS);
    }
    burst
        .drain(..)
        .chain(out.drain(..))
        .for_each(|frame| cache.free(frame));
    queue.close(&mut cache);
    drop(cache);
    assert_eq!(pool.free_chunks(), CHUNKS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_cross_and_chunks_are_never_lost(
        start in prop_oneof![any::<u32>(), u32::MAX - 100..=u32::MAX],
        steps in prop::collection::vec(step(), 0..200),
    ) {
        run(start, &steps, false);
    }

    #[test]
    fn a_corrupt_kernel_cannot_make_a_chunk_appear_twice(
        start in any::<u32>(),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        run(start, &steps, true);
    }
}

#[test]
fn descriptors_that_cannot_be_are_counted_and_not_followed() {
    let (mut queue, mut kernel, pool) = queue(u32::MAX);
    let mut cache = FrameCache::new(Arc::clone(&pool));
    let mut burst = Burst::new();
    queue.receive(&mut cache, &mut burst);
    let given = kernel.rings.fill.pop().expect("filled");
    let mut show = |addr, len, options| kernel.show(XdpDesc { addr, len, options });
    show(CHUNKS as u64 * CHUNK_SIZE as u64, 60, 0); // behind the region
    show(u64::MAX - 10, 60, 0);
    show(given + 1800, 600, 0); // over the end of its chunk, which is ours again
    show(given + 256, 60, 0); // so this is not the kernel's any more
    assert_eq!(queue.receive(&mut cache, &mut burst), 0);
    assert_eq!(queue.counters().rx_invalid.get(), 4);
    kernel.rings.completion.push(given);
    kernel.rings.completion.publish();
    assert_eq!(queue.reclaim(&mut cache), 0);
    assert_eq!(queue.counters().completion_invalid.get(), 1);
    assert_eq!(
        pool.free_chunks() + cache.len() + queue.in_flight().total(),
        CHUNKS
    );
    drop(queue);
    drop(cache);
    assert_eq!(pool.free_chunks(), CHUNKS);
}

#[test]
fn a_frame_that_is_too_long_is_dropped_whole_and_the_next_one_arrives() {
    let (mut queue, mut kernel, pool) = queue(7);
    let mut cache = FrameCache::new(pool);
    let mut burst = Burst::new();
    queue.receive(&mut cache, &mut burst);
    assert!(kernel.deliver(&pattern(MAX_FRAME_SIZE + 1, 0), 1792));
    assert!(kernel.deliver(&pattern(19 * 100, 1), 100), "19 segments");
    assert!(kernel.deliver(&pattern(MAX_FRAME_SIZE, 2), 1792));
    assert!(kernel.deliver(&pattern(18 * 100, 3), 100), "18 segments");
    assert!(kernel.deliver(&pattern(60, 4), 1792));
    assert_eq!(queue.receive(&mut cache, &mut burst), 3);
    let expected = [pattern(MAX_FRAME_SIZE, 2), pattern(1800, 3), pattern(60, 4)];
    for (frame, expected) in burst.iter().zip(expected) {
        assert_eq!(text(&cache, frame), expected);
    }
    assert_eq!(queue.counters().rx_too_long.get(), 2);
}

#[test]
fn the_burst_keeps_what_the_ring_has_no_room_for() {
    let (mut queue, mut kernel, pool) = queue(0);
    let mut cache = FrameCache::new(pool);
    let mut burst = Burst::new();
    for number in 0..3 {
        burst.push(cache.frame_from(&pattern(9000, number)).expect("a frame"));
    }
    assert_eq!(burst[0].segments(), 6);
    assert_eq!(
        queue.transmit(&mut cache, &mut burst),
        2,
        "12 of 16 entries"
    );
    assert_eq!(burst.len(), 1);
    assert_eq!(kernel.send(), [pattern(9000, 0), pattern(9000, 1)]);
    assert_eq!(queue.transmit(&mut cache, &mut burst), 1);
    assert_eq!(queue.in_flight().completion_ring, 12);
    assert_eq!(queue.reclaim(&mut cache), 12);
    // What the kernel would refuse never gets there.
    burst.push(cache.frame_from(&[1; 13]).expect("a frame"));
    burst.push(cache.allocate().expect("a frame"));
    assert_eq!(queue.transmit(&mut cache, &mut burst), 2);
    assert_eq!((queue.kick().errors, queue.kick().errors), (2, 0));
    assert_eq!(queue.counters().tx_errors.get(), 2);
    assert_eq!(kernel.send(), [pattern(9000, 2)]);
}

#[test]
fn a_frame_leaves_from_the_chunk_that_the_kernel_has_read_last() {
    let (mut queue, mut kernel, pool) = queue(0);
    let mut cache = FrameCache::new(pool);
    let mut chunks_of = |queue: &mut XdpQueue, size, tag_size| {
        let bytes = pattern(size + tag_size, size);
        let mut frame = cache.frame_from(&bytes[tag_size..]).expect("a frame");
        if tag_size > 0 {
            frame.grow_front(tag_size as u16).expect("headroom");
            cache.region().head_mut(&mut frame).copy_from_slice(&bytes);
        }
        let own = frame.chunk().get();
        let mut burst: Burst = [frame].into_iter().collect();
        assert_eq!(queue.transmit(&mut cache, &mut burst), 1);
        let sent = kernel.rings.tx.pop().expect("a descriptor");
        kernel.rings.tx.release();
        let seen = Frame::from_segment(sent.addr as u32, sent.len as u16);
        assert_eq!(text(&cache, &seen), bytes);
        kernel.rings.completion.push(sent.addr);
        kernel.rings.completion.publish();
        queue.reclaim(&mut cache);
        (own, ChunkAddress::containing(sent.addr as u32).get())
    };
    let longest = CHUNK_SIZE - HEADROOM;
    let (first, left_from) = chunks_of(&mut queue, 60, 0);
    assert_eq!(left_from, first, "nothing was read yet");
    for size in [14, 60, 1514, longest] {
        let (own, left_from) = chunks_of(&mut queue, size, 0);
        assert!(own != first && left_from == first, "{size} bytes");
    }
    assert_eq!(queue.in_flight().warm, 1);
    let (own, left_from) = chunks_of(&mut queue, longest, 4);
    assert_eq!(left_from, own, "it would not fit behind the headroom");
    assert_eq!(queue.in_flight().warm, 2);
}

#[test]
fn a_device_that_is_gone_takes_nothing() {
    let (mut queue, kernel, pool) = queue(0);
    let mut cache = FrameCache::new(pool);
    let mut burst: Burst = cache.frame_from(&pattern(60, 0)).into_iter().collect();
    assert_eq!(queue.transmit(&mut cache, &mut burst), 1);
    assert!(kernel.free.is_empty());
    // /dev/null is no socket: as good as gone.
    assert_eq!(queue.check_link(), LinkState::Gone);
    assert!(queue.link_lost());
    assert_eq!(queue.kick(), Kicked::default());
    burst.extend(cache.frame_from(&pattern(60, 1)));
    assert_eq!(queue.transmit(&mut cache, &mut burst), 0);
    cache.free(burst.pop().expect("it stayed"));
}

#[test]
fn errors_of_a_kick_say_what_to_do() {
    for (code, expected) in [
        (libc::EAGAIN, Told::Again),
        (libc::ENOBUFS, Told::Again),
        (libc::EINTR, Told::Again),
        (libc::EBUSY, Told::Dropped),
        (libc::ENETDOWN, Told::Down),
        (libc::ENXIO, Told::Gone),
        (libc::EBADF, Told::Gone),
    ] {
        assert_eq!(Told::by(Err(io::Error::from_raw_os_error(code))), expected);
    }
    assert_eq!(Told::by(Ok(())), Told::Done);
}

#[test]
fn fill_ring_flags_ask_for_a_wakeup() {
    let ring = testing::plain::<u64>(4, 0);
    ring.flags()
        .store(libc::XDP_RING_NEED_WAKEUP, Ordering::Relaxed);
    assert!(Producer::new(testing::end(&ring)).needs_wakeup());
}
