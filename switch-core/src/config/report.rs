//! What is wrong with a configuration: all errors at once, each with file, line, column, the
//! source line, the cause and the remedy.

use std::{borrow::Cow, fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

/// Positions in the source text, in bytes.
pub(super) type Span = Range<usize>;

/// Most errors that a report holds; a file with more has one cause, and it is among the first.
const MAX_ERRORS: usize = 200;
/// Most errors that are kept while reading, before they are put in order.
const MAX_COLLECTED: usize = 10_000;
/// Longest source line, in bytes, that a report prints.
const MAX_LINE: usize = 1000;
/// Most errors of one report that look for a name the user may have meant: each search goes
/// through all names, and a hostile file must not make that quadratic.
const MAX_SEARCHES: usize = 64;

/// What kind of error: a short, stable identifier for scripts and for searching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The file is no TOML, or no text.
    Syntax,
    /// A key or table that does not exist.
    UnknownKey,
    /// A key that must be there and is not.
    MissingKey,
    /// Text where a number belongs, and the like.
    WrongType,
    /// A number that is too small or too large.
    OutOfRange,
    /// A value of the right type that means nothing.
    InvalidValue,
    /// A name, device, VLAN or address that is taken.
    Duplicate,
    /// A network or port that the file does not define.
    UnknownName,
    /// Keys that contradict each other.
    Conflict,
    /// More of something than a switch can have.
    Limit,
    /// Something that this version does not do yet.
    NotBuilt,
}

impl Code {
    /// The identifier, in kebab-case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::UnknownKey => "unknown-key",
            Self::MissingKey => "missing-key",
            Self::WrongType => "wrong-type",
            Self::OutOfRange => "out-of-range",
            Self::InvalidValue => "invalid-value",
            Self::Duplicate => "duplicate",
            Self::UnknownName => "unknown-name",
            Self::Conflict => "conflict",
            Self::Limit => "limit",
            Self::NotBuilt => "not-built",
        }
    }
}

/// One error. Serializes to code, line, column, message and help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// What kind of error.
    pub code: Code,
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: String,
    #[serde(skip)]
    span: Span,
    #[serde(skip)]
    related: Option<(Span, String)>,
}

/// An error while it is being made, before its line is known.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    code: Code,
    pub(super) span: Span,
    message: String,
    help: String,
    related: Option<(Span, String)>,
}

impl Problem {
    /// An error at this place.
    pub(super) fn new(code: Code, span: Span, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            code,
            span,
            message,
            help: String::new(),
            related: None,
        }
    }

    /// Says what would be right.
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self {
            help: help.into(),
            ..self
        }
    }

    /// Points at a second place.
    pub(super) fn also(self, span: Span, label: impl Into<String>) -> Self {
        Self {
            related: Some((span, label.into())),
            ..self
        }
    }
}

/// The errors found so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    list: Vec<Problem>,
    /// How many were found after [`MAX_COLLECTED`].
    more: usize,
    searches: usize,
}

impl Problems {
    /// Adds an error.
    pub(super) fn push(&mut self, problem: Problem) {
        if self.list.len() < MAX_COLLECTED {
            self.list.push(problem);
        } else {
            self.more += 1;
        }
    }

    /// Adds all errors of another collection.
    pub(super) fn append(&mut self, other: Self) {
        self.more += other.more;
        other
            .list
            .into_iter()
            .for_each(|problem| self.push(problem));
    }

    /// Whether nothing was found.
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Keeps the errors for which `keep` holds.
    pub(super) fn retain(&mut self, keep: impl FnMut(&Problem) -> bool) {
        self.list.retain(keep);
    }

    /// The candidate that the user may have meant.
    pub(super) fn closest<'a>(
        &mut self,
        word: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> Option<&'a str> {
        if self.searches == MAX_SEARCHES {
            return None;
        }
        self.searches += 1;
        super::suggest::closest(word, candidates)
    }

    /// "did you mean `x`? ", or nothing where no candidate is close.
    pub(super) fn did_you_mean<'a>(
        &mut self,
        word: &str,
        candidates: impl IntoIterator<Item = &'a str>,
    ) -> String {
        let found = self.closest(word, candidates);
        found.map_or_else(String::new, |found| {
            format!("did you mean `{}`? ", printable(found))
        })
    }

    /// The report on this text, errors in the order of their positions.
    pub(super) fn into_report(mut self, file_name: &str, text: &str) -> Report {
        let lines = Lines::of(text);
        self.list
            .sort_by_key(|problem| (problem.span.start, problem.code));
        let more = self.more + self.list.len().saturating_sub(MAX_ERRORS);
        self.list.truncate(MAX_ERRORS);
        let errors = self
            .list
            .into_iter()
            .map(|problem| lines.place(text, problem))
            .collect();
        Report {
            file_name: printable(file_name),
            text: text.to_owned(),
            lines,
            errors,
            more,
        }
    }
}

