//! A frame of the generator, byte by byte: Ethernet, up to two tags, IPv4, UDP, and 18 bytes that
//! say whose it is, which one, and when it was made. Without tags that fills the smallest frame.

use crate::{Fields, Plan};

/// What our frames begin their payload with: "shnt".
pub const MAGIC: u32 = 0x7368_6e74;
/// What the kernel's pktgen begins its payload with (net/core/pktgen.c: `PKTGEN_MAGIC`).
pub const PKTGEN_MAGIC: u32 = 0xbe9b_e955;

/// UDP destination port: discard (RFC 863).
pub const DESTINATION_PORT: u16 = 9;
/// UDP source port of flow 0: the first that is nobody's (RFC 6335).
pub const FIRST_SOURCE_PORT: u16 = 49152;
/// Flows from one IP address: as many source ports as are nobody's.
pub const FLOWS_OF_ADDRESS: u64 = 1 << 14;
/// The address of the first flows: 198.18.0.0/15 is for benchmarks (RFC 2544, appendix C).
pub const SOURCE_ADDRESS: u32 = 0xc612_0001;
/// The address that all flows go to.
pub const DESTINATION_ADDRESS: u32 = 0xc613_0001;

const ETHERNET_HEADER: usize = 14;
const TAG: usize = 4;
const IPV4_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
/// Magic number, sequence number, time.
const STAMP: usize = 4 + 6 + 8;

/// EtherType of IPv4.
const IPV4: u16 = 0x0800;
/// TPID of a C-tag.
pub const C_TAG: u16 = 0x8100;
/// TPID of an S-tag.
pub const S_TAG: u16 = 0x88a8;
/// Version, header length and DSCP; flags (do not fragment); time to live and protocol (UDP).
const VERSION_AND_DSCP: u16 = 0x4500;
const FLAGS: u16 = 0x4000;
const TTL_AND_PROTOCOL: u16 = 0x4011;
const UDP: u16 = 17;

/// Bytes of the smallest frame that has room for everything, without FCS.
#[must_use]
pub const fn smallest(tag_count: usize) -> usize {
    ETHERNET_HEADER + tag_count * TAG + IPV4_HEADER + UDP_HEADER + STAMP
}

/// The beginning of a frame, in words of 16 bits.
pub trait Words {
    /// Writes a word, in network order. The writer has made sure that it is there.
    fn put(&mut self, index: usize, value: u16);
}

/// Writes words one after the other.
struct Writer<'a, W> {
    words: &'a mut W,
    index: usize,
}

impl<W: Words> Writer<'_, W> {
    #[inline(always)]
    fn word(&mut self, value: u16) {
        self.words.put(self.index, value);
        self.index += 1;
    }

    #[inline(always)]
    fn two(&mut self, value: u32) {
        self.word((value >> 16) as u16);
        self.word(value as u16);
    }

    /// Six bytes: an address, or a sequence number.
    #[inline(always)]
    fn three(&mut self, value: u64) {
        self.word((value >> 32) as u16);
        self.two(value as u32);
    }
}

/// Writes the first [`smallest`] bytes of a frame. What is behind them is left as it is.
#[inline(always)]
pub fn write<const TAGS: usize>(words: &mut impl Words, plan: &Plan, fields: &Fields) {
    let mut to = Writer { words, index: 0 };
    to.three(fields.destination);
    to.three(fields.source);
    for [tpid, tci] in plan.tags.iter().take(TAGS) {
        to.word(*tpid);
        to.word(*tci);
    }
    to.word(IPV4);
    let length = fields
        .size
        .wrapping_sub((ETHERNET_HEADER + TAGS * TAG) as u16);
    let source = SOURCE_ADDRESS.wrapping_add((fields.flow / FLOWS_OF_ADDRESS) as u32);
    to.word(VERSION_AND_DSCP);
    to.word(length);
    to.word(0);
    to.word(FLAGS);
    to.word(TTL_AND_PROTOCOL);
    to.word(ip_checksum(length, source));
    to.two(source);
    to.two(DESTINATION_ADDRESS);
    let port = (fields.flow % FLOWS_OF_ADDRESS) as u16;
    to.word(FIRST_SOURCE_PORT.wrapping_add(port));
    to.word(DESTINATION_PORT);
    to.word(length.wrapping_sub(IPV4_HEADER as u16));
    // No checksum, which IPv4 allows.
    to.word(0);
    to.two(MAGIC);
    to.three(fields.sequence);
    to.two((fields.time_ns >> 32) as u32);
    to.two(fields.time_ns as u32);
}

