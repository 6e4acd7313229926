//! What the network driver tells the engine of its endpoints, and asks it. Plain data.
//!
//! An endpoint is CNM's word for an interface of a container on a network. The driver makes it, as a
//! veth, before anybody knows whose it will be; the engine closes it before it is plugged in.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ebpf_netns::{Ifindex, MacAddress};
use tokio::sync::{oneshot, watch};

/// An endpoint that the driver made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointFacts {
    /// Docker's id of it.
    pub id: String,
    /// Docker's id of its network.
    pub network: String,
    /// The host-side veth.
    pub host: Ifindex,
    /// The container's addresses there: none else are its own.
    pub mac: MacAddress,
    /// As above.
    pub addresses: Vec<IpAddr>,
    /// The network's policy: options of `docker network create` that are written as labels are.
    pub of_network: BTreeMap<String, String>,
    /// The endpoint's own policy: its `driver-opt`s.
    pub own: BTreeMap<String, String>,
}

/// What the driver tells or asks.
#[derive(Debug)]
pub enum EndpointEvent {
    /// Whether options are understood that are written as labels are; the answer says what is not.
    Check {
        /// The options.
        options: BTreeMap<String, String>,
        /// The answer.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// Whether the engine is there, to close an interface that comes.
    Ready {
        /// The answer.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// A new endpoint, which is to be closed before it is plugged in.
    Arm {
        /// The endpoint.
        endpoint: EndpointFacts,
        /// Whether it is closed, or why it could not be.
        reply: oneshot::Sender<Result<(), String>>,
    },
    /// An endpoint that was there when the daemon started.
    Found(EndpointFacts),
    /// A container joins an endpoint, and waits until what is demanded of it stands there.
    Join {
        /// The host-side veth.
        host: Ifindex,
        /// Takes verdicts until one is final; closed when nobody waits any more.
        reply: watch::Sender<JoinVerdict>,
    },
}

/// Whether a container may join an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinVerdict {
    /// What is demanded there stands.
    Stands,
    /// Nothing is demanded there.
    NothingAsked,
    /// Nobody can tell who joins, since Docker does not answer, as while it starts: nothing passes
    /// until it does.
    Closed(String),
    /// What is demanded does not stand and will not, for this reason.
    Refused(String),
    /// Not known yet, for this reason.
    Undecided(String),
}

impl JoinVerdict {
    /// Whether this is the last word.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        !matches!(self, Self::Undecided(_))
    }
}
