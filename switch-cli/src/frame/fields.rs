//! A frame as people say it: the fields that matter to them, with defaults for the rest.

use std::net::IpAddr;

use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

/// The fields of a frame. What is not given is chosen as the port that it comes from has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// The port that it is for: its MAC and IP address are the default destination
    #[arg(long, value_name = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Source MAC address; default: what the port may use, has been heard with, or made up
    #[arg(long, value_name = "MAC")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_mac: Option<String>,
    /// Destination MAC address; default: that of --to, or broadcast for ARP, or made up
    #[arg(long, value_name = "MAC")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_mac: Option<String>,
    /// VID of a tag; default: no tag where the port takes untagged frames
    #[arg(long, value_name = "VID", value_parser = clap::value_parser!(u16).range(0..=4095))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Priority of the tag
    #[arg(long, value_name = "0-7", value_parser = clap::value_parser!(u8).range(0..=7))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pcp: Option<u8>,
    /// EtherType of a frame that is neither ARP nor IP, as in 0x88cc
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["tcp", "udp", "icmp", "arp", "src_ip",
          "dst_ip"])]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ethertype: Option<String>,
    /// IP source, or ARP's sender; default: an address that the port may use, or made up
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_ip: Option<IpAddr>,
    /// IP destination, or ARP's target
    #[arg(long, value_name = "ADDRESS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_ip: Option<IpAddr>,
    /// TCP to this port
    #[arg(long, value_name = "PORT", group = "transport")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u16>,
    /// UDP to this port
    #[arg(long, value_name = "PORT", group = "transport")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp: Option<u16>,
    /// ICMP or ICMPv6 of this type; without a type an echo request
    #[arg(long, value_name = "TYPE", group = "transport", num_args = 0..=1,
          default_missing_value = "8")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<u8>,
    /// ARP; without a word a request
    #[arg(long, value_name = "KIND", group = "transport", num_args = 0..=1,
          default_missing_value = "request")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arp: Option<ArpKind>,
    /// IP packet of this protocol
    #[arg(long, value_name = "NUMBER", group = "transport")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u8>,
    /// Source port of TCP or UDP
    #[arg(long, value_name = "PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// TCP flags that are set, as in syn,ack; default: syn
    #[arg(long, value_name = "FLAGS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<String>,
    /// Differentiated services code point
    #[arg(long, value_name = "0-63", value_parser = clap::value_parser!(u8).range(0..=63))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dscp: Option<u8>,
    /// Part of a packet that was sent in fragments
    #[arg(long, value_name = "WHICH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment: Option<FragmentKind>,
    /// Bytes of the frame, if it has fewer otherwise
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(0..=9216))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u16>,
}

/// What ARP says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArpKind {
    /// Who has an address?
    Request,
    /// I have it.
    Reply,
}

/// Which part of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FragmentKind {
    /// With the transport header.
    First,
    /// Without it.
    Later,
}
