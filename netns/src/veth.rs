//! From a container's namespace to the host-side end of each of its veth pairs.
//!
//! Decided from what both ends say and nothing else: names, `iflink` alone, sysfs and ethtool all
//! give a bare number that may be any other link of the host. A container with `CAP_NET_ADMIN` can
//! make an `eth0` that points anywhere, but it cannot make a host's link point back.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::{ErrorClass, Ifindex, Link, LinkKind, Namespace, Nsid, Rtnl, RtnlError};

/// Both ends of a veth pair, of which one is in a container and one on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VethPair {
    /// The end in our own namespace.
    pub host: Link,
    /// The end in the container.
    pub container: Link,
    /// The container's namespace, as ours numbers it while that namespace is held open.
    pub nsid: Nsid,
}

/// A network interface of a container, other than its loopback device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Interface {
    /// One that has an end on the host.
    Veth(Box<VethPair>),
    /// One that the host has no end of: nothing on the host sees its traffic alone.
    NoHostSide {
        /// The interface in the container.
        link: Box<Link>,
        /// Why the host has no end of it.
        reason: NoHostSide,
    },
}

impl Interface {
    /// The interface's end in the container.
    #[must_use]
    pub fn container(&self) -> &Link {
        match self {
            Self::Veth(pair) => &pair.container,
            Self::NoHostSide { link, .. } => link,
        }
    }
}

/// Why the host has no end of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoHostSide {
    /// It sits on a NIC that it shares with the host and with others (macvlan, ipvlan, vlan).
    Parent(LinkKind),
    /// It is of a kind that has no other end.
    Kind(LinkKind),
    /// Its other end is in the same namespace.
    PeerInside,
    /// Its other end is in a namespace that is neither the container's nor ours (overlay networks).
    PeerElsewhere(Nsid),
    /// It names no other end.
    NoPeer,
    /// The host has no link with the index that it names.
    HostLinkMissing(Ifindex),
    /// The host's link with the index that it names belongs to something else: the interface was
    /// forged, or changed while it was looked at.
    BackLinkDisagrees(Ifindex),
}

impl fmt::Display for NoHostSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parent(kind) => write!(f, "{kind}: it shares a parent interface of the host"),
            Self::Kind(kind) => write!(f, "{kind}: this kind has no other end"),
            Self::PeerInside => f.write_str("both ends of the veth pair are in the container"),
            Self::PeerElsewhere(nsid) => {
                write!(f, "the other end is in a third namespace (id {nsid}), as with overlay")
            }
            Self::NoPeer => f.write_str("the veth names no other end"),
            Self::HostLinkMissing(index) => {
                write!(f, "the host has no interface {index}, which the veth names")
            }
            Self::BackLinkDisagrees(index) => {
                write!(f, "interface {index} of the host does not belong to it: forged or changing")
            }
        }
    }
}

impl Serialize for NoHostSide {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why host-side veths could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum VethError {
    /// The namespace is the host's own, as with `--network host`.
    #[error("the container shares the host's network namespace, so it has no interface of its own")]
    HostNamespace,
    /// rtnetlink gave no answer.
    #[error("look up host-side interfaces")]
    Rtnl(#[from] RtnlError),
    /// The pair is not, or no longer, what it was found to be.
    #[error("{container} and host interface {host} are no longer one veth pair: {reason}")]
    Changed {
        /// The name of the container's end, escaped.
        container: String,
        /// The index of the host's end.
        host: Ifindex,
        /// What is wrong.
        reason: NoHostSide,
    },
    /// The container's end of the pair is gone.
    #[error("the container's interface {index} is gone")]
    Gone {
        /// Its index in the container.
        index: Ifindex,
    },
}

impl VethError {
    /// What kind of failure this is.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::HostNamespace => ErrorClass::User,
            Self::Rtnl(error) => error.class(),
            Self::Changed { .. } | Self::Gone { .. } => ErrorClass::Gone,
        }
    }
}

