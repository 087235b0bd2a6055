//! What is no TOML: the parser's errors, one for each cause and with a remedy.

use toml::de::{DeTable, Error};

use super::report::{Code, Problem, Problems, Span, printable};

/// Above this size, a file with a syntax error gives the first of them only: going on after
/// errors costs memory for each.
const MAX_RECOVERABLE: usize = 256 * 1024;

/// A document as far as it could be read.
pub(super) struct Parsed<'t> {
    pub(super) document: DeTable<'t>,
    pub(super) broken: Broken,
}

/// Where the syntax is wrong, so that what follows from it is not reported as well.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Broken {
    /// Whether a header is wrong: then keys are in tables where the user did not put them.
    pub(super) structure: bool,
    /// The lines with errors.
    lines: Vec<Span>,
}

impl Broken {
    /// Whether there are syntax errors at all.
    pub(super) fn any(&self) -> bool {
        self.structure || !self.lines.is_empty()
    }

    /// Whether an error at this place may be the result of a syntax error.
    pub(super) fn touches(&self, span: &Span) -> bool {
        self.structure
            || self
                .lines
                .iter()
                .any(|line| span.start <= line.end && line.start <= span.end)
    }
}

/// Reads TOML; what is wrong with it goes to `problems`.
pub(super) fn parse<'t>(text: &'t str, problems: &mut Problems) -> Parsed<'t> {
    if text.len() > MAX_RECOVERABLE
        && let Err(first) = DeTable::parse(text)
    {
        problems.push(explain(text, &first));
        let broken = Broken {
            structure: true,
            lines: Vec::new(),
        };
        return Parsed {
            document: DeTable::new(),
            broken,
        };
    }
    let (document, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| error.span().map_or(0, |span| span.start));
    let mut broken = Broken::default();
    let mut skip = Skip::Nothing;
    let unclosed = errors
        .iter()
        .rfind(|error| error.message().starts_with("unclosed array,"));
    let unclosed = unclosed.map(|error| place(text, error).start);
    for error in &errors {
        let at = place(text, error);
        let line = line_of(text, at.start);
        let header = text[line.clone()].trim_start().starts_with('[');
        if broken.lines.last() == Some(&line) || skip.covers(text, error, &line) {
            continue;
        }
        skip = Skip::after(error, header, unclosed);
        broken.structure |= header || skip != Skip::Nothing;
        broken.lines.push(line);
        problems.push(explain(text, error));
    }
    Parsed {
        document: document.into_inner(),
        broken,
    }
}

/// Errors that are only the consequence of the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Nothing,
    /// The keys of a table that is there twice, up to the next header.
    DuplicateKeys,
    /// Missing commas and the like, in the same list.
    ListElements,
    /// All up to here, where a list that is not closed ends.
    Until(usize),
}

impl Skip {
    fn after(error: &Error, header: bool, unclosed: Option<usize>) -> Self {
        match unclosed {
            _ if header && error.message().starts_with("duplicate key") => Self::DuplicateKeys,
            Some(end) if in_list(error) => Self::Until(end),
            None if in_list(error) => Self::ListElements,
            _ => Self::Nothing,
        }
    }

    fn covers(self, text: &str, error: &Error, line: &Span) -> bool {
        match self {
            Self::Nothing => false,
            Self::DuplicateKeys => {
                let header = text[line.clone()].trim_start().starts_with('[');
                !header && error.message().starts_with("duplicate key")
            }
            Self::ListElements => in_list(error),
            Self::Until(end) => place(text, error).start <= end,
        }
    }
}

fn in_list(error: &Error) -> bool {
    let message = error.message();
    ["between array elements", "in array", "unclosed array,"]
        .iter()
        .any(|m| message.contains(m))
}

fn place(text: &str, error: &Error) -> Span {
    let span = error.span().unwrap_or(text.len()..text.len());
    let start = text.floor_char_boundary(span.start.min(text.len()));
    if span.is_empty() && in_list(error) {
        // Something is missing after the last element, not before what comes next.
        let end = text[..start].trim_ascii_end().len();
        return end..end;
    }
    start..text.ceil_char_boundary(span.end.clamp(start, text.len()))
}

/// The line, without its end, in which this position is.
fn line_of(text: &str, at: usize) -> Span {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[at..]
        .find('\n')
        .map_or(text.len(), |newline| at + newline);
    start..end
}

/// The parser's error in the words of this file format.
fn explain(text: &str, error: &Error) -> Problem {
    let at = place(text, error);
    let written = text.get(at.clone()).unwrap_or_default();
    let (message, help) = match error.message() {
        m if m.starts_with("string values must be quoted") && written.is_empty() => (
            "a value is missing here".to_owned(),
            "write `key = value`; text stands in quotes".to_owned(),
        ),
        m if m.starts_with("string values must be quoted") => (
            "text must stand in quotes".to_owned(),
            format!("write \"{}\"", printable(written)),
        ),
        m if m.starts_with("invalid basic string") || m.starts_with("invalid literal string") => (
            "this text has no closing quote, or a character that may not stand in it".to_owned(),
            "end text with the quote it begins with".to_owned(),
        ),
        m if m.starts_with("key with no value") => (
            "a key without a value".to_owned(),
            "write `key = value`; a comment begins with `#`".to_owned(),
        ),
        m if m.starts_with("duplicate key") => duplicate(text, &at),
        m if m.starts_with("unclosed table") => (
            "this header is not closed".to_owned(),
            "write `[switch]`, in one line".to_owned(),
        ),
        m if m.starts_with("unclosed array table") => (
            "this header is not closed".to_owned(),
            "close it with as many brackets as it has before the name, as in `[[port]]`".to_owned(),
        ),
        _ if in_list(error) => (
            "this list is not closed, or lacks a comma".to_owned(),
            "write `[\"web\", \"db\"]`: commas between the elements and `]` at the end".to_owned(),
        ),
        other => (
            printable(other),
            "a line is `key = value`, a header such as `[switch]` or `[[port]]`, or a `# comment`"
                .to_owned(),
        ),
    };
    Problem::new(Code::Syntax, at, message).help(help)
}

fn duplicate(text: &str, at: &Span) -> (String, String) {
    let name = printable(text.get(at.clone()).unwrap_or_default());
    let line = &text[line_of(text, at.start)];
    if !line.trim_start().starts_with('[') {
        let help = "remove one of the two, or begin another table above it".to_owned();
        return (format!("`{name}` is in this table already"), help);
    }
    let message = format!("`{name}` is there already");
    match name.as_str() {
        "network" | "port" | "static" | "policer" | "scheduler" | "class_map" | "acl"
        | "address_set" | "port_set" => {
            let help =
                format!("there can be several: write `[[{name}]]`, in double brackets, each time");
            (message, help)
        }
        _ => (
            message,
            "write this table once, with all its keys below".to_owned(),
        ),
    }
}
