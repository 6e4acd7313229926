//! Reading files that decide what is enforced: nobody but root may have written them.

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;

/// The largest file, in bytes.
const MAX_BYTES: u64 = 64 * 1024;

/// Reads a file; `None` if there is none. The error says what is wrong with it.
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    // A pipe would be waited for, and a link may point to what somebody else can change.
    let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
            return Err("is a symbolic link: expected a regular file".to_owned());
        }
        Err(error) => return Err(error.to_string()),
    };
    let there = file.metadata().map_err(|error| error.to_string())?;
    if !there.is_file() {
        return Err("is not a regular file".to_owned());
    }
    trust(&there)?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_BYTES) {
        return Err(format!("is larger than {MAX_BYTES} bytes"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => Err(format!("is not UTF-8: {}", error.utf8_error())),
    }
}

/// Whether only root, or who runs this, can have written it.
pub(crate) fn trust(there: &Metadata) -> Result<(), String> {
    let own = nix::unistd::geteuid().as_raw();
    if there.uid() != 0 && there.uid() != own {
        return Err(format!("belongs to user {}: expected root: chown root", there.uid()));
    }
    let mode = there.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(format!("may be written by others than root (mode {mode:04o}): chmod go-w"));
    }
    Ok(())
}
