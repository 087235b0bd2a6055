//! Network namespaces for the tests of this module: made under a unique name, deleted when
//! dropped, a panic included.

use std::{
    fs::File,
    os::fd::AsFd as _,
    process::{Command, id},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use super::Namespace;
use crate::sys;

/// A network namespace of a test.
pub struct Net {
    name: String,
}

impl Net {
    /// Makes a namespace. Fails the test without root, so that no test passes without having looked.
    pub fn new(label: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        assert!(
            sys::is_root(),
            "this test makes network namespaces and needs root: use sudo -E"
        );
        let name = format!("shuntdev-{}-{}-{label}", id(), NEXT.fetch_add(1, Relaxed));
        shell(&format!("ip netns add {name}"));
        Self { name }
    }

    /// The name, as `ip netns` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` on the namespace.
    pub fn ip(&self, arguments: &str) -> String {
        shell(&format!("ip -n {} {arguments}", self.name))
    }

    /// Runs a command in the namespace.
    pub fn run(&self, command: &str) -> String {
        shell(&format!("ip netns exec {} {command}", self.name))
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        let deleted = Command::new("ip")
            .args(["netns", "del", &self.name])
            .status();
        if !deleted.is_ok_and(|status| status.success()) {
            eprintln!("the namespace {} is left", self.name);
        }
    }
}

/// Runs a command whose words are separated by single spaces; `\ ` stays as it is.
pub fn shell(command: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in command.split(' ') {
        match words.last_mut() {
            Some(last) if last.ends_with('\\') => {
                last.push(' ');
                last.push_str(word);
            }
            _ => words.push(word.into()),
        }
    }
    let output = Command::new(&words[0]).args(&words[1..]).output().unwrap();
    assert!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Runs an async closure in a runtime and a thread of its own inside the namespace.
pub fn in_net<T: Send>(net: &Net, closure: impl AsyncFnOnce(Namespace) -> T + Send) -> T {
    let file = File::open(format!("/run/netns/{}", net.name)).unwrap();
    sys::in_network_namespace(file.as_fd(), || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let namespace = Namespace::open().unwrap();
            closure(namespace).await
        })
    })
    .unwrap()
}
