//! The labels of a container, of which few are kept.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::facts::Service;
use crate::labels::{MAX_KEY_BYTES, MAX_VALUE_BYTES, is_ours};
use crate::rules::Name;

/// How many labels of ours are kept of a container. There are not that many keys: one of these is
/// wrong, and so the container is closed.
const MOST_LABELS: usize = 64;

/// What is kept.
#[derive(Default)]
pub(super) struct KeptLabels {
    /// The labels that are ours to judge.
    pub(super) ours: BTreeMap<String, String>,
    /// The service that the container is one of.
    pub(super) service: Option<Service>,
}

impl<'de> Deserialize<'de> for KeptLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Labels;
        impl<'de> Visitor<'de> for Labels {
            type Value = KeptLabels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<KeptLabels, A::Error> {
                let mut ours = BTreeMap::new();
                let mut of_service = ServiceLabels::default();
                while let Some(key) = all.next_key::<String>()? {
                    if let Some(place) = of_service.place(&key) {
                        *place = Some(all.next_value()?);
                    } else if ours.len() < MOST_LABELS && is_ours(&key) {
                        let value: String = all.next_value()?;
                        ours.insert(cut(key, MAX_KEY_BYTES), cut(value, MAX_VALUE_BYTES));
                    } else {
                        all.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(KeptLabels { ours, service: of_service.service() })
            }
        }
        deserializer.deserialize_map(Labels)
    }
}

/// What those who make containers write on them.
#[derive(Default)]
struct ServiceLabels {
    swarm_service: Option<String>,
    swarm_stack: Option<String>,
    compose_service: Option<String>,
    compose_project: Option<String>,
}

impl ServiceLabels {
    fn place(&mut self, key: &str) -> Option<&mut Option<String>> {
        match key.strip_prefix("com.docker.")? {
            "swarm.service.name" => Some(&mut self.swarm_service),
            "stack.namespace" => Some(&mut self.swarm_stack),
            "compose.service" => Some(&mut self.compose_service),
            "compose.project" => Some(&mut self.compose_project),
            _ => None,
        }
    }

    /// A service in a stack is `STACK_NAME` to Swarm. What Swarm says comes first: its labels are
    /// the engine's own, the others may have come with an image.
    fn service(self) -> Option<Service> {
        let Self { swarm_service, swarm_stack, compose_service, compose_project } = self;
        if let Some(full) = swarm_service {
            let of_stack = swarm_stack.as_ref().and_then(|stack| {
                let name = full.strip_prefix(stack)?.strip_prefix('_')?;
                named(Some(stack), name)
            });
            return of_stack.or_else(|| named(None, &full));
        }
        named(Some(&compose_project?), &compose_service?)
    }
}

/// A service, if rules can name it.
fn named(project: Option<&String>, name: &str) -> Option<Service> {
    let project = match project {
        Some(project) => Some(Name::new(project)?.as_str().to_owned()),
        None => None,
    };
    Some(Service { project, name: Name::new(name)?.as_str().to_owned() })
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

    fn kept(json: &str) -> KeptLabels {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn many_labels_of_ours_and_long_ones_are_cut_and_still_wrong() {
        let mut labels: BTreeMap<String, String> =
            (0..1000).map(|n| (format!("tc.x{n}"), "é".repeat(1 << 12))).collect();
        labels.insert("tc.".to_owned() + &"k".repeat(1 << 12), String::new());
        let json = serde_json::to_string(&labels).unwrap();
        let ours = kept(&json).ours;
        assert_eq!(ours.len(), MOST_LABELS);
        for (key, value) in &ours {
            assert!(key.len() <= MAX_KEY_BYTES + 4, "{}", key.len());
            assert!(value.len() <= MAX_VALUE_BYTES + 4, "{}", value.len());
        }
        assert!(crate::labels::parse(&ours).is_err());
        assert!(cut("é".repeat(4096), MAX_VALUE_BYTES).len() > MAX_VALUE_BYTES);
        assert_eq!(cut("drop-tcp".to_owned(), MAX_VALUE_BYTES), "drop-tcp");
    }

    #[test]
    fn the_service_is_told_by_compose_and_swarm() {
        let compose = r#""com.docker.compose.project":"shop","com.docker.compose.service":"db""#;
        let stack = r#""com.docker.stack.namespace":"shop""#;
        let swarm = |name: &str| format!(r#""com.docker.swarm.service.name":"{name}""#);
        let (project, long) = (Some("shop"), "x".repeat(256));
        for (labels, expected) in [
            (compose.to_owned(), Some((project, "db"))),
            (format!("{stack},{}", swarm("shop_db")), Some((project, "db"))),
            (format!("{stack},{}", swarm("other_db")), Some((None, "other_db"))),
            (swarm("db"), Some((None, "db"))),
            (format!("{compose},{}", swarm("web")), Some((None, "web"))),
            (stack.to_owned(), None),
            (r#""com.docker.compose.service":"db""#.to_owned(), None),
            (r#""com.docker.compose.project":"shop""#.to_owned(), None),
            (swarm(""), None),
            (swarm("a b"), None),
            (swarm(&long), None),
        ] {
            let service = kept(&format!("{{{labels}}}")).service;
            let found = service.as_ref().map(|one| (one.project.as_deref(), one.name.as_str()));
            assert_eq!(found, expected, "{labels}");
        }
    }
}
