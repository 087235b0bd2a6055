//! Reads typed values out of a TOML document and collects what is wrong, instead of stopping at
//! the first error as `Deserialize` does.

use std::ops::RangeInclusive;

use serde_spanned::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    report::{Code, Problem, Problems, Span, printable},
    shape::{Shape, TABLES},
};

/// A value and where it stands.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// What the user wrote for a key.
#[derive(Clone, Debug, Default)]
pub(super) enum Field<T> {
    /// Nothing.
    #[default]
    Absent,
    /// Something wrong, which is reported already; the text, where it is one.
    Invalid(Spanned<String>),
    /// This.
    Present(Spanned<T>),
}

impl<T> Field<T> {
    /// The value, where there is one.
    pub(super) fn get(&self) -> Option<&T> {
        self.spanned().map(Spanned::get_ref)
    }

    /// The value with its place, where there is one.
    pub(super) fn spanned(&self) -> Option<&Spanned<T>> {
        match self {
            Self::Present(value) => Some(value),
            Self::Absent | Self::Invalid(_) => None,
        }
    }

    /// Where the value stands, right or wrong.
    pub(super) fn span(&self) -> Option<Span> {
        match self {
            Self::Absent => None,
            Self::Invalid(text) => Some(text.span()),
            Self::Present(value) => Some(value.span()),
        }
    }

    /// Whether the key is there at all.
    pub(super) fn is_written(&self) -> bool {
        !matches!(self, Self::Absent)
    }
}

/// Why a value is not right, without its place.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) code: Code,
    pub(super) message: String,
    pub(super) help: String,
}

impl Wrong {
    /// A value that means nothing.
    pub(super) fn value(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            code: Code::InvalidValue,
            message: message.into(),
            help: help.into(),
        }
    }

    /// A value that is too small or too large.
    pub(super) fn range(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            code: Code::OutOfRange,
            ..Self::value(message, help)
        }
    }

    /// This, where the value is an element of the list `key`.
    pub(super) fn element(mut self, shape: &Shape, key: &str) -> Self {
        let (of_list, of_element) = (format!("`{key}` "), format!("an element of `{key}` "));
        self.message = self.message.replacen(&of_list, &of_element, 1);
        if self.code == Code::WrongType {
            self.help = format!("write, for example, {}", shape.example(key));
        }
        self
    }

    /// This, at a place.
    pub(super) fn at(self, span: Span) -> Problem {
        Problem::new(self.code, span, self.message).help(self.help)
    }
}

/// One table that is being read.
pub(super) struct Table<'t, 'p> {
    shape: &'static Shape,
    table: &'t DeTable<'t>,
    problems: &'p mut Problems,
}

impl<'t, 'p> Table<'t, 'p> {
    /// Begins to read a table: reports the keys that it should not have.
    pub(super) fn new(
        shape: &'static Shape,
        table: &'t DeTable<'t>,
        problems: &'p mut Problems,
    ) -> Self {
        for key in table.keys() {
            if !shape.key_names().any(|known| known == key.get_ref()) {
                let problem = unknown_key(shape, key, problems);
                problems.push(problem);
            }
        }
        Self {
            shape,
            table,
            problems,
        }
    }

