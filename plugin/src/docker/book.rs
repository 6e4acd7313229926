//! What Docker said, kept so that only what may have changed is asked again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use bollard::models::{ContainerSummary, ContainerSummaryStateEnum, NetworkInspect};
use bollard::query_parameters::ListContainersOptionsBuilder;
use ebpf_netns::docker::{Container, Docker, DockerError, NetworkMode};
use futures_util::{StreamExt as _, stream};
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tracing::debug;

use crate::facts::{ContainerFacts, Endpoint, Life, Place};
use crate::labels::{MAX_VALUE_BYTES, is_ours};

/// How long a running container may take to be described. One that is being restarted just now
/// holds its lock, and is asked again later.
const INSPECT: Duration = Duration::from_millis(500);
/// How many are asked at once.
const AT_ONCE: usize = 8;

/// What may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Hint {
    /// This container.
    Container(String),
    /// This container's connection to some network.
    Endpoint(String),
    /// Who is on which network.
    Networks,
    /// Anything.
    Everything,
}

/// What Docker said.
#[derive(Default)]
pub(super) struct Book {
    /// The containers that have labels of ours.
    listed: Vec<Listed>,
    /// Running containers as they were last described.
    described: HashMap<String, Container>,
    /// Those of them that may have changed since; they are good until they are described again.
    stale: HashSet<String>,
    /// Interfaces of containers that are starting.
    starting: HashMap<String, Vec<Endpoint>>,
    networks_changed: bool,
    incomplete: bool,
}

impl Book {
    /// Notes what a hint puts in doubt.
    pub(super) fn note(&mut self, hint: Hint) {
        match hint {
            Hint::Container(id) => {
                self.stale.insert(id);
            }
            Hint::Endpoint(id) => {
                self.stale.insert(id);
                self.networks_changed = true;
            }
            Hint::Networks => self.networks_changed = true,
            Hint::Everything => {
                self.stale.extend(self.described.keys().cloned());
                self.networks_changed = true;
            }
        }
    }

    /// Whether something could not be learned and should be asked for again soon.
    pub(super) fn is_incomplete(&self) -> bool {
        self.incomplete
    }

    /// The containers that have labels of ours, all of them, in the order of their ids.
    pub(super) fn facts(&self) -> Vec<ContainerFacts> {
        let complete = |Listed { facts, alive }: &Listed| {
            let mut facts = facts.clone();
            match self.described.get(&facts.id).filter(|_| *alive) {
                Some(container) => place(&mut facts, container),
                None => {
                    facts.endpoints = self.starting.get(&facts.id).cloned().unwrap_or_default();
                }
            }
            facts
        };
        self.listed.iter().map(complete).collect()
    }

    /// Asks what never waits for a container's lock, which Docker holds while it starts one: which
    /// containers there are, and the addresses of those that are starting.
    pub(super) async fn list(&mut self, docker: &Docker) -> Result<(), DockerError> {
        self.listed = list(docker).await?;
        let ids: HashSet<&str> = self.listed.iter().map(|one| one.facts.id.as_str()).collect();
        self.described.retain(|id, _| ids.contains(id.as_str()));
        self.starting.retain(|id, _| ids.contains(id.as_str()));
        self.stale.retain(|id| ids.contains(id.as_str()));
        let waiting =
            self.listed.iter().any(|one| !self.described.contains_key(&one.facts.id) || !one.alive);
        if std::mem::take(&mut self.networks_changed) && waiting {
            self.starting = endpoints(docker).await?;
        }
        Ok(())
    }

    /// Has every running container described that is not, or may have changed; whether there was
    /// any.
    pub(super) async fn describe(&mut self, docker: &Docker) -> bool {
        let asked: Vec<String> = self
            .listed
            .iter()
            .filter(|one| one.alive)
            .map(|one| one.facts.id.clone())
            .filter(|id| self.stale.contains(id) || !self.described.contains_key(id))
            .collect();
        let any = !asked.is_empty();
        let answers: Vec<_> = stream::iter(asked)
            .map(|id| inspect(docker.clone(), id))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        self.incomplete = false;
        for (id, answer) in answers {
            match answer {
                Ok(Ok(container)) => {
                    self.stale.remove(&id);
                    self.described.insert(id, container);
                }
                Ok(Err(DockerError::NotFound { .. })) => {
                    self.described.remove(&id);
                }
                Ok(Err(error)) => {
                    debug!(%error, "a container could not be inspected; trying again");
                    self.incomplete = true;
                }
                Err(_elapsed) => self.incomplete = true,
            }
        }
        any
    }
}

type Answer = Result<Result<Container, DockerError>, Elapsed>;

async fn inspect(docker: Docker, id: String) -> (String, Answer) {
    let answer = timeout(INSPECT, docker.inspect(&id)).await;
    (id, answer)
}

