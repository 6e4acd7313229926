//! What the engine hands out to be measured, as plain data.

use std::time::SystemTime;

use crate::kernel::CountedAt;
use crate::status::{Counts, State};

/// Everything, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Whether Docker answers.
    pub docker_reachable: bool,
    /// Whether strict mode is on.
    pub strict: bool,
    /// Whether the configuration that was loaded last is the one that holds.
    pub config_taken: bool,
    /// When the one that holds was loaded.
    pub config_since: SystemTime,
    /// Interfaces that are closed until it is known whose they are.
    pub quarantined: usize,
    /// Interfaces on which something that takes the kernel long is left to do.
    pub backlog: usize,
    /// What happened since the start.
    pub counts: Counts,
    /// The containers that have a policy, in no order.
    pub containers: Vec<ContainerSample>,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerSample {
    /// The full id.
    pub id: String,
    /// The name, as Docker says it.
    pub name: String,
    /// What its labels amount to.
    pub state: State,
    /// Its interfaces that have an end on the host.
    pub interfaces: Vec<InterfaceSample>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceSample {
    /// Its name in the container, which the container may choose.
    pub name: String,
    /// Where its traffic is counted: once for each hook with a program of ours.
    pub counted: Vec<CountedAt>,
}
