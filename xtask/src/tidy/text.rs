//! Rules on every tracked text file: no machine's own places, no broken link, documented drops.

use std::path::{Component, Path, PathBuf};

use super::Finding;

/// Parts of addresses of package registries and mirrors. Split so that this file passes itself.
const REGISTRIES: &[&str] = &[
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("crates.io", "/api"),
    concat!("proxy.", "golang.org"),
    concat!("pypi.", "org"),
    concat!("files.", "pythonhosted"),
    concat!("registry.", "npmjs"),
    concat!("deb.", "debian.org"),
    concat!("archive.", "ubuntu.com"),
    concat!("arti", "factory"),
];

/// Beginnings of paths that exist on somebody's machine only.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/Us", "ers/"),
    concat!("/wo", "rk/"),
];

/// The one registry that a lock file may name.
const LOCKED: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// Nothing tracked depends on one machine or on one mirror.
pub fn places(path: &str, text: &str, found: &mut Vec<Finding>) {
    for (index, line) in text.lines().enumerate() {
        let mut report = |what: &str| {
            let message = format!("{what}: it exists on one machine or in one network only");
            found.push(Finding::new(path, index + 1, "place", message));
        };
        if path == "Cargo.lock" && line.starts_with("source = ") && line != LOCKED {
            report("a source other than the public registry");
        }
        if let Some(host) = REGISTRIES.iter().find(|host| line.contains(**host)) {
            report(&format!("`{host}`"));
        }
        for start in MACHINE_PATHS {
            let absolute = line.match_indices(start).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                before.is_none_or(|c| !c.is_alphanumeric() && !"_-./}*~$".contains(c))
            });
            if absolute {
                report(&format!("a path in `{start}`"));
            }
        }
    }
}

/// Relative links in Markdown lead somewhere. `exists` answers for a path from the root.
pub fn links(path: &str, text: &str, exists: &dyn Fn(&Path) -> bool, found: &mut Vec<Finding>) {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for target in link_targets(&without_code(line)) {
            let file = target.split('#').next().unwrap_or("");
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !file.is_empty() && !outside && !exists(&normal(&folder.join(file))) {
                let message = format!("`{target}` does not exist");
                found.push(Finding::new(path, index + 1, "link", message));
            }
        }
    }
}

/// The targets of `[text](target)` and `[name]: target` in one line.
fn link_targets(line: &str) -> Vec<String> {
    let mut targets: Vec<String> = line
        .match_indices("](")
        .filter_map(|(at, _)| line[at + 2..].split([')', ' ']).next())
        .map(str::to_owned)
        .collect();
    if let Some((_, target)) = line.strip_prefix('[').and_then(|l| l.split_once("]: ")) {
        targets.push(target.trim().to_owned());
    }
    targets
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// The path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => {
                normal.pop();
            }
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// Where the drop reasons are defined.
pub const DROPS_SOURCE: &str = "switch-core/src/counters.rs";
/// Where they are documented.
pub const DROPS_DOCUMENT: &str = "docs/drops.md";

const TABLE_BEGIN: &str = "<!-- made by `cargo xtask tidy --fix` from the list of reasons -->";
const TABLE_END: &str = "<!-- end of the list -->";

/// The table of drop reasons in the document is the one that the code's list gives.
pub fn drops(source: &str, document: &str, found: &mut Vec<Finding>) {
    let reasons = drop_reasons(source);
    if reasons.is_empty() {
        let message = "no drop reason found: has the list another form?";
        found.push(Finding::new(DROPS_SOURCE, 1, "drops", message));
    }
    for (name, _) in &reasons {
        if !document.contains(&format!("`{name}`")) {
            let message = format!("`{name}` is missing: run `cargo xtask tidy --fix`");
            found.push(Finding::new(DROPS_DOCUMENT, 1, "drops", message));
        }
    }
    if found.is_empty() && with_table(source, document).as_deref() != Some(document) {
        let message = "the list is not the code's: run `cargo xtask tidy --fix`";
        found.push(Finding::new(DROPS_DOCUMENT, 1, "drops", message));
    }
}

