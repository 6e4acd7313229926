//! What the names in rules stand for right now: containers, services and networks of Docker's, the
//! host, and the resolvers that a container asks. Pure.
//!
//! - `container:NAME` is the container with exactly that name; ids are not names. All of its addresses
//!   count, on whatever network: a packet carries the address of the interface that it came by, and
//!   Docker routes between networks where it is told to. Whoever uses another container's network has
//!   that one's addresses, and who uses the host's has none of its own.
//! - `service:NAME` is every container of that service in the project, or the Swarm stack, of the
//!   container that the rule is for. Who is in no project has no such services.
//! - `network:NAME` is the subnets of the network that Compose or Swarm calls so in that project, which
//!   is `PROJECT_NAME` to Docker; else of the one that Docker calls so.
//! - `host` is the host's addresses on the bridges of the container's networks, as the kernel tells
//!   them, link-local ones too; as Docker does where the kernel knows no such bridge.
//! - `dns` is where the container's queries go: `resolvers.rs`.
//!
//! A name that stands for nobody stands for no address, and is waited for: until then nobody is
//! allowed by it, and nobody is denied. Not known to Docker, and so not in here, are the link-local
//! addresses of containers, the tasks of Swarm on other machines, and who is behind the host where
//! the host translates addresses: who comes in by a published port is seen with the host's address
//! or with their own.

mod resolvers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ebpf_netns::docker::NetworkMode;

use crate::facts::{
    ContainerFacts, Endpoint, Nameservers, NetworkFacts, NetworkKind, Service, Snapshot,
};
use crate::rules::{AddressRange, Addresses, Name, Resolver, Wanted};

/// The bridge by which containers on overlay networks reach the host and what is beyond.
const GATEWAY_BRIDGE: &str = "docker_gwbridge";
/// How many containers that use each other's network are followed: Docker allows one, and answers
/// about them are not of one moment.
const MOST_HOPS: usize = 4;

/// The host's own addresses, by the names of its links, as the kernel tells them.
pub type HostAddresses = BTreeMap<String, Vec<IpAddr>>;

/// Who and what there is, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Directory {
    containers: BTreeMap<String, Entry>,
    /// Ids of containers.
    by_name: BTreeMap<String, String>,
    /// Ids of containers.
    by_service: BTreeMap<Service, BTreeSet<String>>,
    networks: BTreeMap<String, NetworkFacts>,
    nameservers: Nameservers,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    mode: NetworkMode,
    service: Option<Service>,
    endpoints: Vec<Endpoint>,
    nameservers: Option<Vec<IpAddr>>,
}

/// A directory as one container sees it.
#[derive(Clone, Copy, Debug)]
pub struct Viewpoint<'a> {
    directory: &'a Directory,
    /// The container; none if it is not there.
    own: Option<&'a Entry>,
    /// The one whose interfaces it uses: itself, mostly.
    at: Option<&'a Entry>,
}

impl Directory {
    /// What a snapshot and the kernel tell.
    #[must_use]
    pub fn new(snapshot: &Snapshot, host: &HostAddresses) -> Self {
        let mut directory = Self { nameservers: snapshot.nameservers.clone(), ..Self::default() };
        for network in &snapshot.networks {
            let mut network = network.clone();
            // Docker's word is its plan: it does not tell all, and others change addresses too.
            if let NetworkKind::Bridge(bridge) = &network.kind
                && let Some(addresses) = host.get(bridge)
            {
                network.host.clone_from(addresses);
            }
            directory.networks.insert(network.id.clone(), network);
        }
        for container in &snapshot.containers {
            directory.add(container);
        }
        directory
    }

    fn add(&mut self, facts: &ContainerFacts) {
        let ContainerFacts { id, name, network, endpoints, service, nameservers, .. } = facts;
        if !name.is_empty() {
            self.by_name.insert(name.clone(), id.clone());
        }
        if let Some(service) = service {
            self.by_service.entry(service.clone()).or_default().insert(id.clone());
        }
        let entry = Entry {
            mode: network.clone(),
            service: service.clone(),
            endpoints: endpoints.clone(),
            nameservers: nameservers.clone(),
        };
        self.containers.insert(id.clone(), entry);
    }

