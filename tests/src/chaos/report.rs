//! The table of what was tried, for people, and its place in a document.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};

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

/// Replaces the section of a document between `<!-- measured: NAME -->` and `<!-- end: NAME -->`.
///
/// # Errors
///
/// When the document has no such section, or cannot be written.
pub fn write_section(document: &Path, name: &str, section: &str) -> Result<()> {
    let shown = document.display();
    let text = fs::read_to_string(document).with_context(|| format!("read {shown}"))?;
    let (begin, end) = (format!("<!-- measured: {name} -->"), format!("<!-- end: {name} -->"));
    let Some(new) = replaced(&text, &begin, &end, section) else {
        bail!("{shown} has no lines `{begin}` and `{end}`: add them where the table belongs")
    };
    fs::write(document, new).with_context(|| format!("write {shown}"))
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
    fn a_cell_is_one_line_without_bars() {
        assert_eq!(cell("a\n  b | c"), "a b \\| c");
    }
}
