//! An allocator that counts, for tests that something does not allocate.
//!
//! It owns nothing: every block is the system allocator's, and it passes pointers on as they are.
//! Counters are each thread's own, so that tests beside each other do not disturb one another.
//! The test binary has to make it its global allocator:
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: shunt_tests::alloc::Counting = shunt_tests::alloc::Counting;
//!
//! let (text, allocations) = shunt_tests::alloc::count(|| "a text".to_owned());
//! assert_eq!((text.as_str(), allocations), ("a text", 1));
//! ```
#![allow(
    unsafe_code,
    reason = "island: an allocator is made of unsafe functions"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    // Without a destructor and without lazy initialisation: neither may allocate.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count_one() {
    // A thread that ends has no counter any more, and nobody asks for it.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
}

/// The system's allocator, counted.
#[derive(Clone, Copy, Debug)]
pub struct Counting;

// SAFETY: every call is the same call of the system allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps the contract of the same function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // Freeing is as slow as allocating: a worker does neither.
        count_one();
        // SAFETY: the caller keeps the contract of the same function.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps the contract of the same function.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps the contract of the same function.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// Does something, and gives with its result how many times this thread allocated, resized or
/// freed memory meanwhile.
pub fn count<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = ALLOCATIONS.get();
    let result = work();
    (result, ALLOCATIONS.get() - before)
}
