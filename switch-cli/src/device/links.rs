//! Network devices as the kernel describes them (`RTM_GETLINK`).

use futures_util::TryStreamExt as _;
use rtnetlink::packet_core::Nla as _;
use rtnetlink::packet_route::{
    AddressFamily,
    link::{
        InfoData, InfoTun, InfoVlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo,
        LinkLayerType, LinkMessage, LinkXdp, State, XdpAttached,
    },
};
use switch_core::wire::ethernet::Mac;

use super::{Namespace, Result};

/// Attributes of a tun device in `IFLA_INFO_DATA` (include/uapi/linux/if_link.h).
mod tun {
    pub const TYPE: u16 = 3;
    pub const VNET_HDR: u16 = 5;
    pub const MULTI_QUEUE: u16 = 7;
    pub const NUM_QUEUES: u16 = 8;
    /// The value of `TYPE` for Ethernet frames, `IFF_TAP`.
    pub const IFF_TAP: u32 = 2;
}

/// A network device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The index. A device that is deleted and made again has another one.
    pub ifindex: u32,
    /// The name, which can change.
    pub name: String,
    /// What it is: `veth`, `tap`, `tun`, `dummy`, `vlan`, `macvlan`, `bridge`, as
    /// `IFLA_INFO_KIND` says (a tun device with Ethernet frames is a `tap`); `loopback`; or `nic`
    /// when the kernel gives no kind, which is so for hardware.
    pub kind: String,
    /// The MAC address; null for a device without Ethernet.
    pub mac: Mac,
    /// The longest payload, in bytes.
    pub mtu: u32,
    /// Somebody set it up.
    pub admin_up: bool,
    /// It has a carrier: the other end of the veth is up, the tap's file is open, the cable is in.
    pub carrier: bool,
    /// It can send: up, with carrier, and no protocol is holding it back (RFC 2863 state up, or
    /// unknown, which is what devices say that do not track it).
    pub oper_up: bool,
    /// Queues that receive, those in use and not those allocated.
    pub rx_queues: u32,
    /// Queues that transmit, those in use and not those allocated.
    pub tx_queues: u32,
    /// The other end of a veth.
    pub peer: Option<Peer>,
    /// The index of the device below, in the same namespace: of a VLAN or macvlan.
    pub lower: Option<u32>,
    /// The index of the bridge, bond or other device that this one is a port of.
    pub controller: Option<u32>,
    /// The tag of a VLAN device.
    pub vlan: Option<Vlan>,
    /// What only a tap has.
    pub tap: Option<Tap>,
    /// The text that somebody has put on it (`ip link set alias`).
    pub alias: Option<String>,
    /// The XDP program on it.
    pub xdp: Option<Xdp>,
}

/// The other end of a veth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its index, in its own namespace.
    pub ifindex: u32,
    /// What its namespace is called in ours; none when it is in ours.
    pub nsid: Option<i32>,
}

/// The tag of a VLAN device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vlan {
    /// The VID.
    pub vid: u16,
    /// The TPID: 0x8100, or 0x88a8.
    pub tpid: u16,
}

/// What only a tap has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// Whoever holds the file sends and gets a header with each frame, so that checksums can be
    /// partial and frames larger than the MTU (`IFF_VNET_HDR`).
    pub vnet_hdr: bool,
    /// Several queues can be attached, at any time (`IFF_MULTI_QUEUE`).
    pub multi_queue: bool,
}

/// An XDP program on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xdp {
    /// The program's id, as in `bpftool prog`.
    pub program_id: u32,
    /// Where it runs.
    pub mode: XdpMode,
}

/// Where an XDP program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// On the finished skb, "skb mode".
    Generic,
    /// In the NIC itself.
    Offloaded,
}

