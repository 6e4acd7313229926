//! `cargo xtask ebpf --check`: are the committed objects what the sources give? Writes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use super::build::{self, object_names};
use super::manifest::{FILE, Manifest, Object, Tools};
use super::toolchain::Toolchain;
use super::{BYTECODE, WAY_OUT, bytecode_dir, sources};
use crate::ui;

/// Compares sources, manifest and objects; then rebuilds if that can tell anything.
pub(super) fn run(root: &Path, insist: bool) -> Result<()> {
    let problems = committed_problems(root)?;
    if !problems.is_empty() {
        bail!(
            "the committed objects are not these sources':\n  {}\n{WAY_OUT}",
            problems.join("\n  ")
        );
    }
    let committed = Manifest::read(&bytecode_dir(root))?;
    ui::line(format_args!(
        "{} objects in {BYTECODE} agree with the manifest, and it with the sources",
        committed.objects.len()
    ));
    match rebuildable(&committed) {
        Ok(toolchain) => {
            if insist {
                build::clean(root)?;
            }
            rebuild(root, &committed, &toolchain)
        }
        Err(reason) if insist => Err(reason.context("cannot rebuild the committed objects")),
        Err(reason) => {
            let reason = format!("{reason:#}").replace('\n', "; ");
            ui::line(format_args!("not rebuilt: {reason} (`cargo xtask ebpf --setup`)"));
            Ok(())
        }
    }
}

/// What is wrong between sources, manifest and objects, one line each. Cheap: nothing is built.
pub(crate) fn committed_problems(root: &Path) -> Result<Vec<String>> {
    let dir = bytecode_dir(root);
    let manifest = Manifest::read(&dir)?;
    let now = sources::now(root, manifest.sources.files.keys().cloned())?;
    let mut problems = manifest.sources.changes(&now);
    let mut found = BTreeMap::new();
    for name in object_names(&dir)? {
        let bytes = fs::read(dir.join(&name)).with_context(|| format!("read {name}"))?;
        found.insert(name, Object::of(&bytes));
    }
    problems.extend(object_problems(&manifest.objects, &found));
    Ok(problems)
}

/// How the objects found differ from those that are listed.
fn object_problems(
    listed: &BTreeMap<String, Object>,
    found: &BTreeMap<String, Object>,
) -> Vec<String> {
    let missing = listed.keys().filter(|name| !found.contains_key(*name));
    let missing = missing.map(|name| format!("{BYTECODE}/{name}:1: listed in {FILE}, not there"));
    let other = found.iter().filter_map(|(name, object)| match listed.get(name) {
        None => Some(format!("{BYTECODE}/{name}:1: not listed in {FILE}")),
        Some(expected) if expected != object => Some(format!(
            "{BYTECODE}/{name}:1: sha256 {}, {FILE} says {}",
            object.sha256, expected.sha256
        )),
        Some(_) => None,
    });
    missing.chain(other).collect()
}

/// The toolchain, if it is the one that the manifest names.
fn rebuildable(committed: &Manifest) -> Result<Toolchain> {
    let toolchain = Toolchain::find()?;
    let here = Tools::of(&toolchain, &toolchain.rust.objcopy()?);
    let differences = committed.tools.differences(&here);
    ensure!(differences.is_empty(), "the toolchain differs: {}", differences.join(", "));
    Ok(toolchain)
}

fn rebuild(root: &Path, committed: &Manifest, toolchain: &Toolchain) -> Result<()> {
    let built = build::build(root, toolchain)?;
    let mut problems = object_problems(&committed.objects, &built.manifest.objects);
    problems.extend(committed.sources.changes(&built.manifest.sources));
    if problems.is_empty() && built.manifest != *committed {
        problems.push(format!("{BYTECODE}/{FILE}:1: not the text that a build writes"));
    }
    if !problems.is_empty() {
        bail!("a rebuild gives other objects:\n  {}\n{WAY_OUT}", problems.join("\n  "));
    }
    ui::line(format_args!("rebuilt: {} objects, the same bytes", built.objects.len()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(entries: &[(&str, &[u8])]) -> BTreeMap<String, Object> {
        entries.iter().map(|(name, bytes)| ((*name).to_owned(), Object::of(bytes))).collect()
    }

    #[test]
    fn each_object_that_differs_is_named() {
        let listed = objects(&[("a.o", b"1"), ("b.o", b"2")]);
        assert!(object_problems(&listed, &listed).is_empty(), "the same objects agree");
        let found = objects(&[("a.o", b"changed"), ("c.o", b"3")]);
        let problems = object_problems(&listed, &found);
        let expected = ["b.o:1: listed", "a.o:1: sha256", "c.o:1: not listed"];
        assert_eq!(problems.len(), expected.len(), "{problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.contains(expected), "{expected} is missing in: {problem}");
        }
    }
}