/// The document with its table made anew; `None` when it has no place for it.
pub fn with_table(source: &str, document: &str) -> Option<String> {
    let (before, rest) = document.split_once(TABLE_BEGIN)?;
    let (_, after) = rest.split_once(TABLE_END)?;
    let rows: String = drop_reasons(source)
        .iter()
        .map(|(name, text)| format!("| `{name}` | {} |\n", text.replace('|', "\\|")))
        .collect();
    Some(format!(
        "{before}{TABLE_BEGIN}\n\n| reason | what happened |\n|---|---|\n{rows}\n{TABLE_END}{after}"
    ))
}

/// Name and text of each reason in the list `drop_reasons! { /// text  Variant = "name", }`.
fn drop_reasons(source: &str) -> Vec<(String, String)> {
    let list = source
        .split_once("\ndrop_reasons! {")
        .and_then(|(_, rest)| rest.split_once("\n}"))
        .map_or("", |(list, _)| list);
    let mut reasons = Vec::new();
    let mut text = String::new();
    for line in list.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///") {
            text.push_str(doc);
        } else if let Some((_, name)) = line.split_once(" = \"") {
            let name = name.trim_end_matches(['"', ',']);
            reasons.push((name.to_owned(), text.trim().to_owned()));
            text.clear();
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(found: &[Finding]) -> Vec<usize> {
        found.iter().map(|finding| finding.line).collect()
    }

    fn check_places(path: &str, text: &str, expected: &[usize]) {
        let mut found = Vec::new();
        places(path, text, &mut found);
        assert_eq!(lines(&found), expected, "{text}");
    }

    #[test]
    fn places_of_one_machine_are_found() {
        let home = concat!("see /ho", "me/me/file");
        check_places("README.md", &format!("a\n{home}"), &[2]);
        check_places("README.md", concat!("net/wo", "rk/x and ~/ro", "ot/x"), &[]);
        check_places(
            "ci.yml",
            concat!("url = https://index.", "crates.io/"),
            &[1],
        );
        check_places("Cargo.lock", LOCKED, &[]);
        check_places(
            "Cargo.lock",
            "source = \"registry+https://example.org\"",
            &[1],
        );
    }

    fn check_links(text: &str, expected: &[usize]) {
        let mut found = Vec::new();
        let exists = |path: &Path| path == Path::new("README.md") || path == Path::new("docs/a.md");
        links("docs/b.md", text, &exists, &mut found);
        assert_eq!(lines(&found), expected, "{text}");
    }

    #[test]
    fn links_lead_somewhere() {
        check_links("[a](a.md) [r](../README.md#top) [x](https://x.org/y)", &[]);
        check_links("text\n[a](c.md), [b](a.md)", &[2]);
        check_links("[a]: ../docs/a.md\n[b]: b/a.md", &[2]);
        check_links("`[a](c.md)`\n```\n[a](c.md)\n```\n[top](#top)", &[]);
    }

    const LIST: &str = "x\ndrop_reasons! {\n    /// Too short\n    /// by far.\n    \
                        A = \"a\",\n    /// Other.\n    B = \"b\",\n}\n";

    #[test]
    fn drops_are_documented() {
        let empty = format!("# Drops\n{TABLE_BEGIN}{TABLE_END}\nmore\n");
        let mut found = Vec::new();
        drops(LIST, &empty, &mut found);
        assert_eq!(found.len(), 2);

        let full = with_table(LIST, &empty).unwrap();
        assert!(full.contains("| `a` | Too short by far. |\n| `b` | Other. |\n"));
        found.clear();
        drops(LIST, &full, &mut found);
        assert!(found.is_empty());

        drops(&LIST.replace("Other", "Another"), &full, &mut found);
        assert_eq!(found.len(), 1, "a changed text is seen");
        found.clear();
        drops("nothing", &full, &mut found);
        assert_eq!(found.len(), 1, "a list that cannot be read is seen");
    }
}
