//! What is known of a container that somebody asks about, for an explanation that is made elsewhere:
//! here is looked up, and nothing else.

use ebpf_netns::veth::{Interface, VethPair};
use plugin_common::abi::InterfacePolicy;

use super::Engine;
use super::report::network_of;
use super::world::{Claim, Watched};
use crate::explain::{Candidate, Refused, Subject};
use crate::facts::ContainerFacts;
use crate::plan::Hook;
use crate::policy::Demand;
use ebpf_netns::text::printable;

/// The fewest characters of an id that a container is named by.
const SHORTEST_ID: usize = 4;

impl Engine {
    /// What is known of a container, by its name, its id, or the beginning of that.
    pub(super) fn subject(&self, name: &str) -> Result<Subject, Refused> {
        let watched = self.policed(name)?;
        let interfaces: Vec<Candidate> =
            watched.pairs().map(|pair| self.candidate(watched, pair)).collect();
        if interfaces.is_empty() {
            return Err(no_interface(watched));
        }
        let programs =
            Hook::ALL.map(|hook| self.kernel.program(hook).cloned().map(|program| (hook, program)));
        Ok(Subject {
            container: watched.facts.name.clone(),
            interfaces,
            programs: programs.into_iter().flatten().collect(),
            maps: self.kernel.maps_directory(),
        })
    }

    /// The container of that name that has a policy.
    pub(super) fn policed(&self, name: &str) -> Result<&Watched, Refused> {
        let shown = printable(name);
        let watched = self.world.containers.values();
        if let Some(found) = best(watched, name, |watched| &watched.facts)? {
            return Ok(found);
        }
        let others = &self.world.bystanders.containers;
        Err(match best(others.iter(), name, |facts| facts)? {
            Some(_) => Refused::not_found(format!(
                "{shown} has no policy: neither its labels nor the operator ask for one, and nothing \
                 is dropped"
            )),
            None => Refused::not_found(format!("no container {shown}: docker ps --all shows them")),
        })
    }

    fn candidate(&self, watched: &Watched, pair: &VethPair) -> Candidate {
        let status = self.interface(watched, &Interface::Veth(Box::new(pair.clone())));
        let known = self.world.enforced.get(&pair.host.index);
        let current = known.map(|known| &known.current);
        let demanded = self.world.wanted_on(pair.host.index);
        let asked = match demanded {
            Some(Demand::Enforce(rules)) => rules.asked,
            Some(Demand::Close(_)) | None => Vec::new(),
        };
        Candidate {
            name: pair.container.name.clone(),
            network: network_of(watched, &pair.container),
            host: self.host_side(&pair.host),
            state: status.state,
            reason: status.reason,
            endpoint: self.endpoint(pair),
            policy: current.and_then(|current| current.policy).unwrap_or(InterfacePolicy::CLOSED),
            ways: current.map(|current| current.ways.iter().copied().collect()).unwrap_or_default(),
            own: status.programs,
            asked,
            rules: self.standing_rules(pair.host.index),
        }
    }
}

fn is_exactly(facts: &ContainerFacts, name: &str) -> bool {
    facts.name == name || facts.id == name
}

fn begins_with(facts: &ContainerFacts, name: &str) -> bool {
    name.len() >= SHORTEST_ID && facts.id.starts_with(name)
}

/// Whether a container may be called that.
pub(super) fn may_be_called(facts: &ContainerFacts, name: &str) -> bool {
    is_exactly(facts, name) || begins_with(facts, name)
}

/// Who is meant: by the name, by the id, or by the beginning of an id if that is one container's.
fn best<'a, T>(
    all: impl Iterator<Item = &'a T> + Clone,
    name: &str,
    facts: impl Fn(&'a T) -> &'a ContainerFacts,
) -> Result<Option<&'a T>, Refused> {
    if let Some(found) = all.clone().find(|one| is_exactly(facts(one), name)) {
        return Ok(Some(found));
    }
    let mut found = all.filter(|one| begins_with(facts(one), name));
    match (found.next(), found.next()) {
        (one, None) => Ok(one),
        _ => Err(Refused::not_found(format!(
            "{} is the beginning of several containers' ids",
            printable(name)
        ))),
    }
}

fn no_interface(watched: &Watched) -> Refused {
    let name = printable(&watched.facts.name);
    let why = match (&watched.claim, &watched.judged.demand, &watched.unseen) {
        (_, _, Some(reason)) => format!("its interfaces could not be looked up: {reason}"),
        (Claim::Host, ..) => "it uses the host's network".to_owned(),
        (Claim::Interfaces { .. }, ..) => {
            "none of its interfaces has a host-side veth: status says why".to_owned()
        }
        (Claim::Nothing, Demand::Close(reason), _) => {
            format!("it does not run, or has no network; it would be closed: {reason}")
        }
        (Claim::Nothing, Demand::Enforce(_), _) => "it does not run, or has no network".to_owned(),
    };
    Refused::not_found(format!("{name} has no interface that a packet could be on: {why}"))
}
