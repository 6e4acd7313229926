//! `cargo xtask ebpf`: the kernel programs, from their sources to the committed objects.
//!
//! The objects in `plugin/bytecode` are committed, so that building the daemon takes nothing but
//! a stable Rust. This module is what writes them and what proves that they are the sources' own;
//! nothing else may write to that directory.

mod artifacts;
mod btf;
mod build;
mod check;
mod elf;
mod llvm;
mod lock;
mod manifest;
mod setup;
mod sources;
mod toolchain;

pub(crate) use check::committed_problems;
pub(crate) use toolchain::linker_root;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::ui;

/// Where the objects and their manifest are committed, from the root of the repository.
const BYTECODE: &str = "plugin/bytecode";
/// What to do when sources, manifest and objects disagree.
pub(crate) const WAY_OUT: &str = "run `cargo xtask ebpf` and commit plugin/bytecode";

/// Build the kernel programs and commit-ready objects of them.
///
/// Compiles every `[[bin]]` of plugin-ebpf for bpfel-unknown-none, strips its debug information
/// (BTF stays) and writes plugin/bytecode/BIN.o and plugin/bytecode/manifest.json. Run it after a
/// change to plugin-ebpf or plugin-common and commit what it wrote. The same sources and the same
/// toolchain give the same bytes in any directory.
///
/// It takes the pinned Rust toolchain with rust-src (else the active one, else /usr/bin/rustc; or
/// the one that `$RUSTC` names) and bpf-linker (`$BPF_LINKER`, else the one that --setup made, else
/// from `$PATH`). `cargo xtask ebpf --setup` installs both.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "what was typed; `run` turns it into one call")]
pub(crate) struct Args {
    /// Check that the committed objects are what the sources give; write nothing
    ///
    /// Always compares sources and objects with the manifest. Also rebuilds and compares bit for
    /// bit, when the toolchain here is the manifest's.
    #[arg(long)]
    check: bool,
    /// With --check: rebuild from nothing, and fail where that cannot be done
    #[arg(long, requires = "check")]
    rebuild: bool,
    /// Install the toolchain that the kernel programs need
    #[arg(long, conflicts_with_all = ["check", "clippy"])]
    setup: bool,
    /// Run clippy on the kernel programs instead of building them
    #[arg(long, conflicts_with = "check")]
    clippy: bool,
}

/// Runs the command on the repository at `root`.
pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    let Args { check, rebuild, setup, clippy } = *args;
    if setup {
        setup::install_all()
    } else if clippy {
        build::clippy(root)
    } else if check {
        check::run(root, rebuild)
    } else {
        write(root)
    }
}

/// Builds, and puts objects and manifest in their place.
fn write(root: &Path) -> Result<()> {
    let toolchain = toolchain::Toolchain::find()?;
    if let Some(reason) = toolchain.not_pinned() {
        ui::line(format_args!("note: {reason}; the pinned one is what `--setup` installs"));
    }
    let built = build::build(root, &toolchain)?;
    let dir = bytecode_dir(root);
    built.write(&dir)?;
    if built.objects.is_empty() {
        ui::line("plugin-ebpf has no [[bin]] yet: the manifest lists no object");
    }
    for (name, bytes) in &built.objects {
        ui::line(format_args!("{BYTECODE}/{name}: {} bytes", bytes.len()));
    }
    Ok(())
}

fn bytecode_dir(root: &Path) -> PathBuf {
    root.join(BYTECODE)
}
