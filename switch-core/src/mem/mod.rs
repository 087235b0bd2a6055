//! The memory that frames live in: one region, cut into chunks, and who owns each chunk.
//!
//! # Who may own a frame
//! Every chunk of the region has exactly one owner at a time: the shared pool, a worker's cache, a
//! [`Frame`] handle, or the kernel (between a descriptor's way into a fill or TX ring and its way
//! out of an RX or completion ring). Ownership is a move: a handle is neither `Copy` nor `Clone`,
//! and only this module and `port` can make one from an address. Whoever holds the handle may
//! read and write the chunk's bytes, and nobody else does; that is what makes the `unsafe` blocks
//! of this island sound, on any number of threads.
#![allow(
    unsafe_code,
    reason = "island: chunks of the mapped region are handed out by address"
)]

mod cursor;
mod frame;
mod huge;
mod pool;
mod region;
pub mod spsc;

pub(crate) use cursor::{ConsumerCursor, ProducerCursor};
pub use frame::{Burst, Frame, NoHeadroom};
pub use huge::{Hashed, HugeSlice, prefetch};
pub use pool::{ChunkAddress, FrameCache, Pool};
pub use region::{HugePages, Region};
