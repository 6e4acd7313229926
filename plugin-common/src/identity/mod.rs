//! Whether what a container sends is its own: addresses that it was given, and no part that a host
//! or a router plays.
//!
//! Of ARP and neighbour discovery, a container may say what it says of itself and ask what it likes.
//! It is no router, and no DHCP server.

#[cfg(test)]
mod tests;

use crate::abi::Endpoint;
use crate::packet::{Fragment, Frame, Packet, ethertype, protocol};
use crate::verdict::Reason;

/// Types of `ICMPv6` ([IANA](https://www.iana.org/assignments/icmpv6-parameters)).
mod icmpv6 {
    pub(super) const LISTENER_QUERY: u16 = 130;
    pub(super) const LISTENER_REPORT: u16 = 131;
    pub(super) const LISTENER_DONE: u16 = 132;
    pub(super) const ROUTER_SOLICITATION: u16 = 133;
    pub(super) const ROUTER_ADVERTISEMENT: u16 = 134;
    pub(super) const NEIGHBOUR_SOLICITATION: u16 = 135;
    pub(super) const NEIGHBOUR_ADVERTISEMENT: u16 = 136;
    pub(super) const REDIRECT: u16 = 137;
    pub(super) const LISTENER_REPORT_2: u16 = 143;
}

/// The hop limit of neighbour discovery: no router has passed it on
/// ([RFC 4861](https://www.rfc-editor.org/rfc/rfc4861) 7.1).
const NEIGHBOUR_HOPS: u8 = 255;
/// The hop limit of listener discovery: no router passes it on
/// ([RFC 3810](https://www.rfc-editor.org/rfc/rfc3810) 5).
const LISTENER_HOPS: u8 = 1;

/// What a packet is, before any rule is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Dropped, whatever the rules.
    Refused(Reason),
    /// Passes, whatever the rules: without it there is no network.
    Needed,
    /// To be judged by the rules.
    Ordinary,
}

impl Standing {
    /// As a number, which a function of the kernel can return.
    #[inline(always)]
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Ordinary => 0,
            Self::Needed => 1,
            Self::Refused(reason) => 2 + reason as u32,
        }
    }

    /// Out of its number.
    #[inline(always)]
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        const MAC: u32 = Standing::Refused(Reason::SpoofedMac).number();
        const ADDRESS: u32 = Standing::Refused(Reason::SpoofedAddress).number();
        const NEIGHBOUR: u32 = Standing::Refused(Reason::SpoofedNeighbour).number();
        const ROUTER: u32 = Standing::Refused(Reason::RogueRouter).number();
        const SERVER: u32 = Standing::Refused(Reason::RogueServer).number();
        match number {
            0 => Self::Ordinary,
            1 => Self::Needed,
            MAC => Self::Refused(Reason::SpoofedMac),
            ADDRESS => Self::Refused(Reason::SpoofedAddress),
            NEIGHBOUR => Self::Refused(Reason::SpoofedNeighbour),
            ROUTER => Self::Refused(Reason::RogueRouter),
            SERVER => Self::Refused(Reason::RogueServer),
            _ => Self::Refused(Reason::Closed),
        }
    }
}

/// Looks at what a container sends.
#[inline(always)]
pub fn sent<F: Frame>(frame: &F, packet: &Packet, endpoint: &Endpoint) -> Standing {
    let checked = endpoint.checked != 0;
    if checked && frame.load(6) != Some(endpoint.mac) {
        return Standing::Refused(Reason::SpoofedMac);
    }
    match packet.ethertype {
        ethertype::ARP if checked && !is_own_arp(frame, packet, endpoint) => {
            Standing::Refused(Reason::SpoofedNeighbour)
        }
        ethertype::ARP => Standing::Needed,
        ethertype::IPV4 => sent_v4(packet, endpoint, checked),
        _ => sent_v6(frame, packet, endpoint, checked),
    }
}

/// Looks at what a container is sent.
#[inline(always)]
#[must_use]
pub fn received(packet: &Packet) -> Standing {
    if packet.ethertype == ethertype::ARP {
        return Standing::Needed;
    }
    let needed = match packet.source_port {
        icmpv6::LISTENER_QUERY => packet.hop_limit == LISTENER_HOPS,
        icmpv6::NEIGHBOUR_SOLICITATION | icmpv6::NEIGHBOUR_ADVERTISEMENT => {
            packet.hop_limit == NEIGHBOUR_HOPS
        }
        _ => false,
    };
    if needed && is_control(packet) { Standing::Needed } else { Standing::Ordinary }
}

/// `ICMPv6` of the kind that never leaves a link, and is no fragment.
#[inline(always)]
fn is_control(packet: &Packet) -> bool {
    packet.ip_version == 6
        && packet.protocol == protocol::ICMPV6
        && matches!(packet.fragment, Fragment::Whole)
}

/// Whether what a container sends of neighbour and listener discovery goes to who is on its link
/// alone. Anything else of these types is judged by the rules: it could be sent to anybody.
#[inline(always)]
fn stays_on_link(packet: &Packet) -> bool {
    match packet.source_port {
        icmpv6::NEIGHBOUR_SOLICITATION | icmpv6::NEIGHBOUR_ADVERTISEMENT => {
            packet.hop_limit == NEIGHBOUR_HOPS
        }
        icmpv6::ROUTER_SOLICITATION => packet.hop_limit == NEIGHBOUR_HOPS && is_multicast(packet),
        _ => packet.hop_limit == LISTENER_HOPS && is_multicast(packet),
    }
}

