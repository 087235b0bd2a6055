//! The XDP programs of the generator and the sink.
//!
//! A program owns no frame: the generator's writes one that the kernel has made for it, the sink's
//! looks at one and drops it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    allow(
        unsafe_code,
        reason = "packet memory and maps are the kernel's, and are reached by raw pointers"
    )
)]

#[cfg(target_arch = "bpf")]
mod generate;
#[cfg(target_arch = "bpf")]
mod sink;

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
