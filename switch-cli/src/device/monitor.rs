//! Changes of network devices, as they happen.
//!
//! The kernel announces by netlink: a device that comes, goes, moves to another namespace, is
//! renamed, set up or down, gets or loses its carrier, or whose MTU, MAC address, alias,
//! controller or features change; and IP addresses that come and go. It does not announce
//! (kernel 6.18, tried): `ethtool -L` on a veth, a queue more or fewer of a tap, the far end of a
//! veth that moves while it is down, and group addresses that a device joins for anybody but IP.
//! An XDP program is announced when it is attached by netlink and not when by a BPF link. The
//! monitor looks at the queues and the group addresses once in [`POLL_PERIOD`].

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    time::Duration,
};

use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkBuffer, NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
    sys::{
        AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_ROUTE,
    },
};
use tokio::time::{Interval, MissedTickBehavior};

use super::{Namespace, Result, Trying as _, links::Link};

/// How often the monitor looks for what the kernel does not announce.
pub const POLL_PERIOD: Duration = Duration::from_secs(1);
/// Bytes of messages that may wait in the socket; more, and the monitor reads everything anew.
const RECEIVE_BUFFER: usize = 1 << 20;
/// Types of messages that are read by their type alone (include/uapi/linux/rtnetlink.h).
mod message_type {
    pub const NEWLINK: u16 = 16;
    pub const DELLINK: u16 = 17;
    pub const NEWADDR: u16 = 20;
    pub const DELADDR: u16 = 21;
    pub const NEWMULTICAST: u16 = 56;
    pub const DELMULTICAST: u16 = 57;
}

/// A change. A reader that applies `Added`, `Changed` and `Removed` in order has the same picture
/// as [`Monitor::links`] after each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A device is there that was not: made, or moved into this namespace; or, at first, found.
    Added(Box<Link>),
    /// A device is still there and differs: renamed, re-queued, another MTU, up, down.
    Changed {
        /// As it was.
        before: Box<Link>,
        /// As it is.
        now: Box<Link>,
    },
    /// A device is gone: deleted, or moved to another namespace. As it was.
    Removed(Box<Link>),
    /// Something changed about the device with this index that [`Link`] does not show: its
    /// features, for one.
    Touched(u32),
    /// An IP address of the device with this index came or went.
    Addresses(u32),
    /// The group addresses of some device may have changed.
    Groups,
    /// The kernel had more to say than the socket held. Everything has been read anew: the events
    /// that follow are the difference. What is no part of a [`Link`] has to be looked at again.
    Resync,
}

/// The stream of changes, with the picture that they lead to.
pub struct Monitor {
    namespace: Namespace,
    socket: TokioSocket,
    known: BTreeMap<u32, Link>,
    pending: VecDeque<Event>,
    /// The picture has to be read anew before the next event.
    stale: bool,
    groups: u64,
    poll: Interval,
}

