//! What tests must be like.

use super::rust_text::has_word;
use super::tree::{Tree, Violation, numbered};

/// The ways in which others' tools fail; each has a test that carries its number.
const TRAPS: [&str; 11] = ["t5", "t6", "t7", "t9", "t10", "t11", "t18", "t20", "t21", "t23", "t25"];
/// The one place that waits.
const WAIT: &str = "tests/src/wait.rs";

/// Lines of code with `attribute`.
fn with_attribute(tree: &Tree, attribute: &str, what: &str) -> Vec<Violation> {
    let has = |line: &str| {
        let rest = line.trim().strip_prefix("#[").and_then(|rest| rest.strip_prefix(attribute));
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    tree.with_extension("rs")
        .flat_map(|(path, file)| {
            let lines = numbered(&file.rust.code).filter(|(_, line)| has(line));
            lines.map(move |(number, _)| Violation::new(path, number, what))
        })
        .collect()
}

/// A test that does not run proves nothing.
pub(super) fn no_test_is_ignored(tree: &Tree) -> Vec<Violation> {
    with_attribute(tree, "ignore", "an ignored test: make it run or remove it")
}

/// A panic somewhere is not the failure that a test means.
pub(super) fn no_test_expects_a_panic(tree: &Tree) -> Vec<Violation> {
    with_attribute(tree, "should_panic", "return an error and assert what it says")
}

/// A test that sleeps is slow where it works and wrong where the machine is slower.
pub(super) fn no_test_sleeps(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, file) in tree.with_extension("rs").filter(|(path, _)| *path != WAIT) {
        let code = &file.rust.code;
        let harness = path.starts_with("tests/").then_some(1);
        let from = harness.or_else(|| tree.tests_from(path)).unwrap_or(usize::MAX);
        for (number, line) in numbered(code).filter(|(number, _)| *number >= from) {
            if has_word(line, "sleep") {
                let what = format!("sleeps: wait for what you expect, with a deadline ({WAIT})");
                found.push(Violation::new(path, number, what));
            }
        }
    }
    found
}

/// Each trap has a test that would fall into it.
pub(super) fn traps_have_tests(tree: &Tree) -> Vec<Violation> {
    let files = tree.with_extension("rs").filter(|(path, _)| path.starts_with("tests/tests/"));
    let code: String = files.map(|(_, file)| file.rust.code.as_str()).collect();
    let names: Vec<&str> = code.split("fn ").skip(1).collect();
    let has = |trap: &str| names.iter().any(|name| name.starts_with(&format!("{trap}_")));
    let missing = TRAPS.iter().filter(|trap| !has(trap));
    missing
        .map(|trap| {
            let what = format!("no test named `{trap}_…` in tests/tests: write it");
            Violation::new("tests/tests", 1, what)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::style::check;
    use super::*;

    #[test]
    fn an_ignored_test_is_found() {
        check(no_test_is_ignored, "tests/tests/a.rs", "#[test]\n#[ignore = \"slow\"]", true);
        check(no_test_is_ignored, "tests/tests/a.rs", "#[test]\n#[ignored_by_us]", false);
    }

    #[test]
    fn a_test_that_expects_a_panic_is_found() {
        check(no_test_expects_a_panic, "a/src/lib.rs", "    #[should_panic]", true);
        check(no_test_expects_a_panic, "a/src/lib.rs", "// #[should_panic]", false);
    }

    #[test]
    fn a_test_that_sleeps_is_found() {
        let check = |path: &str, text: &str, broken| check(no_test_sleeps, path, text, broken);
        check("tests/tests/a.rs", "thread::sleep(SECOND);", true);
        check("a/src/lib.rs", "f();\n#[cfg(test)]\nmod tests {\nsleep(1);\n}", true);
        check("a/src/lib.rs", "sleep(1);", false);
        check("tests/src/wait.rs", "sleep(1);", false);
        check("tests/tests/a.rs", "docker(&[\"sleep\"]);", false);
    }

    #[test]
    fn a_missing_trap_is_found() {
        let all = TRAPS.map(|trap| format!("fn {trap}_is_avoided() {{}}\n")).concat();
        check(traps_have_tests, "tests/tests/a.rs", &all, false);
        check(traps_have_tests, "tests/tests/a.rs", &all.replace("fn t20_", "fn t2_"), true);
        check(traps_have_tests, "tests/src/a.rs", &all, true);
    }
}
