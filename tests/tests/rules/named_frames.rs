//! The frames of the named cases, and what is to become of them.

use plugin_common::frames::build::{
    Extension, Ipv4, Ipv6, MORE_FRAGMENTS, chain, ethernet, icmp, tagged,
};
use plugin_common::packet::{ethertype, protocol};
use plugin_common::verdict::Reason;

use crate::named::{Row, Rules, Step};

use Reason::{
    LoneFragment, Malformed, NoRule, Passed, RogueRouter, SourceRoute, SpoofedAddress, SpoofedMac,
    SpoofedNeighbour, Truncated, UnknownEthertype,
};
use Rules::{Narrow, Open, OpenV4};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OWN: [u8; 4] = [10, 0, 0, 5];
const PEER: [u8; 4] = [192, 0, 2, 1];
const OWN_6: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
const LOCAL_6: [u8; 16] = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5];
const PEER_6: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ALL_NODES: [u8; 16] = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Every case.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Rows(Vec::new());
    link(&mut rows);
    arp(&mut rows);
    ipv4(&mut rows);
    ipv4_fragments(&mut rows);
    ipv6(&mut rows);
    ipv6_fragments(&mut rows);
    neighbours(&mut rows);
    transport(&mut rows);
    errors(&mut rows);
    tunnels(&mut rows);
    rows.0
}

struct Rows(Vec<Row>);

impl Rows {
    /// A frame that the container sends.
    fn add(&mut self, id: u32, what: &str, rules: Rules, bytes: Vec<u8>, reason: Reason) {
        self.steps(&[id], what, rules, vec![(bytes, true, reason)]);
    }

    /// Of a frame that is fine for what it is, that the rules are asked about it.
    fn judged(&mut self, id: u32, what: &str, bytes: Vec<u8>) {
        self.add(id, what, Open, bytes.clone(), Passed);
        self.add(id, what, Narrow, bytes, NoRule);
    }

    fn steps(
        &mut self,
        ids: &[u32],
        what: &str,
        rules: Rules,
        steps: Vec<(Vec<u8>, bool, Reason)>,
    ) {
        let steps = steps.into_iter();
        let steps = steps
            .map(|(bytes, from_container, reason)| Step { bytes, from_container, reason })
            .collect();
        self.0.push(Row { ids: ids.to_vec(), what: what.to_owned(), rules, steps });
    }
}

fn tcp_to(port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![0x9c, 0x40, high, low, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]
}

fn udp_to(port: u16) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    vec![0x9c, 0x40, high, low, 0, 12, 0, 0, 1, 2, 3, 4]
}

fn v4(number: u8) -> Ipv4 {
    Ipv4 { source: OWN, destination: PEER, ..Ipv4::new(number) }
}

fn v6(number: u8) -> Ipv6 {
    v6_with(&[], number)
}

fn v6_with(extensions: &[Extension], number: u8) -> Ipv6 {
    Ipv6 { source: OWN_6, destination: PEER_6, ..Ipv6::with(extensions, number) }
}

/// A frame with other bytes from a place on.
fn with(mut frame: Vec<u8>, place: usize, bytes: &[u8]) -> Vec<u8> {
    frame.splice(place..place + bytes.len(), bytes.iter().copied());
    frame
}

fn cut(frame: &[u8], length: usize) -> Vec<u8> {
    frame.iter().copied().take(length).collect()
}

