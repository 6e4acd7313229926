//! The files that the rules look at, and what a rule says about them.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::rust_text::RustText;

/// Directories that hold nothing of ours.
const SKIPPED: [&str; 3] = ["target", ".git", "node_modules"];

/// The repository's text files by their path from its root.
#[derive(Debug, Default)]
pub(super) struct Tree {
    files: BTreeMap<String, File>,
    /// See [`Self::test_modules`].
    test_modules: OnceCell<Vec<String>>,
}

/// One text file.
#[derive(Debug)]
pub(super) struct File {
    pub(super) text: String,
    /// For Rust, where comments and strings are; empty for other files.
    pub(super) rust: RustText,
}

/// A broken rule: where, what, and the way out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Violation {
    path: String,
    line: usize,
    what: String,
}

impl Violation {
    pub(super) fn new(path: &str, line: usize, what: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), line, what: what.to_string() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, what } = self;
        write!(f, "{path}:{line}: {what}")
    }
}

impl Tree {
    /// Reads the repository at `root`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let mut tree = Self::default();
        tree.read_dir(root, root)?;
        Ok(tree)
    }

    fn read_dir(&mut self, root: &Path, dir: &Path) -> Result<()> {
        let entries = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", dir.display()))?;
            let (path, name) = (entry.path(), entry.file_name());
            let kind = entry.file_type().with_context(|| format!("look at {}", path.display()))?;
            if kind.is_dir() && !SKIPPED.contains(&name.to_string_lossy().as_ref()) {
                self.read_dir(root, &path)?;
            } else if kind.is_file()
                && let Ok(relative) = path.strip_prefix(root)
                && let Ok(text) = fs::read_to_string(&path)
            {
                self.insert(&relative.to_string_lossy(), text);
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: &str, text: String) {
        let is_rust = extension(path) == Some("rs");
        let rust = if is_rust { RustText::new(&text) } else { RustText::default() };
        self.files.insert(path.to_owned(), File { text, rust });
    }

    /// Every file, in the order of their paths.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &File)> {
        self.files.iter().map(|(path, file)| (path.as_str(), file))
    }

    /// The files whose name ends in `.extension`.
    pub(super) fn with_extension(&self, wanted: &str) -> impl Iterator<Item = (&str, &File)> {
        self.files().filter(move |(path, _)| extension(path) == Some(wanted))
    }

    pub(super) fn get(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// The line from which a Rust file is tests: the first, where all of it is.
    pub(super) fn tests_from(&self, path: &str) -> Option<usize> {
        if path.starts_with("tests/tests/") || self.is_test_module(path) {
            return Some(1);
        }
        inline_tests(&self.get(path)?.rust.code)
    }

    /// Whether another file says that this one is compiled for tests alone.
    fn is_test_module(&self, path: &str) -> bool {
        self.test_modules().iter().any(|module| {
            path.strip_prefix(module.as_str())
                .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
        })
    }

    /// The modules that are compiled for tests alone, by their paths without an ending.
    fn test_modules(&self) -> &[String] {
        self.test_modules.get_or_init(|| {
            let in_file = |(parent, file): (&str, &File)| -> Vec<String> {
                let dir = children_of(parent);
                test_modules(&file.rust.code)
                    .filter_map(|(_, item)| item.strip_prefix("mod ")?.strip_suffix(';'))
                    .map(|name| format!("{dir}/{name}"))
                    .collect()
            };
            self.with_extension("rs").flat_map(in_file).collect()
        })
    }

    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.insert(path, (*text).to_owned());
        }
        tree
    }
}

/// What follows the last dot of a file's name.
pub(super) fn extension(path: &str) -> Option<&str> {
    Path::new(path).extension()?.to_str()
}

/// The lines of a text with their numbers, which start at 1.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> + Clone {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// The line that a module of tests inside a file begins at, if it has one.
fn inline_tests(code: &str) -> Option<usize> {
    test_modules(code).find(|(_, item)| item.ends_with('{')).map(|(number, _)| number)
}

/// The declarations of modules that exist in tests alone, with their lines.
fn test_modules(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = numbered(code).map(|(number, line)| {
        let line = line.trim();
        (number, line.strip_prefix("pub(crate) ").unwrap_or(line))
    });
    let next = lines.clone().skip(1).map(|(_, line)| line);
    lines.zip(next).filter_map(|((number, attribute), item)| {
        let is_module = attribute == "#[cfg(test)]" && item.starts_with("mod ");
        is_module.then_some((number, item))
    })
}

/// Where the modules that a file declares are: beside it for the root of a directory, else in a
/// directory of its name.
fn children_of(path: &str) -> String {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "lib.rs" | "main.rs" | "mod.rs" => dir.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_known_wherever_they_stand() {
        let tree = Tree::of(&[
            ("a/src/lib.rs", "f();\n#[cfg(test)]\nmod oracle;\nmod b;\n"),
            ("a/src/oracle.rs", ""),
            ("a/src/b.rs", "#[cfg(test)]\nmod tests;\n"),
            ("a/src/b/tests.rs", ""),
            ("a/src/c.rs", "f();\n#[cfg(test)]\nmod tests {\n}\n"),
            ("tests/tests/t5.rs", ""),
        ]);
        let check = |path: &str, expected: Option<usize>| {
            assert_eq!(tree.tests_from(path), expected, "{path}");
        };
        check("a/src/lib.rs", None);
        check("a/src/oracle.rs", Some(1));
        check("a/src/b.rs", None);
        check("a/src/b/tests.rs", Some(1));
        check("a/src/c.rs", Some(2));
        check("tests/tests/t5.rs", Some(1));
    }
}
