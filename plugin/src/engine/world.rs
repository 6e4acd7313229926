//! The engine's view of the world: what the sources told, and what follows for each interface.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ebpf_netns::veth::{Interface, VethPair};
use ebpf_netns::{Ifindex, Link, LinkKind, Nsid};

use super::config::{Judged, judge};
use super::endpoints::{Endpoint, Endpoints};
use super::newcomers::{Bystanders, Newcomers};
use super::rules::{self, Names};
use crate::config::Config;
use crate::facts::{ContainerFacts, Life, Snapshot};
use crate::plan::{Choice, Outcome, Refusals, Standing};
use crate::policy::Demand;
use crate::records::Owner;

/// What is known.
#[derive(Default)]
pub(super) struct World {
    /// What the operator wants.
    pub config: Arc<Config>,
    /// The API version of Docker, or why it does not answer; `None` before the first try.
    pub docker: Option<Result<String, String>>,
    /// The containers that have a policy, by id.
    pub containers: BTreeMap<String, Watched>,
    /// Veths of the host.
    pub veths: BTreeMap<Ifindex, Link>,
    /// What is attached, by host-side veth.
    pub enforced: BTreeMap<Ifindex, Enforced>,
    /// Of which veths it is not known yet whose they are.
    pub newcomers: Newcomers,
    /// What Docker said of those who have no policy.
    pub bystanders: Bystanders,
    /// Who is called what.
    pub names: Names,
    /// Endpoints of our own network driver.
    pub endpoints: Endpoints,
}

/// A container that has a policy.
pub(super) struct Watched {
    pub facts: ContainerFacts,
    /// What its labels, which never change, and the operator demand of its interfaces.
    pub judged: Judged,
    pub claim: Claim,
    /// Veths of its earlier claims whose other end went to another namespace. Who may move an
    /// interface away is not rid of its policy by that.
    pub astray: Vec<VethPair>,
    /// Why the last look failed; the claim is then the one before.
    pub unseen: Option<String>,
    /// Whether the claim has to be looked at again.
    pub doubtful: bool,
}

/// The interfaces of a container, as they were last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// It does not run, or its interfaces are not there yet.
    Nothing,
    /// It uses the host's own namespace.
    Host,
    /// These.
    Interfaces { nsid: Nsid, interfaces: Vec<Interface> },
}

impl Claim {
    /// The veth pairs.
    pub(super) fn pairs(&self) -> impl Iterator<Item = &VethPair> {
        let interfaces = match self {
            Self::Interfaces { interfaces, .. } => interfaces.as_slice(),
            Self::Nothing | Self::Host => &[],
        };
        interfaces.iter().filter_map(|interface| match interface {
            Interface::Veth(pair) => Some(&**pair),
            Interface::NoHostSide { .. } => None,
        })
    }

    fn has(&self, host: Ifindex) -> bool {
        self.pairs().any(|pair| pair.host.index == host)
    }

    fn concerns(&self, link: &Link) -> bool {
        let inside = matches!(self, Self::Interfaces { nsid, .. } if link.peer_nsid == Some(*nsid));
        inside || self.has(link.index)
    }
}

/// What is attached to one host-side veth.
#[derive(Default)]
pub(super) struct Enforced {
    pub current: Standing,
    pub refusals: Refusals,
    /// Of the operator's programs.
    pub own_refusals: Refusals,
    /// Refusals that were told, so that each is told once.
    pub told: Refusals,
    pub choice: Option<Choice>,
    /// What the policy that stands amounts to, also while what takes long is still to be done.
    pub aim: Option<Outcome>,
    pub rules: rules::Standing,
    /// Whether something was attached since it was last looked at.
    pub unverified: bool,
    /// Whether it needs no policy: all passes, and what is attached is taken off when there is time.
    pub let_go: bool,
}

impl Enforced {
    /// What was refused may not be now.
    pub(super) fn forget_refusals(&mut self) {
        self.refusals.clear();
        self.own_refusals.clear();
    }
}

/// What is demanded of one host-side veth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub pair: VethPair,
    pub demand: Demand,
    /// The first of the containers that use it.
    pub owner: Owner,
}

