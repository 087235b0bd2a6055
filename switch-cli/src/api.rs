//! What goes over the control socket: the JSON shapes that daemon and client share. They are
//! stable: names and not indices, snake_case, units in the names.

pub mod trace;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Counts of dropped frames by reason.
pub type Drops = BTreeMap<String, u64>;

/// How a port does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Frames cross.
    Up,
    /// The device is there, and down or without a carrier.
    Down,
    /// There is no such device.
    Missing,
    /// The device cannot be used; the reason says why. It is tried again.
    Error,
}

impl State {
    /// The word in JSON and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Missing => "missing",
            Self::Error => "error",
        }
    }
}

/// An element of `GET /v1/ports`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The name in the configuration.
    pub name: String,
    /// The interface.
    pub device: String,
    /// `guest`, `uplink` or `host`.
    pub role: String,
    /// How it does.
    pub state: State,
    /// What is wrong, or noteworthy, and what to do about it.
    pub reason: Option<String>,
    /// Where its XDP program runs, `native` or `generic`; null while it is not attached.
    pub mode: Option<String>,
    /// Whether the driver works on the engine's memory itself.
    pub zero_copy: bool,
    /// Queues that the engine serves.
    pub queues: usize,
    /// Longest payload in bytes; null while there is no device.
    pub mtu: Option<u32>,
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received, without FCS.
    pub rx_bytes: u64,
    /// Frames transmitted.
    pub tx_frames: u64,
    /// Bytes transmitted, without FCS.
    pub tx_bytes: u64,
    /// Frames dropped, by reason: the engine's, the XDP program's, and what the kernel's sockets
    /// and device report.
    pub drops: Drops,
}

/// A network that a port is a member of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The network's name.
    pub network: String,
    /// The VID of its frames on this port; null where they are untagged.
    pub vid: Option<u16>,
}

/// The answer of `GET /v1/ports/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortDetail {
    /// All that the list has.
    #[serde(flatten)]
    pub port: Port,
    /// The device's index; null while it is missing.
    pub ifindex: Option<u32>,
    /// Why the mode is `generic`; null otherwise.
    pub mode_reason: Option<String>,
    /// Frames longer than one buffer are received.
    pub multi_buffer: bool,
    /// The network of untagged frames; null where they are dropped.
    pub untagged: Option<String>,
    /// The networks, with the tag that frames leave with.
    pub networks: Vec<Membership>,
    /// The outer tag's protocol, as in `0x8100`.
    pub tpid: String,
    /// Frames never go between two isolated ports.
    pub isolated: bool,
    /// Most addresses learnt; null without a limit.
    pub mac_limit: Option<u32>,
    /// Dynamic addresses behind it.
    pub fdb_entries: u32,
    /// The worker of each queue.
    pub workers: Vec<usize>,
    /// The traffic class of frames from it of which nothing else is believed.
    pub class: u8,
    /// What is believed of them first: `dscp`, `pcp`.
    pub class_from: Vec<String>,
    /// What is written into frames that leave by it.
    pub mark: Vec<String>,
    /// Its own policers.
    pub policers: Vec<Policer>,
    /// The queues that frames to it wait in; empty without a scheduler.
    pub egress_queues: Vec<Queue>,
    /// What policy is attached to it.
    #[serde(flatten)]
    pub policy: Attached,
}

/// What policy is attached to a port or a network, by name; null: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The access control list of what comes into the switch.
    pub acl_from_port: Option<String>,
    /// The access control list of what goes out of the switch.
    pub acl_to_port: Option<String>,
    /// The policer of what comes into the switch.
    pub police_from_port: Option<String>,
    /// The policer of what goes out of the switch.
    pub police_to_port: Option<String>,
}

/// An element of `GET /v1/networks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The name in the configuration.
    pub name: String,
    /// The VLAN on uplinks; null when private.
    pub vid: Option<u16>,
    /// The names of its ports.
    pub ports: Vec<String>,
    /// Entries in its forwarding database.
    pub fdb_entries: u32,
    /// Frames that went to all its ports.
    pub flooded_frames: u64,
}

