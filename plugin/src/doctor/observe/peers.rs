//! Docker and the daemon, asked with deadlines.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use ebpf_netns::docker::{DockerError, Endpoint, Survey, connect_to};
use tokio::time::timeout;

use crate::control::{self, ClientError};
use crate::doctor::{Daemon, Docker, Seen, Unseen, decide};
use crate::error::chain;

/// How long Docker may take for all that it is asked.
const DOCKER: Duration = Duration::from_secs(8);
/// How long the daemon may take.
const DAEMON: Duration = Duration::from_secs(5);

pub(super) async fn docker(endpoint: Result<Endpoint, DockerError>) -> Docker {
    let endpoint = match endpoint {
        Ok(endpoint) => endpoint,
        Err(error) => {
            let survey = Err(Unseen::failed(chain(&error)));
            return Docker { endpoint: "DOCKER_HOST".to_owned(), survey, runtime_program: None };
        }
    };
    let asked = async { connect_to(endpoint.clone()).await?.survey().await };
    let survey = match timeout(DOCKER, asked).await {
        Ok(Ok(survey)) => Ok(survey),
        Ok(Err(error @ DockerError::Denied { .. })) => Err(Unseen::denied(chain(&error))),
        Ok(Err(error)) => Err(Unseen::failed(chain(&error))),
        Err(_elapsed) => Err(Unseen::failed(format!(
            "Docker at {endpoint} did not answer within {} seconds",
            DOCKER.as_secs()
        ))),
    };
    let runtime_program = survey.as_ref().ok().and_then(program);
    Docker { endpoint: endpoint.to_string(), survey, runtime_program }
}

/// Whether the program of our runtime is there, if it is registered.
fn program(survey: &Survey) -> Option<Seen<bool>> {
    let (_, path) = decide::registered(survey)?;
    Some(match fs::metadata(path) {
        Ok(file) => Ok(file.is_file() && file.permissions().mode() & 0o111 != 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Unseen::denied(format!("only root may look at {}", path.display())))
        }
        Err(error) => Err(Unseen::failed(format!("look at {}: {error}", path.display()))),
    })
}

pub(super) async fn daemon(socket: &Path) -> Daemon {
    let asked = timeout(DAEMON, control::status(socket, false)).await;
    match asked.unwrap_or(Err(ClientError::Timeout(DAEMON))) {
        Ok(status) => Daemon::Answers(Box::new(status)),
        Err(ClientError::NotRunning { .. }) => Daemon::Absent,
        Err(error @ ClientError::NotPermitted { .. }) => {
            Daemon::Unseen(Unseen::denied(chain(&error)))
        }
        Err(error) => Daemon::Unseen(Unseen::failed(chain(&error))),
    }
}
