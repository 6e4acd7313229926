//! The samples, by layer.

mod chains;
mod ipv4;
mod ipv6;
mod link;
mod options;
mod upper;

use std::string::String;
use std::vec::Vec;

pub use self::chains::chains;
use super::{Kind, Sample};
use crate::packet::{Unreadable, protocol};

const TRUNCATED: Kind = Kind::Unreadable(Unreadable::Truncated);
const MALFORMED: Kind = Kind::Unreadable(Unreadable::Malformed);
const SOURCE_ROUTE: Kind = Kind::Unreadable(Unreadable::SourceRoute);
const UNKNOWN_ETHERTYPE: Kind = Kind::Unreadable(Unreadable::UnknownEthertype);

/// Protocols that are looked for, and others that must not be taken for them: IP in IP, IGMP,
/// UDP and TCP in their IPv6 tunnels' numbers, GRE, ESP, no next header, DCCP, SCTP, UDP-Lite,
/// mobility, HIP, shim6, and the ends of the range.
const PROTOCOLS: [(u8, &str); 20] = [
    (protocol::TCP, "TCP"),
    (protocol::UDP, "UDP"),
    (protocol::ICMP, "ICMP"),
    (protocol::ICMPV6, "ICMPv6"),
    (2, "IGMP"),
    (4, "IPv4 in IP"),
    (5, "stream protocol"),
    (7, "CBT"),
    (33, "DCCP"),
    (41, "IPv6 in IP"),
    (47, "GRE"),
    (50, "ESP"),
    (59, "no next header"),
    (132, "SCTP"),
    (135, "mobility"),
    (136, "UDP-Lite"),
    (139, "HIP"),
    (140, "shim6"),
    (253, "experimental"),
    (255, "reserved"),
];

/// Every sample.
#[must_use]
pub fn corpus() -> Vec<Sample> {
    let mut corpus = Corpus(Vec::new());
    link::add(&mut corpus);
    ipv4::add(&mut corpus);
    options::add(&mut corpus);
    ipv6::add(&mut corpus);
    corpus.0.extend(chains(3, &[4, 7, 8, 9, 10, 100]));
    upper::add(&mut corpus);
    corpus.0
}

struct Corpus(Vec<Sample>);

impl Corpus {
    fn add(&mut self, kind: Kind, name: impl Into<String>, bytes: Vec<u8>) {
        self.0.push(Sample { name: name.into(), kind, bytes });
    }
}

/// What a packet with this protocol number is.
fn kind_of(protocol: u8) -> Kind {
    match protocol {
        protocol::TCP => Kind::Tcp,
        protocol::UDP => Kind::Udp,
        protocol::ICMP | protocol::ICMPV6 => Kind::Icmp,
        _ => Kind::Other,
    }
}

/// The bytes up to `length`.
fn cut(bytes: &[u8], length: usize) -> Vec<u8> {
    bytes.iter().copied().take(length).collect()
}
