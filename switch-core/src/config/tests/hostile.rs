//! Whatever the text is, it is read or refused, in bounded time; nothing panics.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::config::{Report, decode, parse};

const EXAMPLE: &str = include_str!("../../../../examples/shunt.toml");

/// Reads a text, and whatever is said about it.
fn read(text: &str) {
    if let Err(report) = parse("switch.toml", text) {
        check(&report);
    }
}

fn check(report: &Report) {
    assert!(!report.errors().is_empty());
    let positions: Vec<_> = report.errors().iter().map(|e| (e.line, e.column)).collect();
    assert!(positions.is_sorted(), "{positions:?}");
    let (plain, colored) = (report.render(false), report.render(true));
    assert!(
        plain.chars().all(|c| c == '\n' || !c.is_control()),
        "{plain:?}"
    );
    assert!(colored.len() > plain.len());
}

/// One change to a text.
#[derive(Clone, Debug)]
enum Change {
    Remove { at: usize, count: usize },
    Insert { at: usize, text: String },
    Repeat { at: usize, count: usize },
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<usize>();
    let token = prop::sample::select(vec![
        "[", "]", "[[", "]]", "{", "}", "\"", "'''", "=", ",", ".", "#", "\n", "0", "-", "4095",
        "true", "\"*\"", "vid", "trunk", "\\u", "\u{0}", "\u{1b}", "é", "語", "\r",
    ]);
    prop_oneof![
        (at, 1..40usize).prop_map(|(at, count)| Change::Remove { at, count }),
        (at, token).prop_map(|(at, text)| Change::Insert {
            at,
            text: text.to_owned()
        }),
        (at, ".{1,5}").prop_map(|(at, text)| Change::Insert { at, text }),
        (at, 1..80usize).prop_map(|(at, count)| Change::Repeat { at, count }),
    ]
}

impl Change {
    fn apply(&self, text: &mut String) {
        let (Self::Remove { at, .. } | Self::Insert { at, .. } | Self::Repeat { at, .. }) = *self;
        let at = text.floor_char_boundary(at % (text.len() + 1));
        match self {
            Self::Insert { text: new, .. } => text.insert_str(at, new),
            Self::Remove { count, .. } | Self::Repeat { count, .. } => {
                let end = text.ceil_char_boundary((at + count).min(text.len()));
                let part = text[at..end].to_owned();
                let again = if matches!(self, Self::Remove { .. }) {
                    ""
                } else {
                    &part.repeat(2)
                };
                text.replace_range(at..end, again);
            }
        }
    }
}

proptest! {
    #[test]
    fn mutations_never_panic(changes in prop::collection::vec(change(), 1..8)) {
        let mut text = EXAMPLE.to_owned();
        for change in &changes {
            change.apply(&mut text);
        }
        read(&text);
    }

    #[test]
    fn noise_never_panics(text in "(\\PC|[\\[\\]{}=\"'#\\.,\n\r\t*0-9a-c]){0,200}") {
        read(&text);
    }

    #[test]
    fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        match decode("switch.toml", &bytes) {
            Ok(text) => read(text),
            Err(report) => check(&report),
        }
    }
}

#[test]
fn extremes_take_little_time() {
    let deep = 100_000;
    let texts = [
        "[".repeat(deep),
        format!("a = {}", "[".repeat(deep)),
        format!("a = {}", "{a=".repeat(deep)),
        format!("{} = 1", vec!["a"; deep].join(".")),
        format!("[{}]", vec!["a"; deep].join(".")),
        "= \n".repeat(deep),
        "[[port]]\n".repeat(deep),
        "[[network]]\nname = \"web\"\n".repeat(deep),
        "x".repeat(4 << 20),
        "\n".repeat(4 << 20),
        format!("[[port]]\ntrunk = [{}]", "\"*\",".repeat(deep)),
        (0..deep)
            .map(|n| format!("[[port]]\nname = \"p{n}\"\nnetwork = \"n{n}\"\n"))
            .collect(),
    ];
    for text in texts {
        let start = Instant::now();
        read(&text);
        let took = start.elapsed();
        let begin: String = text.chars().take(40).collect();
        assert!(took < Duration::from_secs(20), "{begin:?}: {took:?}");
    }
}
