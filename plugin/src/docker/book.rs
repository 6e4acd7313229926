//! What Docker said, kept so that only what may have changed is asked again. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use ebpf_netns::docker::NetworkMode;
use tracing::warn;

use super::answers::{Description, Holder, Listed, Network};
use super::gather::{Gathered, Inspected};
use super::hint::Hint;
use crate::error::chain;
use crate::facts::{
    ContainerFacts, Endpoint, Life, Nameservers, NetworkFacts, NetworkKind, Place, Snapshot,
};

/// What Docker said.
#[derive(Default)]
pub(super) struct Book {
    /// The containers, by id.
    listed: BTreeMap<String, Listed>,
    /// The number of the last request before they were listed.
    listed_as_of: u64,
    /// The networks, by id.
    networks: BTreeMap<String, Known>,
    /// Who is on a network and no container.
    strangers: HashSet<String>,
    /// Running containers as they were last described.
    described: HashMap<String, Described>,
    /// Those of them that may have changed since; they are good until they are described again.
    stale: HashSet<String>,
}

/// A network.
#[derive(Default)]
struct Known {
    network: Network,
    /// The number of the last request before it told who is on it.
    as_of: u64,
    /// Why it does not tell any more.
    refusal: Option<String>,
}

struct Described {
    description: Description,
    /// The container's endpoints at that time. They are others after each start.
    endpoints: BTreeSet<String>,
}

impl Book {
    /// Notes what a hint puts in doubt.
    pub(super) fn note(&mut self, hint: Hint) {
        match hint {
            Hint::Container(id) => {
                self.stale.insert(id);
            }
            Hint::Networks => {}
            Hint::Everything => self.stale.extend(self.described.keys().cloned()),
        }
    }

    /// The networks that are known.
    pub(super) fn networks(&self) -> BTreeSet<String> {
        self.networks.keys().cloned().collect()
    }

    /// Who is known to be no container.
    pub(super) fn strangers(&self) -> &HashSet<String> {
        &self.strangers
    }

    /// Takes what a look found; `as_of` is the number of the last request before it began. Whether
    /// it is something else than before, of which events should tell.
    pub(super) fn take(&mut self, gathered: Gathered, as_of: u64) -> bool {
        let Gathered { containers, networks, strangers } = gathered;
        let before = self.outline();
        self.listed = containers.into_iter().map(|one| (one.id.clone(), one)).collect();
        self.listed_as_of = as_of;
        self.strangers = strangers;
        let mut known = std::mem::take(&mut self.networks);
        for inspected in networks {
            let (id, network) = match inspected {
                Inspected::Known(network) => {
                    (network.id.clone(), Known { network, as_of, refusal: None })
                }
                Inspected::Untold(network, error) => {
                    let known = Known { network, ..Known::default() };
                    (known.network.id.clone(), known.refused(chain(&error)))
                }
                Inspected::Unchanged(id, error) => {
                    let known = known.remove(&id).unwrap_or_default();
                    (id, known.refused(chain(&error)))
                }
            };
            self.networks.insert(id, network);
        }
        self.described.retain(|id, _| self.listed.contains_key(id));
        self.stale.retain(|id| self.listed.contains_key(id));
        before != self.outline()
    }

    /// Takes a container's description, or that it has none any more.
    pub(super) fn describe(&mut self, id: String, description: Option<Description>) {
        match description {
            Some(description) => {
                let endpoints = self.endpoint_ids(&id);
                self.described.insert(id, Described { description, endpoints });
            }
            None => drop(self.described.remove(&id)),
        }
    }

