//! Puts what a section found into a document, between two marks of its name, and its plots
//! beside it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::report::Section;

pub(crate) fn put(path: &Path, section: &Section, conditions: &str) -> Result<()> {
    let name = &section.name;
    let (begin, end) =
        (format!("<!-- bench datapath {name} -->"), format!("<!-- end of {name} -->"));
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let marks = || format!("{} has no {begin} with {end} behind it: add them", path.display());
    let (before, rest) = text.split_once(&begin).with_context(marks)?;
    let (_, after) = rest.split_once(&end).with_context(marks)?;
    let found = section.markdown()?;
    let new = format!("{before}{begin}\n{found}\n{conditions}.\n{end}{after}");
    for plot in section.plots() {
        let file = path.with_file_name(format!("{}.svg", plot.name));
        fs::write(&file, plot.svg()?).with_context(|| format!("write {}", file.display()))?;
    }
    fs::write(path, new).with_context(|| format!("write {}", path.display()))
}
