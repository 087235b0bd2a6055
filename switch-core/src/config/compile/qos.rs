//! From policers and schedulers by name to policers and queues at work, each place with its own.

use std::sync::Arc;

use super::Builder;
use crate::{
    config::{
        snapshot::qos::{Policers, Qos, RuleActs},
        valid::{Acts, Name, Policed, Port},
    },
    qos::{
        policer::{Policer, PolicerRules},
        queues::PortQueues,
        scheduler::SchedulerRules,
        storm::Storm,
    },
};

impl Builder<'_> {
    pub(super) fn qos(&self, hits: &[Box<[u32]>]) -> Qos {
        let config = self.config;
        let ports = || {
            config
                .ports
                .iter()
                .map(|port| (self.port(&port.name).get(), &port.policed))
        };
        let networks = || {
            let networks = config.networks.iter();
            networks.map(|network| (self.network(&network.name).get(), &network.policed))
        };
        let from = |policed: &Policed| policed.from_port.clone();
        let to = |policed: &Policed| policed.to_port.clone();
        Qos {
            classes: self.by_port(|port| {
                let rules = &port.classes;
                rules.say_something().then(|| rules.clone())
            }),
            marks: self.by_port(|port| {
                let rules = &port.marks;
                rules.write_something().then(|| rules.clone())
            }),
            by_rule: self.by_rule(hits),
            queues: self.by_port(|port| self.queues(port)),
            from_port: self.policers(ports().map(|(index, policed)| (index, from(policed)))),
            to_port: self.policers(ports().map(|(index, policed)| (index, to(policed)))),
            from_network: self.policers(networks().map(|(index, policed)| (index, from(policed)))),
            to_network: self.policers(networks().map(|(index, policed)| (index, to(policed)))),
            storms: self.by_port(|port| Storm::new(port.security.storm).map(Arc::new)),
        }
    }

    /// What `of` says of ports, by port, as long as the last that it says something of.
    fn by_port<T: Clone>(&self, of: impl Fn(&Port) -> Option<T>) -> Box<[Option<T>]> {
        let mut all = Vec::new();
        for port in &self.config.ports {
            if let Some(one) = of(port) {
                let index = self.port(&port.name).get();
                all.resize(all.len().max(index + 1), None);
                all[index] = Some(one);
            }
        }
        all.into()
    }

    /// What rules do besides, by the counters of their hits.
    fn by_rule(&self, hits: &[Box<[u32]>]) -> Box<[Option<RuleActs>]> {
        let mut all = Vec::new();
        let lists = self.config.acls.iter().zip(hits);
        let rules = lists.flat_map(|(acl, hits)| acl.rules.iter().zip(hits));
        for (rule, hit) in rules.filter(|(rule, _)| rule.acts != Acts::default()) {
            let index = *hit as usize;
            all.resize_with(all.len().max(index + 1), || None);
            let police = rule.acts.police.as_ref();
            all[index] = Some(RuleActs {
                class: rule.acts.class,
                pcp: rule.acts.mark_pcp,
                dscp: rule.acts.mark_dscp,
                policer: police.and_then(|name| self.policer(name)).map(Arc::new),
            });
        }
        all.into()
    }

    /// The queues of a port.
    fn queues(&self, port: &Port) -> Option<Arc<PortQueues>> {
        let named = port.scheduler.as_ref()?;
        let mut schedulers = self.config.schedulers.iter();
        let scheduler = schedulers.find(|scheduler| scheduler.name == *named)?;
        Some(Arc::new(PortQueues::new(SchedulerRules {
            name: scheduler.name.clone().into(),
            shaper: scheduler.shaper,
            queues: scheduler.queues.as_slice().into(),
        })))
    }

    /// A policer for each place that names one, as long as the last of them.
    fn policers(&self, places: impl Iterator<Item = (usize, Option<Name>)>) -> Policers {
        let mut policers = Vec::new();
        for (index, name) in places {
            let Some(policer) = name.and_then(|name| self.policer(&name)) else {
                continue;
            };
            if policers.len() <= index {
                policers.resize_with(index + 1, || None);
            }
            policers[index] = Some(Arc::new(policer));
        }
        policers.into()
    }

    fn policer(&self, name: &Name) -> Option<Policer> {
        let mut policers = self.config.policers.iter();
        let policer = policers.find(|policer| policer.name == *name)?;
        Some(Policer::new(PolicerRules {
            name: policer.name.clone().into(),
            rates: policer.rates,
            colour_aware: policer.colour_aware,
            yellow: policer.yellow,
            red: policer.red,
        }))
    }
}
