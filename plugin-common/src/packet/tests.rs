//! What the parser makes of frames. Whether that lets them pass is tested beside the verdict.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::frames::build::{
    DESTINATION_PORT, DESTINATION_V4, DESTINATION_V6, Extension, Ipv4, Ipv6, MORE_FRAGMENTS,
    SOURCE_PORT, SOURCE_V4, SOURCE_V6, ethernet, icmp, tagged, tcp, udp,
};
use crate::frames::{Kind, Mutator, Sample, chains, corpus};

/// A frame at a hook that says of it what a kernel may say.
struct Hooked {
    bytes: Vec<u8>,
    gso: bool,
}

impl Frame for Hooked {
    fn wire_len(&self) -> u32 {
        Bytes(&self.bytes).wire_len()
    }

    fn is_gso(&self) -> bool {
        self.gso
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        Bytes(&self.bytes).load(offset)
    }
}

/// Where things stand, and the flags, are tested apart: see [`places_are_where_things_stand`].
fn check(name: &str, frame: &[u8], expected: &Packet) {
    let found =
        Packet { tcp_flags: 0, identification: 0, payload: 0, end: 0, ..parse(&Bytes(frame)) };
    assert_eq!(found, *expected, "{name}: {frame:02x?}");
}

fn v4(protocol: u8) -> Packet {
    let mut packet = Packet {
        ethertype: ethertype::IPV4,
        ip_version: 4,
        protocol,
        hop_limit: 64,
        ..Packet::EMPTY
    };
    packet.source[..4].copy_from_slice(&SOURCE_V4);
    packet.destination[..4].copy_from_slice(&DESTINATION_V4);
    packet
}

fn v6(protocol: u8) -> Packet {
    Packet {
        ethertype: ethertype::IPV6,
        ip_version: 6,
        protocol,
        hop_limit: 255,
        source: SOURCE_V6,
        destination: DESTINATION_V6,
        ..Packet::EMPTY
    }
}

fn with_ports(packet: Packet) -> Packet {
    Packet { source_port: SOURCE_PORT, destination_port: DESTINATION_PORT, ..packet }
}

#[test]
fn addresses_ports_and_protocol_are_read() {
    let udp4 = Ipv4 { options: vec![1; 40], ..Ipv4::new(protocol::UDP) };
    let ping6 = Packet { source_port: 128, ..v6(protocol::ICMPV6) };
    let unreachable = Packet { source_port: 3, destination_port: 1, ..v4(protocol::ICMP) };
    let chain = [protocol::HOP_BY_HOP, protocol::ROUTING, protocol::DESTINATION_OPTIONS];
    let chain = chain.map(Extension::new);
    let cases = [
        ("IPv4", Ipv4::new(protocol::TCP).frame(&tcp()), with_ports(v4(protocol::TCP))),
        ("options", udp4.frame(&udp()), with_ports(v4(protocol::UDP))),
        ("IPv6", Ipv6::new(protocol::TCP).frame(&tcp()), with_ports(v6(protocol::TCP))),
        ("chain", Ipv6::with(&chain, protocol::UDP).frame(&udp()), with_ports(v6(protocol::UDP))),
        ("type and code", Ipv4::new(protocol::ICMP).frame(&icmp(3, 1)), unreachable),
        ("ICMPv6", Ipv6::new(protocol::ICMPV6).frame(&icmp(128, 0)), ping6),
        ("no ports in GRE", Ipv4::new(47).frame(&tcp()), v4(47)),
    ];
    for (name, frame, expected) in &cases {
        check(name, frame, expected);
    }
}

#[test]
fn tags_change_nothing_but_the_place() {
    let packet = Ipv4::new(protocol::TCP).packet(&tcp());
    for tags in [&[][..], &[ethertype::VLAN], &[ethertype::SERVICE_VLAN, ethertype::VLAN]] {
        let frame = tagged(tags, ethertype::IPV4, &packet);
        check("tagged", &frame, &with_ports(v4(protocol::TCP)));
    }
}

#[test]
fn arp_is_neither_ip_nor_unreadable() {
    let arp = Packet { ethertype: ethertype::ARP, ..Packet::EMPTY };
    check("ARP", &ethernet(ethertype::ARP, &[0; 28]), &arp);
}

