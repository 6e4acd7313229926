//! A Docker engine: reaching it, and finding out which container a user means.
//!
//! The only place in this crate that names bollard. Only ever asks (GET), and has no opinion on
//! policy.

mod container;
mod endpoint;
mod error;
mod resolve;
mod runtimes;
mod survey;

use bollard::{API_DEFAULT_VERSION, query_parameters::ListContainersOptionsBuilder};

pub use container::{Container, ContainerNetwork, ContainerState, NetworkMode};
pub use endpoint::{BadEndpoint, Endpoint, connect_unix};
pub use error::DockerError;
pub use resolve::{BadReference, Known};
pub use runtimes::Runtimes;
pub use survey::{Survey, SurveyedContainer, SurveyedNetwork};

/// How long an answer may take. An engine that is starting a container holds that container's lock
/// for as long, and `inspect` waits for it.
const TIMEOUT_SECONDS: u64 = 10;

/// A connection to a Docker engine that has answered once.
#[derive(Clone, Debug)]
pub struct Docker {
    client: bollard::Docker,
    endpoint: Endpoint,
}

/// Connects to the engine that `DOCKER_HOST` names, or to the default socket, and agrees on an API
/// version.
///
/// # Errors
///
/// When nothing of the kind is there; the error says what to do about it.
pub async fn connect() -> Result<Docker, DockerError> {
    connect_to(Endpoint::from_environment()?).await
}

/// Connects to this engine and agrees on an API version.
///
/// # Errors
///
/// As [`connect`].
pub async fn connect_to(endpoint: Endpoint) -> Result<Docker, DockerError> {
    let failed = |source| DockerError::unreachable(&endpoint, source);
    let client = match &endpoint {
        Endpoint::Unix(path) => {
            drop(connect_unix(path).await?);
            let path =
                path.to_str().ok_or_else(|| DockerError::SocketName { path: path.clone() })?;
            bollard::Docker::connect_with_unix(path, TIMEOUT_SECONDS, API_DEFAULT_VERSION)
        }
        Endpoint::Tcp(address) => {
            bollard::Docker::connect_with_http(address, TIMEOUT_SECONDS, API_DEFAULT_VERSION)
        }
    };
    let client = client.map_err(failed)?.negotiate_version().await.map_err(failed)?;
    Ok(Docker { client, endpoint })
}

/// Finds the container that a user means: by full id, else by name, else by the only id that begins
/// so, in the order in which Docker itself looks.
///
/// # Errors
///
/// When there is none, there are several, or Docker gives no answer.
pub async fn resolve(docker: &Docker, reference: &str) -> Result<Container, DockerError> {
    resolve::check(reference)
        .map_err(|reason| DockerError::BadReference { reference: reference.to_owned(), reason })?;
    // The list and not `inspect` with the reference: it tells what else the reference may mean.
    let known = docker.known().await?;
    let id = resolve::choose(reference, &known)?.id.clone();
    docker.inspect(&id).await
}

impl Docker {
    /// Where this engine is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The client, for questions that this module does not ask.
    #[must_use]
    pub fn client(&self) -> &bollard::Docker {
        &self.client
    }

    /// Id and name of every container, running or not, in the order of their ids.
    ///
    /// # Errors
    ///
    /// When Docker gives no answer.
    pub async fn known(&self) -> Result<Vec<Known>, DockerError> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let answer = self.client.list_containers(Some(options)).await;
        let summaries = answer.map_err(|source| self.failed("list containers", source))?;
        let mut known: Vec<_> = summaries
            .into_iter()
            .filter_map(|summary| Known::new(summary.id?, &summary.names.unwrap_or_default()))
            .collect();
        known.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(known)
    }

    /// Everything that we need to know about the container with this full id.
    ///
    /// # Errors
    ///
    /// When it is gone, or Docker gives no answer or not the one asked for.
    pub async fn inspect(&self, id: &str) -> Result<Container, DockerError> {
        let answer = self.client.inspect_container(id, None).await;
        let response = answer.map_err(|source| match source {
            bollard::errors::Error::DockerResponseServerError { status_code: 404, .. } => {
                DockerError::NotFound { reference: id.to_owned() }
            }
            source => self.failed("inspect a container", source),
        })?;
        let container = Container::try_from(response)?;
        if container.id == id {
            Ok(container)
        } else {
            Err(DockerError::BadAnswer { what: "it describes another container" })
        }
    }

    /// An error of the client, as one of ours; `what` is what was asked.
    #[must_use]
    pub fn failed(&self, what: &'static str, source: bollard::errors::Error) -> DockerError {
        match source {
            source @ bollard::errors::Error::DockerResponseServerError { .. } => {
                DockerError::Refused { what, source: Box::new(source) }
            }
            source => DockerError::unreachable(&self.endpoint, source),
        }
    }
}
