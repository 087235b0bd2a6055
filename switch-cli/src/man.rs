//! The manual page of the file format, shunt.toml(5): made from docs/configuration.md, so that
//! there is one text. That document's examples are loaded by tests, and it names every key.

const MANUAL: &str = include_str!("../../docs/configuration.md");

const HEADER: &str = "\
.TH SHUNT.TOML 5 \"\" \"shunt VERSION\" \"File formats\"
.SH NAME
shunt.toml \\- the configuration of the virtual switch shunt
.SH SYNOPSIS
.B shunt check
.I FILE
.br
.B shunt run \\-\\-config
.I FILE
.SH DESCRIPTION
";

const FOOTER: &str = "\
.SH SEE ALSO
.BR shunt (1),
.BR shunt\\-check (1),
.BR shunt\\-reload (1)
";

/// The page.
pub fn page() -> String {
    let header = HEADER.replace("VERSION", env!("CARGO_PKG_VERSION"));
    format!("{header}{}{FOOTER}", body(MANUAL))
}

/// What a line of Markdown belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Nothing,
    Paragraph,
    Item,
    Code,
    Table,
}

/// The text of a document, without its title.
fn body(markdown: &str) -> String {
    let mut page = String::new();
    let mut block = Block::Nothing;
    let mut columns: Vec<String> = Vec::new();
    for line in markdown.lines() {
        let was = block;
        block = kind(line, was);
        match (was, block) {
            (Block::Code, Block::Code) => page += &code(line),
            (Block::Code, _) => page += ".EE\n.RE\n",
            (_, Block::Code) => page += ".PP\n.RS 4\n.EX\n",
            (_, Block::Table) if was != Block::Table => columns = cells(line),
            (_, Block::Table) => page += &row(&columns, line),
            (_, Block::Nothing) => page += &heading(line),
            (_, Block::Item) if line.starts_with("- ") => {
                page += &format!(".IP \\(bu 2\n{}\n", inline(&line[2..]));
            }
            (_, Block::Item) => page += &format!("{}\n", inline(line.trim_start())),
            (Block::Paragraph, Block::Paragraph) => page += &format!("{}\n", inline(line)),
            (_, Block::Paragraph) => page += &format!(".PP\n{}\n", inline(line)),
        }
    }
    page
}

/// What a line belongs to, after one that belongs to `before`.
fn kind(line: &str, before: Block) -> Block {
    let fence = line.starts_with("```");
    match before {
        Block::Code if fence => Block::Nothing,
        Block::Code => Block::Code,
        _ if fence => Block::Code,
        _ if line.is_empty() || line.starts_with('#') => Block::Nothing,
        _ if line.starts_with('|') => Block::Table,
        _ if line.starts_with("- ") => Block::Item,
        Block::Item if line.starts_with("  ") => Block::Item,
        _ => Block::Paragraph,
    }
}

/// A title; nothing of the document's own, of an empty line and of a fence.
fn heading(line: &str) -> String {
    match line.split_once(' ') {
        Some(("##", title)) => format!(".SH {}\n", inline(title)),
        Some(("###", title)) => format!(".SS {}\n", inline(title)),
        _ => String::new(),
    }
}

/// A line that is shown as it is.
fn code(line: &str) -> String {
    format!("{}\n", guard(&escape(line)))
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.strip_prefix('|').unwrap_or(line);
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    inner.split('|').map(|cell| inline(cell.trim())).collect()
}

/// A row of a table as a tagged paragraph: the first column, then the others, which are named by
/// their titles where they have one.
fn row(columns: &[String], line: &str) -> String {
    if line.starts_with("|---") {
        return String::new();
    }
    let cells = cells(line);
    let (Some(tag), rest) = (cells.first(), cells.get(1..).unwrap_or_default()) else {
        return String::new();
    };
    let mut text = format!(".TP\n{tag}\n");
    let titles = columns.iter().skip(1);
    let (named, plain): (Vec<_>, Vec<_>) = titles
        .zip(rest)
        .filter(|(_, cell)| !cell.is_empty())
        .partition(|(title, _)| !title.is_empty());
    let named: Vec<String> = named
        .iter()
        .map(|(title, cell)| format!("{title}: {cell}"))
        .collect();
    if !named.is_empty() {
        text += &format!("{}\n", guard(&named.join("; ")));
    }
    if !named.is_empty() && !plain.is_empty() {
        text += ".br\n";
    }
    for (_, cell) in plain {
        text += &format!("{}\n", guard(cell));
    }
    text
}

