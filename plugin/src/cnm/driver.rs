//! What Docker asks of the driver, done: links, rules and records. Every call can be made again, and
//! one that fails leaves nothing.
//!
//! Nothing in here waits for anybody but the kernel and the disk of networks, and nothing knows of
//! policies: those are the engine's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use ebpf_netns::{Ifindex, Rtnl};
use serde_json::{Value, json};
use tracing::{info, warn};

use super::error::CnmError;
use super::ids::Id;
use super::network::{Endpoint, Network, Published};
use super::options::Wish;
use super::store::Store;
use super::{FORWARDING_V6, forward, links, nat, ports};
use crate::endpoint::EndpointFacts;
use crate::error::chain;
use crate::nftables::Socket;

/// Tells whether the kernel has tables of iptables-legacy.
const LEGACY: &str = "/proc/net/ip_tables_names";

/// What a sandbox gets by joining an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    /// The host-side veth.
    pub host: Ifindex,
    /// The link that is to be moved into the sandbox.
    pub source: String,
    pub gateway: Option<IpAddr>,
    pub gateway_v6: Option<IpAddr>,
}

/// All networks and endpoints, and what they are made with.
pub(super) struct State {
    rtnl: Rtnl,
    socket: Socket,
    store: Store,
    networks: BTreeMap<Id, Network>,
    endpoints: BTreeMap<Id, Endpoint>,
    /// Bridges of Docker's own networks.
    foreign: BTreeSet<String>,
    told_of_legacy: bool,
}

impl State {
    /// Takes over what an earlier driver made, and makes what of it is missing.
    pub(super) fn open(store: Store) -> Result<Self, CnmError> {
        let (rtnl, socket) = (Rtnl::open()?, Socket::open()?);
        let networks = store.networks()?.into_iter().map(|one| (one.id.clone(), one)).collect();
        let mut state = Self {
            rtnl,
            socket,
            networks,
            endpoints: BTreeMap::new(),
            foreign: BTreeSet::new(),
            told_of_legacy: false,
            store,
        };
        for network in state.networks.values() {
            if let Err(error) = state.make(network) {
                // One that cannot be is no reason for the others not to be.
                warn!(network = %network.id, error = chain(&error), "a network cannot be made again");
            }
        }
        for endpoint in state.store.endpoints()? {
            if links::host_side(&state.rtnl, &endpoint)?.is_some() {
                state.endpoints.insert(endpoint.id.clone(), endpoint);
            } else {
                state.store.remove_endpoint(&endpoint.id)?;
            }
        }
        state.write_rules()?;
        let (networks, endpoints) = (state.networks.len(), state.endpoints.len());
        info!(networks, endpoints, "the network driver is ready");
        Ok(state)
    }

    pub(super) fn create_network(&mut self, network: &Network) -> Result<(), CnmError> {
        let others = self.networks.values().filter(|other| other.id != network.id);
        if let Some(other) = others.into_iter().find(|other| network.overlaps(other)) {
            return Err(CnmError::Overlaps { other: other.id.to_string() });
        }
        let id = network.id.clone();
        self.store.put_network(network)?;
        let before = self.networks.insert(id.clone(), network.clone());
        match self.make(network).and_then(|()| self.write_rules()) {
            Ok(()) => {
                info!(network = %id, bridge = id.bridge(), "network created");
                Ok(())
            }
            Err(error) => {
                if before.is_none() {
                    self.delete_network(&id).ok();
                }
                Err(error)
            }
        }
    }

    /// What is not there is as good as deleted.
    pub(super) fn delete_network(&mut self, id: &Id) -> Result<(), CnmError> {
        links::remove(&self.rtnl, &id.bridge())?;
        self.store.remove_network(id)?;
        if self.networks.remove(id).is_some() {
            info!(network = %id, "network deleted");
        }
        self.write_rules()
    }

