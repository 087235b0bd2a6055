//! The entries, their maps, and how they read a frame.

use aya_ebpf::{
    bindings::{BPF_F_NO_PREALLOC, xdp_action},
    macros::{map, xdp},
    maps::{HashMap, PerCpuArray, XskMap},
    programs::XdpContext,
};
use xdp_ebpf::{Bytes, Decision, MAX_HOST_ADDRESSES, MAX_QUEUES, Outcome, Role, decide};

/// The engine's socket of each RX queue.
#[map]
static SOCKETS: XskMap = XskMap::with_max_entries(MAX_QUEUES, 0);

/// How many frames had each [`Outcome`], by CPU.
#[map]
static OUTCOMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(Outcome::COUNT as u32, 0);

/// What the host receives on an uplink, by [`xdp_ebpf::HostAddress::key`].
#[map]
static HOST_ADDRESSES: HashMap<u64, u8> =
    HashMap::with_max_entries(MAX_HOST_ADDRESSES, BPF_F_NO_PREALLOC);

/// A guest's port, frames of several buffers included.
#[xdp(frags)]
pub fn shunt_guest_sg(ctx: XdpContext) -> u32 {
    engine(&ctx, Role::Guest)
}

/// A guest's port.
#[xdp]
pub fn shunt_guest(ctx: XdpContext) -> u32 {
    engine(&ctx, Role::Guest)
}

/// An uplink, frames of several buffers included.
#[xdp(frags)]
pub fn shunt_uplink_sg(ctx: XdpContext) -> u32 {
    uplink(&ctx)
}

/// An uplink.
#[xdp]
pub fn shunt_uplink(ctx: XdpContext) -> u32 {
    uplink(&ctx)
}

#[inline(always)]
fn uplink(ctx: &XdpContext) -> u32 {
    match decide(&Packet(ctx), is_host_address) {
        Decision::Engine => engine(ctx, Role::Uplink),
        Decision::Host => verdict(Outcome::ToHost),
        Decision::HostAndEngine => verdict(Outcome::Copied),
    }
}

/// Redirects to the socket of the frame's queue, if there is one.
#[inline(always)]
fn engine(ctx: &XdpContext, role: Role) -> u32 {
    match SOCKETS.redirect(ctx.rx_queue_index(), 0) {
        Ok(_) => verdict(Outcome::ToEngine),
        Err(_) => verdict(role.without_socket()),
    }
}

/// Counts the outcome and gives the action that carries it out.
#[inline(always)]
fn verdict(outcome: Outcome) -> u32 {
    if let Some(count) = OUTCOMES.get_ptr_mut(outcome as u32) {
        // SAFETY: the map gave a pointer to this CPU's own u64, and nothing else runs on this CPU
        // before the program ends.
        unsafe { *count = (*count).wrapping_add(1) };
    }
    match outcome {
        Outcome::ToEngine => xdp_action::XDP_REDIRECT,
        Outcome::NoSocketDropped => xdp_action::XDP_DROP,
        Outcome::ToHost | Outcome::Copied | Outcome::NoSocketPassed => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn is_host_address(key: u64) -> bool {
    // SAFETY: the value is not read; user space may delete the entry meanwhile.
    unsafe { HOST_ADDRESSES.get(&key).is_some() }
}

/// The first buffer of the frame in hand: a driver keeps at least the headers there.
struct Packet<'a>(&'a XdpContext);

impl Bytes for Packet<'_> {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        let start = self.0.data() + offset;
        if start + N > self.0.data_end() {
            return None;
        }
        // SAFETY: these N bytes are between data and data_end, which the verifier checks again;
        // a byte array may have any alignment.
        Some(unsafe { *(start as *const [u8; N]) })
    }
}
