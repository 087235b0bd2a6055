//! The far end of a veth pair, wherever its network namespace is.
//!
//! The kernel tells an end the index of the other one and a number for its namespace (nsid), but
//! gives no file for that number. So the namespaces that this process can see, mounted ones and
//! those of processes, are asked for their numbers until one is the right one.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::fd::{AsFd as _, AsRawFd as _},
    path::PathBuf,
    sync::Arc,
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::{
    packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        link::LinkAttribute,
        nsid::{NsidAttribute, NsidMessage},
    },
};

use super::{
    Namespace,
    links::{Link, Peer},
};
use crate::sys::{self, ControlSocket};

/// The far end of a device, as far as it can be reached.
#[derive(Debug)]
pub enum FarEnd {
    /// The device is no veth: whatever is behind it is no device of this machine's kernel.
    None,
    /// It can be asked and set.
    Reached(Reached),
    /// It is a veth whose other end is out of reach.
    Unreachable {
        /// Its name, where the kernel tells.
        name: Option<String>,
        /// Why it is out of reach.
        why: String,
    },
}

/// A far end that can be asked and set.
///
/// It keeps the namespace alive: a guest that dies while this is held does not give up its
/// devices. Hold it for one operation only.
#[derive(Debug)]
pub struct Reached {
    /// Its name, in its own namespace.
    pub name: String,
    control: Arc<ControlSocket>,
}

impl Reached {
    /// The ioctl socket in the far end's namespace.
    pub(crate) fn control(&self) -> &ControlSocket {
        &self.control
    }
}

impl Namespace {
    /// Finds the far end of a device. That it cannot be reached is an answer and not an error.
    pub async fn far_end(&self, link: &Link) -> FarEnd {
        let Some(peer) = link.peer else {
            return FarEnd::None;
        };
        match self.reach(peer).await {
            Ok(reached) => FarEnd::Reached(reached),
            Err(why) => FarEnd::Unreachable {
                name: self.name_in(peer).await,
                why,
            },
        }
    }

    async fn reach(&self, peer: Peer) -> Result<Reached, String> {
        let control = match peer.nsid {
            None => Arc::clone(self.control()),
            Some(nsid) => {
                let file = self.find(nsid).await?;
                let control = sys::in_network_namespace(file.as_fd(), ControlSocket::open)
                    .and_then(|opened| opened)
                    .map_err(|error| format!("its network namespace cannot be entered: {error}"))?;
                Arc::new(control)
            }
        };
        let name = control
            .name(peer.ifindex)
            .map_err(|error| format!("it is not where the kernel said: {error}"))?;
        Ok(Reached { name, control })
    }

    /// The file of the namespace that has this number in ours.
    async fn find(&self, nsid: i32) -> Result<File, String> {
        let mut denied = None;
        // A file is opened only to be asked, so that no namespace is held for longer than that.
        for (inode, path) in candidates() {
            if inode == self.inode() {
                continue;
            }
            match File::open(&path) {
                Ok(file) => {
                    if self.nsid(&file).await == Some(nsid) {
                        return Ok(file);
                    }
                }
                Err(error) => denied = Some(format!("{}: {error}", path.display())),
            }
        }
        let denied = denied.map_or_else(String::new, |denied| format!(" ({denied})"));
        Err(format!(
            "no mount and no process shows its network namespace{denied}"
        ))
    }

    /// The number of a namespace in ours, if it has one (`RTM_GETNSID`).
    async fn nsid(&self, namespace: &File) -> Option<i32> {
        let mut message = NsidMessage::default();
        let descriptor = u32::try_from(namespace.as_raw_fd()).ok()?;
        message.attributes.push(NsidAttribute::Fd(descriptor));
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetNsId(message));
        request.header.flags = NLM_F_REQUEST;
        let mut answers = self.netlink().clone().request(request).ok()?;
        let answer = async { Ok(answers.next().await) };
        let answer = self.answer(answer, || "identify a network namespace".into());
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) =
            answer.await.ok()??.payload
        else {
            return None;
        };
        answer
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                NsidAttribute::Id(id) => Some(*id),
                _ => None,
            })
    }

    /// The name of a far end that cannot be reached: the kernel describes a device of a namespace
    /// that it has a number for (`IFLA_TARGET_NETNSID`, Linux 4.20).
    async fn name_in(&self, peer: Peer) -> Option<String> {
        let mut request = self.netlink().link().get().match_index(peer.ifindex);
        let target = LinkAttribute::IfNetnsId(peer.nsid?);
        request.message_mut().attributes.push(target);
        let mut answers = Box::pin(request.execute());
        let answer = self.answer(answers.try_next(), || "name a far end".into());
        let message = answer.await.ok()??;
        message
            .attributes
            .into_iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            })
    }
}

