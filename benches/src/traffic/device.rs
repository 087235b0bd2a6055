//! A network device in a namespace.

use std::{fs, fs::File, os::fd::AsFd as _, path::Path, sync::Arc, thread};

use anyhow::{Context as _, Result, bail, ensure};

use super::sys;

/// Where iproute2 keeps names of namespaces.
const NAMESPACES: &str = "/run/netns";

/// A network device, found by name in a namespace.
#[derive(Clone, Debug)]
pub struct Device {
    name: String,
    /// `None` is the namespace of this process.
    namespace: Option<Arc<File>>,
    namespace_name: Option<String>,
    ifindex: u32,
}

/// What a device has sent so far, as the kernel counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transmitted {
    pub frames: u64,
    pub dropped: u64,
}

impl Device {
    /// Finds a device in a namespace that `ip netns` knows, or in that of this process.
    ///
    /// # Errors
    /// When there is no such namespace or device, and without the rights to enter it.
    pub fn open(namespace: Option<&str>, name: &str) -> Result<Self> {
        let file = match namespace {
            None => None,
            Some(namespace) => {
                let path = Path::new(NAMESPACES).join(namespace);
                let file = File::open(&path)
                    .with_context(|| format!("no network namespace called {namespace}"))?;
                Some(Arc::new(file))
            }
        };
        let mut device = Self {
            name: name.to_owned(),
            namespace: file,
            namespace_name: namespace.map(str::to_owned),
            ifindex: 0,
        };
        let found = device.enter(|| sys::ifindex(name))?;
        device.ifindex = found.with_context(|| format!("no device called {}", device.place()))?;
        Ok(device)
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The index in its namespace.
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        self.ifindex
    }

    /// Name and namespace, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match &self.namespace_name {
            None => self.name.clone(),
            Some(namespace) => format!("{} in the namespace {namespace}", self.name),
        }
    }

    /// Calls a closure in a thread of its own in the device's namespace, and waits for it. A panic
    /// goes on in the caller.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter<T: Send>(&self, closure: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.move_thread()?;
                Ok(closure())
            });
            match inside.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Moves the calling thread into the device's namespace, for good.
    pub(crate) fn move_thread(&self) -> Result<()> {
        let Some(file) = &self.namespace else {
            return Ok(());
        };
        shunt_tests::sys::enter_network_namespace(file.as_fd())
            .with_context(|| format!("cannot enter the namespace of {}", self.place()))
    }

    /// What it has sent so far. To be called in its namespace.
    pub(crate) fn transmitted(&self) -> Result<Transmitted> {
        let counts = fs::read_to_string("/proc/thread-self/net/dev").context("device counts")?;
        transmitted(&counts, &self.name).with_context(|| format!("{} is gone", self.place()))
    }

    /// Refuses a device that the machine itself depends on: loopback, and one that a default route
    /// goes by.
    ///
    /// # Errors
    /// Says why.
    pub fn refuse_if_needed_by_host(&self) -> Result<()> {
        let (v4, v6) = self.enter(|| {
            let read = |file| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            (
                read("route").unwrap_or_default(),
                read("ipv6_route").unwrap_or_default(),
            )
        })?;
        ensure!(self.name != "lo", "lo is no device to send frames by");
        if has_default_route(&v4, &v6, &self.name) {
            bail!(
                "the default route goes by {}: what is done to it may cut this machine off. If it \
                 shall be so, say --yes-this-device",
                self.place()
            );
        }
        Ok(())
    }
}

/// Frames sent and dropped by a device, from the text of `/proc/net/dev`.
fn transmitted(counts: &str, device: &str) -> Option<Transmitted> {
    let line = counts.lines().find_map(|line| {
        let (name, counts) = line.split_once(':')?;
        (name.trim() == device).then_some(counts)
    })?;
    // Eight counts of what was received, then bytes, packets, errs, drop of what was sent.
    let mut numbers = line.split_whitespace().skip(9);
    let frames = numbers.next()?.parse().ok()?;
    let dropped = numbers.nth(1)?.parse().ok()?;
    Some(Transmitted { frames, dropped })
}

/// Whether a default route goes by a device, from the texts of `/proc/net/route` and `ipv6_route`.
fn has_default_route(v4: &str, v6: &str, device: &str) -> bool {
    let by_v4 = v4.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        matches!(fields[..], [name, "00000000", _, _, _, _, _, "00000000", ..] if name == device)
    });
    by_v4
        || v6.lines().any(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_default = fields
                .first()
                .is_some_and(|it| it.bytes().all(|c| c == b'0'))
                && fields.get(1) == Some(&"00");
            is_default && fields.last() == Some(&device)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_the_kernels_text() {
        let text = "Inter-|   Receive                            |  Transmit\n \
            face |bytes packets errs drop fifo frame compressed multicast|bytes packets errs drop\n\
            \x20   lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
            guest0: 1 2 3 4 5 6 7 8 900 1000 11 1200 13 14 15 16\n";
        let found = transmitted(text, "guest0");
        let expected = Transmitted {
            frames: 1000,
            dropped: 1200,
        };
        assert_eq!(found, Some(expected));
        assert_eq!(transmitted(text, "guest"), None);
    }

    #[test]
    fn default_routes_are_found() {
        let v4 = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n\
            eth0 00000000 0100000A 0003 0 0 0 00000000 0 0 0\n\
            eth1 0000000A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n";
        let v6 = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
            fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth2\n\
            fd000000000000000000000000000000 40 00000000000000000000000000000000 00 \
            fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth3\n";
        for (device, expected) in [
            ("eth0", true),
            ("eth1", false),
            ("eth2", true),
            ("eth3", false),
            ("eth", false),
        ] {
            assert_eq!(has_default_route(v4, v6, device), expected, "{device}");
        }
    }
}
