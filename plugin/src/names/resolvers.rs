//! Where a container's DNS queries go, as they are seen at its interfaces.
//!
//! On networks of the user's, a container asks Docker's resolver on its own loopback, which asks the
//! name servers in its place: from within the container's namespace those that the container or
//! Docker's configuration was given, and in older versions also those of the host, which newer ones
//! ask from the host. On the default bridge the container asks them itself. Servers on a loopback
//! device are never seen at an interface.
//!
//! Docker tells what a container was given only when it runs: until then it counts as given none.
//! What it took from the host it keeps until it is started again, so those that the host had before
//! count too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Entry, Viewpoint};
use crate::rules::{AddressRange, Addresses};

/// Whom Docker has asked when it knows of nobody else.
const FALLBACK: [IpAddr; 4] = [
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8844)),
];
/// The network on which Docker has no resolver of its own.
const DEFAULT_BRIDGE: &str = "bridge";

impl Viewpoint<'_> {
    /// Where its queries go.
    pub(super) fn resolvers(&self) -> Addresses {
        let Some(at) = self.at else { return Addresses { ranges: Vec::new(), waiting: true } };
        let of_docker = &self.directory.nameservers.of_docker;
        let given = at.nameservers.as_ref().filter(|given| !given.is_empty());
        let given = given.or(Some(of_docker).filter(|given| !given.is_empty()));
        let (servers, known) = match (given, &self.directory.nameservers.of_host) {
            (Some(given), _) => (given.clone(), true),
            (None, Some(of_host)) => (self.of_host(at, of_host), true),
            (None, None) => (Vec::new(), false),
        };
        let mut ranges: Vec<AddressRange> =
            servers.into_iter().filter(|ip| !ip.is_loopback()).map(AddressRange::from).collect();
        ranges.sort_unstable();
        ranges.dedup();
        Addresses { ranges, waiting: !known || at.nameservers.is_none() }
    }

    /// Those of the host, or in their place those that Docker takes when they are of no use: on the
    /// default bridge those on the host's loopback, and of IPv6 where the container has none of it.
    fn of_host(&self, at: &Entry, of_host: &[IpAddr]) -> Vec<IpAddr> {
        let earlier = &self.directory.nameservers.earlier;
        let has_ipv6 = at.addresses().any(|ip| ip.is_ipv6());
        let on_default = self.networks().any(|network| network.name == DEFAULT_BRIDGE);
        let usable = |ip: &IpAddr| !ip.is_loopback() && (ip.is_ipv4() || has_ipv6);
        let none = if on_default { !of_host.iter().any(usable) } else { of_host.is_empty() };
        let fallback = FALLBACK.iter().filter(|ip| none && (ip.is_ipv4() || has_ipv6));
        of_host.iter().chain(earlier).chain(fallback).copied().collect()
    }
}
