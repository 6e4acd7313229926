//! A network of Docker's.

use std::collections::BTreeMap;

use ebpf_netns::MacAddress;
use serde::Deserialize;

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
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct NetworkOptions {
    #[serde(rename = "com.docker.network.bridge.name")]
    bridge: Option<String>,
}

/// An endpoint on a network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(in crate::docker) struct Attached {
    /// Another one after each start of a container.
    #[serde(rename = "EndpointID", default)]
    pub(in crate::docker) endpoint: String,
    #[serde(rename = "MacAddress", default)]
    mac: String,
}

impl Network {
    /// The bridge on this machine, where it has one.
    pub(in crate::docker) fn bridge(&self) -> Option<String> {
        if self.driver.as_deref() != Some("bridge") {
            return None;
        }
        let named = self.options.as_ref().and_then(|options| options.bridge.clone());
        let named = named.filter(|name| !name.is_empty());
        named.or_else(|| Some(format!("br-{}", self.id.get(..BRIDGE_ID)?)))
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

impl Attached {
    /// The address that Docker gave it.
    pub(in crate::docker) fn mac(&self) -> Option<MacAddress> {
        self.mac.parse().ok()
    }
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
        let on: Vec<_> =
            bridge.attached().map(|(owner, one)| (owner.as_str(), one.mac())).collect();
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
}
