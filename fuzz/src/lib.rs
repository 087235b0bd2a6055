//! Fuzz targets: what comes from guests and from files, and what has to hold whatever it is.
//!
//! `cargo xtask fuzz TARGET` looks for inputs that break a target; `corpus/TARGET` keeps those that
//! reach something that no other one reaches, and the ordinary tests replay them.

mod config;
mod parser;
mod trace;

// The binary's own code, which is no library.
mod api;
#[path = "../../switch-cli/src/frame/mod.rs"]
#[allow(dead_code, reason = "the client uses all of it")]
mod frame;

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A frame, through parsers, guards and a whole switch with policy.
    Parser,
    /// A configuration file, with its lists of rules.
    Config,
    /// What `shunt trace` is given: fields, hexadecimal digits, a capture.
    Trace,
}

impl Target {
    /// All targets.
    pub const ALL: [Self; 3] = [Self::Parser, Self::Config, Self::Trace];

    /// The word for it, and the folder of its corpus.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Parser => "parser",
            Self::Config => "config",
            Self::Trace => "trace",
        }
    }

    /// The target of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }

    /// Gives it an input.
    ///
    /// # Panics
    /// When the input shows a mistake.
    pub fn run(self, input: &[u8]) {
        match self {
            Self::Parser => parser::run(input),
            Self::Config => config::run(input),
            Self::Trace => trace::run(input),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    #[test]
    fn the_corpus_shows_nothing() {
        for target in Target::ALL {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
            let inputs = fs::read_dir(folder.join(target.name())).expect("a corpus");
            let mut count = 0;
            for input in inputs {
                let path = input.expect("an input").path();
                println!("{}", path.display());
                target.run(&fs::read(path).expect("an input"));
                count += 1;
            }
            assert!(count > 20, "{}: {count} inputs", target.name());
        }
    }
}