impl World {
    /// Takes what Docker says now.
    pub(super) fn set_seen(&mut self, snapshot: Snapshot) {
        let Snapshot { as_of, containers, others, bridges, networks: _, joined: _, nameservers: _ } =
            snapshot;
        let policed = self.endpoints.policed();
        let mut before = std::mem::take(&mut self.containers);
        let mut bystanders = Bystanders { as_of, others, containers: Vec::new() };
        for facts in containers {
            let on_endpoint = policed.contains(&facts.id);
            let known = before.remove(&facts.id);
            let known = known.filter(|known| on_endpoint || !known.judged.is_of_endpoint());
            let judged =
                || judge(&facts, &self.config).or_else(|| on_endpoint.then(Judged::of_endpoint));
            let watched = if let Some(known) = known {
                known.update(facts, &self.config)
            } else if let Some(judged) = judged() {
                judged.tell(&facts);
                Watched::new(facts, judged)
            } else {
                bystanders.containers.push(facts);
                continue;
            };
            self.containers.insert(watched.facts.id.clone(), watched);
        }
        self.bystanders = bystanders;
        self.newcomers.set_bridges(bridges);
    }

    /// Takes all links as they are now; returns the veths that we had and that are gone.
    /// Those that were there at the very first are newcomers only if they were `closed`.
    pub(super) fn set_links(
        &mut self,
        links: Vec<Link>,
        closed: impl Fn(Ifindex) -> bool,
    ) -> Vec<Ifindex> {
        self.newcomers.links_listed(&links, closed);
        let there: BTreeSet<Ifindex> = links.iter().map(|link| link.index).collect();
        self.endpoints.retain(|host| there.contains(&host));
        self.veths = links
            .into_iter()
            .filter(|link| link.kind == LinkKind::Veth)
            .map(|link| (link.index, link))
            .collect();
        self.doubt(|_| true);
        for container in self.containers.values_mut() {
            container.astray.retain(|pair| self.veths.contains_key(&pair.host.index));
        }
        for enforced in self.enforced.values_mut() {
            enforced.forget_refusals();
        }
        self.enforced.keys().copied().filter(|index| !self.veths.contains_key(index)).collect()
    }

    /// Whether a veth is known as it is now, but for its XDP program, which is ours to change.
    pub(super) fn has_but_for_xdp(&self, link: &Link) -> bool {
        let known = self.veths.get(&link.index);
        known.is_some_and(|known| Link { xdp: link.xdp, ..known.clone() } == *link)
    }

    /// Takes a link as it is now; whether it may be one that Docker has to be asked about.
    pub(super) fn link_changed(&mut self, link: &Link) -> bool {
        self.newcomers.link_changed(link);
        if link.kind != LinkKind::Veth {
            return false;
        }
        self.doubt(|claim| claim.concerns(link));
        // What refused before may not refuse now.
        if let Some(enforced) = self.enforced.get_mut(&link.index) {
            enforced.forget_refusals();
        }
        // The id of a namespace that is gone may be another's now: a claim counts while it stands.
        let stands = |claim: &Claim| claim.pairs().any(|pair| self.still_stands(pair));
        let claimed = self.containers.values().any(|container| {
            let claim = &container.claim;
            container.uses(link.index) || claim.concerns(link) && stands(claim)
        });
        let elsewhere = link.peer_nsid.is_some();
        let known = self.veths.insert(link.index, link.clone());
        let moved = known.is_none_or(|known| {
            known.peer_nsid != link.peer_nsid
                || known.master != link.master
                || known.carrier != link.carrier
        });
        if elsewhere && moved && !claimed {
            for container in self.containers.values_mut() {
                container.doubtful |= container.is_a_guess();
            }
        }
        elsewhere && moved && !claimed
    }

    /// Whether a veth is one whose other end was moved away from the container it belonged to.
    pub(super) fn is_astray(&self, host: Ifindex) -> bool {
        let mut astray = self.containers.values().flat_map(|container| &container.astray);
        astray.any(|pair| pair.host.index == host)
    }

    /// Forgets a link; whether something of ours was attached to it.
    pub(super) fn link_removed(&mut self, ifindex: Ifindex) -> bool {
        self.newcomers.link_removed(ifindex);
        self.endpoints.forget(ifindex);
        self.veths.remove(&ifindex);
        self.doubt(|claim| claim.has(ifindex));
        for container in self.containers.values_mut() {
            container.astray.retain(|pair| pair.host.index != ifindex);
        }
        self.enforced.contains_key(&ifindex)
    }

    fn doubt(&mut self, which: impl Fn(&Claim) -> bool) {
        for container in self.containers.values_mut() {
            container.doubtful |= which(&container.claim);
        }
    }

    /// Whether a pair that was seen still is one, as far as the host's end tells.
    pub(super) fn still_stands(&self, pair: &VethPair) -> bool {
        self.veths.get(&pair.host.index).is_some_and(|veth| {
            veth.peer_nsid == Some(pair.nsid) && veth.peer_index == Some(pair.container.index)
        })
    }

