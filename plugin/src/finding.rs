//! What is to be said of what somebody wrote: in which file and where, of which service and key. Pure.

use std::fmt;

use ebpf_netns::text::printable;
use serde::Serialize;

use crate::excerpt::Excerpt;

/// Where in a file; 1 is the first line, and the first character of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// One thing that is wrong, or probably not meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file; none of a label that was given by itself.
    pub file: Option<String>,
    /// The line; 1 is the first.
    pub line: Option<usize>,
    /// The character of the line; 1 is the first.
    pub column: Option<usize>,
    /// The service.
    pub service: Option<String>,
    /// The key of the label, or of what else it is about.
    pub key: Option<String>,
    /// What is to be said.
    pub message: String,
    #[serde(skip)]
    excerpt: Option<Excerpt>,
}

impl Finding {
    pub(crate) fn new(file: &str, message: impl Into<String>) -> Self {
        Self { file: Some(file.to_owned()), message: message.into(), ..Self::default() }
    }

    /// Of a label that stands in no file.
    pub(crate) fn of_label(key: &str, message: impl Into<String>) -> Self {
        Self { key: Some(key.to_owned()), message: message.into(), ..Self::default() }
    }

    pub(crate) fn of_service(self, service: &str) -> Self {
        Self { service: Some(service.to_owned()), ..self }
    }

    pub(crate) fn of_key(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }

    pub(crate) fn on_line(self, line: usize) -> Self {
        Self { line: Some(line), ..self }
    }

    /// At this place, and with the line that it is in.
    pub(crate) fn at_line(self, Place { line, column }: Place, text: &str) -> Self {
        let excerpt = (!text.is_empty()).then(|| Excerpt::new(column, text));
        Self { line: Some(line), column: Some(column), excerpt, ..self }
    }
}

impl fmt::Display for Finding {
    /// In one line; with `{:#}`, the line of the file and a caret follow.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, service, key, message, excerpt } = self;
        if let Some(file) = file {
            write!(f, "{}:", printable(file))?;
            for number in [line, column].into_iter().flatten() {
                write!(f, "{number}:")?;
            }
            f.write_str(" ")?;
        }
        let kind = if file.is_none() { "label " } else { "" };
        let service = service.as_ref().map(|service| format!("service {}", printable(service)));
        let key = key.as_ref().map(|key| format!("{kind}{}", printable(key)));
        let within = line.filter(|_| file.is_none()).map(|line| format!("line {line}"));
        let what: Vec<String> = [service, key, within].into_iter().flatten().collect();
        let separator = if what.is_empty() { "" } else { ": " };
        write!(f, "{}{separator}{}", what.join(", "), printable(message))?;
        match excerpt {
            Some(excerpt) if f.alternate() => write!(f, "\n{excerpt}"),
            _ => Ok(()),
        }
    }
}

/// Everything that is wrong, in the order of files and lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Findings(pub(crate) Vec<Finding>);

impl From<Finding> for Findings {
    fn from(finding: Finding) -> Self {
        Self(vec![finding])
    }
}

impl FromIterator<Finding> for Findings {
    fn from_iter<T: IntoIterator<Item = Finding>>(findings: T) -> Self {
        Self(findings.into_iter().collect())
    }
}

impl Findings {
    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter()
    }
}

impl fmt::Display for Findings {
    /// Each on a line of its own; with `{:#}`, with the lines of the files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, finding) in self.0.iter().enumerate() {
            f.write_str(if position == 0 { "" } else { "\n" })?;
            fmt::Display::fmt(finding, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}
