//! Quality of service as the datapath sees it.

use std::sync::Arc;

use super::Ruleset;
use crate::{
    limits::{NetworkIndex, PortIndex},
    qos::{
        classes::{Class, ClassRules},
        policer::Policer,
        queues::PortQueues,
        remark::MarkRules,
        storm::Storm,
    },
};

/// By index, the policer of a port or a network; none past the end.
pub type Policers = Box<[Option<Arc<Policer>>]>;

/// What a rule of a list does with a frame besides allowing or counting it.
#[derive(Clone, Debug, Default)]
pub struct RuleActs {
    /// Gives it this class.
    pub class: Option<Class>,
    /// Writes this into its tag.
    pub pcp: Option<u8>,
    /// Writes this into its packet.
    pub dscp: Option<u8>,
    /// Measures it.
    pub policer: Option<Arc<Policer>>,
}

/// Who may use how much.
#[derive(Clone, Debug, Default)]
pub struct Qos {
    /// Of what comes from a port.
    pub from_port: Policers,
    /// Of what goes to a port.
    pub to_port: Policers,
    /// Of what comes from the ports of a network.
    pub from_network: Policers,
    /// Of what goes to the ports of a network.
    pub to_network: Policers,
    /// By port, how much of what goes to all it may send; none past the end.
    pub storms: Box<[Option<Arc<Storm>>]>,
    /// By port, what is believed of the class of frames that come from it; none where nothing is,
    /// and past the end.
    pub classes: Box<[Option<ClassRules>]>,
    /// By port, what is written into frames that leave by it; none where nothing is.
    pub marks: Box<[Option<MarkRules>]>,
    /// By the counter of its hits, what a rule does besides; none past the end.
    pub by_rule: Box<[Option<RuleActs>]>,
    /// By port, its queues; none past the end.
    pub queues: Box<[Option<Arc<PortQueues>>]>,
}

impl Qos {
    /// The same with policers of its own: they begin with what is in the buckets now, and what they
    /// take and count is nobody else's.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let own_acts = |acts: &Option<RuleActs>| {
            let mut acts = acts.clone()?;
            acts.policer = acts.policer.map(|policer| Arc::new(policer.duplicate()));
            Some(acts)
        };
        let own = |policers: &Policers| -> Policers {
            let policers = policers.iter();
            policers
                .map(|policer| policer.as_ref().map(|it| Arc::new(it.duplicate())))
                .collect()
        };
        let storms = self.storms.iter();
        let storms = storms.map(|storm| storm.as_ref().map(|it| Arc::new(it.duplicate())));
        Self {
            from_port: own(&self.from_port),
            to_port: own(&self.to_port),
            from_network: own(&self.from_network),
            to_network: own(&self.to_network),
            storms: storms.collect(),
            classes: self.classes.clone(),
            marks: self.marks.clone(),
            queues: self.queues.clone(),
            by_rule: self.by_rule.iter().map(own_acts).collect(),
        }
    }

    /// Whether something that comes in is policed.
    #[must_use]
    pub fn has_ingress(&self) -> bool {
        !self.from_port.is_empty() || !self.from_network.is_empty()
    }

    /// Whether there is nothing of all this.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let policed = self.has_ingress() || !self.to_port.is_empty() || !self.to_network.is_empty();
        !policed
            && !self.has_acts()
            && self.classes.is_empty()
            && self.marks.is_empty()
            && self.queues.is_empty()
    }

    /// Whether some rule does something besides.
    #[must_use]
    #[inline]
    pub fn has_acts(&self) -> bool {
        !self.by_rule.is_empty()
    }

    /// What the rule with this counter does besides.
    #[must_use]
    #[inline]
    pub fn acts(&self, hit: u32) -> Option<&RuleActs> {
        self.by_rule.get(hit as usize)?.as_ref()
    }

    /// What is believed of the class of frames that come from a port.
    #[must_use]
    #[inline]
    pub fn classes(&self, port: PortIndex) -> Option<&ClassRules> {
        self.classes.get(port.get())?.as_ref()
    }

    /// What is written into frames that leave by a port.
    #[must_use]
    #[inline]
    pub fn marks(&self, port: PortIndex) -> Option<&MarkRules> {
        self.marks.get(port.get())?.as_ref()
    }

    /// The queues of a port.
    #[must_use]
    #[inline]
    pub fn queues(&self, port: PortIndex) -> Option<&Arc<PortQueues>> {
        self.queues.get(port.get())?.as_ref()
    }

    /// Storm control of a port.
    #[must_use]
    #[inline]
    pub fn storm(&self, port: PortIndex) -> Option<&Storm> {
        self.storms.get(port.get())?.as_deref()
    }

    /// The policers of what comes from a port and belongs to a network, in the order in which they
    /// are asked.
    #[inline]
    pub fn ingress(
        &self,
        port: PortIndex,
        network: NetworkIndex,
    ) -> impl Iterator<Item = &Policer> {
        let of_port = at(&self.from_port, port.get());
        of_port
            .into_iter()
            .chain(at(&self.from_network, network.get()))
    }

    /// The policer of all that comes from a port, where no network has one, too.
    #[inline]
    #[must_use]
    pub fn only_ingress(&self, port: PortIndex) -> Option<&Policer> {
        let of_port = at(&self.from_port, port.get());
        of_port.filter(|_| self.from_network.is_empty())
    }

    /// Whether a frame may have another colour when it leaves than it came with.
    #[must_use]
    pub fn recolours(&self) -> bool {
        let policers = self.from_port.iter().chain(&self.from_network);
        policers.flatten().any(|policer| policer.recolours())
    }

    /// The policers of what goes to a port and belongs to a network.
    #[inline]
    pub fn egress(&self, port: PortIndex, network: NetworkIndex) -> impl Iterator<Item = &Policer> {
        let of_network = at(&self.to_network, network.get());
        of_network.into_iter().chain(at(&self.to_port, port.get()))
    }
}

