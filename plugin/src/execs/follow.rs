//! Following what the kernel tells: whose it is, and a line of it.

use std::io;
use std::time::Duration;

use ebpf_netns::docker::{self, Docker, DockerError, Endpoint, Known};
use plugin_common::exec::ExecRecord;
use tokio::time::{Instant, interval_at};

use super::event::{ExecEvent, Line};
use super::whose::Whose;
use crate::kernel::{Execs, ExecsError};
use crate::trace::Lost;

/// How often all processes are looked at, whatever happens.
const LOOK: Duration = Duration::from_secs(2);
/// How soon again, when a call is nobody's that is known.
const SOON: Duration = Duration::from_millis(100);

/// What is executed cannot be followed, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The kernel refuses.
    #[error(transparent)]
    Execs(#[from] ExecsError),
    /// Docker does not know the containers.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// What is told could not be written.
    #[error("write the output")]
    Output(#[from] io::Error),
}

/// Follows what these containers execute, or all containers where none are named; `tell` is called for
/// each line. Never ends by itself.
///
/// # Errors
///
/// When a container is not known, when the kernel lacks or refuses something, or when `tell` fails.
pub async fn follow(
    endpoint: Endpoint,
    containers: &[String],
    mut tell: impl FnMut(&Line) -> io::Result<()>,
) -> Result<(), FollowError> {
    let docker = docker::connect_to(endpoint).await?;
    let mut followed = Vec::new();
    for name in containers {
        let container = docker::resolve(&docker, name).await?;
        followed.push(Known { id: container.id, name: container.name });
    }
    let mut state =
        Follower { execs: Execs::attach()?, whose: Whose::new(followed), docker, looked: None };
    state.look().await?;
    tell(&Line::Listening { containers: state.whose.running() })?;
    let mut ticks = interval_at(Instant::now() + LOOK, LOOK);
    loop {
        tokio::select! {
            records = state.execs.next() => {
                for record in records? {
                    if let Some(exec) = state.exec(&record).await? {
                        tell(&Line::Exec(Box::new(exec)))?;
                    }
                }
            }
            _ = ticks.tick() => state.look().await?,
        }
        let events = state.execs.newly_lost();
        if events > 0 {
            tell(&Line::Lost(Lost { events }))?;
        }
    }
}

struct Follower {
    execs: Execs,
    whose: Whose,
    docker: Docker,
    /// When all processes were looked at.
    looked: Option<Instant>,
}

impl Follower {
    /// Brings what is known of containers and namespaces up to date.
    async fn look(&mut self) -> Result<(), FollowError> {
        if self.whose.look() {
            self.whose.set_containers(self.docker.known().await?);
            self.whose.look();
        }
        self.looked = Some(Instant::now());
        Ok(self.execs.set_namespaces(self.whose.namespaces())?)
    }

    /// What there is to tell of a call: nothing, if it is nobody's that is followed.
    async fn exec(&mut self, record: &ExecRecord) -> Result<Option<ExecEvent>, FollowError> {
        let mut id = self.whose.of(record);
        let due = self.looked.is_none_or(|looked| looked.elapsed() >= SOON);
        if id.is_none() && record.namespace == 0 && due {
            // A container that is new, perhaps.
            self.look().await?;
            id = self.whose.of(record);
        }
        let Some(id) = id else { return Ok(None) };
        Ok(Some(ExecEvent::new(record, (&id, self.whose.name(&id)))))
    }
}
