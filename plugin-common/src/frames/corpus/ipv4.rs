//! IPv4: versions, header and total lengths, fragments, authentication headers.

use std::format;
use std::slice::from_ref;
use std::vec;
use std::vec::Vec;

use super::{Corpus, MALFORMED, PROTOCOLS, TRUNCATED, cut, kind_of};
use crate::frames::Kind;
use crate::frames::build::{
    Extension, Ipv4, MORE_FRAGMENTS, chain, ethernet, icmp, tcp, transport, udp,
};
use crate::packet::{ethertype, protocol};

const DONT_FRAGMENT: u16 = 0x4000;
const RESERVED: u16 = 0x8000;

pub(super) fn add(corpus: &mut Corpus) {
    for (number, name) in PROTOCOLS {
        let frame = Ipv4::new(number).frame(&transport(number));
        corpus.add(kind_of(number), format!("IPv4 {name}"), frame);
    }
    versions(corpus);
    header_lengths(corpus);
    total_lengths(corpus);
    fragments(corpus);
    tiny_fragments(corpus);
    authentication(corpus);
}

fn versions(corpus: &mut Corpus) {
    for version in (0..16).filter(|version| *version != 4) {
        let header = Ipv4 { version, ..Ipv4::new(protocol::TCP) };
        corpus.add(MALFORMED, format!("IPv4 of version {version}"), header.frame(&tcp()));
    }
}

fn header_lengths(corpus: &mut Corpus) {
    for ihl in 0..=15 {
        let header = Ipv4 { ihl: Some(ihl), ..Ipv4::new(protocol::TCP) };
        // 64 bytes behind the header: the options that it claims, and TCP in what is left.
        let kind = if ihl < 5 { MALFORMED } else { Kind::Tcp };
        corpus.add(kind, format!("IPv4 with ihl {ihl}"), header.frame(&[1; 64]));
        let kind = if ihl == 5 { Kind::Tcp } else { MALFORMED };
        let name = format!("IPv4 with ihl {ihl}, and options longer than that");
        corpus.add(kind, name, header.frame(&[0x55; 64]));
        // 20 bytes, which do as options and as TCP: the latter only where there are no options.
        let kind = match ihl {
            5 => Kind::Tcp,
            // The packet has room for the header that is claimed, but not for TCP behind it.
            6..=10 => TRUNCATED,
            // The header is too short for itself, or too long for the packet.
            _ => MALFORMED,
        };
        corpus.add(kind, format!("IPv4 of 40 bytes with ihl {ihl}"), header.frame(&[1; 20]));
    }
    // All of the largest header, and all but one byte of it, by total length and by the frame's.
    let header = Ipv4 { options: vec![1; 40], ..Ipv4::new(50) };
    corpus.add(Kind::Other, "IPv4 header of 60 bytes", header.frame(&[]));
    let short = Ipv4 { total_len: Some(59), ..header.clone() };
    corpus.add(MALFORMED, "IPv4 header of 60 bytes in 59", short.frame(&[]));
    corpus.add(TRUNCATED, "IPv4 header of 60 bytes, 59 there", cut(&header.frame(&[]), 14 + 59));
}

fn total_lengths(corpus: &mut Corpus) {
    let with = |total_len| Ipv4 { total_len: Some(total_len), ..Ipv4::new(protocol::TCP) };
    for total_len in [0, 1, 19] {
        let name = format!("IPv4 of total length {total_len}, less than its header");
        corpus.add(MALFORMED, name, with(total_len).frame(&tcp()));
    }
    for total_len in [20, 21, 39] {
        let name = format!("IPv4 of total length {total_len}, less than TCP needs");
        corpus.add(TRUNCATED, name, with(total_len).frame(&tcp()));
    }
    for total_len in [41, 1500, 0xffff] {
        let name = format!("IPv4 of total length {total_len}, more than the frame");
        corpus.add(TRUNCATED, name, with(total_len).frame(&tcp()));
    }
    for trailer in [1, 6, 100] {
        let payload = [tcp(), vec![0xff; trailer]].concat();
        let name = format!("IPv4 with a trailer of {trailer} bytes");
        corpus.add(Kind::Tcp, name, with(40).frame(&payload));
    }
    for length in [21, 39] {
        let name = format!("IPv4 of which {length} bytes are there");
        corpus.add(TRUNCATED, name, with(40).frame(&cut(&tcp(), length - 20)));
    }
    let payload = [tcp(), vec![0x55; 1440]].concat();
    corpus.add(Kind::Tcp, "IPv4 of 1500 bytes", Ipv4::new(protocol::TCP).frame(&payload));
}

