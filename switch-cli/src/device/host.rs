//! Ports of role `host`: a veth pair whose one end is a device of the host's stack and whose
//! other end the switch has.
//!
//! Both ends carry an alias by which the pair is known again after the daemon was killed, and
//! under any name. A device without that alias is somebody else's and is never touched. The pair
//! is made under names that nobody else uses, gets its aliases, and only then its own names: so
//! a daemon that is killed in between leaves nothing that the next one takes for foreign.
//!
//! A pair with an XDP program on the switch's end is that of a living daemon, since a program goes
//! with its daemon: others leave it alone.

use std::net::IpAddr;

use rtnetlink::{
    LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_route::{
        address::{AddressAttribute, AddressMessage, AddressProtocol},
        link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage},
    },
};
use switch_core::wire::ethernet::Mac;

use super::{
    Error, Namespace, Result, Trying as _,
    links::{Link, Peer},
    quiet,
};
use crate::sys::DEVICE_NAME_MAX;

/// How the alias of the host's end begins; the port's name follows.
const ALIAS: &str = "shunt host port ";
/// How the alias of the switch's end goes on after that.
const SWITCH_END: &str = " (the switch's end)";
/// The origin that addresses set here are marked with (`IFA_PROTO`, Linux 5.18), so that those
/// that somebody else has set are left alone. Numbers from 4 on are free.
const ADDRESS_ORIGIN: u8 = 0x53;

/// What a host port should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The port's name.
    pub port: String,
    /// The name of the device for the host's stack.
    pub device: String,
    /// Its MAC address; none leaves the one that the kernel has made up.
    pub mac: Option<Mac>,
    /// The longest payload in bytes, at both ends.
    pub mtu: u32,
    /// RX queues and TX queues of each end.
    pub queues: u32,
    /// Addresses of the host's end, with their prefix lengths.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// The two ends of a host port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The end of the host's stack.
    pub host: Link,
    /// The end that the switch has.
    pub switch: Link,
}

/// The name of the switch's end: `<device>-sw`, or a shortened form with a hash when that is too
/// long for a device.
#[must_use]
pub fn switch_end(device: &str) -> String {
    let plain = format!("{device}-sw");
    if plain.len() <= DEVICE_NAME_MAX {
        return plain;
    }
    let kept = DEVICE_NAME_MAX - "-0000-sw".len();
    let end = (0..=kept).rev().find(|end| device.is_char_boundary(*end));
    let start = &device[..end.unwrap_or(0)];
    format!("{start}-{:04x}-sw", hash(device))
}

/// Makes the pair, or adopts the one that an earlier daemon has left, and brings both ends up as
/// they should be. Calling it again takes a changed MAC address, MTU or list of addresses; a
/// changed number of queues makes a new pair.
///
/// # Errors
/// When a device that is not ours has one of the names, or the kernel refuses.
pub async fn ensure(namespace: &Namespace, wanted: &HostPort) -> Result<Pair> {
    let links = namespace.links().await?;
    for name in [wanted.device.clone(), switch_end(&wanted.device)] {
        if let Some(link) = links.iter().find(|link| link.name == name)
            && !is_of(link, &wanted.port)
        {
            return Err(Error::Foreign {
                device: name,
                is: whose(link),
            });
        }
    }
    let ours: Vec<&Link> = links
        .iter()
        .filter(|link| is_of(link, &wanted.port))
        .collect();
    let is_used = ours.iter().any(|link| link.xdp.is_some());
    let pair = match pair_of(&ours, wanted) {
        // Attaching the program will say by whom.
        Some(pair) if is_used => return Ok(pair),
        Some(pair) => pair,
        None if is_used => {
            return Err(Error::HostPortInUse {
                device: wanted.device.clone(),
            });
        }
        None => {
            for link in ours {
                delete(namespace, link).await?;
            }
            create(namespace, wanted).await?
        }
    };
    configure(namespace, wanted, &pair).await?;
    set_addresses(namespace, &pair.host, &wanted.addresses).await?;
    // As they are now.
    let again = |link: Option<Link>| {
        link.ok_or_else(|| Error::Vanished {
            device: wanted.device.clone(),
        })
    };
    Ok(Pair {
        host: again(namespace.link_at(pair.host.ifindex).await?)?,
        switch: again(namespace.link_at(pair.switch.ifindex).await?)?,
    })
}

