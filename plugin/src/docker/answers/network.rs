//! A network of Docker's.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ebpf_netns::MacAddress;
use serde::Deserialize;

use crate::cnm;
use crate::facts::NetworkKind;
use crate::rules::AddressRange;

/// How much of a network's id is in the name of a bridge that nobody named.
const BRIDGE_ID: usize = 12;

/// A network, as the list or an inspection tells it; only the latter tells who is on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::docker) struct Network {
    pub(in crate::docker) id: String,
    #[serde(default)]
    pub(in crate::docker) name: String,
    driver: Option<String>,
    options: Option<NetworkOptions>,
    containers: Option<BTreeMap<String, Attached>>,
    #[serde(rename = "IPAM")]
    ipam: Option<Ipam>,
}

/// How addresses are given out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Ipam {
    config: Option<Vec<Pool>>,
}

/// Addresses of one version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "PoolText")]
pub(in crate::docker) struct Pool {
    pub(in crate::docker) subnet: Option<AddressRange>,
    /// Docker leaves it out where somebody chose the subnet and not the gateway.
    pub(in crate::docker) gateway: Option<IpAddr>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PoolText {
    subnet: Option<String>,
    gateway: Option<String>,
}

impl From<PoolText> for Pool {
    fn from(PoolText { subnet, gateway }: PoolText) -> Self {
        Self {
            subnet: subnet.as_deref().and_then(subnet_of),
            gateway: gateway.as_deref().and_then(address_of),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct NetworkOptions {
    #[serde(rename = "com.docker.network.bridge.name")]
    bridge: Option<String>,
}

/// An endpoint on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "AttachedText")]
pub(in crate::docker) struct Attached {
    /// Another one after each start of a container.
    pub(in crate::docker) endpoint: String,
    /// The hardware address that Docker gave it.
    pub(in crate::docker) mac: Option<MacAddress>,
    /// The IP addresses that Docker gave it.
    pub(in crate::docker) addresses: Vec<IpAddr>,
    /// The name of its container.
    name: Option<String>,
}

/// Whose an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::docker) enum Holder<'a> {
    /// Of the container with this id.
    Id(&'a str),
    /// Of the container with this name, which is just joining.
    Named(&'a str),
}

#[derive(Deserialize)]
struct AttachedText {
    #[serde(rename = "Name")]
    name: Option<String>,
    #[serde(rename = "EndpointID")]
    endpoint: Option<String>,
    #[serde(rename = "MacAddress")]
    mac: Option<String>,
    #[serde(rename = "IPv4Address")]
    v4: Option<String>,
    #[serde(rename = "IPv6Address")]
    v6: Option<String>,
}

impl From<AttachedText> for Attached {
    fn from(AttachedText { name, endpoint, mac, v4, v6 }: AttachedText) -> Self {
        let addresses = [v4, v6].iter().flatten().filter_map(|text| address_of(text)).collect();
        let mac = mac.and_then(|text| text.parse().ok());
        Self { endpoint: endpoint.unwrap_or_default(), mac, addresses, name }
    }
}

impl Network {
    /// The bridge on this machine, where it has one.
    pub(in crate::docker) fn bridge(&self) -> Option<String> {
        if self.is_of_our_driver() {
            return cnm::bridge_of(&self.id);
        }
        if self.driver.as_deref() != Some("bridge") {
            return None;
        }
        let named = self.options.as_ref().and_then(|options| options.bridge.clone());
        let named = named.filter(|name| !name.is_empty());
        named.or_else(|| Some(format!("br-{}", self.id.get(..BRIDGE_ID)?)))
    }

    /// Whether our own driver has made it.
    pub(in crate::docker) fn is_of_our_driver(&self) -> bool {
        self.driver.as_deref().is_some_and(cnm::is_driver)
    }

    /// Who has its endpoints, by the ids of those: the id of a container, or the name of one that is
    /// just joining.
    pub(in crate::docker) fn holders(&self) -> impl Iterator<Item = (&str, Holder<'_>)> {
        let all = self.containers.iter().flatten();
        all.map(|(owner, one)| {
            let holder = match (owner.strip_prefix("ep-"), &one.name) {
                (Some(_), name) => Holder::Named(name.as_deref().unwrap_or_default()),
                (None, _) => Holder::Id(owner),
            };
            (one.endpoint.as_str(), holder)
        })
    }

    /// What it is made of.
    pub(in crate::docker) fn kind(&self) -> NetworkKind {
        match (self.bridge(), self.driver.as_deref()) {
            (Some(bridge), _) => NetworkKind::Bridge(bridge),
            (None, Some("overlay")) => NetworkKind::Overlay,
            (None, _) => NetworkKind::Other,
        }
    }

    /// The addresses that are given out on it.
    pub(in crate::docker) fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.ipam.iter().flat_map(|ipam| &ipam.config).flatten()
    }

    /// Whether containers on it may have interfaces.
    pub(in crate::docker) fn has_interfaces(&self) -> bool {
        !matches!(self.driver.as_deref(), Some("host" | "null"))
    }

    /// Who is on it. An endpoint that no namespace has yet, `ep-…`, is nobody's so far: it tells
    /// nothing about whose it will be.
    pub(in crate::docker) fn attached(&self) -> impl Iterator<Item = (&String, &Attached)> {
        let all = self.containers.iter().flatten();
        all.filter(|(owner, _)| !owner.starts_with("ep-"))
    }

    /// A container's endpoint on it.
    pub(in crate::docker) fn endpoint_of(&self, container: &str) -> Option<&Attached> {
        self.containers.as_ref()?.get(container)
    }
}

/// An address, which Docker writes with and without the length of its network's prefix.
pub(super) fn address_of(text: &str) -> Option<IpAddr> {
    let address = text.split_once('/').map_or(text, |(address, _prefix)| address);
    address.parse().ok().filter(|address: &IpAddr| !address.is_unspecified())
}

fn subnet_of(text: &str) -> Option<AddressRange> {
    let (address, prefix) = text.split_once('/')?;
    AddressRange::network(address.parse().ok()?, prefix.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_tell_their_bridge_and_who_is_on_them() {
        let network = |json: &str| serde_json::from_str::<Network>(json).unwrap();
        let bridge = network(
            r#"{"Id":"0123456789abcdef","Name":"lan","Driver":"bridge","Options":{},
            "Containers":{"c1":{"Name":"web","EndpointID":"e1","MacAddress":"02:42:ac:11:00:02"},
            "ep-e2":{"EndpointID":"e2","MacAddress":"02:42:ac:11:00:03"},"c3":{"MacAddress":""}}}"#,
        );
        assert_eq!(bridge.bridge().as_deref(), Some("br-0123456789ab"));
        let on: Vec<_> = bridge.attached().map(|(owner, one)| (owner.as_str(), one.mac)).collect();
        assert_eq!(on, [("c1", "02:42:ac:11:00:02".parse().ok()), ("c3", None)]);
        let named = network(
            r#"{"Id":"0","Driver":"bridge","Options":{"com.docker.network.bridge.name":"docker0"}}"#,
        );
        assert_eq!(named.bridge().as_deref(), Some("docker0"));
        for json in [
            r#"{"Id":"0123456789abcdef","Driver":"macvlan"}"#,
            r#"{"Id":"0123456789abcdef","Options":null,"Containers":null}"#,
            r#"{"Id":"short","Driver":"bridge"}"#,
        ] {
            assert_eq!(network(json).bridge(), None, "{json}");
        }
        assert!(!network(r#"{"Id":"0","Driver":"host"}"#).has_interfaces());
    }

    #[test]
    fn networks_tell_their_addresses_however_docker_writes_them() {
        let read = |json: &str| serde_json::from_str::<Network>(json).unwrap();
        // In the form of API 1.41. Somebody chose the last subnet, and no gateway for it.
        let network = read(
            r#"{"Name":"shop_back","Id":"0123456789abcdef","Created":"2026-01-02T03:04:05Z","Scope":
            "local","Driver":"bridge","EnableIPv6":true,"IPAM":{"Driver":"default","Options":null,
            "Config":[{"Subnet":"172.18.0.0/16","IPRange":"","Gateway":"172.18.0.1"},
            {"Subnet":"fd00:18::/64","Gateway":"fd00:18::1/64"},{"Subnet":"10.9.0.0/24"}]},
            "Containers":{"c1":{"Name":"shop-db-1","EndpointID":"e1","MacAddress":"02:42:ac:12:00:02",
            "IPv4Address":"172.18.0.2/16","IPv6Address":"fd00:18::2/64"},
            "c2":{"EndpointID":"e2","MacAddress":"","IPv4Address":"","IPv6Address":""}}}"#,
        );
        let shown: Vec<_> = network
            .pools()
            .map(|pool| (pool.subnet.unwrap().to_string(), pool.gateway.map(|ip| ip.to_string())))
            .collect();
        let pool =
            |subnet: &str, gateway: Option<&str>| (subnet.to_owned(), gateway.map(str::to_owned));
        let expected = [
            pool("172.18.0.0/16", Some("172.18.0.1")),
            pool("fd00:18::/64", Some("fd00:18::1")),
            pool("10.9.0.0/24", None),
        ];
        assert_eq!(shown, expected);
        let addresses = |id| network.endpoint_of(id).unwrap().addresses.clone();
        let expected: [IpAddr; 2] = ["172.18.0.2".parse().unwrap(), "fd00:18::2".parse().unwrap()];
        assert_eq!(addresses("c1"), expected);
        assert!(addresses("c2").is_empty());
        for json in [
            r#"{"Id":"0"}"#,
            r#"{"Id":"0","IPAM":null}"#,
            r#"{"Id":"0","IPAM":{"Driver":"null","Config":null}}"#,
            r#"{"Id":"0","IPAM":{"Config":[]}}"#,
        ] {
            assert_eq!(read(json).pools().count(), 0, "{json}");
        }
        for json in [
            r#"{"Id":"0","IPAM":{"Config":[{}]}}"#,
            r#"{"Id":"0","IPAM":{"Config":[{"Subnet":"","Gateway":"0.0.0.0"}]}}"#,
            r#"{"Id":"0","IPAM":{"Config":[{"Subnet":"10.0.0.0/33","Gateway":"host"}]}}"#,
        ] {
            assert_eq!(read(json).pools().collect::<Vec<_>>(), [&Pool::default()], "{json}");
        }
    }

    #[test]
    fn networks_are_of_a_kind() {
        let kind = |driver: &str| {
            let json = format!(r#"{{"Id":"0123456789abcdef","Driver":"{driver}"}}"#);
            serde_json::from_str::<Network>(&json).unwrap().kind()
        };
        assert_eq!(kind("bridge"), NetworkKind::Bridge("br-0123456789ab".to_owned()));
        assert_eq!(kind("overlay"), NetworkKind::Overlay);
        assert_eq!(kind("macvlan"), NetworkKind::Other);
    }
}