impl Namespace {
    /// All devices.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn links(&self) -> Result<Vec<Link>> {
        let request = self.netlink().link().get();
        let request =
            request.set_filter_mask(AddressFamily::Unspec, vec![LinkExtentMask::SkipStats]);
        let messages = self.list(|| request.execute(), || "list the devices".into());
        let messages = messages.await?;
        Ok(messages
            .iter()
            .filter_map(|message| self.link_of(message))
            .collect())
    }

    /// The device with this name; none when there is none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn link(&self, name: &str) -> Result<Option<Link>> {
        let request = self.netlink().link().get().match_name(name);
        self.one_link(request, || format!("look at the device {name}"))
            .await
    }

    /// The device with this index; none when there is none.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn link_at(&self, ifindex: u32) -> Result<Option<Link>> {
        let request = self.netlink().link().get().match_index(ifindex);
        self.one_link(request, || {
            format!("look at the device with index {ifindex}")
        })
        .await
    }

    async fn one_link(
        &self,
        request: rtnetlink::LinkGetRequest,
        action: impl FnOnce() -> String,
    ) -> Result<Option<Link>> {
        let mut answers = Box::pin(request.execute());
        match self.answer(answers.try_next(), action).await {
            // ERANGE and EINVAL: a text that no device can have for a name.
            Err(error)
                if matches!(
                    error.errno(),
                    Some(libc::ENODEV | libc::ERANGE | libc::EINVAL)
                ) =>
            {
                Ok(None)
            }
            answer => Ok(answer?.and_then(|message| self.link_of(&message))),
        }
    }

    /// What a link message says, with the queues that are in use.
    pub(super) fn link_of(&self, message: &LinkMessage) -> Option<Link> {
        let mut link = parse(message)?;
        self.read_queues(&mut link);
        Some(link)
    }

    /// Sets the numbers of queues to those in use, where the driver tells them.
    pub(super) fn read_queues(&self, link: &mut Link) {
        // The device may be gone or renamed since: then an event follows that says so.
        if link.tap.is_none()
            && let Ok(Some(channels)) = self.control().channels(&link.name)
        {
            link.rx_queues = channels.rx;
            link.tx_queues = channels.tx;
        }
    }
}

/// What a link message says; the queues are those allocated. None for a message that does not
/// describe a device: bridge ports have their own, of another family.
fn parse(message: &LinkMessage) -> Option<Link> {
    if message.header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let mut link = Link {
        ifindex: message.header.index,
        name: String::new(),
        kind: match message.header.link_layer_type {
            LinkLayerType::Loopback => "loopback".into(),
            _ => "nic".into(),
        },
        mac: Mac::NULL,
        mtu: 0,
        admin_up: message.header.flags.contains(LinkFlags::Up),
        carrier: message.header.flags.contains(LinkFlags::LowerUp),
        oper_up: false,
        rx_queues: 1,
        tx_queues: 1,
        peer: None,
        lower: None,
        controller: None,
        vlan: None,
        tap: None,
        alias: None,
        xdp: None,
    };
    let mut below = None;
    let mut nsid = None;
    let mut state = State::Unknown;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                link.mac = bytes.as_slice().try_into().map_or(Mac::NULL, Mac);
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::NumRxQueues(count) => link.rx_queues = *count,
            LinkAttribute::NumTxQueues(count) => link.tx_queues = *count,
            LinkAttribute::Link(ifindex) => below = Some(*ifindex),
            LinkAttribute::LinkNetNsId(id) => nsid = Some(*id),
            LinkAttribute::OperState(oper) => state = *oper,
            LinkAttribute::Controller(ifindex) => link.controller = Some(*ifindex),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias.clone()),
            LinkAttribute::Xdp(xdp) => link.xdp = parse_xdp(xdp),
            _ => {}
        }
    }
    // After the rest, because a tap's own count of queues is better than the allocated one.
    for attribute in &message.attributes {
        if let LinkAttribute::LinkInfo(info) = attribute {
            parse_info(&mut link, info);
        }
    }
    link.oper_up = link.admin_up && link.carrier && matches!(state, State::Up | State::Unknown);
    match link.kind.as_str() {
        "veth" => link.peer = below.map(|ifindex| Peer { ifindex, nsid }),
        _ if nsid.is_none() => link.lower = below.filter(|ifindex| *ifindex != link.ifindex),
        _ => {}
    }
    (!link.name.is_empty()).then_some(link)
}

fn parse_info(link: &mut Link, info: &[LinkInfo]) {
    for info in info {
        match info {
            LinkInfo::Kind(kind) => link.kind = kind.to_string(),
            LinkInfo::Data(InfoData::Vlan(vlan)) => {
                let mut tag = Vlan {
                    vid: 0,
                    tpid: 0x8100,
                };
                for part in vlan {
                    match part {
                        InfoVlan::Id(vid) => tag.vid = *vid,
                        InfoVlan::Protocol(protocol) => tag.tpid = (*protocol).into(),
                        _ => {}
                    }
                }
                link.vlan = Some(tag);
            }
            LinkInfo::Data(InfoData::Tun(tun)) => parse_tun(link, tun),
            _ => {}
        }
    }
}

