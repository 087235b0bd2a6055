//! Types that the eBPF programs share with user space.
#![no_std]
