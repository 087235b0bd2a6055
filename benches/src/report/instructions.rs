//! The instructions that a frame takes, from the ledger that is kept beside the benches.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The ledger of the tree that this program was built from.
const LEDGER: &str = include_str!("../../instructions.toml");

/// One number of the ledger; what else it says about it is for those who change it.
#[derive(Deserialize)]
struct Case {
    instructions_per_frame: f64,
}

/// The ledger's numbers, by `bench.case`.
pub fn kept() -> BTreeMap<String, f64> {
    read(LEDGER)
}

/// What is no case of a bench is not looked at: the ledger's form is its writer's.
fn read(ledger: &str) -> BTreeMap<String, f64> {
    let benches: toml::Table = toml::from_str(ledger).unwrap_or_default();
    let cases = benches
        .into_iter()
        .filter_map(|(bench, cases)| match cases {
            toml::Value::Table(cases) => Some((bench, cases)),
            _ => None,
        });
    let numbers = cases.flat_map(|(bench, cases)| {
        cases.into_iter().filter_map(move |(name, case)| {
            let case: Case = case.try_into().ok()?;
            Some((format!("{bench}.{name}"), case.instructions_per_frame))
        })
    });
    numbers.collect()
}

/// The number that the target is about: the worst of forwarding known stations of 64 flows,
/// whatever has to be done to the tag, with the case that it is from.
pub fn worst(instructions: &BTreeMap<String, f64>) -> Option<(&str, f64)> {
    const CASES: [&str; 4] = ["untagged_64", "push_64", "pop_64", "retag_64"];
    let forward = instructions.iter().filter_map(|(name, number)| {
        let case = name.strip_prefix("forward.")?;
        CASES.contains(&case).then_some((case, *number))
    });
    forward.max_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_case_counts() {
        let ledger = "
            arch = 'any'
            [forward.untagged_64]
            instructions_per_frame = 70.5
            history = []
            [forward.push_64]
            instructions_per_frame = 80
            [forward.flood_64]
            instructions_per_frame = 500
            [parse.tagged]
            instructions_per_frame = 30.0
        ";
        let cases = read(ledger);
        assert_eq!(cases.len(), 4);
        assert_eq!(worst(&cases), Some(("push_64", 80.0)));
        assert_eq!(worst(&BTreeMap::new()), None);
    }

    #[test]
    fn the_ledger_of_this_tree_can_be_read() {
        assert!(worst(&kept()).is_some());
    }
}