impl Monitor {
    /// Begins to listen. The first events are the devices that there are.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn open(namespace: &Namespace) -> Result<Self> {
        Self::with_buffer(namespace, RECEIVE_BUFFER)
    }

    fn with_buffer(namespace: &Namespace, size: usize) -> Result<Self> {
        let socket = subscribe(size).trying(|| "listen for changes of devices".into())?;
        let mut poll = tokio::time::interval(POLL_PERIOD);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        poll.reset();
        Ok(Self {
            namespace: namespace.clone(),
            socket,
            known: BTreeMap::new(),
            pending: VecDeque::new(),
            stale: true,
            groups: groups(),
            poll,
        })
    }

    /// The devices, by index, as of the last event.
    #[must_use]
    pub fn links(&self) -> &BTreeMap<u32, Link> {
        &self.known
    }

    /// Waits for the next change. Cancel safe: what was not returned comes with the next call.
    ///
    /// # Errors
    /// When the kernel refuses; calling again tries again.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Ok(event);
            }
            if self.stale {
                self.drain();
                let links = self.namespace.links().await?;
                self.replace(links);
                self.stale = false;
                continue;
            }
            tokio::select! {
                received = self.socket.recv_from_full() => match received {
                    Ok((datagram, _)) => self.receive(&datagram),
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => self.overrun(),
                    Err(error) => return Err(error).trying(|| "hear of changes of devices".into()),
                },
                _ = self.poll.tick() => self.look().await?,
            }
        }
    }

    /// Throws away the messages that wait. Those from before an overrun must not be applied to
    /// what is read after it: a device in them may be gone, and the word of that lost.
    fn drain(&mut self) {
        let full = |error: &io::Error| error.raw_os_error() == Some(libc::ENOBUFS);
        loop {
            match self.socket.socket_ref().recv_from_full() {
                Ok(_) => {}
                Err(error) if full(&error) => {}
                Err(_) => return,
            }
        }
    }

    fn overrun(&mut self) {
        self.stale = true;
        self.pending.push_back(Event::Resync);
    }

    /// Takes one datagram, which holds one message or more.
    fn receive(&mut self, mut datagram: &[u8]) {
        while !datagram.is_empty() {
            let Ok(header) = NetlinkBuffer::new_checked(datagram) else {
                return self.overrun();
            };
            let length = header.length() as usize;
            let message = &datagram[..length];
            match header.message_type() {
                message_type::NEWMULTICAST | message_type::DELMULTICAST => {
                    self.pending.push_back(Event::Groups);
                }
                message_type::NEWLINK
                | message_type::DELLINK
                | message_type::NEWADDR
                | message_type::DELADDR => match NetlinkMessage::deserialize(message) {
                    Ok(message) => self.apply(message),
                    // Something in it is newer than the netlink crate: ask for all of it.
                    Err(_) => self.overrun(),
                },
                _ => {}
            }
            // Messages begin at multiples of four bytes (NLMSG_ALIGNTO).
            datagram = datagram
                .get(length.next_multiple_of(4)..)
                .unwrap_or_default();
        }
    }

    fn apply(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) {
        match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(message)) => {
                if let Some(link) = self.namespace.link_of(&message) {
                    self.put(link, true);
                }
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(message)) => {
                // A bridge says goodbye to its port, which stays a device, in its own family.
                let device = self.namespace.link_of(&message);
                if let Some(link) = device.and_then(|link| self.known.remove(&link.ifindex)) {
                    self.pending.push_back(Event::Removed(Box::new(link)));
                }
            }
            NetlinkPayload::InnerMessage(
                RouteNetlinkMessage::NewAddress(message) | RouteNetlinkMessage::DelAddress(message),
            ) => self
                .pending
                .push_back(Event::Addresses(message.header.index)),
            _ => {}
        }
    }

    /// Puts a device into the picture, with the event that says what is new about it.
    fn put(&mut self, link: Link, announced: bool) {
        let ifindex = link.ifindex;
        let now = Box::new(link.clone());
        match self.known.insert(ifindex, link) {
            None => self.pending.push_back(Event::Added(now)),
            Some(before) if before != *now => self.pending.push_back(Event::Changed {
                before: Box::new(before),
                now,
            }),
            Some(_) if announced => self.pending.push_back(Event::Touched(ifindex)),
            Some(_) => {}
        }
    }

    /// Puts a whole picture in place of the known one, with the events that lead from one to the
    /// other.
    fn replace(&mut self, links: Vec<Link>) {
        let gone: Vec<u32> = self
            .known
            .keys()
            .filter(|known| !links.iter().any(|link| link.ifindex == **known))
            .copied()
            .collect();
        for ifindex in gone {
            if let Some(link) = self.known.remove(&ifindex) {
                self.pending.push_back(Event::Removed(Box::new(link)));
            }
        }
        for link in links {
            self.put(link, false);
        }
    }

    /// Looks for what the kernel does not announce.
    async fn look(&mut self) -> Result<()> {
        let now = groups();
        if self.groups != now {
            self.groups = now;
            self.pending.push_back(Event::Groups);
        }
        for mut link in self.known.values().cloned().collect::<Vec<_>>() {
            let ifindex = link.ifindex;
            if link.tap.is_some_and(|tap| tap.multi_queue) {
                match self.namespace.link_at(ifindex).await? {
                    Some(now) => link = now,
                    // That it is gone has been announced and is still to be read.
                    None => continue,
                }
            } else {
                self.namespace.read_queues(&mut link);
            }
            self.put(link, false);
        }
        Ok(())
    }
}

/// A socket that hears of devices, IP addresses and, where the kernel tells (6.14), of IP groups.
fn subscribe(size: usize) -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    let inner = socket.socket_mut();
    inner.bind(&SocketAddr::new(0, 0))?;
    for group in [
        MulticastGroup::Link,
        MulticastGroup::Ipv4Ifaddr,
        MulticastGroup::Ipv6Ifaddr,
    ] {
        inner.add_membership(group as u32)?;
    }
    for group in [MulticastGroup::Ipv4Mcaddr, MulticastGroup::Ipv6Mcaddr] {
        // A kernel that does not know it refuses, and the poll finds what it would have said.
        let _ = inner.add_membership(group as u32);
    }
    inner.set_rx_buf_sz(size as libc::c_int)?;
    Ok(socket)
}