    /// The running containers that are to be described: those with labels of ours, and those whose
    /// network such a one shares or will share once it is started, or all; if they are not, or may
    /// have changed.
    pub(super) fn to_describe(&self, everyone: bool) -> BTreeSet<String> {
        let matters = |one: &&Listed| everyone || !one.labels.is_empty();
        let mut wanted = BTreeSet::new();
        let mut follow: Vec<&Listed> = self.listed.values().filter(matters).collect();
        while let Some(one) = follow.pop() {
            if wanted.insert(one.id.as_str()) {
                follow.extend(self.host_of(one));
            }
        }
        let alive = |id: &&str| self.listed.get(*id).is_some_and(|one| one.alive);
        let doubtful = wanted.into_iter().filter(alive).filter(|id| self.is_doubtful(id));
        doubtful.map(str::to_owned).collect()
    }

    /// Notes that a container is being described: what happens from now on is news.
    pub(super) fn asking(&mut self, id: &str) {
        self.stale.remove(id);
    }

    /// Notes that a container could not be described.
    pub(super) fn unanswered(&mut self, id: String) {
        self.stale.insert(id);
    }

    /// All of it but the name servers. Nothing in it is older than the request it names.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut others = Vec::new();
        let mut endpoints: HashMap<&str, Vec<Endpoint>> = HashMap::new();
        for known in self.networks.values() {
            for (owner, endpoint) in known.endpoints() {
                if self.listed.contains_key(owner) {
                    endpoints.entry(owner).or_default().push(endpoint);
                } else if self.strangers.contains(owner) {
                    others.push(endpoint);
                }
            }
        }
        let facts = |one: &Listed| {
            let mut endpoints = endpoints.remove(one.id.as_str()).unwrap_or_default();
            endpoints.sort_by(|a, b| a.network.cmp(&b.network));
            self.facts(one, endpoints)
        };
        let containers = self.listed.values().map(facts).collect();
        let bridges: BTreeSet<String> =
            self.networks.values().filter_map(|known| known.network.bridge()).collect();
        Snapshot {
            as_of: self.as_of(),
            containers,
            others,
            bridges: bridges.into_iter().collect(),
            networks: self.network_facts(),
            joined: self.joined(),
            nameservers: Nameservers::default(),
        }
    }

    /// Who is on networks of our own driver, or just joins one.
    fn joined(&self) -> BTreeMap<String, String> {
        let ours = self.networks.values().filter(|known| known.network.is_of_our_driver());
        let id = |holder| match holder {
            Holder::Id(id) => self.listed.contains_key(id).then(|| id.to_owned()),
            Holder::Named(name) => {
                let named = self.listed.values().find(|one| !name.is_empty() && one.name == name);
                named.map(|one| one.id.clone())
            }
        };
        let held = ours.flat_map(|known| known.network.holders());
        held.filter_map(|(endpoint, holder)| Some((endpoint.to_owned(), id(holder)?))).collect()
    }

    fn network_facts(&self) -> Vec<NetworkFacts> {
        let mut gateways: HashMap<&str, BTreeSet<IpAddr>> = HashMap::new();
        for (network, gateway) in self.listed.values().flat_map(|one| &one.gateways) {
            gateways.entry(network).or_default().insert(*gateway);
        }
        let none = BTreeSet::new();
        let facts = |known: &Known| {
            let gateways = gateways.get(known.network.id.as_str()).unwrap_or(&none);
            known.facts(gateways)
        };
        self.networks.values().map(facts).collect()
    }

    /// The number of the last request before the oldest of what counts was asked. Networks without
    /// a bridge here have no veths here.
    fn as_of(&self) -> u64 {
        let here = self.networks.values().filter(|known| known.network.bridge().is_some());
        here.map(|known| known.as_of).min().unwrap_or(u64::MAX).min(self.listed_as_of)
    }

    fn facts(&self, one: &Listed, endpoints: Vec<Endpoint>) -> ContainerFacts {
        let Listed { id, name, labels, network, alive, service, gateways: _ } = one.clone();
        let described = self.described.get(&id).map(|described| &described.description);
        // They never change, unlike where it is.
        let nameservers = described.map(|description| description.nameservers.clone());
        let life = described
            .filter(|_| alive)
            .map_or_else(|| if alive { Life::Unplaced } else { Life::Down }, life);
        ContainerFacts { id, name, labels, network, life, endpoints, service, nameservers }
    }

    /// The container whose network another one shares.
    fn host_of(&self, one: &Listed) -> Option<&Listed> {
        let NetworkMode::Container(reference) = &one.network else { return None };
        let by_name = || self.listed.values().find(|other| other.name == *reference);
        self.listed.get(reference).or_else(by_name)
    }

    fn is_doubtful(&self, id: &str) -> bool {
        self.stale.contains(id)
            || self.described.get(id).is_none_or(|known| known.endpoints != self.endpoint_ids(id))
    }

    fn endpoint_ids(&self, id: &str) -> BTreeSet<String> {
        let on = self.networks.values().filter_map(|known| known.network.endpoint_of(id));
        on.map(|one| one.endpoint.clone()).collect()
    }

    /// What cannot change without an event.
    fn outline(&self) -> BTreeMap<String, (bool, BTreeSet<String>)> {
        let mut outline: BTreeMap<String, (bool, BTreeSet<String>)> = self
            .listed
            .values()
            .map(|one| (one.id.clone(), (one.alive, BTreeSet::new())))
            .collect();
        for (owner, one) in self.networks.values().flat_map(|known| known.network.attached()) {
            if let Some((_, endpoints)) = outline.get_mut(owner) {
                endpoints.insert(one.endpoint.clone());
            }
        }
        outline
    }
}

