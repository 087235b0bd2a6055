//! Ports: where frames come from and go to.

pub mod xdp;