fn link(rows: &mut Rows) {
    let https = v4(protocol::TCP).frame(&tcp_to(443));
    let http = v4(protocol::TCP).packet(&tcp_to(80));
    rows.add(1, "13 bytes", Open, cut(&https, 13), Truncated);
    rows.add(2, "14 bytes", Open, cut(&https, 14), Truncated);
    for (id, length) in (3..=10).zip(15..) {
        rows.add(id, &format!("{length} bytes"), Open, cut(&https, length), Truncated);
    }
    let snap = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0][..], &http].concat();
    rows.add(11, "802.3 with SNAP", Open, ethernet(48, &snap), UnknownEthertype);
    for number in [0, 0x05ff, 0x0600, 0xffff] {
        let what = format!("type {number:#06x}");
        rows.add(12, &what, Open, ethernet(number, &http), UnknownEthertype);
    }
    let (vlan, service) = (ethertype::VLAN, ethertype::SERVICE_VLAN);
    for (id, tags) in [(13, &[vlan][..]), (14, &[service]), (15, &[service, vlan])] {
        rows.judged(id, "what is behind tags counts", tagged(tags, ethertype::IPV4, &http));
    }
    let triple = tagged(&[service, vlan, vlan], ethertype::IPV4, &http);
    rows.add(15, "three tags", Open, triple, UnknownEthertype);
    for (id, tag) in [(16, [0, 0]), (17, [0x0f, 0xff])] {
        let frame = with(tagged(&[vlan], ethertype::IPV4, &http), 14, &tag);
        rows.judged(id, "the number of a VLAN says nothing", frame);
    }
    for length in [15, 16, 17] {
        let frame = cut(&tagged(&[vlan], ethertype::IPV4, &http), length);
        rows.add(18, "a tag cut off", Open, frame, Truncated);
    }
    for number in [0x8847, 0x8848, 0x8863, 0x8864, 0x88e5, 0x88cc, 0x888e, 0x4305, 0x9000] {
        let what = format!("type {number:#06x}");
        rows.add(20, &what, Open, ethernet(number, &http), UnknownEthertype);
    }
    for mac in [[1, 0, 0x5e, 0, 0, 1], [0xff; 6]] {
        rows.add(21, "from everybody", Open, with(https.clone(), 6, &mac), SpoofedMac);
    }
    let other = with(https.clone(), 6, &[2, 0, 0, 0, 0, 9]);
    rows.add(22, "from another's MAC address", Open, other, SpoofedMac);
    let tree = with(
        ethernet(38, &[&[0x42, 0x42, 3][..], &[0; 35]].concat()),
        0,
        &[1, 0x80, 0xc2, 0, 0, 0],
    );
    rows.add(23, "spanning tree", Open, tree, UnknownEthertype);
    let tree = with(https, 0, &[1, 0x80, 0xc2, 0, 0, 0]);
    rows.add(23, "to the bridge's group, which gets what others get", Open, tree, Passed);
}

/// An ARP message with this sender.
fn arp_from(mac: [u8; 6], address: [u8; 4], operation: u8) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, operation];
    [&head[..], &mac, &address, &[0; 6], &[10, 0, 0, 1]].concat()
}

fn arp(rows: &mut Rows) {
    let own = arp_from(MAC, OWN, 1);
    let frame = |arp: &[u8]| ethernet(ethertype::ARP, arp);
    rows.add(24, "ARP cut short", Open, frame(&cut(&own, 17)), SpoofedNeighbour);
    for (place, value) in [(4, 8), (5, 16), (1, 6), (2, 0x86)] {
        let wrong = with(own.clone(), place, &[value]);
        rows.add(25, "ARP for something else", Open, frame(&wrong), SpoofedNeighbour);
    }
    let gateway = arp_from(MAC, [10, 0, 0, 1], 2);
    rows.add(26, "another's address", Narrow, frame(&gateway), SpoofedNeighbour);
    let mac = arp_from([2, 0, 0, 0, 0, 9], OWN, 2);
    rows.add(27, "another's MAC address", Narrow, frame(&mac), SpoofedNeighbour);
    let gratuitous = with(own.clone(), 24, &OWN);
    rows.add(28, "gratuitous", Narrow, frame(&gratuitous), Passed);
    let gratuitous = with(gateway.clone(), 24, &[10, 0, 0, 1]);
    rows.add(28, "gratuitous, of another", Narrow, frame(&gratuitous), SpoofedNeighbour);
    rows.add(29, "RARP", Open, ethernet(0x8035, &arp_from(MAC, OWN, 3)), UnknownEthertype);
    rows.add(29, "RARP's question in ARP", Open, frame(&arp_from(MAC, OWN, 3)), SpoofedNeighbour);
    let behind = |arp: &[u8]| tagged(&[ethertype::VLAN], ethertype::ARP, arp);
    rows.add(30, "behind a tag", Narrow, behind(&own), Passed);
    rows.add(30, "behind a tag, another's", Narrow, behind(&gateway), SpoofedNeighbour);
}

