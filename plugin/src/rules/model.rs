//! Rules as they were written. Pure.

use std::num::NonZero;

use serde::{Deserialize, Serialize};

use super::address::AddressRange;
use super::icmp::IcmpType;

/// A direction as the container sees it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// What the container sends; rules say `to`.
    Egress,
    /// What the container receives; rules say `from`.
    Ingress,
}

/// The rules of one direction as one source, a label or the operator, wrote them.
///
/// The first that matches decides; what none matches is denied. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleList(Vec<Rule>);

impl RuleList {
    /// These rules, of which there has to be one.
    #[must_use]
    pub fn new(rules: Vec<Rule>) -> Option<Self> {
        (!rules.is_empty()).then_some(Self(rules))
    }

    /// The rules in their order.
    #[must_use]
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rule> {
        self.0.iter()
    }

    /// One rule; 0 is the first.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<&Rule> {
        self.0.get(position)
    }

    /// How many there are: one at least.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What becomes of what it matches.
    pub action: Action,
    /// Whether a connection that it decides is reported.
    pub log: bool,
    /// Which traffic it matches.
    pub traffic: Traffic,
    /// Whom it is with, any of these; none means anyone. `dns` of an `allow` in egress is with the
    /// container's resolvers instead.
    pub targets: Vec<Target>,
    /// The line of the value where it stands; 1 is the first. Several may stand on one line.
    pub line: NonZero<u32>,
}

/// What becomes of what a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It passes, and so do its replies.
    Allow,
    /// It is dropped.
    Deny,
}

/// Which traffic a rule matches. Ports are the destination's, of the packet that opens a
/// connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Every protocol over IP.
    Any,
    /// UDP and TCP to port 53.
    Dns,
    /// TCP.
    Tcp(Ports),
    /// UDP.
    Udp(Ports),
    /// SCTP.
    Sctp(Ports),
    /// ICMP over IPv4, and ICMPv6 over IPv6.
    Icmp(IcmpTypes),
    /// A protocol by its number, also one that has a word.
    Protocol(u8),
}

/// Ports, in the order in which they were written; none means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports(pub Vec<PortRange>);

/// Ports from one to another, both included; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: NonZero<u16>,
    last: NonZero<u16>,
}

impl PortRange {
    /// From `first` to `last`, which must not be lower.
    #[must_use]
    pub fn new(first: NonZero<u16>, last: NonZero<u16>) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The lowest.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first.get()
    }

    /// The highest.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last.get()
    }
}

/// Types of ICMP messages, in the order in which they were written; none means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IcmpTypes(pub Vec<IcmpType>);

/// Whom traffic is with: the destination in egress, the source in ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Anyone.
    Any,
    /// Addresses.
    Range(AddressRange),
    /// The host's addresses on the container's networks.
    Host,
    /// Private, link-local and shared address space.
    Lan,
    /// Where clouds hand out credentials.
    Metadata,
    /// What is none of host, lan and metadata, and is not reserved for something else.
    Internet,
    /// A container by its name or id.
    Container(Name),
    /// The containers of a Compose or Swarm service.
    Service(Name),
    /// The addresses of a network of Docker's.
    Network(Name),
}

/// The name of something of Docker's: letters, digits, `_`, `.` and `-`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The longest, in bytes.
    pub const MAX_BYTES: usize = 255;

    /// A name, if it can be one.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let valid = (1..=Self::MAX_BYTES).contains(&name.len()) && name.bytes().all(allowed);
        valid.then(|| Self(name.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_plain_characters() {
        for name in ["db", "web.1.x0y", "my_app-db-1", "0", "_", "ABC", &"x".repeat(255)] {
            assert!(Name::new(name).is_some(), "{name}");
        }
        for name in ["", "a b", "a/b", "dé", "a:b", "a,b", "a\0", "\u{1b}", &"x".repeat(256)] {
            assert!(Name::new(name).is_none(), "{name:?}");
        }
    }
}
