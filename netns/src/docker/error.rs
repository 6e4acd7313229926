//! How asking Docker fails, each with the way out.

use std::{error::Error, io, path::PathBuf};

use super::{
    endpoint::{BadEndpoint, Endpoint},
    resolve::{BadReference, Known},
};
use crate::{
    ErrorClass, exit,
    text::{printable, printable_up_to},
};

/// How many characters of a name that cannot be one are shown.
const SHOWN: usize = 60;
/// How many candidates for an ambiguous name are shown.
const CANDIDATES: usize = 8;

/// Why Docker gave no answer, or not the one that was needed.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// `DOCKER_HOST` names nothing that can be used.
    #[error("DOCKER_HOST={}: {reason}", printable_up_to(host, SHOWN))]
    BadEndpoint {
        /// What it says.
        host: String,
        /// What is wrong with it.
        reason: BadEndpoint,
    },
    /// There is no socket.
    #[error("no Docker socket at {}: start Docker, or set DOCKER_HOST", path.display())]
    NoSocket {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// There is something else where the socket should be.
    #[error("{} is not a socket: set DOCKER_HOST=unix:///path/to/docker.sock", path.display())]
    NotASocket {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The socket's path is not UTF-8, which the client cannot take.
    #[error("the Docker socket's path {} is not UTF-8", path.display())]
    SocketName {
        /// The path.
        path: PathBuf,
    },
    /// The socket may not be opened.
    #[error("not permitted to open {}: run as root", path.display())]
    Denied {
        /// Which socket.
        path: PathBuf,
    },
    /// Nobody listens at the socket.
    #[error("nothing listens at {}: start Docker", path.display())]
    NotRunning {
        /// Which socket.
        path: PathBuf,
    },
    /// The socket could not be connected to for another reason.
    #[error("connect to {}", path.display())]
    Connect {
        /// Which socket.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The engine did not answer in time.
    #[error(
        "Docker at {endpoint} did not answer within 10 seconds (it may be starting or stopping the container): try again"
    )]
    Timeout {
        /// Which engine.
        endpoint: Endpoint,
    },
    /// Nothing there answers as Docker does.
    #[error("no Docker engine answers at {endpoint}: {}", root(cause.as_ref()))]
    Unreachable {
        /// Which engine.
        endpoint: Endpoint,
        /// What went wrong. The message tells of its root; what is between says nothing.
        cause: Box<bollard::errors::Error>,
    },
    /// Docker answered with an error.
    #[error("{what}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// What Docker said.
        #[source]
        source: Box<bollard::errors::Error>,
    },
    /// Docker's answer lacks what every answer has.
    #[error("Docker's answer makes no sense: {what}")]
    BadAnswer {
        /// What is wrong with it.
        what: &'static str,
    },
    /// What the user gave cannot name a container.
    #[error("{:?} cannot be a container: {reason}", printable_up_to(reference, SHOWN).to_string())]
    BadReference {
        /// What the user gave.
        reference: String,
        /// What is wrong with it.
        reason: BadReference,
    },
    /// There is no such container.
    #[error("no such container: {} (`docker ps -a` lists them)", printable(reference))]
    NotFound {
        /// What the user gave.
        reference: String,
    },
    /// Several containers' ids begin so.
    #[error(
        "{} may be any of {}: give more of the id, or the name",
        printable(reference),
        list(candidates)
    )]
    Ambiguous {
        /// What the user gave.
        reference: String,
        /// What it may mean.
        candidates: Vec<Known>,
    },
}

impl DockerError {
    pub(super) fn unreachable(endpoint: &Endpoint, source: bollard::errors::Error) -> Self {
        let endpoint = endpoint.clone();
        match source {
            bollard::errors::Error::RequestTimeoutError => Self::Timeout { endpoint },
            cause => Self::Unreachable { endpoint, cause: Box::new(cause) },
        }
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::BadEndpoint { .. }
            | Self::NotASocket { .. }
            | Self::SocketName { .. }
            | Self::BadReference { .. }
            | Self::Ambiguous { .. } => ErrorClass::User,
            Self::NotFound { .. } => ErrorClass::Gone,
            Self::Denied { .. } => ErrorClass::Permission,
            Self::NoSocket { .. }
            | Self::NotRunning { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Unreachable { .. } => ErrorClass::Transient,
            Self::Refused { .. } | Self::BadAnswer { .. } => ErrorClass::Bug,
        }
    }

    /// The exit code that a command ends with because of this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BadReference { .. } => exit::USAGE,
            Self::NotFound { .. } | Self::Ambiguous { .. } => exit::NOT_FOUND,
            Self::Denied { .. } => exit::NOT_PERMITTED,
            Self::Refused { .. } => exit::FAILED,
            Self::BadEndpoint { .. }
            | Self::NotASocket { .. }
            | Self::SocketName { .. }
            | Self::NoSocket { .. }
            | Self::NotRunning { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Unreachable { .. }
            | Self::BadAnswer { .. } => exit::UNAVAILABLE,
        }
    }
}

/// The error that all the others stem from.
fn root<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    error.source().map_or(error, root)
}

fn list(candidates: &[Known]) -> String {
    let mut names: Vec<_> = candidates.iter().take(CANDIDATES).map(Known::to_string).collect();
    if let Some(more @ 1..) = candidates.len().checked_sub(CANDIDATES) {
        names.push(format!("{more} more"));
    }
    names.join(", ")
}
