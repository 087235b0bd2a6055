//! The queue on a real veth pair: needs root, and fails without.
//!
//! Each test runs in a thread with a network namespace of its own, which is gone, with its devices,
//! when the thread has ended, however it ended.

use std::{
    os::fd::{AsRawFd, BorrowedFd},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{LinkState, OpenError, XdpConfig, XdpQueue};
use crate::{
    limits::{FILL_RING_SIZE, TX_RING_SIZE},
    mem::{Burst, FrameCache, Pool},
    port::{
        Kicked,
        testing::{Steering, Wire, frame, ifindex, ip, pool, with_veth},
    },
};

/// Copy mode, as every veth has it, and little patience.
fn config(device: &str, queue: u32) -> XdpConfig {
    XdpConfig {
        bind_timeout: Duration::from_secs(5),
        ..XdpConfig::new(ifindex(device), queue)
    }
}

/// Waits with poll(2) and receives so many frames.
fn receive(queue: &mut XdpQueue, cache: &mut FrameCache, count: usize) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let begin = Instant::now();
    while frames.len() < count && begin.elapsed() < Duration::from_secs(3) {
        wait_readable(queue.fd());
        let mut burst = Burst::new();
        queue.receive(cache, &mut burst);
        for frame in burst {
            frames.push(cache.region().bytes(&frame).collect::<Vec<_>>().concat());
            cache.free(frame);
        }
    }
    frames
}

/// poll(2) for a moment; gives what it told.
fn wait_readable(fd: BorrowedFd<'_>) -> i16 {
    let mut poll = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one structure.
    unsafe { libc::poll(&raw mut poll, 1, 100) };
    poll.revents
}

/// Transmits one frame and waits until its chunks are back.
fn transmit(queue: &mut XdpQueue, cache: &mut FrameCache, bytes: &[u8]) {
    let mut burst: Burst = cache.frame_from(bytes).into_iter().collect();
    assert_eq!(queue.transmit(cache, &mut burst), 1);
    assert_eq!(queue.kick(), Kicked::default());
}

fn assert_all_here(pool: &Arc<Pool>, cache: &FrameCache, queue: &XdpQueue) {
    let all = pool.free_chunks() + cache.len() + queue.in_flight().total();
    assert_eq!(all, pool.region().chunks());
}

#[test]
fn root_frames_of_any_size_cross_both_ways() {
    with_veth(9000, 1, || {
        let pool = pool();
        let mut cache = FrameCache::new(Arc::clone(&pool));
        let steering = Steering::attach(ifindex("veA"));
        let mut queue = XdpQueue::open(&pool, &config("veA", 0)).expect("open");
        assert!(!queue.zero_copy() && queue.multi_buffer());
        assert_eq!(queue.in_flight().total(), FILL_RING_SIZE);
        steering.steer(0, queue.fd());
        let wire = Wire::open("veB");
        for size in [14, 60, 64, 1514, 1792, 1793, 3584, 3585, 9014] {
            let bytes = frame(size, size);
            wire.send(&bytes);
            assert!(
                receive(&mut queue, &mut cache, 1) == [&bytes[..]],
                "in: {size}"
            );
            transmit(&mut queue, &mut cache, &bytes);
            assert!(wire.receive() == bytes, "out: {size}");
            assert_all_here(&pool, &cache, &queue);
        }
        queue.refresh_statistics().expect("statistics");
        assert_eq!(queue.counters().kernel_rx_dropped.get(), 0);
        queue.close(&mut cache);
        drop(cache);
        assert_eq!(pool.free_chunks(), pool.region().chunks());
    });
}

#[test]
fn root_bursts_cross_in_order_and_rings_wrap() {
    with_veth(1500, 1, || {
        let pool = pool();
        let mut cache = FrameCache::new(Arc::clone(&pool));
        let steering = Steering::attach(ifindex("veA"));
        let mut queue = XdpQueue::open(&pool, &config("veA", 0)).expect("open");
        steering.steer(0, queue.fd());
        let wire = Wire::open("veB");
        for round in 0..100 {
            let sent: Vec<_> = (0..64).map(|number| frame(60 + number, round)).collect();
            sent.iter().for_each(|bytes| wire.send(bytes));
            assert!(receive(&mut queue, &mut cache, 64) == sent);
            let frames = sent
                .iter()
                .map(|bytes| cache.frame_from(bytes).expect("free"));
            let mut burst: Burst = frames.collect();
            assert_eq!(queue.transmit(&mut cache, &mut burst), 64);
            queue.kick();
            sent.iter()
                .for_each(|bytes| assert!(wire.receive() == *bytes));
            assert_all_here(&pool, &cache, &queue);
        }
        assert_eq!(queue.counters().tx_errors.get(), 0);
        queue.reclaim(&mut cache);
        let at_rest = queue.in_flight();
        assert_eq!(at_rest.total() - at_rest.warm, FILL_RING_SIZE);
    });
}

