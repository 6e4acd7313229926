//! What is known of containers, as plain data: what the Docker source observes and the engine
//! decides on.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ebpf_netns::docker::NetworkMode;
use ebpf_netns::{MacAddress, Pid};

/// What Docker said at one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The number of the last request for a [`Look`](crate::look::Look) before this one began.
    pub as_of: u64,
    /// Every container, in the order of their ids, also those without labels of ours. Of those the
    /// place is told only where [`Look::wants_everyone`](crate::look::Look::wants_everyone).
    pub containers: Vec<ContainerFacts>,
    /// Endpoints of Docker's networks that belong to none of these containers, such as a build's.
    pub others: Vec<Endpoint>,
    /// The names of the bridges of Docker's networks.
    pub bridges: Vec<String>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFacts {
    /// The full id.
    pub id: String,
    /// The name, without the leading slash.
    pub name: String,
    /// The labels that are ours to judge; values are cut off where they are too long to be valid.
    pub labels: BTreeMap<String, String>,
    /// Which network namespace it was told to use.
    pub network: NetworkMode,
    /// Whether it is running, and where its namespace is.
    pub life: Life,
    /// Its interfaces as Docker knows them.
    pub endpoints: Vec<Endpoint>,
}

/// Whether a container is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs, and its namespace can be opened.
    Placed(Place),
    /// It runs, and Docker did not tell its namespace.
    Unplaced,
    /// It does not run, or is just starting: Docker's list does not tell which.
    Down,
}

/// Where a container's network namespace is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Docker's file for it; none for `--network container:x`.
    pub sandbox_key: Option<PathBuf>,
    /// The container's first process.
    pub pid: Option<Pid>,
    /// When it was started: tells one run from the next.
    pub started_at: Option<String>,
}

/// One interface of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The name of the Docker network.
    pub network: String,
    /// The bridge of that network, where it has one on this machine.
    pub bridge: Option<String>,
    /// The address that Docker gave it.
    pub mac: Option<MacAddress>,
}
