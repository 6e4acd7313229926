//! What Compose makes of a scalar, and where in the file each character of it stands. Pure.

use saphyr_parser::ScalarStyle;

use super::yaml::{Kind, Node, Yaml};
use crate::finding::Place;

/// Why the text of a scalar cannot be told from the file alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unclear {
    /// It has a variable.
    Variable,
    /// It is a number that is not printed as it is written.
    Number,
    /// It has a tag.
    Tag,
}

impl Unclear {
    /// What is wrong, and the way out.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Self::Variable => {
                "has a variable, which Compose fills in: check what it makes of it, \
                 docker compose config | ebpf-netns check --compose -, or write $$ for a $"
            }
            Self::Number => {
                "is a number or a date, which Compose writes in its own way: put it in quotes"
            }
            Self::Tag => {
                "has a tag, which is not followed here: check what Compose makes of it, \
                 docker compose config | ebpf-netns check --compose -"
            }
        }
    }
}

/// The text of a scalar as a container's label has it: numbers, true and false as they are
/// written, nothing as nothing.
pub(super) fn text(node: &Node<'_>) -> Option<Result<String, Unclear>> {
    let Kind::Scalar { text, style } = &node.kind else { return None };
    let is_text = match node.tag.as_deref() {
        None => *style != ScalarStyle::Plain,
        Some("tag:yaml.org,2002:str" | "!") => true,
        Some(_) => return Some(Err(Unclear::Tag)),
    };
    if !is_text {
        match text.as_ref() {
            "" | "~" | "null" | "Null" | "NULL" => return Some(Ok(String::new())),
            "true" | "True" | "TRUE" => return Some(Ok("true".to_owned())),
            "false" | "False" | "FALSE" => return Some(Ok("false".to_owned())),
            text if is_number(text) => return Some(Err(Unclear::Number)),
            _ => {}
        }
    }
    Some(interpolated(text))
}

/// Without `$$`; variables are not known here.
fn interpolated(text: &str) -> Result<String, Unclear> {
    let mut parts = text.split("$$");
    if parts.any(|part| part.contains('$')) {
        Err(Unclear::Variable)
    } else {
        Ok(text.replace("$$", "$"))
    }
}

/// Whether plain text is a number or a date to Compose that it prints in another way, perhaps.
fn is_number(text: &str) -> bool {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if plain && text.len() < 19 && (text == "0" || !text.starts_with('0')) {
        return false;
    }
    let digits = text.replace('_', "");
    let unsigned = digits.trim_start_matches(['+', '-']);
    let based = ["0x", "0X", "0o", "0O", "0b", "0B"].iter().any(|base| unsigned.starts_with(base));
    let word = [".inf", ".nan"].iter().any(|word| unsigned.eq_ignore_ascii_case(word));
    let date = text.len() >= 8
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .split('-')
            .take(2)
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        && text.split('-').count() >= 3;
    let begins = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    based || word || date || (begins && unsigned.parse::<f64>().is_ok())
}

/// Where the character at a line and column of a scalar's text stands in the file, if that can be
/// told. `skipped` characters of its first line are not of what line and column are about.
pub(super) fn place(
    yaml: &Yaml<'_>,
    node: &Node<'_>,
    skipped: usize,
    (line, column): (usize, usize),
) -> Option<Place> {
    let Kind::Scalar { text, style } = &node.kind else { return None };
    // The text would be shorter than what stands there.
    if text.contains("$$") {
        return None;
    }
    let skipped = if line == 1 { skipped } else { 0 };
    let within = column.checked_sub(1)? + skipped;
    let Place { line: first, column: start } = node.start;
    if *style == ScalarStyle::Literal {
        let wanted = text.split('\n').nth(line.checked_sub(1)?)?;
        // The node begins with its first line that is not empty.
        let empty = text.chars().take_while(|c| *c == '\n').count();
        let number = (first + line - 1).checked_sub(empty)?;
        let indent = yaml.line(number).strip_suffix(wanted)?;
        return Some(Place { line: number, column: indent.chars().count() + within + 1 });
    }
    if *style == ScalarStyle::Folded || node.last_line != first {
        return None;
    }
    let before = text.split('\n').take(line.checked_sub(1)?).map(|line| line.chars().count() + 1);
    let index = before.sum::<usize>() + within;
    let written: Vec<char> = yaml.line(first).chars().skip(start - 1).collect();
    let offset = match style {
        ScalarStyle::Plain => index,
        ScalarStyle::SingleQuoted => {
            1 + quoted(written.get(1..)?, index, |rest| {
                if rest.starts_with(&['\'', '\'']) { 2 } else { 1 }
            })
        }
        _ => {
            1 + quoted(written.get(1..)?, index, |rest| match rest {
                ['\\', 'x', ..] => 4,
                ['\\', 'u', ..] => 6,
                ['\\', 'U', ..] => 10,
                ['\\', ..] => 2,
                _ => 1,
            })
        }
    };
    Some(Place { line: first, column: start + offset })
}

