//! What building the packages takes: Rust's standard library for musl, and the linker of the toolchain.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::command::stdout_of;

use crate::ui;

/// Rust's name for a machine on which programs need no library.
pub(super) fn target(machine: &str) -> String {
    format!("{machine}-unknown-linux-musl")
}

/// Installs what is missing for these machines.
pub(crate) fn provide(machines: &[&str]) -> Result<()> {
    let libraries = sysroot()?.join("lib/rustlib");
    let missing: Vec<_> = machines
        .iter()
        .map(|machine| target(machine))
        .filter(|target| !libraries.join(target).join("lib").is_dir())
        .collect();
    if !missing.is_empty() {
        ui::run(Command::new("rustup").args(["target", "add"]).args(&missing)).with_context(|| {
            format!(
                "install Rust's standard library for {}: without rustup, from where rustc is from",
                missing.join(", ")
            )
        })?;
    }
    let host = stdout_of(Command::new("rustc").arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let linker = libraries.join(host).join("bin/rust-lld");
    ensure!(
        linker.is_file(),
        "{} is not there, which links for every machine: install Rust with rustup",
        linker.display()
    );
    Ok(())
}

/// Where the toolchain is.
pub(super) fn sysroot() -> Result<PathBuf> {
    Ok(PathBuf::from(stdout_of(Command::new("rustc").args(["--print", "sysroot"]))?))
}
