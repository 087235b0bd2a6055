//! What the switch promises, rule by rule: a configuration and a frame in, exact bytes out.

mod acl;
mod attacks;
mod forwarding;
mod marking;
mod policing;
mod queueing;
mod rule_acts;
mod scene;
mod security;
mod storm;
mod trace;
mod vlan;
mod why;
