//! How making and removing links fails.

use std::{io, path::PathBuf};

use super::{BadName, LinkName, Stale};
use crate::{ErrorClass, exit};

/// Why a link could not be made, looked at or removed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] BadName),
    /// Something that is not ours has the name.
    #[error("{} exists and was not made by ebpf-netns: choose another with --name", path.display())]
    Foreign {
        /// What is in the way.
        path: PathBuf,
    },
    /// The name is ours and leads to something else that is alive.
    #[error(
        "link {name} leads to another container that is running: unlink it, or choose another name with --name"
    )]
    Taken {
        /// The name.
        name: LinkName,
    },
    /// A link to the process needs one.
    #[error("the container has no process that is visible here, which --target pid needs")]
    NoProcess,
    /// A link to the sandbox key needs one.
    #[error(
        "the container has no sandbox key of its own (as with --network container:…), which --target sandbox-key needs: use --target pid"
    )]
    NoSandboxKey,
    /// The link was made but does not lead to the namespace that was meant.
    #[error("link {name} was removed again: it did not lead to the container ({reason})")]
    NotRight {
        /// The name.
        name: LinkName,
        /// What is wrong with it.
        reason: Stale,
    },
    /// A file operation failed.
    #[error("{operation} {}", path.display())]
    File {
        /// What was done.
        operation: &'static str,
        /// To what.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A record does not read as one.
    #[error("read record {}: remove it if it is not wanted", path.display())]
    Record {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
}

impl LinkError {
    /// What kind of failure this is.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Name(_)
            | Self::Foreign { .. }
            | Self::Taken { .. }
            | Self::NoSandboxKey
            | Self::Record { .. } => ErrorClass::User,
            Self::NoProcess | Self::NotRight { .. } => ErrorClass::Gone,
            Self::File { source, .. } => ErrorClass::of_io(source),
        }
    }

    /// The exit code that a command ends with because of this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Name(_) => exit::USAGE,
            Self::Record { .. } => exit::BAD_DATA,
            _ => exit::of_class(self.class()),
        }
    }

    pub(super) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::File { operation, path: path.into(), source: source.into() }
    }
}
