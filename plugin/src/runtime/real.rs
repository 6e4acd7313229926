//! The real runtime: becoming it, and having it clear away a container that may not start.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The real runtime cannot be executed.
#[derive(Debug, thiserror::Error)]
#[error(
    "execute the real runtime {}: is it installed, and its path in the settings right?",
    runtime.display()
)]
pub(super) struct NoRuntime {
    runtime: PathBuf,
    #[source]
    source: io::Error,
}

/// Becomes it; returns only when that fails.
pub(super) fn become_it(runtime: &Path, arguments: &[OsString]) -> NoRuntime {
    let source = Command::new(runtime).args(arguments).exec();
    NoRuntime { runtime: runtime.to_owned(), source }
}

/// Ends the process that stands where the container would begin. Docker cannot remove a container
/// that is neither begun nor ended, and so could not start it again later.
pub(super) fn discard(runtime: &Path, globals: &[OsString], id: &str) {
    let mut delete = Command::new(runtime);
    delete.args(globals).args(["delete", "--force", id]);
    // What goes wrong is in the runtime's log; why the container does not start is said after it.
    delete.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().ok();
}
