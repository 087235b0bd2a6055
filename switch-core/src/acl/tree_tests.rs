use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::acl::{
    case::{Set, Test, first_match},
    key::Key,
};

/// Few values of each field, so that cases overlap and frames hit their edges.
fn value(field: Field) -> impl Strategy<Value = u64> {
    let max = field.largest();
    prop_oneof![
        (0..8_u64).prop_map(move |number| number.min(max)),
        (0..8_u64).prop_map(move |number| max - number.min(max)),
        0..=max,
    ]
}

fn field() -> impl Strategy<Value = Field> {
    prop::sample::select(Field::ALL.to_vec())
}

fn test() -> impl Strategy<Value = Test> {
    let range = field().prop_flat_map(|field| {
        (value(field), value(field))
            .prop_map(move |(a, b)| Test::between(field, a.min(b), a.max(b)))
    });
    let exact = field().prop_flat_map(|field| value(field).prop_map(move |a| Test::is(field, a)));
    let masked = field().prop_flat_map(|field| {
        (any::<u64>(), value(field)).prop_map(move |(mask, a)| Test::masked(field, mask, a))
    });
    let ports = prop::collection::vec((0..8_u128, 0..8_u128), 0..4).prop_map(|ranges| {
        let set = Arc::new(Set::new(ranges));
        Test::InSet {
            high: None,
            low: Field::DestinationPort,
            set,
        }
    });
    let addresses = prop::collection::vec((any::<u128>(), 0..4_u128), 0..4).prop_map(|starts| {
        let range = |(start, more): (u128, u128)| (start, start.saturating_add(more));
        let set = Arc::new(Set::new(starts.into_iter().map(range).collect()));
        Test::InSet {
            high: Some(Field::SourceHigh),
            low: Field::SourceLow,
            set,
        }
    });
    prop_oneof![4 => range, 4 => exact, 1 => masked, 1 => ports, 1 => addresses]
}

fn cases() -> impl Strategy<Value = Vec<Case>> {
    let tests = prop::collection::vec(test(), 0..4);
    prop::collection::vec((0..200_u32, tests), 0..120).prop_map(|cases| {
        let case = |(rule, tests): (u32, Vec<Test>)| Case {
            rule,
            tests: tests.into(),
        };
        cases.into_iter().map(case).collect()
    })
}

fn key() -> impl Strategy<Value = Key> {
    Field::ALL.map(value).prop_map(|values| {
        let mut key = Key::default();
        for (field, value) in Field::ALL.into_iter().zip(values) {
            key.set(field, value);
        }
        key
    })
}

/// A frame on which as many tests of a case as possible hold.
fn aimed_at(case: &Case, mut key: Key) -> Key {
    for test in &case.tests {
        match test {
            Test::Range { field, low, .. } => key.set(*field, *low),
            Test::InSet { high, low, set } => {
                let (first, _) = set.bounds().unwrap_or_default();
                key.set(*low, first as u64);
                if let Some(high) = high {
                    key.set(*high, (first >> 64) as u64);
                }
            }
        }
    }
    key
}

proptest! {
    #[test]
    fn it_finds_what_looking_at_each_case_finds(
        cases in cases(),
        keys in prop::collection::vec(key(), 1..40),
    ) {
        let classifier = Classifier::new(cases.clone());
        let aimed = cases.iter().zip(keys.iter().cycle()).map(|(case, key)| aimed_at(case, *key));
        for key in aimed.chain(keys.iter().copied()) {
            let found = classifier.first_match(&Packed::of(&key));
            prop_assert_eq!(found, first_match(&cases, &key), "{:?}", key);
        }
    }
}

/// Rules as people write them: from a network, to a server or a network, on a port.
fn policy(count: u32) -> Vec<Case> {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = move |limit: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % limit
    };
    let mut rules: Vec<Case> = (0..count - 1)
        .map(|rule| {
            let mut tests = vec![Test::is(Field::Ethertype, 0x0800)];
            for field in [Field::SourceLow, Field::DestinationLow] {
                let narrow = [0, 0, 4, 8, 8];
                let any = field == Field::SourceLow && below(4) == 0;
                let bits = if any { 32 } else { narrow[below(5) as usize] };
                if bits < 32 {
                    let low = (0x0a00_0000 | below(1 << 24)) >> bits << bits;
                    tests.push(Test::between(field, low, low + (1 << bits) - 1));
                }
            }
            if below(4) > 0 {
                tests.push(Test::is(Field::Protocol, 6));
                tests.push(Test::is(Field::DestinationPort, below(1024)));
            }
            let tests = tests.into();
            Case { rule, tests }
        })
        .collect();
    rules.push(Case {
        rule: count - 1,
        tests: [].into(),
    });
    rules
}

#[test]
fn ten_thousand_rules_cost_little_more_than_ten() {
    let cost = |count| Classifier::new(policy(count)).cost().weight();
    let (few, many) = (cost(10), cost(10_000));
    assert!(many <= 3 * few, "{many} against {few}");
}
