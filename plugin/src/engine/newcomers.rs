//! Veths of which it is not known yet whose they are: they are closed until it is. Pure.
//!
//! A veth is a newcomer when it becomes a port of one of Docker's bridges, or turns up in the
//! namespace of a container that has a policy. It is released once it is certain that it belongs to
//! none: what is only likely leaves it closed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ebpf_netns::{Ifindex, Link, LinkKind, MacAddress, Nsid};

use super::world::{Claim, Watched, World};
use crate::cnm;
use crate::facts::{ContainerFacts, Endpoint, Life, Place};

/// After this a veth that nobody claims is looked at more closely: Docker is asked where each
/// container is.
const PATIENCE: Duration = Duration::from_secs(2);
/// After this, a veth that no container of Docker's has, and of which no container that is starting
/// can be the owner, is somebody else's.
const STRANGER: Duration = Duration::from_secs(10);

/// The newcomers, and what is known of the bridges that they come to.
#[derive(Default)]
pub(super) struct Newcomers {
    held: BTreeMap<Ifindex, Held>,
    cleared: BTreeMap<Ifindex, Cleared>,
    bridges: BTreeMap<Ifindex, String>,
    /// Bridges as Docker names them.
    of_docker: BTreeSet<String>,
    listed: bool,
}

/// A veth that is closed until it is known whose it is.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The number of the request to Docker that was made when it came.
    pub since: u64,
    /// When it came.
    pub at: Instant,
    /// The id of the container that an earlier daemon found it to belong to.
    pub heir_of: Option<String>,
    /// Why it is still held, as it was last told.
    pub reason: &'static str,
}

/// A veth that needs no policy.
#[derive(Clone, Copy, Debug)]
struct Cleared {
    since: u64,
    /// Where its other end was then.
    peer: Option<Nsid>,
    /// Whether it is known to be in a namespace where nobody has a policy.
    of_bystander: bool,
    /// Whether the kernel was asked for the address of its other end, by which it may be known.
    asked: bool,
}

/// Why a veth needs none.
pub(super) const OF_BYSTANDER: &str = "its container has no policy";
/// Why a veth needs none.
const NOT_OWNED: &str = "no container that has a policy can own it";

/// What Docker said of the containers that have no policy.
#[derive(Default)]
pub(super) struct Bystanders {
    /// The number of the last request that this answers.
    pub as_of: u64,
    /// Interfaces that belong to no container.
    pub others: Vec<Endpoint>,
    /// The containers.
    pub containers: Vec<ContainerFacts>,
}

/// Whose a veth is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Of nobody who has a policy, for this reason.
    Nobodys(&'static str),
    /// An earlier daemon knew: of this container, which moved its end away.
    Astray(String),
    /// Not known yet, for this reason.
    Unknown(&'static str),
}

/// What the kernel says of a newcomer's other end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Peer {
    pub mac: Option<MacAddress>,
    /// Whether it is in the namespace of a container that has no policy.
    pub among_bystanders: bool,
}

impl Bystanders {
    /// All interfaces.
    fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.containers.iter().flat_map(|one| &one.endpoints).chain(&self.others)
    }

    /// Where the containers are, as far as Docker was asked.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.containers.iter().filter_map(|one| match &one.life {
            Life::Placed(place) => Some(place),
            Life::Unplaced | Life::Down => None,
        })
    }
}

impl Newcomers {
    pub(super) fn is_held(&self, ifindex: Ifindex) -> bool {
        self.held.contains_key(&ifindex)
    }

    pub(super) fn held(&self) -> impl Iterator<Item = (Ifindex, &Held)> {
        self.held.iter().map(|(ifindex, held)| (*ifindex, held))
    }

    pub(super) fn get_mut(&mut self, ifindex: Ifindex) -> Option<&mut Held> {
        self.held.get_mut(&ifindex)
    }

    pub(super) fn hold(&mut self, ifindex: Ifindex, held: Held) {
        self.cleared.remove(&ifindex);
        self.held.insert(ifindex, held);
    }

    /// It is known whose it is: of a container that has a policy.
    pub(super) fn claimed(&mut self, ifindex: Ifindex) {
        self.held.remove(&ifindex);
    }

