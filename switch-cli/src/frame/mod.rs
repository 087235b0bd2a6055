//! Frames as people write and read them: fields to bytes, bytes to a line, and captures.

pub mod build;
pub mod fields;
pub mod hex;
mod packet;
pub mod pcap;
pub mod text;