/// Removes the pair of a port, whatever its ends are called now, once the own program has left it.
/// That there is none is no error; that of a living daemon stays.
///
/// # Errors
/// When the kernel refuses.
pub async fn remove(namespace: &Namespace, port: &str) -> Result<()> {
    let mut links = namespace.links().await?;
    links.retain(|link| is_of(link, port));
    if links.iter().any(|link| link.xdp.is_some()) {
        return Ok(());
    }
    for link in links {
        delete(namespace, &link).await?;
    }
    Ok(())
}

/// The names of the ports that have a pair here, whoever has made it.
///
/// # Errors
/// When the kernel refuses.
pub async fn existing(namespace: &Namespace) -> Result<Vec<String>> {
    let links = namespace.links().await?;
    let mut ports: Vec<String> = links
        .iter()
        .filter_map(|link| {
            let rest = link.alias.as_deref()?.strip_prefix(ALIAS)?;
            Some(rest.strip_suffix(SWITCH_END).unwrap_or(rest).to_owned())
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    Ok(ports)
}

fn host_alias(port: &str) -> String {
    format!("{ALIAS}{port}")
}

fn switch_alias(port: &str) -> String {
    format!("{ALIAS}{port}{SWITCH_END}")
}

/// Whether a device is an end of this port's pair.
fn is_of(link: &Link, port: &str) -> bool {
    let alias = link.alias.as_deref();
    let alias = alias.filter(|_| link.kind == "veth");
    alias.is_some_and(|alias| alias == host_alias(port) || alias == switch_alias(port))
}

/// What to tell about a device that is in the way.
fn whose(link: &Link) -> String {
    match &link.alias {
        Some(alias) => format!("a {} with the alias {alias:?}", link.kind),
        None => format!("a {} without our alias", link.kind),
    }
}

/// The pair among these devices, if it is whole and as it can only be made anew.
fn pair_of(ours: &[&Link], wanted: &HostPort) -> Option<Pair> {
    let with = |alias: String| {
        let mut found = ours
            .iter()
            .filter(|link| link.alias.as_ref() == Some(&alias));
        found.next().copied().cloned()
    };
    let host = with(host_alias(&wanted.port))?;
    let switch = with(switch_alias(&wanted.port))?;
    let peer = Peer {
        ifindex: switch.ifindex,
        nsid: None,
    };
    let queues = [&host, &switch]
        .iter()
        .all(|end| (end.rx_queues, end.tx_queues) == (wanted.queues, wanted.queues));
    let names = host.name == wanted.device && switch.name == switch_end(&wanted.device);
    (names && queues && host.peer == Some(peer)).then_some(Pair { host, switch })
}

async fn create(namespace: &Namespace, wanted: &HostPort) -> Result<Pair> {
    let trying = || format!("make the veth pair of {}", wanted.device);
    // The names that the pair has until it has its aliases.
    let made = [
        format!("shunt-new-{:04x}", hash(&wanted.device)),
        format!("shunt-new-{:04x}s", hash(&wanted.device)),
    ];
    for name in &made {
        if let Some(left) = namespace.link(name).await? {
            delete(namespace, &left).await?;
        }
    }
    let end = |name: &str| {
        LinkMessageBuilder::<LinkUnspec>::new()
            .name(name)
            .mtu(wanted.mtu)
            .append_extra_attribute(LinkAttribute::NumRxQueues(wanted.queues))
            .append_extra_attribute(LinkAttribute::NumTxQueues(wanted.queues))
    };
    let peer = InfoData::Veth(InfoVeth::Peer(end(&made[1]).build()));
    let mut host = end(&made[0]);
    if let Some(mac) = wanted.mac {
        host = host.address(mac.0.to_vec());
    }
    let veth = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth);
    let mut message = veth.set_info_data(peer).build();
    message.attributes.extend(host.build().attributes);
    let request = namespace.netlink().link().add(message);
    namespace.answer(request.execute(), trying).await?;

    let aliases = [host_alias(&wanted.port), switch_alias(&wanted.port)];
    let names = [wanted.device.clone(), switch_end(&wanted.device)];
    let mut ends = Vec::new();
    for (made, alias) in made.iter().zip(aliases) {
        let vanished = || Error::Vanished {
            device: made.clone(),
        };
        let link = namespace.link(made).await?.ok_or_else(vanished)?;
        change(namespace, &link, |message| message.alias(alias)).await?;
        ends.push(link);
    }
    for (link, name) in ends.iter().zip(names) {
        change(namespace, link, |message| message.name(name)).await?;
    }
    let [host, switch] = ends.try_into().expect("there are two ends");
    Ok(Pair { host, switch })
}

/// Brings both ends up, the switch's end without a word of the host's stack on it.
async fn configure(namespace: &Namespace, wanted: &HostPort, pair: &Pair) -> Result<()> {
    let name = switch_end(&wanted.device);
    // Before it is up: that is when IPv6 would begin to speak.
    quiet::disable_ipv6(&name, true).trying(|| format!("silence {name}"))?;
    change(namespace, &pair.switch, |message| {
        message.mtu(wanted.mtu).arp(false).up()
    })
    .await?;
    change(namespace, &pair.host, |message| {
        let message = message.mtu(wanted.mtu).up();
        match wanted.mac {
            Some(mac) => message.address(mac.0.to_vec()),
            None => message,
        }
    })
    .await
}

/// Gives the host's end the addresses it should have, and takes those away that it was given
/// here and should no longer have.
async fn set_addresses(namespace: &Namespace, host: &Link, wanted: &[(IpAddr, u8)]) -> Result<()> {
    let netlink = namespace.netlink();
    let trying = || format!("list the addresses of {}", host.name);
    let request = netlink.address().get().set_link_index_filter(host.ifindex);
    let messages = namespace.list(|| request.execute(), trying).await?;
    let mut present = Vec::new();
    for message in messages {
        let Some(address) = address_of(&message) else {
            continue;
        };
        if is_ours(&message) && !wanted.contains(&address) {
            let trying = || format!("remove {}/{} from {}", address.0, address.1, host.name);
            let request = netlink.address().del(message);
            namespace.answer(request.execute(), trying).await?;
        } else {
            present.push(address);
        }
    }
    for &(ip, prefix) in wanted.iter().filter(|address| !present.contains(address)) {
        let mut request = netlink.address().add(host.ifindex, ip, prefix);
        let origin = AddressAttribute::Protocol(AddressProtocol::Other(ADDRESS_ORIGIN));
        request.message_mut().attributes.push(origin);
        let trying = || format!("give {} the address {ip}/{prefix}", host.name);
        namespace.answer(request.execute(), trying).await?;
    }
    Ok(())
}

/// The address that a message is about: `IFA_LOCAL` where there is one (IPv4), else `IFA_ADDRESS`.
fn address_of(message: &AddressMessage) -> Option<(IpAddr, u8)> {
    let mut address = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => return Some((*ip, message.header.prefix_len)),
            AddressAttribute::Address(ip) => address = Some((*ip, message.header.prefix_len)),
            _ => {}
        }
    }
    address
}

