//! Ethernet, VLAN tags, ARP, and what is neither.

use std::format;
use std::vec::Vec;

use super::{Corpus, TRUNCATED, UNKNOWN_ETHERTYPE, cut};
use crate::frames::Kind;
use crate::frames::build::{Ipv4, Ipv6, ethernet, tagged, tcp};
use crate::packet::{ethertype, protocol};

const VLAN: u16 = ethertype::VLAN;
const SERVICE: u16 = ethertype::SERVICE_VLAN;

/// An ARP request for IPv4 over Ethernet.
const ARP: [u8; 28] =
    [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 198, 51, 100, 2];

pub(super) fn add(corpus: &mut Corpus) {
    short(corpus);
    arp(corpus);
    tags(corpus);
    unknown(corpus);
}

/// Frames of 0 to 21 bytes that promise IPv4.
fn short(corpus: &mut Corpus) {
    let frame = Ipv4::new(protocol::TCP).frame(&tcp());
    for length in 0..=21 {
        corpus.add(TRUNCATED, format!("TCP cut off after {length} bytes"), cut(&frame, length));
    }
}

/// ARP passes whatever is in it: what a container may claim is not a matter of presets.
fn arp(corpus: &mut Corpus) {
    corpus.add(Kind::Other, "ARP", ethernet(ethertype::ARP, &ARP));
    corpus.add(Kind::Other, "ARP without a body", ethernet(ethertype::ARP, &[]));
    corpus.add(Kind::Other, "ARP cut short", ethernet(ethertype::ARP, &cut(&ARP, 20)));
    corpus.add(Kind::Other, "ARP, padded", ethernet(ethertype::ARP, &[ARP, [0; 28]].concat()));
    corpus.add(Kind::Other, "ARP in a VLAN", tagged(&[VLAN], ethertype::ARP, &ARP));
}

fn tags(corpus: &mut Corpus) {
    let v4 = Ipv4::new(protocol::TCP).packet(&tcp());
    let v6 = Ipv6::new(protocol::TCP).packet(&tcp());
    for (ethertype, packet) in [(ethertype::IPV4, &v4), (ethertype::IPV6, &v6)] {
        for tags in [&[VLAN][..], &[SERVICE], &[VLAN, VLAN], &[SERVICE, VLAN], &[VLAN, SERVICE]] {
            let name = format!("TCP {ethertype:#06x} behind tags {tags:04x?}");
            corpus.add(Kind::Tcp, name, tagged(tags, ethertype, packet));
        }
        for tags in [&[VLAN, VLAN, VLAN][..], &[SERVICE, VLAN, VLAN], &[0x9100], &[0x9200]] {
            let name = format!("TCP {ethertype:#06x} behind unknown tags {tags:04x?}");
            corpus.add(UNKNOWN_ETHERTYPE, name, tagged(tags, ethertype, packet));
        }
    }
    for tags in [&[][..], &[VLAN], &[SERVICE, VLAN]] {
        let frame = tagged(tags, ethertype::IPV4, &[]);
        // The last `EtherType` is there and promises a packet; without it, so does the tag's.
        for missing in 0..=2 {
            let name = format!("tags {tags:04x?} cut off by {missing}");
            corpus.add(TRUNCATED, name, cut(&frame, frame.len() - missing));
        }
    }
}

fn unknown(corpus: &mut Corpus) {
    let packet = Ipv4::new(protocol::TCP).packet(&tcp());
    // 802.3 length, SNAP, and then the packet.
    let snap: Vec<u8> = [&[0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &packet[..]].concat();
    corpus.add(UNKNOWN_ETHERTYPE, "TCP in 802.3 with SNAP", ethernet(48, &snap));
    let types = [
        0x0000, 0x0001, 0x0040, 0x05dc, 0x05ff, 0x0600, 0x0801, 0x0805, 0x0807, 0x8035, 0x80f3,
        0x86dc, 0x86de, 0x8847, 0x8848, 0x8863, 0x8864, 0x888e, 0x88cc, 0x88e5, 0x8906, 0x9000,
        0x9100, 0x4305, 0xffff,
    ];
    for number in types {
        let name = format!("EtherType {number:#06x}");
        corpus.add(UNKNOWN_ETHERTYPE, name, ethernet(number, &packet));
        let name = format!("EtherType {number:#06x} behind a tag");
        corpus.add(UNKNOWN_ETHERTYPE, name, tagged(&[VLAN], number, &packet));
    }
    corpus.add(UNKNOWN_ETHERTYPE, "EtherType 0xffff, 14 bytes", ethernet(0xffff, &[]));
}
