use super::{
    key::{Ipv4, Kind, UNTAGGED},
    run::Run,
    *,
};
use crate::{
    config::policy::{Direction, FlowPlace},
    counters::DropReason,
    limits::NetworkIndex,
    mem::{FrameCache, HugePages, Pool},
    table::fdb::{Fdb, Place},
    wire::{
        ip::protocol,
        layer2::Layer2,
        ordinary::Ordinary,
        packet::Packet,
        parse::Tag,
        vlan::{Tci, Tpid},
    },
};

const NOW: Tick = Tick(100);
const GUEST: PortIndex = PortIndex::new(3);
type Untagged = Ipv4<UNTAGGED>;

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
        Self::with_flows(SHORTCUTS_PER_WORKER)
    }

    fn with_flows(count: usize) -> Self {
        let region = Region::new(64, HugePages::No).expect("a region");
        let flows = FlowTable::new(count, [1, 2]);
        let shortcuts = Shortcuts::new(&flows);
        let place = FlowPlace::new(Direction::FromPort, GUEST, NetworkIndex::new(0), 7);
        let reading = Reading::new(place, Tpid::Customer, true);
        Self {
            cache: FrameCache::new(Pool::new(region.into())),
            fdb: Fdb::new(1024, [1, 2]),
            counters: WorkerCounters::default(),
            shortcuts,
            flows,
            reading,
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
        self.insert_as(Entry::NOTHING, bytes, port, flow);
    }

    fn insert_as(
        &mut self,
        entry: Entry,
        bytes: &[u8],
        port: PortIndex,
        flow: Option<(Ticket, Verdict)>,
    ) {
        let frame = self.frame(bytes);
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
        let frame_in = (&frame, &**self.cache.region());
        self.shortcuts
            .insert(&self.reading, frame_in, &entry, owner, &settling);
        self.cache.free(frame);
    }

    /// Whether the flow of a frame is known; then the frame is counted.
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.enter(bytes).is_some()
    }

    /// What is known of a frame, if its flow is.
    fn enter(&mut self, bytes: &[u8]) -> Option<Entry> {
        let frame = self.frame(bytes);
        let stations = self.fdb.at(NOW);
        let mut entry = [Entry::NOTHING];
        let shortcuts = &mut self.shortcuts;
        let scene = Scene {
            reading: &self.reading,
            stations: &stations,
            region: self.cache.region(),
        };
        let frames = std::slice::from_ref(&frame);
        let mut is_given_away = false;
        let mut enter_unknown = |_: Unknown<'_>, _: usize, _: &mut Entry| {
            is_given_away = true;
            false
        };
        let Run {
            count,
            bytes,
            is_unknown,
        } = shortcuts.take_run(scene, frames, &mut entry, &mut enter_unknown);
        assert_eq!(bytes, count * frame.size());
        assert!(is_unknown || !is_given_away, "given away, and not unknown");
        let taken = count == 1 || shortcuts.take_other(scene, &frame, &mut entry[0]);
        assert!(!(taken && is_unknown), "unknown, and known");
        self.cache.free(frame);
        let [entry] = entry;
        assert!(
            count == 0 || entry.is_undecided(),
            "what is taken in a run goes on"
        );
        taken.then_some(entry)
    }
}

impl Bench {
    /// Reads frames at a way out from now on.
    fn go_to(&mut self, port: usize, network: usize) {
        let (port, network) = (PortIndex::new(port), NetworkIndex::new(network));
        let place = FlowPlace::new(Direction::ToPort, port, network, 7);
        self.reading = Reading::new(place, Tpid::Customer, true);
    }

    /// The counters of rules that a frame of a known flow meets; it is counted.
    fn met(&mut self, bytes: &[u8]) -> Option<Vec<u32>> {
        let frame = self.frame(bytes);
        let found = self
            .shortcuts
            .find(&self.reading, (&frame, self.cache.region()));
        let met = found.map(|found| (found.index, found.verdict.hits().to_vec()));
        self.cache.free(frame);
        let (index, hits) = met?;
        self.shortcuts.count(index, bytes.len());
        Some(hits)
    }

