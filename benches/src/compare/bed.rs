//! The bed of a measurement: a namespace for the switch and one for each guest, with veth pairs
//! between them. It is made anew for each contender and turn, so that nobody inherits anything.

use super::process::find_program;
use anyhow::{Context as _, Result, ensure};
use shunt_tests::{
    netns::Namespace,
    traffic::{Mac, text_of},
};

/// The name of a guest's device in its own namespace.
pub const GUEST_DEVICE: &str = "guest0";
/// The core of generator, sink and guests.
pub const GUEST_CORE: usize = 0;
/// The core of the switching thread.
pub const SWITCH_CORE: usize = 1;

/// What the ends of the veth pairs leave to each other instead of doing it themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offloads {
    /// Frames are complete when they leave the guest: checksums, segments, tags. What a switch on
    /// AF_XDP or XDP needs.
    Off,
    /// As the kernel sets a veth up: what a switch in the kernel can keep.
    Kept,
}

/// What a contender's bed looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Guests.
    pub ports: usize,
    /// Queues at both ends of each veth pair.
    pub queues: usize,
    /// MTU of all devices.
    pub mtu: usize,
    /// Offloads of all devices.
    pub offloads: Offloads,
    /// Whether the switch's ends collect received frames by NAPI, which they need in order to get
    /// frames from an XDP generator when no XDP program is there.
    pub near_gro: bool,
}

/// A guest.
#[derive(Debug)]
pub struct Guest {
    /// Its namespace, where the device is called [`GUEST_DEVICE`].
    pub namespace: Namespace,
    /// The name of the far end, in the namespace of the switch.
    pub near: String,
    /// The address of its device.
    pub mac: Mac,
    /// Its IP address.
    pub address: String,
}

/// Namespaces and devices, deleted when dropped.
#[derive(Debug)]
pub struct Bed {
    /// Guests, before the switch: their devices go first.
    pub guests: Vec<Guest>,
    /// Where the contender runs.
    pub switch: Namespace,
    /// How it was made.
    pub plan: Plan,
}

impl Bed {
    /// Makes everything.
    ///
    /// # Errors
    /// When iproute2 or ethtool fail.
    pub fn new(plan: Plan) -> Result<Self> {
        let mut bed = Self {
            guests: Vec::new(),
            switch: Namespace::new("switch")?,
            plan,
        };
        for number in 0..plan.ports {
            let guest = bed.guest(number).context("make a guest")?;
            bed.guests.push(guest);
        }
        Ok(bed)
    }

    fn guest(&self, number: usize) -> Result<Guest> {
        let namespace = Namespace::new(&format!("guest{number}"))?;
        let guest = Guest {
            namespace,
            near: format!("p{number}"),
            mac: [2, 0x53, 0x48, 0xbe, 0, number as u8 + 1],
            address: format!("10.66.0.{}", number + 1),
        };
        let (near, far) = (&guest.near, &guest.namespace);
        self.switch
            .veth(near, far, GUEST_DEVICE, self.plan.queues)?;
        let mtu = self.plan.mtu.to_string();
        self.switch.ip(&["link", "set", "dev", near, "mtu", &mtu])?;
        let mac = text_of(guest.mac);
        far.ip(&["link", "set", GUEST_DEVICE, "mtu", &mtu, "address", &mac])?;
        let address = format!("{}/24", guest.address);
        far.ip(&["addr", "add", &address, "dev", GUEST_DEVICE])?;
        self.set_offloads(&guest)?;
        Ok(guest)
    }

    /// The guest's end always collects received frames by NAPI: a redirect into a veth needs it.
    fn set_offloads(&self, guest: &Guest) -> Result<()> {
        let (near, far) = (guest.near.as_str(), &guest.namespace);
        if self.plan.offloads == Offloads::Off {
            let off = ["tx", "off", "tso", "off", "gso", "off"];
            let at_guest = [&["-K", GUEST_DEVICE], &off[..], &["txvlan", "off"]].concat();
            far.run("ethtool", &at_guest)?;
            let at_switch = [&["-K", near], &off[..]].concat();
            self.switch.run("ethtool", &at_switch)?;
        }
        far.run("ethtool", &["-K", GUEST_DEVICE, "gro", "on"])?;
        let near_gro = if self.plan.near_gro { "on" } else { "off" };
        self.switch.run("ethtool", &["-K", near, "gro", near_gro])?;
        Ok(())
    }

    /// The switch's ends, in order.
    pub fn near_devices(&self) -> impl Iterator<Item = &str> {
        self.guests.iter().map(|guest| guest.near.as_str())
    }
}

/// Whether namespaces can be made at all.
///
/// # Errors
/// When a program is not there that the bed is made by; says which package has it.
pub fn check_tools() -> Result<()> {
    for (program, package) in [
        ("ip", "iproute2"),
        ("ethtool", "ethtool"),
        ("setpriv", "util-linux"),
    ] {
        ensure!(
            find_program(program).is_some(),
            "{program} is not there; run: apt-get install {package}"
        );
    }
    Ok(())
}