fn ipv4(rows: &mut Rows) {
    let tcp = || v4(protocol::TCP);
    let https = tcp_to(443);
    for ihl in 0..5 {
        let frame = Ipv4 { ihl: Some(ihl), ..tcp() }.frame(&https);
        rows.add(31, &format!("ihl {ihl}"), Open, frame, Malformed);
    }
    let longest = Ipv4 { options: vec![1; 40], ..tcp() };
    rows.add(32, "ihl 15", Narrow, longest.frame(&https), Passed);
    let short = Ipv4 { total_len: Some(59), ..longest.clone() };
    rows.add(32, "ihl 15 in 59 bytes", Open, short.frame(&[]), Malformed);
    rows.add(32, "59 bytes of ihl 15", Open, cut(&longest.frame(&[]), 14 + 59), Truncated);
    for version in [5, 6] {
        let frame = Ipv4 { version, ..tcp() }.frame(&https);
        rows.add(33, &format!("version {version} as IPv4"), Open, frame, Malformed);
    }
    let sized = |total_len| Ipv4 { total_len: Some(total_len), ..tcp() };
    rows.add(34, "shorter than its header", Open, sized(19).frame(&https), Malformed);
    rows.add(35, "longer than the frame", Open, sized(41).frame(&https), Truncated);
    let trailed = [&https[..], &[0xff; 6]].concat();
    rows.add(36, "with a trailer", Narrow, sized(40).frame(&trailed), Passed);
    rows.add(37, "of length 0, and no offload", Open, sized(0).frame(&https), Malformed);
    let wrong = with(tcp().frame(&https), 24, &[0xba, 0xad]);
    rows.add(38, "a wrong checksum is the receiver's business", Narrow, wrong, Passed);
    for (what, options, reason) in [
        ("no operation", &[1; 40][..], Passed),
        ("loose source route", &[131, 7, 4, 10, 0, 0, 9, 0], SourceRoute),
        ("strict source route", &[137, 7, 4, 10, 0, 0, 9, 0], SourceRoute),
        ("a source route behind others", &[1, 148, 4, 0, 0, 131, 3, 4], SourceRoute),
        ("record route", &[7, 7, 4, 0, 0, 0, 0, 0], Passed),
        ("timestamp", &[68, 8, 5, 0, 0, 0, 0, 0], Passed),
        ("length 0", &[7, 0, 0, 0], Malformed),
        ("length 1", &[7, 1, 0, 0], Malformed),
        ("length 255", &[7, 255, 0, 0], Malformed),
    ] {
        let header = Ipv4 { options: options.to_vec(), ..tcp() };
        rows.add(39, what, Narrow, header.frame(&https), reason);
        // As it comes in, too.
        let header = Ipv4 { source: PEER, destination: OWN, ..header };
        rows.steps(&[39], what, Narrow, vec![(header.frame(&https), false, reason)]);
    }
    for ttl in [0, 1] {
        let frame = with(tcp().frame(&https), 22, &[ttl]);
        rows.add(40, &format!("TTL {ttl}"), Narrow, frame, Passed);
    }
    for source in [[0; 4], [127, 0, 0, 1], [224, 0, 0, 1], [255; 4], [10, 0, 0, 9]] {
        let frame = Ipv4 { source, ..tcp() }.frame(&https);
        rows.add(41, &format!("from {source:?}"), Open, frame, SpoofedAddress);
    }
    let broadcast = Ipv4 { destination: [255; 4], ..v4(protocol::UDP) };
    rows.judged(42, "to everybody", broadcast.frame(&udp_to(9)));
    let flagged = Ipv4 { fragment: 0x8000, ..tcp() };
    rows.add(43, "the reserved flag", Narrow, flagged.frame(&https), Passed);
}

