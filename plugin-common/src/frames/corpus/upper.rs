//! Transport headers cut short, ICMP, neighbour discovery and multicast listener discovery.

use std::format;
use std::vec;

use super::{Corpus, TRUNCATED, cut, kind_of};
use crate::frames::Kind;
use crate::frames::build::{Extension, Ipv4, Ipv6, icmp, neighbour_discovery, tcp, udp};
use crate::packet::protocol;

pub(super) fn add(corpus: &mut Corpus) {
    short(corpus);
    odd(corpus);
    icmp_types(corpus);
    neighbours(corpus);
}

/// Packets that are over before their transport header is.
fn short(corpus: &mut Corpus) {
    let cases = [
        (protocol::TCP, tcp(), 20),
        (protocol::UDP, udp(), 8),
        (protocol::ICMP, icmp(8, 0), 8),
        (protocol::ICMPV6, icmp(128, 0), 8),
    ];
    for (number, header, smallest) in cases {
        for length in 0..smallest {
            let payload = cut(&header, length);
            let name = format!("IPv4 protocol {number} of {length} bytes");
            corpus.add(TRUNCATED, name, Ipv4::new(number).frame(&payload));
            let name = format!("IPv6 protocol {number} of {length} bytes");
            corpus.add(TRUNCATED, name, Ipv6::new(number).frame(&payload));
        }
    }
}

/// Wrong transport headers, which are the receiver's business: the protocol is told.
fn odd(corpus: &mut Corpus) {
    let set = |mut header: vec::Vec<u8>, offset: usize, values: &[u8]| {
        header.splice(offset..offset + values.len(), values.iter().copied());
        header
    };
    for offset in [0, 1, 4, 15] {
        let name = format!("TCP with data offset {offset}");
        let header = set(tcp(), 12, &[offset << 4]);
        corpus.add(Kind::Tcp, name, Ipv4::new(protocol::TCP).frame(&header));
    }
    for flags in [0, 0x03, 0x06, 0xff] {
        let name = format!("TCP with flags {flags:#04x}");
        let header = set(tcp(), 13, &[flags]);
        corpus.add(Kind::Tcp, name, Ipv6::new(protocol::TCP).frame(&header));
    }
    for length in [0, 7, 0xff] {
        let name = format!("UDP of length {length}");
        let header = set(udp(), 5, &[length]);
        corpus.add(Kind::Udp, name, Ipv4::new(protocol::UDP).frame(&header));
    }
    let header = set(udp(), 0, &[0; 4]);
    corpus.add(Kind::Udp, "UDP with ports 0", Ipv6::new(protocol::UDP).frame(&header));
}

fn icmp_types(corpus: &mut Corpus) {
    for message in [0, 3, 5, 8, 11, 13, 133, 135, 255] {
        let name = format!("ICMP type {message}");
        corpus.add(Kind::Icmp, name, Ipv4::new(protocol::ICMP).frame(&icmp(message, 0)));
    }
    // Echo, errors, multicast listeners (130 to 132, 143), the neighbours of neighbour discovery
    // among the numbers, inverse discovery (141), SEND (148).
    for message in [1, 2, 3, 4, 127, 128, 129, 130, 131, 132, 138, 139, 141, 143, 148, 255] {
        let name = format!("ICMPv6 type {message}");
        corpus.add(Kind::Icmp, name, Ipv6::new(protocol::ICMPV6).frame(&icmp(message, 0)));
    }
    // As it is sent: behind the router alert option.
    let alert = Extension { number: protocol::HOP_BY_HOP, rest: vec![0, 5, 2, 0, 0, 1, 0] };
    let report = Ipv6 { hop_limit: 1, ..Ipv6::with(&[alert], protocol::ICMPV6) };
    corpus.add(Kind::Icmp, "a multicast listener report", report.frame(&icmp(143, 0)));
}

/// Neighbour discovery counts as such only as its receivers take it.
fn neighbours(corpus: &mut Corpus) {
    for message in 133..=137 {
        let mut add = |kind, name: &str, header: &Ipv6, code| {
            let frame = header.frame(&neighbour_discovery(message, code));
            corpus.add(kind, format!("neighbour discovery {message}{name}"), frame);
        };
        let plain = Ipv6::new(protocol::ICMPV6);
        add(Kind::Other, "", &plain, 0);
        add(Kind::Icmp, ", code 1", &plain, 1);
        add(Kind::Icmp, ", code 255", &plain, 255);
        for hop_limit in [0, 1, 64, 254] {
            let name = format!(", hop limit {hop_limit}");
            add(Kind::Icmp, &name, &Ipv6 { hop_limit, ..plain.clone() }, 0);
        }
        let options = Extension::new(protocol::DESTINATION_OPTIONS);
        add(Kind::Other, " behind options", &Ipv6::with(&[options], protocol::ICMPV6), 0);
        for (name, offset, more) in
            [("an atomic", 0, false), ("a first", 0, true), ("a later", 10, false)]
        {
            let header = Ipv6::with(&[Extension::fragment(offset, more)], protocol::ICMPV6);
            add(Kind::Icmp, &format!(" in {name} fragment"), &header, 0);
        }
        // The numbers mean nothing in IPv4, nor in ICMP for IPv4 over IPv6.
        let payload = neighbour_discovery(message, 0);
        let name = format!("number {message} of ICMPv6 in IPv4");
        corpus.add(Kind::Icmp, name, Ipv4::new(protocol::ICMPV6).frame(&payload));
        let name = format!("number {message} of ICMP in IPv6");
        corpus.add(kind_of(protocol::ICMP), name, Ipv6::new(protocol::ICMP).frame(&payload));
    }
}
