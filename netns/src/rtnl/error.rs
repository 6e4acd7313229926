//! How asking rtnetlink fails.

use std::{fmt, io};

use rustix::io::Errno;

use crate::{ErrorClass, Ifindex, NamespaceError, Nsid};

/// What rtnetlink was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `RTM_GETNSID`.
    GetNsid,
    /// `RTM_NEWNSID`.
    AssignNsid,
    /// Dump our own links.
    Links,
    /// Dump another namespace's links.
    LinksIn(Nsid),
    /// Get one of our own links.
    Link(Ifindex),
    /// Get one of another namespace's links.
    LinkIn(Nsid, Ifindex),
    /// Dump our own namespace's addresses.
    Addresses,
    /// Dump another namespace's addresses.
    AddressesIn(Nsid),
    /// Dump the filters of one of our own links.
    Filters(Ifindex),
    /// Add a clsact qdisc to one of our own links.
    AddClsact(Ifindex),
    /// Remove the clsact qdisc of one of our own links.
    RemoveClsact(Ifindex),
    /// Add or replace a filter of one of our own links.
    SetFilter(Ifindex),
    /// Remove a filter of one of our own links.
    RemoveFilter(Ifindex),
    /// Dump the chains of filters of one of our own links.
    Chains(Ifindex),
    /// Add a chain of filters to one of our own links.
    AddChain(Ifindex),
    /// Get one of our own links by its name.
    LinkNamed,
    /// Make a link.
    AddLink,
    /// Remove one of our own links.
    RemoveLink(Ifindex),
    /// Make one of our own links a port of a bridge.
    Plug(Ifindex),
    /// Bring one of our own links up.
    BringUp(Ifindex),
    /// Set `route_localnet` of one of our own links.
    RouteLocalnet(Ifindex),
    /// Let a port of a bridge have back what it sends.
    SetHairpin(Ifindex),
    /// Give one of our own links an address.
    AddAddress(Ifindex),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GetNsid => f.write_str("get the id of a network namespace"),
            Self::AssignNsid => f.write_str("assign an id to a network namespace"),
            Self::Links => f.write_str("list links"),
            Self::LinksIn(nsid) => write!(f, "list links of namespace id {nsid}"),
            Self::Link(index) => write!(f, "get link {index}"),
            Self::LinkIn(nsid, index) => write!(f, "get link {index} of namespace id {nsid}"),
            Self::Filters(index) => write!(f, "list filters of link {index}"),
            Self::AddClsact(index) => write!(f, "add a clsact qdisc to link {index}"),
            Self::SetFilter(index) => write!(f, "set a filter of link {index}"),
            Self::RemoveFilter(index) => write!(f, "remove a filter of link {index}"),
            Self::Chains(index) => write!(f, "list chains of filters of link {index}"),
            Self::AddChain(index) => write!(f, "add a chain of filters to link {index}"),
            Self::RemoveClsact(index) => write!(f, "remove the clsact qdisc of link {index}"),
            Self::LinkNamed => f.write_str("get a link by its name"),
            Self::AddLink => f.write_str("make a link"),
            Self::RemoveLink(index) => write!(f, "remove link {index}"),
            Self::Plug(index) => write!(f, "plug link {index} into a bridge"),
            Self::BringUp(index) => write!(f, "bring link {index} up"),
            Self::RouteLocalnet(index) => write!(f, "set route_localnet of link {index}"),
            Self::SetHairpin(index) => write!(f, "set the hairpin mode of link {index}"),
            Self::AddAddress(index) => write!(f, "give link {index} an address"),
            Self::Addresses => f.write_str("list addresses"),
            Self::AddressesIn(nsid) => write!(f, "list addresses of namespace id {nsid}"),
        }
    }
}

/// Why rtnetlink gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RtnlError {
    /// The socket could not be made ready.
    #[error("open a netlink socket")]
    Open {
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Our own namespace could not be opened.
    #[error("open our own network namespace")]
    Own {
        /// What went wrong.
        #[source]
        source: Box<NamespaceError>,
    },
    /// The kernel refused, or the socket failed.
    #[error("{operation}")]
    Request {
        /// What was asked.
        operation: Operation,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A reply that does not read as the kernel's interface says.
    #[error("{operation}: the {what} in the reply cannot be read")]
    Malformed {
        /// What was asked.
        operation: Operation,
        /// Which part of the reply.
        what: &'static str,
    },
    /// The kernel answered for another namespace than asked for.
    #[error("{operation}: the kernel answered for another namespace (Linux 4.20 is needed)")]
    WrongNamespace {
        /// What was asked.
        operation: Operation,
    },
    /// A list that cannot be empty came back empty.
    #[error("{operation}: the kernel listed nothing")]
    NothingListed {
        /// What was asked.
        operation: Operation,
    },
    /// The list changed under each attempt to read it.
    #[error("{operation}: the list kept changing while it was read")]
    Interrupted {
        /// What was asked.
        operation: Operation,
    },
    /// An id was assigned and taken away again, several times.
    #[error("assign an id to a network namespace: it did not last")]
    NoNsid,
}

impl RtnlError {
    /// What kind of failure this is.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Own { source } => source.class(),
            // EINVAL for a namespace id means that nothing has it: the namespace is gone.
            Self::Request { operation, .. }
                if self.errno() == Some(Errno::INVAL) && operation.has_target() =>
            {
                ErrorClass::Gone
            }
            Self::Open { source } | Self::Request { source, .. } => ErrorClass::of_io(source),
            Self::Interrupted { .. } | Self::NoNsid => ErrorClass::Transient,
            Self::Malformed { .. } | Self::WrongNamespace { .. } | Self::NothingListed { .. } => {
                ErrorClass::Bug
            }
        }
    }

    /// The kernel's error number as a number, if it was the kernel that refused a request.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        self.errno().map(Errno::raw_os_error)
    }

    /// The kernel's error number, if it was the kernel that refused a request.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Request { source, .. } => Errno::from_io_error(source),
            _ => None,
        }
    }
}

impl Operation {
    fn has_target(self) -> bool {
        matches!(self, Self::LinksIn(_) | Self::LinkIn(..) | Self::AddressesIn(_))
    }
}