fn ipv4_fragments(rows: &mut Rows) {
    let part = |fragment, identification| Ipv4 { fragment, identification, ..v4(protocol::TCP) };
    let (https, http) = (tcp_to(443), tcp_to(80));
    let both = Ipv4 { fragment: MORE_FRAGMENTS | 0x4000, ..v4(protocol::TCP) };
    rows.add(44, "more of what must not be fragmented", Narrow, both.frame(&https), Passed);
    rows.add(45, "a first part", Narrow, part(MORE_FRAGMENTS, 1).frame(&https), Passed);
    rows.add(45, "a first part", Narrow, part(MORE_FRAGMENTS, 1).frame(&http), NoRule);
    for length in 1..8 {
        let frame = part(MORE_FRAGMENTS, 1).frame(&cut(&https, length));
        rows.add(46, &format!("a first part of {length} bytes"), Open, frame, Truncated);
    }
    let lone = |id, what: &str, fragment, rules, rows: &mut Rows| {
        rows.add(id, what, rules, part(fragment, 1).frame(&https), LoneFragment);
    };
    lone(47, "flags that come by themselves", MORE_FRAGMENTS | 1, Open, rows);
    lone(48, "the last part alone", 185, Open, rows);
    lone(51, "beyond 64 KiB", 0x1fff, Open, rows);
    lone(54, "a later part, under rules with ports", 2, Narrow, rows);
    let first = (part(MORE_FRAGMENTS, 1).frame(&https), true, Passed);
    let later = |identification, reason| (part(185, identification).frame(&https), true, reason);
    rows.steps(&[54], "behind its first part", Narrow, vec![first.clone(), later(1, Passed)]);
    // Ports again, which another first part has: judged by themselves.
    let again = (part(MORE_FRAGMENTS, 1).frame(&http), true, NoRule);
    rows.steps(&[49], "other ports in the same place", Narrow, vec![first.clone(), again]);
    let before = vec![later(1, LoneFragment), first.clone(), later(1, Passed)];
    rows.steps(&[50], "before its first part", Narrow, before);
    let elsewhere = Ipv4 { destination: [192, 0, 2, 9], ..part(185, 1) };
    let elsewhere = (elsewhere.frame(&https), true, LoneFragment);
    let mixed = vec![first, elsewhere, later(2, LoneFragment), later(1, Passed)];
    rows.steps(&[52], "the same number elsewhere", Narrow, mixed);
}

