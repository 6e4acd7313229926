//! Questions to rtnetlink, asked and answered at once.
//!
//! The kernel answers rtnetlink requests from within `send`, so a blocking socket never waits for
//! long and there is no runtime in here: this can be used from anywhere. It is built on the socket
//! and the message framing of the rtnetlink crates but reads the replies itself, because
//! a container with `CAP_NET_ADMIN` chooses the names of its interfaces: the ready-made client
//! drops a message whose name is not UTF-8, and an interface that is not seen is one that no policy
//! is put on.
//!
//! Must not use sysfs, which shows the namespace that it was mounted in, and must not enter one.

mod clsact;
mod error;
mod making;
mod socket;
mod wire;

use std::{
    cell::RefCell,
    net::IpAddr,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd},
};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{LinkAttribute, LinkExtentMask, LinkMessage},
    nsid::{NsidAttribute, NsidMessage},
};
use rustix::io::Errno;

pub use error::{Operation, RtnlError};
pub use making::{NewBridge, NewVeth};
use socket::Socket;
pub(crate) use wire::{Datagram, LinkMessageKind, ParsedLink, parse_filter_link, parse_link};

use crate::{Ifindex, Link, Namespace, Nsid, Process};

/// How often an interrupted dump is begun again.
const DUMP_ATTEMPTS: u32 = 16;

/// How often an id is asked for and assigned, in case it is taken away in between.
const NSID_ATTEMPTS: u32 = 4;

/// Which way a frame goes at a link: into the host from it, or out of the host through it. At the
/// host's end of a veth pair, ingress is what the container sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the host.
    Ingress,
    /// Out of the host.
    Egress,
}

/// An eBPF program attached as a traffic control filter (`clsact`). Those attached as TCX are not
/// visible in rtnetlink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BpfFilter {
    /// Which of the filters of its priority it is.
    pub handle: u32,
    /// Filters of lower numbers run first.
    pub priority: u16,
    /// The kernel's id for the program.
    pub program_id: u32,
    /// The name that was given to the filter.
    pub name: String,
    /// The hash of the program, in hexadecimal.
    pub tag: Option<String>,
}

/// An eBPF program to be attached as a traffic control filter with direct action.
#[derive(Clone, Copy, Debug)]
pub struct NewBpfFilter<'a> {
    /// Which way.
    pub direction: Direction,
    /// Filters of lower numbers run first.
    pub priority: u16,
    /// Which of the filters of its priority it is.
    pub handle: u32,
    /// The loaded program, of type `BPF_PROG_TYPE_SCHED_CLS`.
    pub program: BorrowedFd<'a>,
    /// What the filter is called in lists.
    pub name: &'a str,
}

/// A connection to rtnetlink in the namespace of the thread that opened it.
///
/// Needs Linux 4.20 (`NETLINK_GET_STRICT_CHK`). It is not [`Sync`]: each thread has its own.
#[derive(Debug)]
pub struct Rtnl {
    // Replaced where a list broke off: the kernel goes on with that on the old one.
    socket: RefCell<Socket>,
    own: Namespace,
}

impl Rtnl {
    /// Connects.
    ///
    /// # Errors
    ///
    /// When the socket cannot be made, or our own namespace cannot be opened.
    pub fn open() -> Result<Self, RtnlError> {
        let own = Namespace::own().map_err(|source| RtnlError::Own { source: Box::new(source) })?;
        Ok(Self { socket: RefCell::new(Socket::open()?), own })
    }

    /// The namespace that this connection is in: the host's.
    #[must_use]
    pub fn own(&self) -> &Namespace {
        &self.own
    }

