//! From what the user named to an open network namespace.
//!
//! A process id is only believed if its process is the container's: an engine elsewhere, or one
//! that is slow to notice a death, names processes that are someone else's here.

use std::fs;

use crate::{
    ErrorClass, Namespace, NamespaceError, Pid, Process, ProcessError,
    docker::{Container, ContainerNetwork, ContainerState, NetworkMode},
    exit,
    text::printable,
};
use anyhow::{Context as _, Result};

use super::{args::SubjectArgs, docker, failure::Failure};

/// A container or a process, and its network namespace.
#[derive(Debug)]
pub(crate) struct Subject {
    /// `None` if the user named a process.
    pub(crate) container: Option<Container>,
    pub(crate) namespace: Namespace,
    /// A process in that namespace, if one is visible here.
    pub(crate) process: Option<Process>,
}

impl Subject {
    /// Finds and opens what the user named; never the host's own namespace.
    pub(crate) fn open(args: &SubjectArgs) -> Result<Self> {
        let subject = match (&args.container, args.pid) {
            (Some(reference), _) => Self::of_container(docker::resolve(reference)?)?,
            (None, Some(pid)) => Self::of_pid(pid)?,
            (None, None) => return Err(Failure::new(exit::USAGE, "nothing was named").into()),
        };
        if subject.namespace.is_same_as(&Namespace::own()?) {
            return Err(subject.shares_the_hosts());
        }
        Ok(subject)
    }

    /// The networks that the container is on, or those of the container whose network it shares.
    pub(crate) fn networks(&self) -> Vec<ContainerNetwork> {
        let Some(container) = &self.container else {
            return Vec::new();
        };
        match &container.network_mode {
            // Only names come of it: a failure leaves them out.
            NetworkMode::Container(owner) => {
                docker::resolve(owner).map(|owner| owner.networks).unwrap_or_default()
            }
            _ => container.networks.clone(),
        }
    }

    /// What to call it in a sentence.
    pub(crate) fn describe(&self) -> String {
        match (&self.container, &self.process) {
            (Some(container), _) => format!("container {}", name(container)),
            (None, Some(process)) => format!("process {}", process.pid()),
            (None, None) => "the process".to_owned(),
        }
    }

    fn of_pid(pid: Pid) -> Result<Self> {
        let process = Process::open(pid)?;
        let namespace = Namespace::of_open_process(&process)?;
        Ok(Self { container: None, namespace, process: Some(process) })
    }

    fn of_container(container: Container) -> Result<Self> {
        if let Some(sentence) = why_no_namespace(container.state) {
            let message = format!("container {} {sentence}", name(&container));
            return Err(Failure::new(exit::NOT_FOUND, message).into());
        }
        let process = container.pid.map(|pid| own_process(&container, pid));
        let by_key = container.sandbox_key.as_deref().map(Namespace::open);
        match (by_key, process) {
            (Some(Ok(namespace)), process) => {
                let process = process.and_then(Result::ok).filter(|process| {
                    Namespace::of_open_process(process)
                        .is_ok_and(|other| other.is_same_as(&namespace))
                });
                Ok(Self { container: Some(container), namespace, process })
            }
            // The process would be as little permitted, and the hint is the same.
            (Some(Err(error)), _) if error.class() == ErrorClass::Permission => {
                Err(anyhow::Error::from(error).context(format!("container {}", name(&container))))
            }
            (by_key, Some(process)) => {
                let (namespace, process) = process
                    .and_then(|process| Ok((of_checked_process(&container, &process)?, process)))
                    .with_context(|| why_no_key(&container, by_key))?;
                Ok(Self { container: Some(container), namespace, process: Some(process) })
            }
            (by_key, None) => Err(anyhow::Error::from(NamespaceError::NoProcess)
                .context(why_no_key(&container, by_key))),
        }
    }

    fn shares_the_hosts(&self) -> anyhow::Error {
        let message = match &self.container {
            Some(container) if container.network_mode == NetworkMode::Host => format!(
                "container {} uses the host's network (--network host): it has no namespace and \
                 no interfaces of its own",
                name(container)
            ),
            _ => format!("{} shares the network namespace of this command", self.describe()),
        };
        Failure::new(exit::FAILED, message).into()
    }
}