fn ipv6(rows: &mut Rows) {
    let (https, http) = (tcp_to(443), tcp_to(80));
    let plain = v6(protocol::TCP).frame(&https);
    for length in 1..40 {
        rows.add(55, "cut off", Open, cut(&plain, 14 + length), Truncated);
    }
    let jumbo = Extension { number: protocol::HOP_BY_HOP, rest: vec![0, 0xc2, 4, 0, 1, 0, 0] };
    let jumbo = Ipv6 { payload_len: Some(0), ..v6_with(&[jumbo], protocol::TCP) };
    rows.add(56, "a jumbogram", Open, jumbo.frame(&https), Truncated);
    let long = Ipv6 { payload_len: Some(21), ..v6(protocol::TCP) };
    rows.add(57, "longer than the frame", Open, long.frame(&https), Truncated);
    let [hop, options, routing] =
        [protocol::HOP_BY_HOP, protocol::DESTINATION_OPTIONS, protocol::ROUTING]
            .map(Extension::new);
    let all =
        [hop.clone(), options.clone(), routing, Extension::fragment(0, false), options.clone()];
    rows.add(58, "a long chain", Narrow, v6_with(&all, 6).frame(&https), Passed);
    rows.judged(58, "a long chain", v6_with(&all, 6).frame(&http));
    for (count, reason) in [(8, Passed), (9, Malformed), (32, Malformed), (100, Malformed)] {
        let frame = v6_with(&vec![options.clone(); count], 6).frame(&https);
        rows.add(59, &format!("{count} headers"), Narrow, frame, reason);
    }
    let late = v6_with(&[options.clone(), hop.clone()], 6).frame(&https);
    rows.add(60, "hop-by-hop options behind others", Open, late, Malformed);
    let twice = v6_with(&[hop.clone(), hop], 6).frame(&https);
    rows.add(61, "hop-by-hop options twice", Open, twice, Malformed);
    let lying = Extension { rest: vec![200, 1, 4, 0, 0, 0, 0], ..options.clone() };
    rows.add(62, "a header beyond the packet", Open, v6_with(&[lying], 6).frame(&https), Truncated);
    let whole = v6_with(&[options], 59).frame(&[]);
    for length in 0..8 {
        rows.add(63, "a header cut off", Open, cut(&whole, 54 + length), Truncated);
    }
    for (number, reason) in [(0, SourceRoute), (2, Passed), (4, Passed)] {
        for left in [0, 1] {
            let rest = [&[2, number, left][..], &[0; 20]].concat();
            let header = Extension { number: protocol::ROUTING, rest };
            let what = format!("a routing header of type {number}, {left} left");
            let header = v6_with(&[header], 6);
            rows.add(64, &what, Narrow, header.frame(&https), reason);
            let header = Ipv6 { source: PEER_6, destination: OWN_6, ..header };
            rows.steps(&[64], &what, Narrow, vec![(header.frame(&https), false, reason)]);
        }
    }
    let (first, body) = chain(&[Extension::authentication(4)], 6);
    let behind = |payload: &[u8]| v4(first).frame(&[&body[..], payload].concat());
    rows.add(65, "behind AH", Narrow, behind(&https), Passed);
    rows.judged(65, "behind AH", behind(&http));
    rows.judged(65, "ESP", v6(50).frame(&[0; 24]));
    rows.judged(66, "no next header", v6(59).frame(&https));
    for number in [135, 139, 140, 253, 254] {
        rows.judged(67, &format!("protocol {number}"), v6(number).frame(&https));
    }
    for source in [
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 5],
        [0; 16],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        ALL_NODES,
        PEER_6,
    ] {
        let frame = Ipv6 { source, ..v6(protocol::TCP) }.frame(&https);
        rows.add(72, &format!("from {source:02x?}"), Open, frame, SpoofedAddress);
    }
    rows.add(75, "where there is no IPv6", OpenV4, plain, SpoofedAddress);
    let local = Ipv6 { source: LOCAL_6, ..v6(protocol::TCP) }.frame(&https);
    rows.add(75, "link-local, where there is no IPv6", OpenV4, local, SpoofedAddress);
}

fn ipv6_fragments(rows: &mut Rows) {
    let (https, http) = (tcp_to(443), tcp_to(80));
    let part = |offset, more| v6_with(&[Extension::fragment(offset, more)], protocol::TCP);
    rows.add(68, "an atomic one", Narrow, part(0, false).frame(&https), Passed);
    rows.judged(68, "an atomic one", part(0, false).frame(&http));
    let chain = [Extension::fragment(0, true), Extension::new(protocol::ROUTING)];
    let half = Ipv6 { payload_len: Some(12), ..v6_with(&chain, protocol::TCP) };
    rows.add(69, "half a chain", Open, half.frame(&[]), Truncated);
    let chain = [Extension::fragment(0, true), Extension::new(protocol::DESTINATION_OPTIONS)];
    rows.add(69, "a chain without its end", Open, v6_with(&chain, 6).frame(&[]), Truncated);
    let first = (part(0, true).frame(&https), true, Passed);
    let again = (part(0, true).frame(&http), true, NoRule);
    let later = (part(185, false).frame(&https), true, Passed);
    let overlap = vec![first, again, later];
    rows.steps(&[70], "other ports in the same place", Narrow, overlap);
    rows.add(70, "without the first", Narrow, part(185, false).frame(&https), LoneFragment);
    let twice = [Extension::fragment(0, true), Extension::fragment(0, true)];
    rows.add(71, "two fragment headers", Open, v6_with(&twice, 6).frame(&https), Malformed);
    let twice = [Extension::fragment(0, false), Extension::fragment(185, false)];
    rows.add(71, "two fragment headers", Open, v6_with(&twice, 6).frame(&https), Malformed);
}

