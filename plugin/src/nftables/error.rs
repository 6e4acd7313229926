//! How `nf_tables` fails, as far as it is the same for every table.

use std::io;

use netlink_packet_core::DecodeError;
use nix::errno::Errno;

/// Why nothing came of a question or a change.
#[derive(Debug, thiserror::Error)]
pub enum NfError {
    /// There is no socket to ask through.
    #[error("open a netfilter socket")]
    Open {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused.
    #[error("nf_tables refuses")]
    Refused {
        /// Which command of a change, counted from 0; `None` where that is not known.
        command: Option<usize>,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel's answer cannot be read.
    #[error("the answer of nf_tables has an unknown form")]
    Unreadable {
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The kernel gave no answer.
    #[error("nf_tables does not answer")]
    Unanswered,
    /// A list changed under each attempt to read it.
    #[error("others keep changing nftables at the same time; trying again may help")]
    Unsettled,
}

impl NfError {
    /// The kernel's error number, if it was the kernel that refused.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Open { source } | Self::Refused { source, .. } => {
                source.raw_os_error().map(Errno::from_raw)
            }
            _ => None,
        }
    }

    pub(crate) fn is(&self, errno: Errno) -> bool {
        self.errno() == Some(errno)
    }
}
