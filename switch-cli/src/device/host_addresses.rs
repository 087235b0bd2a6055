//! What the host itself receives on an uplink: the frames that must still reach the kernel.
//!
//! These are the MAC addresses of the uplink, of every device on top of it (VLAN, macvlan, a
//! bridge that it is a port of, and what is on top of these), the further addresses that the
//! kernel has entered into their filters, and the groups that they have joined; each with the VID
//! that it is reached by. The filters also have the addresses of macvlans that were moved to
//! other namespaces. A VLAN that was moved to another namespace is not seen: its VID is known
//! there only.

use std::collections::{BTreeMap, BTreeSet};

use rtnetlink::packet_route::{
    AddressFamily,
    neighbour::{NeighbourAttribute, NeighbourFlags},
};
use switch_core::wire::ethernet::Mac;

use super::{Namespace, Result, links::Link, monitor::Event};

/// The addresses in the filters of devices, by index.
type Filters = BTreeMap<u32, BTreeSet<Mac>>;

impl Namespace {
    /// What the host receives on the device with this index, sorted: VID (0 for untagged frames)
    /// and address. To be called on a thread that is in this namespace, and again after each
    /// event that [`matters`].
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn host_addresses(&self, ifindex: u32) -> Result<Vec<(u16, Mac)>> {
        let links = self.links().await?;
        let mut filters = self.filters().await?;
        let joined = std::fs::read_to_string("/proc/thread-self/net/dev_mcast");
        for (ifindex, mac) in joined.unwrap_or_default().lines().filter_map(joined_group) {
            filters.entry(ifindex).or_default().insert(mac);
        }
        Ok(addresses(ifindex, &links, &filters))
    }

    /// The filters of all devices, as `bridge fdb show` prints them: the kernel gives for each
    /// device without a table of its own the lists `uc` and `mc` (`ndo_dflt_fdb_dump`).
    async fn filters(&self) -> Result<Filters> {
        let request = self.netlink().neighbours().get();
        let request = request.set_address_family(AddressFamily::Bridge);
        let action = || "list the filters of devices".into();
        let entries = self.list(|| request.execute(), action).await?;
        let mut filters = Filters::new();
        for entry in entries {
            // Without this flag it is an entry that a bridge has learned.
            if !entry.header.flags.contains(NeighbourFlags::Own) {
                continue;
            }
            for attribute in entry.attributes {
                if let NeighbourAttribute::LinkLayerAddress(bytes) = attribute
                    && let Ok(mac) = bytes.as_slice().try_into()
                {
                    let filter = filters.entry(entry.header.ifindex).or_default();
                    filter.insert(Mac(mac));
                }
            }
        }
        Ok(filters)
    }
}

/// Whether what the host receives on one of these uplinks can be different after an event.
#[must_use]
pub fn matters(event: &Event, uplinks: &[u32]) -> bool {
    // What is on top of an uplink says so; a guest's veth is on top of nothing.
    let near = |link: &Link| {
        uplinks.contains(&link.ifindex)
            || link.lower.is_some()
            || link.controller.is_some()
            || link.kind == "bridge"
            || link.kind == "bond"
    };
    match event {
        Event::Added(link) | Event::Removed(link) => near(link),
        Event::Changed { before, now } => near(before) || near(now),
        Event::Groups | Event::Resync => true,
        Event::Touched(_) | Event::Addresses(_) => false,
    }
}

fn addresses(ifindex: u32, links: &[Link], filters: &Filters) -> Vec<(u16, Mac)> {
    let mut found = BTreeSet::new();
    let mut visited = BTreeSet::new();
    let mut open = vec![(ifindex, 0)];
    while let Some((ifindex, vid)) = open.pop() {
        if !visited.insert(ifindex) {
            continue;
        }
        let Some(link) = links.iter().find(|link| link.ifindex == ifindex) else {
            continue;
        };
        found.insert((vid, Mac::BROADCAST));
        found.extend(Some((vid, link.mac)).filter(|(_, mac)| *mac != Mac::NULL));
        for mac in filters.get(&ifindex).into_iter().flatten() {
            found.insert((vid, *mac));
        }
        for upper in links.iter().filter(|upper| is_upon(upper, link)) {
            // Of two tags the outer one counts.
            let own = upper.vlan.map_or(0, |vlan| vlan.vid);
            open.push((upper.ifindex, if vid == 0 { own } else { vid }));
        }
    }
    found.into_iter().collect()
}

/// Whether a device gets frames that another one receives, under addresses of its own.
fn is_upon(upper: &Link, link: &Link) -> bool {
    let kind = upper.kind.as_str();
    let stacked = matches!(
        kind,
        "vlan" | "macvlan" | "macvtap" | "ipvlan" | "ipvtap" | "macsec"
    );
    let on_top = stacked && upper.lower == Some(link.ifindex);
    upper.admin_up && (on_top || link.controller == Some(upper.ifindex))
}

