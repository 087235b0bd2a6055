//! A worker without queues, and the frames for it: what the benches without I/O run.