impl Known {
    /// Says so once for each reason.
    fn refused(self, reason: String) -> Self {
        if self.refusal.as_ref() != Some(&reason) {
            warn!(network = self.network.name, reason, "Docker does not tell who is on a network");
        }
        Self { refusal: Some(reason), ..self }
    }

    fn endpoints(&self) -> impl Iterator<Item = (&str, Endpoint)> {
        let bridge = self.network.bridge();
        self.network.attached().map(move |(owner, attached)| {
            let endpoint = Endpoint {
                network: self.network.name.clone(),
                network_id: self.network.id.clone(),
                bridge: bridge.clone(),
                mac: attached.mac,
                addresses: attached.addresses.clone(),
            };
            (owner.as_str(), endpoint)
        })
    }

    /// `gateways` are those that containers have: where somebody chose the subnet, the network does
    /// not tell its own.
    fn facts(&self, gateways: &BTreeSet<IpAddr>) -> NetworkFacts {
        let network = &self.network;
        let kind = network.kind();
        let mut host = Vec::new();
        if let NetworkKind::Bridge(_) = kind {
            for pool in network.pools() {
                let within = |ip: &&IpAddr| pool.subnet.is_some_and(|subnet| subnet.contains(**ip));
                match pool.gateway {
                    Some(gateway) => host.push(gateway),
                    None => host.extend(gateways.iter().filter(within)),
                }
            }
        }
        let subnets = network.pools().filter_map(|pool| pool.subnet).collect();
        NetworkFacts { id: network.id.clone(), name: network.name.clone(), kind, subnets, host }
    }
}