#[inline(always)]
const fn is_multicast(packet: &Packet) -> bool {
    let [first, ..] = packet.destination;
    first == 0xff
}

#[inline(always)]
fn sent_v4(packet: &Packet, endpoint: &Endpoint, checked: bool) -> Standing {
    const SERVER: u16 = 67;
    const CLIENT: u16 = 68;
    let [s0, s1, s2, s3, ..] = packet.source;
    let source = u32::from_ne_bytes([s0, s1, s2, s3]);
    let is_udp = packet.protocol == protocol::UDP;
    if is_udp && packet.source_port == SERVER && packet.destination_port == CLIENT {
        return Standing::Refused(Reason::RogueServer);
    }
    let asks_for_one =
        source == 0 && is_udp && packet.source_port == CLIENT && packet.destination_port == SERVER;
    if checked && !asks_for_one && !has_v4(endpoint, source) {
        return Standing::Refused(Reason::SpoofedAddress);
    }
    Standing::Ordinary
}

#[inline(always)]
fn sent_v6<F: Frame>(frame: &F, packet: &Packet, endpoint: &Endpoint, checked: bool) -> Standing {
    const SERVER: u16 = 547;
    const CLIENT: u16 = 546;
    let control = is_control(packet);
    if packet.protocol == protocol::UDP
        && packet.source_port == SERVER
        && packet.destination_port == CLIENT
    {
        return Standing::Refused(Reason::RogueServer);
    }
    if packet.protocol == protocol::ICMPV6
        && matches!(packet.source_port, icmpv6::ROUTER_ADVERTISEMENT | icmpv6::REDIRECT)
    {
        return Standing::Refused(Reason::RogueRouter);
    }
    // Without an address yet, it asks whether anybody has the one it is to take.
    let nowhere = packet.source == [0; 16] && control;
    if checked && !nowhere && !has_v6(endpoint, &packet.source) {
        return Standing::Refused(Reason::SpoofedAddress);
    }
    if !control {
        return Standing::Ordinary;
    }
    match packet.source_port {
        icmpv6::NEIGHBOUR_SOLICITATION | icmpv6::NEIGHBOUR_ADVERTISEMENT => {
            if checked && !is_own_neighbour(frame, packet, endpoint) {
                return Standing::Refused(Reason::SpoofedNeighbour);
            }
            if stays_on_link(packet) { Standing::Needed } else { Standing::Ordinary }
        }
        icmpv6::ROUTER_SOLICITATION
        | icmpv6::LISTENER_REPORT
        | icmpv6::LISTENER_DONE
        | icmpv6::LISTENER_REPORT_2
            if stays_on_link(packet) =>
        {
            Standing::Needed
        }
        _ if nowhere && checked => Standing::Refused(Reason::SpoofedAddress),
        _ => Standing::Ordinary,
    }
}

#[inline(always)]
fn has_v4(endpoint: &Endpoint, address: u32) -> bool {
    let [a, b, c, d] = endpoint.v4;
    address != 0 && (address == a || address == b || address == c || address == d)
}

#[inline(always)]
fn has_v6(endpoint: &Endpoint, address: &[u8; 16]) -> bool {
    let [a, b, c, d] = &endpoint.v6;
    *address != [0; 16] && (address == a || address == b || address == c || address == d)
}

/// ARP for IPv4 over Ethernet, whose sender is the container, or nobody yet.
#[inline(always)]
fn is_own_arp<F: Frame>(frame: &F, packet: &Packet, endpoint: &Endpoint) -> bool {
    const IPV4_OVER_ETHERNET: [u8; 7] = [0, 1, 8, 0, 6, 4, 0];
    let Some(kind) = frame.load::<8>(packet.payload) else { return false };
    let [k0, k1, k2, k3, k4, k5, k6, operation] = kind;
    let Some(mac) = frame.load::<6>(packet.payload + 8) else { return false };
    let Some(address) = frame.load::<4>(packet.payload + 14) else { return false };
    let address = u32::from_ne_bytes(address);
    [k0, k1, k2, k3, k4, k5, k6] == IPV4_OVER_ETHERNET
        && (operation == 1 || operation == 2)
        && mac == endpoint.mac
        && (address == 0 || has_v4(endpoint, address))
}

/// A question for a neighbour, or an answer: whoever answers says that the address is its own,
/// and both may name the sender's link-layer address, which has to be the container's.
#[inline(always)]
fn is_own_neighbour<F: Frame>(frame: &F, packet: &Packet, endpoint: &Endpoint) -> bool {
    const TARGET: u32 = 8;
    const OPTIONS: u32 = 24;
    let Some(target) = frame.load::<16>(packet.payload + TARGET) else { return false };
    let claims = packet.source_port == icmpv6::NEIGHBOUR_ADVERTISEMENT;
    // Before it has an address it asks for that, and would spoil another's asking with any other.
    if (claims || packet.source == [0; 16]) && !has_v6(endpoint, &target) {
        return false;
    }
    // Who is asked alone is asked for itself: what else is there would be a message to anybody.
    if !claims && !is_multicast(packet) && target != packet.destination {
        return false;
    }
    // The kernel sends one option at most. What has more is not from there.
    let options = packet.payload + OPTIONS;
    if options >= packet.end {
        return options == packet.end;
    }
    let Some([kind, length, mac @ ..]) = frame.load::<8>(options) else { return false };
    let is_nonce = kind == 14;
    options + 8 == packet.end && length == 1 && (is_nonce || mac == endpoint.mac)
}