fn fragments(corpus: &mut Corpus) {
    let cases = [
        ("not to be fragmented", DONT_FRAGMENT),
        ("with the reserved flag", RESERVED),
        ("first", MORE_FRAGMENTS),
        ("first, yet not to be fragmented", MORE_FRAGMENTS | DONT_FRAGMENT),
        ("second, eight bytes in", MORE_FRAGMENTS | 1),
        ("middle", MORE_FRAGMENTS | 0xb9),
        ("last", 370),
        ("later, 32 KiB in", 0x1000),
        ("last, beyond 64 KiB", 0x1fff),
    ];
    for (name, fragment) in cases {
        for (number, protocol) in PROTOCOLS {
            let header = Ipv4 { fragment, ..Ipv4::new(number) };
            let name = format!("IPv4 {protocol} fragment: {name}");
            corpus.add(kind_of(number), name, header.frame(&transport(number)));
        }
        for number in [protocol::TCP, protocol::UDP, protocol::ICMP] {
            let later = fragment & 0x1fff != 0;
            let header = Ipv4 { fragment, ..Ipv4::new(number) };
            let kind = if later { kind_of(number) } else { TRUNCATED };
            let name = format!("IPv4 protocol {number} fragment without payload: {name}");
            corpus.add(kind, name, header.frame(&[]));
        }
    }
}

/// First fragments that end within the transport header, so that a second could overwrite it.
fn tiny_fragments(corpus: &mut Corpus) {
    for (number, header, smallest) in
        [(protocol::TCP, tcp(), 20), (protocol::UDP, udp(), 8), (protocol::ICMP, icmp(8, 0), 8)]
    {
        for length in 0..=header.len() {
            let first = Ipv4 { fragment: MORE_FRAGMENTS, ..Ipv4::new(number) };
            let kind = if length < smallest { TRUNCATED } else { kind_of(number) };
            let name = format!("IPv4 protocol {number} first fragment of {length} bytes");
            corpus.add(kind, name, first.frame(&cut(&header, length)));
        }
    }
}

fn authentication(corpus: &mut Corpus) {
    let behind = |headers: &[Extension], ip: &Ipv4, upper: u8, payload: &[u8]| -> Vec<u8> {
        let (first, mut body) = chain(headers, upper);
        body.extend(payload);
        let ip = Ipv4 { protocol: first, ..ip.clone() };
        ethernet(ethertype::IPV4, &ip.packet(&body))
    };
    let plain = Ipv4::new(0);
    for words in [0, 1, 2, 4, 5, 16, 255] {
        let header = Extension::authentication(words);
        let kind = if words == 0 { MALFORMED } else { Kind::Tcp };
        let frame = behind(&[header], &plain, protocol::TCP, &tcp());
        corpus.add(kind, format!("IPv4 AH of {words} words, TCP"), frame);
    }
    for (number, name) in PROTOCOLS {
        let frame = behind(&[Extension::authentication(4)], &plain, number, &transport(number));
        corpus.add(kind_of(number), format!("IPv4 AH, {name}"), frame);
    }
    for count in [2, 7, 8, 9, 32] {
        let headers = vec![Extension::authentication(1); count];
        let kind = if count > 8 { MALFORMED } else { Kind::Tcp };
        let frame = behind(&headers, &plain, protocol::TCP, &tcp());
        corpus.add(kind, format!("IPv4 AH {count} times, TCP"), frame);
    }
    // The headers of IPv6 mean nothing behind IPv4.
    for number in [protocol::HOP_BY_HOP, protocol::ROUTING, protocol::FRAGMENT, 60] {
        let frame = behind(&[Extension::new(number)], &plain, protocol::TCP, &tcp());
        corpus.add(Kind::Other, format!("IPv4 with IPv6's header {number}"), frame);
    }
    let lying = Extension { rest: vec![200, 0, 0, 0, 0, 0, 0], ..Extension::authentication(1) };
    let frame = behind(&[lying], &plain, protocol::TCP, &tcp());
    corpus.add(TRUNCATED, "IPv4 AH longer than the packet", frame);
    let header = Extension::authentication(4);
    for (name, fragment, kind) in [("first", MORE_FRAGMENTS, Kind::Tcp), ("last", 100, MALFORMED)] {
        let ip = Ipv4 { fragment, ..Ipv4::new(0) };
        let frame = behind(from_ref(&header), &ip, protocol::TCP, &tcp());
        corpus.add(kind, format!("IPv4 AH in a fragment: {name}"), frame);
    }
}