    /// A value that `read` makes of what is written.
    pub(super) fn field<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&'t DeValue<'t>) -> Result<T, Wrong>,
    ) -> Field<T> {
        debug_assert!(
            self.shape.key_names().any(|known| known == key),
            "{key} is in the shape"
        );
        let Some(value) = self.table.get(key) else {
            return Field::Absent;
        };
        match read(value.get_ref()) {
            Ok(right) => Field::Present(Spanned::new(value.span(), right)),
            Err(wrong) => {
                self.problems.push(wrong.at(value.span()));
                let text = value.get_ref().as_str().unwrap_or_default().to_owned();
                Field::Invalid(Spanned::new(value.span(), text))
            }
        }
    }

    /// Text, and what `parse` makes of it.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Field<T> {
        let shape = self.shape;
        self.field(key, |value| parse(as_text(shape, key, value)?))
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Field<T> {
        self.text(key, |text| {
            let found = choices.iter().find(|(word, _)| *word == text);
            found.map(|(_, choice)| *choice).ok_or_else(|| {
                let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
                let message = format!("`{key}` cannot be \"{}\"", printable(text));
                Wrong::value(message, format!("use {}", one_of(&words)))
            })
        })
    }

    /// true or false.
    pub(super) fn boolean(&mut self, key: &'static str) -> Field<bool> {
        let shape = self.shape;
        self.field(key, |value| {
            value
                .as_bool()
                .ok_or_else(|| wrong_type(shape, key, "true or false", value))
        })
    }

    /// A whole number in a range.
    pub(super) fn number(&mut self, key: &'static str, range: RangeInclusive<u32>) -> Field<u32> {
        let shape = self.shape;
        self.field(key, |value| as_number(shape, key, value, range))
    }

    /// A list, of which `read` makes each element; wrong elements are reported and left out.
    /// Invalid is what is no list, or has no elements.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&Value<'_>, &mut Problems) -> Result<T, Problem>,
    ) -> Field<Vec<Spanned<T>>> {
        let shape = self.shape;
        let elements = self.field(key, |value| match value {
            DeValue::Array(elements) if elements.is_empty() => Err(Wrong::value(
                format!("`{key}` is an empty list"),
                format!(
                    "name something, as in {}, or leave it out",
                    shape.example(key)
                ),
            )),
            DeValue::Array(elements) => Ok(elements),
            other => Err(wrong_type(shape, key, "a list in square brackets", other)),
        });
        let elements = match elements {
            Field::Absent => return Field::Absent,
            Field::Invalid(text) => return Field::Invalid(text),
            Field::Present(elements) => elements,
        };
        let mut right = Vec::with_capacity(elements.get_ref().len());
        for element in elements.get_ref().iter() {
            match read(element, self.problems) {
                Ok(value) => right.push(Spanned::new(element.span(), value)),
                Err(problem) => self.problems.push(problem),
            }
        }
        Field::Present(Spanned::new(elements.span(), right))
    }

    /// The elements that a list has in the file, right and wrong ones.
    pub(super) fn length(&self, key: &str) -> Option<usize> {
        Some(self.table.get(key)?.get_ref().as_array()?.len())
    }

    /// A value of its own, or a list of such values.
    pub(super) fn several<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&DeValue<'_>) -> Result<T, Wrong>,
    ) -> Field<Vec<Spanned<T>>> {
        let shape = self.shape;
        if self
            .table
            .get(key)
            .is_some_and(|value| value.get_ref().is_array())
        {
            return self.list(key, |value, _| {
                read(value.get_ref()).map_err(|wrong| wrong.element(shape, key).at(value.span()))
            });
        }
        match self.field(key, read) {
            Field::Absent => Field::Absent,
            Field::Invalid(text) => Field::Invalid(text),
            Field::Present(one) => Field::Present(Spanned::new(one.span(), vec![one])),
        }
    }

    /// The tables within this one under a header of their own, each with its place.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        shape: &'static Shape,
        mut read: impl FnMut(Span, &'t DeTable<'t>, &mut Table<'t, '_>),
    ) {
        let Some(value) = self.table.get(key) else {
            return;
        };
        let header = shape.header;
        let wrong = |span| {
            let message = format!("`{key}` must be tables in double brackets");
            let help = format!("begin each with `{header}`, and its keys below");
            Problem::new(Code::WrongType, span, message).help(help)
        };
        let Some(elements) = value.get_ref().as_array() else {
            return self.problems.push(wrong(value.span()));
        };
        for element in elements.iter() {
            match element.get_ref().as_table() {
                Some(table) => read(
                    element.span(),
                    table,
                    &mut Table::new(shape, table, self.problems),
                ),
                None => self.problems.push(wrong(element.span())),
            }
        }
    }
}

