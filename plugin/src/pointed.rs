//! A text of one line that somebody typed: its words, and what is wrong with it and where. Pure.

use std::fmt;

use ebpf_netns::text::{printable, printable_up_to};

/// Characters of untrusted text that a message repeats.
const QUOTED_CHARS: usize = 60;
/// Characters of the text that are shown with a caret.
const SHOWN_CHARS: usize = 256;

/// What is wrong: in one line, and with `{:#}` the text and a caret below the column follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextError {
    what: &'static str,
    column: usize,
    found: Option<String>,
    expected: String,
    text: String,
}

impl TextError {
    /// What is wrong with a text that is called `what`: a word with the column of its first character
    /// (1 is the first) or, without one, its end.
    pub(crate) fn new(
        what: &'static str,
        text: &str,
        found: Option<(usize, &str)>,
        expected: impl Into<String>,
    ) -> Self {
        Self {
            what,
            column: found.map_or_else(|| text.chars().count() + 1, |(column, _)| column),
            found: found.map(|(_, word)| word.to_owned()),
            expected: expected.into(),
            text: printable_up_to(text, SHOWN_CHARS).to_string(),
        }
    }
}

/// A word, and the column of its first character: 1 is the first of the text.
#[derive(Clone, Copy)]
pub(crate) struct Word<'a> {
    pub(crate) text: &'a str,
    pub(crate) column: usize,
}

impl<'a> Word<'a> {
    /// What the word ends in, as a word of its own.
    pub(crate) fn end(self, text: &'a str) -> Self {
        let column = self.column + self.text.chars().count() - text.chars().count();
        Self { text, column }
    }
}

/// The words of a text, one after the other.
pub(crate) struct Words<'a> {
    what: &'static str,
    text: &'a str,
    all: Vec<Word<'a>>,
    next: usize,
}

impl<'a> Words<'a> {
    /// The words of a text that is called `what` and has at most so many bytes. What is between
    /// spaces is a word, and so is each character that `is_word` says is one wherever it stands.
    pub(crate) fn new(
        what: &'static str,
        text: &'a str,
        most: usize,
        is_word: fn(char) -> bool,
    ) -> Result<Self, TextError> {
        if text.len() > most {
            let expected = format!("at most {most} bytes");
            return Err(TextError::new(what, text, Some((1, text)), expected));
        }
        let ends = |c: char| c.is_whitespace() || is_word(c);
        let (mut all, mut rest, mut column) = (Vec::new(), text, 1);
        while let Some(first) = rest.chars().next() {
            let length = match first {
                first if ends(first) => first.len_utf8(),
                _ => rest.find(ends).unwrap_or(rest.len()),
            };
            let (word, after) = rest.split_at(length);
            if !first.is_whitespace() {
                all.push(Word { text: word, column });
            }
            column += word.chars().count();
            rest = after;
        }
        Ok(Self { what, text, all, next: 0 })
    }

    /// The next word, which stays the next one.
    pub(crate) fn peek(&self) -> Option<Word<'a>> {
        self.all.get(self.next).copied()
    }

    /// Passes over the next word.
    pub(crate) fn skip(&mut self) {
        self.next += 1;
    }

    /// Takes the next word, which there is to be.
    pub(crate) fn take(&mut self, expected: &str) -> Result<Word<'a>, TextError> {
        let word = self.peek();
        self.skip();
        word.ok_or_else(|| self.wrong(None, expected))
    }

    /// What is wrong with a word or, without one, with the end.
    pub(crate) fn wrong(&self, word: Option<Word<'_>>, expected: impl Into<String>) -> TextError {
        TextError::new(self.what, self.text, word.map(|word| (word.column, word.text)), expected)
    }
}

impl fmt::Display for TextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, column, found, expected, text } = self;
        write!(f, "column {column}: found ")?;
        match found {
            Some(found) => write!(f, "\"{}\"", printable_up_to(found, QUOTED_CHARS))?,
            None => write!(f, "the end of the {what}")?,
        }
        write!(f, ", expected {expected}")?;
        if !f.alternate() {
            return Ok(());
        }
        let before: String = text.chars().take(column - 1).collect();
        let caret = printable(&before).to_string().chars().count();
        write!(f, "\n    {}\n    {:caret$}^", printable(text), "")
    }
}

impl std::error::Error for TextError {}
