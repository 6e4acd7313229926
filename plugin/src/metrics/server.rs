//! A loopback port that serves metrics and nothing else. Whoever asks is not trusted: everybody on
//! the machine can.
//!
//! Enforcement goes on whatever becomes of this. The listener is made before the sandbox, in which
//! no port can be bound and no socket of this kind made.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};

use super::{Loopback, PATH, Sampler};

/// Connections at once: a new one takes the place of the oldest.
const MOST_CONNECTIONS: usize = 32;
/// The largest request, in bytes: the least that hyper takes.
const LARGEST_REQUEST: usize = 8 << 10;
/// How long a connection may take, from its beginning to its end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long is waited when the system has no connection to give.
const PAUSE: Duration = Duration::from_secs(1);

/// Listens there, or tells why not: nothing else depends on it.
#[must_use]
pub fn listen(address: Loopback) -> Option<TcpListener> {
    let listen = || -> io::Result<TcpListener> {
        let listener = TcpListener::bind(address.socket())?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    match listen() {
        Ok(listener) => {
            info!(%address, "metrics are served");
            Some(listener)
        }
        Err(error) => {
            error!(
                %address,
                %error,
                "metrics are not served, everything else is as it should be: free the port or name \
                 another, and restart the daemon"
            );
            None
        }
    }
}

/// Serves until the future is dropped.
///
/// # Errors
///
/// When the listener cannot be used.
pub async fn serve(listener: TcpListener, sampler: Sampler) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let mut connections = JoinSet::new();
    let mut oldest = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                while connections.try_join_next().is_some() {}
                make_room(&mut oldest);
                oldest.push_back(connections.spawn(converse(stream, sampler.clone())));
            }
            Err(error) => {
                warn!(%error, "a connection for metrics was not taken");
                sleep(PAUSE).await;
            }
        }
    }
}

/// Ends the oldest connections where there are too many: one that is slow is not to keep a new one
/// waiting.
fn make_room(oldest: &mut VecDeque<AbortHandle>) {
    oldest.retain(|connection| !connection.is_finished());
    while oldest.len() >= MOST_CONNECTIONS {
        if let Some(connection) = oldest.pop_front() {
            connection.abort();
        }
    }
}

/// One request and its answer.
async fn converse(stream: TcpStream, sampler: Sampler) {
    let service = service_fn(|request| {
        let sampler = sampler.clone();
        async move { Ok::<_, Infallible>(respond(&request, &sampler).await) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(LARGEST_REQUEST)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "a connection for metrics failed"),
        Err(_elapsed) => debug!("a connection for metrics took too long"),
    }
}

async fn respond(request: &Request<Incoming>, sampler: &Sampler) -> Response<Full<Bytes>> {
    match (request.uri().path(), request.method()) {
        (PATH, &Method::GET) => match sampler.text().await {
            Some(text) => answer(StatusCode::OK, (CONTENT_TYPE, super::CONTENT_TYPE), text),
            None => plain(StatusCode::SERVICE_UNAVAILABLE, "the engine does not answer\n"),
        },
        (PATH, _) => answer(StatusCode::METHOD_NOT_ALLOWED, (ALLOW, "GET"), Bytes::new()),
        _ => plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    answer(status, (CONTENT_TYPE, "text/plain; charset=utf-8"), Bytes::from_static(text.as_bytes()))
}

fn answer(
    status: StatusCode,
    (header, value): (HeaderName, &'static str),
    body: Bytes,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header, HeaderValue::from_static(value));
    response
}
