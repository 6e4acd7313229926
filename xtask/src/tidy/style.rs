//! How a file looks: its head, its length, and what must not be left in it.

use super::rust_text::has_word;
use super::tree::{Tree, Violation, numbered};

/// Lines of a file without its tests: above this it holds more than one concept.
const LONGEST: usize = 600;

/// A reader learns from the first line what a file is for.
pub(super) fn files_say_what_they_are_for(tree: &Tree) -> Vec<Violation> {
    let silent = tree.with_extension("rs").filter(|(_, file)| !file.text.starts_with("//! "));
    let what = "open the file with `//!`: what it is for and what it must not do";
    silent.map(|(path, _)| Violation::new(path, 1, what)).collect()
}

/// One concept a file.
pub(super) fn files_are_short(tree: &Tree) -> Vec<Violation> {
    let all = |path: &str| tree.get(path).map_or(0, |file| file.text.lines().count());
    let files = tree
        .with_extension("rs")
        .map(|(path, _)| (path, tree.tests_from(path).map_or_else(|| all(path), |from| from - 1)));
    let long = files.filter(|(_, length)| *length > LONGEST);
    long.map(|(path, length)| {
        let what = format!("{length} lines without tests, at most {LONGEST}: split it by concept");
        Violation::new(path, LONGEST, what)
    })
    .collect()
}

/// What is left to do is an issue, and the comment names it.
pub(super) fn leftovers_name_an_issue(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, file) in tree.with_extension("rs") {
        for (number, line) in numbered(&file.rust.comments) {
            if has_word(line, "FIXME") || has_word(line, "XXX") || unnamed_todo(line) {
                let what = "open an issue and name it: `TODO(#12): …`";
                found.push(Violation::new(path, number, what));
            }
        }
    }
    found
}

/// Whether a comment leaves something to do without an issue's number.
fn unnamed_todo(line: &str) -> bool {
    let Some((_, after)) = line.split_once("TODO") else { return false };
    let number = after.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
    !number
        .is_some_and(|(digits, _)| !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit()))
}

/// Output is written on purpose, logs go through tracing; what is left of debugging goes.
pub(super) fn nothing_prints_unasked(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, file) in tree.with_extension("rs") {
        let code = &file.rust.code;
        let expected = |lint: &str| code.contains(&format!("#[expect(clippy::{lint}"));
        let printing = [
            ("println!", expected("print_stdout")),
            ("print!", expected("print_stdout")),
            ("eprintln!", expected("print_stderr")),
            ("eprint!", expected("print_stderr")),
            ("dbg!", false),
        ];
        let end = tree.tests_from(path).unwrap_or(usize::MAX);
        for (number, line) in numbered(code).take_while(|(number, _)| *number < end) {
            for (name, allowed) in printing {
                if !allowed && has_macro(line, name) {
                    let what =
                        format!("{name}: log with tracing, or write to a `Write` on purpose");
                    found.push(Violation::new(path, number, what));
                }
            }
        }
    }
    found
}

fn has_macro(line: &str, name: &str) -> bool {
    has_word(line, name.trim_end_matches('!')) && {
        let before = |at: usize| line.get(..at).and_then(|text| text.chars().next_back());
        line.match_indices(name)
            .any(|(at, _)| !before(at).is_some_and(|c| c.is_alphanumeric() || c == '_'))
    }
}

/// Asserts that `rule` finds something, or nothing, in a repository of this one file.
#[cfg(test)]
pub(super) fn check(rule: super::Rule, path: &str, text: &str, broken: bool) {
    let found = rule(&Tree::of(&[(path, text)]));
    assert_eq!(!found.is_empty(), broken, "{path} with {text:?}: {found:?}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_says_nothing_is_found() {
        check(files_say_what_they_are_for, "a.rs", "#![no_std]\n//! x\n", true);
        check(files_say_what_they_are_for, "a.rs", "//! What it is for.\n", false);
        check(files_say_what_they_are_for, "a.md", "text", false);
    }

    #[test]
    fn a_long_file_is_found_and_its_tests_do_not_count() {
        let (at_most, more) = ("f();\n".repeat(LONGEST), "f();\n".repeat(LONGEST + 1));
        check(files_are_short, "a.rs", &more, true);
        check(files_are_short, "a.rs", &at_most, false);
        let tests = format!("f();\n#[cfg(test)]\nmod tests {{\n{more}}}\n");
        check(files_are_short, "a.rs", &tests, false);
    }

    #[test]
    fn a_leftover_without_an_issue_is_found() {
        let rule = leftovers_name_an_issue;
        check(rule, "a.rs", "// TODO: later", true);
        check(rule, "a.rs", "// TODO(me): later", true);
        check(rule, "a.rs", "// FIXME", true);
        check(rule, "a.rs", "// TODO(#12): later", false);
        check(rule, "a.rs", "let text = \"TODO\";", false);
    }

    #[test]
    fn printing_is_found_unless_it_is_the_purpose() {
        let rule = nothing_prints_unasked;
        check(rule, "a.rs", "println!(\"x\");", true);
        check(rule, "a.rs", "dbg!(x);", true);
        check(rule, "a.rs", "eprintln!(\"x\");", true);
        let expected = "#[expect(clippy::print_stdout, reason = \"\")]\nprintln!(\"x\");";
        check(rule, "a.rs", expected, false);
        check(rule, "a.rs", "writeln!(out, \"x\");", false);
        check(rule, "a.rs", "#[cfg(test)]\nmod tests {\nprintln!(\"x\");\n}", false);
    }
}
