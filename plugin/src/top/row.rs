//! One line of the view: a container's interface. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::status::State;

/// What a row is known by from one answer to the next: the container, and its interface.
pub(super) type Key = (String, Option<String>);

/// One interface of a container, or a container that has none. Names are as others chose them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    /// The container's name.
    pub(crate) container: String,
    /// Its full id.
    pub(crate) id: String,
    pub(crate) state: State,
    /// Why it is not `enforced`.
    pub(crate) reason: Option<String>,
    /// The interface's name in the container.
    pub(crate) interface: Option<String>,
    /// The Docker network that it is on.
    pub(crate) network: Option<String>,
    /// The host-side veth.
    pub(crate) host: Option<String>,
    /// What the hooks hold.
    pub(crate) policy: String,
    /// What reached the container.
    #[serde(rename = "in")]
    pub(crate) incoming: Option<Rate>,
    /// What left it.
    #[serde(rename = "out")]
    pub(crate) outgoing: Option<Rate>,
    pub(crate) drops_per_second: Option<f64>,
    /// Packets dropped since the interface is there, by reason.
    pub(crate) dropped: BTreeMap<String, u64>,
}

/// What passed in a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Rate {
    pub(crate) packets_per_second: f64,
    pub(crate) bytes_per_second: f64,
}

impl Row {
    pub(super) fn key(&self) -> Key {
        (self.id.clone(), self.interface.clone())
    }

    /// Packets dropped, for whatever reason.
    pub(crate) fn dropped_packets(&self) -> u64 {
        self.dropped.values().fold(0, |sum, packets| sum.saturating_add(*packets))
    }
}