/// A port of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The port's name.
    pub port: String,
    /// `guest`, `uplink` or `host`.
    pub role: String,
    /// How the port does.
    pub state: State,
    /// The VID that the network's frames leave with; null for untagged.
    pub vid: Option<u16>,
}

/// The answer of `GET /v1/networks/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDetail {
    /// All that the list has.
    #[serde(flatten)]
    pub network: Network,
    /// Its ports.
    pub members: Vec<Member>,
    /// What policy is attached to it.
    #[serde(flatten)]
    pub policy: Attached,
}

/// An element of `GET /v1/fdb`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FdbEntry {
    /// The network.
    pub network: String,
    /// Its VLAN; null when private.
    pub vid: Option<u16>,
    /// The station's address.
    pub mac: String,
    /// The port that it is behind.
    pub port: String,
    /// `dynamic` or `static`.
    pub kind: String,
    /// Seconds since the last frame from it; null for a static entry.
    pub age_s: Option<u32>,
}

/// An element of `GET /v1/acl`: a rule of an access control list, or a list's default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclRule {
    /// The list.
    pub acl: String,
    /// The rule's position in it, from 1; null for the default.
    pub rule: Option<usize>,
    /// Where it begins in the configuration; null for the default.
    pub line: Option<usize>,
    /// Its name in the configuration; null without one.
    pub name: Option<String>,
    /// `allow`, `deny`, `count` or `log`.
    pub action: String,
    /// What it says, in one line.
    pub text: String,
    /// Frames that it was about, since it is there.
    pub frames: u64,
    /// Their bytes, without FCS, as they were received.
    pub bytes: u64,
}

/// Where an access control list is attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclPlace {
    /// `port/NAME` or `network/NAME`.
    pub scope: String,
    /// `from_port`: into the switch; `to_port`: out of the switch.
    pub direction: String,
}

/// The answer of `GET /v1/acl/{name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AclDetail {
    /// The name in the configuration.
    pub name: String,
    /// What is done with frames that no rule decides about: `allow` or `deny`.
    pub default: String,
    /// Where it is attached.
    pub attached: Vec<AclPlace>,
    /// Comparisons on the way to a decision, for the worst frame; null while attached nowhere.
    pub worst_comparisons: Option<usize>,
    /// Rules that are tried for the worst frame; null while it is attached nowhere.
    pub worst_rules: Option<usize>,
    /// Its rules in their order, and its default.
    pub rules: Vec<AclRule>,
}

/// An element of `GET /v1/flows`: frames that policy treats alike at one place. A field is null
/// where no rule there asks for it; frames of one flow may differ in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// The worker that keeps it. What comes by several queues may be at several workers.
    pub worker: usize,
    /// `from_port`: into the switch; `to_port`: out of the switch.
    pub direction: String,
    /// The port where it enters or leaves.
    pub port: String,
    /// The port whose frames these are.
    pub sender: String,
    /// The network.
    pub network: String,
    /// `allow` or `deny`.
    pub verdict: String,
    /// Source MAC address.
    pub source_mac: Option<String>,
    /// Destination MAC address.
    pub destination_mac: Option<String>,
    /// The EtherType behind the outer tag, as in `0x0800`.
    pub ethertype: Option<String>,
    /// IP source, or ARP's sender.
    pub source: Option<String>,
    /// IP destination, or ARP's target.
    pub destination: Option<String>,
    /// IP protocol, or ARP operation.
    pub protocol: Option<u8>,
    /// Source port, or ICMP type.
    pub source_port: Option<u16>,
    /// Destination port, or ICMP code.
    pub destination_port: Option<u16>,
    /// TCP flags, FIN lowest.
    pub tcp_flags: Option<u8>,
    /// Differentiated services code point.
    pub dscp: Option<u8>,
    /// `no`, `first` or `later`.
    pub fragment: Option<String>,
    /// Priority code point.
    pub pcp: Option<u8>,
    /// Frames so far.
    pub frames: u64,
    /// Bytes so far, without FCS, as they were received.
    pub bytes: u64,
    /// Seconds since the first frame.
    pub age_s: u32,
    /// Seconds since the last frame.
    pub idle_s: u32,
}

