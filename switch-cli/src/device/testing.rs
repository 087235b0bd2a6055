//! Network namespaces for the tests of this module: made under a unique name, deleted when
//! dropped, a panic included.

use std::{
    fs::File,
    io::Read as _,
    os::fd::AsFd as _,
    process::{Child, Command, Stdio, id},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use super::Namespace;
use crate::sys;

/// A network namespace of a test.
pub struct Net {
    name: String,
}

impl Net {
    /// Makes a namespace. Without root it fails the test, which has not looked then.
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

/// Runs a command whose words are separated by single spaces; `\ ` is a space in a word.
pub fn shell(command: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in command.split(' ') {
        match words.last_mut() {
            Some(last) if last.ends_with('\\') => {
                last.pop();
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

/// A process that has a network namespace of its own, without a name; ended when dropped.
pub struct Unshared(Child);

impl Unshared {
    /// Starts the process and waits until it is in its namespace.
    pub fn new() -> Self {
        // It says when it is there, and waits for the end of its input.
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo there; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 6];
        let output = child.stdout.as_mut().unwrap();
        output.read_exact(&mut said).unwrap();
        Self(child)
    }

    /// The process, as in `ip link set netns PID`.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Runs a command in the namespace.
    pub fn run(&self, command: &str) -> String {
        shell(&format!(
            "nsenter --net=/proc/{}/ns/net {command}",
            self.pid()
        ))
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
