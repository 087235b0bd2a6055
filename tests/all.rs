//! The one test binary.

#[global_allocator]
static ALLOCATOR: shunt_tests::alloc::Counting = shunt_tests::alloc::Counting;

mod features;
mod netns;
mod simulation;
