use super::*;
use crate::{
    mem::{FrameCache, HugePages, Pool},
    table::fdb::Fdb,
    wire::{layer2::Layer2, packet::Packet},
};

const NOW: Tick = Tick(100);
const GUEST: PortIndex = PortIndex::new(3);

/// Frames in a region of their own, and a worker's tables.
struct Bench {
    cache: FrameCache,
    fdb: Fdb,
    counters: WorkerCounters,
    flows: FlowTable,
    shortcuts: Shortcuts,
    reading: Reading,
}

impl Bench {
    fn new() -> Self {
        let region = Region::new(64, HugePages::No).expect("a region");
        let flows = FlowTable::new(SHORTCUTS_PER_WORKER, [1, 2]);
        Self {
            cache: FrameCache::new(Pool::new(region.into())),
            fdb: Fdb::new(1024, [1, 2]),
            counters: WorkerCounters::default(),
            shortcuts: Shortcuts::new(&flows),
            flows,
            reading: Reading::new(GUEST, 7, Tpid::Customer, true),
        }
    }

    /// A frame with these bytes, in a chunk that has other ones behind them.
    fn frame(&mut self, bytes: &[u8]) -> Frame {
        let mut frame = self.cache.allocate().expect("a free frame");
        frame.set_size(1000);
        self.cache.region().head_mut(&mut frame).fill(0xa5);
        frame.set_size(bytes.len() as u16);
        let head = self.cache.region().head_mut(&mut frame);
        head.copy_from_slice(bytes);
        frame
    }

    fn key(&mut self, bytes: &[u8]) -> Option<Key> {
        let frame = self.frame(bytes);
        let key = self.reading.key(self.cache.region(), &frame);
        self.cache.free(frame);
        key
    }

    fn insert(&mut self, bytes: &[u8], port: PortIndex, flow: Option<(Ticket, Verdict)>) {
        let frame = self.frame(bytes);
        let entry = Entry::nothing();
        let owner = Owner {
            port,
            flow,
            seen: NOW,
        };
        let settling = Settling {
            counters: &self.counters,
            flows: &self.flows,
            now: NOW,
        };
        let frame_in = (&**self.cache.region(), &frame);
        self.shortcuts
            .insert(&self.reading, frame_in, &entry, owner, &settling);
        self.cache.free(frame);
    }

    /// Bytes of the frame, where the flow is known.
    fn take(&mut self, bytes: &[u8]) -> Option<u64> {
        let frame = self.frame(bytes);
        let stations = self.fdb.at(NOW);
        let mut entry = Entry::nothing();
        let frame_in = (&**self.cache.region(), &frame);
        let taken = self
            .shortcuts
            .take(&self.reading, &stations, frame_in, &mut entry);
        self.cache.free(frame);
        taken.map(|counted| counted.bytes())
    }
}

/// What ordinary frames are like: untagged or tagged, IPv4 or IPv6, UDP or TCP.
fn ordinary() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for tag in [&[][..], &[0x81, 0, 0x20, 5]] {
        for ipv6 in [false, true] {
            for kind in [protocol::UDP, protocol::TCP] {
                let mut l4 = vec![0x12, 0x34, 0, 53, 0, 20, 0, 0, 1, 2, 3, 4, 0x50, 0x12];
                l4.resize(20, 9);
                let mut ip = if ipv6 {
                    let mut ip = vec![0x6b, 0x80, 0, 0, 0, 20, kind, 64];
                    ip.extend((1..=32).collect::<Vec<u8>>());
                    ip
                } else {
                    let mut ip = vec![0x45, 0xb8, 0, 40, 1, 2, 0x40, 0, 64, kind, 3, 4];
                    ip.extend([10, 0, 0, 1, 10, 1, 0, 2]);
                    ip
                };
                ip.extend(&l4);
                let ethertype: u16 = if ipv6 { 0x86dd } else { 0x0800 };
                let macs = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
                frames.push([&macs[..], tag, &ethertype.to_be_bytes(), &ip].concat());
            }
        }
    }
    frames
}

/// All that stages may ask of a frame; none where it is malformed.
fn fields(bytes: &[u8]) -> Option<(Layer2, Packet)> {
    let header = Layer2::parse(bytes).ok()?;
    let packet = Packet::of_frame(&header, bytes, bytes.len()).ok()?;
    Some((header, packet))
}

/// What of the fields rules and guards ask for.
fn asked(bytes: &[u8]) -> Option<impl PartialEq + std::fmt::Debug + use<>> {
    let (header, packet) = fields(bytes)?;
    let Packet {
        source,
        destination,
        protocol,
        transport,
        fragment,
        family,
        ..
    } = packet;
    let dscp = packet.traffic_class >> 2;
    Some((
        header,
        (source, destination),
        (protocol, transport),
        fragment,
        family,
        dscp,
    ))
}

