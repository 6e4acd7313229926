//! The manifest beside the objects: what they were made of, with what, and their hashes.
//!
//! Pure but for reading and writing its own file. Two manifests of the same sources and tools are
//! the same text: no times, no paths of this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::BYTECODE;
use super::toolchain::{Objcopy, Toolchain};

pub(super) const FILE: &str = "manifest.json";

/// What `plugin/bytecode/manifest.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// For whoever opens the file.
    pub(super) note: String,
    pub(super) tools: Tools,
    /// What the compiler was told, paths left out.
    pub(super) flags: Vec<String>,
    pub(super) sources: Sources,
    pub(super) objects: BTreeMap<String, Object>,
}

/// The tools that decide what the bytes are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tools {
    pub(super) rustc: String,
    pub(super) rustc_llvm: String,
    /// The triple of the machine: cargo lets it into the names of symbols.
    pub(super) host: String,
    pub(super) bpf_linker: String,
    pub(super) bpf_linker_llvm: String,
    pub(super) objcopy: String,
}

/// All that goes into the objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Sources {
    /// Over all that follows.
    pub(super) sha256: String,
    /// Each file that the compiler read, from the root of the repository.
    pub(super) files: BTreeMap<String, String>,
    /// The parts of the workspace's Cargo.toml that matter to these crates.
    pub(super) workspace: String,
    /// The locked packages from the registry, with their checksums.
    pub(super) packages: BTreeMap<String, String>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Object {
    pub(super) sha256: String,
    pub(super) size: usize,
}

impl Manifest {
    pub(super) const NOTE: &str = "Written by `cargo xtask ebpf`; do not edit.";

    /// Reads the committed manifest.
    pub(super) fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))
    }

    /// The text of the file, the same for the same manifest.
    pub(super) fn to_text(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self).context("write the manifest as JSON")?;
        text.push('\n');
        Ok(text)
    }
}

impl Tools {
    pub(super) fn of(toolchain: &Toolchain, objcopy: &Objcopy) -> Self {
        let Toolchain { rust, linker } = toolchain;
        Self {
            rustc: rust.version.line.clone(),
            rustc_llvm: rust.version.llvm.to_string(),
            host: rust.version.host.clone(),
            bpf_linker: linker.version.clone(),
            bpf_linker_llvm: linker.llvm.to_string(),
            objcopy: objcopy.version.clone(),
        }
    }

    /// What differs, as `rustc: manifest A, here B`.
    pub(super) fn differences(&self, here: &Self) -> Vec<String> {
        let Self { rustc, rustc_llvm, host, bpf_linker, bpf_linker_llvm, objcopy } = self;
        let rows = [
            ("rustc", rustc, &here.rustc),
            ("LLVM of rustc", rustc_llvm, &here.rustc_llvm),
            ("host", host, &here.host),
            ("bpf-linker", bpf_linker, &here.bpf_linker),
            ("LLVM of bpf-linker", bpf_linker_llvm, &here.bpf_linker_llvm),
            ("objcopy", objcopy, &here.objcopy),
        ];
        let differing = rows.iter().filter(|(_, manifest, here)| manifest != here);
        differing.map(|(name, was, is)| format!("{name}: manifest {was}, here {is}")).collect()
    }
}

impl Sources {
    /// With the hash over all of it.
    pub(super) fn new(
        files: BTreeMap<String, String>,
        workspace: String,
        packages: BTreeMap<String, String>,
    ) -> Self {
        let mut sources = Self { sha256: String::new(), files, workspace, packages };
        sources.sha256 = sources.total();
        sources
    }

    fn total(&self) -> String {
        let Self { sha256: _, files, workspace, packages } = self;
        let rows = files.iter().chain(packages);
        let rows = rows.map(|(name, hash)| format!("{name} {hash}\n"));
        sha256(format!("{}{workspace}\n", rows.collect::<String>()).as_bytes())
    }

    /// What changed since `self` was written, one line each; empty where nothing did.
    pub(super) fn changes(&self, now: &Self) -> Vec<String> {
        let mut lines = changed(&self.files, &now.files, |name| format!("{name}:1:"));
        let package = |name: &str| format!("Cargo.lock:1: {name}");
        lines.extend(changed(&self.packages, &now.packages, package));
        if self.workspace != now.workspace {
            lines.push("Cargo.toml:1: what it says about the kernel programs changed".to_owned());
        }
        if lines.is_empty() && (self.sha256 != now.sha256) {
            lines.push(format!(
                "{BYTECODE}/{FILE}:1: the hash of the sources is not that of its entries"
            ));
        }
        lines
    }
}

/// What differs between two maps, each name as `label` says it.
fn changed(
    was: &BTreeMap<String, String>,
    is: &BTreeMap<String, String>,
    label: impl Fn(&str) -> String,
) -> Vec<String> {
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let differing = names.into_iter().filter(|name| was.get(*name) != is.get(*name));
    differing
        .map(|name| {
            let what = match (was.get(name), is.get(name)) {
                (None, _) => "new",
                (_, None) => "gone",
                _ => "changed",
            };
            format!("{} {what} since the objects were built", label(name))
        })
        .collect()
}

impl Object {
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self { sha256: sha256(bytes), size: bytes.len() }
    }
}

/// The hash, in hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Sources {
        let files = files.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned()));
        Sources::new(files.collect(), "w".to_owned(), BTreeMap::new())
    }

    #[test]
    fn a_hash_is_the_published_one() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), empty);
    }

    #[test]
    fn each_change_of_the_sources_is_named() {
        let was = sources(&[("a.rs", "1"), ("b.rs", "2")]);
        assert!(was.changes(&was).is_empty(), "nothing changed");
        let check = |now: &[(&str, &str)], expected: &str| {
            assert_eq!(was.changes(&sources(now)), [expected.to_owned()]);
        };
        check(&[("a.rs", "1"), ("b.rs", "3")], "b.rs:1: changed since the objects were built");
        check(&[("a.rs", "1")], "b.rs:1: gone since the objects were built");
        check(
            &[("a.rs", "1"), ("b.rs", "2"), ("c.rs", "3")],
            "c.rs:1: new since the objects were built",
        );
    }

    #[test]
    fn a_manifest_edited_by_hand_is_noticed() {
        let now = sources(&[("a.rs", "1")]);
        let mut edited = now.clone();
        edited.sha256 = "0".to_owned();
        assert_eq!(edited.changes(&now).len(), 1, "{:?}", edited.changes(&now));
        let mut workspace = now.clone();
        workspace.workspace = "other".to_owned();
        assert!(workspace.changes(&now).concat().contains("Cargo.toml"));
    }

    #[test]
    fn different_tools_are_named_with_both_versions() {
        let manifest = Tools {
            rustc: "rustc 1.95.0".to_owned(),
            rustc_llvm: "22.1.2".to_owned(),
            host: "x86_64".to_owned(),
            bpf_linker: "0.13.0".to_owned(),
            bpf_linker_llvm: "22.1.8".to_owned(),
            objcopy: "22.1.2".to_owned(),
        };
        assert!(manifest.differences(&manifest).is_empty());
        let here = Tools { rustc: "rustc 1.96.0".to_owned(), ..manifest.clone() };
        let expected = "rustc: manifest rustc 1.95.0, here rustc 1.96.0";
        assert_eq!(manifest.differences(&here), [expected.to_owned()]);
    }
}
