use proptest::prelude::*;

use super::*;
use crate::acl::key::Field;

fn rule(action: Action, hit: u32, cases: &[&[Test]]) -> Rule {
    Rule {
        action,
        hit,
        cases: cases.iter().map(|tests| tests.to_vec()).collect(),
    }
}

fn key(port: u64) -> Key {
    let mut key = Key::default();
    key.set(Field::DestinationPort, port);
    key
}

#[test]
fn the_first_that_decides_decides_and_those_that_count_count_before_it() {
    let port = |number| Test::is(Field::DestinationPort, number);
    let below = |number: u64| Test::between(Field::DestinationPort, 0, number - 1);
    let rules = [
        rule(Action::Count, 10, &[&[below(100)], &[below(50)]]),
        rule(Action::Allow, 11, &[&[port(22)], &[port(80)]]),
        rule(Action::Log, 12, &[&[]]),
        rule(Action::Deny, 13, &[&[below(50)]]),
        rule(Action::Count, 14, &[&[below(200)]]),
    ];
    let check = |number, allowed: bool, expected: &[u32]| {
        let list = List::new(&rules, Action::Allow, 99);
        for reference in [false, true] {
            let mut hits = Hits::new();
            let passes = match reference {
                false => list.allows(&Packed::of(&key(number)), &mut hits),
                true => list.allows_by_looking_at_each(&key(number), &mut hits),
            };
            assert_eq!((passes, &hits[..]), (allowed, expected), "{number}");
        }
    };
    check(22, true, &[10, 11]);
    check(80, true, &[10, 11]);
    check(23, false, &[10, 12, 13]);
    check(60, true, &[10, 12, 14, 99]);
    check(300, true, &[12, 99]);
}

#[test]
fn a_list_without_rules_is_its_default_and_looks_at_nothing() {
    for (default, allowed) in [(Action::Allow, true), (Action::Deny, false)] {
        let list = List::new(&[], default, 7);
        let mut hits = Hits::new();
        assert_eq!(list.allows(&Packed::of(&key(1)), &mut hits), allowed);
        assert_eq!(*hits, [7]);
        assert_eq!(*list.mask(), Packed::default());
    }
}

fn tests() -> impl Strategy<Value = Vec<Test>> {
    let fields = [Field::SourceLow, Field::DestinationPort, Field::SourceMac];
    let test = (
        prop::sample::select(fields.to_vec()),
        0..6_u64,
        0..6_u64,
        0..4_u8,
    )
        .prop_map(|(field, a, b, kind)| match kind {
            0 => Test::masked(field, 0b101, a),
            _ => Test::between(field, a.min(b), a.max(b)),
        });
    prop::collection::vec(test, 0..3)
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let action = prop_oneof![
        3 => Just(Action::Allow),
        3 => Just(Action::Deny),
        1 => Just(Action::Count),
    ];
    let rule = (action, prop::collection::vec(tests(), 1..4));
    prop::collection::vec(rule, 0..40).prop_map(|rules| {
        let mut counting = 0;
        let build = |(hit, (action, cases)): (usize, (Action, Vec<Vec<Test>>))| {
            counting += u32::from(action == Action::Count);
            let many = counting > MAX_COUNT_RULES as u32 && action == Action::Count;
            let action = if many { Action::Deny } else { action };
            Rule {
                action,
                hit: hit as u32,
                cases,
            }
        };
        rules.into_iter().enumerate().map(build).collect()
    })
}

proptest! {
    /// What a flow table does: bits that the mask leaves out must not matter.
    #[test]
    fn what_the_mask_leaves_out_does_not_matter(
        rules in rules(),
        words in prop::array::uniform7(any::<u64>()),
        small in prop::array::uniform3(0..8_u64),
    ) {
        let list = List::new(&rules, Action::Deny, 1000);
        let mut whole = Packed(words);
        for (field, value) in [Field::SourceLow, Field::DestinationPort, Field::SourceMac]
            .into_iter()
            .zip(small)
        {
            let mut bits = Packed::default();
            bits.add(field, u64::MAX);
            let inverse = Packed(bits.0.map(|word| !word));
            whole = whole.masked(&inverse);
            whole.add(field, value);
        }
        // No such fragment exists, and nothing asks.
        whole.0[6] &= !(3 << 54);
        let masked = whole.masked(list.mask());
        let outcome = |key: &Packed| {
            let mut hits = Hits::new();
            (list.allows(key, &mut hits), hits)
        };
        prop_assert_eq!(outcome(&whole), outcome(&masked));
        let mut hits = Hits::new();
        let allowed = list.allows_by_looking_at_each(&whole.unpack(), &mut hits);
        prop_assert_eq!((allowed, hits), outcome(&whole));
    }
}