/// The header's checksum (RFC 791, 3.1), from what varies in it.
#[inline(always)]
fn ip_checksum(length: u16, source: u32) -> u16 {
    const FIXED: u32 = VERSION_AND_DSCP as u32
        + FLAGS as u32
        + TTL_AND_PROTOCOL as u32
        + (DESTINATION_ADDRESS >> 16)
        + (DESTINATION_ADDRESS & 0xffff);
    let sum = FIXED + length as u32 + (source >> 16) + (source & 0xffff);
    // Seven words: their carries fit into one more fold.
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}

/// The beginning of a frame that was received, in words of 16 bits.
pub trait Received {
    /// The word at an index, in the host's order; `None` behind the frame's end.
    fn get(&self, index: usize) -> Option<u16>;
}

/// A frame of a generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// How many tags it has.
    pub tag_count: usize,
    /// Its number.
    pub sequence: u64,
    /// When it was made; 0 when it does not say.
    pub time_ns: u64,
}

/// The TCI of the outer and the inner tag, where they are.
#[inline(always)]
pub fn tags(frame: &impl Received) -> [Option<u16>; 2] {
    if !is_tag(frame.get(6)) {
        return [None, None];
    }
    let inner = if is_tag(frame.get(8)) {
        frame.get(9)
    } else {
        None
    };
    [frame.get(7), inner]
}

#[inline(always)]
fn is_tag(ethertype: Option<u16>) -> bool {
    matches!(ethertype, Some(C_TAG | S_TAG))
}

/// Reads a frame; `None` when no generator has made it.
#[inline(always)]
pub fn read(frame: &impl Received) -> Option<Seen> {
    match tags(frame) {
        [None, _] => read_behind::<0>(frame),
        [Some(_), None] => read_behind::<1>(frame),
        [Some(_), Some(_)] => read_behind::<2>(frame),
    }
}

/// The two words at an index.
#[inline(always)]
fn two(frame: &impl Received, index: usize) -> Option<u32> {
    Some((frame.get(index)? as u32) << 16 | frame.get(index + 1)? as u32)
}

#[inline(always)]
fn read_behind<const TAGS: usize>(frame: &impl Received) -> Option<Seen> {
    let ethertype = (ETHERNET_HEADER + TAGS * TAG) / 2 - 1;
    let ip = ethertype + 1;
    let is_udp = frame.get(ethertype)? == IPV4
        && frame.get(ip)? >> 8 == VERSION_AND_DSCP >> 8
        && frame.get(ip + 4)? & 0xff == UDP;
    if !is_udp {
        return None;
    }
    let stamp = ip + (IPV4_HEADER + UDP_HEADER) / 2;
    match two(frame, stamp)? {
        MAGIC => Some(Seen {
            tag_count: TAGS,
            sequence: (frame.get(stamp + 2)? as u64) << 32 | two(frame, stamp + 3)? as u64,
            time_ns: (two(frame, stamp + 5)? as u64) << 32 | two(frame, stamp + 7)? as u64,
        }),
        // It numbers from 1 on, and its time is another clock's.
        PKTGEN_MAGIC => Some(Seen {
            tag_count: TAGS,
            sequence: two(frame, stamp + 2)?.wrapping_sub(1) as u64,
            time_ns: 0,
        }),
        _ => None,
    }
}

/// A flow's IP source address and UDP source port as one number, of a frame that [`read`] knows.
#[inline(always)]
pub fn flow(frame: &impl Received, tag_count: usize) -> Option<u64> {
    match tag_count {
        0 => flow_behind::<0>(frame),
        1 => flow_behind::<1>(frame),
        _ => flow_behind::<2>(frame),
    }
}

#[inline(always)]
fn flow_behind<const TAGS: usize>(frame: &impl Received) -> Option<u64> {
    let ip = (ETHERNET_HEADER + TAGS * TAG) / 2;
    let address = two(frame, ip + 6)? as u64;
    let ports = two(frame, ip + IPV4_HEADER / 2)? as u64;
    Some(address << 32 | ports)
}

/// The address whose first word is at an index: 0 is the destination's, 3 the source's.
#[inline(always)]
pub fn address(frame: &impl Received, index: usize) -> Option<u64> {
    Some((frame.get(index)? as u64) << 32 | two(frame, index + 1)? as u64)
}
