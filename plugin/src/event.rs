//! What the sources tell the engine.

use ebpf_netns::monitor::LinkEvent;
use plugin_common::report::PacketRecord;
use tokio::sync::oneshot;

use crate::endpoint::EndpointEvent;
use crate::explain::ExplainAsked;
use crate::facts::Snapshot;
use crate::kernel::{Done, Loaded};
use crate::listing::StandingRules;
use crate::metrics::Sample;
use crate::reload::Reload;
use crate::sandbox::Confinement;
use crate::start::StartAsked;
use crate::status::Status;
use crate::watch::WatchAsked;

/// What a source has to tell.
#[derive(Debug)]
pub enum Event {
    /// From Docker.
    Docker(DockerNews),
    /// From the kernel, about links.
    Links(Vec<LinkEvent>),
    /// The daemon has given up all that it can do without.
    Confined(Confinement),
    /// From the kernel programs: a report of the `log` preset.
    Packet(PacketRecord),
    /// Somebody wants to know.
    Status(oneshot::Sender<Status>),
    /// Somebody measures.
    Metrics(oneshot::Sender<Sample>),
    /// Somebody wants to know the rules of every interface.
    Rules(oneshot::Sender<Vec<StandingRules>>),
    /// Somebody wants to know what becomes of a packet of a container.
    Explain(ExplainAsked),
    /// Somebody wants to watch interfaces.
    Watch(WatchAsked),
    /// Somebody does not watch any more.
    Unwatched,
    /// A container is about to start, and its runtime asks whether it may.
    Start(StartAsked),
    /// From the network driver, about an endpoint of its own.
    Endpoint(EndpointEvent),
    /// The configuration was loaded again, or could not be.
    Reload(Box<Reload>),
    /// The kernel is done with something that took it long.
    Done(Done),
    /// The kernel has closed a new interface, or could not.
    Guarded(Done),
    /// A program of the operator's was loaded for a container, or could not be.
    Loaded(Box<Loaded>),
    /// Time has passed: what failed is tried again.
    Tick,
    /// End.
    Stop,
}

/// News from Docker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerNews {
    /// Docker answers; its API version.
    Connected(String),
    /// What there is, all of it.
    Seen(Snapshot),
    /// Docker does not answer, for this reason; what was known stays.
    Unreachable(String),
}
