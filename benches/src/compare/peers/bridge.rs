//! The kernel's bridge.

use anyhow::Result;

use super::{
    super::bed::{Bed, SWITCH_CORE},
    Running,
};

pub const DESCRIPTION: &str = "Linux bridge, no STP, no multicast snooping; what its ports receive \
    is steered to core 1 (rps_cpus), the rest of its work is done where the frame is sent";

const BRIDGE: &str = "br0";

pub fn set_up(bed: &Bed) -> Result<Running> {
    let switch = &bed.switch;
    let kind = ["type", "bridge", "stp_state", "0", "mcast_snooping", "0"];
    let mtu = bed.plan.mtu.to_string();
    switch.ip(&[&["link", "add", BRIDGE, "mtu", &mtu], &kind[..]].concat())?;
    for device in bed.near_devices() {
        switch.ip(&["link", "set", "dev", device, "master", BRIDGE])?;
        // `ip netns exec` mounts the /sys that shows this namespace's devices.
        let queues = format!("/sys/class/net/{device}/queues");
        let mask = format!("{:x}", 1 << SWITCH_CORE);
        let steer = format!("for queue in {queues}/rx-*; do echo {mask} > $queue/rps_cpus; done");
        switch.run("sh", &["-ec", &steer])?;
    }
    switch.ip(&["link", "set", "dev", BRIDGE, "up"])?;
    Ok(Running::default())
}
