//! The `ebpf-netns-dist` command, which `cargo xtask dist` runs. Only wires.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;
use ebpf_netns_dist::{Epoch, Machine, Release, plugin, sums};

/// Packs programs that are built. `cargo xtask dist` and `cargo xtask plugin` build them and call this.
#[derive(Debug, Parser)]
enum Args {
    /// Tarball, Debian package, image and bill of materials for each machine, and checksums.
    Packages {
        /// A machine and the directory with its programs, as in `x86_64=target/release`.
        #[arg(long, required = true, value_name = "MACHINE=DIRECTORY", value_parser = programs)]
        programs: Vec<(Machine, PathBuf)>,
        /// Where to put the packages.
        #[arg(long, value_name = "DIRECTORY")]
        out: PathBuf,
        /// The repository.
        #[arg(long, default_value = ".", value_name = "DIRECTORY")]
        root: PathBuf,
    },
    /// The directory that `docker plugin create` takes.
    Plugin {
        /// A machine and the directory with its programs.
        #[arg(long, value_name = "MACHINE=DIRECTORY", value_parser = programs)]
        programs: (Machine, PathBuf),
        /// Where to put `config.json` and `rootfs`.
        #[arg(long, value_name = "DIRECTORY")]
        out: PathBuf,
    },
}

fn main() -> Result<()> {
    match Args::parse() {
        Args::Packages { programs, out, root } => {
            let epoch = Epoch::of_environment()?;
            for (machine, programs) in programs {
                let root = root.clone();
                let release = Release { root, programs, machine, epoch };
                release.write(&out).with_context(|| format!("pack for {machine}"))?;
            }
            sums(&out).map(drop)
        }
        Args::Plugin { programs: (machine, programs), out } => plugin(&programs, machine, &out),
    }
}

/// Parses `MACHINE=DIRECTORY`.
fn programs(text: &str) -> Result<(Machine, PathBuf), String> {
    let (machine, directory) = text.split_once('=').ok_or("expected MACHINE=DIRECTORY")?;
    Ok((<Machine as clap::ValueEnum>::from_str(machine, false)?, Path::new(directory).to_owned()))
}
