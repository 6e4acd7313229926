//! What is wrong with a text of one line that somebody typed, and where. Pure.

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
