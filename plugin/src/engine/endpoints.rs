//! Endpoints of our own network driver: closed before they are plugged in, and opened as far as the
//! policies of the container, the network and the endpoint say, before the container gets them.
//!
//! Whose an endpoint is follows from its id alone, which Docker tells in its networks while the
//! container joins. Nothing is asked of Docker here, and nothing of the container's own end is
//! believed: it is on the host until the container has joined.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use ebpf_netns::text::printable;
use ebpf_netns::veth::VethPair;
use ebpf_netns::{Ifindex, Link, MacAddress};
use tokio::sync::watch;
use tracing::{debug, warn};

use super::Engine;
use super::newcomers::Held;
use super::world::World;
use crate::config::Config;
use crate::endpoint::{EndpointEvent, EndpointFacts, JoinVerdict};
use crate::error::chain;
use crate::facts::Snapshot;
use crate::labels;
use crate::origin::Author;
use crate::plan::Outcome;
use crate::policy::{Demand, Rules, Source};
use crate::records::{Owner, Progress};

/// What a veth is told of that no container has joined yet.
const UNJOINED: &str = "no container has joined this endpoint yet";
/// What a veth is told of whose container is known.
const ABOUT_TO_STAND: &str = "the policy of its container is about to stand";

/// The endpoints, by their host-side veths.
#[derive(Default)]
pub(super) struct Endpoints {
    all: BTreeMap<Ifindex, Endpoint>,
}

/// An endpoint.
pub(super) struct Endpoint {
    facts: EndpointFacts,
    /// What the options of its network and its own demand; nothing where there are none.
    pub demand: Option<Demand>,
    /// Who joined it.
    pub owner: Option<Owner>,
    /// Both its ends, as they were on the host.
    pair: VethPair,
}

/// A container that waits at its Join.
pub(super) struct Joining {
    host: Ifindex,
    reply: watch::Sender<JoinVerdict>,
}

/// Whose an endpoint is.
pub(super) enum WhoseEndpoint {
    /// Of nobody who has a policy.
    Nobodys,
    /// It is not to be opened yet, for this reason.
    Unknown(&'static str),
}

impl Endpoints {
    pub(super) fn get(&self, host: Ifindex) -> Option<&Endpoint> {
        self.all.get(&host)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Ifindex, &Endpoint)> {
        self.all.iter().map(|(host, endpoint)| (*host, endpoint))
    }

    /// What the options of an endpoint and of its network demand.
    pub(super) fn demand(&self, host: Ifindex) -> Option<&Demand> {
        self.all.get(&host)?.demand.as_ref()
    }

    pub(super) fn forget(&mut self, host: Ifindex) {
        self.all.remove(&host);
    }

    pub(super) fn retain(&mut self, there: impl Fn(Ifindex) -> bool) {
        self.all.retain(|host, _| there(*host));
    }

    /// Takes from what Docker says who joined which.
    pub(super) fn resolve(&mut self, snapshot: &Snapshot) {
        for endpoint in self.all.values_mut() {
            let Some(id) = snapshot.joined.get(&endpoint.facts.id) else { continue };
            let known = snapshot.containers.iter().find(|one| one.id == *id);
            if let Some(container) = known {
                let (id, name) = (container.id.clone(), container.name.clone());
                endpoint.owner = Some(Owner { id, name });
            }
        }
    }

    /// The containers on endpoints that have a policy themselves.
    pub(super) fn policed(&self) -> BTreeSet<String> {
        let policed = self.all.values().filter(|endpoint| endpoint.demand.is_some());
        policed.filter_map(|endpoint| Some(endpoint.owner.as_ref()?.id.clone())).collect()
    }

    /// Works out anew what options demand: they may name the operator's policies.
    pub(super) fn judge_again(&mut self, config: &Config) {
        for endpoint in self.all.values_mut() {
            endpoint.demand = judge(&endpoint.facts, config);
        }
    }
}

impl Endpoint {
    /// The addresses that its container was given there.
    pub(super) fn addresses(&self) -> (MacAddress, &[IpAddr]) {
        (self.facts.mac, &self.facts.addresses)
    }

    /// Both its ends, for whoever has to be told what is enforced where.
    pub(super) fn pair(&self) -> &VethPair {
        &self.pair
    }
}

/// What options of a network and of an endpoint demand. Each can only tighten.
fn judge(facts: &EndpointFacts, config: &Config) -> Option<Demand> {
    let EndpointFacts { id: _, network, host: _, mac: _, addresses: _, of_network, own } = facts;
    let policies = &config.policies;
    let demand = |options: &BTreeMap<String, String>, author: Author| match labels::parse_with(
        options, policies,
    ) {
        Ok(policy) => {
            let source = Source { author: &author, policies };
            policy.map(|policy| Demand::Enforce(Rules::of(&policy, source)))
        }
        Err(errors) => Some(Demand::Close(errors.of_options().to_string())),
    };
    let network = short(network);
    let of_network = demand(of_network, Author::Network { network: network.clone() });
    let own = demand(own, Author::Endpoint { network });
    match (of_network, own) {
        (Some(of_network), Some(own)) => Some(of_network.and(own)),
        (of_network, own) => of_network.or(own),
    }
}

/// An id as people see it.
fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

impl World {
    /// Whose an endpoint of ours is, as far as is known; `None` if it is none of ours.
    pub(super) fn whose_endpoint(&self, host: Ifindex) -> Option<WhoseEndpoint> {
        let endpoint = self.endpoints.get(host)?;
        let Some(owner) = &endpoint.owner else { return Some(WhoseEndpoint::Unknown(UNJOINED)) };
        let bystander = self.bystanders.containers.iter().any(|one| one.id == owner.id);
        Some(if endpoint.demand.is_none() && bystander {
            WhoseEndpoint::Nobodys
        } else {
            WhoseEndpoint::Unknown(ABOUT_TO_STAND)
        })
    }