/// How far into what is written the character with this index is; `length` tells how long the
/// first of the rest is.
fn quoted(written: &[char], index: usize, length: impl Fn(&[char]) -> usize) -> usize {
    let mut at = 0;
    for _ in 0..index {
        at += written.get(at..).map_or(1, &length);
    }
    at.min(written.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(written: &str, expected: Result<&str, Unclear>) {
        let yaml = Yaml::parse(written).expect("YAML");
        let node = yaml.roots.first().and_then(|root| yaml.get(*root)).expect("a node");
        let expected = expected.map(str::to_owned);
        assert_eq!(text(node), Some(expected), "{written:?}");
    }

    #[test]
    fn scalars_are_what_compose_makes_of_them() {
        for (written, text) in [
            ("true", "true"),
            ("True", "true"),
            ("FALSE", "false"),
            ("'True'", "True"),
            ("yes", "yes"),
            ("on", "on"),
            ("~", ""),
            ("null", ""),
            ("''", ""),
            ("6", "6"),
            ("0", "0"),
            ("443", "443"),
            ("'0x50'", "0x50"),
            ("!!str 017", "017"),
            ("3-tier", "3-tier"),
            ("10.0.0.1", "10.0.0.1"),
            ("a$$b", "a$b"),
            ("'$$$$'", "$$"),
            ("\"a\\nb\"", "a\nb"),
            ("|\n  a\n  b\n", "a\nb\n"),
            (">-\n  a\n  b\n", "a b"),
            ("inf", "inf"),
            ("nan", "nan"),
        ] {
            is(written, Ok(text));
        }
        for written in [
            "0x50",
            "017",
            "1e3",
            "1_000",
            "+5",
            "-5",
            "1.5",
            ".5",
            ".inf",
            "-.INF",
            ".nan",
            "0b1",
            "2026-01-02",
            "2026-1-2 10:00:00",
            "99999999999999999999",
        ] {
            is(written, Err(Unclear::Number));
        }
        for written in ["${X}", "$X", "'${X:-log}'", "log,${X}", "a$", "$$$X", "$1"] {
            is(written, Err(Unclear::Variable));
        }
        is("!reset null", Err(Unclear::Tag));
    }

    /// The `#` of a text, and the `#` of what is written, which are to be the same.
    #[track_caller]
    fn stands(written: &str) {
        let yaml = Yaml::parse(written).expect("YAML");
        let root = yaml.roots.first().and_then(|root| yaml.get(*root)).expect("a node");
        let Kind::Mapping(entries) = &root.kind else { panic!("{written:?} is a mapping") };
        let node = yaml.get(entries[0].1).expect("a node");
        let text = text(node).expect("a scalar").expect("clear");
        let of = |text: &str| {
            let found = text.split('\n').zip(1..).find_map(|(line, number)| {
                Some((number, line.chars().position(|c| c == '#')? + 1))
            });
            found.expect("a mark")
        };
        let (line, column) = of(written);
        assert_eq!(place(&yaml, node, 0, of(&text)), Some(Place { line, column }), "{written:?}");
    }

    #[test]
    fn each_character_knows_where_it_stands() {
        for written in [
            "a: b#c",
            "a:   'b#c'",
            "é: 'it''s ''#'",
            "a: 'it''s#'",
            "a: \"\\t\\x41\\u00e9\\\"#\"",
            "a: \"x\\ny#\"",
            "a: |\n  é\n  b#c\n  d\n",
            "\n\na: |2-\n    é\n    b#c",
            "a: |\n\n   b\n   #",
            "a: |\r\n  b\r\n  c#\r\n",
        ] {
            stands(written);
        }
    }
}
