//! What is known of containers, as plain data: what the Docker source observes and the engine
//! decides on.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use ebpf_netns::docker::NetworkMode;
use ebpf_netns::{MacAddress, Pid};

use crate::rules::AddressRange;

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
    /// The networks that containers can have interfaces on, in the order of their ids.
    pub networks: Vec<NetworkFacts>,
    /// Of networks of our own driver: the ids of the containers that are on them or are just joining,
    /// by the ids of their endpoints.
    pub joined: BTreeMap<String, String>,
    /// Which name servers containers get that were given none.
    pub nameservers: Nameservers,
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
    /// The service that it is one of, as its labels say.
    pub service: Option<Service>,
    /// The name servers that it was given itself; `None` while Docker has not told.
    pub nameservers: Option<Vec<IpAddr>>,
}

/// A service of Compose or Swarm: containers that do the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// What the service is a part of: Compose's project or Swarm's stack. Swarm has services that
    /// are in no stack.
    pub project: Option<String>,
    /// The name in there.
    pub name: String,
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// The name of the Docker network.
    pub network: String,
    /// The id of that network: names are not unique.
    pub network_id: String,
    /// The bridge of that network, where it has one on this machine.
    pub bridge: Option<String>,
    /// The hardware address that Docker gave it.
    pub mac: Option<MacAddress>,
    /// The IP addresses that Docker gave it: one of each version at most. The link-local one of IPv6
    /// is the kernel's, and Docker does not tell it.
    pub addresses: Vec<IpAddr>,
}

/// A network of Docker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFacts {
    /// The full id.
    pub id: String,
    /// The name. Several may have the same.
    pub name: String,
    /// What it is made of.
    pub kind: NetworkKind,
    /// The addresses that its containers get theirs from.
    pub subnets: Vec<AddressRange>,
    /// The host's own addresses on it, as far as Docker tells. Only a bridge has some: the gateway of
    /// another network is another machine.
    pub host: Vec<IpAddr>,
}

/// What a network is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkKind {
    /// The bridge of this name, on this machine.
    Bridge(String),
    /// Tunnels between machines. What leaves it goes through Docker's bridge for that.
    Overlay,
    /// Something else.
    Other,
}

/// Name servers for containers that were given none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nameservers {
    /// Those of Docker's own configuration; they come before the host's.
    pub of_docker: Vec<IpAddr>,
    /// Those of the host, in the file that Docker reads them from, also ones that only the host can
    /// reach. `None` while that file cannot be read.
    pub of_host: Option<Vec<IpAddr>>,
    /// Those that were the host's before, since the daemon was started: who runs since then has them.
    pub earlier: Vec<IpAddr>,
}