#[test]
fn only_the_part_with_the_transport_header_has_ports() {
    let cases = [
        (0, Fragment::Whole, true),
        (0x4000, Fragment::Whole, true),
        (0x8000, Fragment::Whole, true),
        (MORE_FRAGMENTS, Fragment::First, true),
        (MORE_FRAGMENTS | 1, Fragment::Later, false),
        (0x1fff, Fragment::Later, false),
    ];
    for (field, fragment, ports) in cases {
        let header = Ipv4 { fragment: field, ..Ipv4::new(protocol::TCP) };
        let expected = Packet { fragment, ..v4(protocol::TCP) };
        let expected = if ports { with_ports(expected) } else { expected };
        check("IPv4 fragment", &header.frame(&tcp()), &expected);
    }
    let cases = [
        (0, false, Fragment::Atomic, true),
        (0, true, Fragment::First, true),
        (1, true, Fragment::Later, false),
        (0x1fff, false, Fragment::Later, false),
    ];
    for (offset, more, fragment, ports) in cases {
        let header = Ipv6::with(&[Extension::fragment(offset, more)], protocol::TCP);
        let expected = Packet { fragment, ..v6(protocol::TCP) };
        let expected = if ports { with_ports(expected) } else { expected };
        check("IPv6 fragment", &header.frame(&tcp()), &expected);
    }
}

#[test]
fn places_are_where_things_stand() {
    let fragment = Ipv4 { fragment: MORE_FRAGMENTS, options: vec![1; 8], ..Ipv4::new(17) };
    let chain = [Extension::new(protocol::HOP_BY_HOP), Extension::fragment(1, false)];
    let atomic = Ipv6::with(&[Extension::fragment(0, false)], protocol::TCP);
    let padded = [Ipv4::new(protocol::UDP).frame(&udp()), vec![0; 6]].concat();
    for (name, frame, (payload, end, identification, flags)) in [
        ("TCP", Ipv4::new(6).frame(&tcp()), (34, 54, 0, tcp_flag::SYN)),
        ("padding", padded, (34, 46, 0, 0)),
        ("options", fragment.frame(&udp()), (42, 54, 18, 0)),
        ("fragment", Ipv6::with(&chain, 17).frame(&udp()), (70, 82, 66, 0)),
        ("one fragment", atomic.frame(&tcp()), (62, 82, 58, tcp_flag::SYN)),
        ("ARP", ethernet(ethertype::ARP, &[0; 28]), (14, 0, 0, 0)),
    ] {
        let packet = parse(&Bytes(&frame));
        let found = (packet.payload, packet.end, packet.identification, packet.tcp_flags);
        assert_eq!(found, (payload, end, identification, flags), "{name}: {frame:02x?}");
    }
}

/// What is kept of a frame that cannot be read, for the report.
#[test]
fn what_was_read_before_the_end_is_kept() {
    let truncated = |packet| Packet { unreadable: Some(Unreadable::Truncated), ..packet };
    let frame = Ipv4::new(protocol::TCP).frame(&tcp());
    let nothing_but_type = Packet { ethertype: ethertype::IPV4, ..Packet::EMPTY };
    check("no type", &frame[..13], &truncated(Packet::EMPTY));
    check("no header", &frame[..33], &truncated(nothing_but_type));
    let short = Ipv4::new(protocol::TCP).frame(&tcp()[..19]);
    check("no transport", &short, &truncated(v4(protocol::TCP)));
}

#[test]
fn a_length_of_zero_is_the_frame_s_only_under_segmentation_offload() {
    let jumbo = Extension { number: protocol::HOP_BY_HOP, rest: vec![0, 0xc2, 4, 0, 1, 0, 0] };
    let frames = [
        Ipv4 { total_len: Some(0), ..Ipv4::new(protocol::TCP) }.frame(&tcp()),
        Ipv6 { payload_len: Some(0), ..Ipv6::new(protocol::TCP) }.frame(&tcp()),
        Ipv6 { payload_len: Some(0), ..Ipv6::with(&[jumbo], protocol::TCP) }.frame(&tcp()),
    ];
    for bytes in frames {
        let plain = parse(&Hooked { bytes: bytes.clone(), gso: false });
        assert!(plain.unreadable.is_some(), "{plain:?} of {bytes:02x?}");
        let offloaded = parse(&Hooked { bytes: bytes.clone(), gso: true });
        assert_eq!(offloaded.unreadable, None, "{bytes:02x?}");
        assert_eq!(offloaded.protocol, protocol::TCP, "{bytes:02x?}");
        assert_eq!(offloaded.destination_port, DESTINATION_PORT, "{bytes:02x?}");
        // Cut off before the transport header ends, it is as unreadable as any other.
        let cut = bytes[..bytes.len() - 1].to_vec();
        let cut = parse(&Hooked { bytes: cut, gso: true });
        assert_eq!(cut.unreadable, Some(Unreadable::Truncated));
    }
}

/// A length that is not 0 holds under segmentation offload too.
#[test]
fn segmentation_offload_changes_nothing_else() {
    for sample in corpus() {
        let plain = parse(&Bytes(&sample.bytes));
        let offloaded = parse(&Hooked { bytes: sample.bytes.clone(), gso: true });
        let says_zero = match plain.ethertype {
            ethertype::IPV4 => plain.unreadable == Some(Unreadable::Malformed),
            ethertype::IPV6 => plain.unreadable == Some(Unreadable::Truncated),
            _ => false,
        };
        assert!(plain == offloaded || says_zero, "{}: {plain:?}, {offloaded:?}", sample.name);
    }
}

