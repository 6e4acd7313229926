//! IPv6 without a chain: versions and payload lengths; single extension headers that lie.

use std::format;
use std::vec;

use super::{Corpus, MALFORMED, PROTOCOLS, SOURCE_ROUTE, TRUNCATED, cut, kind_of};
use crate::frames::Kind;
use crate::frames::build::{Extension, Ipv6, icmp, tcp, transport, udp};
use crate::packet::protocol;

pub(super) fn add(corpus: &mut Corpus) {
    for (number, name) in PROTOCOLS {
        let frame = Ipv6::new(number).frame(&transport(number));
        corpus.add(kind_of(number), format!("IPv6 {name}"), frame);
        let behind = Ipv6::with(&[Extension::new(protocol::DESTINATION_OPTIONS)], number);
        let name = format!("IPv6 with destination options, {name}");
        corpus.add(kind_of(number), name, behind.frame(&transport(number)));
    }
    for version in (0..16).filter(|version| *version != 6) {
        let header = Ipv6 { version, ..Ipv6::new(protocol::TCP) };
        corpus.add(MALFORMED, format!("IPv6 of version {version}"), header.frame(&tcp()));
    }
    payload_lengths(corpus);
    extension_lengths(corpus);
    authentication(corpus);
    fragments(corpus);
    routing(corpus);
}

fn payload_lengths(corpus: &mut Corpus) {
    let with = |payload_len| Ipv6 { payload_len: Some(payload_len), ..Ipv6::new(protocol::TCP) };
    let frame = with(20).frame(&tcp());
    for length in [1, 7, 8, 39, 40, 59] {
        let name = format!("IPv6 of which {length} bytes are there");
        corpus.add(TRUNCATED, name, cut(&frame, 14 + length));
    }
    for payload_len in [0, 1, 19] {
        let name = format!("IPv6 of payload length {payload_len}, less than TCP needs");
        corpus.add(TRUNCATED, name, with(payload_len).frame(&tcp()));
    }
    for payload_len in [21, 1460, 0xffff] {
        let name = format!("IPv6 of payload length {payload_len}, more than the frame");
        corpus.add(TRUNCATED, name, with(payload_len).frame(&tcp()));
    }
    for trailer in [1, 100] {
        let payload = [tcp(), vec![0xff; trailer]].concat();
        let name = format!("IPv6 with a trailer of {trailer} bytes");
        corpus.add(Kind::Tcp, name, with(20).frame(&payload));
    }
    // A jumbogram has payload length 0 and says its length in a hop-by-hop option.
    let jumbo = Extension { number: protocol::HOP_BY_HOP, rest: vec![0, 0xc2, 4, 0, 1, 0, 0] };
    let header = Ipv6 { payload_len: Some(0), ..Ipv6::with(&[jumbo], protocol::TCP) };
    corpus.add(TRUNCATED, "IPv6 jumbogram", header.frame(&tcp()));
}

fn extension_lengths(corpus: &mut Corpus) {
    for number in [protocol::HOP_BY_HOP, protocol::ROUTING, protocol::DESTINATION_OPTIONS] {
        for units in [1, 2, 31, 100, 255] {
            let header = Ipv6::with(&[Extension::of_length(number, units)], protocol::TCP);
            let name = format!("IPv6 header {number} of {units} extra units, TCP");
            corpus.add(Kind::Tcp, name, header.frame(&tcp()));
        }
        // 28 bytes follow: the first length ends within TCP, the others behind the packet.
        for units in [1, 3, 255] {
            let lying = Extension { rest: vec![units, 1, 4, 0, 0, 0, 0], number };
            let name = format!("IPv6 header {number} that claims {units} extra units");
            corpus.add(TRUNCATED, name, Ipv6::with(&[lying], protocol::TCP).frame(&tcp()));
        }
        let whole = Ipv6::with(&[Extension::new(number)], 59).frame(&[]);
        for length in 0..8_u16 {
            let name = format!("IPv6 header {number} of which {length} bytes are there");
            corpus.add(TRUNCATED, name, cut(&whole, 14 + 40 + usize::from(length)));
            let short = Ipv6 {
                payload_len: Some(length),
                ..Ipv6::with(&[Extension::new(number)], protocol::TCP)
            };
            let name = format!("IPv6 header {number} of which {length} bytes are the packet's");
            corpus.add(TRUNCATED, name, short.frame(&tcp()));
        }
    }
}

