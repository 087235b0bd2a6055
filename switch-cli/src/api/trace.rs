//! The JSON shapes of traces: what would become of a frame, stage by stage.

use serde::{Deserialize, Serialize};

use crate::frame::fields::Fields;

/// The body of `POST /v1/trace`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TraceRequest {
    /// The port that the frames come from.
    pub from: String,
    /// A frame by its fields; null where `frames` says it.
    #[serde(default)]
    pub fields: Option<Fields>,
    /// Frames in hexadecimal, one after the other.
    #[serde(default)]
    pub frames: Vec<String>,
}

/// A frame, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FrameView {
    /// Bytes, without FCS.
    pub bytes: usize,
    /// What is in it, in one line.
    pub text: String,
    /// Its bytes.
    pub hex: String,
}

/// A rule that a frame met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceRule {
    /// The list.
    pub acl: String,
    /// Where the list is attached: `port/NAME` or `network/NAME`.
    pub scope: String,
    /// `from_port`: into the switch; `to_port`: out of the switch.
    pub direction: String,
    /// The rule's position in it, from 1; null for the default.
    pub rule: Option<usize>,
    /// Its name in the configuration; null without one.
    pub name: Option<String>,
    /// `allow`, `deny` or another word of the configuration.
    pub action: String,
    /// What it says, in one line.
    pub text: String,
    /// The configuration file.
    pub file: String,
    /// Where the rule, or the list of the default, begins in it.
    pub line: usize,
}

/// A policer that measured a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TracePolicer {
    /// The name in the configuration.
    pub policer: String,
    /// Whose frames it measures: `port/NAME`, `network/NAME` or `acl/NAME/RULE`.
    pub scope: String,
    /// Frames that conformed; of a network's policer, of those to all ports.
    pub green_frames: u64,
    /// Frames above the first of two levels.
    pub yellow_frames: u64,
    /// Frames above the only or the second level.
    pub red_frames: u64,
}

/// What a stage did with the frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceStage {
    /// `receive`, `classify`, `secure`, `lists`, `police`, `learn` or `destination`.
    pub stage: String,
    /// `passed` or `dropped`.
    pub verdict: String,
    /// What it found out or did, for people.
    pub text: String,
    /// The rules that the frame met, in their order.
    pub rules: Vec<TraceRule>,
    /// The policers that measured it.
    pub policers: Vec<TracePolicer>,
}

/// The queue that a frame waits in until its port sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceQueue {
    /// The class that it has been given: 0 to 7.
    pub class: u8,
    /// The scheduler of the port.
    pub scheduler: String,
    /// The queue's number there, as in `shunt get queues`.
    pub queue: usize,
    /// `strict` or `weighted`.
    pub service: String,
    /// Bits a second that the port sends at most; null where nothing holds it back.
    pub port_rate_bps: Option<u64>,
}

/// A key of the configuration that frames are dropped by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceKey {
    /// The key, of the port that the drop is counted at.
    pub key: String,
    /// The configuration file.
    pub file: String,
    /// Where the key stands in it.
    pub line: usize,
}

/// Why a frame ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceDrop {
    /// The drop reason, as in the counters.
    pub reason: String,
    /// What it means, for people.
    pub text: String,
    /// The port that it is counted at.
    pub port: String,
    /// The key that says so; null where it is none of the port's.
    pub key: Option<TraceKey>,
}

/// What becomes of the frame at one port that it should leave by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceEgress {
    /// The port.
    pub port: String,
    /// The frame as it leaves; null when it does not.
    pub frame: Option<FrameView>,
    /// What is different from the frame that came in; null when it does not leave.
    pub rewrite: Option<String>,
    /// Where it waits for its turn; null at a port without queues, and when it does not leave.
    pub queue: Option<TraceQueue>,
    /// Why it does not leave; null when it does.
    pub drop: Option<TraceDrop>,
    /// The rules that the frame met, in their order.
    pub rules: Vec<TraceRule>,
    /// The policers that measured it.
    pub policers: Vec<TracePolicer>,
}

/// An element of `GET /v1/ports/{name}/drops`: one of the last frames that were dropped there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Dropped {
    /// Seconds since then.
    pub age_s: f64,
    /// The drop reason, as in the counters.
    pub reason: String,
    /// What it means, for people.
    pub text: String,
    /// The port where it came in; null when that is gone, and where a ring or a queue lost it.
    pub from: Option<String>,
    /// The frame as it was when it was dropped; `hex` has its first bytes only.
    pub frame: FrameView,
    /// Such a frame would be dropped here for the same reason now.
    pub still_dropped: bool,
    /// The rule that denies it now; null where it is not a rule, or would not be dropped so.
    pub rule: Option<TraceRule>,
    /// The key of the port that says so now; null where it is none, or would not be dropped so.
    pub key: Option<TraceKey>,
}

/// An element of the answer of `POST /v1/trace`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    /// The port that it comes from.
    pub from: String,
    /// The frame as it comes.
    pub frame: FrameView,
    /// The network that it belongs to; null when it ends before that is known.
    pub network: Option<String>,
    /// The stages as far as it gets.
    pub stages: Vec<TraceStage>,
    /// The ports that it should leave by.
    pub egress: Vec<TraceEgress>,
    /// `forwarded` to one port, `flooded` to several or `dropped` everywhere.
    pub verdict: String,
    /// Why it is dropped everywhere; null when it is not.
    pub drop: Option<TraceDrop>,
}
