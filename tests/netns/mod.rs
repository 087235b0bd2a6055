//! Tests in real network namespaces: they need root, and fail without.

mod afxdp;
mod flaps;
mod kit;
mod program;
mod reach;
mod restart;
mod streams;
mod tags;