/// Where each line of a text begins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        let after = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(
            std::iter::once(0)
                .chain(after.map(|(at, _)| at + 1))
                .collect(),
        )
    }

    /// The number of the line, from 0, that has this position.
    fn number(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at) - 1
    }

    /// The positions of a line without its end.
    fn span(&self, text: &str, number: usize) -> Span {
        let start = self.0[number];
        let end = self.0.get(number + 1).map_or(text.len(), |next| next - 1);
        let end = start + text[start..end].trim_end_matches('\r').len();
        start..end
    }

    fn place(&self, text: &str, problem: Problem) -> ConfigError {
        let span = on_characters(text, problem.span);
        let number = self.number(span.start);
        let before = &text[self.0[number]..span.start];
        ConfigError {
            code: problem.code,
            line: number + 1,
            column: before.chars().count() + 1,
            message: problem.message,
            help: problem.help,
            span,
            related: problem
                .related
                .map(|(span, label)| (on_characters(text, span), label)),
        }
    }
}

/// The span, cut to the text and moved outwards to whole characters.
fn on_characters(text: &str, span: Span) -> Span {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    start..end
}

/// All that is wrong with one file. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    file_name: String,
    text: String,
    lines: Lines,
    errors: Vec<ConfigError>,
    more: usize,
}

impl Report {
    /// The errors, in the order of their positions.
    #[must_use]
    pub fn errors(&self) -> &[ConfigError] {
        &self.errors
    }

    /// How many errors there are beside those in [`Self::errors`], which holds a bounded number.
    #[must_use]
    pub fn more(&self) -> usize {
        self.more
    }

    /// The file as it was named to [`super::parse`].
    #[must_use]
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// The errors for a terminal, with colours or without, and a last line that counts them.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let renderer = if color {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for error in &self.errors {
            out.push_str(&renderer.render(&[self.group(error)]));
            out.push_str("\n\n");
        }
        let count = self.errors.len() + self.more;
        let noun = if count == 1 { "error" } else { "errors" };
        out.push_str(&format!("{}: {count} {noun}", self.file_name));
        if self.more > 0 {
            out.push_str(&format!(
                ", of which the first {} are shown",
                self.errors.len()
            ));
        }
        out.push('\n');
        out
    }

    fn group<'a>(&'a self, error: &'a ConfigError) -> Group<'a> {
        let title = Level::ERROR
            .primary_title(&error.message)
            .id(error.code.name());
        let mut marks = vec![(&error.span, AnnotationKind::Primary, "")];
        if let Some((span, label)) = &error.related {
            marks.push((span, AnnotationKind::Context, label.as_str()));
        }
        let mut group = Group::with_title(title);
        let line = |span: &Span| self.lines.number(span.start);
        for marks in marks.chunk_by(|one, other| line(one.0) == line(other.0)) {
            group = self.point(group, line(marks[0].0), marks);
        }
        if error.help.is_empty() {
            group
        } else {
            group.element(Level::HELP.message(&error.help))
        }
    }

    /// Adds a line and its marks, or only its number where it is too long to print.
    fn point<'a>(
        &'a self,
        group: Group<'a>,
        number: usize,
        marks: &[(&Span, AnnotationKind, &'a str)],
    ) -> Group<'a> {
        let line = self.lines.span(&self.text, number);
        if line.len() > MAX_LINE {
            let before = &self.text[line.start..marks[0].0.start];
            let origin = Origin::path(&self.file_name).line(number + 1);
            return group.element(origin.char_column(before.chars().count() + 1));
        }
        let mut snippet = Snippet::source(shown(&self.text[line.clone()])).line_start(number + 1);
        for (span, kind, label) in marks {
            // A mark ends with its line, and may stand on the line's end.
            let start = span.start.min(line.end) - line.start;
            let end = span.end.min(line.end).max(line.start + start) - line.start;
            let mark = kind.span(start..end);
            snippet = snippet.annotation(if label.is_empty() {
                mark
            } else {
                mark.label(*label)
            });
        }
        group.element(snippet.path(&self.file_name))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Report {}

/// A source line as the renderer may have it. It takes care of ASCII control characters by itself,
/// but not of C1 ones (U+009B begins an escape sequence): those become a dot of the same size.
fn shown(line: &str) -> Cow<'_, str> {
    let c1 = |c: char| matches!(c, '\u{80}'..='\u{9f}');
    if line.contains(c1) {
        line.replace(c1, "\u{b7}").into()
    } else {
        line.into()
    }
}

/// User's text within a message: one short line, nothing that a terminal obeys.
pub(super) fn printable(text: &str) -> String {
    const LONGEST: usize = 100;
    let mut out: String = text.chars().take(LONGEST).flat_map(escape).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push_str("...");
    }
    out
}

/// A character as it is, or escaped where a terminal could act on it.
fn escape(character: char) -> impl Iterator<Item = char> {
    // What `escape_debug` escapes beyond control characters: quotes and backslashes are harmless.
    let harmless = matches!(character, '"' | '\'' | '\\');
    let escaped = (!harmless).then(|| character.escape_debug());
    escaped
        .into_iter()
        .flatten()
        .chain(harmless.then_some(character))
}
