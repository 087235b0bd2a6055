//! The manual and the example: each configuration that they show is right, and the manual names
//! every key.

use crate::config::{
    parse,
    shape::{DSCP_CLASS, QUEUE, RULE, TABLES},
};

const MANUAL: &str = include_str!("../../../../docs/configuration.md");
const EXAMPLE: &str = include_str!("../../../../examples/shunt.toml");
const README: &str = include_str!("../../../../README.md");

/// The `toml` blocks of a document, each with the line at which it begins.
fn blocks(document: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in document.lines().enumerate() {
        match &mut open {
            None if line == "```toml" => open = Some((number + 2, String::new())),
            Some(_) if line == "```" => blocks.extend(open.take()),
            Some((_, text)) => *text += &format!("{line}\n"),
            None => {}
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

#[test]
fn every_example_loads() {
    for (name, document) in [("docs/configuration.md", MANUAL), ("README.md", README)] {
        let blocks = blocks(document);
        assert!(!blocks.is_empty(), "{name} has examples");
        for (line, text) in blocks {
            if let Err(report) = parse(name, &text) {
                panic!("{name}, the block from line {line}:\n{report}");
            }
        }
    }
    parse("examples/shunt.toml", EXAMPLE).unwrap_or_else(|report| panic!("{report}"));
}

#[test]
fn the_manual_names_every_key() {
    let nested = [
        ("rule", &RULE),
        ("queue", &QUEUE),
        ("from_dscp", &DSCP_CLASS),
    ];
    for (_, shape) in TABLES.into_iter().chain(nested) {
        let (_, section) = MANUAL
            .split_once(&format!("\n## `{}`", shape.header))
            .unwrap_or_else(|| panic!("the manual has a section {}", shape.header));
        let section = section.split("\n## ").next().unwrap_or_default();
        for key in shape.key_names() {
            assert!(
                section.contains(&format!("| `{key}` |")),
                "{} {key}",
                shape.header
            );
        }
    }
}
