//! Compiling plugin-ebpf for BPF, so that the bytes depend on sources and tools alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::command::{output_of, stdout_of};

use super::artifacts::Artifacts;
use super::btf;
use super::manifest::{self, Manifest, Object, Tools};
use super::sources;
use super::toolchain::{Objcopy, Rust, TARGET, Toolchain};
use crate::{remap, ui};

/// The crate whose binaries are the objects.
const PACKAGE: &str = "plugin-ebpf";
/// A directory of its own: the flags here are not those of the host's build, which would start
/// from nothing after each run.
const TARGET_DIR: &str = "target/ebpf";
/// The profile, given here and not in Cargo.toml, so that no change there can go unnoticed.
const PROFILE: [&str; 9] = [
    "inherits=\"release\"",
    "opt-level=3",
    "codegen-units=1",
    // bpf-linker optimizes the program as a whole, BTF needs the debug information until then.
    "lto=\"off\"",
    "debug=2",
    "strip=\"none\"",
    "panic=\"abort\"",
    "overflow-checks=false",
    "incremental=false",
];

/// What cargo and rustc are told.
pub(super) struct Flags {
    /// What matters to the bytes and is the same on every machine: goes into the manifest.
    pub(super) portable: Vec<String>,
    /// Names for directories of this machine.
    remapped: Vec<String>,
}

impl Flags {
    fn new(root: &Path, rust: &Rust) -> Result<Self> {
        let portable = [
            // aya-ebpf would ask for the host's otherwise, and the object for another host differ.
            "--cfg=bpf_target_arch=\"x86_64\"",
            "-Clink-arg=--btf",
        ];
        let portable = portable.map(str::to_owned).to_vec();
        let release = rust.version.commit.as_ref().unwrap_or(&rust.version.release);
        let remapped = remap::flags(root, &rust.sources(), release)?;
        Ok(Self { portable, remapped })
    }

    /// For `CARGO_ENCODED_RUSTFLAGS`.
    fn encoded(&self) -> String {
        let Self { portable, remapped } = self;
        [portable.as_slice(), remapped].concat().join("\u{1f}")
    }
}

/// The objects of one build, and the manifest that describes them.
pub(super) struct Built {
    pub(super) manifest: Manifest,
    pub(super) objects: BTreeMap<String, Vec<u8>>,
}

impl Built {
    /// Puts objects and manifest into `dir`, and removes objects that are no longer built.
    pub(super) fn write(&self, dir: &Path) -> Result<()> {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        for name in object_names(dir)? {
            if !self.objects.contains_key(&name) {
                fs::remove_file(dir.join(&name)).with_context(|| format!("remove {name}"))?;
            }
        }
        for (name, bytes) in &self.objects {
            put(&dir.join(name), bytes)?;
        }
        put(&dir.join(manifest::FILE), self.manifest.to_text()?.as_bytes())
    }
}

/// The objects in the directory, by name.
pub(super) fn object_names(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let name = entry.with_context(|| format!("list {}", dir.display()))?.file_name();
        let name = name.to_string_lossy().into_owned();
        if Path::new(&name).extension().is_some_and(|extension| extension == "o") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes what earlier builds left, so that the next one starts from nothing.
pub(super) fn clean(root: &Path) -> Result<()> {
    let dir = root.join(TARGET_DIR);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    Ok(())
}

/// Builds every object.
pub(super) fn build(root: &Path, toolchain: &Toolchain) -> Result<Built> {
    let Toolchain { rust, linker } = toolchain;
    let objcopy = rust.objcopy()?;
    let flags = Flags::new(root, rust)?;
    ui::line(format_args!("building {PACKAGE} with {}", rust.version.line));
    let mut cargo = cargo(root, rust, "build", &flags);
    cargo.env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &linker.path);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let artifacts = Artifacts::parse(&messages(&mut cargo)?, root)?;
    let mut objects = BTreeMap::new();
    for (name, path) in &artifacts.programs {
        objects.insert(format!("{name}.o"), stripped(&objcopy, path)?);
    }
    let sources = sources::now(root, artifacts.files)?;
    let manifest = Manifest {
        note: Manifest::NOTE.to_owned(),
        tools: Tools::of(toolchain, &objcopy),
        flags: flags.portable.iter().cloned().chain(PROFILE.map(str::to_owned)).collect(),
        sources,
        objects: objects.iter().map(|(name, bytes)| (name.clone(), Object::of(bytes))).collect(),
    };
    Ok(Built { manifest, objects })
}

/// Runs clippy for the BPF target; warnings are errors.
pub(super) fn clippy(root: &Path) -> Result<()> {
    let rust = Rust::find()?;
    if !rust.bin("cargo-clippy").is_file() {
        ui::line(format_args!("{} has no clippy: not run for BPF", rust.version.line));
        return Ok(());
    }
    let flags = Flags::new(root, &rust)?;
    ui::run(cargo(root, &rust, "clippy", &flags).args(["--", "-D", "warnings"]))
}

/// `cargo COMMAND` for the kernel programs.
fn cargo(root: &Path, rust: &Rust, command: &str, flags: &Flags) -> Command {
    let mut cargo = rust.cargo();
    cargo.current_dir(root).env("RUSTC_BOOTSTRAP", "1");
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.encoded());
    cargo.args([command, "--package", PACKAGE, "--locked", "--target", TARGET]);
    cargo.args(["-Z", "build-std=core", "--profile", "bpf", "--target-dir", TARGET_DIR]);
    for setting in PROFILE {
        cargo.args(["--config", &format!("profile.bpf.{setting}")]);
    }
    cargo
}

/// Runs cargo with its progress going to the terminal; returns what it says to programs.
fn messages(cargo: &mut Command) -> Result<String> {
    let output = output_of(cargo.stderr(Stdio::inherit()))?;
    ensure!(output.status.success(), "the kernel programs do not build, see above");
    String::from_utf8(output.stdout).context("cargo's messages are not text")
}

/// The object without debug information; BTF is not debug information and stays.
fn stripped(objcopy: &Objcopy, object: &Path) -> Result<Vec<u8>> {
    let dir = tempfile::tempdir().context("make a directory for the stripped object")?;
    let output = dir.path().join("stripped.o");
    stdout_of(objcopy.command().arg("--strip-debug").arg(object).arg(&output))?;
    let mut bytes = fs::read(&output).with_context(|| format!("read {}", output.display()))?;
    btf::sort_forward_declarations(&mut bytes)
        .with_context(|| format!("sort the BTF of {}", object.display()))?;
    Ok(bytes)
}

/// Replaces a file as one step; one that is the same already is left alone, for cargo's sake.
fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|before| before == bytes) {
        return Ok(());
    }
    let next = path.with_extension("next");
    fs::write(&next, bytes).with_context(|| format!("write {}", next.display()))?;
    fs::rename(&next, path).with_context(|| format!("put {} in place", path.display()))
}
