//! Comparing two directories of packages, byte by byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::ui;

/// That both have the same files, with the same bytes.
pub(super) fn same(one: &Path, other: &Path) -> Result<()> {
    let (first, second) = (files(one)?, files(other)?);
    let names: BTreeSet<_> = first.keys().chain(second.keys()).collect();
    let differing: Vec<_> =
        names.into_iter().filter(|name| first.get(*name) != second.get(*name)).cloned().collect();
    ensure!(
        differing.is_empty(),
        "two builds differ in {}: compare {} and {}",
        differing.join(", "),
        one.display(),
        other.display()
    );
    ui::line(format_args!("two builds gave the same {} files", first.len()));
    Ok(())
}

fn files(directory: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry.with_context(|| format!("list {}", directory.display()))?.path();
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, bytes);
    }
    ensure!(!files.is_empty(), "{} is empty", directory.display());
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_differs_or_is_missing_is_named() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(one.path().join("a"), "1").unwrap();
        fs::write(other.path().join("a"), "1").unwrap();
        same(one.path(), other.path()).unwrap();
        fs::write(other.path().join("b"), "1").unwrap();
        let error = same(one.path(), other.path()).unwrap_err().to_string();
        assert!(error.contains("differ in b:"), "{error}");
        fs::write(one.path().join("b"), "2").unwrap();
        let error = same(one.path(), other.path()).unwrap_err().to_string();
        assert!(error.contains("differ in b"), "{error}");
    }
}
