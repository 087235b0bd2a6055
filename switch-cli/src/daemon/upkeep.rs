//! Keeping attached devices as they must be: somebody else may change their offloads, and what the
//! host receives on an uplink changes with what is put on top of it.

use switch_core::config::snapshot::Role;

use super::{
    attachment::restore,
    port::{Phase, Port},
    reconciler::{Answer, Reconciler},
    switch::Switch,
};
use crate::device::{self, host_addresses::matters, monitor::Event, offload};

impl Reconciler {
    /// Takes note of what an event may have changed beyond the devices' own descriptions.
    pub fn heed(&mut self, switch: &mut Switch, event: &Event) {
        let attached = switch.ports.iter().filter_map(Port::attachment);
        let uplinks = attached.filter(|attachment| attachment.usage().role == Role::Uplink);
        let uplinks: Vec<u32> = uplinks.map(|attachment| attachment.link.ifindex).collect();
        self.host_addresses_stale |= !uplinks.is_empty() && matters(event, &uplinks);
        let touched = |ifindex: u32| match event {
            Event::Touched(index) => *index == ifindex,
            // The far end has moved: perhaps to where it can be reached.
            Event::Changed { before, now } => now.ifindex == ifindex && before.peer != now.peer,
            Event::Resync => true,
            _ => false,
        };
        for port in &mut switch.ports {
            if let Phase::Attached(attachment) = &mut port.phase {
                let peer = attachment.link.peer.map(|peer| peer.ifindex);
                attachment.recheck |= touched(attachment.link.ifindex) || peer.is_some_and(touched);
            }
        }
    }

    /// Sets the offloads again that somebody may have changed: once a second at most, each device
    /// in a task of its own.
    pub fn recheck(&mut self, switch: &mut Switch) {
        for port in &mut switch.ports {
            let Phase::Attached(attachment) = &mut port.phase else {
                continue;
            };
            if !std::mem::take(&mut attachment.recheck) {
                continue;
            }
            let (link, usage) = (attachment.link.clone(), attachment.usage());
            let (namespace, state_dir) = (self.namespace.clone(), self.state_dir.clone());
            self.answer_later(async move {
                let report = offload::attach(&namespace, &link, usage, &state_dir).await;
                Answer::Offloads {
                    ifindex: link.ifindex,
                    report,
                }
            });
        }
    }

    /// Takes the answer of a look at offloads.
    pub(super) async fn rechecked(
        &self,
        switch: &mut Switch,
        ifindex: u32,
        report: device::Result<offload::Report>,
    ) {
        let attached = switch
            .ports
            .iter_mut()
            .find_map(|port| match &mut port.phase {
                Phase::Attached(attachment) if attachment.link.ifindex == ifindex => {
                    Some(attachment)
                }
                _ => None,
            });
        match (attached, report) {
            (Some(attachment), Ok(report)) => attachment.offloads = report,
            (Some(_), Err(error)) => tracing::debug!(ifindex, "offloads: {error}"),
            // It has been let go of meanwhile, and was perhaps set again after that.
            (None, _) => restore(&self.namespace, ifindex, &self.state_dir).await,
        }
    }

    /// Brings the lists of what the host receives up to date, if they may be out of it.
    pub(super) async fn renew_host_addresses(&mut self, switch: &mut Switch) {
        if !std::mem::take(&mut self.host_addresses_stale) {
            return;
        }
        for port in &mut switch.ports {
            let Phase::Attached(attachment) = &mut port.phase else {
                continue;
            };
            if attachment.usage().role == Role::Uplink
                && let Err(error) = attachment.renew_host_addresses(&self.namespace).await
            {
                let port = &port.config.name;
                tracing::warn!(%port, "the host may miss frames on this uplink: {error}");
            }
        }
    }

    /// Reads the devices' own counters, and then what the kernel has counted for the sockets.
    pub async fn read_devices(&self, switch: &mut Switch) {
        for port in &mut switch.ports {
            if let Phase::Attached(attachment) = &mut port.phase {
                attachment.read_device(&self.namespace).await;
            }
        }
        if let Err(error) = switch.engine.refresh_statistics() {
            // Whoever changes something next hears of it, too, and ends the daemon.
            tracing::error!("{error}");
            return;
        }
        for port in &mut switch.ports {
            if let Phase::Attached(attachment) = &mut port.phase {
                attachment.settle();
            }
        }
    }
}
