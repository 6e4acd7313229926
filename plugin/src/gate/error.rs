//! How the gate fails, each time as a sentence with the way out.

use std::{fmt, io};

use netlink_packet_core::DecodeError;
use nix::errno::Errno;

use super::table::{CAPACITY, TABLE};

/// What the kernel was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read the table, its rules or its sets.
    Look,
    /// Begin or commit a change.
    Commit,
    /// Make the table.
    MakeTable,
    /// Make the sets.
    MakeSets,
    /// Make the chains.
    MakeChains,
    /// Replace the rules.
    MakeRules,
    /// Put ports into a set.
    Let,
    /// Take a port out of a set.
    Expel,
    /// Remove the table.
    Remove,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Look => "read",
            Self::Commit => "change",
            Self::MakeTable => "make",
            Self::MakeSets => "make the sets of",
            Self::MakeChains => "make the chains of",
            Self::MakeRules => "make the rules of",
            Self::Let => "let a port through in",
            Self::Expel => "close a port in",
            Self::Remove => "remove",
        };
        write!(f, "{what} the nftables table bridge {TABLE}")
    }
}

/// Why the gate is not as it was asked to be.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// There is no socket to ask through.
    #[error(
        "open a netfilter socket: strict mode needs a kernel with netfilter and nftables \
             (CONFIG_NETFILTER_NETLINK, CONFIG_NF_TABLES); without it, run without strict mode"
    )]
    Open {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The kernel refused.
    #[error("{operation}{}", hint(*operation, source))]
    Refused {
        /// What was asked.
        operation: Operation,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is a table of this name that someone else made.
    #[error(
        "there is an nftables table bridge {TABLE} that ebpf-netns did not make: if nobody needs \
         it, remove it with `nft delete table bridge {TABLE}`, else run without strict mode"
    )]
    NotOurs,
    /// The table is not there: someone removed it.
    #[error(
        "the nftables table bridge {TABLE} is gone: something removed it, such as \
             `nft flush ruleset`"
    )]
    Missing,
    /// The kernel's answer cannot be read.
    #[error("read the nftables table bridge {TABLE}: the kernel's answer has an unknown form")]
    Unreadable {
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// The kernel gave no answer.
    #[error("{operation}: the kernel did not answer")]
    Unanswered {
        /// What was asked.
        operation: Operation,
    },
    /// Others changed nftables each time between looking and changing.
    #[error("{operation}: others keep changing nftables at the same time; trying again may help")]
    Unsettled {
        /// What was asked.
        operation: Operation,
    },
}

impl GateError {
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

    pub(super) fn is(&self, errno: Errno) -> bool {
        self.errno() == Some(errno)
    }
}

/// What to do about a refusal, after a colon; nothing where only the kernel's own words help.
fn hint(operation: Operation, source: &io::Error) -> String {
    let errno = source.raw_os_error().map(Errno::from_raw);
    let unsupported =
        matches!(errno, Some(Errno::ENOENT | Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS));
    let lacking = match operation {
        Operation::Look | Operation::Commit if unsupported => "nftables (CONFIG_NF_TABLES)",
        Operation::MakeTable | Operation::MakeChains if unsupported => {
            "nftables for bridges (CONFIG_NF_TABLES_BRIDGE)"
        }
        Operation::MakeSets if unsupported => "what its sets are made of (Linux 5.10)",
        Operation::MakeRules if unsupported => {
            "what its rules are made of (Linux 5.10; module nft_meta_bridge if \
             CONFIG_NFT_BRIDGE_META=m)"
        }
        Operation::Let if errno == Some(Errno::ENFILE) => {
            return format!(": {CAPACITY} ports are in the set already, which is the most");
        }
        _ if errno == Some(Errno::EPERM) => {
            return ": CAP_NET_ADMIN in the host's user namespace is needed".to_owned();
        }
        _ => return String::new(),
    };
    format!(": this kernel lacks {lacking}; use one that has it, or run without strict mode")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(operation: Operation, errno: Errno) -> String {
        GateError::Refused { operation, source: errno.into() }.to_string()
    }

    #[test]
    fn a_refusal_tells_what_is_lacking_and_the_way_out() {
        for (operation, errno, expected) in [
            (Operation::Look, Errno::EINVAL, "lacks nftables (CONFIG_NF_TABLES); use"),
            (Operation::Commit, Errno::EOPNOTSUPP, "lacks nftables (CONFIG_NF_TABLES); use"),
            (Operation::MakeChains, Errno::ENOENT, "CONFIG_NF_TABLES_BRIDGE"),
            (Operation::MakeRules, Errno::ENOENT, "nft_meta_bridge"),
            (Operation::MakeSets, Errno::EOPNOTSUPP, "run without strict mode"),
            (Operation::Commit, Errno::EPERM, "CAP_NET_ADMIN"),
            (Operation::Look, Errno::EPERM, "CAP_NET_ADMIN"),
            (Operation::Let, Errno::ENFILE, "16384 ports"),
        ] {
            let said = said(operation, errno);
            assert!(said.contains(expected), "{operation:?} {errno}: {said}");
            assert!(said.contains("bridge ebpf-netns"), "it names the table: {said}");
        }
    }

    #[test]
    fn an_odd_refusal_is_left_to_the_kernels_words() {
        let said = said(Operation::Let, Errno::ENOMEM);
        assert_eq!(said, "let a port through in the nftables table bridge ebpf-netns");
    }
}
