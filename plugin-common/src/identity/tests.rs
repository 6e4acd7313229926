//! What a container may say of itself, and what not of others.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::frames::build::{Extension, Ipv4, Ipv6, MORE_FRAGMENTS, ethernet, icmp, tcp, udp};
use crate::packet::{Bytes, parse};

/// The source of every frame that is built.
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OWN: [u8; 4] = [10, 0, 0, 5];
const OTHER: [u8; 4] = [10, 0, 0, 6];
const OWN_6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
const OTHER_6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6];
const ALL: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const NOBODY: [u8; 16] = [0; 16];

const MAC_SPOOFED: Standing = Standing::Refused(Reason::SpoofedMac);
const ADDRESS_SPOOFED: Standing = Standing::Refused(Reason::SpoofedAddress);
const NEIGHBOUR_SPOOFED: Standing = Standing::Refused(Reason::SpoofedNeighbour);
const ROUTER: Standing = Standing::Refused(Reason::RogueRouter);
const SERVER: Standing = Standing::Refused(Reason::RogueServer);

fn endpoint(checked: bool) -> Endpoint {
    // In the last place as in the first.
    let mut endpoint = Endpoint { mac: MAC, checked: checked.into(), ..Endpoint::default() };
    endpoint.v4[3] = u32::from_ne_bytes(OWN);
    endpoint.v6[3] = OWN_6;
    endpoint
}

/// As sent by a container that is checked, and by one that is not.
#[track_caller]
fn check(name: &str, frame: &[u8], checked: Standing, free: Standing) {
    for (endpoint, expected) in [(endpoint(true), checked), (endpoint(false), free)] {
        let packet = parse(&Bytes(frame));
        assert_eq!(packet.unreadable, None, "{name}");
        let found = sent(&Bytes(frame), &packet, &endpoint);
        assert_eq!(found, expected, "{name}, checked: {}", endpoint.checked);
        assert_eq!(Standing::from_number(found.number()), found, "{name}: there and back");
    }
}

fn v4(source: [u8; 4], payload: &[u8]) -> Vec<u8> {
    Ipv4 { source, ..Ipv4::new(protocol::UDP) }.frame(payload)
}

fn udp_between(source: u16, destination: u16) -> Vec<u8> {
    let mut bytes = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    bytes.extend([0, 8, 0, 0]);
    bytes
}

#[test]
fn the_sender_is_the_container() {
    use Standing::Ordinary;
    check("its own", &v4(OWN, &udp()), Ordinary, Ordinary);
    check("another's address", &v4(OTHER, &udp()), ADDRESS_SPOOFED, Ordinary);
    check("none", &v4([0; 4], &udp()), ADDRESS_SPOOFED, Ordinary);
    let mut frame = v4(OWN, &udp());
    frame[11] = 9;
    check("another's link-layer address", &frame, MAC_SPOOFED, Ordinary);
    let six = |source| Ipv6 { source, ..Ipv6::new(protocol::TCP) }.frame(&tcp());
    check("IPv6, its own", &six(OWN_6), Ordinary, Ordinary);
    check("IPv6, another's", &six(OTHER_6), ADDRESS_SPOOFED, Ordinary);
    check("IPv6, none", &six(NOBODY), ADDRESS_SPOOFED, Ordinary);
    let part = Ipv4 { source: OTHER, fragment: MORE_FRAGMENTS | 9, ..Ipv4::new(6) }.frame(&tcp());
    check("a part", &part, ADDRESS_SPOOFED, Ordinary);
}

#[test]
fn it_asks_for_an_address_and_gives_out_none() {
    use Standing::Ordinary;
    check("asks", &v4([0; 4], &udp_between(68, 67)), Ordinary, Ordinary);
    check("asks again", &v4(OWN, &udp_between(68, 67)), Ordinary, Ordinary);
    check("gives", &v4(OWN, &udp_between(67, 68)), SERVER, SERVER);
    check("gives as another", &v4(OTHER, &udp_between(67, 68)), SERVER, SERVER);
    let six = |source, destination| {
        Ipv6 { source: OWN_6, ..Ipv6::new(protocol::UDP) }.frame(&udp_between(source, destination))
    };
    check("IPv6, asks", &six(546, 547), Ordinary, Ordinary);
    check("IPv6, gives", &six(547, 546), SERVER, SERVER);
}

