//! The control socket: HTTP over a Unix socket that root alone may open.

mod client;
mod server;

use std::path::PathBuf;

pub use self::client::{ClientError, status};
pub use self::server::{Control, ServerError, bind, serve};

/// Where the daemon listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/ebpf-netns/control.sock";

/// The path of the status document.
const STATUS_PATH: &str = "/v1/status";

/// The default socket as a path.
#[must_use]
pub fn default_socket() -> PathBuf {
    PathBuf::from(DEFAULT_SOCKET)
}
