//! Finding out which interfaces a container has. Asks the kernel, decides nothing.

use std::collections::BTreeMap;

use ebpf_netns::docker::NetworkMode;
use ebpf_netns::veth::{self, VethError};
use ebpf_netns::{
    ErrorClass, Ifindex, Link, Namespace, NamespaceError, Nsid, Pid, Process, ProcessError, Rtnl,
    RtnlError, text,
};
use tracing::warn;

use super::Engine;
use super::world::{Claim, Watched, World};
use crate::facts::{ContainerFacts, Life, Place};

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
            self.hear_of_links();
            let Some(container) = self.world.containers.get(&id) else { continue };
            let looked = match self.shared_while_starting(container) {
                Some(shared) => Ok(shared),
                None => look(&self.rtnl, &self.world, container),
            };
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
        (_, Life::Placed(place)) => match placed(rtnl, place)? {
            // What Docker told is of an earlier run, or of another machine.
            Claim::Nothing => unplaced(rtnl, world, container),
            claim => Ok(claim),
        },
        // The interfaces are another's, and stay when this one has ended.
        (NetworkMode::Container(_), Life::Down) => Ok(Claim::Nothing),
        (_, Life::Unplaced) => unplaced(rtnl, world, container),
        (_, Life::Down) => match starting(rtnl, world, &container.facts)? {
            // It may have changed its address, of which Docker does not know.
            Claim::Nothing => unplaced(rtnl, world, container),
            claim => Ok(claim),
        },
    }
}

/// The interfaces of a container that runs.
fn placed(rtnl: &Rtnl, place: &Place) -> Result<Claim, String> {
    let interfaces = |nsid| -> Result<Claim, Failure> {
        Ok(Claim::Interfaces { nsid, interfaces: veth::interfaces_in(rtnl, nsid)? })
    };
    let found = match (Namespace::of_container(place.sandbox_key.as_deref(), None), place.pid) {
        (Ok(namespace), _) => rtnl.nsid(&namespace).map_err(Failure::from).and_then(interfaces),
        // Who shares another's namespace has no file for it; who has one should be found by it.
        (Err(error), Some(pid)) => match of_process(rtnl, pid, interfaces) {
            Err(Failure::Gone) if place.sandbox_key.is_some() => Err(Failure::from(error)),
            found => found,
        },
        (Err(error), None) => Err(Failure::from(error)),
    };
    found.or_else(Failure::into_claim)
}

/// The interfaces in the namespace of a process, which is still there after they were looked up.
fn of_process(
    rtnl: &Rtnl,
    pid: Pid,
    interfaces: impl Fn(Nsid) -> Result<Claim, Failure>,
) -> Result<Claim, Failure> {
    let process = Process::open(pid)?;
    let claim = interfaces(rtnl.nsid_of_process(&process)?);
    process.check()?;
    claim
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
        _ => starting(rtnl, world, &container.facts),
    }
}

/// The interfaces of a container that is just starting: Docker does not tell its namespace, but
/// the address that it gave to an interface on a network. Another may have taken that address, so
/// the youngest veth that has it is taken: what starts has just got its own. The other gets this
/// policy too for as long as its veth is the only one, and is rid of it then.
fn starting(rtnl: &Rtnl, world: &World, facts: &ContainerFacts) -> Result<Claim, String> {
    let mut found: Option<&Link> = None;
    for veth in world.unclaimed_by_others(&facts.id) {
        let mac = peer(rtnl, veth)?.and_then(|peer| peer.mac);
        let own = mac.is_some() && facts.endpoints.iter().any(|own| own.mac == mac);
        if own && found.is_none_or(|older| older.index < veth.index) {
            found = Some(veth);
        }
    }
    match found.and_then(|veth| veth.peer_nsid) {
        Some(nsid) => in_namespace(rtnl, nsid),
        None => Ok(Claim::Nothing),
    }
}

fn in_namespace(rtnl: &Rtnl, nsid: Nsid) -> Result<Claim, String> {
    veth::interfaces_in(rtnl, nsid)
        .map(|interfaces| Claim::Interfaces { nsid, interfaces })
        .map_err(Failure::from)
        .or_else(Failure::into_claim)
}

/// The other end of a veth, if it still is where it was.
pub(super) fn peer(rtnl: &Rtnl, veth: &Link) -> Result<Option<Link>, String> {
    let (Some(nsid), Some(index)) = (veth.peer_nsid, veth.peer_index) else { return Ok(None) };
    match rtnl.link_in(nsid, index).map_err(Failure::from) {
        Ok(peer) => Ok(peer),
        Err(Failure::Host | Failure::Gone) => Ok(None),
        Err(Failure::Other(reason)) => Err(reason),
    }
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

impl From<ProcessError> for Failure {
    fn from(error: ProcessError) -> Self {
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
