//! A machine with a switch and its guests, each in a network namespace of its own.
//!
//! What does not work panics, with the place in the test. Everything is gone when it is dropped.
//! A test drops what it has made in the reverse order, so the daemon is made after the world.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

use serde_json::Value;

use crate::{
    daemon::Daemon,
    netns::Namespace,
    quiet::{self, Hold},
    traffic::{Mac, Wire, text_of},
};

/// The name of a guest's device in its own namespace.
pub const GUEST_DEVICE: &str = "guest0";

/// The namespace that a daemon runs in. Worlds are apart from each other unless they are wired.
#[derive(Debug)]
pub struct World {
    /// Where the daemon runs and its devices are.
    pub switch: Namespace,
    /// Given up last, when nothing runs here any more.
    hold: Option<Hold>,
}

impl World {
    /// A world without guests. `label` is for people.
    ///
    /// # Panics
    /// Without root.
    #[must_use]
    #[track_caller]
    pub fn new(label: &str) -> Self {
        Self::held(label, quiet::share())
    }

    /// A world whose test measures: no other world is there meanwhile.
    ///
    /// # Panics
    /// Without root.
    #[must_use]
    #[track_caller]
    pub fn alone(label: &str) -> Self {
        Self::held(label, quiet::alone())
    }

    #[track_caller]
    fn held(label: &str, hold: Hold) -> Self {
        Self {
            switch: Namespace::new(label).expect("namespace of the switch"),
            hold: Some(hold),
        }
    }

    /// Lets others measure while this world does nothing, until [`wake`](Self::wake).
    pub fn rest(&mut self) {
        self.hold = None;
    }

    /// Goes on, as a world whose test measures.
    pub fn wake(&mut self) {
        self.hold = None;
        self.hold = Some(quiet::alone());
    }

    /// A guest: a namespace with a veth to the switch, where the device has the guest's name.
    /// One queue, MTU 1500, the kernel's default offloads, no address.
    #[must_use]
    #[track_caller]
    pub fn guest(&self, name: &str) -> Guest {
        self.guest_with_queues(name, 1)
    }

    /// A guest whose veth has so many queues at both ends.
    #[must_use]
    #[track_caller]
    pub fn guest_with_queues(&self, name: &str, queues: usize) -> Guest {
        let namespace = Namespace::new(name).expect("namespace of a guest");
        let veth = self.switch.veth(name, &namespace, GUEST_DEVICE, queues);
        veth.expect("veth of a guest");
        Guest::in_namespace(namespace, name)
    }

    /// A wire to another world: a veth with the same name in both.
    #[track_caller]
    pub fn wire_to(&self, other: &Self, device: &str) {
        let veth = self.switch.veth(device, &other.switch, device, 1);
        veth.expect("veth between worlds");
    }

    /// Starts a daemon here and waits until all its ports are up. To be called in the thread that
    /// the daemon shall live with.
    #[must_use]
    #[track_caller]
    pub fn start(&self, config: &str) -> Daemon {
        Daemon::start(&self.switch, config)
    }
}

/// A namespace with one device, whose far end is given to the switch.
#[derive(Debug)]
pub struct Guest {
    /// Its namespace, where the device is called [`GUEST_DEVICE`].
    pub namespace: Namespace,
    /// The name of the far end, in the namespace of the switch.
    pub near: String,
    /// The address of its device; unlike that of every other guest of this process.
    pub mac: Mac,
}

impl Guest {
    /// Gives the device of a new guest its address.
    #[track_caller]
    fn in_namespace(namespace: Namespace, near: &str) -> Self {
        let mac = new_mac();
        let address = ["link", "set", GUEST_DEVICE, "address", &text_of(mac)];
        namespace.ip(&address).expect("set the MAC address");
        Self {
            namespace,
            near: near.to_owned(),
            mac,
        }
    }

    /// Gives the device an IP address, e.g. `10.0.0.1/24`. An IPv6 one is used at once.
    #[track_caller]
    pub fn add_address(&self, address: &str) {
        if address.contains(':') {
            let path = format!("net.ipv6.conf.{GUEST_DEVICE}.disable_ipv6=0");
            self.namespace
                .run("sysctl", &["-qw", &path])
                .expect("IPv6 on");
        }
        let mut arguments = vec!["addr", "add", address, "dev", GUEST_DEVICE];
        if address.contains(':') {
            arguments.push("nodad");
        }
        self.namespace.ip(&arguments).expect("IP address");
    }

    /// Sets the MTU of the guest's device. That of the switch's end is another matter.
    #[track_caller]
    pub fn set_mtu(&self, mtu: u32) {
        let arguments = ["link", "set", GUEST_DEVICE, "mtu", &mtu.to_string()];
        self.namespace.ip(&arguments).expect("MTU");
    }

    /// A socket for raw frames on the guest's device.
    #[must_use]
    #[track_caller]
    pub fn wire(&self) -> Wire {
        Wire::open(&self.namespace, GUEST_DEVICE)
    }