    /// It is known that it needs none.
    pub(super) fn clear(&mut self, link: &Link) {
        self.clear_because(link, "");
    }

    /// As [`Self::clear`], for this reason.
    pub(super) fn clear_because(&mut self, link: &Link, reason: &'static str) {
        let since = self.held.remove(&link.index).map_or(0, |held| held.since);
        let of_bystander = matches!(reason, OF_BYSTANDER | NOT_OWNED);
        let cleared = Cleared { since, peer: link.peer_nsid, of_bystander, asked: of_bystander };
        self.cleared.insert(link.index, cleared);
    }

    /// Those that were let be without knowing whose they are, and of which nobody has been asked yet.
    pub(super) fn unasked(&self) -> impl Iterator<Item = Ifindex> {
        let unasked = |(_, one): &(&Ifindex, &Cleared)| !one.asked && one.peer.is_some();
        self.cleared.iter().filter(unasked).map(|(ifindex, _)| *ifindex)
    }

    /// It is known now whether it is of a container that has no policy.
    pub(super) fn asked(&mut self, link: &Link, of_bystander: bool) {
        if let Some(cleared) = self.cleared.get_mut(&link.index) {
            cleared.asked = true;
            cleared.of_bystander = of_bystander && cleared.peer == link.peer_nsid;
        }
    }

    /// Who has no policy may have one now.
    pub(super) fn forget_bystanders(&mut self) {
        for cleared in self.cleared.values_mut() {
            cleared.of_bystander = false;
            cleared.asked = false;
        }
    }

    /// It was looked at where it is now, and is still to be left alone: it is not looked at again
    /// before it goes elsewhere.
    pub(super) fn stays_clear(&mut self, link: &Link) {
        if let Some(cleared) = self.cleared.get_mut(&link.index) {
            if cleared.peer != link.peer_nsid {
                cleared.of_bystander = false;
                cleared.asked = false;
            }
            cleared.peer = link.peer_nsid;
        }
    }

    pub(super) fn set_bridges(&mut self, names: Vec<String>) {
        self.of_docker = names.into_iter().collect();
    }

    /// Takes the links as they are now. Of those that were there at the very first, `closed` are as
    /// good as new: nobody talked through them.
    pub(super) fn links_listed(&mut self, links: &[Link], closed: impl Fn(Ifindex) -> bool) {
        let named = |link: &&Link| link.kind == LinkKind::Bridge;
        self.bridges =
            links.iter().filter(named).map(|link| (link.index, link.name.clone())).collect();
        let there: BTreeSet<Ifindex> = links.iter().map(|link| link.index).collect();
        self.held.retain(|ifindex, _| there.contains(ifindex));
        self.cleared.retain(|ifindex, _| there.contains(ifindex));
        // What was there before anybody watched may be talking already.
        if !std::mem::replace(&mut self.listed, true) {
            let talks = |link: &&Link| link.kind == LinkKind::Veth && !closed(link.index);
            for link in links.iter().filter(talks) {
                self.clear(link);
            }
        }
    }

    pub(super) fn link_changed(&mut self, link: &Link) {
        if link.kind == LinkKind::Bridge {
            self.bridges.insert(link.index, link.name.clone());
        }
    }

    pub(super) fn link_removed(&mut self, ifindex: Ifindex) {
        self.held.remove(&ifindex);
        self.cleared.remove(&ifindex);
        self.bridges.remove(&ifindex);
    }

    /// Whether it is known which bridge a link is a port of, and what bridges Docker has.
    pub(super) fn knows_bridge(&self, link: &Link) -> bool {
        link.master.is_some_and(|master| self.bridges.contains_key(&master))
            && !self.of_docker.is_empty()
    }

    /// The name of a bridge of the host's.
    pub(super) fn bridge(&self, index: Ifindex) -> Option<&str> {
        self.bridges.get(&index).map(String::as_str)
    }

    /// The bridge that a link is a port of, if it is one of Docker's: by Docker's word, or by the
    /// names that it gives, of which it has not told yet when the first container is started on a
    /// new network.
    pub(super) fn docker_bridge(&self, link: &Link) -> Option<&str> {
        let name = self.bridges.get(&link.master?)?;
        (self.of_docker.contains(name) || is_name_of_docker(name)).then_some(name)
    }
}

