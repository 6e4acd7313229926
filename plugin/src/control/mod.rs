//! The control socket: HTTP over a Unix socket that root alone may open.

mod ask_capture;
mod client;
mod serve_capture;
mod server;
mod stream;

pub use self::ask_capture::{Capturing, capture, stop_capture};
pub use self::client::{ClientError, explain, may_start, metrics, reload, status};
pub use self::server::{Answers, Control, ServerError, bind, serve};
pub use self::stream::{StreamError, trace};

/// Where the daemon listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/ebpf-netns/control.sock";

/// The path of the status document.
const STATUS_PATH: &str = "/v1/status";

/// The path of the status document with the rules of each interface.
const STATUS_WITH_RULES_PATH: &str = "/v1/status/rules";

/// The path of the question what becomes of a packet.
const EXPLAIN_PATH: &str = "/v1/explain";

/// The path of a capture of frames.
const CAPTURE_PATH: &str = "/v1/capture";

/// The path that ends one.
const STOP_CAPTURE_PATH: &str = "/v1/capture/stop";

/// The path of the question whether a container may start.
const MAY_START_PATH: &str = "/v1/may-start";

/// The path that has the configuration loaded again.
const RELOAD_PATH: &str = "/v1/reload";

/// The path of what becomes of packets, which has no end.
const TRACE_PATH: &str = "/v1/trace";