    /// Veths with a peer in another namespace that no container but this one was found to have.
    pub(super) fn unclaimed_by_others(&self, id: &str) -> impl Iterator<Item = &Link> {
        let claimed: BTreeSet<Ifindex> = self
            .containers
            .values()
            .filter(|container| container.facts.id != id)
            .flat_map(Watched::pairs)
            .map(|pair| pair.host.index)
            .collect();
        self.veths
            .values()
            .filter(move |link| link.peer_nsid.is_some() && !claimed.contains(&link.index))
    }

    /// What is demanded of each interface, and which interfaces are to be released. Those of which
    /// it is not known whose they are stay as they are.
    pub(super) fn wanted(&self) -> BTreeMap<Ifindex, Option<Wanted>> {
        let mut wanted: BTreeMap<Ifindex, Option<Wanted>> = self
            .enforced
            .keys()
            .filter(|ifindex| !self.newcomers.is_held(**ifindex))
            .map(|ifindex| (*ifindex, None))
            .collect();
        for container in self.containers.values() {
            for pair in container.pairs() {
                let demand = container.judged.demand.clone();
                let entry = wanted.entry(pair.host.index).or_default();
                *entry = Some(match entry.take() {
                    Some(other) => Wanted { demand: other.demand.and(demand), ..other },
                    None => Wanted {
                        pair: pair.clone(),
                        demand,
                        owner: Owner {
                            id: container.facts.id.clone(),
                            name: container.facts.name.clone(),
                        },
                    },
                });
            }
        }
        for (host, endpoint) in self.endpoints.iter() {
            let of_users = wanted.get_mut(&host).and_then(Option::take);
            if let Some(both) = self.wanted_on_endpoint(endpoint, of_users) {
                wanted.insert(host, Some(both));
            }
        }
        wanted
    }

    /// What is demanded of an endpoint: what its users demand, or who joined it before it is seen to
    /// be theirs, and what its options and its network's do.
    fn wanted_on_endpoint(&self, endpoint: &Endpoint, of_users: Option<Wanted>) -> Option<Wanted> {
        let owner = endpoint.owner.as_ref()?;
        let of = |demand: &Demand| Wanted {
            pair: endpoint.pair().clone(),
            demand: demand.clone(),
            owner: owner.clone(),
        };
        let of_owner = || self.containers.get(&owner.id).map(|one| of(&one.judged.demand));
        match (of_users.or_else(of_owner), &endpoint.demand) {
            (Some(wanted), Some(options)) => {
                Some(Wanted { demand: wanted.demand.and(options.clone()), ..wanted })
            }
            (Some(wanted), None) => Some(wanted),
            (None, options) => options.as_ref().map(of),
        }
    }

    /// What is demanded of one interface.
    pub(super) fn wanted_on(&self, ifindex: Ifindex) -> Option<Demand> {
        let endpoint = self.endpoints.get(ifindex);
        let joined = |id: &str| {
            let owner = endpoint.and_then(|endpoint| endpoint.owner.as_ref());
            owner.is_some_and(|owner| owner.id == id)
        };
        let users = self.containers.iter().filter(|(id, one)| one.uses(ifindex) || joined(id));
        let demands = users.map(|(_, container)| container.judged.demand.clone());
        let options = endpoint.and_then(|endpoint| endpoint.demand.clone());
        demands.chain(options).reduce(Demand::and)
    }

    /// The name of a container that uses an interface.
    pub(super) fn container_of(&self, ifindex: Ifindex) -> Option<&ContainerFacts> {
        let mut containers = self.containers.values();
        containers.find(|container| container.uses(ifindex)).map(|container| &container.facts)
    }
}

impl Watched {
    pub(super) fn new(facts: ContainerFacts, judged: Judged) -> Self {
        let (claim, astray) = (Claim::Nothing, Vec::new());
        Self { facts, judged, claim, astray, unseen: None, doubtful: true }
    }

    fn update(self, facts: ContainerFacts, config: &Config) -> Self {
        let doubtful = self.doubtful || self.facts != facts;
        // What is demanded says whose labels it stands in.
        let renamed = (self.facts.name != facts.name).then(|| judge(&facts, config)).flatten();
        let judged = renamed.unwrap_or(self.judged);
        Self { facts, judged, doubtful, ..self }
    }

    /// The veths that its policy is on.
    pub(super) fn pairs(&self) -> impl Iterator<Item = &VethPair> {
        self.claim.pairs().chain(&self.astray)
    }

