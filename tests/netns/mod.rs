//! Tests in real network namespaces: they need root, and fail without.

mod kit;
mod program;
