//! Text that others chose, made fit for a terminal and a log.
//!
//! Names of containers, networks, interfaces and programs may hold escape sequences that rewrite
//! the screen, direction marks that make one name look like another, and line breaks that forge a
//! log line.

use std::fmt::{self, Write as _};

/// Untrusted text, shown with everything escaped that is not plainly visible.
///
/// Has no line break in it, ever.
#[derive(Clone, Copy, Debug)]
pub struct Printable<'a> {
    text: &'a str,
    limit: usize,
}

/// Shows untrusted text, however long.
#[must_use]
pub fn printable(text: &str) -> Printable<'_> {
    Printable { text, limit: usize::MAX }
}

/// Shows untrusted text, cut after `limit` characters with a mark where it was cut.
#[must_use]
pub fn printable_up_to(text: &str, limit: usize) -> Printable<'_> {
    Printable { text, limit }
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.limit;
        for c in self.text.chars() {
            let escaped = if is_visible(c) { 1 } else { c.escape_default().count() };
            if escaped > left {
                return f.write_str("...");
            }
            left -= escaped;
            if escaped == 1 { f.write_char(c)? } else { write!(f, "{}", c.escape_default())? }
        }
        Ok(())
    }
}

/// Whether a character shows as itself, cannot be taken for a plain space and changes nothing
/// around it.
pub(crate) fn is_visible(c: char) -> bool {
    !c.is_control()
        && (c == ' ' || !c.is_whitespace())
        && !matches!(c,
            '\u{ad}'                    // soft hyphen
            | '\u{34f}'                 // combining grapheme joiner
            | '\u{61c}'                 // Arabic letter mark
            | '\u{115f}'..='\u{1160}'   // Hangul fillers
            | '\u{17b4}'..='\u{17b5}'   // Khmer inherent vowels
            | '\u{180b}'..='\u{180f}'   // Mongolian selectors
            | '\u{200b}'..='\u{200f}'   // zero width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'   // line and paragraph separators, direction overrides
            | '\u{2060}'..='\u{206f}'   // word joiner, direction isolates
            | '\u{3164}'                // Hangul filler
            | '\u{fe00}'..='\u{fe0f}'   // variation selectors
            | '\u{feff}'                // byte order mark
            | '\u{ffa0}'                // half-width Hangul filler
            | '\u{fff0}'..='\u{fffb}'   // interlinear annotation
            | '\u{1d173}'..='\u{1d17a}' // musical format characters
            | '\u{e0000}'..='\u{e0fff}' // tags, more variation selectors
            | '\u{e000}'..='\u{f8ff}'   // private use: whatever the font has
            | '\u{f0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_visible_stays_and_the_rest_is_escaped() {
        let cases = [
            ("web-1", "web-1"),
            ("käse 網路", "käse 網路"),
            ("a\\b", "a\\b"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\nb\r\t\0", "a\\nb\\r\\t\\u{0}"),
            ("\u{7f}\u{9b}", "\\u{7f}\\u{9b}"),
            ("\u{202e}cba", "\\u{202e}cba"),
            ("a\u{200b}b", "a\\u{200b}b"),
            ("a\u{2028}b\u{2029}", "a\\u{2028}b\\u{2029}"),
            ("\u{feff}x", "\\u{feff}x"),
            ("\u{e0041}", "\\u{e0041}"),
            ("a b\u{a0}c\u{2003}d\u{3000}", "a b\\u{a0}c\\u{2003}d\\u{3000}"),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text).to_string(), expected);
        }
    }

    #[test]
    fn a_limit_counts_what_is_shown_and_cuts_no_escape() {
        let cases =
            [("abc", 3, "abc"), ("abcd", 3, "abc..."), ("ab\u{1b}", 4, "ab..."), ("", 0, "")];
        for (text, limit, expected) in cases {
            assert_eq!(printable_up_to(text, limit).to_string(), expected, "{text:?} {limit}");
        }
    }
}
