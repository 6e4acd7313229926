//! The other end of a capture: asks the daemon for one, and takes what it tells.

use std::path::Path;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use super::client::{ANSWER, ask, connect, senseless, within};
use super::{CAPTURE_PATH, ClientError, STOP_CAPTURE_PATH};
use crate::capture::{CaptureId, Question};

/// What the daemon tells of a capture. Dropping it ends the capture.
pub struct Capturing {
    body: Incoming,
    /// Has to be driven for the body to come.
    connection: JoinHandle<()>,
}

impl Capturing {
    /// The next piece; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the daemon is gone.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => return Ok(Some(piece)),
                    // Trailers, of which there are none.
                    Err(_other) => {}
                },
                Some(Err(error)) => return Err(ClientError::BrokeOff(error.into())),
            }
        }
    }
}

impl Drop for Capturing {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// Asks the daemon at this socket for a capture. Must be called within a tokio runtime.
///
/// # Errors
///
/// When there is none, or it gives no answer.
pub async fn capture(socket: &Path, question: &Question) -> Result<Capturing, ClientError> {
    let question = serde_json::to_vec(question).map_err(senseless)?;
    let mut request = Request::post(CAPTURE_PATH)
        .header("content-type", "application/json")
        .body(Full::<Bytes>::from(question))
        .map_err(senseless)?;
    request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
    within(ANSWER, async {
        let stream = connect(socket).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(senseless)?;
        // How it ends is told by the body.
        let connection = tokio::spawn(async move { drop(connection.await) });
        let response = sender.send_request(request).await.map_err(senseless)?;
        let status = response.status();
        let capturing = Capturing { body: response.into_body(), connection };
        if status == StatusCode::OK { Ok(capturing) } else { Err(ClientError::Answer(status)) }
    })
    .await
}

/// Has the daemon end a capture, which tells what there is left of it first.
///
/// # Errors
///
/// When there is none, or it gives no answer.
pub async fn stop_capture(socket: &Path, id: CaptureId) -> Result<CaptureId, ClientError> {
    let id = serde_json::to_vec(&id).map_err(senseless)?;
    let request = Request::post(STOP_CAPTURE_PATH)
        .header("content-type", "application/json")
        .body(Full::from(id));
    within(ANSWER, ask(socket, request)).await
}