/// A number that differs when some device of the calling thread's namespace has joined or left a
/// group, for whomever: the hash of /proc/net/dev_mcast, which has the counts of joins too.
fn groups() -> u64 {
    let mut hasher = DefaultHasher::new();
    let text = std::fs::read("/proc/thread-self/net/dev_mcast");
    text.unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::device::testing::{Net, in_net};

    /// The events up to and with the first that is looked for.
    async fn until(monitor: &mut Monitor, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
        let mut events = Vec::new();
        let look = async {
            loop {
                let event = monitor.next().await.unwrap();
                events.push(event.clone());
                if wanted(&event) {
                    break;
                }
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(10), look).await;
        assert!(found.is_ok(), "only {events:#?}");
        events
    }

    async fn until_changed(monitor: &mut Monitor, wanted: impl Fn(&Link, &Link) -> bool) {
        let changed = |event: &Event| match event {
            Event::Changed { before, now } => wanted(before, now),
            _ => false,
        };
        until(monitor, changed).await;
    }

    fn added(name: &str) -> impl Fn(&Event) -> bool {
        move |event| matches!(event, Event::Added(link) if link.name == name)
    }

    fn removed(name: &str) -> impl Fn(&Event) -> bool {
        move |event| matches!(event, Event::Removed(link) if link.name == name)
    }

    #[test]
    fn every_change_is_an_event() {
        let net = Net::new("monitor");
        let other = Net::new("other");
        let veth = "link add va numrxqueues 4 numtxqueues 4 type veth peer name vb";
        net.ip(veth);
        in_net(&net, async |namespace| {
            let monitor = &mut Monitor::open(&namespace).unwrap();
            until(monitor, added("va")).await;

            net.ip("link set va mtu 3000");
            until_changed(monitor, |_, now| now.mtu == 3000).await;
            net.run("ethtool -L va rx 2 tx 2");
            until_changed(monitor, |_, now| now.rx_queues == 2 && now.tx_queues == 2).await;
            net.ip("link set va name vx");
            until_changed(monitor, |before, now| {
                before.name == "va" && now.name == "vx"
            })
            .await;
            net.ip("link set vx name va");
            net.ip("link set va up");
            until_changed(monitor, |_, now| now.admin_up && !now.carrier).await;
            net.ip("link set vb up");
            until_changed(monitor, |_, now| now.name == "va" && now.oper_up).await;
            net.ip("address add 192.0.2.1/24 dev va");
            until(monitor, |event| matches!(event, Event::Addresses(_))).await;
            net.run("ethtool -K va txvlan off");
            until(monitor, |event| matches!(event, Event::Touched(_))).await;
            net.ip("maddress add 33:33:00:00:12:34 dev va");
            until(monitor, |event| *event == Event::Groups).await;

            let old = namespace.link("va").await.unwrap().unwrap();
            net.ip("link del va");
            net.ip(veth);
            until(monitor, removed("va")).await;
            until(monitor, added("va")).await;
            let new = namespace.link("va").await.unwrap().unwrap();
            assert_ne!(old.ifindex, new.ifindex);
            assert_eq!(monitor.links()[&new.ifindex], new);

            net.ip(&format!("link set va netns {}", other.name()));
            until(monitor, removed("va")).await;
            other.ip(&format!("link set va netns {}", net.name()));
            until(monitor, added("va")).await;

            // A guest's namespace that dies takes both ends along.
            net.ip(&format!("link set vb netns {}", other.name()));
            until(monitor, removed("vb")).await;
            drop(other);
            until(monitor, removed("va")).await;
        });
    }

    #[test]
    fn a_bridge_port_that_leaves_its_bridge_stays() {
        let net = Net::new("bridge");
        net.ip("link add va type veth peer name vb");
        net.ip("link add br0 type bridge");
        in_net(&net, async |namespace| {
            let monitor = &mut Monitor::open(&namespace).unwrap();
            until(monitor, added("br0")).await;
            net.ip("link set va master br0");
            until_changed(monitor, |_, now| now.controller.is_some()).await;
            net.ip("link set va nomaster");
            until_changed(monitor, |before, now| {
                before.controller.is_some() && now.controller.is_none()
            })
            .await;
            net.ip("link del br0");
            let events = until(monitor, removed("br0")).await;
            assert!(!events.iter().any(removed("va")));
        });
    }

    #[test]
    fn nothing_is_lost_when_the_socket_overflows() {
        let net = Net::new("overrun");
        net.ip("link add va type veth peer name vb");
        in_net(&net, async |namespace| {
            let monitor = &mut Monitor::with_buffer(&namespace, 2048).unwrap();
            until(monitor, added("va")).await;
            for mtu in 2000..2020 {
                net.ip(&format!("link set va mtu {mtu}"));
            }
            net.ip("link del va");
            net.ip("link add vc type veth peer name vd");
            let events = until(monitor, added("vc")).await;
            assert!(events.contains(&Event::Resync), "{events:#?}");
            assert!(events.iter().any(removed("va")) && events.iter().any(removed("vb")));
            assert!(events.iter().any(added("vd")));
            // Old messages that the socket still holds must not bring anything back.
            let idle = tokio::time::timeout(Duration::from_millis(100), async {
                loop {
                    monitor.next().await.unwrap();
                }
            });
            assert!(idle.await.is_err());
            let names = monitor.links().values().map(|link| link.name.as_str());
            assert_eq!(names.collect::<Vec<_>>(), ["lo", "vd", "vc"]);
        });
    }
}
