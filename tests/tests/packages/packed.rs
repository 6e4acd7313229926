//! Packages of this machine, made once for all tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context as _, Result, anyhow, ensure};
use ebpf_netns_dist::{Epoch, Machine, Release, sums};
use ebpf_netns_tests::binaries;
use serde_json::Value;

/// The version of everything.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is packed: the programs for this machine, which need no library.
pub(crate) fn release() -> Result<Release> {
    Ok(Release {
        root: repository(),
        programs: binaries::standalone()?,
        machine: Machine::here().context("there are packages for this machine")?,
        epoch: Epoch::of_environment()?,
    })
}

pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A package by the end of its name.
pub(crate) fn packed(ending: &str) -> Result<PathBuf> {
    let directory = packages()?;
    let names = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path()));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let found = names.into_iter().find(|path| path.to_string_lossy().ends_with(ending));
    found.with_context(|| format!("nothing in {} ends in {ending}", directory.display()))
}

/// The directory with all of them.
pub(crate) fn packages() -> Result<&'static Path> {
    static MADE: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = MADE.get_or_init(|| make().map_err(|error| format!("{error:#}")));
    made.as_deref().map_err(|error| anyhow!("make the packages: {error}"))
}

fn make() -> Result<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    release()?.write(&directory)?;
    sums(&directory)?;
    Ok(directory)
}

/// That the container `web` is enforced, as `status` says as JSON.
pub(crate) fn ensure_enforced(status: &str) -> Result<()> {
    let status: Value = serde_json::from_str(status)?;
    let containers = status["containers"].as_array().context("there are containers")?;
    let is_it = |it: &Value| it["name"] == "web" && it["state"] == "enforced";
    ensure!(containers.iter().any(is_it), "{status}");
    Ok(())
}