/// Whether Docker gives bridges such names.
fn is_name_of_docker(name: &str) -> bool {
    let of_network = |id: &str| {
        id.len() == 12 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    matches!(name, "docker0" | "docker_gwbridge")
        || cnm::is_bridge(name)
        || name.strip_prefix("br-").is_some_and(of_network)
}

impl World {
    /// Whether a veth has to be closed until it is known whose it is.
    pub(super) fn is_newcomer(&self, link: &Link) -> bool {
        if link.kind != LinkKind::Veth
            || self.enforced.get(&link.index).is_some_and(|known| !known.let_go)
            || self.newcomers.is_held(link.index)
        {
            return false;
        }
        let policed = self.is_policed_namespace(link.peer_nsid);
        if self.newcomers.docker_bridge(link).is_none() && !policed {
            return false;
        }
        match self.newcomers.cleared.get(&link.index) {
            None => true,
            // Its other end is where it was when it was cleared, or back on the host, which it is when
            // its container ends.
            Some(cleared) if cleared.peer == link.peer_nsid || link.peer_nsid.is_none() => false,
            // It was cleared before its other end went to its container: is that still as sure?
            Some(cleared) => policed || !self.nobody_can_own_it(cleared.since, link),
        }
    }

    /// The newcomer whose other end had this index when both were on the host.
    pub(super) fn newcomer_opposite(&self, ifindex: Ifindex) -> Option<Ifindex> {
        let mut held = self.newcomers.held().filter_map(|(held, _)| self.veths.get(&held));
        held.find(|veth| veth.peer_nsid.is_none() && veth.peer_index == Some(ifindex))
            .map(|veth| veth.index)
    }

    /// Whose a newcomer is, as far as is known.
    pub(super) fn whose(&self, link: &Link, held: &Held, peer: Peer, now: Instant) -> Whose {
        if self.is_bystanders_namespace(link.peer_nsid) {
            return Whose::Nobodys(OF_BYSTANDER);
        }
        if self.bystanders.as_of < held.since {
            return Whose::Unknown("Docker has not answered yet");
        }
        if self.nobody_can_own_it(held.since, link) {
            return Whose::Nobodys(NOT_OWNED);
        }
        let Some(nsid) = link.peer_nsid else {
            // Once it goes elsewhere it is a newcomer again.
            return if now.duration_since(held.at) > STRANGER {
                Whose::Nobodys("both its ends stay on the host")
            } else {
                Whose::Unknown("its other end is not in a container yet")
            };
        };
        if self.is_policed_namespace(Some(nsid)) {
            return Whose::Unknown("it is in the namespace of a container that has a policy");
        }
        match self.by_address(link, peer.mac) {
            Some(true) => {
                return Whose::Unknown("a container that has a policy is about to claim it");
            }
            Some(false) => return Whose::Nobodys(OF_BYSTANDER),
            None if peer.among_bystanders => return Whose::Nobodys(OF_BYSTANDER),
            None => {}
        }
        if let Some(id) = held.heir_of.as_ref().filter(|id| self.containers.contains_key(*id)) {
            return Whose::Astray(id.clone());
        }
        let placed = self.containers.values().all(Watched::is_where_it_is_known);
        if now.duration_since(held.at) > STRANGER && placed {
            return Whose::Nobodys("it is in no container of Docker's");
        }
        Whose::Unknown("no container of Docker's is known to have it")
    }

    /// Whether a veth that was let be turns out to be of a container that has no policy, by the address
    /// of its other end.
    pub(super) fn is_of_bystander(&self, link: &Link, mac: Option<MacAddress>) -> bool {
        !self.is_policed_namespace(link.peer_nsid) && self.by_address(link, mac) == Some(false)
    }

    /// Whether the container that Docker gave this address to has a policy; `None` if there is none.
    fn by_address(&self, link: &Link, mac: Option<MacAddress>) -> Option<bool> {
        let bridge = self.newcomers.docker_bridge(link);
        let is_it = |endpoint: &Endpoint| {
            let elsewhere =
                matches!((&endpoint.bridge, bridge), (Some(its), Some(bridge)) if its != bridge);
            endpoint.mac.is_some() && endpoint.mac == mac && !elsewhere
        };
        if self.containers.values().flat_map(|one| &one.facts.endpoints).any(is_it) {
            return Some(true);
        }
        self.bystanders.endpoints().any(is_it).then_some(false)
    }

    /// Whether Docker has to be asked where each container is, to find out about a newcomer.
    pub(super) fn has_patience_ended(&self, now: Instant) -> bool {
        self.newcomers.held().any(|(_, held)| now.duration_since(held.at) > PATIENCE)
    }

    /// Whether a look at Docker that began when the veth was there shows that whoever has a policy
    /// has its interfaces already, and they are others.
    fn nobody_can_own_it(&self, since: u64, link: &Link) -> bool {
        if self.bystanders.as_of < since {
            return false;
        }
        if self.containers.is_empty() {
            return true;
        }
        // A running container gets another interface while both its ends are still on the host.
        link.peer_nsid.is_some()
            && !self.is_policed_namespace(link.peer_nsid)
            && self.containers.values().all(Watched::is_at_home)
    }

    /// Whether a container that has no policy has another veth in this namespace, so that nobody has
    /// to be asked whose this one is: a network that it is connected to is there at once.
    pub(super) fn is_bystanders_namespace(&self, nsid: Option<Nsid>) -> bool {
        let its_own = |(index, cleared): (&Ifindex, &Cleared)| {
            cleared.of_bystander
                && cleared.peer == nsid
                && self.veths.get(index).is_some_and(|veth| veth.peer_nsid == nsid)
        };
        nsid.is_some()
            && !self.is_policed_namespace(nsid)
            && self.newcomers.cleared.iter().any(its_own)
    }

    /// Whether a container that has a policy is in this namespace.
    fn is_policed_namespace(&self, nsid: Option<Nsid>) -> bool {
        let Some(nsid) = nsid else { return false };
        self.containers.values().any(|container| {
            matches!(&container.claim, Claim::Interfaces { nsid: its, .. } if *its == nsid)
                && container.pairs().any(|pair| self.still_stands(pair))
        })
    }
}

impl Watched {
    /// Whether it runs, and all of its interfaces are known.
    fn is_at_home(&self) -> bool {
        matches!(self.facts.life, Life::Placed(_)) && self.is_settled()
    }

    /// As [`Self::is_at_home`], or it is not about to start: Docker knows of no interface of it.
    fn is_where_it_is_known(&self) -> bool {
        self.is_at_home() || self.facts.life == Life::Down && self.facts.endpoints.is_empty()
    }

    fn is_settled(&self) -> bool {
        let seen = matches!(self.claim, Claim::Host | Claim::Interfaces { .. });
        seen && !self.doubtful && self.unseen.is_none()
    }
}

#[cfg(test)]
mod tests {
    use ebpf_netns::docker::NetworkMode;

    use super::*;
    use crate::facts::Snapshot;

    const MAC: &str = "02:42:ac:11:00:09";

    fn index(number: u32) -> Ifindex {
        number.try_into().unwrap()
    }

    fn link(own: u32, kind: LinkKind, name: &str, peer_nsid: Option<i32>) -> Link {
        Link {
            index: index(own),
            name: name.to_owned(),
            master: (kind == LinkKind::Veth).then(|| index(3)),
            kind,
            mac: None,
            peer_index: Some(index(2)),
            peer_nsid: peer_nsid.and_then(Nsid::new),
            mtu: 1500,
            up: true,
            carrier: true,
            xdp: None,
        }
    }

    fn veth(own: u32, peer_nsid: Option<i32>) -> Link {
        link(own, LinkKind::Veth, "veth", peer_nsid)
    }

    fn container(id: &str, labels: &[(&str, &str)], mac: Option<&str>) -> ContainerFacts {
        let endpoint = |mac: &str| Endpoint {
            network: "bridge".to_owned(),
            bridge: Some("docker0".to_owned()),
            mac: Some(mac.parse().unwrap()),
            ..Endpoint::default()
        };
        ContainerFacts {
            id: id.to_owned(),
            name: id.to_owned(),
            labels: labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            network: NetworkMode::Network("bridge".to_owned()),
            life: Life::Down,
            endpoints: mac.map(endpoint).into_iter().collect(),
            service: None,
            nameservers: None,
        }
    }

    /// A world with Docker's bridge, and what Docker said in answer to request 1.
    fn world(containers: Vec<ContainerFacts>) -> World {
        let mut world = World::default();
        world.set_links(vec![link(3, LinkKind::Bridge, "docker0", None)], |_| false);
        world.set_seen(Snapshot { as_of: 1, containers, ..Snapshot::default() });
        world
    }

    fn held(since: u64, at: Instant) -> Held {
        Held { since, at, heir_of: None, reason: "" }
    }

    fn whose(world: &World, veth: &Link, mac: Option<&str>, age: Duration) -> Whose {
        let now = Instant::now();
        let at = now.checked_sub(age).unwrap();
        let peer = Peer { mac: mac.map(|mac| mac.parse().unwrap()), among_bystanders: false };
        world.whose(veth, &held(1, at), peer, now)
    }

    const POLICY: &[(&str, &str)] = &[("tc.policy", "drop-tcp")];

    #[test]
    fn a_port_of_a_bridge_of_dockers_is_a_newcomer_and_another_is_not() {
        let world = world(Vec::new());
        assert!(world.is_newcomer(&veth(10, None)));
        assert!(!world.is_newcomer(&Link { master: None, ..veth(10, None) }), "no port");
        assert!(!world.is_newcomer(&Link { master: Some(index(4)), ..veth(10, None) }), "unknown");
        assert!(!world.is_newcomer(&link(10, LinkKind::Tun, "tap0", None)), "no veth");
        for (name, ours) in [
            ("br-0123456789ab", true),
            ("br-lan", false),
            ("br-0123456789AB", false),
            ("br0", false),
        ] {
            assert_eq!(is_name_of_docker(name), ours, "{name}");
        }
    }

    #[test]
    fn an_answer_from_before_it_came_says_nothing_of_it() {
        let world = world(Vec::new());
        let now = Instant::now();
        let asked_later = held(2, now);
        let unknown = world.whose(&veth(10, Some(1)), &asked_later, Peer::default(), now);
        assert!(matches!(unknown, Whose::Unknown(_)), "{unknown:?}");
        assert!(matches!(whose(&world, &veth(10, None), None, Duration::ZERO), Whose::Nobodys(_)));
    }

    #[test]
    fn beside_one_that_may_start_only_an_address_tells() {
        let world = world(vec![container("a", POLICY, None), container("b", &[], Some(MAC))]);
        for (peer, mac, free) in [
            (None, None, false),
            (Some(1), None, false),
            (Some(1), Some("02:42:ac:11:00:08"), false),
            (Some(1), Some(MAC), true),
        ] {
            let found = whose(&world, &veth(10, peer), mac, Duration::ZERO);
            assert_eq!(matches!(found, Whose::Nobodys(_)), free, "{peer:?} {mac:?}: {found:?}");
        }
        assert!(
            matches!(whose(&world, &veth(10, Some(1)), None, STRANGER * 2), Whose::Nobodys(_)),
            "whoever it is, it is not the one that has no interface"
        );
    }

    #[test]
    fn an_address_that_one_with_a_policy_has_too_tells_nothing() {
        let world = world(vec![container("a", POLICY, Some(MAC)), container("b", &[], Some(MAC))]);
        for age in [Duration::ZERO, STRANGER * 2] {
            let found = whose(&world, &veth(10, Some(1)), Some(MAC), age);
            assert!(matches!(found, Whose::Unknown(_)), "{found:?}");
        }
    }

    #[test]
    fn what_was_cleared_is_looked_at_again_once_it_is_elsewhere() {
        let mut world = world(vec![container("a", POLICY, None)]);
        world.newcomers.clear(&veth(10, None));
        assert!(!world.is_newcomer(&veth(10, None)), "nothing new");
        assert!(world.is_newcomer(&veth(10, Some(1))), "it may have gone to the one with a policy");
        world.set_seen(Snapshot { as_of: 2, ..Snapshot::default() });
        let moved = veth(10, Some(1));
        assert!(!world.is_newcomer(&moved), "nobody has a policy any more");
        world.newcomers.stays_clear(&moved);
        world.set_seen(Snapshot {
            as_of: 3,
            containers: vec![container("a", POLICY, None)],
            ..Snapshot::default()
        });
        assert!(!world.is_newcomer(&moved), "it was judged where it is");
    }

    #[test]
    fn what_was_let_go_and_is_not_taken_off_yet_can_become_a_newcomer_again() {
        let mut world = world(vec![container("a", POLICY, None)]);
        world.newcomers.clear(&veth(10, None));
        for let_go in [false, true] {
            world.enforced.entry(index(10)).or_default().let_go = let_go;
            assert_eq!(world.is_newcomer(&veth(10, Some(1))), let_go);
        }
    }

    #[test]
    fn another_veth_of_one_without_a_policy_is_nobodys_before_docker_is_asked() {
        let now = Instant::now();
        let bystander = container("b", &[], Some(MAC));
        let mut world = world(vec![container("a", POLICY, None), bystander]);
        let first = veth(10, Some(1));
        world.set_links(vec![link(3, LinkKind::Bridge, "docker0", None), first.clone()], |_| true);
        let asked_later = held(9, now);
        let whose =
            |world: &World, link: &Link| world.whose(link, &asked_later, Peer::default(), now);
        let second = veth(12, Some(1));
        assert!(matches!(whose(&world, &second), Whose::Unknown(_)), "nothing is known yet");
        world.newcomers.clear_because(&first, OF_BYSTANDER);
        assert_eq!(whose(&world, &second), Whose::Nobodys(OF_BYSTANDER));
        for elsewhere in [None, Some(2)] {
            let found = whose(&world, &veth(12, elsewhere));
            assert!(matches!(found, Whose::Unknown(_)), "{elsewhere:?}: {found:?}");
        }
        world.newcomers.forget_bystanders();
        assert!(matches!(whose(&world, &second), Whose::Unknown(_)), "it may have one now");
        world.newcomers.clear_because(&first, OF_BYSTANDER);
        world.link_removed(first.index);
        assert!(matches!(whose(&world, &second), Whose::Unknown(_)), "the number may be another's");
    }

    #[test]
    fn whoever_was_let_be_without_an_answer_is_known_by_the_address_later() {
        let now = Instant::now();
        let with_policy = container("a", POLICY, Some("02:42:ac:11:00:08"));
        let mut world = world(vec![with_policy, container("b", &[], Some(MAC))]);
        let first = veth(10, Some(1));
        let links = vec![link(3, LinkKind::Bridge, "docker0", None), first.clone()];
        world.set_links(links, |_| false);
        let mac = |text: &str| Some(text.parse().unwrap());
        assert!(world.is_of_bystander(&first, mac(MAC)));
        assert!(!world.is_of_bystander(&first, mac("02:42:ac:11:00:08")), "it has a policy");
        assert!(!world.is_of_bystander(&first, mac("02:42:ac:11:00:07")), "nobody knows it");
        assert!(!world.is_of_bystander(&first, None));
        world.newcomers.clear(&first);
        for of_bystander in [false, true] {
            world.newcomers.forget_bystanders();
            assert_eq!(world.newcomers.unasked().collect::<Vec<_>>(), [first.index]);
            world.newcomers.asked(&first, of_bystander);
            assert_eq!(world.newcomers.unasked().next(), None, "one question is enough");
            let second = world.whose(&veth(12, Some(1)), &held(9, now), Peer::default(), now);
            assert_eq!(second == Whose::Nobodys(OF_BYSTANDER), of_bystander, "{second:?}");
        }
    }

    #[test]
    fn what_was_there_first_is_left_alone_unless_it_was_closed() {
        for closed in [false, true] {
            let mut world = World::default();
            let links = vec![link(3, LinkKind::Bridge, "docker0", None), veth(10, Some(1))];
            world.set_links(links, |_| closed);
            assert_eq!(world.is_newcomer(&veth(10, Some(1))), closed);
        }
    }
}