/// A message of neighbour discovery about `target`, with options.
fn discovery(message: u8, target: [u8; 16], options: &[u8]) -> Vec<u8> {
    [&icmp(message, 0)[..], &target, options].concat()
}

fn neighbours(rows: &mut Rows) {
    let local = |hop_limit, destination| Ipv6 {
        source: LOCAL_6,
        destination,
        hop_limit,
        ..Ipv6::new(protocol::ICMPV6)
    };
    let nd = local(255, ALL_NODES);
    let own_mac = [&[1, 1][..], &MAC].concat();
    let other_mac = [1, 1, 2, 0, 0, 0, 0, 9];
    rows.add(73, "its own", Narrow, nd.frame(&discovery(136, OWN_6, &own_mac)), Passed);
    rows.add(73, "a router's", Open, nd.frame(&icmp(134, 0)), RogueRouter);
    rows.add(73, "a redirect", Open, nd.frame(&discovery(137, PEER_6, &[0; 16])), RogueRouter);
    for (what, message, target, options) in [
        ("another's address", 136, PEER_6, &own_mac[..]),
        ("another's MAC address", 136, OWN_6, &other_mac),
        ("another's MAC address, asking", 135, PEER_6, &other_mac),
        ("an option of length 0", 135, PEER_6, &[1, 0, 2, 0, 0, 0, 0, 1]),
    ] {
        let frame = nd.frame(&discovery(message, target, options));
        rows.add(73, what, Open, frame, SpoofedNeighbour);
    }
    let far = local(254, ALL_NODES).frame(&discovery(136, OWN_6, &own_mac));
    rows.judged(73, "with a hop limit by which it is none", far);
    let parts = |offset, more| Ipv6 {
        source: LOCAL_6,
        destination: ALL_NODES,
        ..Ipv6::with(&[Extension::fragment(offset, more)], protocol::ICMPV6)
    };
    let own = discovery(136, OWN_6, &own_mac);
    rows.judged(74, "in an atomic fragment, by which it is none", parts(0, false).frame(&own));
    rows.add(74, "in a first one", Narrow, parts(0, true).frame(&own), NoRule);
    rows.add(74, "a router's", Open, parts(0, true).frame(&icmp(134, 0)), RogueRouter);
    rows.add(74, "in a later one", Open, parts(3, false).frame(&own), LoneFragment);
}

fn transport(rows: &mut Rows) {
    for offset in [0, 1, 2, 3, 4, 15] {
        let header = with(tcp_to(443), 12, &[offset << 4]);
        let what = format!("data offset {offset}: the receiver's business");
        rows.add(76, &what, Narrow, v4(6).frame(&header), Passed);
        rows.judged(76, &what, v4(6).frame(&with(tcp_to(80), 12, &[offset << 4])));
    }
    for flags in [0, 0xff, 0x03, 0x06] {
        let what = format!("flags {flags:#04x}");
        rows.add(77, &what, Narrow, v4(6).frame(&with(tcp_to(443), 13, &[flags])), Passed);
        rows.judged(77, &what, v4(6).frame(&with(tcp_to(80), 13, &[flags])));
    }
    rows.judged(78, "to port 0", v4(6).frame(&tcp_to(0)));
    rows.judged(78, "to port 0", v6(17).frame(&udp_to(0)));
    for length in [0, 7, 11, 13, 0xff] {
        let what = format!("UDP of length {length}: the receiver's business");
        rows.add(79, &what, Narrow, v4(17).frame(&with(udp_to(443), 5, &[length])), Passed);
        rows.judged(79, &what, v4(17).frame(&with(udp_to(80), 5, &[length])));
    }
    rows.add(79, "no checksum over IPv6", Narrow, v6(17).frame(&udp_to(443)), Passed);
    for number in [136, 33, 132, 0, 255] {
        rows.judged(80, &format!("protocol {number}"), v4(number).frame(&tcp_to(443)));
    }
    for length in 0..8 {
        let what = format!("an echo of {length} bytes");
        rows.add(81, &what, Open, v4(1).frame(&cut(&icmp(8, 0), length)), Truncated);
        rows.add(81, &what, Open, v6(58).frame(&cut(&icmp(128, 0), length)), Truncated);
    }
    for message in [8, 13, 42, 255] {
        rows.judged(81, &format!("ICMP {message}"), v4(1).frame(&icmp(message, 0)));
    }
    let group = Ipv4 { destination: [224, 0, 0, 22], options: vec![148, 4, 0, 0], ..v4(2) };
    rows.judged(83, "IGMP", group.frame(&[0x22, 0, 0, 0, 0, 0, 0, 0]));
    let alert = Extension { number: protocol::HOP_BY_HOP, rest: vec![0, 5, 2, 0, 0, 1, 0] };
    let report = Ipv6 {
        source: LOCAL_6,
        destination: [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x16],
        hop_limit: 1,
        ..Ipv6::with(&[alert], protocol::ICMPV6)
    };
    rows.add(83, "a listener's report", Narrow, report.frame(&icmp(143, 0)), Passed);
    let far = Ipv6 { destination: PEER_6, ..report };
    rows.judged(83, "a listener's report to anybody", far.frame(&icmp(143, 0)));
}