fn arp(operation: u8, mac: [u8; 6], address: [u8; 4]) -> Vec<u8> {
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, operation];
    arp.extend(mac);
    arp.extend(address);
    arp.extend([0; 10]);
    arp
}

#[test]
fn arp_says_what_is_its_own() {
    use Standing::Needed;
    let frame = |arp: &[u8]| ethernet(ethertype::ARP, arp);
    for operation in [1, 2] {
        check("its own", &frame(&arp(operation, MAC, OWN)), Needed, Needed);
        check("of nobody", &frame(&arp(operation, MAC, [0; 4])), Needed, Needed);
        let other = frame(&arp(operation, MAC, OTHER));
        check("another's address", &other, NEIGHBOUR_SPOOFED, Needed);
        let other = frame(&arp(operation, [2, 0, 0, 0, 0, 9], OWN));
        check("at another's place", &other, NEIGHBOUR_SPOOFED, Needed);
    }
    check("another operation", &frame(&arp(3, MAC, OWN)), NEIGHBOUR_SPOOFED, Needed);
    for (place, value) in [(0, 1), (1, 6), (2, 0x86), (4, 8), (5, 16), (6, 1)] {
        let mut arp = arp(1, MAC, OWN);
        arp[place] = value;
        check("of another kind", &frame(&arp), NEIGHBOUR_SPOOFED, Needed);
    }
    for length in 0..18 {
        check("cut", &frame(&arp(1, MAC, OWN)[..length]), NEIGHBOUR_SPOOFED, Needed);
    }
    let answer = frame(&arp(2, [9; 6], OTHER));
    assert_eq!(received(&parse(&Bytes(&answer))), Needed, "others may answer");
}

/// A message about a target, with options.
fn about(kind: u8, target: [u8; 16], options: &[u8]) -> Vec<u8> {
    let mut message = icmp(kind, 0);
    message.extend(target);
    message.extend(options);
    message
}

fn to(source: [u8; 16], destination: [u8; 16], hop_limit: u8, message: &[u8]) -> Vec<u8> {
    Ipv6 { hop_limit, source, destination, ..Ipv6::new(protocol::ICMPV6) }.frame(message)
}

const OWN_OPTION: [u8; 8] = [2, 1, 2, 0, 0, 0, 0, 1];
const OTHER_OPTION: [u8; 8] = [2, 1, 2, 0, 0, 0, 0, 9];
const NONCE: [u8; 8] = [14, 1, 9, 9, 9, 9, 9, 9];

#[test]
fn neighbour_discovery_says_what_is_its_own() {
    use Standing::{Needed, Ordinary};
    const ASK: u8 = 135;
    const SAY: u8 = 136;
    let own = &OWN_OPTION[..];
    for (name, message, checked) in [
        ("asks for another", about(ASK, OTHER_6, own), Needed),
        ("asks, and says nothing", about(ASK, OTHER_6, &[]), Needed),
        ("asks as another", about(ASK, OTHER_6, &OTHER_OPTION), NEIGHBOUR_SPOOFED),
        ("asks with more", about(ASK, OTHER_6, &[OWN_OPTION; 2].concat()), NEIGHBOUR_SPOOFED),
        ("asks with half", about(ASK, OTHER_6, &own[..7]), NEIGHBOUR_SPOOFED),
        (
            "an option of no length",
            about(ASK, OTHER_6, &[2, 0, 2, 0, 0, 0, 0, 1]),
            NEIGHBOUR_SPOOFED,
        ),
        ("cut", about(ASK, OTHER_6, own)[..23].to_vec(), NEIGHBOUR_SPOOFED),
        ("says its own", about(SAY, OWN_6, own), Needed),
        ("says another's", about(SAY, OTHER_6, own), NEIGHBOUR_SPOOFED),
        ("says another's place", about(SAY, OWN_6, &OTHER_OPTION), NEIGHBOUR_SPOOFED),
    ] {
        check(name, &to(OWN_6, ALL, 255, &message), checked, Needed);
        let routed = if checked == Needed { Ordinary } else { checked };
        check(name, &to(OWN_6, ALL, 64, &message), routed, Ordinary);
        check(name, &to(OTHER_6, ALL, 255, &message), ADDRESS_SPOOFED, Needed);
    }
    let alone = |target| to(OWN_6, OTHER_6, 255, &about(ASK, target, own));
    check("asks it for itself", &alone(OTHER_6), Needed, Needed);
    check("tells it something", &alone([7; 16]), NEIGHBOUR_SPOOFED, Needed);
    let before = |target, options: &[u8]| to(NOBODY, ALL, 255, &about(ASK, target, options));
    check("before it has one", &before(OWN_6, &[]), Needed, Needed);
    check("before it has one, with a nonce", &before(OWN_6, &NONCE), Needed, Needed);
    check("before, for another's", &before(OTHER_6, &[]), NEIGHBOUR_SPOOFED, Needed);
    check("an echo of nobody", &to(NOBODY, ALL, 255, &icmp(128, 0)), ADDRESS_SPOOFED, Ordinary);
    // A fragment header hides nothing, and is none of neighbour discovery's.
    let header = Ipv6::with(&[Extension::fragment(0, false)], protocol::ICMPV6);
    let atomic = Ipv6 { source: OWN_6, ..header }.frame(&about(SAY, OWN_6, own));
    check("in a fragment", &atomic, Ordinary, Ordinary);
}

