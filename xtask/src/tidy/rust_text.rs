//! A Rust file in three layers, line for line: its code, its strings and its comments.
//!
//! Rules look for words; a word in a comment is not a use of what it names. This is a scanner for
//! that purpose alone: it knows where comments and strings begin and end, and nothing else.

use super::tree::numbered;

/// The layers; each has as many lines as the file, with blanks in place of what is not in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RustText {
    pub(super) code: String,
    pub(super) strings: String,
    pub(super) comments: String,
}

/// What a character belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layer {
    Code,
    String,
    Comment,
}

impl RustText {
    pub(super) fn new(text: &str) -> Self {
        let mut scanned = Self::default();
        let mut rest = text;
        while !rest.is_empty() {
            let (layer, length) = next(rest, scanned.code.chars().next_back());
            let (taken, after) = rest.split_at(length.min(rest.len()));
            scanned.push(layer, taken);
            rest = after;
        }
        scanned
    }

    fn push(&mut self, layer: Layer, text: &str) {
        let layers = [
            (Layer::Code, &mut self.code),
            (Layer::String, &mut self.strings),
            (Layer::Comment, &mut self.comments),
        ];
        for (kind, target) in layers {
            let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
            target.extend(text.chars().map(|c| if kind == layer { c } else { blank(c) }));
        }
    }
}

/// The kind and the length of what comes first, `before` being the last character of code.
fn next(text: &str, before: Option<char>) -> (Layer, usize) {
    if text.starts_with("//") {
        return (Layer::Comment, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (Layer::Comment, block_comment(text));
    }
    if text.starts_with('"') {
        return (Layer::String, quoted(text, 1));
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if !in_word && let Some(length) = raw_string(text) {
        return (Layer::String, length);
    }
    if let Some(length) = character(text) {
        return (Layer::String, length);
    }
    (Layer::Code, text.chars().next().map_or(1, char::len_utf8))
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, _) in text.char_indices() {
        let rest = text.get(at..).unwrap_or_default();
        if rest.starts_with("/*") {
            depth += 1;
        } else if text.get(..at).unwrap_or_default().ends_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    text.len()
}

/// The length of a string whose opening quote is before `from`.
fn quoted(text: &str, from: usize) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(from) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of `r"…"`, `br#"…"#` and the like, if the text begins with one.
fn raw_string(text: &str) -> Option<usize> {
    let unprefixed = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let hashes = unprefixed.strip_prefix('r')?;
    let content = hashes.trim_start_matches('#');
    let count = hashes.len() - content.len();
    let content = content.strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(count));
    let length = content.find(&close).map_or(content.len(), |at| at + close.len());
    Some(text.len() - content.len() + length)
}

/// The length of a character literal; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let content = text.strip_prefix('\'')?;
    if content.starts_with('\\') {
        let close = content.char_indices().skip(2).find(|(_, c)| *c == '\'')?.0;
        return Some(close + 2);
    }
    let c = content.chars().next()?;
    content.get(c.len_utf8()..)?.starts_with('\'').then_some(c.len_utf8() + 2)
}

/// Whether `word` stands in `line`, not as a part of a longer name.
pub(super) fn has_word(line: &str, word: &str) -> bool {
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (line.get(..at), line.get(at + word.len()..));
        !part(before.and_then(|text| text.chars().next_back()))
            && !part(after.and_then(|text| text.chars().next()))
    })
}

/// What the code imports, as full paths, with the line that the import begins at.
pub(super) fn imports(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in numbered(code) {
        let (start, mut import) = match open.take() {
            Some(begun) => begun,
            None if has_word(line, "use") => (number, String::new()),
            None => continue,
        };
        import.push_str(line);
        if let Some((import, _)) = import.split_once(';') {
            let tree = import.split_once("use ").map_or("", |(_, tree)| tree);
            found.extend(leaves("", tree).into_iter().map(|path| (start, path)));
        } else {
            open = Some((start, import));
        }
    }
    found
}

/// The paths in a tree like `a::{b, c::{d, e}}`.
fn leaves(prefix: &str, tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else {
        return vec![format!("{prefix}{}", tree.trim())];
    };
    let prefix = format!("{prefix}{}", head.trim());
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let mut depth = 0_i32;
    let parts = inner.split(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        c == ',' && depth == 0
    });
    let parts: Vec<&str> = parts.filter(|part| !part.trim().is_empty()).collect();
    parts.into_iter().flat_map(|part| leaves(&prefix, part)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, code: &str, strings: &str, comments: &str) {
        let scanned = RustText::new(text);
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&scanned.code), code, "code of {text}");
        assert_eq!(squeeze(&scanned.strings), strings, "strings of {text}");
        assert_eq!(squeeze(&scanned.comments), comments, "comments of {text}");
    }

    #[test]
    fn words_are_in_the_layer_they_stand_in() {
        check("a(); // b", "a();", "", "// b");
        check("a /* b /* c */ d */ e", "a e", "", "/* b /* c */ d */");
        check(r#"f("x // \" y"); g"#, "f( ); g", r#""x // \" y""#, "");
        check(r##"f(r#"a " b"#, br"c")"##, "f( , )", r##"r#"a " b"# br"c""##, "");
        check(r"let c: &'a str = '\''; '/'", r"let c: &'a str = ;", r"'\'' '/'", "");
        check("for_r\"x\"", "for_r", "\"x\"", "");
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "a\n/* b\nc */\n\"d\ne\"\n";
        let RustText { code, strings, comments } = RustText::new(text);
        for layer in [code, strings, comments] {
            assert_eq!(layer.lines().count(), text.lines().count(), "{layer:?}");
        }
    }

    #[test]
    fn imports_are_told_apart() {
        let code =
            "//! x\npub(crate) use a;\nuse std::{\n    fs,\n    io::{self, Read as _},\n};\n";
        let found: Vec<String> =
            imports(code).into_iter().map(|(line, path)| format!("{line} {path}")).collect();
        assert_eq!(found, ["2 a", "3 std::fs", "3 std::io::self", "3 std::io::Read as _"]);
    }

    #[test]
    fn a_word_is_not_a_part_of_a_name() {
        assert!(has_word("use aya::maps;", "aya"));
        assert!(!has_word("use aya_ebpf::maps;", "aya"));
        assert!(!has_word("playa", "aya"));
    }
}
