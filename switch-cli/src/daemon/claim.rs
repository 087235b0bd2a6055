//! One daemon for each device: a claim that is made before anything is changed on the device, and
//! given up when everything is restored.
//!
//! It is a socket with a name that no file has (unix(7), "abstract"). Such names are of a network
//! namespace, as devices are; they go with their process, however that ends; and the kernel tells
//! whoever connects to one which process that is.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener, UnixStream},
    },
};

/// The right to change a device, until it is dropped.
#[derive(Debug)]
pub struct Claim {
    _listener: UnixListener,
}

/// Why there is no claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another daemon has it.
    #[error(
        "{device} is in use by another shunt{}: stop that one first, or take the device out of one \
         of the configurations", process(*.pid)
    )]
    InUse {
        /// The device.
        device: String,
        /// The other daemon, if the kernel tells.
        pid: Option<i32>,
    },
    /// The kernel refused.
    #[error("cannot claim {device}: {source}")]
    Refused {
        /// The device.
        device: String,
        /// What the kernel said.
        source: io::Error,
    },
}

fn process(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

impl Claim {
    /// Claims a device of this process's network namespace.
    ///
    /// # Errors
    /// When another daemon, or this one, has it.
    pub fn new(device: &str, ifindex: u32) -> Result<Self, ClaimError> {
        let refused = |source| ClaimError::Refused {
            device: device.to_owned(),
            source,
        };
        let name = format!("shunt/device/{ifindex}");
        let address = SocketAddr::from_abstract_name(name).map_err(refused)?;
        match UnixListener::bind_addr(&address) {
            Ok(listener) => Ok(Self {
                _listener: listener,
            }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(ClaimError::InUse {
                device: device.to_owned(),
                pid: holder(&address),
            }),
            Err(error) => Err(refused(error)),
        }
    }
}

/// The process that listens at an address.
fn holder(address: &SocketAddr) -> Option<i32> {
    let stream = UnixStream::connect_addr(address).ok()?;
    stream.set_nonblocking(true).ok()?;
    let stream = tokio::net::UnixStream::from_std(stream).ok()?;
    // Zero is a process that we cannot see from our PID namespace.
    stream.peer_cred().ok()?.pid().filter(|pid| *pid != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_device_has_one_claim_which_names_its_process() {
        // No device has such an index.
        let ifindex = u32::MAX - std::process::id();
        let first = Claim::new("veA", ifindex).unwrap();
        for _ in 0..3 {
            let refused = Claim::new("veA", ifindex).unwrap_err().to_string();
            let process = format!(
                "veA is in use by another shunt (process {})",
                std::process::id()
            );
            assert!(refused.starts_with(&process), "{refused}");
        }
        let _other = Claim::new("veB", ifindex - 1).unwrap();
        drop(first);
        Claim::new("veA", ifindex).unwrap();
    }
}
