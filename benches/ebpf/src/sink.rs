//! The sink: counts frames, measures how long they were on their way, and drops them.

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::{bpf_ktime_get_ns, bpf_xdp_get_buff_len},
    macros::{map, xdp},
    maps::{HashMap, PerCpuArray},
    programs::XdpContext,
};
use bench_ebpf::{
    COUNTS as COUNT, Count, EXTREMES as EXTREME_COUNT, Extreme, MAX_DISTINCT, RESTART,
    frame::{self, Received, Seen},
    histogram::{CLASSES, class_of},
};

/// What came, by [`Count`].
#[map]
static COUNTS: PerCpuArray<[u64; COUNT]> = PerCpuArray::with_max_entries(1, 0);

/// What else is known of them, by [`Extreme`].
#[map]
static EXTREMES: PerCpuArray<[u64; EXTREME_COUNT]> = PerCpuArray::with_max_entries(1, 0);

/// Times on the way, by class.
#[map]
static LATENCIES: PerCpuArray<[u64; CLASSES]> = PerCpuArray::with_max_entries(1, 0);

/// Distinct source addresses, destination addresses and flows.
#[map]
static SOURCES: HashMap<u64, u8> = HashMap::with_max_entries(MAX_DISTINCT, NO_PREALLOC);
#[map]
static DESTINATIONS: HashMap<u64, u8> = HashMap::with_max_entries(MAX_DISTINCT, NO_PREALLOC);
#[map]
static FLOWS: HashMap<u64, u8> = HashMap::with_max_entries(MAX_DISTINCT, NO_PREALLOC);

const NO_PREALLOC: u32 = aya_ebpf::bindings::BPF_F_NO_PREALLOC;

/// Counts and drops.
#[xdp]
pub fn shunt_sink(ctx: XdpContext) -> u32 {
    let size = ctx.data_end() - ctx.data();
    let _ = count(&Packet(&ctx), size as u64);
    xdp_action::XDP_DROP
}

/// The same for devices with frames of several buffers (kernel 5.18).
#[xdp(frags)]
pub fn shunt_sink_sg(ctx: XdpContext) -> u32 {
    // SAFETY: the context is this program's.
    let size = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    let _ = count(&Packet(&ctx), size);
    xdp_action::XDP_DROP
}

/// Tells addresses and flows apart too, which costs more.
#[xdp(frags)]
pub fn shunt_sink_tell(ctx: XdpContext) -> u32 {
    // SAFETY: the context is this program's.
    let size = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
    let packet = Packet(&ctx);
    if let Some(seen) = count(&packet, size) {
        let _ = tell(&packet, &seen);
    }
    xdp_action::XDP_DROP
}

/// Counts a frame. Gives it if a generator has made it.
#[inline(always)]
fn count(packet: &Packet<'_>, size: u64) -> Option<Seen> {
    let counts = COUNTS.get_ptr_mut(0)?;
    // SAFETY: the map gave a pointer to this CPU's own value, and nothing else runs on this CPU
    // before the program ends.
    let counts = unsafe { &mut *counts };
    let Some(seen) = frame::read(packet) else {
        counts[Count::ForeignFrames as usize] += 1;
        counts[Count::ForeignBytes as usize] += size;
        return None;
    };
    counts[Count::Frames as usize] += 1;
    counts[Count::Bytes as usize] += size;
    let extremes = EXTREMES.get_ptr_mut(0)?;
    // SAFETY: as above.
    let extremes = unsafe { &mut *extremes };
    raise(&mut extremes[Extreme::Largest as usize], size);
    raise(
        &mut extremes[Extreme::Smallest as usize],
        65_536 - (size & 0xffff),
    );
    if is_overtaken(extremes, seen.sequence) {
        counts[Count::Reordered as usize] += 1;
    }
    match seen.tag_count {
        0 => {}
        1 => counts[Count::SingleTagged as usize] += 1,
        _ => counts[Count::DoubleTagged as usize] += 1,
    }
    if seen.tag_count > 0 {
        let vid = |tci: Option<u16>| tci.map_or(0, |tci| u64::from(tci & 0x0fff) + 1);
        let [outer, inner] = frame::tags(packet);
        extremes[Extreme::OuterVid as usize] = vid(outer);
        extremes[Extreme::InnerVid as usize] = vid(inner);
    }
    if seen.time_ns != 0 {
        let latencies = LATENCIES.get_ptr_mut(0)?;
        // SAFETY: as above; and the clock takes nothing and touches no memory.
        let (latencies, now) = unsafe { (&mut *latencies, bpf_ktime_get_ns()) };
        *latencies.get_mut(class_of(now.saturating_sub(seen.time_ns)))? += 1;
    }
    Some(seen)
}

#[inline(always)]
fn raise(highest: &mut u64, value: u64) {
    if value > *highest {
        *highest = value;
    }
}

/// Whether a frame with a higher number has come by this CPU already (RFC 4737, 3).
#[inline(always)]
fn is_overtaken(extremes: &mut [u64; EXTREME_COUNT], sequence: u64) -> bool {
    let next = extremes[Extreme::NextSequence as usize];
    let is_overtaken = sequence < next && next - sequence <= RESTART && sequence != 0;
    if !is_overtaken {
        extremes[Extreme::NextSequence as usize] = sequence + 1;
    }
    is_overtaken
}

#[inline(always)]
fn tell(packet: &Packet<'_>, seen: &Seen) -> Option<()> {
    // Full: then no more are told apart.
    let _ = DESTINATIONS.insert(&frame::address(packet, 0)?, &0, 0);
    let _ = SOURCES.insert(&frame::address(packet, 3)?, &0, 0);
    let _ = FLOWS.insert(&frame::flow(packet, seen.tag_count)?, &0, 0);
    Some(())
}

/// The first buffer of the frame in hand: a driver keeps at least the headers there.
struct Packet<'a>(&'a XdpContext);

impl Received for Packet<'_> {
    #[inline(always)]
    fn get(&self, index: usize) -> Option<u16> {
        let start = self.0.data() + 2 * index;
        if start + 2 > self.0.data_end() {
            return None;
        }
        // SAFETY: these bytes are between data and data_end, which the verifier checks again. A
        // driver aligns frames to 2 bytes at least, and what is read is only a number.
        Some(u16::from_be(unsafe { *(start as *const u16) }))
    }
}