/// An element of `GET /v1/workers`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Its position.
    pub index: usize,
    /// The core that it is bound to; null when it is not.
    pub core: Option<usize>,
    /// The names of the ports that it serves queues of.
    pub ports: Vec<String>,
    /// Frames received.
    pub frames: u64,
    /// Bursts that they came in.
    pub bursts: u64,
    /// How much of the last second it had nothing to do.
    pub idle_percent: f64,
}

/// An element of `GET /v1/qos`: a policer at work in one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policer {
    /// The name in the configuration.
    pub policer: String,
    /// Whose frames it polices: `port/NAME`, `network/NAME` or `acl/NAME/RULE`.
    pub scope: String,
    /// `from_port`: what the switch receives; `to_port`: what it sends; `any`, of a rule: both.
    pub direction: String,
    /// The rate in bits a second.
    pub rate_bps: u64,
    /// What may pass at once.
    pub burst_bytes: u64,
    /// The excess burst of a policer of a single rate; null without.
    pub excess_burst_bytes: Option<u64>,
    /// The peak rate of a policer of two rates, in bits a second; null without.
    pub peak_rate_bps: Option<u64>,
    /// What may pass at once of the peak rate; null without.
    pub peak_burst_bytes: Option<u64>,
    /// Frames that come drop eligible count as yellow from the start.
    pub colour_aware: bool,
    /// What becomes of frames above the rate: `drop`, `mark` or `pass`.
    pub exceed: String,
    /// What becomes of frames above the second level; null where there is none.
    pub violate: Option<String>,
    /// Frames that conformed.
    pub green_frames: u64,
    /// Bytes that conformed, without FCS.
    pub green_bytes: u64,
    /// Frames above the first of two levels.
    pub yellow_frames: u64,
    /// Their bytes.
    pub yellow_bytes: u64,
    /// Frames above the only or the second level.
    pub red_frames: u64,
    /// Their bytes.
    pub red_bytes: u64,
}

/// An element of `GET /v1/security`: what a port may say about itself, and how much of what goes to
/// all it may send.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSecurity {
    /// The port.
    pub port: String,
    /// `guest`, `uplink` or `host`.
    pub role: String,
    /// The MAC addresses that it may use and claim; null: any.
    pub allowed_macs: Option<Vec<String>>,
    /// The IP prefixes that it may use and claim; null: any.
    pub allowed_addresses: Option<Vec<String>>,
    /// A DHCP server may be there.
    pub dhcp_server: bool,
    /// Router advertisements may come from there.
    pub router_advertisements: bool,
    /// BPDUs may come from there.
    pub bpdus: bool,
    /// Frames never go between two isolated ports.
    pub isolated: bool,
    /// Most addresses learnt; null without a limit.
    pub mac_limit: Option<u32>,
    /// Dynamic addresses behind it.
    pub fdb_entries: u32,
    /// Storm control, of the kinds that are limited.
    pub storm: Vec<StormControl>,
    /// Addresses of this port that were seen elsewhere of late, and those that are quarantined.
    pub flapping: Vec<FlappingAddress>,
    /// Frames dropped by the port's security, by reason.
    pub drops: Drops,
}

/// An address that moves between ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlappingAddress {
    /// The network.
    pub network: String,
    /// The address.
    pub mac: String,
    /// How often it went to another port.
    pub moves: u32,
    /// Seconds for which it stays at this one; null while it may move.
    pub quarantine_left_s: Option<u32>,
}

