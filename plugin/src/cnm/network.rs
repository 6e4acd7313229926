//! Networks and endpoints, as Docker asks for them and as they are written down. Pure.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use ebpf_netns::MacAddress;
use serde::{Deserialize, Serialize};

use super::ids::Id;

/// The version of what is written.
pub(super) const VERSION: u32 = 1;

/// A network: a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Network {
    pub version: u32,
    pub id: Id,
    /// Its addresses, of IPv4 and IPv6.
    pub pools: Vec<Pool>,
    /// `--internal`: nothing leaves it, and nothing comes in.
    pub internal: bool,
    /// The options it was created with.
    pub options: Options,
}

/// Options of `docker network create -o`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Options {
    /// The MTU of its links, or the kernel's choice.
    pub mtu: Option<u32>,
    /// Whether what leaves it has the host's address.
    pub masquerade: bool,
    /// Its policy, written as labels are.
    pub labels: BTreeMap<String, String>,
}

/// Addresses of one version, and the host's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pool {
    pub subnet: Prefix,
    /// Docker gives each pool one.
    pub gateway: Option<IpAddr>,
}

/// An address and how long the part of it is that all on its network have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prefix {
    pub address: IpAddr,
    pub length: u8,
}

/// An endpoint: a veth pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Endpoint {
    pub version: u32,
    pub id: Id,
    pub network: Id,
    /// Its addresses, one of each version.
    pub addresses: Vec<IpAddr>,
    pub mac: MacAddress,
    /// Its own policy, written as labels are.
    pub labels: BTreeMap<String, String>,
    /// What is published of it.
    pub published: Vec<Published>,
}

/// A port of the host that leads to one of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Published {
    pub protocol: Protocol,
    /// At which address of the host; at all of them if none is named.
    pub address: Option<IpAddr>,
    pub host_port: u16,
    pub port: u16,
}

/// What has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// Its number in IP.
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        [Self::Tcp, Self::Udp, Self::Sctp].into_iter().find(|one| one.number() == number)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl Network {
    /// The host's own addresses on it.
    pub(super) fn gateways(&self) -> impl Iterator<Item = Prefix> {
        self.pools
            .iter()
            .filter_map(|pool| Some(Prefix { address: pool.gateway?, length: pool.subnet.length }))
    }

    /// The gateway of its members, of one version of IP: none where nothing leaves it.
    pub(super) fn gateway(&self, is_v4: bool) -> Option<IpAddr> {
        let of_version = |gateway: &Prefix| gateway.address.is_ipv4() == is_v4;
        let gateway = self.gateways().find(of_version).filter(|_| !self.internal);
        gateway.map(|gateway| gateway.address)
    }

    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let pools = self.pools.iter().map(|pool| pool.subnet);
        let others = || other.pools.iter().map(|pool| pool.subnet);
        pools.into_iter().any(|one| others().any(|other| one.overlaps(other)))
    }

    /// The address of its bridge: the same each time it is made.
    pub(super) fn mac(&self) -> MacAddress {
        let mut mac = [0x02, 0xeb, 0, 0, 0, 0];
        let digits = self.id.as_str().as_bytes().chunks(2);
        for (byte, digits) in mac.iter_mut().skip(2).zip(digits) {
            let digits = std::str::from_utf8(digits).unwrap_or_default();
            *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
        }
        MacAddress(mac)
    }
}

impl Endpoint {
    /// Its address of one version of IP.
    pub(super) fn address(&self, is_v4: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == is_v4)
    }
}

impl Published {
    /// Whether both would have the same port of the host.
    pub(super) fn collides(&self, other: &Self) -> bool {
        let addresses = match (self.address, other.address) {
            (Some(one), Some(other)) => {
                let any = one.is_unspecified() || other.is_unspecified();
                one == other || any && one.is_ipv4() == other.is_ipv4()
            }
            _ => true,
        };
        self.protocol == other.protocol && self.host_port == other.host_port && addresses
    }
}

impl Prefix {
    /// Reads `172.18.0.1/16`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (address, length) = text.split_once('/')?;
        let (address, length) = (address.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?);
        let longest = if address.is_ipv4() { 32 } else { 128 };
        (length <= longest).then_some(Self { address, length })
    }

    /// The bytes of its address, and those of its mask.
    pub(super) fn bytes(self) -> (Vec<u8>, Vec<u8>) {
        let bytes = match self.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        let mask = (0..bytes.len()).map(|at| {
            let left = usize::from(self.length).saturating_sub(at * 8).min(8);
            u8::try_from(0xff00_u32 >> left & 0xff).unwrap_or_default()
        });
        let mask: Vec<u8> = mask.collect();
        let network = bytes.iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
        (network, mask)
    }

    /// The same without what is of one address alone.
    pub(super) fn network(self) -> Self {
        let network = self.bytes().0;
        let address = match <[u8; 4]>::try_from(network.as_slice()) {
            Ok(octets) => IpAddr::from(octets),
            Err(_longer) => <[u8; 16]>::try_from(network).map_or(self.address, IpAddr::from),
        };
        Self { address, ..self }
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        if self.address.is_ipv4() != other.address.is_ipv4() {
            return false;
        }
        let length = self.length.min(other.length);
        let network = |one: Self| Self { length, ..one }.bytes().0;
        network(self) == network(other)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::parse(text).unwrap()
    }

    #[test]
    fn prefixes_have_a_network_and_a_mask() {
        let (network, mask) = prefix("172.18.3.1/20").bytes();
        assert_eq!((network, mask), (vec![172, 18, 0, 0], vec![255, 255, 240, 0]));
        let (network, mask) = prefix("fd00:1::1/64").bytes();
        assert_eq!(network[..4], [0xfd, 0, 0, 1]);
        assert_eq!(mask, [[255; 8], [0; 8]].concat());
        assert_eq!(prefix("0.0.0.0/0").bytes().1, [0; 4]);
        for text in ["", "10.0.0.1", "10.0.0.1/33", "fd00::/129", "ten/8"] {
            assert_eq!(Prefix::parse(text), None, "{text}");
        }
    }

    #[test]
    fn networks_overlap_where_one_has_addresses_of_the_other() {
        for (one, other, expected) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", true),
            ("10.1.0.0/16", "10.2.0.0/16", false),
            ("fd00::/64", "fd00:0:0:1::/64", false),
            ("0.0.0.0/0", "fd00::/64", false),
        ] {
            assert_eq!(prefix(one).overlaps(prefix(other)), expected, "{one} {other}");
        }
    }

    #[test]
    fn ports_collide_at_the_same_address_or_at_all() {
        let published = |address: Option<&str>, host_port, protocol| Published {
            protocol,
            address: address.map(|address| address.parse().unwrap()),
            host_port,
            port: 80,
        };
        let any = published(None, 8080, Protocol::Tcp);
        let here = published(Some("127.0.0.1"), 8080, Protocol::Tcp);
        for (other, expected) in [
            (any, true),
            (here, true),
            (published(Some("10.0.0.1"), 8080, Protocol::Tcp), false),
            (published(Some("0.0.0.0"), 8080, Protocol::Tcp), true),
            (published(Some("::"), 8080, Protocol::Tcp), false),
            (published(None, 8081, Protocol::Tcp), false),
            (published(None, 8080, Protocol::Udp), false),
        ] {
            assert_eq!(here.collides(&other), expected, "{other:?}");
        }
    }
}
