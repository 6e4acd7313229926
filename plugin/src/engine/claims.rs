//! Finding out which interfaces a container has. Asks the kernel, decides nothing.

use std::collections::BTreeMap;

use ebpf_netns::docker::NetworkMode;
use ebpf_netns::veth::{self, VethError};
use ebpf_netns::{
    ErrorClass, Ifindex, Link, Namespace, NamespaceError, Nsid, Rtnl, RtnlError, text,
};
use tracing::{debug, warn};

use super::Engine;
use super::world::{Claim, Watched, World};
use crate::facts::{Endpoint, Life, Place};

impl Engine {
    /// Looks again at each container whose interfaces may have changed.
    pub(super) fn look_at_doubtful_containers(&mut self) {
        let doubtful: Vec<String> = self
            .world
            .containers
            .values()
            .filter(|container| container.doubtful)
            .map(|container| container.facts.id.clone())
            .collect();
        for id in doubtful {
            let Some(container) = self.world.containers.get(&id) else { continue };
            let looked = look(&self.rtnl, &self.world, container);
            let World { containers, veths, .. } = &mut self.world;
            if let Some(container) = containers.get_mut(&id) {
                container.settle(looked, veths);
            }
        }
    }
}

impl Watched {
    /// Takes what was seen. What could not be looked up stays as it was: a policy is not taken off
    /// because of an error.
    fn settle(&mut self, looked: Result<Claim, String>, veths: &BTreeMap<Ifindex, Link>) {
        self.doubtful = looked.is_err();
        match looked {
            Ok(claim) => {
                self.set_claim(claim, veths);
                self.unseen = None;
            }
            Err(reason) => {
                if self.unseen.as_ref() != Some(&reason) {
                    let container = text::printable(&self.facts.name);
                    warn!(%container, reason, "interfaces could not be looked up");
                }
                self.unseen = Some(reason);
            }
        }
    }
}

fn look(rtnl: &Rtnl, world: &World, container: &Watched) -> Result<Claim, String> {
    match (&container.facts.network, &container.facts.life) {
        (NetworkMode::Host, _) => Ok(Claim::Host),
        (_, Life::Placed(place)) => placed(rtnl, place),
        // The interfaces are another's, and stay when this one has ended.
        (NetworkMode::Container(_), Life::Down) => Ok(Claim::Nothing),
        (_, Life::Unplaced | Life::Down) => unplaced(rtnl, world, container),
    }
}

/// The interfaces of a container that runs.
fn placed(rtnl: &Rtnl, place: &Place) -> Result<Claim, String> {
    Namespace::of_container(place.sandbox_key.as_deref(), place.pid)
        .map_err(Failure::from)
        .and_then(|namespace| {
            let interfaces = veth::interfaces(rtnl, &namespace)?;
            Ok(Claim::Interfaces { nsid: rtnl.nsid(&namespace)?, interfaces })
        })
        .or_else(Failure::into_claim)
}

/// The interfaces of a container whose namespace Docker does not tell: those that it was seen to
/// have while they are there, whatever Docker says or does not say.
fn unplaced(rtnl: &Rtnl, world: &World, container: &Watched) -> Result<Claim, String> {
    match &container.claim {
        Claim::Interfaces { nsid, .. }
            if container.claim.pairs().any(|pair| world.still_stands(pair)) =>
        {
            in_namespace(rtnl, *nsid)
        }
        _ => starting(rtnl, world, &container.facts.endpoints),
    }
}

/// The interfaces of a container that is just starting: Docker does not tell its namespace, but
/// the address that it gave to an interface on a network. Should a container lie about its own
/// address to be taken for another, it gets that other's policy for as long as the other starts,
/// and its own again then.
fn starting(rtnl: &Rtnl, world: &World, endpoints: &[Endpoint]) -> Result<Claim, String> {
    if endpoints.is_empty() {
        return Ok(Claim::Nothing);
    }
    let mut nsids = world
        .unclaimed()
        .filter_map(|veth| Some((veth, peer(rtnl, veth)?)))
        .filter(|(_, peer)| endpoints.iter().any(|own| own.mac.is_some() && own.mac == peer.mac))
        .filter_map(|(veth, _)| veth.peer_nsid);
    let Some(nsid) = nsids.next() else { return Ok(Claim::Nothing) };
    if nsids.any(|other| other != nsid) {
        debug!("two namespaces have an interface with one address: waiting until Docker tells");
        return Ok(Claim::Nothing);
    }
    in_namespace(rtnl, nsid)
}

fn in_namespace(rtnl: &Rtnl, nsid: Nsid) -> Result<Claim, String> {
    veth::interfaces_in(rtnl, nsid)
        .map(|interfaces| Claim::Interfaces { nsid, interfaces })
        .map_err(Failure::from)
        .or_else(Failure::into_claim)
}

fn peer(rtnl: &Rtnl, veth: &Link) -> Option<Link> {
    rtnl.link_in(veth.peer_nsid?, veth.peer_index?).ok().flatten()
}

/// Why interfaces could not be looked up.
enum Failure {
    Host,
    Gone,
    Other(String),
}

impl From<NamespaceError> for Failure {
    fn from(error: NamespaceError) -> Self {
        Self::of(error.class(), &error)
    }
}

impl From<RtnlError> for Failure {
    fn from(error: RtnlError) -> Self {
        Self::of(error.class(), &error)
    }
}

impl From<VethError> for Failure {
    fn from(error: VethError) -> Self {
        match error {
            VethError::HostNamespace => Self::Host,
            error => Self::of(error.class(), &error),
        }
    }
}

impl Failure {
    /// What it tells of the container, if it is not an error.
    fn into_claim(self) -> Result<Claim, String> {
        match self {
            Self::Host => Ok(Claim::Host),
            Self::Gone => Ok(Claim::Nothing),
            Self::Other(reason) => Err(reason),
        }
    }

    fn of(class: ErrorClass, error: &dyn std::error::Error) -> Self {
        match class {
            ErrorClass::Gone => Self::Gone,
            _ => Self::Other(crate::error::chain(error)),
        }
    }
}
