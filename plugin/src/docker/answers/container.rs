//! A container of Docker's list.

use std::collections::BTreeMap;
use std::fmt;

use ebpf_netns::docker::NetworkMode;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::labels::{MAX_KEY_BYTES, MAX_VALUE_BYTES, is_ours};

/// How many labels of ours are kept of a container. There are not that many keys: one of these is
/// wrong, and so the container is closed.
const MOST_LABELS: usize = 64;

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
}
