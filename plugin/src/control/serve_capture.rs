//! Captures at the control socket: an answer that goes on until one side ends it.

use axum::Json;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures_util::stream::unfold;

use super::{CAPTURE_PATH, STOP_CAPTURE_PATH};
use crate::capture::{CaptureId, Hub, Question, Session, refusal};

/// What is told of a capture is for our own command.
const STREAM: &str = "application/vnd.ebpf-netns.capture";

pub(super) fn router(captures: Hub) -> Router {
    Router::new()
        .route(CAPTURE_PATH, post(capture))
        .route(STOP_CAPTURE_PATH, post(stop))
        .with_state(captures)
}

/// Pieces are asked for as fast as the other side takes them. When it goes away, the answer is dropped,
/// and with it the capture.
async fn capture(State(hub): State<Hub>, Json(question): Json<Question>) -> Response {
    let body = match Session::begin(&hub, question).await {
        Ok(session) => Body::from_stream(unfold(session, async |mut session| {
            let piece = session.next().await?;
            Some((Ok::<_, std::convert::Infallible>(piece), session))
        })),
        Err(refused) => Body::from(refusal(refused)),
    };
    ([(CONTENT_TYPE, STREAM)], body).into_response()
}

async fn stop(State(hub): State<Hub>, Json(id): Json<CaptureId>) -> Response {
    if hub.stop(id) {
        Json(id).into_response()
    } else {
        (StatusCode::NOT_FOUND, "there is no such capture").into_response()
    }
}
