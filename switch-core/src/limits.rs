//! Every limit of the engine, and the indices that are bounded by them.
//!
//! A number that sizes an array, a ring or a loop stands here and nowhere else, so that the
//! memory a switch needs can be added up from this page.

use std::fmt;

/// Most workers (engine threads) of one switch.
pub const MAX_WORKERS: usize = 32;
/// Most ports of one switch.
pub const MAX_PORTS: usize = 1024;
/// Most networks of one switch: every VID and as many private ones as anybody has asked for.
pub const MAX_NETWORKS: usize = 4096;
/// Most queues of one port that the engine serves.
pub const MAX_QUEUES: usize = 64;
/// Most frames that go through the datapath together.
pub const BURST: usize = 64;
/// Slots of the forwarding database, 16 bytes each: twice as many as the 65 536 entries that
/// always fit would need, so that three of four are in the slot that is looked at first.
pub const FDB_SLOTS: usize = 262_144;

/// Bytes of one chunk of the region. A power of two, as aligned UMEM chunks have to be; 2 KiB
/// because a full Ethernet frame fits (kernel: 1 792 bytes usable in copy mode) and a smaller
/// working set stays in cache. Longer frames take several chunks.
pub const CHUNK_SIZE: usize = 2048;
/// Bytes in front of a received frame, `XDP_PACKET_HEADROOM` (include/uapi/linux/bpf.h).
pub const HEADROOM: usize = 256;
/// Bytes at a chunk's very start that hold the link to the next segment; never frame bytes.
pub const CHUNK_LINK_SIZE: usize = 16;
/// Most segments of one frame: `MAX_SKB_FRAGS` (17) and the head, the most that the kernel
/// transmits from an AF_XDP ring (net/xdp/xsk.c).
pub const MAX_SEGMENTS: usize = 18;
/// Longest frame in bytes: a 9 000-byte payload with Ethernet header and two tags, rounded up.
pub const MAX_FRAME_SIZE: usize = 9216;

/// Descriptors of a fill ring: what a queue may receive between two visits of its worker.
pub const FILL_RING_SIZE: usize = 1024;
/// Descriptors of an RX ring.
pub const RX_RING_SIZE: usize = 1024;
/// Descriptors of a TX ring.
pub const TX_RING_SIZE: usize = 1024;
/// Descriptors of a completion ring.
pub const COMPLETION_RING_SIZE: usize = 1024;
/// Chunks that a queue in copy mode keeps after it has transmitted from them, to transmit the next
/// frames from: those of a burst, which the kernel copies in one call.
pub const WARM_CHUNKS: usize = BURST;
/// Frames that one worker may have handed to another and that are not yet taken: twice what comes
/// in by one queue while the other worker does not run.
pub const HANDOFF_RING_SIZE: usize = 2048;
/// Most frames of other workers that a worker sends in one turn, so that its own queues are not
/// left alone for longer than their rings last.
pub const TAKE_OVER: usize = 512;
/// Free frames that move between a worker's cache and the shared pool in one step.
pub const SLAB_SIZE: usize = 64;
/// Most slabs in a worker's cache; one more free frame and a slab goes back to the pool.
pub const CACHE_SLABS: usize = 4;

/// Most chunks of the region: 4 GiB, as far as the 32 bits of their addresses reach, less a huge
/// page.
pub const MAX_CHUNKS: usize = ((4 << 30) - (2 << 20)) / CHUNK_SIZE;
/// Fewest chunks of the region: one worker and one queue.
pub const MIN_CHUNKS: usize = chunks_needed(1, 1);
/// Most static entries of a configuration: a sixteenth of the forwarding database.
pub const MAX_STATIC_ENTRIES: usize = 16_384;
/// Most policers of a configuration; each place that one is named has buckets of its own.
pub const MAX_POLICERS: usize = 1024;
/// Most access control lists of a configuration.
pub const MAX_ACLS: usize = 1024;
/// Most rules of all access control lists together, each list's default counted as one.
pub const MAX_RULES: usize = 16_384;
/// Most rules of one list that only count: each is tried for every frame that no flow is known of.
pub const MAX_COUNT_RULES: usize = 16;
/// Most sets of addresses, and as many of ports.
pub const MAX_SETS: usize = 1024;
/// Most addresses and prefixes, or ports and ranges, of all sets together.
pub const MAX_SET_ELEMENTS: usize = 262_144;
/// Counters of hits: while a reload replaces all rules, old and new ones have theirs.
pub const MAX_HITS: usize = 2 * MAX_RULES;
/// Flows that each worker of a switch with policy keeps, 138 bytes each: 4.3 MiB.
pub const FLOWS_PER_WORKER: usize = 32_768;
/// Dropped frames that each worker keeps of each port, and most of them in a second: 128 bytes
/// each, 1 MiB a worker.
pub const RECENT_DROPS: usize = 8;
/// Bytes that are kept of one: tags, IPv6 with a fragment header, and TCP.
pub const RECENT_DROP_BYTES: usize = 96;
/// Flows that a worker of a switch with policy finds by a few loads, 128 bytes each and 80 for
/// what is seldom asked: 6.5 MiB. As many as there are flows in its flow table.
pub const SHORTCUTS_PER_WORKER: usize = FLOWS_PER_WORKER;
/// Seconds without a frame after which a flow has left.
pub const FLOW_IDLE_S: u32 = 60;
/// Seconds in which moves of an address are counted together, where the configuration has none:
/// longer than a virtual machine takes to migrate there and back.
pub const DEFAULT_FLAP_WINDOW_S: u32 = 10;
/// Seconds for which an address that moved too often stays where it was: so a loop costs a burst a
/// minute.
pub const DEFAULT_FLAP_QUARANTINE_S: u32 = 60;
/// Most bytes of a configuration file: some 500 for each port and each network, and 100 for each
/// static entry, with as much again for comments.
pub const MAX_CONFIG_SIZE: usize = 8 << 20;
/// The ageing time in seconds: 802.1Q-2022, Table 8-6, gives the default and this range.
pub const MIN_AGEING_S: u32 = 10;
/// The longest ageing time in seconds.
pub const MAX_AGEING_S: u32 = 1_000_000;
/// The ageing time in seconds, where the configuration has none.
pub const DEFAULT_AGEING_S: u32 = 300;

