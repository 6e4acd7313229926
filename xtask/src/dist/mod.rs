//! `cargo xtask dist`: what is released, from the sources, for every machine.
//!
//! Programs that need no library, a tarball, a Debian package, a container image, a bill of materials
//! and checksums, in `target/dist/packages`. The same sources give the same bytes, whoever builds them
//! where; `--check` builds them a second time elsewhere, and compares.

mod build;
mod check;
pub(crate) mod plugin;
pub(crate) mod setup;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use ebpf_netns_tests::command::stdout_of;

use crate::ui;

/// A directory of its own: the flags are not those of other builds.
const TARGET_DIR: &str = "target/dist";

/// The machines that there are packages for.
const MACHINES: [&str; 2] = ["x86_64", "aarch64"];

/// Build the packages that are released: tarballs, Debian packages, container images.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For this machine alone; may be given several times.
    #[arg(long = "machine", value_name = "NAME", value_parser = MACHINES)]
    machines: Vec<String>,
    /// Where to put the packages [default: target/dist/packages]
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
    /// Build everything a second time, in another directory, and compare every byte.
    #[arg(long)]
    check: bool,
}

/// Builds, packs, and tries what can be tried here.
pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    let machines: Vec<&str> = match args.machines.as_slice() {
        [] => MACHINES.to_vec(),
        some => some.iter().map(String::as_str).collect(),
    };
    setup::provide(&machines)?;
    let target = root.join(TARGET_DIR);
    let out = args.out.clone().unwrap_or_else(|| target.join("packages"));
    make(root, &target, &machines, &out)?;
    for machine in &machines {
        build::answers(&target, machine)?;
    }
    if args.check {
        let again = root.join("target/dist-again");
        make(root, &again, &machines, &again.join("packages"))?;
        check::same(&out, &again.join("packages"))?;
    }
    ui::heading(format_args!("Packages in {}", out.display()));
    ui::run(Command::new("ls").args(["-l", "--human-readable"]).arg(&out))
}

/// Builds in `target` and packs into `out`, which is emptied before.
fn make(root: &Path, target: &Path, machines: &[&str], out: &Path) -> Result<()> {
    ui::heading(format_args!("Packages for {}", machines.join(", ")));
    ui::line("some ten minutes for each machine: every program is optimised as a whole");
    let mut pack = packer(root);
    pack.arg("packages");
    for machine in machines {
        let programs = build::programs(root, target, machine)?;
        let mut argument = OsString::from(format!("--programs={machine}="));
        argument.push(programs);
        pack.arg(argument);
    }
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("empty {}", out.display()))?;
    }
    pack.arg("--out").arg(out).env("SOURCE_DATE_EPOCH", epoch(root)?);
    ui::run(&mut pack)
}

/// What packs: a program of this machine, with what is compiled for the tests anyway.
fn packer(root: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    // Not quietly: on a machine that has built no tests it compiles for minutes.
    cargo.args(["run", "--locked", "--package", "ebpf-netns-dist", "--"]);
    cargo.current_dir(root);
    cargo
}

/// The time that files bear: what the caller asks for, else that of the last commit.
fn epoch(root: &Path) -> Result<OsString> {
    if let Some(given) = std::env::var_os("SOURCE_DATE_EPOCH") {
        return Ok(given);
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]).current_dir(root);
    let time = stdout_of(&mut git)
        .context("ask git for the time of the last commit; without git, set SOURCE_DATE_EPOCH")?;
    ensure!(!time.is_empty(), "there is no commit yet: set SOURCE_DATE_EPOCH");
    Ok(time.into())
}