    /// What the container with this id sees. One that is not there sees nothing.
    #[must_use]
    pub fn as_seen_by(&self, id: &str) -> Viewpoint<'_> {
        let own = self.containers.get(id);
        Viewpoint { directory: self, own, at: own.and_then(|own| self.place_of(own)) }
    }

    /// Whether any of these stands for something else in a newer directory, to this container.
    #[must_use]
    pub fn differs(&self, newer: &Self, container: &str, wanted: &[Wanted<'_>]) -> bool {
        let (before, now) = (self.as_seen_by(container), newer.as_seen_by(container));
        wanted.iter().any(|one| before.resolve(*one) != now.resolve(*one))
    }

    /// Who has the interfaces that a container uses.
    fn place_of<'a>(&'a self, entry: &'a Entry) -> Option<&'a Entry> {
        let mut at = entry;
        for _ in 0..MOST_HOPS {
            let NetworkMode::Container(reference) = &at.mode else { return Some(at) };
            let by_name = || self.containers.get(self.by_name.get(reference)?);
            at = self.containers.get(reference).or_else(by_name)?;
        }
        None
    }

    fn addresses_of(&self, id: &str) -> impl Iterator<Item = IpAddr> {
        let at = self.containers.get(id).and_then(|entry| self.place_of(entry));
        at.into_iter().flat_map(Entry::addresses)
    }

    fn networks_called<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a NetworkFacts> {
        self.networks.values().filter(move |network| network.name == name)
    }
}

impl Entry {
    fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.endpoints.iter().flat_map(|endpoint| &endpoint.addresses).copied()
    }
}

impl Resolver for Viewpoint<'_> {
    fn resolve(&self, wanted: Wanted<'_>) -> Addresses {
        match wanted {
            Wanted::Host => found(self.host().map(AddressRange::from)),
            Wanted::Resolvers => self.resolvers(),
            Wanted::Container(name) => found(self.container(name).map(AddressRange::from)),
            Wanted::Service(name) => found(self.service(name).map(AddressRange::from)),
            Wanted::Network(name) => found(self.network(name).into_iter()),
        }
    }
}

impl<'a> Viewpoint<'a> {
    fn container(&self, name: &Name) -> impl Iterator<Item = IpAddr> {
        let id = self.directory.by_name.get(name.as_str());
        id.into_iter().flat_map(|id| self.directory.addresses_of(id))
    }

    fn service(&self, name: &Name) -> impl Iterator<Item = IpAddr> {
        let key = self
            .own
            .and_then(|own| own.service.as_ref())
            .map(|own| Service { project: own.project.clone(), name: name.as_str().to_owned() });
        let ids = key.and_then(|key| self.directory.by_service.get(&key));
        ids.into_iter().flatten().flat_map(|id| self.directory.addresses_of(id))
    }

    /// The project's own comes first: another project may choose the plain name for one of its
    /// networks, and is not to become what this one means.
    fn network(&self, name: &Name) -> Vec<AddressRange> {
        let project = self.own.and_then(|own| own.service.as_ref()?.project.as_ref());
        let of_project = project.map(|project| format!("{project}_{}", name.as_str()));
        let names = [of_project.as_deref(), Some(name.as_str())].into_iter().flatten();
        let mut networks =
            names.map(|name| self.directory.networks_called(name).collect::<Vec<_>>());
        let networks = networks.find(|networks| !networks.is_empty()).unwrap_or_default();
        networks.into_iter().flat_map(|network| &network.subnets).copied().collect()
    }

    fn host(&self) -> impl Iterator<Item = IpAddr> {
        let is_overlay = |network: &NetworkFacts| network.kind == NetworkKind::Overlay;
        let beyond = self.networks().any(is_overlay).then_some(GATEWAY_BRIDGE);
        let beyond = beyond.into_iter().flat_map(|name| self.directory.networks_called(name));
        self.networks().chain(beyond).flat_map(|network| &network.host).copied()
    }

    /// The networks that the container is on.
    fn networks(&self) -> impl Iterator<Item = &'a NetworkFacts> {
        let directory = self.directory;
        let endpoints = self.at.into_iter().flat_map(|at| &at.endpoints);
        endpoints.filter_map(move |endpoint| directory.networks.get(&endpoint.network_id))
    }
}

/// What was found, in order; nothing is waited for.
fn found(ranges: impl Iterator<Item = AddressRange>) -> Addresses {
    let ranges: BTreeSet<AddressRange> = ranges.collect();
    Addresses { waiting: ranges.is_empty(), ranges: ranges.into_iter().collect() }
}

#[cfg(test)]
mod tests;
