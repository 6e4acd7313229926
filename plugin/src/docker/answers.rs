//! Docker's answers, cut down to what is used of them. Pure.
//!
//! Anything may be missing from an answer, or be of a kind that came later; what is too large to be
//! of use is not kept.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use ebpf_netns::docker::NetworkMode;
use ebpf_netns::{MacAddress, Pid};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::labels::{MAX_KEY_BYTES, MAX_VALUE_BYTES, is_ours};

/// How many labels of ours are kept of a container. There are not that many keys: one of these is
/// wrong, and so the container is closed.
const MOST_LABELS: usize = 64;
/// What Docker writes for a time that never was.
const NEVER: &str = "0001-01-01T00:00:00Z";
/// How much of a network's id is in the name of a bridge that nobody named.
const BRIDGE_ID: usize = 12;

/// What `/version` tells.
#[derive(Debug, Deserialize)]
pub(super) struct Version {
    #[serde(rename = "ApiVersion", default)]
    pub(super) api: String,
}

/// A container of the list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "ContainerSummary")]
pub(super) struct Listed {
    pub(super) id: String,
    /// The container's own name, without the slash.
    pub(super) name: String,
    /// The labels that are ours.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) network: NetworkMode,
    /// Whether it runs, in which case it can be inspected without waiting for its start.
    pub(super) alive: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ContainerSummary {
    id: String,
    names: Option<OwnName>,
    labels: Option<OurLabels>,
    state: Option<String>,
    host_config: Option<HostConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    network_mode: Option<String>,
}

impl From<ContainerSummary> for Listed {
    fn from(summary: ContainerSummary) -> Self {
        let ContainerSummary { id, names, labels, state, host_config } = summary;
        let mode = host_config.and_then(|config| config.network_mode).unwrap_or_default();
        Self {
            id,
            name: names.map_or_else(String::new, |OwnName(name)| name),
            labels: labels.map_or_else(BTreeMap::new, |OurLabels(labels)| labels),
            network: NetworkMode::from(mode.as_str()),
            alive: state.as_deref().is_some_and(is_alive),
        }
    }
}

/// Whether a container in this state has processes, and so a network namespace.
fn is_alive(state: &str) -> bool {
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

/// The labels that are ours to judge.
struct OurLabels(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for OurLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Labels;
        impl<'de> Visitor<'de> for Labels {
            type Value = OurLabels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<OurLabels, A::Error> {
                let mut ours = BTreeMap::new();
                while let Some(key) = all.next_key::<String>()? {
                    if ours.len() < MOST_LABELS && is_ours(&key) {
                        let value: String = all.next_value()?;
                        ours.insert(cut(key, MAX_KEY_BYTES), cut(value, MAX_VALUE_BYTES));
                    } else {
                        all.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(OurLabels(ours))
            }
        }
        deserializer.deserialize_map(Labels)
    }
}

/// Keeps one byte more than is allowed, so that it is still seen to be too long.
fn cut(mut text: String, allowed: usize) -> String {
    if text.len() > allowed {
        text.truncate(text.ceil_char_boundary(allowed + 1));
        text.shrink_to_fit();
    }
    text
}

/// A network, as the list or an inspection tells it; only the latter tells who is on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Network {
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
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
pub(super) struct Attached {
    /// Another one after each start of a container.
    #[serde(rename = "EndpointID", default)]
    pub(super) endpoint: String,
    #[serde(rename = "MacAddress", default)]
    mac: String,
}

impl Network {
    /// The bridge on this machine, where it has one.
    pub(super) fn bridge(&self) -> Option<String> {
        if self.driver.as_deref() != Some("bridge") {
            return None;
        }
        let named = self.options.as_ref().and_then(|options| options.bridge.clone());
        let named = named.filter(|name| !name.is_empty());
        named.or_else(|| Some(format!("br-{}", self.id.get(..BRIDGE_ID)?)))
    }

    /// Whether containers on it may have interfaces.
    pub(super) fn has_interfaces(&self) -> bool {
        !matches!(self.driver.as_deref(), Some("host" | "null"))
    }

    /// Who is on it. An endpoint that no namespace has yet, `ep-…`, is nobody's so far: it tells
    /// nothing about whose it will be.
    pub(super) fn attached(&self) -> impl Iterator<Item = (&String, &Attached)> {
        let all = self.containers.iter().flatten();
        all.filter(|(owner, _)| !owner.starts_with("ep-"))
    }

    /// A container's endpoint on it.
    pub(super) fn endpoint_of(&self, container: &str) -> Option<&Attached> {
        self.containers.as_ref()?.get(container)
    }
}

impl Attached {
    /// The address that Docker gave it.
    pub(super) fn mac(&self) -> Option<MacAddress> {
        self.mac.parse().ok()
    }
}

/// A container as it was described.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Inspection")]
pub(super) struct Description {
    pub(super) id: String,
    pub(super) alive: bool,
    pub(super) sandbox_key: Option<PathBuf>,
    pub(super) pid: Option<Pid>,
    pub(super) started_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspection {
    id: String,
    state: Option<State>,
    network_settings: Option<NetworkSettings>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: Option<String>,
    pid: Option<i64>,
    started_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NetworkSettings {
    sandbox_key: Option<String>,
}

impl From<Inspection> for Description {
    fn from(Inspection { id, state, network_settings }: Inspection) -> Self {
        let State { status, pid, started_at } = state.unwrap_or_default();
        let sandbox_key = network_settings.and_then(|settings| settings.sandbox_key);
        Self {
            id,
            alive: status.as_deref().is_some_and(is_alive),
            sandbox_key: sandbox_key.filter(|key| !key.is_empty()).map(PathBuf::from),
            pid: pid.and_then(|pid| Pid::try_from(pid).ok()),
            started_at: started_at.filter(|time| !time.is_empty() && time != NEVER),
        }
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
    fn many_labels_of_ours_and_long_ones_are_cut_and_still_wrong() {
        let mut labels: BTreeMap<String, String> =
            (0..1000).map(|n| (format!("tc.x{n}"), "é".repeat(1 << 12))).collect();
        labels.insert("tc.".to_owned() + &"k".repeat(1 << 12), String::new());
        let json = serde_json::json!({ "Id": "c1", "Labels": labels }).to_string();
        let kept = listed(&json).labels;
        assert_eq!(kept.len(), MOST_LABELS);
        for (key, value) in &kept {
            assert!(key.len() <= MAX_KEY_BYTES + 4, "{}", key.len());
            assert!(value.len() <= MAX_VALUE_BYTES + 4, "{}", value.len());
        }
        assert!(crate::labels::parse(&kept).is_err());
        assert!(cut("é".repeat(4096), MAX_VALUE_BYTES).len() > MAX_VALUE_BYTES);
        assert_eq!(cut("drop-tcp".to_owned(), MAX_VALUE_BYTES), "drop-tcp");
    }

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

    #[test]
    fn what_a_description_lacks_is_none() {
        let read = |json: &str| serde_json::from_str::<Description>(json).unwrap();
        let web = read(
            r#"{"Id":"c1","State":{"Status":"running","Pid":42,"StartedAt":"2026-01-02T03:04:05Z"},
            "NetworkSettings":{"SandboxKey":"/var/run/docker/netns/s1"}}"#,
        );
        assert_eq!((web.alive, web.pid.map(Pid::get)), (true, Some(42)));
        assert_eq!(web.sandbox_key, Some(PathBuf::from("/var/run/docker/netns/s1")));
        for json in [
            r#"{"Id":"c1"}"#,
            r#"{"Id":"c1","State":null,"NetworkSettings":null}"#,
            r#"{"Id":"c1","State":{"Pid":0,"StartedAt":"0001-01-01T00:00:00Z"}}"#,
            r#"{"Id":"c1","State":{"Pid":2147483648},"NetworkSettings":{"SandboxKey":""}}"#,
        ] {
            let one = read(json);
            assert_eq!((one.pid, one.sandbox_key, one.started_at), (None, None, None), "{json}");
            assert!(!one.alive, "{json}");
        }
    }
}
