//! The kernel's own counters of a device, so that frames which the driver drops are seen too.
//!
//! They count from the making of the device and cannot be reset: a port shows the difference to
//! what they were when it was attached.

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::link::{LinkAttribute, Stats64};

use super::{Namespace, Result, links::Link};

/// Counters of a device (`struct rtnl_link_stats64`, include/uapi/linux/if_link.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceCounters {
    /// Frames received.
    pub rx_frames: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames that the driver received and dropped.
    pub rx_dropped: u64,
    /// Frames that the hardware had no buffer for.
    pub rx_missed: u64,
    /// Broken frames.
    pub rx_errors: u64,
    /// Frames that the driver took for sending and dropped.
    pub tx_dropped: u64,
    /// Frames that could not be sent.
    pub tx_errors: u64,
    /// Frames that the far end of a veth sent and the device had no room for.
    pub far_tx_dropped: u64,
}

impl DeviceCounters {
    /// What was counted since an earlier reading of the same device.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let difference = |field: fn(&Self) -> u64| field(self).saturating_sub(field(earlier));
        Self {
            rx_frames: difference(|counters| counters.rx_frames),
            rx_bytes: difference(|counters| counters.rx_bytes),
            tx_frames: difference(|counters| counters.tx_frames),
            tx_bytes: difference(|counters| counters.tx_bytes),
            rx_dropped: difference(|counters| counters.rx_dropped),
            rx_missed: difference(|counters| counters.rx_missed),
            rx_errors: difference(|counters| counters.rx_errors),
            tx_dropped: difference(|counters| counters.tx_dropped),
            tx_errors: difference(|counters| counters.tx_errors),
            far_tx_dropped: difference(|counters| counters.far_tx_dropped),
        }
    }

    /// The frames that were lost in the driver: name, count, and what it means, for people.
    #[must_use]
    pub fn drops(&self) -> [(&'static str, u64, &'static str); 6] {
        [
            (
                "device_rx_dropped",
                self.rx_dropped,
                "The driver, or on an uplink the host's stack, received the frame and dropped it.",
            ),
            (
                "device_rx_missed",
                self.rx_missed,
                "The hardware had no buffer for the frame: its RX ring was full.",
            ),
            (
                "device_rx_errors",
                self.rx_errors,
                "The frame was broken when it came in.",
            ),
            (
                "device_tx_dropped",
                self.tx_dropped,
                "The driver took the frame and dropped it: the other end is slow or down.",
            ),
            (
                "device_tx_errors",
                self.tx_errors,
                "The hardware could not send the frame.",
            ),
            (
                "far_tx_dropped",
                self.far_tx_dropped,
                "The far end sent the frame and the device had no room for it.",
            ),
        ]
    }
}

impl Namespace {
    /// Reads the counters of a device, and of the far end of a veth wherever it is. None when the
    /// device is gone.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn counters(&self, link: &Link) -> Result<Option<DeviceCounters>> {
        let Some(near) = self.stats(link.ifindex, None).await? else {
            return Ok(None);
        };
        let far = match link.peer {
            // A far end that the kernel tells nothing about has no share in the counters.
            Some(peer) => self.stats(peer.ifindex, peer.nsid).await.unwrap_or(None),
            None => None,
        };
        Ok(Some(DeviceCounters {
            rx_frames: near.rx_packets,
            rx_bytes: near.rx_bytes,
            tx_frames: near.tx_packets,
            tx_bytes: near.tx_bytes,
            rx_dropped: near.rx_dropped,
            rx_missed: near.rx_missed_errors,
            rx_errors: near.rx_errors,
            tx_dropped: near.tx_dropped,
            tx_errors: near.tx_errors,
            far_tx_dropped: far.map_or(0, |far| far.tx_dropped),
        }))
    }

    async fn stats(&self, ifindex: u32, nsid: Option<i32>) -> Result<Option<Stats64>> {
        let mut request = self.netlink().link().get().match_index(ifindex);
        // Another namespace's device, by the number of the namespace (Linux 4.20).
        let target = nsid.map(LinkAttribute::IfNetnsId);
        request.message_mut().attributes.extend(target);
        let mut answers = Box::pin(request.execute());
        let action = || "read the counters of a device".into();
        let message = match self.answer(answers.try_next(), action).await {
            Err(error) if error.errno() == Some(libc::ENODEV) => return Ok(None),
            answer => answer?,
        };
        let attributes = message.into_iter().flat_map(|message| message.attributes);
        let mut stats = attributes.filter_map(|attribute| match attribute {
            LinkAttribute::Stats64(stats) => Some(stats),
            _ => None,
        });
        Ok(stats.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::{Net, in_net};

    #[test]
    fn the_difference_is_counted() {
        let net = Net::new("stats");
        let far = Net::new("far");
        net.ip("link add va type veth peer name vb");
        net.ip(&format!("link set vb netns {}", far.name()));
        net.ip("address add 192.0.2.1/24 dev va");
        far.ip("address add 192.0.2.2/24 dev vb");
        net.ip("link set va up");
        far.ip("link set vb up");
        in_net(&net, async |namespace| {
            let link = namespace.link("va").await.unwrap().unwrap();
            let before = namespace.counters(&link).await.unwrap().unwrap();
            assert_eq!(before.since(&before), DeviceCounters::default());
            net.run("ping -c 3 -i 0.01 192.0.2.2");
            let after = namespace.counters(&link).await.unwrap().unwrap();
            let counted = after.since(&before);
            assert!(
                counted.tx_frames >= 3 && counted.rx_frames >= 3,
                "{counted:?}"
            );
            assert!(counted.drops().iter().all(|(_, count, _)| *count == 0));
            net.ip("link del va");
            assert_eq!(namespace.counters(&link).await.unwrap(), None);
        });
    }
}