    /// Makes an endpoint's links, down and in no bridge: it is not to be plugged in before it is closed.
    pub(super) fn make_endpoint(&mut self, endpoint: Endpoint) -> Result<EndpointFacts, CnmError> {
        let network = self.network(&endpoint.network)?;
        self.store.put_endpoint(&endpoint)?;
        let host = match links::make_veth(&self.rtnl, &endpoint, network) {
            Ok(host) => host,
            Err(error) => {
                self.store.remove_endpoint(&endpoint.id).ok();
                return Err(error);
            }
        };
        let facts = facts(&endpoint, network, host);
        self.endpoints.insert(endpoint.id.clone(), endpoint);
        Ok(facts)
    }

    /// Plugs an endpoint into its network's bridge.
    pub(super) fn plug(&mut self, id: &Id) -> Result<(), CnmError> {
        let endpoint = self.endpoint(id)?;
        let network = self.network(&endpoint.network)?;
        let bridge = match links::bridge(&self.rtnl, network)? {
            Some(bridge) => bridge,
            // Somebody removed it.
            None => links::make_bridge(&self.rtnl, network)?,
        };
        links::plug(&self.rtnl, self.host_side(endpoint)?, bridge)
    }

    /// What is not there is as good as deleted.
    pub(super) fn delete_endpoint(&mut self, id: &Id) -> Result<(), CnmError> {
        links::remove(&self.rtnl, &id.host_side())?;
        let known = self.endpoints.remove(id);
        self.store.remove_endpoint(id)?;
        match known {
            Some(endpoint) if !endpoint.published.is_empty() => self.write_rules(),
            _ => Ok(()),
        }
    }

    pub(super) fn join(&self, id: &Id) -> Result<Joined, CnmError> {
        let endpoint = self.endpoint(id)?;
        let network = self.network(&endpoint.network)?;
        let version = |is_v4| endpoint.address(is_v4).and_then(|_| network.gateway(is_v4));
        Ok(Joined {
            host: self.host_side(endpoint)?,
            source: id.container_side(),
            gateway: version(true),
            gateway_v6: version(false),
        })
    }

    /// Publishes these ports of an endpoint, in place of those that are.
    pub(super) fn publish(&mut self, id: &Id, wishes: &[Wish]) -> Result<(), CnmError> {
        self.forget_gone()?;
        let endpoint = self.endpoint(id)?.clone();
        let others = self.endpoints.values().filter(|other| other.id != *id);
        let mut taken: Vec<Published> =
            others.flat_map(|other| other.published.iter().copied()).collect();
        let used = if wishes.is_empty() { Vec::new() } else { ports::used() };
        let mut published = Vec::new();
        for wish in wishes {
            let chosen = ports::choose(wish, &taken, &used)?;
            taken.push(chosen);
            published.push(chosen);
        }
        if published == endpoint.published {
            return Ok(());
        }
        let endpoint = Endpoint { published, ..endpoint };
        self.store.put_endpoint(&endpoint)?;
        links::send_back(&self.rtnl, self.host_side(&endpoint)?)?;
        self.endpoints.insert(id.clone(), endpoint);
        self.write_rules()
    }

    /// Forgets endpoints whose interface went with its sandbox: after it was killed, Docker starts its
    /// containers again before it has them deleted.
    fn forget_gone(&mut self) -> Result<(), CnmError> {
        let mut gone = Vec::new();
        for endpoint in self.endpoints.values() {
            if links::host_side(&self.rtnl, endpoint)?.is_none() {
                gone.push(endpoint.id.clone());
            }
        }
        for id in gone {
            self.endpoints.remove(&id);
            self.store.remove_endpoint(&id)?;
        }
        Ok(())
    }

    /// Publishes none of an endpoint's ports any more; nothing if there is no such endpoint.
    pub(super) fn unpublish(&mut self, id: &Id) -> Result<(), CnmError> {
        self.forget_gone()?;
        if self.endpoints.contains_key(id) { self.publish(id, &[]) } else { self.write_rules() }
    }