/// How much of one kind of frames a port may send to all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StormControl {
    /// `broadcast`, `multicast` or `unknown_unicast`.
    pub kind: String,
    /// The rate in frames a second; null where bits are counted.
    pub rate_frames_per_s: Option<u32>,
    /// The rate in bits a second; null where frames are counted.
    pub rate_bps: Option<u64>,
    /// Frames that passed.
    pub passed_frames: u64,
    /// Frames that were dropped.
    pub dropped_frames: u64,
}

/// An element of `GET /v1/queues`: a queue of a port with a scheduler.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The port's name.
    pub port: String,
    /// The scheduler's name in the configuration.
    pub scheduler: String,
    /// The queue's position there, from 0.
    pub queue: usize,
    /// The traffic classes that wait in it.
    pub classes: Vec<u8>,
    /// `strict` or `weighted`.
    pub service: String,
    /// Its weight; null where it is strict.
    pub weight: Option<u16>,
    /// The port's shaper, in bits a second; null without.
    pub port_rate_bps: Option<u64>,
    /// Its minimum, in bits a second; null without.
    pub min_rate_bps: Option<u64>,
    /// Its maximum, in bits a second; null without.
    pub max_rate_bps: Option<u64>,
    /// Most bytes that wait.
    pub limit_bytes: u64,
    /// `tail` or `codel`.
    pub drop: String,
    /// Frames that wait.
    pub waiting_frames: u64,
    /// Their bytes, without FCS.
    pub waiting_bytes: u64,
    /// Frames that were put in.
    pub queued_frames: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Frames that were sent.
    pub sent_frames: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Frames dropped because the queue was full.
    pub full_frames: u64,
    /// Frames dropped by CoDel.
    pub late_frames: u64,
}

/// The answer of `GET /v1/qos/{name}`: a policer in all its places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicerDetail {
    /// The name in the configuration.
    pub name: String,
    /// Where it is at work, each with a bucket of its own.
    pub places: Vec<Policer>,
}

/// An element of `GET /v1/counters`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// What is counted.
    pub name: String,
    /// Of whom: `switch`, `port/NAME`, `network/NAME` or `worker/INDEX`.
    pub scope: String,
    /// The count.
    pub value: u64,
    /// What it means, for people.
    pub text: String,
}

/// The body of `POST /v1/fdb`: a static entry, which stays until the daemon ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewFdbEntry {
    /// The network.
    pub network: String,
    /// The station's address.
    pub mac: String,
    /// The port, a member of the network.
    pub port: String,
}

/// The query of `DELETE /v1/fdb`: entries that match all that is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FdbFilter {
    /// Behind this port.
    pub port: Option<String>,
    /// Of this network.
    pub network: Option<String>,
    /// Of this address.
    pub mac: Option<String>,
    /// Static entries too.
    #[serde(default, rename = "static")]
    pub include_static: bool,
}

/// The answer to what removes forwarding entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// How many were removed.
    pub removed: usize,
}

/// The answer of `POST /v1/reload`: what differs now, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Ports that are new.
    pub ports_added: Vec<String>,
    /// Ports that are gone.
    pub ports_removed: Vec<String>,
    /// Ports that were detached and are attached anew.
    pub ports_reattached: Vec<String>,
    /// Ports that kept their device and follow other rules now.
    pub ports_changed: Vec<String>,
    /// Networks that are new.
    pub networks_added: Vec<String>,
    /// Networks that are gone.
    pub networks_removed: Vec<String>,
    /// Networks whose frames have to pass other lists.
    #[serde(default)]
    pub networks_changed: Vec<String>,
    /// Access control lists that are new, gone or different.
    #[serde(default)]
    pub acls_changed: Vec<String>,
}

/// The body of every answer that is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What is wrong.
    pub error: String,
    /// What to do.
    pub help: String,
    /// For an invalid configuration, the report with all errors, as `shunt check` prints it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
}
