//! The root file system of the development container, from Debian's archive.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use sha2::{Digest as _, Sha256};

use super::dockerfile::packages;
use crate::setup::{self, Need};
use crate::ui;

/// The release of Debian that Dockerfile.dev starts from.
const RELEASE: &str = "bookworm";
/// The list that Dockerfile.dev installs.
const PACKAGES: &str = "compose/dev-packages.txt";
/// What makes the file system.
const MAKER: Need = Need { program: "mmdebstrap", package: "mmdebstrap" };

/// The file system as a tar file in `dir`, made anew when the list of packages changed.
pub(super) fn tarball(root: &Path, dir: &Path) -> Result<PathBuf> {
    let list =
        fs::read_to_string(root.join(PACKAGES)).with_context(|| format!("read {PACKAGES}"))?;
    let packages = packages(&list).join(",");
    let digest = Sha256::digest(format!("{RELEASE} {packages}"));
    let key = digest.iter().take(8).fold(String::new(), |key, byte| key + &format!("{byte:02x}"));
    let tarball = dir.join(format!("rootfs-{key}.tar"));
    if tarball.exists() {
        return Ok(tarball);
    }
    setup::provide(&[MAKER])?;
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    let new = dir.join("new.tar");
    let include = format!("--include={packages}");
    ui::run(Command::new("mmdebstrap").args(["--variant=minbase", &include, RELEASE]).arg(&new))?;
    fs::rename(&new, &tarball).with_context(|| format!("make {}", tarball.display()))?;
    Ok(tarball)
}

/// A directory of this machine's Rust, such as `CARGO_HOME`: its name in Dockerfile.dev's
/// environment, and below the home directory where that is not set.
pub(super) fn rust_home(variable: &str, below_home: &str) -> Result<PathBuf> {
    let set = env::var_os(variable).map(PathBuf::from);
    let found = set.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(below_home)));
    let found = found.with_context(|| format!("neither {variable} nor HOME is set"))?;
    found.canonicalize().with_context(|| {
        format!("{} is not there: the container takes rustup's toolchain from it", found.display())
    })
}
