//! Requests that `docker` cannot make: a label of 64 MiB, a thousand renames in a few seconds.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use super::Engine;

/// How long the engine may be silent.
const PATIENCE: Duration = Duration::from_mins(1);

impl Engine {
    /// Posts a JSON body (or none) to a path of the API, for example `/containers/create?name=web`,
    /// and returns the answer's body.
    ///
    /// # Errors
    ///
    /// When the engine refuses; the error shows its answer.
    pub fn post(&self, path: &str, body: &str) -> Result<String> {
        self.request("POST", path, body)
    }

    /// Asks for a path of the API, and returns the answer's body.
    ///
    /// # Errors
    ///
    /// As [`Self::post`].
    pub fn get(&self, path: &str) -> Result<String> {
        self.request("GET", path, "")
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Result<String> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        )?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .with_context(|| format!("the answer to {method} {path}"))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap_or_default();
        ensure!(status.starts_with('2'), "{method} {path}: {answer}");
        Ok(body.to_owned())
    }
}
