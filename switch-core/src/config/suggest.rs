//! "did you mean": the known word that is closest to what was written.

/// Words longer than this have no near misses; comparing them would cost their lengths multiplied.
const LONGEST: usize = 64;

/// The candidate that a slip of the hand could have turned into `word`, if there is one.
pub(super) fn closest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = normal(word);
    // One slip for each three letters: more, and the guess would mislead.
    let allowed = (word.len() / 3).max(1);
    candidates
        .into_iter()
        .filter_map(|candidate| Some((distance(&word, &normal(candidate))?, candidate)))
        .filter(|(distance, _)| *distance <= allowed && *distance < word.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn normal(word: &str) -> Vec<char> {
    word.chars()
        .map(|c| {
            if c == '-' {
                '_'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// Letters to insert, delete, replace or swap with a neighbour to make one word the other (the
/// optimal string alignment distance); none for words that are too long to compare.
fn distance(one: &[char], other: &[char]) -> Option<usize> {
    if one.len() > LONGEST || other.len() > LONGEST {
        return None;
    }
    let mut rows = [[0; LONGEST + 1]; 3];
    for (column, cell) in rows[0].iter_mut().enumerate() {
        *cell = column;
    }
    for row in 1..=one.len() {
        let [before, above, here] = [row + 1, row + 2, row].map(|r| r % 3);
        rows[here][0] = row;
        for column in 1..=other.len() {
            let differ = usize::from(one[row - 1] != other[column - 1]);
            let mut least = (rows[above][column] + 1).min(rows[here][column - 1] + 1);
            least = least.min(rows[above][column - 1] + differ);
            let swapped = row > 1
                && column > 1
                && one[row - 1] == other[column - 2]
                && one[row - 2] == other[column - 1];
            if swapped {
                least = least.min(rows[before][column - 2] + 1);
            }
            rows[here][column] = least;
        }
    }
    Some(rows[one.len() % 3][other.len()])
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn finds_slips_and_nothing_far_off() {
        let check = |word: &str, expected: Option<&str>| {
            let words = [
                "name",
                "vlan",
                "native",
                "native_tagged",
                "forward_reserved",
                "tpid",
            ];
            assert_eq!(closest(word, words), expected, "{word}");
        };
        check("vlann", Some("vlan"));
        check("valn", Some("vlan"));
        check("VLAN", Some("vlan"));
        check("native-tagged", Some("native_tagged"));
        check("forward_resrved", Some("forward_reserved"));
        check("ntaive", Some("native"));
        check("colour", None);
        check("", None);
        check(&"n".repeat(10_000), None);
    }
}
