//! The other end of the control socket: asks the daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ebpf_netns::exit;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout};

use super::{EXPLAIN_PATH, MAY_START_PATH, RELOAD_PATH, STATUS_PATH, STATUS_WITH_RULES_PATH};
use crate::explain;
use crate::metrics;
use crate::reload::Outcome;
use crate::start::{Question, Verdict};
use crate::status::Status;

/// How long an answer may take.
pub(super) const ANSWER: Duration = Duration::from_secs(15);
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
    #[error("the daemon did not answer within {} ms: look at its log", .0.as_millis())]
    Timeout(Duration),
    /// It broke off in the middle.
    #[error("the daemon is gone, or broke off: look at its log")]
    BrokeOff(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It answered with an error.
    #[error("the daemon answered {0}: look at its log")]
    Answer(StatusCode),
    /// It broke off, or what it sent is not an answer.
    #[error("the daemon's answer makes no sense: is it of another version?")]
    Senseless(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ClientError {
    /// The exit code that a command ends with because of this.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::NotPermitted { .. } => exit::NOT_PERMITTED,
            Self::NotRunning { .. }
            | Self::Connect { .. }
            | Self::Timeout(_)
            | Self::BrokeOff(_) => exit::UNAVAILABLE,
            Self::Answer(_) | Self::Senseless(_) => exit::FAILED,
        }
    }
}

/// Asks the daemon at this socket for its status, with the rules of each interface if they are
/// wanted.
///
/// # Errors
///
/// When there is none, or it gives no answer.
pub async fn status(socket: &Path, rules: bool) -> Result<Status, ClientError> {
    let path = if rules { STATUS_WITH_RULES_PATH } else { STATUS_PATH };
    let request = Request::get(path).body(Full::default());
    within(ANSWER, ask(socket, request)).await
}

/// Asks the daemon at this socket whether a container may start. `deadline` is when an answer comes
/// too late, whatever the daemon does.
///
/// # Errors
///
/// When there is no daemon, or it gives no answer.
pub async fn may_start(
    socket: &Path,
    container: &str,
    deadline: Instant,
) -> Result<Verdict, ClientError> {
    let left = deadline.saturating_duration_since(Instant::now());
    // The daemon, which knows what it waits for, is to have the last word before the deadline.
    let patience = left.saturating_sub(left / 10);
    let question = Question {
        container: container.to_owned(),
        patience_ms: patience.as_millis().try_into().unwrap_or(u64::MAX),
    };
    let question = serde_json::to_vec(&question).map_err(senseless)?;
    let request = Request::post(MAY_START_PATH)
        .header("content-type", "application/json")
        .body(Full::from(question));
    within(left, ask(socket, request)).await
}

/// Asks the daemon at this socket what should become of a packet.
///
/// # Errors
///
/// When there is none, or it gives no answer.
pub async fn explain(
    socket: &Path,
    question: &explain::Question,
) -> Result<explain::Answer, ClientError> {
    let question = serde_json::to_vec(question).map_err(senseless)?;
    let request = Request::post(EXPLAIN_PATH)
        .header("content-type", "application/json")
        .body(Full::from(question));
    within(ANSWER, ask(socket, request)).await
}

/// Has the daemon at this socket load its configuration again.
///
/// # Errors
///
/// When there is none, or it gives no answer.
pub async fn reload(socket: &Path) -> Result<Outcome, ClientError> {
    let request = Request::post(RELOAD_PATH).body(Full::default());
    within(ANSWER, ask(socket, request)).await
}

/// Asks the daemon at this socket for its metrics, in Prometheus' text format.
///
/// # Errors
///
/// When there is none, or it gives no answer.
pub async fn metrics(socket: &Path) -> Result<Bytes, ClientError> {
    let request = Request::get(metrics::PATH).body(Full::default());
    within(ANSWER, read(socket, request)).await
}

pub(super) async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    timeout(patience, answer).await.unwrap_or(Err(ClientError::Timeout(patience)))
}

pub(super) async fn ask<T: DeserializeOwned>(
    socket: &Path,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
) -> Result<T, ClientError> {
    serde_json::from_slice(&read(socket, request).await?).map_err(senseless)
}

async fn read(
    socket: &Path,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
) -> Result<Bytes, ClientError> {
    exchange(socket, request, async |response| {
        let status = response.status();
        if status != StatusCode::OK {
            return Err(ClientError::Answer(status));
        }
        let body = Limited::new(response.into_body(), LARGEST);
        Ok(body.collect().await.map_err(ClientError::Senseless)?.to_bytes())
    })
    .await
}

/// Sends a request, and takes what is answered.
pub(super) async fn exchange<T, E: From<ClientError>>(
    socket: &Path,
    request: Result<Request<Full<Bytes>>, hyper::http::Error>,
    take: impl AsyncFnOnce(Response<Incoming>) -> Result<T, E>,
) -> Result<T, E> {
    let mut request = request.map_err(senseless)?;
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    let stream = connect(socket).await?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(senseless)?;
    let exchange = async { take(sender.send_request(request).await.map_err(senseless)?).await };
    // The connection has to be driven for the exchange to go on; it may end first.
    tokio::select! {
        answer = exchange => answer,
        Err(error) = connection => Err(senseless(error).into()),
    }
}

pub(super) async fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(socket).await.map_err(|source| {
        let path = socket.to_path_buf();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { path }
            }
            io::ErrorKind::PermissionDenied => ClientError::NotPermitted { path },
            _ => ClientError::Connect { path, source },
        }
    })
}

pub(super) fn senseless(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
    ClientError::Senseless(error.into())
}
