//! A file is read or refused, and what is read can be compiled; what is refused is explained.

use switch_core::config::{Indices, Report, compile, decode, parse};

pub fn run(input: &[u8]) {
    let text = match decode("fuzz.toml", input) {
        Ok(text) => text,
        Err(report) => return check(&report),
    };
    match parse("fuzz.toml", text) {
        Ok(config) => {
            let first = compile(&config, &Indices::new()).expect("there are indices");
            // The same file again changes nothing.
            let again = compile(&config, &first.indices).expect("there are indices");
            assert_eq!(first.indices, again.indices);
            assert!(again.retired_ports.is_empty() && again.retired_networks.is_empty());
        }
        Err(report) => check(&report),
    }
}

/// Errors are told in the order of the file, and what they quote does nothing to a terminal.
fn check(report: &Report) {
    assert!(!report.errors().is_empty());
    let positions: Vec<_> = report.errors().iter().map(|e| (e.line, e.column)).collect();
    assert!(positions.is_sorted(), "{positions:?}");
    let plain = report.render(false);
    let harmless = plain.chars().all(|c| c == '\n' || !c.is_control());
    assert!(harmless, "{plain:?}");
}