    /// Whether an endpoint of ours was opened since nobody has a policy for it: where its other end
    /// goes says nothing new.
    pub(super) fn is_open_endpoint(&self, link: &Link) -> bool {
        !self.newcomers.is_held(link.index)
            && matches!(self.whose_endpoint(link.index), Some(WhoseEndpoint::Nobodys))
    }
}

impl Engine {
    /// Does or answers what the driver tells or asks.
    pub(super) fn endpoint_told(&mut self, event: EndpointEvent) {
        match event {
            EndpointEvent::Check { options, reply } => {
                let parsed = labels::parse_with(&options, &self.world.config.policies);
                // Whoever asked may have gone.
                reply.send(parsed.map(drop).map_err(|errors| errors.of_options().to_string())).ok();
            }
            EndpointEvent::Ready { reply } => {
                reply.send(Ok(())).ok();
            }
            EndpointEvent::Arm { endpoint, reply } => {
                reply.send(self.arm(endpoint)).ok();
            }
            EndpointEvent::Found(endpoint) => self.found(endpoint),
            EndpointEvent::Join { host, reply } => {
                self.look.ask();
                self.joining.push(Joining { host, reply });
            }
        }
    }

    /// Closes a new endpoint, which is down and in no bridge yet.
    fn arm(&mut self, facts: EndpointFacts) -> Result<(), String> {
        let host = facts.host;
        let link = self.take_endpoint(facts)?;
        self.world.link_changed(&link);
        self.close(&link);
        let closed =
            self.world.enforced.get(&host).is_some_and(|known| !known.current.ways.is_empty());
        if !closed {
            self.world.endpoints.forget(host);
            return Err("its interface could not be closed: the daemon's log says why".to_owned());
        }
        self.hold_endpoint(host);
        self.record(host, Progress::Pending, None);
        self.counts.quarantined += 1;
        Ok(())
    }

    /// Takes over an endpoint that an earlier daemon made. What that left on it stays until it is
    /// known who joined it.
    fn found(&mut self, facts: EndpointFacts) {
        let host = facts.host;
        match self.take_endpoint(facts) {
            Ok(link) if !self.world.enforced.contains_key(&host) => {
                debug!(%host, "an endpoint had nothing attached: closed until it is known whose it is");
                self.close(&link);
                self.hold_endpoint(host);
            }
            Ok(_) => {}
            Err(reason) => warn!(%host, reason, "an endpoint is not what it was"),
        }
    }

    fn take_endpoint(&mut self, facts: EndpointFacts) -> Result<Link, String> {
        let look = |index| self.rtnl.link(index).map_err(|error| chain(&error));
        let host = look(facts.host)?.ok_or("its interface is gone")?;
        let own = self.rtnl.own_nsid().map_err(|error| chain(&error))?;
        let peer = match host.peer_index {
            Some(peer) if host.peer_nsid.is_none() => look(peer)?,
            _ => None,
        };
        let container = peer.unwrap_or_else(|| host.clone());
        let pair = VethPair { host: host.clone(), container, nsid: own };
        let demand = judge(&facts, &self.world.config);
        let endpoint = Endpoint { facts, demand, owner: None, pair };
        self.world.endpoints.all.insert(host.index, endpoint);
        Ok(host)
    }

    fn hold_endpoint(&mut self, host: Ifindex) {
        let since = self.look.ask();
        let held = Held { since, at: Instant::now(), heir_of: None, reason: UNJOINED };
        self.world.newcomers.hold(host, held);
    }

    /// Whether anybody waits at its Join.
    pub(super) fn is_joined(&self) -> bool {
        !self.joining.is_empty()
    }

    /// Answers those who join, as far as it can be: to be called after each round.
    pub(super) fn answer_those_who_join(&mut self) {
        let mut joining = std::mem::take(&mut self.joining);
        joining.retain(|one| {
            let verdict = self.join_verdict(one);
            let is_final = verdict.is_final();
            one.reply.send_replace(verdict);
            !is_final && !one.reply.is_closed()
        });
        self.joining = joining;
    }

    /// Docker may tell by now who joins.
    pub(super) fn ask_for_those_who_join(&self) {
        if self.is_joined() {
            self.look.ask();
        }
    }

    fn join_verdict(&self, joining: &Joining) -> JoinVerdict {
        let host = joining.host;
        let Some(endpoint) = self.world.endpoints.get(host) else {
            return JoinVerdict::Refused("its interface is gone".to_owned());
        };
        let Some(owner) = &endpoint.owner else {
            return match &self.world.docker {
                Some(Err(reason)) => {
                    JoinVerdict::Closed(format!("the daemon cannot ask Docker: {reason}"))
                }
                _ => JoinVerdict::Undecided("Docker has not told which container joins".to_owned()),
            };
        };
        if let Some(Demand::Close(reason)) = self.world.wanted_on(host) {
            return JoinVerdict::Refused(reason);
        }
        let not_yet =
            || JoinVerdict::Undecided(format!("{} is not enforced yet", printable(&owner.name)));
        if self.world.newcomers.is_held(host) {
            return not_yet();
        }
        if let Some(WhoseEndpoint::Nobodys) = self.world.whose_endpoint(host) {
            return JoinVerdict::NothingAsked;
        }
        match self.world.enforced.get(&host).and_then(|known| known.aim.as_ref()) {
            Some(Outcome::Enforced) => JoinVerdict::Stands,
            Some(Outcome::Closed(reason) | Outcome::Open(reason)) => {
                JoinVerdict::Refused(reason.clone())
            }
            None => not_yet(),
        }
    }
}