    fn settle(&mut self) {
        self.shortcuts.settle(&Settling {
            counters: &self.counters,
            flows: &self.flows,
            now: NOW,
        });
    }

    /// A flow in the flow table whose frames meet this rule.
    fn flow(&mut self, word: u64, rule: u32) -> (Ticket, Verdict) {
        let sought = self.flows.seek([word, 2, 3, 4, 5, 6, 7, 8]);
        let verdict = Verdict::new(true, [rule, 0, 0, 0, 0, 0, 0, 0], 1);
        let vacancy = self.flows.admit(&sought, GUEST, NOW).expect("room");
        self.flows
            .insert(&sought, vacancy, GUEST, &verdict, 60, NOW);
        let (_, ticket) = self.flows.find(&sought, 60, NOW).expect("entered");
        (ticket, verdict)
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
        assert!(bench.take(&frame), "{frame:x?}");
        for bit in 0..frame.len() * 8 {
            let mut other = frame.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            let same = bench.key(&other) == key;
            assert_eq!(bench.take(&other), same, "bit {bit} of {frame:x?}");
        }
        for length in 0..frame.len() {
            let same = bench.key(&frame[..length]) == key;
            assert_eq!(bench.take(&frame[..length]), same, "{length}");
        }
    }
}

/// A packet that is made of the words that its shortcut was looked for by is the one that is in the
/// frame.
#[test]
fn words_of_an_ordinary_frame_say_all_of_its_packet() {
    const ECN: u8 = 3;
    let mut bench = Bench::new();
    let mut made = 0;
    for frame in ordinary() {
        for bit in 0..=frame.len() * 8 {
            let mut other = frame.clone();
            // Once as it is.
            if let Some(byte) = other.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            let in_chunk = bench.frame(&other);
            let (reading, region) = (&bench.reading, &**bench.cache.region());
            let words = Untagged::words(reading, region, &in_chunk).filter(Untagged::are_ordinary);
            bench.cache.free(in_chunk);
            let Some(words) = words else {
                continue;
            };
            let unknown = Untagged::unknown(&words).expect("it is in the words");
            let read = Ordinary::read(&other, other.len()).map(|read| Ordinary {
                traffic_class: read.traffic_class & !ECN,
                ..read
            });
            assert_eq!(Some(unknown.packet()), read, "bit {bit} of {frame:x?}");
            made += 1;
        }
    }
    assert!(made > 500, "{made} of them were ordinary");
}

/// Wherever flows differ, they have places of their own: also in the last byte of an address.
#[test]
fn flows_that_differ_in_one_byte_have_places_of_their_own() {
    let mut bench = Bench::new();
    for frame in ordinary() {
        let l3 = if frame[12] == 0x81 { 18 } else { 14 };
        // Addresses at layer 3 and ports.
        let behind = match frame[l3] >> 4 {
            4 => l3 + 12..l3 + 24,
            _ => l3 + 8..l3 + 44,
        };
        for place in (0..12).chain(behind) {
            let sets = (0..=255).map(|value| {
                let mut other = frame.clone();
                other[place] = value;
                let key = bench.key(&other).expect("an ordinary frame");
                bench.shortcuts.secrets.sets_of(&key)
            });
            let sets: Vec<_> = sets.collect();
            for set in 0..2 {
                let mut indices: Vec<_> = sets.iter().map(|sets| sets[set]).collect();
                indices.sort_unstable();
                indices.dedup();
                let count = indices.len();
                assert!(count > 128, "set {set}, byte {place}: {count} places");
            }
        }
    }
}

/// Flows of the first frame's kind that belong to the same set.
fn of_one_set(bench: &mut Bench, count: usize) -> Vec<Vec<u8>> {
    let mut set_of = |frame: &[u8]| {
        let key = bench.key(frame).expect("an ordinary frame");
        bench.shortcuts.secrets.sets_of(&key)[0] / WAYS
    };
    let set = set_of(&with_port(0));
    let others = (0..u16::MAX).map(with_port);
    let flows: Vec<_> = others
        .filter(|other| set_of(other) == set)
        .take(count)
        .collect();
    assert_eq!(flows.len(), count, "so many ports come to one set");
    flows
}