/// The index and the group in a line of dev_mcast: index, name, two counts, address.
fn joined_group(line: &str) -> Option<(u32, Mac)> {
    let mut words = line.split_ascii_whitespace();
    let ifindex = words.next()?.parse().ok()?;
    let digits = words.nth(3)?;
    let number = u64::from_str_radix(digits, 16).ok();
    let number = number.filter(|_| digits.len() == 12)?;
    Some((ifindex, Mac::from_u64(number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{
        links::Vlan,
        monitor::Monitor,
        testing::{Net, in_net},
    };

    fn mac(text: &str) -> Mac {
        text.parse().unwrap()
    }

    #[test]
    fn groups_are_read() {
        let line = "3    va              3     0     01005e000001";
        assert_eq!(joined_group(line), Some((3, mac("01:00:5e:00:00:01"))));
        for line in ["", "3 va 3 0", "3 va 3 0 0100", "x va 3 0 01005e000001"] {
            assert_eq!(joined_group(line), None, "{line}");
        }
    }

    #[test]
    fn what_is_on_top_counts_with_its_vid() {
        let net = Net::new("uppers");
        net.ip("link add va address 02:00:00:00:00:01 type veth peer name vb");
        let links = in_net(&net, async |namespace| namespace.links().await.unwrap());
        let va = links.iter().find(|link| link.name == "va").unwrap().clone();
        let upper = |ifindex: u32, kind: &str, lower: u32, last: u8| Link {
            ifindex,
            kind: kind.into(),
            lower: Some(lower),
            mac: Mac([2, 0, 0, 0, 0, last]),
            peer: None,
            admin_up: true,
            ..va.clone()
        };
        let tag = |vid| Some(Vlan { vid, tpid: 0x8100 });
        let mut links = vec![va.clone()];
        links.push(Link {
            vlan: tag(20),
            ..upper(101, "vlan", va.ifindex, 1)
        });
        links.push(upper(102, "macvlan", 101, 2));
        links.push(Link {
            vlan: tag(7),
            ..upper(103, "vlan", 101, 3)
        });
        links.push(Link {
            admin_up: false,
            ..upper(104, "macvlan", va.ifindex, 4)
        });
        links.push(upper(105, "vxlan", va.ifindex, 5));
        links.push(upper(106, "macvlan", 999, 6));
        links.push(Link {
            lower: None,
            ..upper(107, "bridge", 0, 7)
        });
        links[0].controller = Some(107);
        let group = mac("33:33:00:00:00:01");
        let filters = Filters::from([(101, BTreeSet::from([group]))]);
        let expected = [
            (0, mac("02:00:00:00:00:01")),
            (0, mac("02:00:00:00:00:07")),
            (0, Mac::BROADCAST),
            (20, mac("02:00:00:00:00:01")),
            (20, mac("02:00:00:00:00:02")),
            (20, mac("02:00:00:00:00:03")),
            (20, group),
            (20, Mac::BROADCAST),
        ];
        assert_eq!(addresses(va.ifindex, &links, &filters), expected);
        assert_eq!(addresses(1000, &links, &filters), []);
    }

    #[test]
    fn macvlans_and_groups_come_and_go() {
        let net = Net::new("addresses");
        let other = Net::new("other");
        net.ip("link add va address 02:00:00:00:00:01 type veth peer name vb");
        net.ip("link set va up");
        net.ip("link set vb up");
        in_net(&net, async |namespace| {
            let ifindex = namespace.link("va").await.unwrap().unwrap().ifindex;
            let mut monitor = Monitor::open(&namespace).unwrap();
            let found = namespace.host_addresses(ifindex).await.unwrap();
            assert!(found.contains(&(0, mac("02:00:00:00:00:01"))));
            assert!(found.contains(&(0, Mac::BROADCAST)));
            assert!(found.contains(&(0, mac("01:00:5e:00:00:01"))), "{found:?}");

            let mut until = async |address: &str, present: bool| {
                let wanted = (0, mac(address));
                let look = async {
                    loop {
                        let found = namespace.host_addresses(ifindex).await.unwrap();
                        if found.contains(&wanted) == present {
                            return;
                        }
                        while !matters(&monitor.next().await.unwrap(), &[ifindex]) {}
                    }
                };
                let limit = std::time::Duration::from_secs(10);
                let found = tokio::time::timeout(limit, look).await;
                assert!(found.is_ok(), "{address} {present}");
            };
            net.ip("link add mv link va address 02:00:00:00:00:02 type macvlan");
            net.ip("link set mv up");
            until("02:00:00:00:00:02", true).await;
            net.ip(&format!("link set mv netns {}", other.name()));
            other.ip("link set mv up");
            until("02:00:00:00:00:02", true).await;
            other.ip("-6 address add 2001:db8::aa:bbcc/64 dev mv");
            until("33:33:ff:aa:bb:cc", true).await;
            other.ip("link del mv");
            until("02:00:00:00:00:02", false).await;
            net.ip("maddress add 01:80:c2:00:00:0e dev va");
            until("01:80:c2:00:00:0e", true).await;
            net.ip("link set va address 02:00:00:00:00:05");
            until("02:00:00:00:00:05", true).await;
        });
    }
}
