//! `cargo xtask plugin`: the directory that `docker plugin create` takes.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::{MACHINES, TARGET_DIR, build, setup};
use crate::ui;

/// Make the managed plugin of Docker: `rootfs` and `config.json` for `docker plugin create`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The machine that it is for.
    #[arg(long, value_name = "NAME", value_parser = MACHINES, default_value = std::env::consts::ARCH)]
    machine: String,
    /// Where to put it, in place of what is there [default: target/dist/plugin]
    #[arg(long, value_name = "DIRECTORY")]
    out: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, root: &Path) -> Result<()> {
    let machine = args.machine.as_str();
    setup::provide(&[machine])?;
    let target = root.join(TARGET_DIR);
    let out = args.out.clone().unwrap_or_else(|| target.join("plugin"));
    let mut programs = OsString::from(format!("--programs={machine}="));
    programs.push(build::programs(root, &target, machine)?);
    // Nothing but what was made here before: a directory of somebody's is not emptied.
    for (name, remove) in
        [("rootfs", fs::remove_dir_all as fn(_) -> _), ("config.json", fs::remove_file)]
    {
        let path = out.join(name);
        if path.exists() {
            remove(path.clone()).with_context(|| format!("remove {}", path.display()))?;
        }
    }
    let mut pack = super::packer(root);
    ui::run(pack.arg("plugin").arg(programs).arg("--out").arg(&out))?;
    ui::heading("To use it");
    ui::line(format_args!("# docker plugin create ebpf-netns {}", out.display()));
    ui::line("# docker plugin enable ebpf-netns");
    Ok(())
}
