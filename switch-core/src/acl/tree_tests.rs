use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::acl::{
    case::{Set, Test, first_match},
    classifier::Classifier,
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

/// Half of them as ordinary packets have them, which have trees of their own.
fn key() -> impl Strategy<Value = Key> {
    (Field::ALL.map(value), any::<bool>()).prop_map(|(values, is_ordinary)| {
        let mut key = Key::default();
        for (field, value) in Field::ALL.into_iter().zip(values) {
            key.set(field, value);
        }
        for (field, value) in Packed::ORDINARY.into_iter().filter(|_| is_ordinary) {
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

/// Cases that are narrow in the same field, near its ends and in between, and wide in others: a cut
/// into many parts pays.
fn side_by_side() -> impl Strategy<Value = (Vec<Case>, Vec<Key>)> {
    let fields = [
        Field::Pcp,
        Field::TcpFlags,
        Field::DestinationPort,
        Field::Ethertype,
        Field::SourceMac,
        Field::DestinationLow,
    ];
    let start = |field: Field| {
        let max = field.largest();
        prop::sample::select(vec![0, 1, max / 3, max - max.min(70)])
    };
    let field = prop::sample::select(fields.to_vec());
    let place = field.prop_flat_map(move |field| (Just(field), start(field)));
    let numbers = prop::collection::vec((0..70_u64, 0..4_u64, 0..8_u8, 0..4_u8), 3..60);
    let steps = prop::sample::select(vec![1_u64, 7, 256]);
    (place, numbers, steps, key()).prop_map(|((field, start), numbers, step, key)| {
        let at = |number: u64| start.saturating_add(number * step).min(field.largest());
        let with = |value: u64| {
            let mut key = key;
            key.set(field, value);
            key
        };
        let case = |(rule, (number, more, wide, other)): (usize, (u64, u64, u8, u8))| {
            let narrow = Test::between(field, at(number), at(number + more));
            let other = Test::is(Field::Protocol, u64::from(other));
            let tests = match wide {
                0 => vec![other],
                1..4 => vec![other, narrow],
                _ => vec![narrow],
            };
            Case {
                rule: rule as u32,
                tests: tests.into(),
            }
        };
        let cases = numbers.into_iter().enumerate().map(case).collect();
        let edges = (0..72).flat_map(|number| [at(number), at(number).saturating_sub(1)]);
        let ends = [0, field.largest()];
        (cases, edges.chain(ends).map(with).collect())
    })
}

proptest! {
    #[test]
    fn it_finds_what_looking_at_each_case_finds_among_many_that_are_narrow(
        (cases, keys) in side_by_side(),
    ) {
        let classifier = Classifier::new(cases.clone());
        for mut key in keys {
            for protocol in 0..4 {
                key.set(Field::Protocol, protocol);
                let found = classifier.first_match(&Packed::of(&key));
                prop_assert_eq!(found, first_match(&cases, &key), "{:?}", key);
            }
        }
    }
}

/// A thousand networks, each with its port, and one for all: one cut finds the few that are near,
/// the next one the port.
#[test]
fn many_narrow_cases_are_two_or_three_cuts_away() {
    let case = |rule: u32| Case {
        rule,
        tests: match rule {
            0 => [Test::is(Field::SourcePort, 7)].into(),
            _ => {
                let low = 0x0a02_0000 + u64::from(rule) * 256;
                let destination = Test::between(Field::DestinationLow, low, low + 255);
                let port = Test::is(Field::DestinationPort, 1000 + u64::from(rule));
                [destination, port].into()
            }
        },
    };
    let cost = Classifier::new((0..1000).map(case).collect()).cost();
    assert!(cost.comparisons <= 3 && cost.cases <= 3, "{cost:?}");
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
