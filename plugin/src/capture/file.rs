//! Makes the file of a capture: for its owner alone, since frames have in them what people send, and
//! never through a link that somebody else put there.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::libc::{O_NOFOLLOW, O_NONBLOCK};

/// Reading and writing for the owner.
const MODE: u32 = 0o600;

/// What becomes of a file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and is an error.
    Keep,
    /// It is written anew.
    Overwrite,
}

/// The file could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is one.
    #[error("{} is there already: --force overwrites it", path.display())]
    Exists {
        /// Its path.
        path: PathBuf,
    },
    /// It is a link.
    #[error("{} is a symbolic link, which is not followed: name the file itself", path.display())]
    Link {
        /// Its path.
        path: PathBuf,
    },
    /// It is a directory, a device or the like.
    #[error("{} is no ordinary file: -w - writes to standard output", path.display())]
    Special {
        /// Its path.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("make {}", path.display())]
    Make {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Makes it, empty.
///
/// # Errors
///
/// When it is there and is to stay, or cannot be made.
pub fn create(path: &Path, existing: Existing) -> Result<File, FileError> {
    let owned = || path.to_owned();
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE).custom_flags(O_NOFOLLOW | O_NONBLOCK);
    match options.create_new(true).open(path) {
        Ok(file) => return Ok(file),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(FileError::Make { path: owned(), source: error });
        }
        Err(_) if existing == Existing::Keep => return Err(FileError::Exists { path: owned() }),
        Err(_) => {}
    }
    let file =
        options.create_new(false).open(path).map_err(|source| match source.raw_os_error() {
            Some(nix::libc::ELOOP) => FileError::Link { path: owned() },
            Some(nix::libc::EISDIR | nix::libc::ENXIO) => FileError::Special { path: owned() },
            _ => FileError::Make { path: owned(), source },
        })?;
    let make = |source| FileError::Make { path: owned(), source };
    if !file.metadata().map_err(make)?.is_file() {
        return Err(FileError::Special { path: owned() });
    }
    // Before there is anything in it.
    file.set_permissions(Permissions::from_mode(MODE)).map_err(make)?;
    file.set_len(0).map_err(make)?;
    Ok(file)
}