fn life(description: &Description) -> Life {
    let Description { id: _, alive, sandbox_key, pid, started_at, nameservers: _ } =
        description.clone();
    if !alive {
        // The description is younger than the list.
        Life::Down
    } else if sandbox_key.is_some() || pid.is_some() {
        Life::Placed(Place { sandbox_key, pid, started_at })
    } else {
        Life::Unplaced
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::docker::error::AskError;

    fn listed(list: Value) -> Vec<Listed> {
        serde_json::from_value(list).unwrap()
    }

    fn network(id: &str, endpoints: &Value) -> Network {
        let network =
            json!({ "Id": id.repeat(16), "Name": id, "Driver": "bridge", "Containers": endpoints });
        serde_json::from_value(network).unwrap()
    }

    fn gathered(list: Value, networks: Vec<Inspected>) -> Gathered {
        Gathered { containers: listed(list), networks, strangers: HashSet::new() }
    }

    fn web(state: &str) -> Value {
        json!([{ "Id": "web", "State": state, "Labels": { "tc.policy": "log" } }])
    }

    fn described(id: &str) -> Description {
        let json = json!({ "Id": id, "State": { "Status": "running", "Pid": 7 } });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_snapshot_is_as_old_as_the_oldest_answer_in_it() {
        let mut book = Book::default();
        let on = |network| Inspected::Known(network);
        let (one, two) = (network("1", &json!({})), network("2", &json!({ "web": {} })));
        book.take(gathered(web("running"), vec![on(one.clone()), on(two.clone())]), 5);
        assert_eq!(book.snapshot().as_of, 5);
        let refused = || AskError::refused("x", StatusCode::INTERNAL_SERVER_ERROR, b"");
        let unchanged = Inspected::Unchanged(two.id.clone(), refused());
        book.take(gathered(web("running"), vec![on(one.clone()), unchanged]), 6);
        let snapshot = book.snapshot();
        assert_eq!(snapshot.as_of, 5, "who is on the second network was told then");
        assert_eq!(snapshot.containers[0].endpoints.len(), 1, "and is remembered");
        let untold = Inspected::Untold(network("3", &json!(null)), refused());
        book.take(gathered(web("running"), vec![on(one), on(two), untold]), 7);
        assert_eq!(book.snapshot().as_of, 0, "nobody ever told who is on the third");
    }

    #[test]
    fn endpoints_of_no_container_are_others_only_when_that_is_known() {
        let mut book = Book::default();
        let endpoints = json!({
            "web": { "MacAddress": "02:00:00:00:00:01" },
            "build": { "MacAddress": "02:00:00:00:00:02" },
            "young": { "MacAddress": "02:00:00:00:00:03" },
            "ep-4": { "MacAddress": "02:00:00:00:00:04" },
        });
        let strangers = HashSet::from(["build".to_owned()]);
        let networks = vec![Inspected::Known(network("1", &endpoints))];
        book.take(Gathered { containers: listed(web("running")), networks, strangers }, 1);
        let snapshot = book.snapshot();
        let macs = |endpoints: &[Endpoint]| {
            endpoints.iter().map(|one| one.mac.unwrap().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(macs(&snapshot.containers[0].endpoints), ["02:00:00:00:00:01"]);
        assert_eq!(macs(&snapshot.others), ["02:00:00:00:00:02"]);
        assert_eq!(snapshot.bridges, ["br-111111111111"]);
    }

    #[test]
    fn networks_tell_the_hosts_addresses_and_containers_theirs() {
        let network = json!({
            "Id": "n1", "Name": "shop_back", "Driver": "bridge",
            "Options": { "com.docker.network.bridge.name": "back0" },
            "IPAM": { "Config": [
                { "Subnet": "10.8.0.0/16", "Gateway": "10.8.0.1" },
                { "Subnet": "10.9.0.0/24" },
                { "Subnet": "fd00:9::/64" },
            ] },
            "Containers": { "web": { "IPv4Address": "10.9.0.2/24", "IPv6Address": "fd00:9::2/64" } },
        });
        let endpoint = json!({ "NetworkID": "n1", "Gateway": "10.9.0.1", "IPv6Gateway": "" });
        let list = json!([{
            "Id": "web", "State": "running",
            "Labels": { "com.docker.compose.project": "shop", "com.docker.compose.service": "web" },
            "NetworkSettings": { "Networks": { "shop_back": endpoint } },
        }]);
        let take = |driver: &str| {
            let mut network = network.clone();
            network["Driver"] = json!(driver);
            let network = Inspected::Known(serde_json::from_value(network).unwrap());
            let mut book = Book::default();
            book.take(gathered(list.clone(), vec![network]), 1);
            book
        };
        let mut book = take("bridge");
        let texts = |ips: &[IpAddr]| ips.iter().map(IpAddr::to_string).collect::<Vec<_>>();
        let Snapshot { containers, networks, .. } = book.snapshot();
        let [NetworkFacts { id, name, kind, subnets, host }] = &networks[..] else {
            panic!("{networks:?}");
        };
        assert_eq!((id.as_str(), name.as_str()), ("n1", "shop_back"));
        assert_eq!(*kind, NetworkKind::Bridge("back0".to_owned()));
        let subnets: Vec<_> = subnets.iter().map(ToString::to_string).collect();
        assert_eq!(subnets, ["10.8.0.0/16", "10.9.0.0/24", "fd00:9::/64"]);
        assert_eq!(texts(host), ["10.8.0.1", "10.9.0.1"], "a container told the second");
        let [web] = &containers[..] else { panic!("{containers:?}") };
        assert_eq!(texts(&web.endpoints[0].addresses), ["10.9.0.2", "fd00:9::2"]);
        assert_eq!(web.endpoints[0].network_id, "n1");
        assert_eq!(web.service.as_ref().unwrap().name, "web");
        assert_eq!(web.nameservers, None, "it was not described yet");
        let json = json!({ "Id": "web", "HostConfig": { "Dns": ["10.0.0.2"] } });
        book.describe("web".to_owned(), Some(serde_json::from_value(json).unwrap()));
        let nameservers = book.snapshot().containers[0].nameservers.clone();
        assert_eq!(texts(&nameservers.unwrap()), ["10.0.0.2"]);
        let elsewhere = take("macvlan").snapshot().networks;
        assert_eq!(elsewhere[0].host, [] as [IpAddr; 0], "that gateway is another machine");
    }

    #[test]
    fn who_was_started_again_is_described_again_without_any_event() {
        let mut book = Book::default();
        let on = |endpoint: &str| {
            let endpoints = json!({ "web": { "EndpointID": endpoint } });
            vec![Inspected::Known(network("1", &endpoints))]
        };
        let wanted = BTreeSet::from(["web".to_owned()]);
        assert!(book.take(gathered(web("running"), on("e1")), 1));
        assert_eq!(book.to_describe(false), wanted);
        book.describe("web".to_owned(), Some(described("web")));
        assert!(!book.take(gathered(web("running"), on("e1")), 2), "nothing changed");
        assert!(book.to_describe(false).is_empty());
        assert!(book.take(gathered(web("running"), on("e2")), 3));
        assert_eq!(book.to_describe(false), wanted);
        book.describe("web".to_owned(), Some(described("web")));
        book.note(Hint::Container("web".to_owned()));
        assert_eq!(book.to_describe(false), wanted, "an event told of it");
        book.asking("web");
        assert!(book.to_describe(false).is_empty(), "it is being asked about");
        book.unanswered("web".to_owned());
        assert_eq!(book.to_describe(false), wanted, "and asked about again");
        book.take(gathered(web("exited"), on("e2")), 4);
        assert!(book.to_describe(true).is_empty(), "what does not run is not inspected");
        assert_eq!(book.snapshot().containers[0].life, Life::Down);
    }

    #[test]
    fn those_whose_network_is_shared_are_described_too() {
        let mode = |other: &str| json!({ "NetworkMode": format!("container:{other}") });
        let labels = json!({ "xdp.policy": "log" });
        let list = json!([
            { "Id": "a", "State": "created", "Labels": labels, "HostConfig": mode("b") },
            { "Id": "b", "State": "running", "HostConfig": mode("see") },
            { "Id": "c", "State": "running", "Names": ["/see"], "HostConfig": mode("b") },
            { "Id": "d", "State": "running" },
        ]);
        let mut book = Book::default();
        book.take(gathered(list, Vec::new()), 1);
        let ids = |wanted: BTreeSet<String>| wanted.into_iter().collect::<Vec<_>>();
        assert_eq!(ids(book.to_describe(false)), ["b", "c"]);
        assert_eq!(ids(book.to_describe(true)), ["b", "c", "d"]);
    }
}
