//! Where a part of a policy was written, so that people find it. Pure.

use std::fmt;
use std::path::PathBuf;

use ebpf_netns::text::printable;
use serde::{Deserialize, Serialize};

/// Where rules or presets were written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Who wrote it.
    pub author: Author,
    /// The key whose value it is: `tc.egress`.
    pub key: String,
    /// The operator's policy that the value names; what is meant then stands there.
    pub policy: Option<NamedOrigin>,
}

/// Who wrote a part of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Author {
    /// A container's labels have it.
    Labels {
        /// The container's name.
        container: String,
    },
    /// The operator's policy of every container has it.
    Default {
        /// The configuration.
        file: Option<PathBuf>,
    },
    /// An option of the network has it: `docker network create -o`.
    Network {
        /// The network's short id.
        network: String,
    },
    /// An option of the container's endpoint has it: `docker run --network name=…,driver-opt=…`.
    Endpoint {
        /// The network's short id.
        network: String,
    },
}

/// A part of an operator's policy that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedOrigin {
    /// The policy's name.
    pub name: String,
    /// The key in its file: `policy`, `egress` or `ingress`.
    pub key: String,
    /// The file.
    pub file: Option<PathBuf>,
}

impl Origin {
    /// As it is told of a container: whose label it is need not be said of its own.
    #[must_use]
    pub fn seen_by(&self, container: &str) -> impl fmt::Display {
        let Self { author, key, policy } = self;
        fmt::from_fn(move |f| {
            match author {
                Author::Labels { container: whose } if whose == container => {
                    write!(f, "label {key}")?;
                }
                Author::Labels { container: whose } => {
                    write!(f, "label {key} of {}", printable(whose))?;
                }
                Author::Network { network } => write!(f, "option {key} of network {network}")?,
                Author::Endpoint { network } => {
                    write!(f, "driver-opt {key} on network {network}")?;
                }
                Author::Default { file: None } => write!(f, "[default] {key}")?,
                Author::Default { file: Some(file) } => {
                    write!(f, "[default] {key} ({})", printable(&file.to_string_lossy()))?;
                }
            }
            let Some(NamedOrigin { name, key, file }) = policy else { return Ok(()) };
            write!(f, ", {key} of policy {name}")?;
            match file {
                Some(file) => write!(f, " ({})", printable(&file.to_string_lossy())),
                None => Ok(()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_to_look() {
        let labels = Author::Labels { container: "web".to_owned() };
        let label = Origin { author: labels, key: "tc.policy".to_owned(), policy: None };
        let file = Some(PathBuf::from("/etc/p/strict.toml"));
        let (name, key) = ("strict".to_owned(), "egress".to_owned());
        let named = Origin { policy: Some(NamedOrigin { name, key, file }), ..label.clone() };
        let author = Author::Default { file: Some("/etc/c.toml".into()) };
        let default = Origin { author, ..label.clone() };
        for (origin, container, expected) in [
            (&label, "web", "label tc.policy"),
            (&label, "side\u{1b}car", "label tc.policy of web"),
            (&named, "web", "label tc.policy, egress of policy strict (/etc/p/strict.toml)"),
            (&default, "web", "[default] tc.policy (/etc/c.toml)"),
        ] {
            assert_eq!(origin.seen_by(container).to_string(), expected);
        }
    }
}
