//! Which OCI runtimes an engine has, and which containers were made for one.

use bollard::query_parameters::InspectContainerOptions;

use super::{Docker, DockerError};

/// The runtimes of an engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runtimes {
    /// Their names, in order.
    pub names: Vec<String>,
    /// What containers get that ask for none.
    pub default: Option<String>,
}

impl Docker {
    /// The runtimes that it has.
    ///
    /// # Errors
    ///
    /// When it gives no answer.
    pub async fn runtimes(&self) -> Result<Runtimes, DockerError> {
        let answer = self.client().info().await;
        let info = answer.map_err(|source| self.failed("describe itself", source))?;
        let mut names: Vec<String> = info.runtimes.unwrap_or_default().into_keys().collect();
        names.sort();
        Ok(Runtimes { names, default: info.default_runtime })
    }

    /// The names of the containers, running or not, that were made for a runtime, in order.
    ///
    /// # Errors
    ///
    /// When it gives no answer.
    pub async fn containers_of_runtime(&self, runtime: &str) -> Result<Vec<String>, DockerError> {
        let mut users = Vec::new();
        for one in self.known().await? {
            if self.runtime_of(&one.id).await?.as_deref() == Some(runtime) {
                users.push(one.name);
            }
        }
        users.sort();
        Ok(users)
    }

    async fn runtime_of(&self, id: &str) -> Result<Option<String>, DockerError> {
        match self.client().inspect_container(id, None::<InspectContainerOptions>).await {
            Ok(container) => Ok(container.host_config.and_then(|config| config.runtime)),
            // It was removed meanwhile.
            Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => {
                Ok(None)
            }
            Err(source) => Err(self.failed("inspect a container", source)),
        }
    }
}
