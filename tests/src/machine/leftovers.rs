//! Removal of what is left when a machine's guardian was killed, too.
//!
//! Whoever still lives of a machine holds the lock in its directory, so what can be locked is dead.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{LOCK, PREFIX};
use crate::wait::wait_until;

/// Removes directories and cgroups of machines that are dead; those of living ones stay.
///
/// # Errors
///
/// When the directory of temporary files cannot be read.
pub fn sweep() -> Result<()> {
    let temporary = std::env::temp_dir();
    for directory in named(&temporary)? {
        if is_dead(&directory) {
            remove(&directory);
        }
    }
    Ok(())
}

/// The entries of `directory` with our prefix.
fn named(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    let ours = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX))
        })
        .collect();
    Ok(ours)
}

fn is_dead(directory: &Path) -> bool {
    // Owner and guardian hold it shared; that fails here for as long as one of them lives.
    File::open(directory.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

/// What cannot be removed now, because another sweep is at it or the kernel still holds a cgroup,
/// is left to the next sweep.
fn remove(directory: &Path) {
    let Some(name) = directory.file_name() else { return };
    let cgroups = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(cgroups).into_iter().flatten().flatten();
    let candidates = hierarchies.map(|entry| entry.path()).chain([cgroups.to_path_buf()]);
    let mut emptied = true;
    for cgroup in candidates.map(|hierarchy| hierarchy.join(name)).filter(|path| path.is_dir()) {
        emptied &= remove_cgroup(&cgroup);
    }
    if emptied {
        drop(fs::remove_dir_all(directory));
    }
}

/// Removes a cgroup after its children: only `rmdir` works there.
fn remove_cgroup(cgroup: &Path) -> bool {
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    // What was killed just now can still be on its way out.
    wait_until(Duration::from_secs(2), "a cgroup to be empty", || {
        fs::remove_dir(cgroup).is_ok() || !cgroup.exists()
    })
    .is_ok()
}
