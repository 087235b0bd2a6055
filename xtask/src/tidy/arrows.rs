//! Rules on what may know what: the order of modules, and what is absent from some of them.

use super::lex::{Token, matches};
use super::{Finding, SourceFile};

const CORE: &str = "switch-core/src/";

/// The modules of switch-core in the order of the arrows: a module may use those of the groups
/// before its own, and in the first group those beside it.
const ORDER: &[&[&str]] = &[
    &["limits", "clock", "counters", "idle", "sync"],
    &["wire"],
    &["mem"],
    &["table", "acl", "qos", "port"],
    &["config"],
    &["datapath"],
    &["express"],
    &["handoff", "publish", "loss"],
    &["egress"],
    &["worker"],
    &["engine"],
];

/// Arrows that the order would allow and the design does not.
const APART: &[(&str, &str)] = &[("config", "port"), ("datapath", "port")];

/// What switch-cli may use of switch-core.
const CLI_MAY_USE: &[&str] = &["engine", "config", "counters", "limits", "wire", "port"];

/// A word that must not occur in some modules of switch-core.
struct Absent {
    words: &'static [&'static str],
    /// The modules that it is absent from; empty for all.
    modules: &'static [&'static str],
    reason: &'static str,
}

const ABSENT: &[Absent] = &[
    Absent {
        words: &["tokio", "axum", "hyper", "clap", "futures_util"],
        modules: &[],
        reason: "the engine is neither async nor a command line",
    },
    Absent {
        words: &["Instant", "SystemTime"],
        modules: &[
            "idle", "wire", "mem", "table", "acl", "qos", "config", "datapath",
        ],
        reason: "no clock here: the time is an argument",
    },
    Absent {
        words: &["Mutex", "RwLock", "tracing", "println", "eprintln"],
        modules: &["wire", "table", "acl", "qos", "datapath"],
        reason: "stages take no lock and write no log",
    },
    Absent {
        words: &["aya", "libc", "xdp_ebpf"],
        modules: &[
            "wire", "table", "acl", "qos", "config", "datapath", "handoff", "publish",
        ],
        reason: "only port, mem and what stands above them know the kernel",
    },
];

/// Arrows between modules point one way.
pub fn arrows(file: &SourceFile, found: &mut Vec<Finding>) {
    if let Some(inner) = file.path.strip_prefix(CORE) {
        for (line, target) in uses_of_own_modules(&file.lexed.tokens, inner) {
            if let Err(why) = may_use(module_of(inner), &target) {
                found.push(file.finding(line, "arrow", why));
            }
        }
    } else if file.path.starts_with("switch-cli/") {
        for (line, target) in uses_from(&file.lexed.tokens, "switch_core") {
            if !CLI_MAY_USE.contains(&target.as_str()) {
                let message = format!(
                    "switch-cli uses switch-core through {}, not through {target}",
                    CLI_MAY_USE.join(", ")
                );
                found.push(file.finding(line, "arrow", message));
            }
        }
    }
}

/// The module of switch-core that a file belongs to, as `wire` for `wire/vlan.rs`.
fn module_of(inner: &str) -> &str {
    let first = inner.split('/').next().unwrap_or(inner);
    first.strip_suffix(".rs").unwrap_or(first)
}

fn may_use(from: &str, to: &str) -> Result<(), String> {
    let group = |module| ORDER.iter().position(|group| group.contains(&module));
    if from == "lib" || from == to {
        return Ok(());
    }
    let (Some(own), Some(other)) = (group(from), group(to)) else {
        let unknown = if group(from).is_none() { from } else { to };
        return Err(format!(
            "module {unknown} has no place in the order: give it one in xtask/src/tidy/arrows.rs"
        ));
    };
    let backwards = other > own || (other == own && own > 0);
    if backwards || APART.contains(&(from, to)) {
        return Err(format!("{from} must not know {to}"));
    }
    Ok(())
}

/// Each use of a top-level module of the file's own crate: the line and the module.
fn uses_of_own_modules(tokens: &[Token], inner: &str) -> Vec<(usize, String)> {
    let mut uses = uses_from(tokens, "crate");
    let file_depth = match inner.strip_suffix("/mod.rs") {
        Some(folder) => folder.split('/').count(),
        None if inner == "lib.rs" => 0,
        None => inner.split('/').count(),
    };
    for at in 0..tokens.len() {
        let mut up = 0;
        while matches(tokens, at + 3 * up, &["super", ":", ":"]) {
            up += 1;
        }
        let continues = at >= 3 && matches(tokens, at - 3, &["super", ":", ":"]);
        if up > 0 && !continues && up == file_depth + tokens[at].depth {
            uses.extend(names_after(tokens, at + 3 * up));
        }
    }
    uses
}