    /// The id that our namespace has for another one; one is assigned if there is none, for which
    /// `CAP_NET_ADMIN` is needed. It is good for as long as `namespace` is held.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn nsid(&self, namespace: &Namespace) -> Result<Nsid, RtnlError> {
        self.nsid_by(|| fd_attribute(namespace.as_fd()))
    }

    /// The id that our own namespace has for that of a process, as [`Rtnl::nsid`]; unlike opening
    /// `/proc/PID/ns/net`, this takes no `CAP_SYS_PTRACE`.
    ///
    /// It is good while something keeps the namespace, such as a veth into it from ours: whether
    /// the process was still there has to be checked afterwards.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or there is no such process.
    pub fn nsid_of_process(&self, process: &Process) -> Result<Nsid, RtnlError> {
        self.nsid_by(|| NsidAttribute::Pid(process.pid().get().unsigned_abs()))
    }

    fn nsid_by(&self, which: impl Fn() -> NsidAttribute) -> Result<Nsid, RtnlError> {
        for _ in 0..NSID_ATTEMPTS {
            if let Some(nsid) = get_nsid(&self.socket.borrow(), which())? {
                return Ok(nsid);
            }
            match self.assign_nsid(which()) {
                // Someone else assigned one just now.
                Err(error) if error.errno() == Some(Errno::EXIST) => {}
                assigned => assigned?,
            }
        }
        Err(RtnlError::NoNsid)
    }

    /// The id that our own namespace has for itself: what a container's veth shows as the place of
    /// its peer.
    ///
    /// # Errors
    ///
    /// As [`Rtnl::nsid`].
    pub fn own_nsid(&self) -> Result<Nsid, RtnlError> {
        self.nsid(&self.own)
    }

    /// The links of our own namespace.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or the list kept changing.
    pub fn links(&self) -> Result<Vec<Link>, RtnlError> {
        self.dump_links(Operation::Links, None)
    }

    /// The links of another namespace, without entering it. Needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or the list kept changing. An empty list is never returned: every
    /// namespace has a loopback device.
    pub fn links_in(&self, nsid: Nsid) -> Result<Vec<Link>, RtnlError> {
        let operation = Operation::LinksIn(nsid);
        let links = self.dump_links(operation, Some(nsid))?;
        if links.is_empty() { Err(RtnlError::NothingListed { operation }) } else { Ok(links) }
    }

    /// One link of our own namespace, or `None` if there is none with this index.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn link(&self, index: Ifindex) -> Result<Option<Link>, RtnlError> {
        self.get_link(Operation::Link(index), None, index)
    }

    /// One link of another namespace, or `None` if there is none with this index there.
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub fn link_in(&self, nsid: Nsid, index: Ifindex) -> Result<Option<Link>, RtnlError> {
        self.get_link(Operation::LinkIn(nsid, index), Some(nsid), index)
    }

    /// The addresses of our own namespace's links, each with its prefix length.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or the list kept changing.
    pub fn addresses(&self) -> Result<Vec<(Ifindex, IpAddr, u8)>, RtnlError> {
        self.dump_addresses(Operation::Addresses, None)
    }

    /// The addresses of another namespace's links, each with its prefix length.
    ///
    /// # Errors
    ///
    /// When the kernel refuses, or the list kept changing.
    pub fn addresses_in(&self, nsid: Nsid) -> Result<Vec<(Ifindex, IpAddr, u8)>, RtnlError> {
        self.dump_addresses(Operation::AddressesIn(nsid), Some(nsid))
    }

    fn dump_addresses(
        &self,
        operation: Operation,
        target: Option<Nsid>,
    ) -> Result<Vec<(Ifindex, IpAddr, u8)>, RtnlError> {
        let mut addresses = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = AddressMessage::default();
            message.header.family = family;
            let attribute = target.map(|nsid| AddressAttribute::TargetNetNsId(nsid.get()));
            message.attributes.extend(attribute);
            let request = RouteNetlinkMessage::GetAddress(message);
            let replies = self.dump(operation, &request)?;
            for payload in replies {
                let address = wire::parse_address(&payload).map_err(|wire::Malformed| {
                    RtnlError::Malformed { operation, what: "address" }
                })?;
                if address.family != u8::from(family) {
                    continue;
                }
                if address.target != target {
                    return Err(RtnlError::WrongNamespace { operation });
                }
                addresses.extend(address.entry);
            }
        }
        Ok(addresses)
    }

    fn dump_links(
        &self,
        operation: Operation,
        target: Option<Nsid>,
    ) -> Result<Vec<Link>, RtnlError> {
        let request = RouteNetlinkMessage::GetLink(link_request(target));
        let replies = self.dump(operation, &request)?;
        replies.iter().map(|payload| checked_link(operation, payload, target)).collect()
    }

    fn get_link(
        &self,
        operation: Operation,
        target: Option<Nsid>,
        index: Ifindex,
    ) -> Result<Option<Link>, RtnlError> {
        let mut message = link_request(target);
        message.header.index = index.get();
        let request = RouteNetlinkMessage::GetLink(message);
        let reply = self.socket.borrow().get(operation, &request);
        let payload = match reply {
            Err(error) if error.errno() == Some(Errno::NODEV) => return Ok(None),
            reply => reply?,
        };
        let link = checked_link(operation, &payload, target)?;
        if link.index == index {
            Ok(Some(link))
        } else {
            Err(RtnlError::Malformed { operation, what: "interface index" })
        }
    }

    fn assign_nsid(&self, which: NsidAttribute) -> Result<(), RtnlError> {
        // -1 asks the kernel for a free one.
        let attributes = vec![which, NsidAttribute::Id(-1)];
        let mut message = NsidMessage::default();
        message.attributes = attributes;
        self.socket.borrow().change(Operation::AssignNsid, &RouteNetlinkMessage::NewNsId(message))
    }

    /// Dumps, and begins again if the kernel says that the list changed meanwhile.
    fn dump(
        &self,
        operation: Operation,
        request: &RouteNetlinkMessage,
    ) -> Result<Vec<Vec<u8>>, RtnlError> {
        for _ in 0..DUMP_ATTEMPTS {
            let answer = self.socket.borrow().dump(operation, request);
            match answer {
                Err(error) if matches!(error.errno(), Some(Errno::NOBUFS | Errno::BUSY)) => {
                    self.socket.replace(Socket::open()?);
                }
                Err(error) => return Err(error),
                Ok(Some(replies)) => return Ok(replies),
                Ok(None) => {}
            }
        }
        Err(RtnlError::Interrupted { operation })
    }
}

