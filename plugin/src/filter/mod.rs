//! Which packets somebody wants to see: `tcp port 443 and not host 10.0.0.1`, in words that tcpdump has
//! too. Pure.
//!
//! ```text
//! filter    = test { ("and" | "or") test }        from left to right, as tcpdump has it
//! test      = [ "not" ] ( "(" filter ")" | primitive )
//! primitive = [ protocol ] [ "src" | "dst" ] "host" ADDRESS
//!           | [ protocol ] [ "src" | "dst" ] "net" ADDRESS/LENGTH
//!           | [ protocol ] [ "src" | "dst" ] "port" NUMBER
//!           | [ protocol ] [ "src" | "dst" ] "portrange" LOW-HIGH
//!           | "proto" NUMBER | "reason" REASON | protocol
//! protocol  = "tcp" | "udp" | "sctp" | "icmp" | "icmp6" | "ip" | "ip6" | "arp"
//! ```

mod parse;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use plugin_common::packet::{Packet, ethertype, protocol};
use plugin_common::report::PacketRecord;
use plugin_common::verdict::Reason;

/// Which packets are wanted. [`str::parse`] reads one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(Test);

impl Filter {
    /// Whether a packet is wanted.
    #[must_use]
    pub fn matches(&self, packet: &Seen) -> bool {
        self.0.matches(packet)
    }
}

/// A packet, as far as filters look at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `EtherType` behind any VLAN tags.
    pub ethertype: u16,
    /// 4, 6, or 0 for what is not IP.
    pub ip_version: u8,
    /// IP protocol behind any extension headers.
    pub protocol: u8,
    /// From where.
    pub source: Option<IpAddr>,
    /// To where.
    pub destination: Option<IpAddr>,
    /// Its port there, for protocols that have ports; of ICMP the type.
    pub source_port: u16,
    /// Its port there, for protocols that have ports; of ICMP the code.
    pub destination_port: u16,
    /// What became of it; `None` where this version has no name for it.
    pub reason: Option<Reason>,
}

impl Seen {
    /// A packet that was read out of a frame.
    #[must_use]
    pub fn of_packet(packet: &Packet, reason: Option<Reason>) -> Self {
        Self {
            ethertype: packet.ethertype,
            ip_version: packet.ip_version,
            protocol: packet.protocol,
            source: address(packet.ip_version, packet.source),
            destination: address(packet.ip_version, packet.destination),
            source_port: packet.source_port,
            destination_port: packet.destination_port,
            reason,
        }
    }
}

impl From<&PacketRecord> for Seen {
    fn from(record: &PacketRecord) -> Self {
        Self {
            ethertype: record.ethertype,
            ip_version: record.ip_version,
            protocol: record.protocol,
            source: address(record.ip_version, record.source),
            destination: address(record.ip_version, record.destination),
            source_port: record.source_port,
            destination_port: record.destination_port,
            reason: record.reason(),
        }
    }
}

fn address(ip_version: u8, bytes: [u8; 16]) -> Option<IpAddr> {
    match ip_version {
        4 => bytes.first_chunk().map(|bytes: &[u8; 4]| Ipv4Addr::from(*bytes).into()),
        6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Is(Protocol),
    /// An IP protocol by its number.
    Number(u8),
    Host(Side, IpAddr),
    Net(Side, Net),
    Port(Side, RangeInclusive<u16>),
    Reason(Reason),
}

impl Test {
    fn matches(&self, packet: &Seen) -> bool {
        match self {
            Self::All(tests) => tests.iter().all(|test| test.matches(packet)),
            Self::Any(tests) => tests.iter().any(|test| test.matches(packet)),
            Self::Not(test) => !test.matches(packet),
            Self::Is(protocol) => protocol.is_of(packet),
            Self::Number(number) => packet.ip_version != 0 && packet.protocol == *number,
            Self::Host(side, host) => {
                side.of(packet.source, packet.destination, |address| address == Some(*host))
            }
            Self::Net(side, net) => side.of(packet.source, packet.destination, |address| {
                address.is_some_and(|address| net.has(address))
            }),
            Self::Port(side, ports) => {
                has_ports(packet)
                    && side.of(packet.source_port, packet.destination_port, |port| {
                        ports.contains(&port)
                    })
            }
            Self::Reason(reason) => packet.reason == Some(*reason),
        }
    }
}

/// Of what has no ports, other numbers stand in their place.
fn has_ports(packet: &Seen) -> bool {
    let with_ports = [protocol::TCP, protocol::UDP, protocol::SCTP];
    packet.ip_version != 0 && with_ports.contains(&packet.protocol)
}

/// Which end of a packet's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
    Either,
}

impl Side {
    fn of<T>(self, source: T, destination: T, is_it: impl Fn(T) -> bool) -> bool {
        match self {
            Self::Source => is_it(source),
            Self::Destination => is_it(destination),
            Self::Either => is_it(source) || is_it(destination),
        }
    }
}

/// A protocol that has a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Ip,
    Ip6,
    Arp,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
}

impl Protocol {
    const NAMED: [(&'static str, Self); 8] = [
        ("tcp", Self::Tcp),
        ("udp", Self::Udp),
        ("sctp", Self::Sctp),
        ("icmp", Self::Icmp),
        ("icmp6", Self::Icmp6),
        ("ip", Self::Ip),
        ("ip6", Self::Ip6),
        ("arp", Self::Arp),
    ];

    fn is_of(self, packet: &Seen) -> bool {
        let any = |number| packet.ip_version != 0 && packet.protocol == number;
        match self {
            Self::Ip => packet.ip_version == 4,
            Self::Ip6 => packet.ip_version == 6,
            Self::Arp => packet.ethertype == ethertype::ARP,
            Self::Tcp => any(protocol::TCP),
            Self::Udp => any(protocol::UDP),
            Self::Sctp => any(protocol::SCTP),
            Self::Icmp => packet.ip_version == 4 && packet.protocol == protocol::ICMP,
            Self::Icmp6 => packet.ip_version == 6 && packet.protocol == protocol::ICMPV6,
        }
    }

    /// Whether packets of it have ports; of `ip` and `ip6`, some have.
    const fn may_have_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Sctp | Self::Ip | Self::Ip6)
    }

    /// The version of IP that its addresses are of, where it is one.
    const fn version(self) -> Option<u8> {
        match self {
            Self::Ip | Self::Icmp | Self::Arp => Some(4),
            Self::Ip6 | Self::Icmp6 => Some(6),
            Self::Tcp | Self::Udp | Self::Sctp => None,
        }
    }
}

/// A network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Net {
    address: IpAddr,
    length: u8,
}

impl Net {
    fn has(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                agree(net.to_bits().into(), address.to_bits().into(), 32 - self.length)
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                agree(net.to_bits(), address.to_bits(), 128 - self.length)
            }
            _ => false,
        }
    }
}

/// Whether two numbers are the same but for so many lower bits.
fn agree(one: u128, other: u128, lower: u8) -> bool {
    (one ^ other).checked_shr(lower.into()).unwrap_or(0) == 0
}