const _: () = assert!(CHUNK_SIZE.is_power_of_two());
const _: () = assert!(HEADROOM >= CHUNK_LINK_SIZE + 8 && HEADROOM < CHUNK_SIZE);
const _: () = assert!((CHUNK_SIZE - HEADROOM) * MAX_SEGMENTS >= MAX_FRAME_SIZE);
const _: () = assert!(FILL_RING_SIZE.is_power_of_two() && RX_RING_SIZE.is_power_of_two());
const _: () = assert!(TX_RING_SIZE.is_power_of_two() && COMPLETION_RING_SIZE.is_power_of_two());
const _: () = assert!(WARM_CHUNKS < TX_RING_SIZE);
const _: () = assert!(HANDOFF_RING_SIZE.is_power_of_two() && SLAB_SIZE >= BURST);
const _: () = assert!(TAKE_OVER.is_multiple_of(BURST) && TAKE_OVER <= TX_RING_SIZE);

/// The number of chunks that one (device, queue) can hold at once: filled or received, and queued
/// for transmission or completed.
pub const CHUNKS_PER_QUEUE: usize = FILL_RING_SIZE + TX_RING_SIZE;
/// The number of chunks that one worker can hold outside the rings: its cache, and the burst in
/// hand with a copy for flooding. What others may hand to it comes on top.
pub const CHUNKS_PER_WORKER: usize = CACHE_SLABS * SLAB_SIZE + 4 * BURST;

/// Most chunks that wait in the queues of one port with a scheduler. The region is made larger by
/// as many for each such port, and where that was not done, they are a part of a quarter of it.
pub const QUEUED_CHUNKS_PER_PORT: usize = 2048;

/// The number of chunks that may wait for each of so many ports with queues, in a region of
/// `chunks`: an equal part of a quarter of it, which is more than there is in all queues together.
#[must_use]
pub const fn queued_chunks(chunks: usize, ports: usize) -> usize {
    let share = chunks / 4 / if ports == 0 { 1 } else { ports };
    if share < QUEUED_CHUNKS_PER_PORT {
        share
    } else {
        QUEUED_CHUNKS_PER_PORT
    }
}

/// The fewest chunks of the region with which the longest frame fits into every queue of so many
/// ports with at most so many queues each: with fewer it could never leave.
#[must_use]
pub const fn chunks_for_queues(ports: usize, queues: usize) -> usize {
    4 * ports * queues * MAX_SEGMENTS
}

/// The number of chunks for a switch of so many workers and (device, queue) pairs.
///
/// A quarter is added so that a flood does not find the pool empty when all queues are full.
#[must_use]
pub const fn chunks_needed(workers: usize, queues: usize) -> usize {
    let handed = if workers > 1 {
        workers * HANDOFF_RING_SIZE
    } else {
        0
    };
    let sum = workers * CHUNKS_PER_WORKER + handed + queues * CHUNKS_PER_QUEUE;
    (sum + sum / 4).next_multiple_of(SLAB_SIZE)
}

macro_rules! index {
    ($(#[$doc:meta])* $name:ident < $limit:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u16);

        impl $name {
            /// The index with this number.
            ///
            /// # Panics
            /// When the number is at or past the limit: a bug in whoever counts.
            #[must_use]
            pub const fn new(number: usize) -> Self {
                assert!(number < $limit);
                Self(number as u16)
            }

            /// The number, for indexing tables.
            #[must_use]
            pub const fn get(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

index!(
    /// The position of a port in the tables of the engine; stable while the port is configured.
    PortIndex < MAX_PORTS
);
index!(
    /// The position of a network in the tables of the engine; stable while it is configured.
    NetworkIndex < MAX_NETWORKS
);
index!(
    /// The position of a worker.
    WorkerIndex < MAX_WORKERS
);