/// Known flows of one set, of which so many found no room there.
fn crowded(too_many: usize) -> (Bench, Vec<Vec<u8>>) {
    let mut bench = Bench::new();
    let flows = of_one_set(&mut bench, WAYS + too_many);
    for flow in &flows {
        bench.insert(flow, GUEST, None);
    }
    (bench, flows)
}

#[test]
fn what_finds_no_room_in_its_set_is_in_another() {
    let (mut bench, flows) = crowded(3);
    for flow in &flows {
        assert!(bench.take(flow), "{flow:x?}");
    }
}

/// What is kept in the second set is not looked for where the last of its places in the first one
/// is free, and is entered there again.
#[test]
fn what_has_room_in_its_set_again_comes_back() {
    let (mut bench, flows) = crowded(1);
    let key = bench.key(&flows[WAYS]).expect("an ordinary frame");
    let last = bench.shortcuts.secrets.sets_of(&key)[0] ^ (WAYS - 1);
    bench.shortcuts.free(last);
    assert!(!bench.take(&flows[WAYS]));
    bench.insert(&flows[WAYS], GUEST, None);
    assert!(bench.take(&flows[WAYS]));
}

/// Frames of all kinds one after the other are one run, each with what is known of its own flow.
#[test]
fn kinds_may_follow_each_other_in_a_run() {
    let mut bench = Bench::new();
    let flows = ordinary();
    let tag = |number: usize| Tag::new(Tpid::Customer, Tci(number as u16 + 1));
    for (number, flow) in flows.iter().enumerate() {
        let entry = Entry::new(Place::NOWHERE, Place::NOWHERE, Some(tag(number)));
        bench.insert_as(entry, flow, GUEST, None);
    }
    let order = [0, 3, 4, 4, 6, 1, 7, 2, 5, 0, 0];
    let frames: Vec<_> = order
        .iter()
        .map(|number| bench.frame(&flows[*number]))
        .collect();
    let mut entries = [Entry::NOTHING; 11];
    let stations = bench.fdb.at(NOW);
    let scene = Scene {
        reading: &bench.reading,
        stations: &stations,
        region: bench.cache.region(),
    };
    let run = bench.shortcuts.take_run(
        scene,
        &frames,
        &mut entries,
        &mut |_: Unknown<'_>, _, _: &mut Entry| unreachable!("all are known"),
    );
    assert_eq!(run.count, order.len());
    let expected = order.map(|number| Some(tag(number)));
    assert_eq!(entries.map(|entry| entry.tag), expected);
    let bytes: usize = frames.iter().map(Frame::size).sum();
    assert_eq!((run.bytes, run.is_unknown), (bytes, false));
    for frame in frames {
        bench.cache.free(frame);
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
        assert!(bench.take(&frame));
    }
    let settle = |bench: &mut Bench| {
        bench.settle();
        let hit = bench.counters.hit(9);
        let flow = bench.flows.flows(NOW).next().expect("a flow");
        (hit.frames.get(), hit.bytes.get(), flow.frames)
    };
    let bytes = 3 * frame.len() as u64;
    assert_eq!(settle(&mut bench), (3, bytes, 5));
    assert_eq!(settle(&mut bench), (3, bytes, 5), "only once");
}

/// Frames between two bits of settling neither keep a flow from being settled nor are lost.
#[test]
fn what_was_counted_is_settled_bit_by_bit() {
    const FLOWS: u16 = 2 * SETTLED_TOGETHER as u16 + 5;
    let mut bench = Bench::new();
    for number in 0..FLOWS {
        let flow = bench.flow(u64::from(number), u32::from(number));
        bench.insert(&with_port(number), GUEST, Some(flow));
    }
    let take_all = |bench: &mut Bench| {
        assert!((0..FLOWS).all(|number| bench.take(&with_port(number))));
    };
    let hits = |bench: &Bench| -> Vec<u64> {
        let hit = |rule| bench.counters.hit(rule).frames.get();
        (0..FLOWS.into()).map(hit).collect()
    };
    let settle_some = |bench: &mut Bench| {
        let settling = Settling {
            counters: &bench.counters,
            flows: &bench.flows,
            now: NOW,
        };
        bench.shortcuts.settle_some(&settling)
    };
    take_all(&mut bench);
    assert!(!settle_some(&mut bench), "it was not begun");
    bench.shortcuts.begin_settling();
    for settled in [SETTLED_TOGETHER, 2 * SETTLED_TOGETHER, FLOWS.into()] {
        assert!(settle_some(&mut bench));
        let is_settled = |frames: &&u64| **frames > 0;
        assert_eq!(hits(&bench).iter().filter(is_settled).count(), settled);
        take_all(&mut bench);
        // Not before all is settled that it was begun with.
        bench.shortcuts.begin_settling();
    }
    bench.settle();
    assert_eq!(hits(&bench), vec![4; FLOWS.into()]);
}