/// Every interface of a namespace but its loopback device, in the order of their indices.
///
/// `namespace` must be held for as long as the result is used: its id is only good till then.
///
/// # Errors
///
/// When it is the host's own namespace, or rtnetlink gives no answer. A failed lookup is never an
/// empty list.
pub fn interfaces(rtnl: &Rtnl, namespace: &Namespace) -> Result<Vec<Interface>, VethError> {
    if namespace.is_same_as(rtnl.own()) {
        return Err(VethError::HostNamespace);
    }
    interfaces_in(rtnl, rtnl.nsid(namespace)?)
}

/// As [`interfaces`], for a namespace that is known by its id alone: that of the peer of a host's
/// veth, before it is known whose it is. The id is only good while that veth is there.
///
/// # Errors
///
/// As [`interfaces`].
pub fn interfaces_in(rtnl: &Rtnl, nsid: Nsid) -> Result<Vec<Interface>, VethError> {
    let own = rtnl.own_nsid()?;
    if nsid == own {
        return Err(VethError::HostNamespace);
    }
    let mut links = rtnl.links_in(nsid)?;
    links.sort_by_key(|link| link.index);
    links
        .into_iter()
        .filter(|link| link.kind != LinkKind::Loopback)
        .map(|link| Ok(pair(rtnl, link, nsid, own)?.into()))
        .collect()
}

/// Looks at both ends of a pair again, for after something was attached by index: an index names
/// another link once the first is gone.
///
/// The namespace that the pair was found in must still be held.
///
/// # Errors
///
/// [`VethError::Changed`] or [`VethError::Gone`] when they are no longer one pair.
pub fn verify(rtnl: &Rtnl, expected: &VethPair) -> Result<VethPair, VethError> {
    let index = expected.container.index;
    let link = rtnl.link_in(expected.nsid, index)?.ok_or(VethError::Gone { index })?;
    let changed = |reason| VethError::Changed {
        container: crate::text::printable(&expected.container.name).to_string(),
        host: expected.host.index,
        reason,
    };
    match pair(rtnl, link, expected.nsid, rtnl.own_nsid()?)? {
        Ok(found) if found.host.index == expected.host.index => Ok(found),
        Ok(found) => Err(changed(NoHostSide::BackLinkDisagrees(found.host.index))),
        Err((_, reason)) => Err(changed(reason)),
    }
}

type Found = Result<VethPair, (Link, NoHostSide)>;

impl From<Found> for Interface {
    fn from(found: Found) -> Self {
        match found {
            Ok(pair) => Self::Veth(Box::new(pair)),
            Err((link, reason)) => Self::NoHostSide { link: Box::new(link), reason },
        }
    }
}

fn pair(rtnl: &Rtnl, container: Link, nsid: Nsid, own: Nsid) -> Result<Found, RtnlError> {
    let index = match claimed_host_index(&container, nsid, own) {
        Ok(index) => index,
        Err(reason) => return Ok(Err((container, reason))),
    };
    let host = rtnl.link(index)?;
    Ok(match check_back_link(host, &container, index, nsid) {
        Ok(host) => Ok(VethPair { host, container, nsid }),
        Err(reason) => Err((container, reason)),
    })
}

/// The index on the host that a container's link says its other end has. `own` is the id that our
/// namespace has for itself.
fn claimed_host_index(container: &Link, nsid: Nsid, own: Nsid) -> Result<Ifindex, NoHostSide> {
    match &container.kind {
        LinkKind::Veth => {}
        kind @ (LinkKind::Macvlan | LinkKind::Ipvlan | LinkKind::Vlan) => {
            return Err(NoHostSide::Parent(kind.clone()));
        }
        kind => return Err(NoHostSide::Kind(kind.clone())),
    }
    match container.peer_nsid {
        None => Err(NoHostSide::PeerInside),
        Some(peer) if peer == own => container.peer_index.ok_or(NoHostSide::NoPeer),
        Some(peer) if peer == nsid => Err(NoHostSide::PeerInside),
        Some(peer) => Err(NoHostSide::PeerElsewhere(peer)),
    }
}

