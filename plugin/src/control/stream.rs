//! The other end of the control socket, where the answer has no end: a line of it at a time.

use std::io;
use std::path::Path;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, StatusCode};

use super::TRACE_PATH;
use super::client::{ClientError, exchange, senseless};
use crate::explain::Refused;
use crate::trace::Question;

/// The longest line, in bytes.
const LONGEST: usize = 1 << 20;
/// The longest refusal, in bytes.
const LONGEST_REFUSAL: usize = 64 << 10;

/// Why an answer that has no end did.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The daemon gave no answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It has a reason for that.
    #[error("{0}")]
    Refused(Refused),
    /// It broke off.
    #[error("the daemon ended, and what is watched with it: start it, and try again")]
    Ended,
    /// What is told could not be written.
    #[error("write the output")]
    Output(#[from] io::Error),
}

/// Follows what becomes of packets; `line` is called for each line, without its end.
///
/// # Errors
///
/// When there is no daemon, when it refuses or ends, or when `line` fails.
pub async fn trace(
    socket: &Path,
    question: &Question,
    mut line: impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<(), StreamError> {
    let question = serde_json::to_vec(question).map_err(senseless)?;
    let request = Request::post(TRACE_PATH)
        .header("content-type", "application/json")
        .body(Full::from(question));
    exchange(socket, request, async |response: Response<Incoming>| {
        let (status, mut body) = (response.status(), response.into_body());
        if status == StatusCode::CONFLICT {
            return Err(refusal(body).await?);
        }
        if status != StatusCode::OK {
            return Err(ClientError::Answer(status).into());
        }
        let mut lines = Lines::default();
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { break };
            if let Ok(piece) = frame.into_data() {
                lines.take(&piece, &mut line)?;
            }
        }
        Err(StreamError::Ended)
    })
    .await
}

async fn refusal(mut body: Incoming) -> Result<StreamError, ClientError> {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let data: Bytes = frame.map_err(senseless)?.into_data().unwrap_or_default();
        text.extend_from_slice(&data);
        if text.len() > LONGEST_REFUSAL {
            return Err(ClientError::Answer(StatusCode::CONFLICT));
        }
    }
    serde_json::from_slice(&text).map(StreamError::Refused).map_err(senseless)
}

/// Pieces, put together to lines.
#[derive(Default)]
struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    fn take(
        &mut self,
        piece: &[u8],
        line: &mut impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), StreamError> {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if let Some(whole) = self.rest.strip_suffix(b"\n") {
                line(whole)?;
                self.rest.clear();
            }
        }
        if self.rest.len() > LONGEST {
            return Err(senseless("a line without an end").into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_put_together_to_lines() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        let mut line = |whole: &[u8]| {
            found.push(String::from_utf8_lossy(whole).into_owned());
            Ok(())
        };
        for piece in ["a", "b\nc", "\n\nd\ne"] {
            lines.take(piece.as_bytes(), &mut line).unwrap();
        }
        assert_eq!(found, ["ab", "c", "", "d"]);
    }

    #[test]
    fn a_line_without_an_end_is_an_error() {
        let mut lines = Lines::default();
        let piece = vec![b'x'; LONGEST + 1];
        assert!(lines.take(&piece, &mut |_: &[u8]| Ok(())).is_err());
    }
}