/// A container of the list.
struct Listed {
    facts: ContainerFacts,
    /// Whether it runs, in which case it can be inspected without waiting for its start.
    alive: bool,
}

async fn list(docker: &Docker) -> Result<Vec<Listed>, DockerError> {
    let options = ListContainersOptionsBuilder::new().all(true).build();
    let summaries = docker
        .client()
        .list_containers(Some(options))
        .await
        .map_err(|source| docker.failed("list containers", source))?;
    let mut containers: Vec<Listed> = summaries.into_iter().filter_map(listed).collect();
    containers.sort_by(|one, other| one.facts.id.cmp(&other.facts.id));
    Ok(containers)
}

/// What concerns us of a container of the list, if anything does.
fn listed(summary: ContainerSummary) -> Option<Listed> {
    let labels: BTreeMap<String, String> = summary
        .labels
        .unwrap_or_default()
        .into_iter()
        .filter(|(key, _)| is_ours(key))
        .map(|(key, value)| (key, cut(value)))
        .collect();
    if labels.is_empty() {
        return None;
    }
    let names = summary.names.unwrap_or_default();
    let mode = summary.host_config.and_then(|config| config.network_mode).unwrap_or_default();
    let alive = matches!(
        summary.state,
        Some(ContainerSummaryStateEnum::RUNNING | ContainerSummaryStateEnum::PAUSED)
    );
    let facts = ContainerFacts {
        id: summary.id?,
        name: own_name(&names),
        labels,
        network: NetworkMode::from(mode.as_str()),
        life: if alive { Life::Unplaced } else { Life::Down },
        endpoints: Vec::new(),
    };
    Some(Listed { facts, alive })
}

/// The container's own name: other names are links, which have a second slash.
fn own_name(names: &[String]) -> String {
    let mut own = names.iter().filter_map(|name| name.strip_prefix('/'));
    own.find(|name| !name.contains('/')).unwrap_or_default().to_owned()
}

/// Keeps one byte more than is allowed, so that it is still seen to be too long.
fn cut(mut value: String) -> String {
    if value.len() > MAX_VALUE_BYTES {
        value.truncate(value.ceil_char_boundary(MAX_VALUE_BYTES + 1));
        value.shrink_to_fit();
    }
    value
}

fn place(facts: &mut ContainerFacts, container: &Container) {
    facts.endpoints = container
        .networks
        .iter()
        .map(|network| Endpoint { network: network.name.clone(), bridge: None, mac: network.mac })
        .collect();
    if !container.state.is_alive() {
        // The description is younger than the list.
        facts.life = Life::Down;
    } else if container.sandbox_key.is_some() || container.pid.is_some() {
        facts.life = Life::Placed(Place {
            sandbox_key: container.sandbox_key.clone(),
            pid: container.pid,
            started_at: container.started_at.clone(),
        });
    }
}

/// The interfaces of every container, from the networks: answered also while a container starts.
async fn endpoints(docker: &Docker) -> Result<HashMap<String, Vec<Endpoint>>, DockerError> {
    let networks = docker
        .client()
        .list_networks(None)
        .await
        .map_err(|source| docker.failed("list networks", source))?;
    let ids: Vec<String> = networks.into_iter().filter_map(|network| network.id).collect();
    let answers: Vec<_> = stream::iter(ids)
        .map(|id| inspect_network(docker.clone(), id))
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut found: HashMap<String, Vec<Endpoint>> = HashMap::new();
    // One that was removed meanwhile has no container on it.
    for network in answers.into_iter().flatten() {
        let name = network.name.unwrap_or_default();
        for (container, endpoint) in network.containers.unwrap_or_default() {
            let mac = endpoint.mac_address.and_then(|mac| mac.parse().ok());
            found.entry(container).or_default().push(Endpoint {
                network: name.clone(),
                bridge: None,
                mac,
            });
        }
    }
    Ok(found)
}

async fn inspect_network(docker: Docker, id: String) -> Option<NetworkInspect> {
    docker.client().inspect_network(&id, None).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_containers_own_name_is_told_from_links() {
        let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(own_name(&names(&["/web/db", "/db"])), "db");
        assert_eq!(own_name(&names(&["/web"])), "web");
        assert_eq!(own_name(&[]), "");
    }

    #[test]
    fn a_huge_label_is_cut_and_still_too_long() {
        let short = cut("é".repeat(1 << 20));
        assert!(short.len() > MAX_VALUE_BYTES && short.len() < MAX_VALUE_BYTES + 8);
        assert_eq!(cut("drop-tcp".to_owned()), "drop-tcp");
    }

    #[test]
    fn containers_without_labels_of_ours_are_none_of_our_business() {
        let labels = HashMap::from([("maintainer".to_owned(), "x".to_owned())]);
        let id = Some("1".repeat(64));
        assert!(
            listed(ContainerSummary { id, labels: Some(labels), ..Default::default() }).is_none()
        );
    }
}
