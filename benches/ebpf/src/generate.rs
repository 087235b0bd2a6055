//! The generator: the kernel runs it on frames which nobody has received (`BPF_PROG_TEST_RUN` with
//! `BPF_F_TEST_XDP_LIVE_FRAMES`), and it makes each the next of the plan and sends it by a device.
//! Devices take turns as addresses do, and may be in different namespaces: a map knows them by
//! themselves, not by an index that means something in one namespace only.
//!
//! The kernel takes the memory of frames that have gone for new ones and does not clean it, so
//! everything that anybody may have changed is written again each time.

use aya_ebpf::{
    bindings::xdp_action,
    helpers::generated::{bpf_ktime_get_ns, bpf_xdp_adjust_tail},
    macros::{map, xdp},
    maps::{Array, DevMap},
    programs::XdpContext,
};
use bench_ebpf::{
    MAX_DEVICES, Plan, Progress,
    frame::{self, Words},
    histogram::{CLASSES, class_of},
};

/// What to send.
#[map]
static PLAN: Array<Plan> = Array::with_max_entries(1, 0);

/// The devices to send by.
#[map]
static DEVICES: DevMap = DevMap::with_max_entries(MAX_DEVICES, 0);

/// How far it is. One thread runs a generator.
#[map]
static PROGRESS: Array<Progress> = Array::with_max_entries(1, 0);

/// How late bursts were, by class.
#[map]
static LATENESS: Array<[u64; CLASSES]> = Array::with_max_entries(1, 0);

/// Looks at the clock in one turn, each some 30 ns: a turn is over soon, for the kernel serves
/// nothing else on this core meanwhile.
const LOOKS: usize = 512;

/// Makes frames without a tag.
#[xdp]
pub fn shunt_gen_0(ctx: XdpContext) -> u32 {
    generate::<0>(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

/// Makes frames with a tag.
#[xdp]
pub fn shunt_gen_1(ctx: XdpContext) -> u32 {
    generate::<1>(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

/// Makes frames with two tags.
#[xdp]
pub fn shunt_gen_2(ctx: XdpContext) -> u32 {
    generate::<2>(&ctx).unwrap_or(xdp_action::XDP_ABORTED)
}

/// One turn: the next frame, if its time has come. `None` is for the verifier.
#[inline(always)]
fn generate<const TAGS: usize>(ctx: &XdpContext) -> Option<u32> {
    let plan = PLAN.get(0)?;
    let progress = PROGRESS.get_ptr_mut(0)?;
    // SAFETY: the map gave a pointer to its one value, which only this thread's turns write, one
    // after the other.
    let progress = unsafe { &mut *progress };
    if progress.skipped > 0 {
        progress.skipped -= 1;
        return Some(xdp_action::XDP_DROP);
    }
    if progress.left == 0 && !burst_begins(plan, progress)? {
        // The kernel's batch is as long as a burst: the rest of this one passes too.
        progress.skipped = (plan.burst as u64).saturating_sub(1);
        return Some(xdp_action::XDP_DROP);
    }
    progress.left -= 1;
    if progress.sequence >= plan.count {
        progress.has_ended = 1;
        return Some(xdp_action::XDP_DROP);
    }
    let mut fields = progress.next(plan);
    if plan.is_stamped != 0 {
        fields.time_ns = now_ns();
    }
    if fields.size as u32 != plan.largest {
        let longer = fields.size as i32 - plan.largest as i32;
        // SAFETY: the context is this program's, and no pointer into the frame is held across.
        if unsafe { bpf_xdp_adjust_tail(ctx.ctx, longer) } != 0 {
            return None;
        }
    }
    frame::write::<TAGS>(
        &mut Packet::whole(ctx, frame::smallest(TAGS))?,
        plan,
        &fields,
    );
    Some(match DEVICES.redirect(fields.device, 0) {
        Ok(action) | Err(action) => action,
    })
}

/// Waits for the next burst's time, no longer than a turn may take. Gives whether it has come.
#[inline(always)]
fn burst_begins(plan: &Plan, progress: &mut Progress) -> Option<bool> {
    if progress.has_ended != 0 {
        return Some(false);
    }
    if progress.began_ns == 0 {
        progress.began_ns = now_ns();
    }
    let mut elapsed = now_ns() - progress.began_ns;
    let due = progress.due_ns();
    for _ in 0..LOOKS {
        if elapsed >= due {
            break;
        }
        elapsed = now_ns() - progress.began_ns;
    }
    if progress.is_over(plan, elapsed) {
        progress.has_ended = 1;
        return Some(false);
    }
    if elapsed < due {
        return Some(false);
    }
    let late = progress.begin_burst(plan, elapsed);
    if plan.interval > 0 {
        let counts = LATENESS.get_ptr_mut(0)?;
        // SAFETY: as for the progress above.
        let counts = unsafe { &mut *counts };
        *counts.get_mut(class_of(late))? += 1;
    }
    Some(true)
}

#[inline(always)]
fn now_ns() -> u64 {
    // SAFETY: it takes nothing and touches no memory.
    unsafe { bpf_ktime_get_ns() }
}

/// The frame in hand, which is as long as it has to be.
struct Packet {
    start: *mut u16,
}

impl Packet {
    #[inline(always)]
    fn whole(ctx: &XdpContext, length: usize) -> Option<Self> {
        let start = ctx.data();
        (start + length <= ctx.data_end()).then_some(Self {
            start: start as *mut u16,
        })
    }
}

impl Words for Packet {
    #[inline(always)]
    fn put(&mut self, index: usize, value: u16) {
        // SAFETY: `whole` has compared the end, which the verifier checks again for each index;
        // the frame begins behind a headroom of whole words.
        unsafe { self.start.add(index).write(value.to_be()) };
    }
}
