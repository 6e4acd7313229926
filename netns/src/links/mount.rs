//! The mounts behind links of kind `bind`, made the way `ip netns` makes its own.

use std::{os::fd::AsRawFd as _, path::Path};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
};
use rustix::fs::{CWD, Mode, OFlags, openat};

use super::LinkError;
use crate::Namespace;

/// Mounts the namespace on a new file at `path`; fails if there is anything at `path`.
pub(super) fn make(dir: &Path, path: &Path, namespace: &Namespace) -> Result<(), LinkError> {
    share(dir)?;
    let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
        .map_err(|source| LinkError::file("create", path, source))?;
    // By its open file: a path could mean another namespace by now.
    let source = format!("/proc/self/fd/{}", std::os::fd::AsFd::as_fd(namespace).as_raw_fd());
    bind(Path::new(&source), path, MsFlags::MS_BIND).map_err(|error| {
        let error = LinkError::file("mount the namespace on", path, error);
        match std::fs::remove_file(path) {
            Ok(()) => error,
            Err(source) => LinkError::file("remove", path, source),
        }
    })
}

/// Takes the mount away; the file at `path` remains.
pub(super) fn remove(path: &Path) -> Result<(), LinkError> {
    umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)
        .map_err(|source| LinkError::file("unmount", path, source))
}

/// Makes the directory a mount that is shared with other mount namespaces, as `ip netns` does, so
/// that a namespace mounted there can be seen, and unmounted, everywhere.
fn share(dir: &Path) -> Result<(), LinkError> {
    let failed = |source| LinkError::file("share the mount of", dir, source);
    match bind(Path::new(""), dir, MsFlags::MS_SHARED | MsFlags::MS_REC) {
        // It is no mount yet.
        Err(Errno::EINVAL) => {}
        result => return result.map_err(failed),
    }
    bind(dir, dir, MsFlags::MS_BIND | MsFlags::MS_REC).map_err(failed)?;
    bind(Path::new(""), dir, MsFlags::MS_SHARED | MsFlags::MS_REC).map_err(failed)
}

fn bind(source: &Path, at: &Path, flags: MsFlags) -> Result<(), Errno> {
    mount(Some(source), at, Some("none"), flags, None::<&str>)
}