#[test]
fn root_a_queue_is_bound_again_50_times_and_no_chunk_is_missing() {
    with_veth(9000, 1, || {
        let pool = pool();
        let steering = Steering::attach(ifindex("veA"));
        let wire = Wire::open("veB");
        let descriptors = || std::fs::read_dir("/proc/self/fd").expect("proc").count();
        let before = descriptors();
        for round in 0..50 {
            let mut cache = FrameCache::new(Arc::clone(&pool));
            let mut queue = XdpQueue::open(&pool, &config("veA", 0)).expect("open");
            steering.steer(0, queue.fd());
            // Some frames are received, some wait in the RX ring, some in the TX ring and the
            // completion ring, when the queue is closed.
            for size in [60, 1514, 9014] {
                wire.send(&frame(size, round));
            }
            assert!(!receive(&mut queue, &mut cache, 1).is_empty());
            transmit(&mut queue, &mut cache, &frame(9014, round));
            wire.send(&frame(5000, round));
            let mut burst: Burst = cache.frame_from(&frame(9014, round)).into_iter().collect();
            assert_eq!(queue.transmit(&mut cache, &mut burst), 1);
            assert_all_here(&pool, &cache, &queue);
            match round % 2 {
                0 => queue.close(&mut cache),
                _ => drop(queue),
            }
            drop(cache);
            assert_eq!(pool.free_chunks(), pool.region().chunks());
        }
        // Other tests open and close descriptors at the same time: far fewer than 50 sockets.
        assert!(descriptors() < before + 40);
    });
}

#[test]
fn root_errors_at_open_say_what_to_do() {
    with_veth(1500, 1, || {
        let pool = pool();
        let _first = XdpQueue::open(&pool, &config("veA", 0)).expect("open");
        let short = XdpConfig {
            bind_timeout: Duration::from_millis(30),
            ..config("veA", 0)
        };
        let error = XdpQueue::open(&pool, &short).expect_err("busy");
        assert!(matches!(error, OpenError::Busy { queue: 0, waited } if waited.as_millis() >= 30));
        let error = XdpQueue::open(&pool, &config("veA", 7)).expect_err("no such queue");
        assert!(matches!(error, OpenError::NoQueue { queue: 7 }), "{error}");
        let nowhere = XdpConfig::new(999_999, 0);
        let error = XdpQueue::open(&pool, &nowhere).expect_err("no such device");
        assert!(matches!(error, OpenError::NoDevice { ifindex: 999_999 }));
    });
}

#[test]
fn root_a_device_goes_down_comes_up_and_goes_away() {
    with_veth(1500, 1, || {
        let pool = pool();
        let mut cache = FrameCache::new(Arc::clone(&pool));
        let mut queue = XdpQueue::open(&pool, &config("veA", 0)).expect("open");
        let wire = Wire::open("veB");
        let bytes = frame(60, 0);
        transmit(&mut queue, &mut cache, &bytes);
        assert!(wire.receive() == bytes);

        ip("link set veA down");
        assert_eq!(queue.check_link(), LinkState::Down);
        let frames = (0..3).map(|_| cache.frame_from(&bytes).expect("free"));
        let mut burst: Burst = frames.collect();
        let mut probe: Burst = burst.pop().into_iter().collect();
        assert_eq!(queue.transmit(&mut cache, &mut probe), 0, "it is down");
        ip("link set veA up");
        assert_eq!(queue.transmit(&mut cache, &mut probe), 1);
        ip("link set veA down");
        assert_eq!(queue.kick(), Kicked::default(), "do not come back at once");
        assert_eq!(
            (queue.link(), queue.in_flight().tx_ring),
            (LinkState::Down, 1)
        );
        assert_eq!(queue.transmit(&mut cache, &mut burst), 0, "it is down");
        ip("link set veA up");
        assert_eq!(queue.transmit(&mut cache, &mut burst), 2);
        assert_eq!(queue.kick(), Kicked::default());
        assert_eq!(
            (queue.link(), queue.in_flight().tx_ring),
            (LinkState::Up, 0)
        );

        ip("link set veB down");
        let mut burst: Burst = cache.frame_from(&bytes).into_iter().collect();
        assert_eq!(queue.transmit(&mut cache, &mut burst), 1);
        assert_eq!(queue.kick().errors, 1, "no carrier");
        assert_eq!(queue.in_flight().tx_ring, 0);

        ip("link del veA");
        assert_eq!(wait_readable(queue.fd()), 0, "poll does not tell");
        assert_eq!(queue.check_link(), LinkState::Gone);
        queue.kick();
        assert!(queue.link_lost());
        drop(queue);
        drop(cache);
        assert_eq!(pool.free_chunks(), pool.region().chunks());
    });
}

#[test]
fn root_a_full_ring_leaves_frames_in_the_burst_and_drains() {
    with_veth(1500, 1, || {
        let pool = pool();
        let mut cache = FrameCache::new(Arc::clone(&pool));
        let mut queue = XdpQueue::open(&pool, &config("veA", 0)).expect("open");
        let wire = Wire::open("veB");
        let mut queued = 0;
        while queued < TX_RING_SIZE {
            let frames = (0..48).map(|_| cache.frame_from(&frame(60, 0)).expect("free"));
            let mut burst: Burst = frames.collect();
            queued += queue.transmit(&mut cache, &mut burst);
            assert!(burst.is_empty() || queued == TX_RING_SIZE);
            burst.drain(..).for_each(|frame| cache.free(frame));
        }
        assert_eq!(queue.kick(), Kicked::default());
        assert_eq!(queue.in_flight().tx_ring, 0, "one kick sends a whole ring");
        for _ in 0..TX_RING_SIZE {
            assert_eq!(wire.receive().len(), 60);
        }
        assert_eq!(queue.reclaim(&mut cache), TX_RING_SIZE);
        assert_all_here(&pool, &cache, &queue);
    });
}

#[test]
fn root_the_wait_for_the_kernel_to_let_go_ends() {
    with_veth(1500, 1, || {
        let pool = pool();
        let queue = XdpQueue::open(&pool, &config("veA", 0)).expect("open");
        let begin = Instant::now();
        drop(queue);
        super::lent::wait_until_released(&config("veA", 0));
        assert!(begin.elapsed() < Duration::from_secs(4));
        ip("link del veA");
        super::lent::wait_until_released(&XdpConfig::new(999_999, 0));
    });
}