    /// Whether an address answers a ping, of one that is sent each second for so many seconds.
    #[must_use]
    #[track_caller]
    pub fn pings(&self, address: &str, seconds: u32) -> bool {
        pings(&self.namespace, address, seconds)
    }
}

/// Whether an address answers a ping from a namespace, of one that is sent each second for so
/// many seconds. An answer ends it at once.
#[must_use]
#[track_caller]
pub fn pings(namespace: &Namespace, address: &str, seconds: u32) -> bool {
    let mut command = namespace.command("ping");
    command.args(["-n", "-c", "1", "-w", &seconds.to_string(), address]);
    command.output().expect("run ping").status.success()
}

/// The offload settings of a device, as `ethtool -k` lists them.
#[track_caller]
pub fn offloads(namespace: &Namespace, device: &str) -> String {
    namespace.run("ethtool", &["-k", device]).expect("ethtool")
}

/// All devices of a namespace by name, with everything that a switch might change: flags, MTU,
/// XDP program, queues, offloads. Two such descriptions are the same when all was left as found.
#[must_use]
#[track_caller]
pub fn interfaces(namespace: &Namespace) -> BTreeMap<String, String> {
    let shown = namespace.ip(&["-j", "-d", "link", "show"]);
    let shown: Value = serde_json::from_str(&shown.expect("ip link")).expect("JSON");
    let links = shown.as_array().expect("devices").iter();
    let described = links.map(|link| {
        let name = link["ifname"].as_str().expect("a name");
        let link = serde_json::to_string_pretty(link).expect("JSON");
        (
            name.to_owned(),
            format!("{link}\n{}", offloads(namespace, name)),
        )
    });
    described.collect()
}

/// Checks that the devices of a namespace are now as they were described by [`interfaces`].
#[track_caller]
pub fn check_interfaces(namespace: &Namespace, expected: &BTreeMap<String, String>) {
    let now = interfaces(namespace);
    let differences = differences(&now, expected);
    assert!(
        differences.is_empty(),
        "{}: now and expected: {differences:#?}",
        namespace.name()
    );
}

/// The lines that are not the same, and the devices that are only in one description.
fn differences(
    now: &BTreeMap<String, String>,
    expected: &BTreeMap<String, String>,
) -> Vec<(String, Vec<String>)> {
    let devices = now
        .keys()
        .chain(expected.keys().filter(|it| !now.contains_key(*it)));
    let differ = devices.filter(|device| now.get(*device) != expected.get(*device));
    let lines = |device: &String| {
        let (Some(now), Some(expected)) = (now.get(device), expected.get(device)) else {
            let which = if now.contains_key(device) {
                "new"
            } else {
                "gone"
            };
            return (device.clone(), vec![which.to_owned()]);
        };
        let lack = |text: &str, line: &str| !text.lines().any(|it| it == line);
        let new = now.lines().filter(|line| lack(expected, line));
        let gone = expected.lines().filter(|line| lack(now, line));
        let new = new.map(|line| format!("+ {}", line.trim()));
        let lines = new.chain(gone.map(|line| format!("- {}", line.trim())));
        (device.clone(), lines.collect())
    };
    differ.map(lines).collect()
}

/// A count of a device as the kernel keeps it, e.g. `("rx", "packets")`, `("tx", "dropped")`.
#[track_caller]
pub fn device_count(namespace: &Namespace, device: &str, direction: &str, what: &str) -> u64 {
    let shown = namespace.ip(&["-j", "-s", "link", "show", "dev", device]);
    let shown: Value = serde_json::from_str(&shown.expect("ip link")).expect("JSON");
    let count = &shown[0]["stats64"][direction][what];
    count
        .as_u64()
        .unwrap_or_else(|| panic!("no {direction} {what} in {shown}"))
}

/// The sum of all counts of a namespace's stack whose names end so, e.g. `InCsumErrors` for those
/// of TCP, UDP and ICMP over IPv4 and IPv6.
#[track_caller]
pub fn stack_count(namespace: &Namespace, name_end: &str) -> u64 {
    // Zeros too, absolute, and without a history file.
    let shown = namespace
        .run("nstat", &["-a", "-s", "-z", "-j"])
        .expect("nstat");
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    let counts = shown["kernel"].as_object().expect("counts").iter();
    let counts: Vec<_> = counts
        .filter(|(name, _)| name.ends_with(name_end))
        .collect();
    assert!(!counts.is_empty(), "no counts named {name_end} in {shown}");
    counts
        .iter()
        .map(|(_, count)| count.as_u64().expect("count"))
        .sum()
}

/// A locally administered address that no other guest of this process has.
#[must_use]
pub fn new_mac() -> Mac {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Relaxed).to_be_bytes();
    [0x02, 0x53, 0x48, 0, high, low]
}
