//! From policers by name to policers at work, each place with one of its own.

use std::sync::Arc;

use super::Builder;
use crate::{
    config::{
        snapshot::qos::{Policers, Qos},
        valid::{Name, Policed},
    },
    qos::{
        policer::{Policer, PolicerRules},
        storm::Storm,
    },
};

impl Builder<'_> {
    pub(super) fn qos(&self) -> Qos {
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
            from_port: self.policers(ports().map(|(index, policed)| (index, from(policed)))),
            to_port: self.policers(ports().map(|(index, policed)| (index, to(policed)))),
            from_network: self.policers(networks().map(|(index, policed)| (index, from(policed)))),
            to_network: self.policers(networks().map(|(index, policed)| (index, to(policed)))),
            storms: self.storms(),
        }
    }

    /// Storm control of each port that has some, as long as the last of them.
    fn storms(&self) -> Box<[Option<Arc<Storm>>]> {
        let mut storms = Vec::new();
        for port in &self.config.ports {
            let index = self.port(&port.name).get();
            if let Some(storm) = Storm::new(port.security.storm) {
                storms.resize(storms.len().max(index + 1), None);
                storms[index] = Some(Arc::new(storm));
            }
        }
        storms.into()
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
