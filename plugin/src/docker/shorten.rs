//! Cuts long strings out of JSON while it is read, before anything holds them. Pure.
//!
//! Whoever may create a container may give it labels of 64 MiB, and Docker repeats them in the list
//! and in every description. What is cut is still JSON, and still longer than anything of ours may
//! be, so that nothing is taken for what it is not.

use crate::labels::MAX_VALUE_BYTES;

/// How many bytes of a string, as it is written, are kept. One byte takes six at most (`\u0000`).
const LONGEST: usize = 6 * (MAX_VALUE_BYTES + 1);
/// What is kept beyond so that no character is cut in two; more is no text at all.
const SLACK: usize = 16;

/// Where in the JSON text the next byte is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// Between strings.
    #[default]
    Outside,
    /// In a string.
    Text,
    /// After a backslash.
    Escape,
    /// In the digits after `\u`.
    Digits { left: u8, value: u16 },
}

/// Reads JSON text piece by piece.
#[derive(Debug, Default)]
pub(super) struct Shortener {
    at: At,
    /// The length of the string so far.
    length: usize,
    /// The string is too long, and the rest of it is left out.
    cutting: bool,
    /// The last character was the first half of a surrogate pair.
    half: bool,
}

impl Shortener {
    /// Copies from `input` to `output` what is kept, until either ends; returns how much of each was
    /// used.
    pub(super) fn copy(&mut self, input: &[u8], output: &mut [u8]) -> (usize, usize) {
        let mut read = 0;
        let mut room = output.iter_mut();
        let mut written = 0;
        while let Some(rest) = input.get(read..).filter(|rest| !rest.is_empty()) {
            if self.cutting && self.at == At::Text {
                // Most of a long string is passed over here.
                read += rest.iter().position(|byte| is_special(*byte)).unwrap_or(rest.len());
            }
            let Some(byte) = input.get(read) else { break };
            if room.len() == 0 {
                break;
            }
            read += 1;
            if self.keeps(*byte)
                && let Some(place) = room.next()
            {
                *place = *byte;
                written += 1;
            }
        }
        (read, written)
    }

    /// Takes the next byte; whether it is kept.
    fn keeps(&mut self, byte: u8) -> bool {
        match self.at {
            At::Outside => {
                if byte == b'"' {
                    *self = Self { at: At::Text, ..Self::default() };
                }
                return true;
            }
            At::Text if byte == b'"' => {
                self.at = At::Outside;
                return true;
            }
            At::Text => {
                if byte == b'\\' {
                    self.at = At::Escape;
                }
                // Bytes of a character but its first are 10xxxxxx.
                if byte & 0xc0 != 0x80 {
                    self.begin_character();
                }
            }
            At::Escape if byte == b'u' => self.at = At::Digits { left: 4, value: 0 },
            At::Escape => self.at = At::Text,
            At::Digits { left, value } => self.digit(byte, left, value),
        }
        self.length += 1;
        !self.cutting && self.length <= LONGEST + SLACK
    }

    fn begin_character(&mut self) {
        self.cutting |= self.length >= LONGEST && !self.half;
        self.half = false;
    }

    fn digit(&mut self, byte: u8, left: u8, value: u16) {
        let digit = char::from(byte).to_digit(16).and_then(|digit| u16::try_from(digit).ok());
        let value = value << 4 | digit.unwrap_or_default();
        if left > 1 {
            self.at = At::Digits { left: left - 1, value };
        } else {
            self.half = (0xd800..0xdc00).contains(&value);
            self.at = At::Text;
        }
    }
}

fn is_special(byte: u8) -> bool {
    matches!(byte, b'"' | b'\\')
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// What is left of a text that comes in pieces of `piece` bytes.
    fn shortened(text: &str, piece: usize) -> String {
        let mut shortener = Shortener::default();
        let mut kept = Vec::new();
        for mut input in text.as_bytes().chunks(piece) {
            while !input.is_empty() {
                let mut output = [0; 7];
                let (read, written) = shortener.copy(input, &mut output);
                assert!(read > 0, "each step goes on");
                input = &input[read..];
                kept.extend_from_slice(&output[..written]);
            }
        }
        String::from_utf8(kept).unwrap()
    }

    #[test]
    fn what_is_short_stays_as_it_is() {
        let text = r#" {"a":[1,"\"x\\", "\u00e9é🦀\ud83d\ude00",null], "":{"b":""}} "#;
        for piece in 1..text.len() {
            assert_eq!(shortened(text, piece), text);
        }
    }

    #[test]
    fn long_strings_are_cut_and_the_rest_is_read_as_before() {
        for character in ["x", "é", "🦀", r#"\""#, r"\\", r"\n", r"\u0000", r"\ud83d\ude00"] {
            // Beginning with each number of other characters, the cut comes at each place.
            for before in 0..12 {
                let long = "a".repeat(before) + &character.repeat(40_000);
                let text = format!(r#"{{"{long}":"{long}","after":["{long}",1]}}"#);
                let value: Value = serde_json::from_str(&shortened(&text, 5_000)).unwrap();
                let members = value.as_object().unwrap();
                let key = members.keys().find(|key| *key != "after").unwrap();
                for kept in [key.as_str(), members[key].as_str().unwrap()] {
                    assert!(kept.len() > MAX_VALUE_BYTES, "{character}: {}", kept.len());
                    assert!(kept.len() <= LONGEST + SLACK, "{character}: {}", kept.len());
                }
                assert_eq!(members["after"][1], 1, "{character}");
            }
        }
    }

    #[test]
    fn what_is_no_text_is_cut_too() {
        let mut shortener = Shortener::default();
        let input = [vec![b'"'], vec![0x80; 100_000]].concat();
        let (read, written) = shortener.copy(&input, &mut vec![0; 200_000]);
        assert_eq!(read, input.len());
        assert!(written <= LONGEST + SLACK + 1, "{written}");
    }
}