/// A file for each network namespace that this process can see, by its inode.
fn candidates() -> BTreeMap<u64, PathBuf> {
    let mut found = BTreeMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for entry in processes {
        let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
        if entry.file_name().to_str().is_some_and(is_process) {
            let path = entry.path().join("ns/net");
            // A process that has ended meanwhile, or one that we may not look at.
            let Ok(target) = fs::read_link(&path) else {
                continue;
            };
            if let Some(inode) = target.to_str().and_then(inode_of) {
                found.entry(inode).or_insert(path);
            }
        }
    }
    // Mounts win over processes: they do not end. They are where `ip netns`, containerd and
    // Docker keep names of namespaces.
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap_or_default();
    found.extend(mounts.lines().filter_map(mounted_namespace));
    found
}

/// The inode in `net:[4026531840]`.
fn inode_of(text: &str) -> Option<u64> {
    text.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// The inode and the path of a network namespace in a line of mountinfo (proc_pid_mountinfo(5)):
/// the fourth word is the root within the filesystem, here `net:[4026532281]`, the fifth the path.
fn mounted_namespace(line: &str) -> Option<(u64, PathBuf)> {
    let mut words = line.split(' ').skip(3);
    let inode = inode_of(words.next()?)?;
    // Spaces and the like are octal there. A path with one is left out: nobody makes such names.
    let path = words.next().filter(|path| !path.contains('\\'))?;
    Some((inode, path.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::{Net, Unshared, in_net};

    #[test]
    fn mountinfo_is_read() {
        let line = "36 25 0:4 net:[4026532281] /run/netns/blue rw shared:1 - nsfs nsfs rw";
        let expected = (4_026_532_281, PathBuf::from("/run/netns/blue"));
        assert_eq!(mounted_namespace(line), Some(expected));
        for line in [
            "",
            "36 25 0:4 / /proc rw - proc proc rw",
            "1 2 3 net:[1] /a\\040b rw",
        ] {
            assert_eq!(mounted_namespace(line), None, "{line}");
        }
    }

    #[test]
    fn far_ends_are_found() {
        let net = Net::new("near");
        let named = Net::new("far");
        let anonymous = Unshared::new();
        net.ip("link add va type veth peer name vb");
        net.ip("link add vc type veth peer name vd");
        net.ip("link add ve type veth peer name vg");
        net.ip(&format!("link set vd netns {}", named.name()));
        named.ip("link set vd name eth7");
        net.ip(&format!("link set vg netns {}", anonymous.pid()));
        net.ip("tuntap add tp mode tap");
        in_net(&net, async |namespace| {
            for (device, expected) in [("va", "vb"), ("vc", "eth7"), ("ve", "vg")] {
                let link = namespace.link(device).await.unwrap().unwrap();
                let far = namespace.far_end(&link).await;
                let FarEnd::Reached(far) = far else {
                    panic!("{device}: {far:?}")
                };
                assert_eq!(far.name, expected);
                let index = link.peer.unwrap().ifindex;
                assert_eq!(far.control().name(index).unwrap(), expected);
                // No other namespace has a device of that name.
                let is_here = namespace
                    .control()
                    .name(index)
                    .is_ok_and(|name| name == expected);
                assert_eq!(is_here, device == "va");
            }
            let tap = namespace.link("tp").await.unwrap().unwrap();
            assert!(matches!(namespace.far_end(&tap).await, FarEnd::None));
        });
    }

    #[test]
    fn a_far_end_that_nobody_shows_has_a_name_at_least() {
        let net = Net::new("near");
        let anonymous = Unshared::new();
        net.ip("link add ve type veth peer name vg");
        net.ip(&format!("link set vg netns {}", anonymous.pid()));
        in_net(&net, async |namespace| {
            let link = namespace.link("ve").await.unwrap().unwrap();
            // The namespace lives on in this descriptor, which no other process can find.
            let _held = File::open(format!("/proc/{}/ns/net", anonymous.pid())).unwrap();
            drop(anonymous);
            match namespace.far_end(&link).await {
                FarEnd::Unreachable { name, why } => {
                    assert_eq!(name.as_deref(), Some("vg"));
                    assert!(why.contains("no mount and no process"), "{why}");
                }
                other => panic!("{other:?}"),
            }
        });
    }
}
