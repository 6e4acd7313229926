//! Docker, asked from a command that otherwise knows no async.

use crate::docker::{self, Container, DockerError, Known};
use anyhow::{Context as _, Result};

/// The container that the user means.
pub(crate) fn resolve(reference: &str) -> Result<Container> {
    block_on(async { docker::resolve(&docker::connect().await?, reference).await })
}

/// The container with this id, as it is now.
pub(crate) fn inspect(id: &str) -> Result<Container> {
    block_on(async { docker::connect().await?.inspect(id).await })
}

/// All containers.
pub(crate) fn known() -> Result<Vec<Known>> {
    block_on(async { docker::connect().await?.known().await })
}

fn block_on<T>(future: impl Future<Output = Result<T, DockerError>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.context("start an async runtime")?.block_on(future)?)
}