/// Each `root::name` and `root::{name, name::..}`: the line and the name.
fn uses_from(tokens: &[Token], root: &str) -> Vec<(usize, String)> {
    (0..tokens.len())
        .filter(|&at| matches(tokens, at, &[root, ":", ":"]))
        .flat_map(|at| names_after(tokens, at + 3))
        .collect()
}

/// The first names of the path or of the group of paths that begins here. Macros are not modules.
fn names_after(tokens: &[Token], at: usize) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        let first =
            index == at || (depth == 1 && matches!(tokens[index - 1].text.as_str(), "{" | ","));
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            name if first && !matches(tokens, index + 1, &["!"]) => {
                names.push((token.line, name.to_owned()));
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names.retain(|(_, name)| name != "self");
    names
}

/// What must not occur: clocks in the datapath, async in the engine. Tests may.
pub fn absences(file: &SourceFile, found: &mut Vec<Finding>) {
    let Some(inner) = file.path.strip_prefix(CORE) else {
        return;
    };
    let is_test = inner.ends_with("/tests.rs") || inner.contains("/tests/");
    if is_test {
        return;
    }
    let module = module_of(inner);
    for token in file.lexed.tokens.iter().filter(|token| !token.test) {
        for absent in ABSENT {
            let here = absent.modules.is_empty() || absent.modules.contains(&module);
            if here && absent.words.contains(&token.text.as_str()) {
                let message = format!("`{}` in {module}: {}", token.text, absent.reason);
                found.push(file.finding(token.line, "absence", message));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    const TABLE: &str = "switch-core/src/table/fdb.rs";
    const DATAPATH: &str = "switch-core/src/datapath/mod.rs";

    #[test]
    fn arrows_point_one_way() {
        check(arrows, TABLE, "use crate::wire::vlan::Vid;", &[]);
        check(arrows, TABLE, "use crate::config::Snapshot;", &[1]);
        check(arrows, TABLE, "fn f(a: &crate::config::Snapshot) {}", &[1]);
        check(
            arrows,
            TABLE,
            "use crate::{mem,\n config::{A, B},\n wire};",
            &[2],
        );
        check(arrows, DATAPATH, "use crate::{config, port};", &[1]);
        check(
            arrows,
            "switch-core/src/port/sim.rs",
            "use crate::datapath::A;",
            &[1],
        );
        check(
            arrows,
            "switch-core/src/worker.rs",
            "use crate::{port, datapath};",
            &[],
        );
        check(
            arrows,
            "switch-core/src/limits.rs",
            "use crate::counters::A;",
            &[],
        );
        check(
            arrows,
            "switch-core/src/acl/mod.rs",
            "use crate::qos::A;",
            &[1],
        );
    }

    #[test]
    fn arrows_through_super_are_seen() {
        check(arrows, TABLE, "use super::super::config::A;", &[1]);
        check(arrows, TABLE, "use super::config::A;", &[]);
        check(arrows, DATAPATH, "use super::port::A;", &[1]);
        check(arrows, DATAPATH, "mod a {\n use super::port::A; }", &[]);
        check(
            arrows,
            DATAPATH,
            "mod a {\n use super::super::{wire, port}; }",
            &[2],
        );
        check(
            arrows,
            "switch-core/src/clock.rs",
            "use super::engine::A;",
            &[1],
        );
    }

    #[test]
    fn a_new_module_needs_a_place() {
        check(
            arrows,
            "switch-core/src/engine.rs",
            "use crate::helpers::A;",
            &[1],
        );
        check(
            arrows,
            "switch-core/src/helpers.rs",
            "use crate::wire::A;",
            &[1],
        );
        check(
            arrows,
            "switch-core/src/lib.rs",
            "use crate::engine::A;",
            &[],
        );
        check(
            arrows,
            "switch-core/src/engine.rs",
            "crate::index!(A);",
            &[],
        );
    }

    #[test]
    fn the_binary_uses_the_library_at_its_boundary() {
        let path = "switch-cli/src/daemon.rs";
        check(
            arrows,
            path,
            "use switch_core::{engine::Engine,\n table::Fdb};",
            &[2],
        );
        check(arrows, path, "use switch_core::config::Config;", &[]);
    }

    #[test]
    fn absences_hold_outside_tests() {
        check(absences, DATAPATH, "let now = Instant::now();", &[1]);
        check(
            absences,
            DATAPATH,
            "#[cfg(test)]\nmod tests { use std::sync::Mutex; }",
            &[],
        );
        check(
            absences,
            "switch-core/src/clock.rs",
            "let now = Instant::now();",
            &[],
        );
        check(
            absences,
            "switch-core/src/clock.rs",
            "use tokio::time;",
            &[1],
        );
        check(absences, TABLE, "use libc::c_int;", &[1]);
        let tests = "switch-core/src/table/fdb/tests/measure.rs";
        check(absences, tests, "let now = Instant::now();", &[]);
    }
}