/// A line's bold, emphasised and literal parts, and of links their text.
fn inline(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(['`', '*', '[']) {
        text += &escape(&rest[..at]);
        let found = &rest[at..];
        let (mark, font) = match found.as_bytes() {
            [b'`', ..] => ("`", "\\fB"),
            [b'*', b'*', ..] => ("**", "\\fB"),
            [b'*', ..] => ("*", "\\fI"),
            _ => ("[", ""),
        };
        let behind = &found[mark.len()..];
        rest = match (mark, behind.split_once("](")) {
            ("[", Some((title, link))) if !title.contains('\n') && link.contains(')') => {
                text += &inline(title);
                link.split_once(')').map_or("", |(_, rest)| rest)
            }
            ("[", _) => {
                text += "[";
                behind
            }
            _ => match behind.split_once(mark) {
                Some((inner, rest)) => {
                    text += &format!("{font}{}\\fR", escape(inner));
                    rest
                }
                // It goes on in the next line, or is no mark at all.
                None => {
                    text += &escape(mark);
                    behind
                }
            },
        };
    }
    text += &escape(rest);
    guard(&text)
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-")
}

/// A text line that roff does not take for a request.
fn guard(line: &str) -> String {
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_a_page() {
        let markdown = "# Title\n\nA **bold** word, `a-key`\nand [a link](x.md#y).\n\n\
                        ## `[[port]]`\n\n| key | value | default | |\n|---|---|---|---|\n\
                        | `name` | a name | required | what it is |\n| `mtu` | 1 | | |\n\n\
                        ### Sub\n\n- one\n  more\n- two\n\n```toml\n.x = \"a\\n\" # |\n```\nEnd\n";
        let expected = ".PP\nA \\fBbold\\fR word, \\fBa\\-key\\fR\nand a link.\n\
                        .SH \\fB[[port]]\\fR\n.TP\n\\fBname\\fR\nvalue: a name; default: required\n.br\nwhat it is\n\
                        .TP\n\\fBmtu\\fR\nvalue: 1\n.SS Sub\n.IP \\(bu 2\none\nmore\n.IP \\(bu 2\ntwo\n\
                        .PP\n.RS 4\n.EX\n\\&.x = \"a\\en\" # |\n.EE\n.RE\n.PP\nEnd\n";
        assert_eq!(body(markdown), expected);
    }

    /// The text of a page as a reader sees it.
    fn plain(page: &str) -> String {
        ["\\fB", "\\fI", "\\fR", "\\&"]
            .iter()
            .fold(page.to_owned(), |text, mark| text.replace(mark, ""))
            .replace("\\-", "-")
            .replace("\\e", "\\")
    }

    #[test]
    fn nothing_of_the_manual_is_lost() {
        let page = plain(&page());
        let mut words = page.split_whitespace();
        // Every word in the order of the document, but for marks, links' targets and table rules.
        let mut keys = 0;
        for line in MANUAL.lines().skip(1) {
            if let Some(key) = line.strip_prefix("| `").and_then(|row| row.split_once('`')) {
                assert!(words.any(|word| word == key.0), "{}", key.0);
                keys += 1;
            }
        }
        assert!(keys > 60, "{keys} keys");
        let mut examples = 0;
        for example in MANUAL.split("\n```toml\n").skip(1) {
            let example = example.split("```").next().unwrap_or_default();
            assert!(page.contains(example), "{example}");
            examples += 1;
        }
        assert!(examples > 15, "{examples} examples");
    }
}
