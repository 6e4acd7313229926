//! What goes into the objects: the compiler's own list of files, and what Cargo.toml and
//! Cargo.lock say about them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use toml::Table;

use super::lock::Lock;
use super::manifest::{Sources, sha256};

/// The crates of this repository that the objects are compiled from.
const CRATES: [&str; 2] = ["plugin-ebpf", "plugin-common"];

/// The state of the sources now, `files` being what the compiler read.
///
/// A list of what was read is enough to notice every change: a new file counts for nothing until
/// one of those that were read names it. Files of tests are no part of it.
pub(super) fn now(root: &Path, files: impl IntoIterator<Item = String>) -> Result<Sources> {
    let mut files: BTreeSet<String> = files.into_iter().collect();
    files.extend(programs(root)?);
    let mut hashes = BTreeMap::new();
    for file in files {
        // A file that is gone is not in the new list, which is how the comparison notices.
        if let Ok(bytes) = fs::read(root.join(&file)) {
            hashes.insert(file, sha256(&bytes));
        }
    }
    let read = |path: &str| -> Result<Table> {
        let text = fs::read_to_string(root.join(path)).with_context(|| format!("read {path}"))?;
        text.parse().with_context(|| format!("parse {path}"))
    };
    let workspace = read("Cargo.toml")?;
    let mut crates = BTreeMap::new();
    for name in CRATES {
        let path = format!("{name}/Cargo.toml");
        let manifest = read(&path)?;
        crates.insert(name, dependencies(&manifest));
        hashes.insert(path, without_tests(manifest)?);
    }
    let lock = Lock::parse(&read("Cargo.lock")?)?;
    let used = crates.values().flatten().cloned().collect();
    let packages = lock.closure(&crates)?;
    Ok(Sources::new(hashes, relevant(&workspace, &used)?, packages))
}

/// The binaries that cargo finds by itself: a new one is read by nobody yet.
fn programs(root: &Path) -> Result<Vec<String>> {
    const DIR: &str = "plugin-ebpf/src/bin";
    let mut programs = Vec::new();
    let Ok(entries) = fs::read_dir(root.join(DIR)) else { return Ok(programs) };
    for entry in entries {
        let entry = entry.with_context(|| format!("list {DIR}"))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|extension| extension == "rs") {
            programs.push(format!("{DIR}/{name}"));
        }
    }
    Ok(programs)
}

/// A hash of a crate's Cargo.toml, but for what its tests and lints take.
fn without_tests(mut manifest: Table) -> Result<String> {
    manifest.retain(|key, _: &mut toml::Value| !["dev-dependencies", "lints"].contains(&key));
    Ok(sha256(as_text(&manifest)?.as_bytes()))
}

/// One text for one meaning, whatever the layout in the file.
fn as_text(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).context("write a part of Cargo.toml as JSON")
}

/// The dependencies that a crate always has; optional ones are for user space.
fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let tables = ["dependencies", "build-dependencies"];
    let tables = tables.iter().filter_map(|name| manifest.get(*name)?.as_table());
    let optional = |value: &toml::Value| value.get("optional").and_then(toml::Value::as_bool);
    tables
        .flatten()
        .filter(|(_, value)| optional(value) != Some(true))
        .map(|(name, _)| name.clone())
        .collect()
}

/// A hash of what the workspace's Cargo.toml says about these crates.
fn relevant(workspace: &Table, used: &BTreeSet<String>) -> Result<String> {
    let inherited = workspace.get("workspace").and_then(toml::Value::as_table);
    let inherited = inherited.context("Cargo.toml has no [workspace]")?;
    let section = |name: &str| inherited.get(name).and_then(toml::Value::as_table);
    let package = section("package").context("Cargo.toml has no [workspace.package]")?;
    let mut lines = Vec::new();
    for key in ["version", "edition"] {
        lines.push(format!("{key} {}", as_text(&package.get(key))?));
    }
    for name in used {
        let entry = section("dependencies").and_then(|all| all.get(name));
        lines.push(format!("{name} {}", as_text(&entry)?));
    }
    let profile = workspace.get("profile").and_then(|profile| profile.get("release"));
    lines.push(as_text(&profile.and_then(|release| release.get("package")))?);
    Ok(sha256(lines.join("\n").as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKSPACE: &str = "[workspace.package]\nversion = '0.1.0'\nedition = '2024'\n\
        [workspace.dependencies]\naya-ebpf = '0.2'\ntokio = '1'\n[profile.release]\nlto = 'thin'\n";

    fn hash(workspace: &str) -> String {
        let used = BTreeSet::from(["aya-ebpf".to_owned()]);
        relevant(&workspace.parse().unwrap(), &used).unwrap()
    }

    #[test]
    fn only_what_the_kernel_programs_use_counts() {
        let check = |from: &str, to: &str, counts: bool| {
            let changed = hash(&WORKSPACE.replace(from, to)) != hash(WORKSPACE);
            assert_eq!(changed, counts, "{from} -> {to}");
        };
        check("aya-ebpf = '0.2'", "aya-ebpf = '0.3'", true);
        check("2024", "2021", true);
        check("0.1.0", "0.2.0", true);
        check("tokio = '1'", "tokio = '2'", false);
        check("thin", "fat", false);
        check("[profile.release]", "[profile.release.package.plugin-ebpf]", true);
    }

    #[test]
    fn what_tests_take_does_not_count() {
        let hash = |text: &str| without_tests(text.parse().unwrap()).unwrap();
        let plain = "[features]\nuser = []\n";
        assert_eq!(hash(plain), hash(&format!("# x\n{plain}[dev-dependencies]\netherparse = '1'")));
        assert_ne!(hash(plain), hash(&plain.replace("user", "users")));
    }

    #[test]
    fn optional_dependencies_are_for_user_space() {
        let manifest =
            "[dependencies]\na.workspace = true\nb = { workspace = true, optional = true }";
        let found: Vec<String> = dependencies(&manifest.parse().unwrap()).into_iter().collect();
        assert_eq!(found, ["a"]);
    }
}
