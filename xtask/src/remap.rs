//! Names for directories of this machine, so that what is built is the same on every other.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The flags of rustc that put fixed names in the place of the repository, of cargo's home, and of the
/// standard library's sources in a toolchain of this release or commit.
pub(crate) fn flags(root: &Path, sources: &Path, release: &str) -> Result<Vec<String>> {
    let places = [
        (root.to_owned(), "/ebpf-netns".to_owned()),
        (cargo_home()?, "/cargo".to_owned()),
        (sources.to_owned(), format!("/rustc/{release}")),
    ];
    let mut flags = Vec::new();
    for (path, stands_for) in places {
        let flag = |path: &Path| format!("--remap-path-prefix={}={stands_for}", path.display());
        // Compilers see a path as it was given or without its symbolic links.
        if let Ok(real) = path.canonicalize()
            && real != path
        {
            flags.push(flag(&real));
        }
        flags.push(flag(&path));
    }
    Ok(flags)
}

fn cargo_home() -> Result<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}
