//! Rules on how Rust is written: `unsafe`, the length of functions and lines, names.

use super::lex::{Lexed, Token, closing, matches};
use super::{Finding, SourceFile};

/// Where `unsafe` may stand: folders end in a slash, the rest are files.
const ISLANDS: &[&str] = &[
    "switch-core/src/mem/",
    "switch-core/src/port/",
    "switch-cli/src/sys.rs",
    "xdp-ebpf/",
    "benches/alloc.rs",
    "benches/ebpf/",
    "benches/src/alloc.rs",
    "benches/src/compare/signals.rs",
    "benches/src/compare/xsk.rs",
    "benches/src/traffic/sys.rs",
    "tests/src/alloc.rs",
    "tests/src/peer.rs",
    "tests/src/sys.rs",
];

/// Most lines of one function, from its name to its last brace.
const FUNCTION_LINES: usize = 70;
/// Most characters of one line.
const LINE_COLUMNS: usize = 100;

/// `unsafe` stands in an island, and each block there says why it is sound.
pub fn unsafe_in_islands(file: &SourceFile, found: &mut Vec<Finding>) {
    let island = ISLANDS.iter().any(|island| match island.strip_suffix('/') {
        Some(_) => file.path.starts_with(island),
        None => file.path == *island,
    });
    let Lexed { tokens, .. } = &file.lexed;
    for (at, token) in tokens.iter().enumerate() {
        if token.text != "unsafe" || matches(tokens, at + 1, &["("]) {
            continue;
        }
        let needs_comment = matches(tokens, at + 1, &["{"]) || matches(tokens, at + 1, &["impl"]);
        if !island {
            let message = "`unsafe` outside the islands: \
                           put it behind a safe function of mem, port or sys";
            found.push(file.finding(token.line, "unsafe", message));
        } else if needs_comment && !has_safety_comment(&file.lexed, at) {
            let message = "no `// SAFETY:` above: say which invariants make it sound";
            found.push(file.finding(token.line, "safety", message));
        }
    }
}

/// Whether a comment above the statement of the token at this index, or in it, says `SAFETY:`.
fn has_safety_comment(lexed: &Lexed, at: usize) -> bool {
    let tokens = &lexed.tokens;
    let end_of_last = tokens[..at]
        .iter()
        .rposition(|token| matches!(token.text.as_str(), ";" | "{" | "}"));
    let start = tokens[end_of_last.map_or(0, |last| last + 1)].line;
    let comment_at = |line| lexed.comments.iter().filter(move |(at, _)| *at == line);
    let mut first = start;
    while first > 1 && comment_at(first - 1).next().is_some() {
        first -= 1;
    }
    (first..=tokens[at].line)
        .flat_map(comment_at)
        .any(|(_, text)| text.contains("SAFETY:"))
}

/// A function fits on a screen.
pub fn short_functions(file: &SourceFile, found: &mut Vec<Finding>) {
    let tokens = &file.lexed.tokens;
    for at in 0..tokens.len() {
        if tokens[at].text != "fn" || matches(tokens, at + 1, &["("]) {
            continue;
        }
        let Some(open) = body_of(tokens, at) else {
            continue;
        };
        let lines = tokens[closing(tokens, open)].line - tokens[at].line + 1;
        if lines > FUNCTION_LINES {
            let name = tokens.get(at + 1).map_or("", |token| token.text.as_str());
            let message = format!(
                "`{name}` has {lines} lines, {FUNCTION_LINES} is the most: \
                 look for the stage boundary and split it there"
            );
            found.push(file.finding(tokens[at].line, "function-length", message));
        }
    }
}

/// The index of the brace that opens the body of the function, if it has one.
fn body_of(tokens: &[Token], function: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (at, token) in tokens.iter().enumerate().skip(function) {
        match token.text.as_str() {
            "(" | "[" => depth += 1,
            ")" | "]" => depth -= 1,
            "{" if depth == 0 => return Some(at),
            ";" if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// A line fits beside another file. One with an address in it may be longer, and so may one of
/// a text in a string, such as a snapshot, which is as long as its reader needs it.
pub fn short_lines(file: &SourceFile, found: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        let columns = line.chars().count();
        let text = file.lexed.string_lines.contains(&(index + 1));
        if columns > LINE_COLUMNS && !text && !line.contains("://") {
            let message = format!("{columns} columns, {LINE_COLUMNS} is the most");
            found.push(file.finding(index + 1, "line-length", message));
        }
    }
}

/// A name that is not ours, and the one that is.
struct Banned {
    /// The words of it, in order, as they stand in `snake_case` or `CamelCase`.
    words: &'static [&'static str],
    instead: &'static str,
    /// The folder that it is banned in.
    within: &'static str,
    /// Files and folders in it where the word has its own meaning.
    except: &'static [&'static str],
}

/// One word for one thing: the standards' and the kernel's, verbatim.
const BANNED: &[Banned] = &[
    Banned {
        words: &["vlan", "id"],
        instead: "vid (802.1Q)",
        within: "",
        except: &[],
    },
    Banned {
        words: &["packet"],
        instead: "frame; a packet is what an IP header begins",
        within: "switch-core/src/",
        // Rules are about what the frame carries.
        except: &[
            "switch-core/src/wire/",
            "switch-core/src/acl/",
            "switch-core/src/datapath/acts.rs",
            "switch-core/src/datapath/gate.rs",
            "switch-core/src/datapath/leave.rs",
            "switch-core/src/datapath/policy.rs",
            "switch-core/src/datapath/shortcut/",
        ],
    },
    Banned {
        words: &["pkt"],
        instead: "frame",
        within: "",
        except: &[],
    },
    Banned {
        words: &["aging"],
        instead: "ageing (802.1Q: ageing_time)",
        within: "",
        except: &[],
    },
    Banned {
        words: &["whitelist"],
        instead: "allowed",
        within: "",
        except: &[],
    },
    Banned {
        words: &["blacklist"],
        instead: "denied",
        within: "",
        except: &[],
    },
];

