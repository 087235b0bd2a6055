//! How many frames each rule of the access control lists has met, and how long they were as they
//! came in, wherever the list stands. As the manual has it, without the engine's flows.

use super::{
    acl::{self, Acl},
    rules::Rules,
    wrong::Wrong::{self, *},
};

/// Frames and bytes.
pub type Counted = (u64, u64);

/// What was counted, by list, for its rules and last for its default, each with what tells it from
/// the others.
#[derive(Clone, Debug, Default)]
pub struct Hits(Vec<Vec<(String, Counted)>>);

impl Hits {
    /// Goes on with the rules that stay, and begins the rest anew.
    pub fn adopt(&mut self, rules: &Rules, wrong: Option<Wrong>) {
        let before = std::mem::take(self);
        for (list, acl) in rules.acls.iter().enumerate() {
            let default = "default".to_owned();
            let identities = acl.identities().into_iter().chain([default]);
            let old = before.0.get(list);
            let enter = |(position, identity): (usize, String)| {
                let mut old = old.into_iter().flatten().enumerate();
                let same = old.find(|(at, (other, _))| match wrong {
                    Some(HitsKeepPositions) => *at == position,
                    _ => *other == identity,
                });
                let stays = same.filter(|_| wrong != Some(ReloadForgetsHits));
                (identity, stays.map_or((0, 0), |(_, (_, counted))| *counted))
            };
            self.0.push(identities.enumerate().map(enter).collect());
        }
    }

    /// A frame comes to these lists.
    pub fn count(&mut self, acls: &[Acl], lists: &[usize], bytes: &[u8], wrong: Option<Wrong>) {
        let is_tagged = matches!(bytes.get(12..14), Some([0x81, 0x00] | [0x88, 0xa8]));
        let size = match wrong {
            Some(TagsUncounted) if is_tagged => bytes.len() - 4,
            _ => bytes.len(),
        };
        let met = match wrong {
            Some(ListBehindDenialCounts) => lists
                .iter()
                .flat_map(|list| acl::met(acls, &[*list], bytes, wrong))
                .collect(),
            _ => acl::met(acls, lists, bytes, wrong),
        };
        for (list, position) in met {
            let uncounted = match wrong {
                Some(DenialsUncounted) => acls[list].denies(position),
                Some(DefaultsUncounted) => position == acls[list].rules.len(),
                Some(DecisionsOnlyCounted) => acls[list].goes_on(position),
                _ => false,
            };
            let (_, (frames, sum)) = &mut self.0[list][position];
            *frames += u64::from(!uncounted);
            *sum += if uncounted { 0 } else { size as u64 };
        }
    }

    /// What was counted, by list and position.
    pub fn counted(&mut self) -> impl Iterator<Item = ((usize, usize), &mut Counted)> {
        let lists = self.0.iter_mut().enumerate();
        lists.flat_map(|(list, rules)| {
            let rules = rules.iter_mut().enumerate();
            rules.map(move |(position, (_, counted))| ((list, position), counted))
        })
    }
}
