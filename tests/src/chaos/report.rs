//! The table of what was tried, for people, and its place in a document.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::fault::{Outcome, Row, Size};

/// The table in Markdown.
#[must_use]
pub fn table(rows: &[Row], size: Size) -> String {
    let mut text = heading(rows, size);
    text.push_str("\n| fault | what is done | what has to hold | measured |\n|---|---|---|---|\n");
    for Row { fault, result, .. } in rows {
        let measured = match result {
            Ok(Outcome::Passed(figures)) => format!("held: {figures}"),
            Ok(Outcome::NotHere(why)) => format!("not tried here: {why}"),
            Err(error) => format!("**FAILED**: {error:#}"),
        };
        let cells = [fault.id, fault.name, fault.expected, &measured].map(cell);
        // Writing to a string cannot fail.
        writeln!(text, "| {} |", cells.join(" | ")).ok();
    }
    text
}

fn heading(rows: &[Row], size: Size) -> String {
    let count = |wanted: fn(&Result<Outcome>) -> bool| {
        rows.iter().filter(|row| wanted(&row.result)).count()
    };
    let held = count(|result| matches!(result, Ok(Outcome::Passed(_))));
    let untried = count(|result| matches!(result, Ok(Outcome::NotHere(_))));
    let failed = rows.len() - held - untried;
    let took: Duration = rows.iter().map(|row| row.took).sum();
    let size = match size {
        Size::Quick => "quick",
        Size::Short => "short",
        Size::Full => "full",
    };
    format!(
        "{held} of {} held, {failed} failed, {untried} could not be tried; {size} size, {} min. {}\n",
        rows.len(),
        took.as_secs().div_ceil(60),
        machine(),
    )
}

/// What it was measured on.
#[must_use]
pub fn machine() -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    format!("Kernel {}, {cpus} CPUs.", release.trim())
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

/// A section of a document, between `<!-- measured: NAME -->` and `<!-- end: NAME -->`.
#[derive(Clone, Debug)]
pub struct Section {
    document: PathBuf,
    begin: String,
    end: String,
}

impl Section {
    /// Finds it: `document` is a path from where one is, or else from the repository's root. Better
    /// before hours of measuring than after.
    ///
    /// # Errors
    ///
    /// When there is no such document, or it has no such section.
    pub fn find(document: &Path, root: &Path, name: &str) -> Result<Self> {
        let document = fs::canonicalize(document)
            .or_else(|_not_here| fs::canonicalize(root.join(document)))
            .with_context(|| format!("find {}", document.display()))?;
        let (begin, end) = (format!("<!-- measured: {name} -->"), format!("<!-- end: {name} -->"));
        let section = Self { document, begin, end };
        section.with("").map(|_would_be| section)
    }

    /// Replaces it.
    ///
    /// # Errors
    ///
    /// When the document cannot be read or written, or has lost the section.
    pub fn write(&self, text: &str) -> Result<()> {
        fs::write(&self.document, self.with(text)?)
            .with_context(|| format!("write {}", self.document.display()))
    }

    /// The document with another section.
    fn with(&self, section: &str) -> Result<String> {
        let Self { document, begin, end } = self;
        let shown = document.display();
        let text = fs::read_to_string(document).with_context(|| format!("read {shown}"))?;
        replaced(&text, begin, end, section).with_context(|| {
            format!("{shown} has no lines `{begin}` and `{end}`: add them where the table belongs")
        })
    }
}

fn replaced(text: &str, begin: &str, end: &str, section: &str) -> Option<String> {
    let (before, rest) = text.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}\n{}\n{end}{after}", section.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_section_is_replaced() {
        let text = "a\n<b>\nold\n<e>\nc\n";
        assert_eq!(replaced(text, "<b>", "<e>", "new\n").unwrap(), "a\n<b>\nnew\n<e>\nc\n");
        assert_eq!(replaced("a\n<b>\n", "<b>", "<e>", "new"), None, "no end");
    }

    #[test]
    fn a_document_is_found_from_anywhere_and_before_it_is_written() {
        let root = tempfile::tempdir().unwrap();
        let document = root.path().join("report.md");
        fs::write(&document, "<!-- measured: soak -->\n<!-- end: soak -->\n").unwrap();
        for path in [Path::new("report.md"), &document] {
            let section = Section::find(path, root.path(), "soak").unwrap();
            section.write("a table").unwrap();
            assert!(fs::read_to_string(&document).unwrap().contains("-->\na table\n<!--"));
        }
        let missing = Section::find(&document, root.path(), "chaos").unwrap_err();
        assert!(missing.to_string().contains("<!-- measured: chaos -->"), "{missing}");
        assert!(Section::find(Path::new("none.md"), root.path(), "soak").is_err());
    }

    #[test]
    fn a_cell_is_one_line_without_bars() {
        assert_eq!(cell("a\n  b | c"), "a b \\| c");
    }
}
