//! The text of a configuration, put together from short pieces.

use std::{
    fmt::Write as _,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread::available_parallelism,
};

/// A configuration that grows by one table with each call. Ports have the name of their device.
#[derive(Clone, Debug, Default)]
pub struct Config {
    text: String,
}

impl Config {
    /// A switch with so many workers, each pinned to a core of its own. The first core is another
    /// one with each call, so that tests which run beside each other use all cores.
    ///
    /// # Panics
    /// When there are fewer cores.
    #[must_use]
    pub fn workers(count: usize) -> Self {
        static FIRST: AtomicUsize = AtomicUsize::new(0);
        let first = FIRST.fetch_add(1, Relaxed);
        let available = available_parallelism().expect("number of cores").get();
        assert!(
            count <= available,
            "the test needs {count} cores, here are {available}"
        );
        let cores: Vec<_> = (first..first + count)
            .map(|core| core % available)
            .collect();
        Self::switch(&format!("workers = {count}\ncores = {cores:?}"))
    }

    /// A switch with these lines in its table `[switch]`.
    #[must_use]
    pub fn switch(lines: &str) -> Self {
        Self {
            text: format!("[switch]\n{lines}\n"),
        }
    }

    /// A network with a VLAN.
    #[must_use]
    pub fn network(self, name: &str, vid: u16) -> Self {
        self.table("network", name, &format!("vlan = {vid}"))
    }

    /// A network without a VLAN.
    #[must_use]
    pub fn private(self, name: &str) -> Self {
        self.table("network", name, "")
    }

    /// An access port.
    #[must_use]
    pub fn access(self, device: &str, network: &str) -> Self {
        self.port(device, &format!("network = \"{network}\""))
    }

    /// An uplink with all networks that have a VLAN, tagged.
    #[must_use]
    pub fn uplink(self, device: &str) -> Self {
        self.port(device, "role = \"uplink\"\ntrunk = [\"*\"]")
    }

    /// A port with these lines in its table.
    #[must_use]
    pub fn port(self, device: &str, lines: &str) -> Self {
        self.table("port", device, &format!("device = \"{device}\"\n{lines}"))
    }

    /// A static entry.
    #[must_use]
    pub fn entry(mut self, network: &str, mac: &str, port: &str) -> Self {
        // Writing to a string cannot fail.
        let _ = write!(
            self.text,
            "\n[[static]]\nnetwork = \"{network}\"\nmac = \"{mac}\"\nport = \"{port}\"\n"
        );
        self
    }

    /// Any further tables.
    #[must_use]
    pub fn with(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    fn table(mut self, kind: &str, name: &str, lines: &str) -> Self {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "\n[[{kind}]]\nname = \"{name}\"\n{lines}\n");
        self
    }
}

impl std::ops::Deref for Config {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}