/// Errors about packets, which say whose they are by what they quote.
fn errors(rows: &mut Rows) {
    let router = [192, 0, 2, 254];
    let back = |quote: &[u8]| {
        let message = [&icmp(3, 1)[..], quote].concat();
        Ipv4 { source: router, destination: OWN, ..Ipv4::new(1) }.frame(&message)
    };
    let sent = |port| v4(6).packet(&tcp_to(port));
    let open = (ethernet(ethertype::IPV4, &sent(443)), true, Passed);
    let about = (back(&cut(&sent(443), 28)), false, Passed);
    rows.steps(&[82], "about its own connection", Narrow, vec![open.clone(), about]);
    let other = (back(&cut(&sent(80), 28)), false, NoRule);
    rows.steps(&[82], "about none that there is", Narrow, vec![open.clone(), other]);
    for length in [0, 19, 20, 23] {
        let short = (back(&cut(&sent(443), length)), false, Malformed);
        rows.steps(&[82], "with too short a quote", Narrow, vec![open.clone(), short]);
    }
    // About an error about the connection.
    let nested = Ipv4 { source: OWN, destination: router, ..Ipv4::new(1) };
    let nested = nested.packet(&[&icmp(3, 1)[..], &cut(&sent(443), 28)].concat());
    rows.steps(&[82], "about an error", Narrow, vec![open.clone(), (back(&nested), false, NoRule)]);
    // A quote that the container never sent: from the other side.
    let theirs = Ipv4 { source: PEER, destination: OWN, ..Ipv4::new(6) }.packet(&tcp_to(443));
    rows.steps(&[82], "not to who sent it", Narrow, vec![open, (back(&theirs), false, Malformed)]);
}

/// What is inside of another packet is not looked at: the outer one is judged.
fn tunnels(rows: &mut Rows) {
    let inner = v4(6).packet(&tcp_to(443));
    for number in [4, 41, 47, 50, 94, 97, 115, 137] {
        rows.judged(84, &format!("protocol {number}"), v4(number).frame(&inner));
        rows.judged(84, &format!("protocol {number}"), v6(number).frame(&inner));
    }
    for (what, port) in
        [("VXLAN", 4789), ("Geneve", 6081), ("GUE", 6080), ("WireGuard", 51820), ("NAT-T", 4500)]
    {
        rows.judged(84, what, v4(17).frame(&[&udp_to(port)[..], &inner].concat()));
    }
    let deep = (0..10).fold(inner, |inner, _| v4(4).packet(&inner));
    rows.judged(84, "ten deep", ethernet(ethertype::IPV4, &deep));
    rows.add(84, "whatever is in what is allowed", Narrow, v4(17).frame(&udp_to(443)), Passed);
}