#[test]
fn ordinary_frames_have_keys_of_their_own() {
    let mut bench = Bench::new();
    let keys: Vec<_> = ordinary().iter().map(|frame| bench.key(frame)).collect();
    for (position, key) in keys.iter().enumerate() {
        assert!(key.is_some(), "frame {position}");
        assert!(!keys[..position].contains(key), "frame {position}");
    }
}

/// Whatever bit of a frame is changed: a frame that stages tell from the first has another key or
/// none, and so have frames that they find malformed.
#[test]
fn frames_that_stages_tell_apart_have_other_keys() {
    let mut bench = Bench::new();
    for frame in ordinary() {
        let (key, was) = (bench.key(&frame), asked(&frame));
        assert!(was.is_some());
        for bit in 0..frame.len() * 8 {
            let mut other = frame.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            if bench.key(&other) == key {
                assert_eq!(asked(&other), was, "bit {bit} of {frame:x?}");
            }
        }
        for length in 0..frame.len() {
            if bench.key(&frame[..length]).is_some() {
                assert_eq!(asked(&frame[..length]), was, "{length} bytes");
            }
        }
    }
}

/// The way that is taken says what the whole key says, also for what is left out of the short test.
#[test]
fn a_frame_is_taken_only_where_its_key_is_that_of_the_flow() {
    for frame in ordinary() {
        let mut bench = Bench::new();
        let key = bench.key(&frame);
        bench.insert(&frame, GUEST, None);
        assert!(bench.take(&frame).is_some(), "{frame:x?}");
        for bit in 0..frame.len() * 8 {
            let mut other = frame.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let same = bench.key(&other) == key;
            assert_eq!(
                bench.take(&other).is_some(),
                same,
                "bit {bit} of {frame:x?}"
            );
        }
        for length in 0..frame.len() {
            let same = bench.key(&frame[..length]) == key;
            assert_eq!(bench.take(&frame[..length]).is_some(), same, "{length}");
        }
    }
}

/// Wherever flows differ, they have places of their own: also in the last byte of an address.
#[test]
fn flows_that_differ_in_one_byte_have_places_of_their_own() {
    let mut bench = Bench::new();
    let frame = ordinary().swap_remove(0);
    // Both MAC addresses, both addresses, both ports.
    for place in (0..12).chain(26..38) {
        let mut indices: Vec<usize> = (0..=255)
            .map(|value| {
                let mut other = frame.clone();
                other[place] = value;
                let key = bench.key(&other).expect("an ordinary frame");
                bench.shortcuts.index(&key)
            })
            .collect();
        indices.sort_unstable();
        indices.dedup();
        assert!(
            indices.len() > 128,
            "byte {place}: {} places",
            indices.len()
        );
    }
}

#[test]
fn what_was_counted_is_added_to_rules_and_flow() {
    let mut bench = Bench::new();
    let frame = ordinary().swap_remove(0);
    let sought = bench.flows.seek([1, 2, 3, 4, 5, 6, 7, 8]);
    let verdict = Verdict::new(true, [5, 9, 0, 0, 0, 0, 0, 0], 2);
    let vacancy = bench.flows.admit(&sought, GUEST, NOW).expect("it is empty");
    bench
        .flows
        .insert(&sought, vacancy, GUEST, &verdict, frame.len(), NOW);
    let (_, ticket) = bench.flows.find(&sought, 60, NOW).expect("entered");
    bench.insert(&frame, GUEST, Some((ticket, verdict)));
    for _ in 0..3 {
        assert_eq!(bench.take(&frame), Some(frame.len() as u64));
    }
    let settle = |bench: &mut Bench| {
        bench.shortcuts.settle(&Settling {
            counters: &bench.counters,
            flows: &bench.flows,
            now: NOW,
        });
        let hit = bench.counters.hit(9);
        let flow = bench.flows.flows(NOW).next().expect("a flow");
        (hit.frames.get(), hit.bytes.get(), flow.frames)
    };
    let bytes = 3 * frame.len() as u64;
    assert_eq!(settle(&mut bench), (3, bytes, 5));
    assert_eq!(settle(&mut bench), (3, bytes, 5), "only once");
}

/// A port with ever new flows takes no places from others that have fewer.
#[test]
fn a_port_with_many_flows_leaves_others_theirs() {
    let mut bench = Bench::new();
    let of = |number: u16| {
        let mut frame = ordinary().swap_remove(0);
        frame[34..36].copy_from_slice(&number.to_be_bytes());
        frame
    };
    for number in 60_000..60_200 {
        bench.insert(&of(number), PortIndex::new(4), None);
    }
    for number in 0..100 {
        bench.insert(&of(number), GUEST, None);
        bench.take(&of(number));
    }
    let left = |bench: &mut Bench| (0..100).filter(|it| bench.take(&of(*it)).is_some()).count();
    let before = left(&mut bench);
    assert!(before > 90, "{before} have places");
    for number in 100..60_000 {
        bench.insert(&of(number), PortIndex::new(4), None);
    }
    assert_eq!(left(&mut bench), before);
}
