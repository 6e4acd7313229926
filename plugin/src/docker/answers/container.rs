//! A container of Docker's list.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ebpf_netns::docker::NetworkMode;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::labels::KeptLabels;
use super::network::address_of;
use crate::facts::Service;

/// A container of the list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "ContainerSummary")]
pub(in crate::docker) struct Listed {
    pub(in crate::docker) id: String,
    /// The container's own name, without the slash.
    pub(in crate::docker) name: String,
    /// The labels that are ours.
    pub(in crate::docker) labels: BTreeMap<String, String>,
    pub(in crate::docker) network: NetworkMode,
    /// Whether it runs, in which case it can be inspected without waiting for its start.
    pub(in crate::docker) alive: bool,
    /// The service that its labels say that it is one of.
    pub(in crate::docker) service: Option<Service>,
    /// The gateways that it has, by the ids of its networks.
    pub(in crate::docker) gateways: Vec<(String, IpAddr)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerSummary {
    id: String,
    names: Option<OwnName>,
    labels: Option<KeptLabels>,
    state: Option<String>,
    host_config: Option<HostConfig>,
    network_settings: Option<NetworkSettings>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    network_mode: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    networks: Option<BTreeMap<String, ListedEndpoint>>,
}

#[derive(Deserialize)]
struct ListedEndpoint {
    #[serde(rename = "NetworkID")]
    network: Option<String>,
    #[serde(rename = "Gateway")]
    v4: Option<String>,
    #[serde(rename = "IPv6Gateway")]
    v6: Option<String>,
}

impl ListedEndpoint {
    fn gateways(self) -> impl Iterator<Item = (String, IpAddr)> {
        let Self { network, v4, v6 } = self;
        let gateways = [v4, v6].map(|text| text.as_deref().and_then(address_of));
        let network = network.unwrap_or_default();
        gateways.into_iter().flatten().map(move |gateway| (network.clone(), gateway))
    }
}

impl From<ContainerSummary> for Listed {
    fn from(summary: ContainerSummary) -> Self {
        let ContainerSummary { id, names, labels, state, host_config, network_settings } = summary;
        let KeptLabels { ours, service } = labels.unwrap_or_default();
        let endpoints = network_settings.unwrap_or_default().networks.unwrap_or_default();
        let mode = host_config.and_then(|config| config.network_mode).unwrap_or_default();
        Self {
            id,
            name: names.map_or_else(String::new, |OwnName(name)| name),
            labels: ours,
            network: NetworkMode::from(mode.as_str()),
            alive: state.as_deref().is_some_and(is_alive),
            service,
            gateways: endpoints.into_values().flat_map(ListedEndpoint::gateways).collect(),
        }
    }
}

/// Whether a container in this state has processes, and so a network namespace.
pub(super) fn is_alive(state: &str) -> bool {
    matches!(state, "running" | "paused" | "stopping")
}

/// Among a container's names, its own: the others are links, which have a second slash.
struct OwnName(String);

impl<'de> Deserialize<'de> for OwnName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;
        impl<'de> Visitor<'de> for Names {
            type Value = OwnName;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of names")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<OwnName, A::Error> {
                let mut found = None;
                while let Some(name) = names.next_element::<String>()? {
                    let own = name.strip_prefix('/').filter(|name| !name.contains('/'));
                    found = found.or(own.map(str::to_owned));
                }
                Ok(OwnName(found.unwrap_or_default()))
            }
        }
        deserializer.deserialize_seq(Names)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(json: &str) -> Listed {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_container_is_read_and_only_its_labels_that_are_ours_are_kept() {
        let web = listed(
            r#"{"Id":"c1","Names":["/db/web","/web"],"Image":"x","Created":1,"Ports":[],
            "Labels":{"tc.policy":"log","maintainer":"me","xdp.polcy":""},"State":"running",
            "HostConfig":{"NetworkMode":"container:c2"},"Later":{"a":[{}]}}"#,
        );
        assert_eq!((web.id.as_str(), web.name.as_str(), web.alive), ("c1", "web", true));
        assert_eq!(web.labels.keys().collect::<Vec<_>>(), ["tc.policy", "xdp.polcy"]);
        assert_eq!(web.network, NetworkMode::Container("c2".to_owned()));
    }

    #[test]
    fn missing_and_odd_parts_are_no_errors() {
        for json in [
            r#"{"Id":"c1"}"#,
            r#"{"Id":"c1","Names":null,"Labels":null,"State":null,"HostConfig":null}"#,
            r#"{"Id":"c1","Names":[],"Labels":{},"State":"","HostConfig":{}}"#,
            r#"{"Id":"c1","Names":["x","/a/b"],"State":"restarting","HostConfig":{"NetworkMode":null}}"#,
        ] {
            let one = listed(json);
            assert_eq!((one.name.as_str(), one.alive), ("", false), "{json}");
            assert!(one.labels.is_empty(), "{json}");
        }
        for json in ["{}", "null", "[]", r#"{"Id":1}"#] {
            assert!(serde_json::from_str::<Listed>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_container_tells_its_gateways() {
        // In the form of API 1.41.
        let web = listed(
            r#"{"Id":"c1","Names":["/web"],"State":"running","HostConfig":{"NetworkMode":"lan"},
            "NetworkSettings":{"Networks":{"lan":{"IPAMConfig":null,"Links":null,"Aliases":null,
            "NetworkID":"n1","EndpointID":"e1","Gateway":"10.9.0.1","IPAddress":"10.9.0.2",
            "IPPrefixLen":24,"IPv6Gateway":"fd00:9::1","GlobalIPv6Address":"fd00:9::2",
            "GlobalIPv6PrefixLen":64,"MacAddress":"02:42:0a:09:00:02","DriverOpts":null},
            "inner":{"NetworkID":"n2","Gateway":"","IPv6Gateway":""}}},"Mounts":[]}"#,
        );
        let gateway = |text: &str| ("n1".to_owned(), text.parse().unwrap());
        assert_eq!(web.gateways, [gateway("10.9.0.1"), gateway("fd00:9::1")]);
        for settings in ["null", "{}", r#"{"Networks":null}"#, r#"{"Networks":{"x":{}}}"#] {
            let one = listed(&format!(r#"{{"Id":"c1","NetworkSettings":{settings}}}"#));
            assert_eq!(one.gateways, [], "{settings}");
        }
    }
}
