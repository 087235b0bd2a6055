//! The switch as the control task has it: the engine, what is configured, and the ports.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use switch_core::{
    config::{Config, Indices},
    engine::Engine,
    limits::{PortIndex, WorkerIndex},
};

use super::{port::Port, rule_log::RuleLog};

/// All that a request may look at or change.
#[derive(Debug)]
pub struct Switch {
    /// The engine.
    pub engine: Engine,
    /// The configuration in force.
    pub config: Config,
    /// The file that it came from.
    pub config_file: PathBuf,
    /// Which name has which position in the engine.
    pub indices: Indices,
    /// By worker, the core that it is bound to.
    pub cores: Vec<Option<usize>>,
    /// The ports, in the order of the file.
    pub ports: Vec<Port>,
    idle: Idleness,
    rule_log: RuleLog,
}

/// How busy the workers were of late.
#[derive(Debug, Default)]
struct Idleness {
    /// By worker, nanoseconds busy and idle at the last look.
    seen: Vec<(u64, u64)>,
    /// By worker, the share of the time before that look that it was idle.
    percent: Vec<f64>,
}

impl Switch {
    /// A switch whose ports have no devices yet.
    pub fn new(
        engine: Engine,
        config: Config,
        config_file: PathBuf,
        indices: Indices,
        cores: Vec<Option<usize>>,
    ) -> Self {
        let port = |port: &switch_core::config::Port| {
            let index = indices.port(port.name.as_str())?;
            Some(Port::new(port.clone(), index))
        };
        Self {
            ports: config.ports.iter().filter_map(port).collect(),
            engine,
            config,
            config_file,
            indices,
            cores,
            idle: Idleness::default(),
            rule_log: RuleLog::default(),
        }
    }

    /// The port with this name.
    pub fn port(&self, name: &str) -> Option<&Port> {
        self.ports.iter().find(|port| port.name() == name)
    }

    /// The port at this position of the engine.
    pub fn port_at(&self, index: PortIndex) -> Option<&Port> {
        self.ports.iter().find(|port| port.index == index)
    }

    /// Forgets old addresses, logs what rules ask for, and measures how busy the workers are: once
    /// a second.
    pub fn every_second(&mut self) {
        self.engine.age();
        let file = self.config_file.display().to_string();
        self.rule_log.look(&self.engine, &self.config, &file);
        let counters = self.engine.counters().iter();
        let now: Vec<_> = counters
            .map(|worker| (worker.busy_ns.get(), worker.idle_ns.get()))
            .collect();
        let share = |(index, (busy, idle)): (usize, &(u64, u64))| {
            let (busy_then, idle_then) = self.idle.seen.get(index).copied().unwrap_or_default();
            let (busy, idle) = (busy.wrapping_sub(busy_then), idle.wrapping_sub(idle_then));
            // A worker that counted nothing has slept.
            if busy + idle == 0 {
                100.0
            } else {
                100.0 * idle as f64 / (busy + idle) as f64
            }
        };
        self.idle.percent = now.iter().enumerate().map(share).collect();
        self.idle.seen = now;
    }

    /// How much of the last second a worker had nothing to do, in percent.
    pub fn idle_percent(&self, worker: WorkerIndex) -> f64 {
        let percent = self
            .idle
            .percent
            .get(worker.get())
            .copied()
            .unwrap_or(100.0);
        (percent * 10.0).round() / 10.0
    }

    /// How long until some port is to be looked at although nothing has happened.
    pub fn next_retry(&self, now: Instant) -> Option<Duration> {
        let next = self.ports.iter().filter_map(Port::retry_at).min()?;
        Some(next.saturating_duration_since(now))
    }
}
