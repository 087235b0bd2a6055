//! `cargo xtask tidy`: what the compiler does not check and a reader should not have to.
//!
//! Each rule is a function from a file to findings, and is tested on small inputs. The idea is
//! that of TigerBeetle's `tidy.zig`.

mod arrows;
mod code;
mod lex;
mod text;

use std::fmt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use lex::Lexed;

/// What to run, and how.
#[derive(Debug, Default, clap::Args)]
pub struct Options {
    /// Put right what can be: formatting, and the list of drop reasons in docs/drops.md.
    #[arg(long)]
    pub fix: bool,
    /// Check the texts only: neither cargo fmt nor cargo clippy.
    #[arg(long)]
    pub quick: bool,
    /// The profile that clippy checks with, to share what is already built.
    #[arg(long, default_value = "dev")]
    pub profile: String,
}

/// A Rust file with its tokens.
pub struct SourceFile {
    path: String,
    text: String,
    lexed: Lexed,
}

impl SourceFile {
    fn new(path: &str, text: &str) -> Self {
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            lexed: lex::lex(text),
        }
    }

    fn finding(&self, line: usize, rule: &'static str, message: impl Into<String>) -> Finding {
        Finding::new(&self.path, line, rule, message)
    }
}

/// A place where a rule is broken.
#[derive(Debug)]
pub struct Finding {
    path: String,
    line: usize,
    rule: &'static str,
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, rule: &'static str, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            rule,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            rule,
            message,
        } = self;
        write!(f, "{path}:{line}: {rule}: {message}")
    }
}

type RustRule = fn(&SourceFile, &mut Vec<Finding>);

const RUST_RULES: &[RustRule] = &[
    code::unsafe_in_islands,
    code::short_functions,
    code::short_lines,
    code::banned_names,
    arrows::arrows,
    arrows::absences,
];

/// Checks the tree at `root`.
///
/// # Errors
/// When a rule is broken, after all findings are printed, or when the tree cannot be read.
pub fn run(root: &Path, options: &Options) -> Result<()> {
    if options.fix {
        fix(root)?;
    }
    let found = findings(root)?;
    for finding in &found {
        println!("{finding}");
    }
    let mut broken = Vec::new();
    if !found.is_empty() {
        broken.push(format!("{} findings", found.len()));
    }
    if !options.quick {
        for step in cargo_steps(&options.profile) {
            println!("cargo {}", step.join(" "));
            let status = Command::new("cargo").args(&step).current_dir(root).status();
            if !status.context("cargo does not run")?.success() {
                broken.push(format!("cargo {} fails", step[0]));
            }
        }
    }
    if !broken.is_empty() {
        bail!("tidy: {}", broken.join(", "));
    }
    println!("tidy: nothing found");
    Ok(())
}

fn cargo_steps(profile: &str) -> [Vec<&str>; 2] {
    let clippy = "clippy --workspace --all-targets --exclude xdp-ebpf --profile";
    let mut clippy: Vec<&str> = clippy.split(' ').collect();
    clippy.extend([profile, "--", "-D", "warnings"]);
    [vec!["fmt", "--all", "--check"], clippy]
}

/// All findings of the rules on texts, in the order of the files.
fn findings(root: &Path) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap_or_default();
    for path in tracked(root)? {
        // What is not text is not ours to check; a file deleted but not yet committed neither.
        let Ok(text) = std::fs::read_to_string(root.join(&path)) else {
            continue;
        };
        text::places(&path, &text, &mut found);
        if path.ends_with(".md") {
            let exists = |path: &Path| root.join(path).exists();
            text::links(&path, &text, &exists, &mut found);
        }
        if path.ends_with(".rs") {
            let file = SourceFile::new(&path, &text);
            for rule in RUST_RULES {
                rule(&file, &mut found);
            }
        }
    }
    let mut undocumented = Vec::new();
    text::drops(
        &read(text::DROPS_SOURCE),
        &read(text::DROPS_DOCUMENT),
        &mut undocumented,
    );
    found.append(&mut undocumented);
    Ok(found)
}

/// The files that git tracks, and those that it would.
fn tracked(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("git does not run")?;
    if !output.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    }
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    let mut paths: Vec<String> = names
        .split_terminator('\0')
        .filter(|path| !path.ends_with(".snap"))
        .map(str::to_owned)
        .collect();
    paths.dedup();
    Ok(paths)
}

fn fix(root: &Path) -> Result<()> {
    let document = root.join(text::DROPS_DOCUMENT);
    let source = std::fs::read_to_string(root.join(text::DROPS_SOURCE))?;
    let old = std::fs::read_to_string(&document).context(text::DROPS_DOCUMENT)?;
    let new = text::with_table(&source, &old).context("docs/drops.md has no place for the list")?;
    if new != old {
        std::fs::write(&document, new)?;
    }
    let status = Command::new("cargo")
        .args(["fmt", "--all"])
        .current_dir(root)
        .status()?;
    if !status.success() {
        bail!("cargo fmt fails");
    }
    Ok(())
}

/// Runs one rule on one small file and compares the lines of its findings, each line once.
#[cfg(test)]
fn check(rule: RustRule, path: &str, text: &str, expected: &[usize]) {
    let mut found = Vec::new();
    rule(&SourceFile::new(path, text), &mut found);
    let mut lines: Vec<usize> = found.iter().map(|finding| finding.line).collect();
    lines.dedup();
    assert_eq!(lines, expected, "{text}\n{found:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_say_where() {
        let file = SourceFile::new("a/b.rs", "");
        let finding = file.finding(3, "name", "`x`: say y");
        assert_eq!(finding.to_string(), "a/b.rs:3: name: `x`: say y");
    }
}