#[test]
fn a_flow_that_is_dropped_is_known_too() {
    for frame in ordinary() {
        let mut bench = Bench::new();
        let mut dropped = Entry::NOTHING;
        dropped.drop(DropReason::AclFromPort);
        bench.insert_as(dropped, &frame, GUEST, None);
        let entry = bench.enter(&frame).expect("known");
        assert_eq!(entry.verdict(), dropped.verdict());
    }
}

/// The same frames have a shortcut at each place where they are asked about.
#[test]
fn what_is_known_at_a_way_out_is_of_that_port_and_network() {
    for frame in ordinary() {
        let mut bench = Bench::new();
        let (entering, leaving) = (bench.flow(1, 4), bench.flow(2, 6));
        bench.insert(&frame, GUEST, Some(entering));
        assert_eq!(bench.met(&frame), Some(vec![4]));
        bench.go_to(GUEST.get(), 0);
        assert_eq!(bench.met(&frame), None, "another direction");
        bench.insert(&frame, GUEST, Some(leaving));
        assert_eq!(bench.met(&frame), Some(vec![6]));
        assert_eq!(bench.met(&frame), Some(vec![6]));
        bench.go_to(GUEST.get() + 1, 0);
        assert_eq!(bench.met(&frame), None, "another port");
        bench.go_to(GUEST.get(), 1);
        assert_eq!(bench.met(&frame), None, "another network");

        bench.settle();
        let bytes = frame.len() as u64;
        let hits = [4, 6].map(|rule| bench.counters.hit(rule));
        let hits = hits.map(|hit| (hit.frames.get(), hit.bytes.get()));
        assert_eq!(hits, [(1, bytes), (2, 2 * bytes)]);
    }
}

/// A frame of the first flow but with this source port.
fn with_port(number: u16) -> Vec<u8> {
    let mut frame = ordinary().swap_remove(0);
    frame[34..36].copy_from_slice(&number.to_be_bytes());
    frame
}

#[test]
fn flows_of_a_port_drive_each_other_out_now_and_then_and_not_with_every_frame() {
    let mut bench = Bench::with_flows(1);
    let flows: Vec<_> = (0..=WAYS as u16).map(with_port).collect();
    let rounds = 80;
    let mut changes = 0;
    for _ in 0..rounds {
        for flow in &flows {
            if !bench.take(flow) {
                bench.insert(flow, GUEST, None);
                changes += usize::from(bench.take(flow));
            }
        }
    }
    let expected = rounds / PATIENCE as usize;
    assert!(
        changes >= WAYS + expected / 2,
        "{changes} changes: nobody gives way"
    );
    assert!(
        changes <= WAYS + 2 * expected,
        "{changes} changes in {rounds} rounds"
    );
}

/// A port with ever new flows takes no places from others that have fewer.
#[test]
fn a_port_with_many_flows_leaves_others_theirs() {
    let mut bench = Bench::new();
    let of = with_port;
    for number in 60_000..60_200 {
        bench.insert(&of(number), PortIndex::new(4), None);
    }
    for number in 0..100 {
        bench.insert(&of(number), GUEST, None);
        bench.take(&of(number));
    }
    let left = |bench: &mut Bench| (0..100).filter(|it| bench.take(&of(*it))).count();
    let before = left(&mut bench);
    assert!(before > 90, "{before} have places");
    for number in 100..60_000 {
        bench.insert(&of(number), PortIndex::new(4), None);
    }
    assert_eq!(left(&mut bench), before);
}