    /// Whether its claim, if it has one, rests on no word of Docker.
    fn is_a_guess(&self) -> bool {
        self.facts.life == Life::Down || !matches!(self.claim, Claim::Interfaces { .. })
    }

    fn uses(&self, host: Ifindex) -> bool {
        self.pairs().any(|pair| pair.host.index == host)
    }

    /// Takes a new claim. A veth of the old one is given up when the container turns out to be
    /// elsewhere, and kept for as long as it is there when its other end went away: the container
    /// may be moving it about, and what was told of the veth may be older than the claim.
    pub(super) fn set_claim(&mut self, claim: Claim, veths: &BTreeMap<Ifindex, Link>) {
        let same = match &claim {
            Claim::Interfaces { nsid, .. } => Some(*nsid),
            Claim::Nothing | Claim::Host => None,
        };
        let moved = |pair: &&VethPair| {
            let veth = veths.get(&pair.host.index);
            veth.is_some_and(|veth| same == Some(pair.nsid) || veth.peer_nsid != Some(pair.nsid))
        };
        let astray = self.pairs().filter(|pair| !claim.has(pair.host.index)).filter(moved);
        self.astray = astray.cloned().collect();
        self.claim = claim;
    }
}

#[cfg(test)]
mod tests {
    use ebpf_netns::docker::NetworkMode;
    use plugin_common::presets::Presets;

    use super::*;

    fn index(number: u32) -> Ifindex {
        number.try_into().unwrap()
    }

    fn nsid(number: i32) -> Nsid {
        Nsid::new(number).unwrap()
    }

    fn veth(own: u32, peer: u32, peer_nsid: Option<i32>) -> Link {
        Link {
            index: index(own),
            name: format!("veth{own}"),
            kind: LinkKind::Veth,
            mac: None,
            peer_index: Some(index(peer)),
            peer_nsid: peer_nsid.map(nsid),
            master: Some(index(3)),
            mtu: 1500,
            up: true,
            carrier: true,
            xdp: None,
        }
    }

    fn facts(id: &str, label: (&str, &str)) -> ContainerFacts {
        ContainerFacts {
            id: id.to_owned(),
            name: format!("name-{id}"),
            labels: [(label.0.to_owned(), label.1.to_owned())].into(),
            network: NetworkMode::Network("bridge".to_owned()),
            life: Life::Unplaced,
            endpoints: Vec::new(),
            service: None,
            nameservers: None,
        }
    }

    fn seen(containers: Vec<ContainerFacts>) -> Snapshot {
        Snapshot { containers, ..Snapshot::default() }
    }

    /// A world in which each of these containers has the one veth 10, peer 2 in namespace 1.
    fn world(containers: &[(&str, &str, &str)]) -> World {
        let mut world = World::default();
        world.set_seen(seen(
            containers.iter().map(|(id, key, value)| facts(id, (key, value))).collect(),
        ));
        world.set_links(vec![veth(10, 2, Some(1))], |_| false);
        let pair =
            VethPair { host: veth(10, 2, Some(1)), container: veth(2, 10, Some(9)), nsid: nsid(1) };
        for container in world.containers.values_mut() {
            container.claim = Claim::Interfaces {
                nsid: nsid(1),
                interfaces: vec![Interface::Veth(Box::new(pair.clone()))],
            };
            container.doubtful = false;
        }
        world
    }

    #[test]
    fn containers_that_share_a_veth_tighten_it_together() {
        let world = world(&[("a", "tc.policy", "drop-tcp"), ("b", "tc.policy", "drop-udp")]);
        let wanted = world.wanted();
        let Some(Some(Wanted { demand: Demand::Enforce(rules), .. })) = wanted.get(&index(10))
        else {
            panic!("{wanted:?}");
        };
        assert_eq!(rules.egress, Some(Presets::DROP_TCP | Presets::DROP_UDP));
    }

    #[test]
    fn a_label_that_is_not_understood_closes_what_is_shared() {
        let world = world(&[("a", "tc.policy", "drop-tcp"), ("b", "tc.polcy", "x")]);
        let wanted = world.wanted();
        let closed = matches!(
            wanted.get(&index(10)),
            Some(Some(Wanted { demand: Demand::Close(why), .. })) if why.contains("tc.polcy")
        );
        assert!(closed, "{wanted:?}");
    }

    #[test]
    fn what_nobody_claims_any_more_is_released() {
        let mut world = world(&[("a", "tc.policy", "drop-tcp")]);
        world.enforced.insert(index(10), Enforced::default());
        world.set_seen(Snapshot::default());
        assert_eq!(world.wanted().get(&index(10)), Some(&None));
    }

