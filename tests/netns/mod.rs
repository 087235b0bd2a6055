//! Tests in real network namespaces: they need root, and fail without.

mod acl;
mod addresses;
mod afxdp;
mod attachment;
mod bench;
mod flaps;
mod hostile;
mod kit;
mod load;
mod mistakes;
mod neighbours;
mod program;
mod promises;
mod qos;
mod queues;
mod reach;
mod reload;
mod restart;
mod shared_uplink;
mod sizes;
mod streams;
mod tags;
mod trace;
