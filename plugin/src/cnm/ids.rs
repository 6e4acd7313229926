//! Docker's ids of networks and endpoints, and the names that follow from them. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::NAME;

/// How much of an id is in a name: the kernel's names have 15 bytes.
const SHOWN: usize = 11;
/// What the names of bridges begin with.
pub(super) const BRIDGE: &str = "ebn-";
/// What the names of the host's ends of veths begin with.
const HOST_SIDE: &str = "ebv-";
/// What the names of the other ends begin with while they are on the host.
const CONTAINER_SIDE: &str = "ebp-";

/// An id of Docker's: hexadecimal digits, so that it can be part of a name and of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Id(String);

/// What is no id of Docker's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{:?} is no id: expected {SHOWN} to 64 hexadecimal digits", .0)]
pub struct InvalidId(String);

impl Id {
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The bridge of this network.
    pub(super) fn bridge(&self) -> String {
        named(BRIDGE, &self.0)
    }

    /// The host's end of this endpoint.
    pub(super) fn host_side(&self) -> String {
        named(HOST_SIDE, &self.0)
    }

    /// The other end of this endpoint, until a sandbox gets it.
    pub(super) fn container_side(&self) -> String {
        named(CONTAINER_SIDE, &self.0)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.get(..12).unwrap_or(&self.0))
    }
}

impl TryFrom<String> for Id {
    type Error = InvalidId;

    fn try_from(id: String) -> Result<Self, InvalidId> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if (SHOWN..=64).contains(&id.len()) && id.bytes().all(is_digit) {
            Ok(Self(id))
        } else {
            Err(InvalidId(id.chars().take(64).collect()))
        }
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

fn named(beginning: &str, id: &str) -> String {
    format!("{beginning}{}", id.get(..SHOWN).unwrap_or(id))
}

/// The name of the bridge of a network of our driver.
#[must_use]
pub fn bridge_of(network: &str) -> Option<String> {
    Id::try_from(network.to_owned()).ok().map(|id| id.bridge())
}

/// Whether this is the name of a bridge of our driver.
#[must_use]
pub fn is_bridge(name: &str) -> bool {
    has_beginning(name, BRIDGE)
}

/// Whether this is the name of the host's end of an endpoint of our driver.
pub(super) fn is_host_side(name: &str) -> bool {
    has_beginning(name, HOST_SIDE)
}

fn has_beginning(name: &str, beginning: &str) -> bool {
    let rest = name.strip_prefix(beginning);
    rest.is_some_and(|id| id.len() == SHOWN && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Whether Docker calls our driver so: `ebpf-netns`, or as a managed plugin by the whole name of its
/// image, such as `registry/ebpf-netns:latest`.
#[must_use]
pub fn is_driver(name: &str) -> bool {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next() == Some(NAME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel_and_are_known_again() {
        let id = Id::try_from("0123456789abcdef".repeat(4)).unwrap();
        for name in [id.bridge(), id.host_side(), id.container_side()] {
            assert_eq!(name.len(), 15, "{name}");
        }
        assert!(is_bridge(&id.bridge()) && is_host_side(&id.host_side()));
        assert_eq!(bridge_of(id.as_str()).as_deref(), Some("ebn-0123456789a"));
        for other in ["ebn-", "ebn-web", "br-0123456789ab", "ebn-0123456789ag", "docker0"] {
            assert!(!is_bridge(other), "{other}");
        }
    }

    #[test]
    fn what_could_lead_out_of_a_directory_is_no_id() {
        for id in ["", "../../../../etc/passwd", "0123456789", "0123456789ABCDEF", "0123456789a/"] {
            assert!(Id::try_from(id.to_owned()).is_err(), "{id:?}");
        }
    }

    #[test]
    fn the_driver_is_known_by_its_name_and_as_a_managed_plugin() {
        for name in ["ebpf-netns", "ebpf-netns:latest", "localhost:5000/me/ebpf-netns:1.0"] {
            assert!(is_driver(name), "{name}");
        }
        for name in ["bridge", "", "ebpf-netns2", "ebpf-netns/other:latest"] {
            assert!(!is_driver(name), "{name}");
        }
    }
}
