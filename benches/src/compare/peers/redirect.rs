//! A bare XDP redirect from each of two devices to the other: the limit of the kernel's path.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result, ensure};
use libbpf_rs::{Xdp, XdpFlags};
use shunt_tests::sys;

use super::{super::bed::Bed, Running};

pub const DESCRIPTION: &str = "two XDP programs of four instructions, bpf_redirect from each \
    device to the other; they run where the frame is sent, on core 0";

pub fn set_up(bed: &Bed) -> Result<Running> {
    ensure!(bed.guests.len() == 2, "a redirect has two ends");
    let devices: Vec<&str> = bed.near_devices().collect();
    let mut running = Running::default();
    for (from, to) in [(0, 1), (1, 0)] {
        let to = bed.switch.ifindex(devices[to])?;
        let from = bed.switch.ifindex(devices[from])?;
        let program = sys::redirecting_program(to).context("load the redirect")?;
        bed.switch.enter(|| {
            let xdp = Xdp::new(program.as_fd());
            xdp.attach(from as i32, XdpFlags::DRV_MODE)
        })??;
        running.programs.push(program);
    }
    Ok(running)
}
