//! The other end of the control socket: asks the daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ebpf_netns::exit;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::STATUS_PATH;
use crate::status::Status;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(15);
/// The largest answer, in bytes: a thousand containers are about a megabyte.
const LARGEST: usize = 64 << 20;

/// The daemon gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no daemon.
    #[error(
        "the daemon is not running (nothing listens at {}): start it with ebpf-netns-plugin run, \
         or give its --control-socket",
        path.display()
    )]
    NotRunning {
        /// The socket.
        path: PathBuf,
    },
    /// The socket is not ours to open.
    #[error("not permitted to open {}: run as root", path.display())]
    NotPermitted {
        /// The socket.
        path: PathBuf,
    },
    /// The socket could not be opened.
    #[error("connect to the daemon at {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It did not answer in time.
    #[error("the daemon did not answer within {} seconds: look at its log", ANSWER.as_secs())]
    Timeout,
    /// It answered with an error.
    #[error("the daemon answered {0}: look at its log")]
    Answer(StatusCode),
    /// It broke off, or what it sent is not a status.
    #[error("the daemon's answer makes no sense: is it of another version?")]
    Senseless(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ClientError {
    /// The exit code that a command ends with because of this.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotPermitted { .. } => exit::NOT_PERMITTED,
            Self::NotRunning { .. } | Self::Connect { .. } | Self::Timeout => exit::UNAVAILABLE,
            Self::Answer(_) | Self::Senseless(_) => exit::FAILED,
        }
    }
}

/// Asks the daemon at this socket for its status.
///
/// # Errors
///
/// When there is none, or it gives no answer.
pub async fn status(socket: &Path) -> Result<Status, ClientError> {
    timeout(ANSWER, ask(socket)).await.unwrap_or(Err(ClientError::Timeout))
}

async fn ask(socket: &Path) -> Result<Status, ClientError> {
    let stream = UnixStream::connect(socket).await.map_err(|source| {
        let path = socket.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { path }
            }
            io::ErrorKind::PermissionDenied => ClientError::NotPermitted { path },
            _ => ClientError::Connect { path, source },
        }
    })?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(senseless)?;
    let request = Request::get(STATUS_PATH)
        .header("host", "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(senseless)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(senseless)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(ClientError::Answer(status));
        }
        let body = Limited::new(response.into_body(), LARGEST);
        let bytes = body.collect().await.map_err(ClientError::Senseless)?.to_bytes();
        serde_json::from_slice(&bytes).map_err(senseless)
    };
    // The connection has to be driven for the exchange to go on; it may end first.
    tokio::select! {
        answer = exchange => answer,
        Err(error) = connection => Err(senseless(error)),
    }
}

fn senseless(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::Senseless(error.into())
}
