//! The parser against an independent one, [`etherparse`]: being stricter is fine, being looser is
//! how a packet gets past a policy.

use std::collections::BTreeMap;
use std::println;

use etherparse::{
    Ipv6ExtensionSlice, LaxIpPayloadSlice, LaxIpv6Slice, LaxNetSlice, LaxSlicedPacket, LenSource,
    err::Layer,
};

use crate::frames::{Mutator, corpus};
use crate::packet::{Bytes, parse, protocol};
use crate::presets::Presets;
use crate::verdict::verdict;

const SEED: u64 = 0x5eed;
const MUTATIONS: usize = 300_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Comparison {
    Agree,
    Stricter,
    Looser,
}

/// What the other parser makes of a frame.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// Nothing that presets could be applied to, or headers that do not add up.
    Unclear,
    /// ARP, well-formed or not: what is in it is the receiver's business.
    Arp,
    /// An IP packet, of this protocol even where the transport header is wrong.
    Ip { number: u8, neighbour_discovery: bool },
}

#[test]
fn the_parser_is_never_looser_than_etherparse() {
    let samples = corpus();
    let mut mutator = Mutator::new(SEED);
    let mutated = (0..MUTATIONS).map(|_| mutator.mutated(&samples));
    let frames = samples.iter().map(|sample| sample.bytes.clone()).chain(mutated);

    let mut counts: BTreeMap<Comparison, u32> = BTreeMap::new();
    for frame in frames {
        for preset in [Presets::DROP_TCP, Presets::DROP_UDP, Presets::DROP_ICMP] {
            let ours = verdict(preset, &parse(&Bytes(&frame)));
            let theirs = read(&frame);
            let comparison = match (ours.passes(), passes(preset, theirs)) {
                (true, false) => Comparison::Looser,
                (false, true) => Comparison::Stricter,
                _ => Comparison::Agree,
            };
            assert_ne!(
                comparison,
                Comparison::Looser,
                "seed {SEED:#x}: {ours:?} under {preset:?}, yet {theirs:?}: {frame:02x?}"
            );
            *counts.entry(comparison).or_default() += 1;
        }
    }
    println!("{} samples, {MUTATIONS} mutations: {counts:?}", samples.len());
    let share = |comparison| counts.get(&comparison).copied().unwrap_or_default();
    assert!(
        share(Comparison::Agree) > 4 * share(Comparison::Stricter),
        "a comparison of parsers that mostly differ says nothing: {counts:?}"
    );
}

/// Whether a frame that is what it was read as passes the preset.
fn passes(preset: Presets, reading: Reading) -> bool {
    match reading {
        Reading::Unclear => false,
        Reading::Arp => true,
        Reading::Ip { number, neighbour_discovery } => match number {
            protocol::TCP => preset != Presets::DROP_TCP,
            protocol::UDP => preset != Presets::DROP_UDP,
            protocol::ICMP | protocol::ICMPV6 => {
                preset != Presets::DROP_ICMP || neighbour_discovery
            }
            _ => true,
        },
    }
}

fn read(frame: &[u8]) -> Reading {
    let Ok(packet) = LaxSlicedPacket::from_ethernet(frame) else { return Reading::Unclear };
    let fault = packet.stop_err.map(|(_, layer)| layer);
    if fault == Some(Layer::Arp) {
        return Reading::Arp;
    }
    // A fault of the transport header does not hide what it is a fault of.
    if fault.is_some_and(|layer| !is_transport(layer)) {
        return Reading::Unclear;
    }
    let (payload, neighbour_discovery) = match &packet.net {
        None => return Reading::Unclear,
        Some(LaxNetSlice::Arp(_)) => return Reading::Arp,
        // The total length did not fit the packet, and was not used.
        Some(LaxNetSlice::Ipv4(ip)) if ip.payload().len_source == LenSource::Slice => {
            return Reading::Unclear;
        }
        Some(LaxNetSlice::Ipv4(ip)) if !can_be_stepped_over(ip.header().options()) => {
            return Reading::Unclear;
        }
        Some(LaxNetSlice::Ipv4(ip)) => (ip.payload(), false),
        Some(LaxNetSlice::Ipv6(ip)) if has_source_route(ip) => return Reading::Unclear,
        Some(LaxNetSlice::Ipv6(ip)) => (ip.payload(), is_neighbour_discovery(ip)),
    };
    if payload.incomplete {
        return Reading::Unclear;
    }
    Reading::Ip { number: payload.ip_number.0, neighbour_discovery }
}

fn is_transport(layer: Layer) -> bool {
    matches!(
        layer,
        Layer::TcpHeader
            | Layer::UdpHeader
            | Layer::UdpPayload
            | Layer::Icmpv4
            | Layer::Icmpv4Timestamp
            | Layer::Icmpv4TimestampReply
            | Layer::Icmpv6
            | Layer::Igmp
    )
}

/// RFC 4861 and RFC 6980: hop limit 255, code 0, and no fragment header of any kind.
///
/// Only for a chain without fault: walking another with this library reads out of bounds.
fn is_neighbour_discovery(ip: &LaxIpv6Slice<'_>) -> bool {
    let fragment_header = ip
        .extensions()
        .clone()
        .into_iter()
        .any(|extension| matches!(extension, Ipv6ExtensionSlice::Fragment(_)));
    let LaxIpPayloadSlice { ip_number, payload, .. } = ip.payload();
    ip_number.0 == protocol::ICMPV6
        && !fragment_header
        && ip.header().hop_limit() == 255
        && matches!(payload, [133..=137, 0, ..])
}

/// Whether options are whole and none is a source route. The library does not look into them.
fn can_be_stepped_over(options: &[u8]) -> bool {
    match options {
        [] | [0, ..] => true,
        [1, rest @ ..] => can_be_stepped_over(rest),
        [131 | 137, ..] => false,
        [_, length, ..] if *length >= 2 => {
            options.get(usize::from(*length)..).is_some_and(can_be_stepped_over)
        }
        _ => false,
    }
}

/// RFC 5095. Only for a chain without fault, as above.
fn has_source_route(ip: &LaxIpv6Slice<'_>) -> bool {
    ip.extensions().clone().into_iter().any(|extension| {
        // The payload of a header in the general form begins behind its length.
        matches!(extension, Ipv6ExtensionSlice::Routing(header) if header.payload().starts_with(&[0]))
    })
}