#[test]
fn it_is_no_router() {
    use Standing::{Needed, Ordinary};
    for kind in [134, 137] {
        for hop_limit in [255, 64] {
            let frame = to(OWN_6, ALL, hop_limit, &about(kind, OWN_6, &[]));
            check("whole", &frame, ROUTER, ROUTER);
        }
        for more in [false, true] {
            let header = Ipv6::with(&[Extension::fragment(0, more)], protocol::ICMPV6);
            let frame = Ipv6 { source: OWN_6, ..header }.frame(&about(kind, OWN_6, &[]));
            check("in a fragment", &frame, ROUTER, ROUTER);
        }
    }
    check("it asks for one", &to(OWN_6, ALL, 255, &icmp(133, 0)), Needed, Needed);
    check("before it has an address", &to(NOBODY, ALL, 255, &icmp(133, 0)), Needed, Needed);
    check("it asks anybody", &to(OWN_6, OTHER_6, 255, &icmp(133, 0)), Ordinary, Ordinary);
}

#[test]
fn listener_discovery_stays_on_the_link() {
    use Standing::{Needed, Ordinary};
    for kind in [131, 132, 143] {
        let message = about(kind, ALL, &[]);
        check("a report", &to(OWN_6, ALL, 1, &message), Needed, Needed);
        check("before it has an address", &to(NOBODY, ALL, 1, &message), Needed, Needed);
        check("as another", &to(OTHER_6, ALL, 1, &message), ADDRESS_SPOOFED, Needed);
        check("to be routed", &to(OWN_6, ALL, 64, &message), Ordinary, Ordinary);
        check("to anybody", &to(OWN_6, OTHER_6, 1, &message), Ordinary, Ordinary);
    }
    check("a router's", &to(OWN_6, ALL, 1, &about(130, ALL, &[])), Ordinary, Ordinary);
}

#[test]
fn what_a_link_needs_is_received_and_nothing_in_its_name() {
    use Standing::{Needed, Ordinary};
    for (kind, hop_limit, expected) in [
        (130, 1, Needed),
        (130, 255, Ordinary),
        (135, 255, Needed),
        (135, 254, Ordinary),
        (136, 255, Needed),
        (136, 1, Ordinary),
        (134, 255, Ordinary),
        (137, 255, Ordinary),
        (128, 255, Ordinary),
    ] {
        let frame = to(OTHER_6, OWN_6, hop_limit, &about(kind, OTHER_6, &[]));
        assert_eq!(received(&parse(&Bytes(&frame))), expected, "{kind}, {hop_limit}");
        let header = Ipv6::with(&[Extension::fragment(0, false)], protocol::ICMPV6);
        let frame = Ipv6 { hop_limit, ..header }.frame(&about(kind, OTHER_6, &[]));
        assert_eq!(received(&parse(&Bytes(&frame))), Ordinary, "{kind} in a fragment");
        // The same numbers in IPv4 are no such thing.
        let frame = Ipv4::new(protocol::ICMPV6).frame(&about(kind, OTHER_6, &[]));
        assert_eq!(received(&parse(&Bytes(&frame))), Ordinary, "{kind} in IPv4");
    }
}