/// Names of other crates and of the kernel, which are theirs to choose.
const FOREIGN: &[&str] = &["PacketQueue"];

/// One word for one thing.
pub fn banned_names(file: &SourceFile, found: &mut Vec<Finding>) {
    for token in &file.lexed.tokens {
        let name = token.text.as_str();
        let constant = !name.chars().any(char::is_lowercase);
        if constant || FOREIGN.contains(&name) || name.starts_with("netlink_") {
            continue;
        }
        let words = words_of(name);
        let banned = BANNED.iter().find(|banned| {
            file.path.starts_with(banned.within)
                && !banned.except.iter().any(|path| file.path.starts_with(path))
                && words.windows(banned.words.len()).any(|w| w == banned.words)
        });
        if let Some(banned) = banned {
            let message = format!("`{name}`: say {}", banned.instead);
            found.push(file.finding(token.line, "name", message));
        }
    }
}

/// The lower-case words of a `snake_case` or `CamelCase` name.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c.is_uppercase() {
            words.push(String::new());
        }
        if c != '_' {
            let last = words.last_mut().expect("there is always one");
            last.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    const ISLAND: &str = "switch-core/src/mem/region.rs";
    const PLAIN: &str = "switch-core/src/engine.rs";

    #[test]
    fn unsafe_needs_an_island() {
        let code = "// SAFETY: none.\nfn f() { unsafe { g() } }";
        check(unsafe_in_islands, PLAIN, code, &[2]);
        check(unsafe_in_islands, "switch-core/src/memory.rs", code, &[2]);
        check(
            unsafe_in_islands,
            PLAIN,
            "// unsafe\nlet a = \"unsafe\";",
            &[],
        );
        check(unsafe_in_islands, PLAIN, "#![allow(unsafe_code)]", &[]);
    }

    #[test]
    fn unsafe_needs_a_reason() {
        check(
            unsafe_in_islands,
            ISLAND,
            "fn f() {\n unsafe { g() }\n}",
            &[2],
        );
        check(unsafe_in_islands, ISLAND, "unsafe impl Send for A {}", &[1]);
        for good in [
            "fn f() {\n // SAFETY: so\n // and so\n unsafe { g() }\n}",
            "fn f() {\n // SAFETY: so\n let a =\n  unsafe { g() };\n}",
            "fn f() {\n let a = // SAFETY: so\n  unsafe { g() };\n}",
            "// SAFETY: so\n#[cfg(a)]\nunsafe impl Send for A {}",
            "unsafe fn f();",
        ] {
            check(unsafe_in_islands, ISLAND, good, &[]);
        }
        let far = "// SAFETY: so\nfn f() {\n g();\n unsafe { h() }\n}";
        check(unsafe_in_islands, ISLAND, far, &[4]);
    }

    #[test]
    fn functions_end_on_the_same_screen() {
        let body = |lines| format!("struct A;\nfn f(a: [u8; 4]) {{{}}}", "\n".repeat(lines));
        check(short_functions, PLAIN, &body(69), &[]);
        check(short_functions, PLAIN, &body(70), &[2]);
        let declared = format!("trait A {{ fn f(); {} }}", "\n".repeat(99));
        check(short_functions, PLAIN, &declared, &[]);
        let pointer = format!("struct A {{ f: fn(u8), {} }}", "\n".repeat(99));
        check(short_functions, PLAIN, &pointer, &[]);
    }

    #[test]
    fn lines_are_counted_in_characters() {
        check(short_lines, PLAIN, &"é".repeat(100), &[]);
        check(short_lines, PLAIN, &format!("\n{}", "e".repeat(101)), &[2]);
        let address = format!("// https://example.org/{}", "e".repeat(101));
        check(short_lines, PLAIN, &address, &[]);
        let snapshot = format!("let a = \"\n{}\n\";", "e".repeat(101));
        check(short_lines, PLAIN, &snapshot, &[]);
    }

    #[test]
    fn names_are_the_standards() {
        check(banned_names, PLAIN, "let vlan_id = 1;\nlet vid = 1;", &[1]);
        check(
            banned_names,
            PLAIN,
            "struct VlanId;\nconst VLAN_ID: u8;",
            &[1],
        );
        check(
            banned_names,
            PLAIN,
            "let packets = 1; let packet_count = 1;",
            &[1],
        );
        check(
            banned_names,
            PLAIN,
            "use a::PacketQueue; XDP_PACKET_HEADROOM;",
            &[],
        );
        check(
            banned_names,
            "switch-core/src/wire/ip.rs",
            "struct Packet;",
            &[],
        );
        check(
            banned_names,
            "switch-core/src/datapath/policy.rs",
            "let packet = 1;",
            &[],
        );
        check(
            banned_names,
            "tests/src/lib.rs",
            "let packet = 1; let pkt = 2;",
            &[1],
        );
    }
}
