//! What is remembered of a link: enough to tell whether it is still ours, and still right.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::LinkName;
use crate::{NsIdentity, Pid};

/// What a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// A symlink to `/proc/PID/ns/net`. `ip netns del` removes the link and harms nothing.
    Pid,
    /// A symlink to Docker's own namespace file. `ip netns del` unmounts that file and so breaks
    /// the container's networking for good.
    SandboxKey,
    /// A mount of the namespace, as `ip netns attach` makes. It keeps the namespace alive after the
    /// container is gone.
    Bind,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pid => "pid",
            Self::SandboxKey => "sandbox-key",
            Self::Bind => "bind",
        })
    }
}

/// One link, as it was when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The name in `/var/run/netns`.
    pub name: LinkName,
    /// What it leads to.
    pub target: Target,
    /// Where the symlink points, or what was mounted.
    pub path: PathBuf,
    /// The namespace.
    pub namespace: NsIdentity,
    /// The container; `None` for a process that the user named.
    pub container: Option<LinkedContainer>,
    /// The process whose namespace it is. When it has ended, the link is stale.
    pub process: Option<ProcessStamp>,
}

/// The container behind a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkedContainer {
    /// The full id.
    pub id: String,
    /// The name when the link was made; it may have been renamed since.
    pub name: String,
    /// Docker's id for its network stack.
    pub sandbox_id: Option<String>,
}

/// A process, told from a later one with the same id by when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessStamp {
    /// The id.
    pub pid: Pid,
    /// The start time in clock ticks since boot.
    pub start_time: u64,
}

impl Record {
    /// Whether both are about the same container, or else about the same process.
    #[must_use]
    pub fn same_owner(&self, other: &Self) -> bool {
        match (&self.container, &other.container) {
            (Some(ours), Some(theirs)) => ours.id == theirs.id,
            (None, None) => self.process == other.process,
            _ => false,
        }
    }
}
