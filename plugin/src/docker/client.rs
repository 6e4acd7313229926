//! A client of Docker's API that can ask and nothing else: its only method is GET, and its requests
//! have no body.
//!
//! Connections are kept for the next question; questions that are asked at once have one each.

use std::sync::{Mutex, PoisonError};

use ebpf_netns::docker::{Endpoint, connect_unix};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::body;
use super::error::{AskError, Fault};
use super::question::{PATIENCE, Question};

/// How much of an error's text is read.
const EXPLANATION: usize = 4096;

/// A client of one engine.
pub(super) struct Client {
    endpoint: Endpoint,
    idle: Mutex<Vec<Connection>>,
}

/// An open connection.
struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// What moves its bytes; ends with it.
    _driver: JoinSet<()>,
}

/// An answer that does not end.
pub(super) struct Stream {
    what: &'static str,
    body: Incoming,
    _connection: Connection,
}

impl Client {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, idle: Mutex::default() }
    }

    /// Asks, and reads the answer as JSON.
    pub(super) async fn ask<T>(&self, question: &Question) -> Result<T, AskError>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let (response, connection) = self.get(question).await?;
        let failed = |fault| AskError::Failed { what: question.what, fault };
        let value = body::read(response.into_body()).await.map_err(failed)?;
        self.idle().push(connection);
        Ok(value)
    }

    /// Asks for what goes on for ever.
    pub(super) async fn listen(&self, question: &Question) -> Result<Stream, AskError> {
        let (response, connection) = self.get(question).await?;
        let body = response.into_body();
        Ok(Stream { what: question.what, body, _connection: connection })
    }

    /// Asks, and waits until a good answer begins.
    async fn get(&self, question: &Question) -> Result<(Response<Incoming>, Connection), AskError> {
        let what = question.what;
        let slow = |_elapsed| AskError::Failed { what, fault: Fault::Slow };
        let (response, connection) =
            timeout(PATIENCE, self.send(question)).await.map_err(slow)??;
        let status = response.status();
        if status == StatusCode::OK {
            return Ok((response, connection));
        }
        let text = Limited::new(response.into_body(), EXPLANATION).collect();
        let text = match timeout(PATIENCE, text).await {
            Ok(Ok(text)) => text.to_bytes(),
            _ => Bytes::new(),
        };
        Err(AskError::refused(what, status, &text))
    }

    async fn send(
        &self,
        question: &Question,
    ) -> Result<(Response<Incoming>, Connection), AskError> {
        loop {
            let kept = self.idle().pop();
            let is_new = kept.is_none();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect(question.what).await?,
            };
            match connection.ask(&self.endpoint, question).await {
                Ok(response) => return Ok((response, connection)),
                // Docker may close what it thinks idle, and to ask twice changes nothing.
                Err(_closed) if !is_new => {}
                Err(error) => {
                    return Err(AskError::Failed {
                        what: question.what,
                        fault: Fault::Http(error),
                    });
                }
            }
        }
    }

    async fn connect(&self, what: &'static str) -> Result<Connection, AskError> {
        let connected = match &self.endpoint {
            Endpoint::Unix(path) => Connection::over(connect_unix(path).await?).await,
            Endpoint::Tcp(address) => {
                let unreachable =
                    |source| AskError::Unreachable { endpoint: self.endpoint.clone(), source };
                let stream = TcpStream::connect(address).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                Connection::over(stream).await
            }
        };
        connected.map_err(|error| AskError::Failed { what, fault: Fault::Http(error) })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    async fn over(
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Result<Self, hyper::Error> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        // Its error is also that of the request that waits for it.
        driver.spawn(async { drop(connection.await) });
        Ok(Self { sender, _driver: driver })
    }

    async fn ask(
        &mut self,
        endpoint: &Endpoint,
        question: &Question,
    ) -> Result<Response<Incoming>, hyper::Error> {
        let host = match endpoint {
            Endpoint::Unix(_) => "docker",
            Endpoint::Tcp(address) => address,
        };
        let mut request = Request::new(Empty::new());
        // A question is made of what a path may hold, and an address of what a host may be.
        *request.uri_mut() = question.path.parse().unwrap_or_default();
        if let Ok(host) = host.parse() {
            request.headers_mut().insert(hyper::header::HOST, host);
        }
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}

impl Stream {
    /// The next piece; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, AskError> {
        let failed = |fault| AskError::Failed { what: self.what, fault };
        body::next_piece(&mut self.body).await.map_err(failed)
    }
}