fn is_ours(message: &AddressMessage) -> bool {
    let origin = AddressAttribute::Protocol(AddressProtocol::Other(ADDRESS_ORIGIN));
    message.attributes.contains(&origin)
}

async fn change(
    namespace: &Namespace,
    link: &Link,
    what: impl FnOnce(LinkMessageBuilder<LinkUnspec>) -> LinkMessageBuilder<LinkUnspec>,
) -> Result<()> {
    let message: LinkMessage = what(LinkUnspec::new_with_index(link.ifindex)).build();
    let request = namespace.netlink().link().change(message);
    let trying = || format!("set up the device {}", link.name);
    namespace.answer(request.execute(), trying).await
}

/// Deletes a device, and with it the other end. That it is gone already is no error.
async fn delete(namespace: &Namespace, link: &Link) -> Result<()> {
    let request = namespace.netlink().link().del(link.ifindex);
    let trying = || format!("delete the device {}", link.name);
    match namespace.answer(request.execute(), trying).await {
        Err(error) if error.errno() == Some(libc::ENODEV) => Ok(()),
        result => result,
    }
}

/// A number that tells names apart which begin alike: FNV-1a, folded to 16 bits.
fn hash(name: &str) -> u16 {
    let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let hash = name.bytes().fold(0x811c_9dc5, mix);
    (hash >> 16) as u16 ^ hash as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::{Net, in_net};

    fn port() -> HostPort {
        HostPort {
            port: "mgmt".into(),
            device: "shunt0".into(),
            mac: Some(Mac([2, 0, 0, 0, 0, 7])),
            mtu: 1600,
            queues: 2,
            addresses: vec![
                ("192.0.2.1".parse().unwrap(), 24),
                ("2001:db8::1".parse().unwrap(), 64),
            ],
        }
    }

    #[test]
    fn names_are_short_and_differ() {
        assert_eq!(switch_end("shunt0"), "shunt0-sw");
        assert_eq!(switch_end("twelve-chars"), "twelve-chars-sw");
        let (one, two) = (switch_end("fifteen-chars-1"), switch_end("fifteen-chars-2"));
        assert!(
            one.len() <= 15 && two.len() <= 15 && one != two,
            "{one} {two}"
        );
        assert!(one.starts_with("fifteen") && one.ends_with("-sw"));
        assert!(switch_end("ééééééé1").len() <= 15);
    }

    #[test]
    fn a_pair_is_made_adopted_changed_and_removed() {
        let net = Net::new("host");
        let ends = in_net(&net, async |namespace| {
            let pair = ensure(&namespace, &port()).await.unwrap();
            assert_eq!(pair.host.mac, Mac([2, 0, 0, 0, 0, 7]));
            assert_eq!(pair.switch.name, "shunt0-sw");
            assert_eq!(pair.host.alias.as_deref(), Some("shunt host port mgmt"));
            for end in [&pair.host, &pair.switch] {
                assert!(end.oper_up && end.mtu == 1600, "{end:?}");
                assert_eq!((end.rx_queues, end.tx_queues), (2, 2));
            }
            pair
        });
        let addresses = || net.ip("address show dev shunt0");
        assert!(addresses().contains("192.0.2.1/24") && addresses().contains("2001:db8::1/64"));
        assert_eq!(
            net.ip("address show dev shunt0-sw").matches("inet").count(),
            0
        );
        assert!(net.ip("link show dev shunt0-sw").contains("NOARP"));

        // The daemon was killed; somebody has given the device an address of their own.
        net.ip("address add 198.51.100.1/24 dev shunt0");
        in_net(&net, async |namespace| {
            let again = ensure(&namespace, &port()).await.unwrap();
            assert_eq!(again.host.ifindex, ends.host.ifindex);
            let mut changed = port();
            changed.mtu = 1500;
            changed.mac = Some(Mac([2, 0, 0, 0, 0, 8]));
            changed.addresses.truncate(1);
            changed.addresses.push(("203.0.113.1".parse().unwrap(), 32));
            let again = ensure(&namespace, &changed).await.unwrap();
            assert_eq!(again.host.ifindex, ends.host.ifindex);
            assert_eq!((again.host.mtu, again.switch.mtu), (1500, 1500));
            assert_eq!(again.host.mac, Mac([2, 0, 0, 0, 0, 8]));
        });
        let now = addresses();
        assert!(
            now.contains("192.0.2.1/24") && now.contains("203.0.113.1/32"),
            "{now}"
        );
        assert!(
            now.contains("198.51.100.1/24") && !now.contains("2001:db8::1"),
            "{now}"
        );

        in_net(&net, async |namespace| {
            let queues = HostPort {
                queues: 1,
                ..port()
            };
            let new = ensure(&namespace, &queues).await.unwrap();
            assert_ne!(new.host.ifindex, ends.host.ifindex);
            assert_eq!(existing(&namespace).await.unwrap(), ["mgmt"]);
            net.ip("link set shunt0 name renamed");
            remove(&namespace, "other").await.unwrap();
            assert!(namespace.link("renamed").await.unwrap().is_some());
            remove(&namespace, "mgmt").await.unwrap();
            remove(&namespace, "mgmt").await.unwrap();
            assert_eq!(namespace.link("renamed").await.unwrap(), None);
            assert_eq!(namespace.link("shunt0-sw").await.unwrap(), None);
        });
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let net = Net::new("foreign");
        in_net(&net, async |namespace| {
            for name in ["shunt0", "shunt0-sw"] {
                net.ip(&format!("link add {name} type bridge"));
                let error = ensure(&namespace, &port()).await.unwrap_err();
                assert!(matches!(error, Error::Foreign { .. }), "{error}");
                let text = error.to_string();
                assert!(text.contains(name) && text.contains("a bridge"), "{text}");
                remove(&namespace, "mgmt").await.unwrap();
                assert!(namespace.link(name).await.unwrap().is_some());
                net.ip(&format!("link del {name}"));
            }
            // Another port's pair is not ours either.
            let other = HostPort {
                port: "other".into(),
                ..port()
            };
            ensure(&namespace, &other).await.unwrap();
            let error = ensure(&namespace, &port()).await.unwrap_err().to_string();
            assert!(error.contains("shunt host port other"), "{error}");
        });
    }

    #[test]
    fn a_pair_that_was_being_made_is_no_obstacle() {
        let net = Net::new("halfway");
        let new = format!("shunt-new-{:04x}", hash("shunt0"));
        net.ip(&format!("link add {new} type veth peer name {new}s"));
        net.ip(&format!("link set {new} alias shunt\\ host\\ port\\ mgmt"));
        in_net(&net, async |namespace| {
            ensure(&namespace, &port()).await.unwrap();
            assert_eq!(namespace.links().await.unwrap().len(), 3);
        });
    }
}