/// Asks the kernel whether a namespace file is of the network kind: it gives ids to no other.
///
/// Needs no capability. (`/proc/self/fd/N` would not tell: for a bind mount it shows the path.)
pub(crate) fn is_network_namespace(file: BorrowedFd<'_>) -> Result<bool, RtnlError> {
    match get_nsid(&Socket::open()?, fd_attribute(file)) {
        Ok(_) => Ok(true),
        Err(error) if error.errno() == Some(Errno::INVAL) => Ok(false),
        Err(error) => Err(error),
    }
}

fn get_nsid(socket: &Socket, which: NsidAttribute) -> Result<Option<Nsid>, RtnlError> {
    let operation = Operation::GetNsid;
    let mut message = NsidMessage::default();
    message.attributes.push(which);
    let payload = socket.get(operation, &RouteNetlinkMessage::GetNsId(message))?;
    let nsid = wire::parse_nsid(&payload)
        .map_err(|wire::Malformed| RtnlError::Malformed { operation, what: "namespace id" })?;
    Ok(Nsid::new(nsid))
}

fn fd_attribute(namespace: BorrowedFd<'_>) -> NsidAttribute {
    NsidAttribute::Fd(namespace.as_raw_fd().cast_unsigned())
}

fn link_request(target: Option<Nsid>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.extend(target.map(|nsid| LinkAttribute::IfNetnsId(nsid.get())));
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    message
}

/// Reads one reply, and makes sure that the kernel looked where it was asked to: one that does not
/// know the attribute would list our own namespace.
fn checked_link(
    operation: Operation,
    payload: &[u8],
    target: Option<Nsid>,
) -> Result<Link, RtnlError> {
    let parsed = parse_link(payload)
        .map_err(|wire::Malformed| RtnlError::Malformed { operation, what: "link" })?;
    if parsed.target == target {
        Ok(parsed.link)
    } else {
        Err(RtnlError::WrongNamespace { operation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LinkKind;

    #[test]
    fn own_namespace_lists_its_loopback() {
        let rtnl = Rtnl::open().unwrap();
        let links = rtnl.links().unwrap();
        let loopback = links.iter().find(|link| link.kind == LinkKind::Loopback).unwrap();
        assert_eq!(loopback.index.get(), 1);
        assert_eq!(rtnl.link(loopback.index).unwrap().as_ref(), Some(loopback));
    }

    #[test]
    fn own_addresses_are_those_of_own_links() {
        let rtnl = Rtnl::open().unwrap();
        let links = rtnl.links().unwrap();
        let addresses = rtnl.addresses().unwrap();
        let loopback = links.iter().find(|link| link.kind == LinkKind::Loopback).unwrap();
        let has_own = addresses.contains(&(loopback.index, IpAddr::from([127, 0, 0, 1]), 8));
        assert!(has_own || !loopback.up, "{addresses:?}");
    }

    #[test]
    fn an_index_without_a_link_is_none_and_not_an_error() {
        let absent = Ifindex::try_from(0x7fff_fff0).unwrap();
        assert_eq!(Rtnl::open().unwrap().link(absent).unwrap(), None);
    }

    /// Trap T18: a lookup that fails must not read as "there is nothing".
    #[test]
    fn t18_an_unknown_namespace_is_an_error_and_not_empty() {
        let rtnl = Rtnl::open().unwrap();
        let unknown = Nsid::new(0x7fff_fff0).unwrap();
        for result in [
            rtnl.links_in(unknown).map(|_| ()),
            rtnl.link_in(unknown, Ifindex::try_from(1).unwrap()).map(|_| ()),
            rtnl.addresses_in(unknown).map(|_| ()),
        ] {
            let error = result.unwrap_err();
            assert!(error.to_string().contains("2147483632"), "{error}");
        }
    }
}
