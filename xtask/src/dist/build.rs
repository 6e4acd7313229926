//! The programs that are released: linked statically, and the same on whatever machine they are built.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::binaries;
use ebpf_netns_tests::command::stdout_of;

use super::setup::{sysroot, target};
use crate::{remap, ui};

/// Builds the programs of a machine, and returns the directory that has them.
pub(super) fn programs(root: &Path, directory: &Path, machine: &str) -> Result<PathBuf> {
    let target = target(machine);
    let mut cargo = Command::new("cargo");
    cargo
        .args(["build", "--locked", "--release", "--target", &target, "--target-dir"])
        .arg(directory)
        .args(binaries::PRODUCT)
        .current_dir(root)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root)?.join("\u{1f}"))
        // Whoever sets it would release something else.
        .env_remove("RUSTFLAGS")
        .env("CARGO_INCREMENTAL", "0");
    ui::run(&mut cargo)?;
    Ok(directory.join(target).join("release"))
}

/// musl comes with the toolchain; paths of this machine are left out.
fn flags(root: &Path) -> Result<Vec<String>> {
    let version = stdout_of(Command::new("rustc").arg("-vV"))?;
    let commit = version.lines().find_map(|line| line.strip_prefix("commit-hash: "));
    let commit = commit.context("rustc does not say its commit")?;
    let sources = sysroot()?.join("lib/rustlib/src/rust");
    let mut flags = vec!["-Clink-self-contained=yes".to_owned()];
    flags.extend(remap::flags(root, &sources, commit)?);
    Ok(flags)
}

/// Runs each program of a machine, by itself or by qemu, as far as it says its version.
pub(super) fn answers(directory: &Path, machine: &str) -> Result<()> {
    let emulator = format!("qemu-{machine}-static");
    let here = machine == std::env::consts::ARCH;
    if !here && crate::setup::find(&emulator).is_none() {
        ui::line(format_args!("not tried: {machine} takes {emulator} (Debian: qemu-user-static)"));
        return Ok(());
    }
    for name in ["ebpf-netns", "ebpf-netns-plugin"] {
        let program = directory.join(target(machine)).join("release").join(name);
        let mut command = Command::new(if here { program.as_os_str() } else { emulator.as_ref() });
        if !here {
            command.arg(&program);
        }
        let said = stdout_of(command.arg("--version"))?;
        ensure!(said.starts_with(name), "{name} for {machine} says {said:?}");
        ui::line(format_args!("{machine}: {said}"));
    }
    Ok(())
}
