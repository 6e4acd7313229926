//! What is wrong with the configuration: file, line, and what was expected.

use std::fmt;
use std::path::{Path, PathBuf};

use ebpf_netns::text::printable;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    file: PathBuf,
    line: Option<usize>,
    sentence: String,
}

impl Problem {
    /// Of a file as a whole.
    pub(super) fn of_file(file: &Path, sentence: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, sentence: sentence.into() }
    }

    /// Of a line of a file; 1 is the first.
    pub(super) fn of_line(file: &Path, line: usize, sentence: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: Some(line), sentence: sentence.into() }
    }

    pub(super) fn line(&self) -> Option<usize> {
        self.line
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", printable(&self.file.to_string_lossy()))?;
        if let Some(line) = self.line {
            write!(f, "{line}:")?;
        }
        write!(f, " {}", printable(&self.sentence))
    }
}

/// Everything that is wrong with a configuration, in the order of files and lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub(super) Vec<Problem>);

impl ConfigErrors {
    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl fmt::Display for ConfigErrors {
    /// One on a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.0.iter().enumerate() {
            let separator = if position == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
