//! A line of somebody's text with a caret below what is wrong in it. Pure.

use std::fmt;

use ebpf_netns::text;

/// Characters of a line that are shown on each side of what is wrong in it.
const CHARS: usize = 80;

/// A line, or what is around the place in a long one, and the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Excerpt {
    shown: String,
    caret: usize,
}

impl Excerpt {
    /// The place is before the character at `column`; 1 is the first.
    pub(crate) fn new(column: usize, line: &str) -> Self {
        let column = column.max(1);
        let from = column.saturating_sub(CHARS);
        let before: String = line.chars().take(column - 1).skip(from).collect();
        let after: String = line.chars().skip(column - 1).collect();
        let before = text::printable(&before).to_string();
        let before = if from > 0 { format!("...{before}") } else { before };
        let caret = before.chars().count();
        let after = text::printable_up_to(&after, CHARS);
        Self { shown: format!("{before}{after}"), caret }
    }
}

impl fmt::Display for Excerpt {
    /// Two lines, indented.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shown, caret } = self;
        write!(f, "    {shown}\n    {:caret$}^", "")
    }
}