    /// The ports that are published of an endpoint, as Docker has them.
    pub(super) fn ports(&self, id: &Id) -> Result<Vec<Value>, CnmError> {
        let port = |one: &Published| {
            let address = one.address.map_or_else(String::new, |address| address.to_string());
            json!({
                "Proto": one.protocol.number(), "Port": one.port, "HostIP": address,
                "HostPort": one.host_port, "HostPortEnd": one.host_port,
            })
        };
        Ok(self.endpoint(id)?.published.iter().map(port).collect())
    }

    /// Keeps networks apart from these bridges from now on.
    pub(super) fn set_foreign(&mut self, bridges: BTreeSet<String>) -> Result<(), CnmError> {
        let ours = |bridge: &String| !super::is_bridge(bridge);
        let bridges = bridges.into_iter().filter(ours).collect();
        if self.foreign == bridges {
            return Ok(());
        }
        self.foreign = bridges;
        self.write_rules()
    }

    /// Puts right what others may have changed: Docker and firewalls write their rules anew.
    pub(super) fn write_rules(&mut self) -> Result<(), CnmError> {
        if self.networks.is_empty() {
            nat::remove(&self.socket)?;
            forward::remove(&self.socket)?;
            return Ok(());
        }
        let rules = nat::Rules {
            networks: self.networks.values().collect(),
            endpoints: self.endpoints.values().collect(),
            foreign: &self.foreign,
        };
        nat::write(&self.socket, &rules)?;
        let chains = forward::ensure(&self.socket)?;
        if chains == 0 && !self.told_of_legacy && has_legacy_filter() {
            self.told_of_legacy = true;
            warn!(
                "iptables-legacy is in use, which the driver cannot reach: if nothing gets in or out \
                 of its networks, add: iptables-legacy -A FORWARD -i ebn-+ -j ACCEPT; \
                 iptables-legacy -A FORWARD -o ebn-+ -j ACCEPT"
            );
        }
        Ok(())
    }

    fn make(&self, network: &Network) -> Result<(), CnmError> {
        links::make_bridge(&self.rtnl, network)?;
        if network.gateways().any(|gateway| gateway.address.is_ipv6()) {
            forward_v6();
        }
        Ok(())
    }

    fn network(&self, id: &Id) -> Result<&Network, CnmError> {
        self.networks.get(id).ok_or_else(|| CnmError::NoNetwork(id.to_string()))
    }

    fn endpoint(&self, id: &Id) -> Result<&Endpoint, CnmError> {
        self.endpoints.get(id).ok_or_else(|| CnmError::NoEndpoint(id.to_string()))
    }

    fn host_side(&self, endpoint: &Endpoint) -> Result<Ifindex, CnmError> {
        let host = links::host_side(&self.rtnl, endpoint)?;
        host.ok_or_else(|| CnmError::NoEndpoint(endpoint.id.to_string()))
    }
}

/// What the engine is told of an endpoint.
pub(super) fn facts(endpoint: &Endpoint, network: &Network, host: Ifindex) -> EndpointFacts {
    EndpointFacts {
        id: endpoint.id.as_str().to_owned(),
        network: network.id.as_str().to_owned(),
        host,
        mac: endpoint.mac,
        addresses: endpoint.addresses.clone(),
        of_network: network.options.labels.clone(),
        own: endpoint.labels.clone(),
    }
}

/// Docker has the kernel forward IPv4 when it starts, and IPv6 only for networks of its own.
fn forward_v6() {
    let path = Path::new(FORWARDING_V6);
    let is_on = fs::read_to_string(path).is_ok_and(|text| text.trim() != "0");
    if is_on {
        return;
    }
    if let Err(error) = fs::write(path, "1") {
        warn!(%error, "IPv6 is not forwarded: set net.ipv6.conf.all.forwarding=1");
    }
}

fn has_legacy_filter() -> bool {
    fs::read_to_string(LEGACY).is_ok_and(|names| names.lines().any(|name| name == "filter"))
}