    #[test]
    fn a_veth_that_is_gone_is_told_once_it_is_listed() {
        let mut world = world(&[("a", "tc.policy", "drop-tcp")]);
        world.enforced.insert(index(10), Enforced::default());
        assert_eq!(world.set_links(vec![veth(11, 2, Some(1))], |_| false), [index(10)]);
        assert!(world.containers.values().all(|container| container.doubtful));
    }

    #[test]
    fn a_veth_whose_other_end_is_moved_away_keeps_its_policy() {
        let mut world = world(&[("a", "tc.policy", "drop-tcp")]);
        world.link_changed(&veth(10, 2, Some(5)));
        let World { containers, veths, .. } = &mut world;
        let container = containers.get_mut("a").unwrap();
        container.set_claim(Claim::Nothing, veths);
        // Also after another look, and until it is gone.
        container.set_claim(Claim::Nothing, veths);
        assert!(matches!(world.wanted().get(&index(10)), Some(Some(_))), "{:?}", world.wanted());
        assert!(world.is_astray(index(10)) && world.unclaimed_by_others("b").next().is_none());
        world.link_removed(index(10));
        assert!(world.wanted().is_empty(), "{:?}", world.wanted());
    }

    #[test]
    fn a_veth_that_was_claimed_by_mistake_is_given_up() {
        let mut world = world(&[("a", "tc.policy", "drop-tcp")]);
        let World { containers, veths, .. } = &mut world;
        containers.get_mut("a").unwrap().set_claim(Claim::Nothing, veths);
        assert!(world.wanted().is_empty() && !world.is_astray(index(10)));
    }

    #[test]
    fn a_second_veth_into_a_known_namespace_puts_its_container_in_doubt() {
        let mut world = world(&[("a", "tc.policy", "drop-tcp")]);
        assert!(!world.link_changed(&veth(12, 4, Some(1))), "Docker need not be asked");
        assert!(world.containers.values().all(|container| container.doubtful));
    }

    #[test]
    fn a_veth_into_an_unknown_namespace_is_a_question_for_docker() {
        let mut world = world(&[("a", "tc.policy", "drop-tcp")]);
        assert!(!world.link_changed(&veth(12, 4, None)), "both ends are still here");
        assert!(world.link_changed(&veth(12, 4, Some(7))));
        assert!(!world.link_changed(&veth(12, 4, Some(7))), "nothing new");
        let unclaimed: Vec<Ifindex> =
            world.unclaimed_by_others("b").map(|link| link.index).collect();
        assert_eq!(unclaimed, [index(12)]);
    }

    #[test]
    fn a_guess_is_made_again_for_each_new_veth() {
        let mut world = world(&[("a", "tc.policy", "drop-tcp")]);
        assert!(world.link_changed(&veth(12, 4, Some(7))));
        assert!(world.containers.values().all(|container| !container.doubtful), "Docker told it");
        world.containers.get_mut("a").unwrap().facts.life = Life::Down;
        assert!(world.link_changed(&veth(14, 4, Some(8))));
        assert!(world.containers.values().all(|container| container.doubtful), "it was a guess");
        let own: Vec<Ifindex> = world.unclaimed_by_others("a").map(|link| link.index).collect();
        assert_eq!(own, [index(10), index(12), index(14)], "its own guess is in question too");
    }

    #[test]
    fn what_refused_is_tried_again_when_the_link_changes() {
        let mut world = world(&[("a", "tc.policy", "drop-tcp")]);
        let refusal =
            ((crate::plan::Hook::Xdp, crate::plan::Attachment::XdpGeneric), String::new());
        let refusals = Refusals::from([refusal]);
        world.enforced.insert(index(10), Enforced { refusals, ..Enforced::default() });
        world.link_changed(&veth(10, 2, Some(1)));
        assert!(world.enforced.values().all(|enforced| enforced.refusals.is_empty()));
    }

    #[test]
    fn labels_are_read_once_and_other_changes_put_in_doubt() {
        let mut world = world(&[("a", "tc.policy", "drop-tcp")]);
        world.set_seen(seen(vec![facts("a", ("tc.policy", "drop-tcp"))]));
        assert!(world.containers.values().all(|container| !container.doubtful), "nothing new");
        let mut renamed = facts("a", ("tc.policy", "drop-tcp"));
        renamed.name = "new".to_owned();
        world.set_seen(seen(vec![renamed]));
        assert!(world.containers.values().all(|container| container.doubtful));
        assert!(world.containers.values().all(|container| container.facts.name == "new"));
    }
}
