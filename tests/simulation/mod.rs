//! The real workers under simulated ports and a simulated clock, held against a reference switch.

mod acl;
mod allocation;
mod classes;
mod flap;
mod frames;
mod guard;
mod hits;
mod meter;
mod mutations;
mod reference;
mod rng;
mod rules;
mod switch;
mod threads;
mod toml;
mod topology;
mod world;
mod worlds;
mod wrong;