fn parse_tun(link: &mut Link, tun: &[InfoTun]) {
    let mut tap = Tap {
        vnet_hdr: false,
        multi_queue: false,
    };
    let mut is_tap = false;
    let mut queues = 1;
    for part in tun {
        let mut bytes = vec![0; part.value_len()];
        part.emit_value(&mut bytes);
        // One byte, or four in the machine's order for the number of queues.
        let mut word = [0; 4];
        let size = bytes.len().min(4);
        word[..size].copy_from_slice(&bytes[..size]);
        let value = if size == 4 {
            u32::from_ne_bytes(word)
        } else {
            u32::from(word[0])
        };
        match part.kind() {
            tun::TYPE => is_tap = value == tun::IFF_TAP,
            tun::VNET_HDR => tap.vnet_hdr = value != 0,
            tun::MULTI_QUEUE => tap.multi_queue = value != 0,
            tun::NUM_QUEUES => queues = value.max(1),
            _ => {}
        }
    }
    if is_tap {
        link.kind = "tap".into();
        link.tap = Some(tap);
        // A tap allocates 256 queues when it may have several; each open file is one in use.
        link.rx_queues = if tap.multi_queue { queues } else { 1 };
        link.tx_queues = link.rx_queues;
    }
}

fn parse_xdp(xdp: &[LinkXdp]) -> Option<Xdp> {
    let mut attached = XdpAttached::None;
    let mut by_mode = [None; 3];
    let mut only = None;
    for part in xdp {
        match part {
            LinkXdp::Attached(mode) => attached = *mode,
            LinkXdp::ProgId(id) => only = Some(*id),
            LinkXdp::DrvProgId(id) => by_mode[0] = Some((XdpMode::Native, *id)),
            LinkXdp::HwProgId(id) => by_mode[1] = Some((XdpMode::Offloaded, *id)),
            LinkXdp::SkbProgId(id) => by_mode[2] = Some((XdpMode::Generic, *id)),
            _ => {}
        }
    }
    // With programs in several places the first that sees a frame is named.
    let (mode, program_id) = match attached {
        XdpAttached::None => return None,
        XdpAttached::Driver => (XdpMode::Native, only?),
        XdpAttached::SocketBuffer => (XdpMode::Generic, only?),
        XdpAttached::Hardware => (XdpMode::Offloaded, only?),
        _ => by_mode.into_iter().flatten().next()?,
    };
    Some(Xdp { program_id, mode })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::{Net, in_net};

    #[test]
    fn devices_are_described() {
        let net = Net::new("links");
        let guest = Net::new("guest");
        net.ip("link add va numrxqueues 4 numtxqueues 4 type veth peer name vb");
        net.ip(&format!("link set vb netns {}", guest.name()));
        net.ip("link add vc type veth peer name vd");
        net.ip("link set va up mtu 2000 address 02:00:00:00:00:01 alias some\\ text");
        guest.ip("link set vb up");
        net.ip("tuntap add tp mode tap multi_queue vnet_hdr");
        net.ip("link add mv link va type macvlan mode bridge");
        net.run("ethtool -L va rx 3 tx 2");
        in_net(&net, async |namespace| {
            let va = namespace.link("va").await.unwrap().unwrap();
            assert_eq!((va.kind.as_str(), va.mtu), ("veth", 2000));
            assert_eq!(va.mac.to_string(), "02:00:00:00:00:01");
            assert!(va.admin_up && va.carrier && va.oper_up);
            assert_eq!((va.rx_queues, va.tx_queues), (3, 2));
            assert_eq!(va.alias.as_deref(), Some("some text"));
            assert_eq!((va.lower, va.controller, va.xdp), (None, None, None));
            assert!(va.peer.unwrap().nsid.is_some());
            assert_eq!(
                namespace.link_at(va.ifindex).await.unwrap(),
                Some(va.clone())
            );

            let vc = namespace.link("vc").await.unwrap().unwrap();
            let vd = namespace.link("vd").await.unwrap().unwrap();
            let peer = Peer {
                ifindex: vd.ifindex,
                nsid: None,
            };
            assert_eq!(vc.peer, Some(peer));
            assert!(!vc.admin_up && !vc.oper_up);

            let tp = namespace.link("tp").await.unwrap().unwrap();
            assert_eq!((tp.kind.as_str(), tp.rx_queues), ("tap", 1));
            let tap = Tap {
                vnet_hdr: true,
                multi_queue: true,
            };
            assert_eq!(tp.tap, Some(tap));

            let mv = namespace.link("mv").await.unwrap().unwrap();
            assert_eq!((mv.kind.as_str(), mv.lower), ("macvlan", Some(va.ifindex)));

            let all = namespace.links().await.unwrap();
            assert!(all.contains(&va) && all.contains(&vd) && all.contains(&mv));
            assert_eq!(
                all.iter().find(|link| link.name == "lo").unwrap().kind,
                "loopback"
            );
            for missing in ["nothing", "", "a-name-that-is-too-long"] {
                assert_eq!(namespace.link(missing).await.unwrap(), None, "{missing}");
            }
        });
    }
}