fn name(container: &Container) -> String {
    if container.name.is_empty() {
        container.short_id().to_owned()
    } else {
        printable(&container.name).to_string()
    }
}

/// Why there is nothing to look at in this state; `None` if there is.
fn why_no_namespace(state: ContainerState) -> Option<&'static str> {
    match state {
        ContainerState::Running | ContainerState::Paused | ContainerState::Unknown => None,
        ContainerState::Created => {
            Some("was created but never started, so it has no network namespace yet: start it")
        }
        ContainerState::Exited => Some("has stopped, and its network namespace is gone: start it"),
        ContainerState::Restarting => {
            Some("is between two runs (restarting): try again once it runs")
        }
        ContainerState::Removing => Some("is being removed"),
        ContainerState::Dead => Some("is dead: Docker failed to remove it"),
    }
}

fn why_no_key(container: &Container, by_key: Option<Result<Namespace, NamespaceError>>) -> String {
    let name = name(container);
    match by_key {
        Some(Err(error)) => {
            let error = anyhow::Error::from(error);
            format!("container {name}: its sandbox key does not help ({error:#}), nor its process")
        }
        _ => format!("container {name}, which has no sandbox key"),
    }
}

/// The namespace of a container's process, once Docker says that it still is the container's.
fn of_checked_process(container: &Container, process: &Process) -> Result<Namespace> {
    let namespace = Namespace::of_open_process(process)?;
    let again = docker::inspect(&container.id)?;
    if (again.pid, &again.started_at) != (container.pid, &container.started_at) {
        let message = "it was restarted meanwhile: try again";
        return Err(Failure::new(exit::NOT_FOUND, message).into());
    }
    process.check()?;
    Ok(namespace)
}

/// Opens a container's process, unless its control group says that it is another container's.
fn own_process(container: &Container, pid: Pid) -> Result<Process> {
    let process = Process::open(pid)?;
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup"))
        .map_err(|source| ProcessError::StartTime { pid, source })?;
    process.check()?;
    if belongs(&groups, &container.id) {
        return Ok(process);
    }
    let message = format!(
        "process {pid} is not the container's: is the Docker engine on this machine, and in this \
         PID namespace?"
    );
    Err(Failure::new(exit::NOT_FOUND, message).into())
}

/// Whether the control groups in `/proc/PID/cgroup` may be those of this container. Engines put its
/// full id into them; without control groups there is nothing to tell by.
fn belongs(groups: &str, id: &str) -> bool {
    let nothing_to_tell = groups.lines().all(|line| line.ends_with(":/"));
    nothing_to_tell || groups.contains(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_belongs_to_the_container_in_its_control_group() {
        let id = "a1".repeat(32);
        let cases = [
            (format!("0::/system.slice/docker-{id}.scope\n"), true),
            (format!("12:cpu:/docker/{id}\n0::/\n"), true),
            (format!("0::/../{id}/init\n"), true),
            ("0::/\n".to_owned(), true),
            (String::new(), true),
            ("0::/user.slice/session-1.scope\n".to_owned(), false),
            (format!("0::/docker/{}\n", "b2".repeat(32)), false),
        ];
        for (groups, expected) in cases {
            assert_eq!(belongs(&groups, &id), expected, "{groups:?}");
        }
    }

    #[test]
    fn a_paused_container_works_and_the_others_say_what_to_do() {
        let works = [ContainerState::Running, ContainerState::Paused, ContainerState::Unknown];
        for state in works {
            assert_eq!(why_no_namespace(state), None, "{state}");
        }
        let cases = [
            (ContainerState::Created, "start it"),
            (ContainerState::Exited, "start it"),
            (ContainerState::Restarting, "try again"),
            (ContainerState::Removing, "being removed"),
            (ContainerState::Dead, "dead"),
        ];
        for (state, expected) in cases {
            assert!(why_no_namespace(state).unwrap().contains(expected), "{state}");
        }
    }
}
