//! A TOML document, read key by key so that every problem in it is found, with its line. Pure.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use crate::labels::nearest;

/// A value and where it stands.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// What is wrong with one document.
pub(super) struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    problems: Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, problems: Vec::new() }
    }

    /// What is wrong, in the order of the lines.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(Problem::line);
        self.problems
    }

    /// The document; empty if it is not TOML.
    pub(super) fn parse(&mut self) -> DeTable<'a> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        if errors.is_empty() {
            return table.into_inner();
        }
        for error in errors {
            self.problem(error.span().unwrap_or_default(), error.message());
        }
        DeTable::new()
    }

    /// Notes what is wrong at a place of the document.
    pub(super) fn problem(&mut self, at: Range<usize>, sentence: impl Into<String>) {
        let before = self.text.bytes().take(at.start);
        let line = before.filter(|byte| *byte == b'\n').count() + 1;
        self.problems.push(Problem::of_line(self.path, line, sentence));
    }

    /// Notes a key that is none of those that are known.
    pub(super) fn unknown_key(&mut self, at: Range<usize>, key: &str, known: &[&str]) {
        let meant = nearest(key, known.iter().copied());
        let meant = meant.map_or(String::new(), |word| format!("; did you mean {word}?"));
        let known = known.join(", ");
        self.problem(at, format!("unknown key {key}: expected one of {known}{meant}"));
    }

    /// A value that is true or false.
    pub(super) fn boolean(&mut self, key: &str, value: &Value<'_>) -> Option<bool> {
        let found = value.get_ref();
        let boolean = found.as_bool();
        if boolean.is_none() {
            self.unexpected(key, value, "true or false");
        }
        boolean
    }

    /// A value that is text.
    pub(super) fn string<'v>(&mut self, key: &str, value: &'v Value<'_>) -> Option<&'v str> {
        let string = value.get_ref().as_str();
        if string.is_none() {
            self.unexpected(key, value, "a string");
        }
        string
    }

    /// A value that is a list of texts.
    pub(super) fn strings<'v>(
        &mut self,
        key: &str,
        value: &'v Value<'_>,
    ) -> Vec<(Range<usize>, &'v str)> {
        let DeValue::Array(items) = value.get_ref() else {
            self.unexpected(key, value, "a list of strings");
            return Vec::new();
        };
        let texts = items.iter().map(|item| Some((item.span(), self.string(key, item)?)));
        texts.collect::<Vec<_>>().into_iter().flatten().collect()
    }

    /// A value that is one of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        words: &[(&str, T)],
    ) -> Option<T> {
        let found = self.string(key, value)?;
        let meaning = words.iter().find(|(word, _)| *word == found).map(|(_, meaning)| *meaning);
        if meaning.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let meant = nearest(found, known.iter().copied());
            let meant = meant.map_or(String::new(), |word| format!("; did you mean {word}?"));
            let known = known.join(", ");
            self.problem(
                value.span(),
                format!("{key}: found \"{found}\", expected one of {known}{meant}"),
            );
        }
        meaning
    }

    fn unexpected(&mut self, key: &str, value: &Value<'_>, expected: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.problem(value.span(), format!("{key}: found {found}, expected {expected}"));
    }
}
