//! The XDP programs. One object is loaded for each device, so each device has maps of its own.
//!
//! A program owns no frame: it reads the header of the one in hand and names who gets it. For
//! each role there are two entries: the one ending in `_sg` takes frames of several buffers
//! (`xdp.frags`, kernel 5.18), the other is for kernels that know nothing of them. The express
//! path will be a lookup before `decide`.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    allow(
        unsafe_code,
        reason = "packet memory and maps are the kernel's, and are reached by raw pointers"
    )
)]

#[cfg(target_arch = "bpf")]
mod programs;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Some helpers are only for programs under a GPL-compatible licence (kernel/bpf/verifier.c).
#[cfg(target_arch = "bpf")]
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