#[test]
fn every_sample_is_read_as_what_it_is() {
    for sample in corpus() {
        let packet = parse(&Bytes(&sample.bytes));
        let read = match (packet.unreadable, packet.protocol) {
            (Some(unreadable), _) => Kind::Unreadable(unreadable),
            (None, protocol::TCP) => Kind::Tcp,
            (None, protocol::UDP) => Kind::Udp,
            (None, protocol::ICMP | protocol::ICMPV6) if sample.kind != Kind::Other => Kind::Icmp,
            (None, _) => Kind::Other,
        };
        assert_eq!(read, sample.kind, "{}: {packet:?} of {:02x?}", sample.name, sample.bytes);
    }
}

#[test]
fn extension_headers_are_followed_in_every_order_up_to_the_bound_and_not_beyond() {
    for sample in chains(5, &[6, 7, 8, 9, 10, 11, 12]) {
        let Sample { name, kind, bytes } = sample;
        let expected = match kind {
            Kind::Unreadable(unreadable) => Some(unreadable),
            _ => None,
        };
        let packet = parse(&Bytes(&bytes));
        assert_eq!(packet.unreadable, expected, "{name}: {bytes:02x?}");
        assert!(expected.is_some() || packet.protocol == protocol::TCP, "{name}: {packet:?}");
    }
}

/// Every byte that could be a length or a number, with every value: nothing is read past the end
/// ([`Bytes::load`] would say so), nothing overflows, and what was too short stays so.
#[test]
fn no_value_of_a_byte_upsets_the_parser() {
    let chain = [
        Extension::new(protocol::HOP_BY_HOP),
        Extension::fragment(0, true),
        Extension::authentication(2),
    ];
    let frames = [
        Ipv4 { options: vec![1; 8], ..Ipv4::new(protocol::UDP) }.frame(&udp()),
        Ipv6::with(&chain, protocol::TCP).frame(&tcp()),
        tagged(&[ethertype::VLAN; 2], ethertype::IPV4, &Ipv4::new(6).packet(&tcp())),
    ];
    for frame in frames {
        for position in 12..frame.len() {
            for value in 0..=u8::MAX {
                let mut frame = frame.clone();
                frame[position] = value;
                let packet = parse(&Bytes(&frame));
                let ports = packet.source_port != 0 || packet.destination_port != 0;
                assert!(packet.unreadable.is_none() || !ports, "{packet:?} of {frame:02x?}");
            }
        }
    }
}

/// Options of every length, of bytes that mean something to the walk.
#[test]
fn options_are_walked_as_one_reads_them() {
    const BYTES: [u8; 14] = [0, 1, 1, 1, 1, 2, 3, 4, 5, 7, 39, 131, 137, 255];
    let mut random = Mutator::new(0x0b71);
    let mut seen = [0; 3];
    for number in 0..200_000 {
        let length = 4 * (1 + number % 10);
        let options: Vec<u8> = (0..length).filter_map(|_| random.one_of(&BYTES)).collect();
        let frame = Ipv4 { options: options.clone(), ..Ipv4::new(protocol::TCP) }.frame(&tcp());
        let expected = as_one_reads(&options);
        assert_eq!(parse(&Bytes(&frame)).unreadable, expected, "{options:?}");
        seen[expected.map_or(0, |it| if it == Unreadable::Malformed { 1 } else { 2 })] += 1;
    }
    assert!(seen.iter().all(|count| *count > 10_000), "one is hardly met: {seen:?}");
}

/// What RFC 791, 3.1 says of options.
fn as_one_reads(options: &[u8]) -> Option<Unreadable> {
    match *options {
        [] | [0, ..] => None,
        [1, ref rest @ ..] => as_one_reads(rest),
        [131 | 137, ..] => Some(Unreadable::SourceRoute),
        [_, length, ..] if length >= 2 && options.len() >= length.into() => {
            as_one_reads(&options[length.into()..])
        }
        _ => Some(Unreadable::Malformed),
    }
}

/// The byte that is a type in a routing header.
#[test]
fn a_routing_header_of_type_0_is_a_source_route_and_no_other_is() {
    for number in 0..=u8::MAX {
        let routing = Extension { number: protocol::ROUTING, rest: vec![0, number, 0, 0, 0, 0, 0] };
        let packet = parse(&Bytes(&Ipv6::with(&[routing], protocol::UDP).frame(&udp())));
        let expected = (number == 0).then_some(Unreadable::SourceRoute);
        assert_eq!(packet.unreadable, expected, "type {number}");
        assert_eq!(packet.destination, DESTINATION_V6, "told in a report");
    }
}