fn authentication(corpus: &mut Corpus) {
    for words in [0, 1, 2, 3, 4, 7, 255] {
        for (number, payload) in [(protocol::TCP, tcp()), (132, vec![0; 24])] {
            let header = Ipv6::with(&[Extension::authentication(words)], number);
            let kind = if words == 0 { MALFORMED } else { kind_of(number) };
            let name = format!("IPv6 AH of {words} words, protocol {number}");
            corpus.add(kind, name, header.frame(&payload));
        }
    }
    let lying = Extension { rest: vec![6, 0, 0, 0, 0, 0, 0], ..Extension::authentication(1) };
    let header = Ipv6::with(&[lying], protocol::TCP);
    corpus.add(TRUNCATED, "IPv6 AH longer than the packet", header.frame(&tcp()));
}

/// Fragments by what they carry; where the fragment header stands is a matter of chains.
fn fragments(corpus: &mut Corpus) {
    let cases = [
        ("atomic", 0, false),
        ("first", 0, true),
        ("second, eight bytes in", 1, true),
        ("last", 185, false),
        ("later, 32 KiB in", 0x1000, true),
        ("last, beyond 64 KiB", 0x1fff, false),
    ];
    // Where other headers have their length, the fragment header has a byte to be ignored.
    for reserved in [1, 255] {
        let mut header = Extension::fragment(0, true);
        header.rest.splice(0..1, [reserved]);
        let name = format!("IPv6 first fragment with the reserved byte {reserved}");
        corpus.add(Kind::Tcp, name, Ipv6::with(&[header], protocol::TCP).frame(&tcp()));
    }
    for (name, offset, more) in cases {
        let header = |number| Ipv6::with(&[Extension::fragment(offset, more)], number);
        for (number, protocol) in PROTOCOLS {
            let name = format!("IPv6 {protocol} fragment: {name}");
            corpus.add(kind_of(number), name, header(number).frame(&transport(number)));
        }
        for (number, smallest, payload) in [
            (protocol::TCP, 20, tcp()),
            (protocol::UDP, 8, udp()),
            (protocol::ICMPV6, 8, icmp(128, 0)),
        ] {
            for length in 0..=smallest {
                let whole = length == smallest || offset != 0;
                let kind = if whole { kind_of(number) } else { TRUNCATED };
                let name = format!("IPv6 protocol {number} fragment of {length} bytes: {name}");
                corpus.add(kind, name, header(number).frame(&cut(&payload, length)));
            }
        }
        // What follows is in the first fragment alone, whatever the header of a later one names.
        for number in [protocol::ROUTING, protocol::AUTHENTICATION, protocol::DESTINATION_OPTIONS] {
            let kind = if offset == 0 { Kind::Tcp } else { MALFORMED };
            let inner = if number == protocol::AUTHENTICATION {
                Extension::authentication(2)
            } else {
                Extension::new(number)
            };
            let header = Ipv6::with(&[Extension::fragment(offset, more), inner], protocol::TCP);
            let name = format!("IPv6 fragment with header {number}: {name}");
            corpus.add(kind, name, header.frame(&tcp()));
        }
        // A first fragment that ends within the chain (RFC 7112).
        let chain = [Extension::fragment(offset, more), Extension::new(protocol::ROUTING)];
        let kind = if offset == 0 { TRUNCATED } else { MALFORMED };
        let header = Ipv6 { payload_len: Some(12), ..Ipv6::with(&chain, protocol::TCP) };
        corpus.add(kind, format!("IPv6 fragment with half a chain: {name}"), header.frame(&[]));
    }
}

/// Routing headers by their type; 0 is a source route, whether or not routers are left in it.
fn routing(corpus: &mut Corpus) {
    for number in [0, 1, 2, 3, 4, 131, 253, 255] {
        for left in [0, 1, 255] {
            let mut rest = vec![2, number, left];
            rest.resize(23, 0);
            let header = Extension { number: protocol::ROUTING, rest };
            let kind = if number == 0 { SOURCE_ROUTE } else { Kind::Tcp };
            let name = format!("IPv6 routing header of type {number}, {left} left");
            let frame = Ipv6::with(&[header], protocol::TCP).frame(&tcp());
            corpus.add(kind, name, frame);
        }
    }
    // In the other headers of this form, that byte says something else.
    for number in [protocol::HOP_BY_HOP, protocol::DESTINATION_OPTIONS] {
        let header = Extension { number, rest: vec![0, 0, 0, 0, 0, 0, 0] };
        let frame = Ipv6::with(&[header], protocol::TCP).frame(&tcp());
        corpus.add(Kind::Tcp, format!("IPv6 header {number} with zeros"), frame);
    }
}
