//! Ranges of IP addresses. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses of one version of IP, from one to another.
///
/// Shown as an address or a network where it is one, and as `low-high` elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressRange {
    /// Of IPv4.
    V4(Span<Ipv4Addr>),
    /// Of IPv6.
    V6(Span<Ipv6Addr>),
}

/// From one address to another that is not lower, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span<A> {
    first: A,
    last: A,
}

impl<A: Copy + Ord> Span<A> {
    /// From `first` to `last`, which must not be lower.
    #[must_use]
    pub fn new(first: A, last: A) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// The lowest.
    #[must_use]
    pub fn first(self) -> A {
        self.first
    }

    /// The highest.
    #[must_use]
    pub fn last(self) -> A {
        self.last
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: A) -> bool {
        self.first <= address && address <= self.last
    }
}

impl AddressRange {
    /// From one address to another of the same version that is not lower.
    #[must_use]
    pub fn between(first: IpAddr, last: IpAddr) -> Option<Self> {
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => Span::new(first, last).map(Self::V4),
            (IpAddr::V6(first), IpAddr::V6(last)) => Span::new(first, last).map(Self::V6),
            _ => None,
        }
    }

    /// The network that an address is in, by the length of its prefix. `None` if the prefix is
    /// longer than an address.
    #[must_use]
    pub fn network(address: IpAddr, prefix: u8) -> Option<Self> {
        match address {
            IpAddr::V4(address) => {
                let host = host_bits(32, prefix).map(|bits| u32::MAX.checked_shr(32 - bits));
                let (first, last) = ends(address.to_bits(), host?.unwrap_or(0));
                Some(Self::V4(Span { first: first.into(), last: last.into() }))
            }
            IpAddr::V6(address) => {
                let host = host_bits(128, prefix).map(|bits| u128::MAX.checked_shr(128 - bits));
                let (first, last) = ends(address.to_bits(), host?.unwrap_or(0));
                Some(Self::V6(Span { first: first.into(), last: last.into() }))
            }
        }
    }

    /// The lowest address.
    #[must_use]
    pub fn first(self) -> IpAddr {
        match self {
            Self::V4(span) => span.first.into(),
            Self::V6(span) => span.first.into(),
        }
    }

    /// The highest address.
    #[must_use]
    pub fn last(self) -> IpAddr {
        match self {
            Self::V4(span) => span.last.into(),
            Self::V6(span) => span.last.into(),
        }
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(span), IpAddr::V4(address)) => span.contains(address),
            (Self::V6(span), IpAddr::V6(address)) => span.contains(address),
            _ => false,
        }
    }

    /// The length of the prefix, if it is a network.
    #[must_use]
    pub fn prefix(self) -> Option<u8> {
        let (differing, first, last) = match self {
            Self::V4(Span { first, last }) => {
                let (first, last) = (first.to_bits(), last.to_bits());
                (32 - (first ^ last).leading_zeros(), first.trailing_zeros(), last.trailing_ones())
            }
            Self::V6(Span { first, last }) => {
                let (first, last) = (first.to_bits(), last.to_bits());
                (128 - (first ^ last).leading_zeros(), first.trailing_zeros(), last.trailing_ones())
            }
        };
        let width = if matches!(self, Self::V4(_)) { 32 } else { 128 };
        let network = first >= differing && last >= differing;
        network.then(|| u8::try_from(width - differing).ok()).flatten()
    }
}

/// How many bits of an address are not the prefix.
fn host_bits(width: u32, prefix: u8) -> Option<u32> {
    width.checked_sub(prefix.into())
}

/// The lowest and the highest address that differ from this one in the host's bits alone.
fn ends<B>(address: B, host: B) -> (B, B)
where
    B: Copy
        + std::ops::BitAnd<Output = B>
        + std::ops::BitOr<Output = B>
        + std::ops::Not<Output = B>,
{
    (address & !host, address | host)
}

impl From<IpAddr> for AddressRange {
    /// One address.
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(Span { first: address, last: address }),
            IpAddr::V6(address) => Self::V6(Span { first: address, last: address }),
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first(), self.last());
        match self.prefix() {
            _ if first == last => write!(f, "{first}"),
            Some(prefix) => write!(f, "{first}/{prefix}"),
            None => write!(f, "{first}-{last}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_shown_as_what_it_is() {
        for (first, last, shown) in [
            ("10.0.0.0", "10.255.255.255", "10.0.0.0/8"),
            ("10.0.0.1", "10.0.0.1", "10.0.0.1"),
            ("10.0.0.1", "10.0.0.2", "10.0.0.1-10.0.0.2"),
            ("10.0.0.0", "10.0.0.1", "10.0.0.0/31"),
            ("10.0.0.0", "10.0.0.2", "10.0.0.0-10.0.0.2"),
            ("10.0.0.128", "10.0.1.127", "10.0.0.128-10.0.1.127"),
            ("0.0.0.0", "255.255.255.255", "0.0.0.0/0"),
            ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "::/0"),
            ("fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::/10"),
            ("::1", "::3", "::1-::3"),
        ] {
            let range = AddressRange::between(first.parse().unwrap(), last.parse().unwrap());
            assert_eq!(range.unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_network_holds_its_addresses() {
        for (address, prefix, expected) in [
            ("10.1.2.3", 8, Some("10.0.0.0/8")),
            ("10.1.2.3", 32, Some("10.1.2.3")),
            ("10.1.2.3", 0, Some("0.0.0.0/0")),
            ("10.1.2.3", 33, None),
            ("2001:db8::1", 32, Some("2001:db8::/32")),
            ("2001:db8::1", 128, Some("2001:db8::1")),
            ("2001:db8::1", 0, Some("::/0")),
            ("::1", 129, None),
        ] {
            let network = AddressRange::network(address.parse().unwrap(), prefix);
            let shown = network.map(|network| network.to_string());
            assert_eq!(shown.as_deref(), expected, "{address}/{prefix}");
            assert!(network.is_none_or(|network| network.contains(address.parse().unwrap())));
        }
    }

    #[test]
    fn a_range_is_of_one_version_and_not_backwards() {
        for (first, last) in [("10.0.0.2", "10.0.0.1"), ("10.0.0.1", "::1"), ("::2", "::1")] {
            let range = AddressRange::between(first.parse().unwrap(), last.parse().unwrap());
            assert_eq!(range, None, "{first}-{last}");
        }
    }
}
