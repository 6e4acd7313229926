//! How asking Docker fails.

use std::io;

use ebpf_netns::docker::{DockerError, Endpoint};
use ebpf_netns::text::printable;
use hyper::StatusCode;

use super::question::{OLDEST_API, PATIENCE};

/// Docker gave no answer, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Its socket cannot be connected to.
    #[error(transparent)]
    Connect(#[from] DockerError),
    /// Its address cannot be connected to.
    #[error("no Docker engine answers at {endpoint}")]
    Unreachable {
        endpoint: Endpoint,
        #[source]
        source: io::Error,
    },
    /// It is too old.
    #[error("Docker speaks API {found}, and {OLDEST_API} or later is needed: upgrade Docker")]
    TooOld { found: String },
    /// It is something else.
    #[error("Docker tells no version of its API: is it Docker?")]
    NoVersion,
    /// It answered with an error.
    #[error("{what}: Docker answered {status}{}", message.as_deref().unwrap_or_default())]
    Refused { what: &'static str, status: StatusCode, message: Option<String> },
    /// There is no whole answer that makes sense.
    #[error("{what}")]
    Failed {
        what: &'static str,
        #[source]
        fault: Fault,
    },
}

/// What was wrong with an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("Docker did not answer within {} seconds", PATIENCE.as_secs())]
    Slow,
    #[error("what answers does not speak HTTP as Docker does")]
    Http(#[source] hyper::Error),
    #[error("Docker's answer broke off")]
    Cut(#[source] hyper::Error),
    #[error("Docker's answer makes no sense")]
    Senseless(#[source] serde_json::Error),
    #[error("Docker told of another one than it was asked about")]
    Mistaken,
    #[error("the reader was interrupted")]
    Interrupted,
}

impl AskError {
    /// The error of a Docker that answers with one; `text` is what it said.
    pub(super) fn refused(what: &'static str, status: StatusCode, text: &[u8]) -> Self {
        #[derive(serde::Deserialize)]
        struct Message {
            message: String,
        }
        let message = serde_json::from_slice(text).ok();
        let message = message.map(|Message { message }| format!(": {}", printable(&message)));
        Self::Refused { what, status, message }
    }

    /// Whether what was asked about does not exist.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Refused { status: StatusCode::NOT_FOUND, .. })
    }
}