#[inline]
fn at(policers: &Policers, index: usize) -> Option<&Policer> {
    policers.get(index)?.as_deref()
}

impl Ruleset {
    /// Lets policers, storm control and queues of the same places and rules go on where those of
    /// `before` are: with what is in them, and what they have counted.
    pub fn keep_policers(&mut self, before: &Self) {
        let port = |rules: &Self, index: usize| {
            let port = rules.ports.get(index)?.as_ref();
            port.map(|port| Arc::clone(&port.name))
        };
        let network = |rules: &Self, index: usize| {
            let network = rules.networks.get(index)?.as_ref();
            network.map(|network| Arc::clone(&network.name))
        };
        let mut qos = std::mem::take(&mut self.qos);
        let same_port = |index| port(self, index) == port(before, index);
        let rules = |policer: &Policer| policer.rules().clone();
        keep(&mut qos.from_port, &before.qos.from_port, rules, same_port);
        keep(&mut qos.to_port, &before.qos.to_port, rules, same_port);
        let rates = |storm: &Storm| *storm.rates();
        keep(&mut qos.storms, &before.qos.storms, rates, same_port);
        let rules_of_queues = |queues: &PortQueues| queues.rules().clone();
        keep(
            &mut qos.queues,
            &before.qos.queues,
            rules_of_queues,
            same_port,
        );
        // A counter is not another rule's at once, so that the same one is the same rule's.
        for (new, before) in qos.by_rule.iter_mut().zip(&before.qos.by_rule) {
            if let (Some(new), Some(before)) = (new, before)
                && let (Some(new), Some(before)) = (&mut new.policer, &before.policer)
                && new.rules() == before.rules()
            {
                *new = Arc::clone(before);
            }
        }
        let same_network = |index| network(self, index) == network(before, index);
        keep(
            &mut qos.from_network,
            &before.qos.from_network,
            rules,
            same_network,
        );
        keep(
            &mut qos.to_network,
            &before.qos.to_network,
            rules,
            same_network,
        );
        self.qos = qos;
    }
}

fn keep<T, R: PartialEq>(
    new: &mut [Option<Arc<T>>],
    before: &[Option<Arc<T>>],
    rules: impl Fn(&T) -> R,
    same_owner: impl Fn(usize) -> bool,
) {
    for (index, (new, before)) in new.iter_mut().zip(before).enumerate() {
        if let (Some(new), Some(before)) = (new, before)
            && rules(new) == rules(before)
            && same_owner(index)
        {
            *new = Arc::clone(before);
        }
    }
}