/// The text of a value.
pub(super) fn as_text<'v>(
    shape: &Shape,
    key: &str,
    value: &'v DeValue<'_>,
) -> Result<&'v str, Wrong> {
    value
        .as_str()
        .ok_or_else(|| wrong_type(shape, key, "text in quotes", value))
}

/// The number that a value is, if it is in the range.
pub(super) fn as_number(
    shape: &Shape,
    key: &str,
    value: &DeValue<'_>,
    range: RangeInclusive<u32>,
) -> Result<u32, Wrong> {
    let Some(integer) = value.as_integer() else {
        return Err(wrong_type(shape, key, "a whole number", value));
    };
    let number = u32::from_str_radix(integer.as_str(), integer.radix());
    number
        .ok()
        .filter(|number| range.contains(number))
        .ok_or_else(|| Wrong {
            code: Code::OutOfRange,
            message: format!("`{key}` cannot be {}", printable(&integer.to_string())),
            help: format!("use a number from {} to {}", range.start(), range.end()),
        })
}

/// A value of another type than expected.
pub(super) fn wrong_type(shape: &Shape, key: &str, expected: &str, value: &DeValue<'_>) -> Wrong {
    let (is, plain) = match value {
        DeValue::String(text) => ("text", printable(text)),
        DeValue::Integer(number) => ("a number", number.to_string()),
        DeValue::Float(number) => ("a number with a fraction", number.to_string()),
        DeValue::Boolean(boolean) => ("true or false", boolean.to_string()),
        DeValue::Datetime(date) => ("a date", date.to_string()),
        DeValue::Array(_) => ("a list", String::new()),
        DeValue::Table(_) => ("a table", String::new()),
    };
    let number = plain.parse::<i64>().is_ok();
    let boolean = matches!(plain.as_str(), "true" | "false");
    let help = match (expected, value) {
        ("text in quotes", _) if !plain.is_empty() => format!("write `{key} = \"{plain}\"`"),
        ("a whole number", DeValue::String(_)) if number => without_quotes(key, &plain),
        ("true or false", DeValue::String(_)) if boolean => without_quotes(key, &plain),
        ("a list in square brackets", DeValue::String(_)) => {
            format!("write `{key} = [\"{plain}\"]`")
        }
        _ => format!("write, for example, {}", shape.example(key)),
    };
    let message = format!("`{key}` must be {expected}, and this is {is}");
    Wrong {
        code: Code::WrongType,
        message,
        help,
    }
}

fn without_quotes(key: &str, plain: &str) -> String {
    format!("write it without quotes: `{key} = {plain}`")
}

/// What the RFCs and others call keys that have plainer names here.
const OTHER_WORDS: [(&str, &str); 6] = [
    ("cir", "rate"),
    ("cbs", "burst"),
    ("ebs", "excess_burst"),
    ("pir", "peak_rate"),
    ("pbs", "peak_burst"),
    ("shape", "scheduler"),
];

fn unknown_key(shape: &Shape, key: &Spanned<impl AsRef<str>>, problems: &mut Problems) -> Problem {
    let word = key.get_ref().as_ref();
    let mut help = problems.did_you_mean(word, shape.key_names());
    if help.is_empty()
        && let Some((_, other)) = TABLES
            .iter()
            .find(|(_, other)| other.key_names().any(|known| known == word))
    {
        help = format!("`{word}` is a key of {}; ", other.header);
    }
    let keys: Vec<_> = shape.key_names().collect();
    if let Some((_, ours)) = OTHER_WORDS
        .iter()
        .find(|(other, ours)| *other == word && shape.key_names().any(|known| known == *ours))
    {
        help = format!("here it is called `{ours}`; ");
    }
    let message = format!("{} has no key `{}`", shape.header, printable(word));
    Problem::new(Code::UnknownKey, key.span(), message)
        .help(format!("{help}its keys are {}", keys.join(", ")))
}

/// "a", "b" or "c".
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
