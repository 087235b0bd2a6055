//! Access control lists as the API shows them.

use switch_core::{
    config::{Acl, AttachedAcls, Config},
    counters::HitTotals,
};

use super::{problem::Problem, switch::Switch};
use crate::{api, trace::word};

/// All rules of all lists, in the order of the file, each list's default behind its rules.
pub fn rules(switch: &Switch) -> Vec<api::AclRule> {
    let positions = 0..switch.config.acls.len();
    positions
        .flat_map(|position| rules_of(switch, position))
        .collect()
}

/// All about one list.
///
/// # Errors
/// When there is none of this name.
pub fn describe(switch: &Switch, name: &str) -> Result<api::AclDetail, Problem> {
    let acls = &switch.config.acls;
    let position = acls.iter().position(|acl| acl.name.as_str() == name);
    let position = position.ok_or_else(|| {
        let error = format!("there is no access control list {name:?}");
        Problem::not_found(error, "`shunt get acl` shows all")
    })?;
    let acl = &acls[position];
    let policy = switch.engine.rules().policy.as_ref();
    let list = policy.and_then(|policy| policy.lists.get(position));
    let cost = list.map(|list| list.cost());
    Ok(api::AclDetail {
        name: acl.name.to_string(),
        default: word(acl.default).to_owned(),
        attached: attached(&switch.config, name),
        worst_comparisons: cost.map(|cost| cost.comparisons),
        worst_rules: cost.map(|cost| cost.cases),
        rules: rules_of(switch, position),
    })
}

fn rules_of(switch: &Switch, position: usize) -> Vec<api::AclRule> {
    let acl: &Acl = &switch.config.acls[position];
    let hits = switch.engine.rules().hits.get(position);
    let totals = |rule: usize| -> HitTotals {
        let hit = hits.and_then(|hits| hits.get(rule));
        hit.map(|hit| switch.engine.hits(*hit)).unwrap_or_default()
    };
    let rule = |(index, rule): (usize, &switch_core::config::Rule)| {
        let HitTotals { frames, bytes } = totals(index);
        api::AclRule {
            acl: acl.name.to_string(),
            rule: Some(index + 1),
            line: Some(rule.line),
            name: rule.name.as_ref().map(ToString::to_string),
            action: word(rule.action).to_owned(),
            text: rule.text.clone(),
            frames,
            bytes,
        }
    };
    let mut rules: Vec<_> = acl.rules.iter().enumerate().map(rule).collect();
    let HitTotals { frames, bytes } = totals(acl.rules.len());
    rules.push(api::AclRule {
        acl: acl.name.to_string(),
        rule: None,
        line: None,
        name: None,
        action: word(acl.default).to_owned(),
        text: format!("{} by default", word(acl.default)),
        frames,
        bytes,
    });
    rules
}

fn attached(config: &Config, name: &str) -> Vec<api::AclPlace> {
    let ports = config
        .ports
        .iter()
        .map(|port| ("port", &port.name, &port.acls));
    let networks = config.networks.iter();
    let networks = networks.map(|network| ("network", &network.name, &network.acls));
    let mut places = Vec::new();
    for (kind, owner, acls) in ports.chain(networks) {
        let AttachedAcls { from_port, to_port } = acls;
        for (direction, list) in [("from_port", from_port), ("to_port", to_port)] {
            if list.as_ref().is_some_and(|list| list.as_str() == name) {
                places.push(api::AclPlace {
                    scope: format!("{kind}/{owner}"),
                    direction: direction.to_owned(),
                });
            }
        }
    }
    places
}