/// Whether the host's link with that index says, for its part, that it belongs to the container's.
fn check_back_link(
    host: Option<Link>,
    container: &Link,
    index: Ifindex,
    nsid: Nsid,
) -> Result<Link, NoHostSide> {
    let host = host.ok_or(NoHostSide::HostLinkMissing(index))?;
    let agrees = host.kind == LinkKind::Veth
        && host.peer_index == Some(container.index)
        && host.peer_nsid == Some(nsid);
    if agrees { Ok(host) } else { Err(NoHostSide::BackLinkDisagrees(index)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NSID: i32 = 4;
    const OWN: i32 = 9;

    fn index(value: u32) -> Ifindex {
        value.try_into().unwrap()
    }

    fn nsid(value: i32) -> Nsid {
        Nsid::new(value).unwrap()
    }

    fn link(own: u32, kind: LinkKind, peer: Option<u32>, peer_nsid: Option<i32>) -> Link {
        Link {
            index: index(own),
            name: format!("if{own}"),
            kind,
            mac: None,
            peer_index: peer.map(index),
            peer_nsid: peer_nsid.map(nsid),
            master: None,
            mtu: 1500,
            up: true,
            carrier: true,
            xdp: None,
        }
    }

    #[test]
    fn only_a_veth_whose_peer_is_ours_names_a_host_index() {
        let parent = |kind: LinkKind| Err(NoHostSide::Parent(kind));
        let cases = [
            (link(2, LinkKind::Veth, Some(7), Some(OWN)), Ok(index(7))),
            (link(2, LinkKind::Veth, None, Some(OWN)), Err(NoHostSide::NoPeer)),
            (link(2, LinkKind::Veth, Some(3), None), Err(NoHostSide::PeerInside)),
            (link(2, LinkKind::Veth, Some(3), Some(NSID)), Err(NoHostSide::PeerInside)),
            (link(2, LinkKind::Veth, Some(7), Some(5)), Err(NoHostSide::PeerElsewhere(nsid(5)))),
            (link(2, LinkKind::Macvlan, Some(1), Some(OWN)), parent(LinkKind::Macvlan)),
            (link(2, LinkKind::Ipvlan, Some(1), Some(OWN)), parent(LinkKind::Ipvlan)),
            (link(2, LinkKind::Vlan, Some(1), Some(OWN)), parent(LinkKind::Vlan)),
            (link(2, LinkKind::Dummy, None, None), Err(NoHostSide::Kind(LinkKind::Dummy))),
            (link(2, LinkKind::Vxlan, Some(7), Some(OWN)), Err(NoHostSide::Kind(LinkKind::Vxlan))),
        ];
        for (container, expected) in cases {
            let found = claimed_host_index(&container, nsid(NSID), nsid(OWN));
            assert_eq!(found, expected, "{container:?}");
        }
    }

    /// Trap T5: an index that merely matches is another container's veth.
    #[test]
    fn t5_host_link_must_point_back() {
        let container = link(2, LinkKind::Veth, Some(7), Some(OWN));
        let cases = [
            (Some(link(7, LinkKind::Veth, Some(2), Some(NSID))), true),
            (Some(link(7, LinkKind::Veth, Some(3), Some(NSID))), false),
            (Some(link(7, LinkKind::Veth, Some(2), Some(5))), false),
            (Some(link(7, LinkKind::Veth, Some(2), None)), false),
            (Some(link(7, LinkKind::Bridge, Some(2), Some(NSID))), false),
            (None, false),
        ];
        for (host, expected) in cases {
            let found = check_back_link(host.clone(), &container, index(7), nsid(NSID));
            assert_eq!(found.is_ok(), expected, "{host:?}");
        }
    }

    #[test]
    fn the_hosts_own_namespace_is_refused() {
        let rtnl = Rtnl::open().unwrap();
        let error = interfaces(&rtnl, &Namespace::own().unwrap()).unwrap_err();
        assert!(matches!(error, VethError::HostNamespace), "{error}");
        assert_eq!(error.class(), ErrorClass::User);
    }
}
