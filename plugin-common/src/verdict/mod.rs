//! The verdict over one frame: presets and a parsed frame in, a [`Reason`] out. Pure.

#[cfg(test)]
mod tests;

use crate::packet::{Fragment, Packet, Unreadable, protocol};
use crate::presets::Presets;

/// What became of a packet, and why. Counters are kept by it.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// Let through.
    Passed = 0,
    /// Dropped by `drop-all`.
    All = 1,
    /// Dropped by `drop-tcp`.
    Tcp = 2,
    /// Dropped by `drop-udp`.
    Udp = 3,
    /// Dropped by `drop-icmp`.
    Icmp = 4,
    /// Dropped because the frame ends before the headers that decide do.
    Truncated = 5,
    /// Dropped because a header contradicts itself or hides what follows it.
    Malformed = 6,
    /// Dropped because the `EtherType` is neither IPv4, IPv6 nor ARP.
    UnknownEthertype = 7,
    /// Dropped because the container's policy could not be understood, by user space or here.
    Closed = 8,
    /// Dropped because the interface has no policy (yet).
    NoPolicy = 9,
    /// Dropped by a rule.
    Denied = 10,
    /// Dropped because no rule allows it.
    NoRule = 11,
    /// Dropped because the sender's MAC address is not the container's.
    SpoofedMac = 12,
    /// Dropped because the sender's IP address is not the container's.
    SpoofedAddress = 13,
    /// Dropped because it claims another's address, by ARP or by neighbour discovery.
    SpoofedNeighbour = 14,
    /// Dropped because only routers send it.
    RogueRouter = 15,
    /// Dropped because only DHCP servers send it.
    RogueServer = 16,
    /// Dropped because it is a part of a datagram of which no first part was let through.
    LoneFragment = 17,
    /// Dropped because the table has no room for its connection.
    FlowTableFull = 18,
    /// Dropped because it names routers to go by.
    SourceRoute = 19,
}

impl Reason {
    /// How many reasons there are.
    pub const COUNT: usize = 20;

    /// Every reason, in the order of the counters.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Passed,
        Self::All,
        Self::Tcp,
        Self::Udp,
        Self::Icmp,
        Self::Truncated,
        Self::Malformed,
        Self::UnknownEthertype,
        Self::Closed,
        Self::NoPolicy,
        Self::Denied,
        Self::NoRule,
        Self::SpoofedMac,
        Self::SpoofedAddress,
        Self::SpoofedNeighbour,
        Self::RogueRouter,
        Self::RogueServer,
        Self::LoneFragment,
        Self::FlowTableFull,
        Self::SourceRoute,
    ];

    /// Whether the packet goes on.
    #[inline(always)]
    #[must_use]
    pub const fn passes(self) -> bool {
        matches!(self, Self::Passed)
    }

    /// The word for it in `status` and in logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::All => "drop-all",
            Self::Tcp => "drop-tcp",
            Self::Udp => "drop-udp",
            Self::Icmp => "drop-icmp",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
            Self::UnknownEthertype => "unknown-ethertype",
            Self::Closed => "closed",
            Self::NoPolicy => "no-policy",
            Self::Denied => "denied",
            Self::NoRule => "no-rule",
            Self::SpoofedMac => "spoofed-mac",
            Self::SpoofedAddress => "spoofed-address",
            Self::SpoofedNeighbour => "spoofed-neighbour",
            Self::RogueRouter => "rogue-router",
            Self::RogueServer => "rogue-dhcp-server",
            Self::LoneFragment => "lone-fragment",
            Self::FlowTableFull => "flow-table-full",
            Self::SourceRoute => "source-route",
        }
    }
}

impl From<Unreadable> for Reason {
    #[inline(always)]
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Truncated => Self::Truncated,
            Unreadable::Malformed => Self::Malformed,
            Unreadable::UnknownEthertype => Self::UnknownEthertype,
            Unreadable::SourceRoute => Self::SourceRoute,
        }
    }
}

/// Decides over a packet.
///
/// Fail-closed: under a preset that selects by protocol, a frame whose protocol cannot be told is
/// dropped. Where nothing is selected (`pass`, `log`), nothing is dropped.
#[inline(always)]
#[must_use]
pub fn verdict(presets: Presets, packet: &Packet) -> Reason {
    if presets.contains(Presets::UNASSIGNED) {
        return Reason::NoPolicy;
    }
    if presets.contains(Presets::CLOSED) || presets.has_unknown() {
        return Reason::Closed;
    }
    if presets.contains(Presets::DROP_ALL) {
        return Reason::All;
    }
    if !presets.is_selective() {
        return Reason::Passed;
    }
    match packet.unreadable {
        None => by_protocol(presets, packet),
        Some(unreadable) => Reason::from(unreadable),
    }
}

#[inline(always)]
fn by_protocol(presets: Presets, packet: &Packet) -> Reason {
    if packet.ip_version == 0 {
        return Reason::Passed;
    }
    match packet.protocol {
        protocol::TCP if presets.contains(Presets::DROP_TCP) => Reason::Tcp,
        protocol::UDP if presets.contains(Presets::DROP_UDP) => Reason::Udp,
        protocol::ICMP | protocol::ICMPV6
            if presets.contains(Presets::DROP_ICMP) && !is_neighbour_discovery(packet) =>
        {
            Reason::Icmp
        }
        _ => Reason::Passed,
    }
}

/// Neighbour discovery as its receivers accept it: no fragment header, hop limit 255, code 0
/// ([RFC 4861](https://www.rfc-editor.org/rfc/rfc4861) 6.1 and 7.1,
/// [RFC 6980](https://www.rfc-editor.org/rfc/rfc6980)). Anything else of these types is ICMP.
#[inline(always)]
fn is_neighbour_discovery(packet: &Packet) -> bool {
    const ROUTER_SOLICITATION: u16 = 133;
    const REDIRECT: u16 = 137;
    packet.ip_version == 6
        && packet.protocol == protocol::ICMPV6
        && matches!(packet.fragment, Fragment::Whole)
        && packet.hop_limit == 255
        && packet.source_port >= ROUTER_SOLICITATION
        && packet.source_port <= REDIRECT
        && packet.destination_port == 0
}
