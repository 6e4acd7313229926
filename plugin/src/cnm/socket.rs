//! The socket at which Docker finds the drivers, which is there for as long as somebody answers.

use std::fs::{self, Permissions};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::error::CnmError;

/// The socket.
#[derive(Debug)]
pub struct Plugin {
    pub(super) listener: UnixListener,
    pub(super) place: Place,
}

/// Makes the socket, in place of one that a dead daemon left. Must run within a tokio runtime.
///
/// # Errors
///
/// When it cannot be made.
pub fn bind(path: &Path) -> Result<Plugin, CnmError> {
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| CnmError::File { what, path, source }
    };
    if let Some(directory) = path.parent() {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(directory);
        made.map_err(failed("make directory", directory))?;
    }
    // Whoever holds the control socket is the only daemon.
    if fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
        fs::remove_file(path).map_err(failed("remove", path))?;
    }
    let listener = UnixListener::bind(path).map_err(failed("listen at", path))?;
    let place = Place(path.to_owned());
    fs::set_permissions(path, Permissions::from_mode(0o600))
        .map_err(failed("set the permissions of", path))?;
    Ok(Plugin { listener, place })
}

/// Where it is; removed when dropped.
#[derive(Debug)]
pub(super) struct Place(pub(super) PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // Someone else may have removed it, which is as good.
        fs::remove_file(&self.0).ok();
    }
}
