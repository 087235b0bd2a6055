//! What the daemon knows about network devices, and what it sets on them.
//!
//! Everything works on one network namespace, the one of the thread that calls
//! [`Namespace::open`]; the far ends of veth pairs in other namespaces are reached from there for
//! the length of one call. No file under /sys is read, because a thread that has changed its
//! network namespace still sees the devices of the former one there.

pub mod features;
pub mod host;
pub mod host_addresses;
pub mod links;
pub mod monitor;
pub mod offload;
pub mod peer;
mod quiet;
pub mod state;
pub mod stats;
#[cfg(test)]
mod testing;

use std::{io, os::unix::fs::MetadataExt as _, sync::Arc, time::Duration};

use futures_util::{TryStream, TryStreamExt as _};
use tokio::sync::Mutex;

use crate::sys::ControlSocket;

/// How long the kernel may take to answer. It waits for locks that a driver can hold for seconds.
const ANSWER_TIME: Duration = Duration::from_secs(10);

/// What went wrong with a device.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused.
    #[error("cannot {action}: {source}")]
    Kernel {
        /// What was tried, to follow "cannot".
        action: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A device that is not ours has a name that we need.
    #[error(
        "the device {device} exists and is not ours: {is}; take another name for the port's \
         device, or delete that one with: ip link del {device}"
    )]
    Foreign {
        /// Its name.
        device: String,
        /// What it is.
        is: String,
    },
    /// Another daemon has a pair for a port of this name, and of another kind.
    #[error(
        "{device} belongs to another shunt that is running and has a host port of the same name: \
         stop that one first, or give this port another name and device"
    )]
    HostPortInUse {
        /// The name that the device should have.
        device: String,
    },
    /// A device was deleted while it was set up.
    #[error("the device {device} was deleted while it was set up")]
    Vanished {
        /// Its name.
        device: String,
    },
}

/// The result of an operation on devices.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Gives an error of the kernel the words for what was tried.
pub(crate) trait Trying<T> {
    /// `action` follows "cannot", as in "list the devices".
    fn trying(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T> Trying<T> for io::Result<T> {
    fn trying(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| Error::Kernel {
            action: action(),
            source,
        })
    }
}

impl Error {
    /// The kernel's error number, if it is the kernel that refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Kernel { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }
}

/// The kernel's error number in an error of the netlink crate, where there is one.
fn netlink_io(error: rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.to_io(),
        other => io::Error::other(other.to_string()),
    }
}

/// The network namespace that the switch works in: a netlink connection and an ioctl socket that
/// stay there. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Namespace {
    netlink: rtnetlink::Handle,
    /// Whose turn it is to ask for a list.
    listing: Arc<Mutex<()>>,
    control: Arc<ControlSocket>,
    inode: u64,
}

impl Namespace {
    /// Opens the calling thread's network namespace. The netlink connection is served by a task
    /// of the tokio runtime that this is called in, until the last clone is dropped.
    ///
    /// # Errors
    /// When a socket cannot be opened.
    pub fn open() -> Result<Self> {
        let opening = || "open the network namespace".to_owned();
        let control = ControlSocket::open().trying(opening)?;
        let namespace = std::fs::metadata("/proc/thread-self/ns/net").trying(opening)?;
        let (connection, netlink, _) = rtnetlink::new_connection().trying(opening)?;
        tokio::spawn(connection);
        Ok(Self {
            netlink,
            listing: Arc::default(),
            control: Arc::new(control),
            inode: namespace.ino(),
        })
    }

    /// The number of the namespace, as in `net:[4026531840]`; unique while the namespace exists.
    #[must_use]
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Waits for the answer to a netlink request, but not for ever: a message that the netlink
    /// crate cannot read is an answer that never comes.
    pub(crate) async fn answer<T>(
        &self,
        request: impl Future<Output = Result<T, rtnetlink::Error>>,
        action: impl FnOnce() -> String,
    ) -> Result<T> {
        match tokio::time::timeout(ANSWER_TIME, request).await {
            Ok(answer) => answer.map_err(netlink_io),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
        .trying(action)
    }

    /// Asks for a list and waits for all of it.
    ///
    /// One list at a time: the kernel refuses another one (EBUSY) on a socket that has not given
    /// the end of the first (`__netlink_dump_start`, net/netlink/af_netlink.c).
    pub(crate) async fn list<T, S>(
        &self,
        ask: impl FnOnce() -> S,
        action: impl FnOnce() -> String,
    ) -> Result<Vec<T>>
    where
        S: TryStream<Ok = T, Error = rtnetlink::Error>,
    {
        let _turn = self.listing.lock().await;
        self.answer(ask().try_collect(), action).await
    }

    /// The ioctl socket.
    pub(crate) fn control(&self) -> &Arc<ControlSocket> {
        &self.control
    }

    /// The netlink connection.
    pub(crate) fn netlink(&self) -> &rtnetlink::Handle {
        &self.netlink
    }
}
