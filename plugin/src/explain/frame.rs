//! A frame for a packet that was described, and words for a frame. Pure.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{IpNumber, PacketBuilder};
use plugin_common::packet::protocol::{ICMP, ICMPV6, SCTP, TCP, UDP};
use plugin_common::packet::{Fragment, Packet, Unreadable, tcp_flag};

/// A packet with both its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain {
    pub protocol: u8,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub icmp_type: Option<u8>,
}

const HOPS: u8 = 64;
/// What a protocol has that nothing is known of.
const SOME_BYTES: [u8; 8] = [0; 8];

/// The frame of a packet, from one MAC address to another; `None` if its addresses are not of one
/// version of IP. Of TCP it is a SYN.
pub(super) fn build(packet: &Plain, source: [u8; 6], destination: [u8; 6]) -> Option<Vec<u8>> {
    let Plain { protocol, source: from, destination: to, icmp_type } = *packet;
    let ethernet = PacketBuilder::ethernet2(source, destination);
    let ip = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), HOPS),
        (IpAddr::V6(from), IpAddr::V6(to)) => ethernet.ipv6(from.octets(), to.octets(), HOPS),
        _ => return None,
    };
    let (from, to) = (from.port(), to.port());
    let mut frame = Vec::new();
    let written = match (protocol, icmp_type) {
        (TCP, _) => ip.tcp(from, to, 1, u16::MAX).syn().write(&mut frame, &[]),
        (UDP, _) => ip.udp(from, to).write(&mut frame, &[]),
        (SCTP, _) => {
            let [f0, f1] = from.to_be_bytes();
            let [t0, t1] = to.to_be_bytes();
            // The common header: ports, verification tag, checksum.
            let header = [f0, f1, t0, t1, 0, 0, 0, 0, 0, 0, 0, 0];
            ip.write(&mut frame, IpNumber(protocol), &header)
        }
        (ICMP, Some(number)) => ip.icmpv4_raw(number, 0, [0, 1, 0, 1]).write(&mut frame, &[]),
        (ICMPV6, Some(number)) => ip.icmpv6_raw(number, 0, [0, 1, 0, 1]).write(&mut frame, &[]),
        _ => ip.write(&mut frame, IpNumber(protocol), &SOME_BYTES),
    };
    written.ok().map(|()| frame)
}

/// A packet in words, as they are written to ask about it.
pub(super) struct Words<'a>(pub &'a Packet);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(packet) = self;
        if let Some(unreadable) = packet.unreadable {
            return match unreadable {
                Unreadable::Truncated => f.write_str("a frame that is cut off"),
                Unreadable::Malformed => f.write_str("a frame whose headers make no sense"),
                Unreadable::SourceRoute => f.write_str("a packet that names routers to go by"),
                Unreadable::UnknownEthertype => {
                    write!(f, "a frame of ethertype {:#06x}", packet.ethertype)
                }
            };
        }
        let (source, destination) = match packet.ip_version {
            4 => (v4(packet.source), v4(packet.destination)),
            6 => (v6(packet.source), v6(packet.destination)),
            _ => return f.write_str("ARP"),
        };
        let later = matches!(packet.fragment, Fragment::Later);
        match packet.protocol {
            TCP | UDP | SCTP if !later => {
                let source = SocketAddr::new(source, packet.source_port);
                let destination = SocketAddr::new(destination, packet.destination_port);
                write!(f, "{} {source} > {destination}", word(packet.protocol))?;
            }
            protocol => write!(f, "{} {source} > {destination}", word(protocol))?,
        }
        match packet.protocol {
            TCP if !later => flags(f, packet.tcp_flags)?,
            ICMP | ICMPV6 if !later => write!(f, " type {}", packet.source_port)?,
            _ => {}
        }
        match packet.fragment {
            Fragment::Whole | Fragment::Atomic => Ok(()),
            Fragment::First => f.write_str(", first fragment"),
            Fragment::Later => f.write_str(", later fragment"),
        }
    }
}

fn flags(f: &mut fmt::Formatter<'_>, flags: u8) -> fmt::Result {
    let known = [
        (tcp_flag::SYN, "SYN"),
        (tcp_flag::FIN, "FIN"),
        (tcp_flag::RST, "RST"),
        (tcp_flag::ACK, "ACK"),
    ];
    let mut before = ' ';
    for (_, name) in known.into_iter().filter(|(flag, _)| flags & flag != 0) {
        f.write_char(before)?;
        f.write_str(name)?;
        before = '+';
    }
    Ok(())
}

fn word(protocol: u8) -> String {
    match protocol {
        TCP => "tcp".to_owned(),
        UDP => "udp".to_owned(),
        SCTP => "sctp".to_owned(),
        ICMP | ICMPV6 => "icmp".to_owned(),
        other => other.to_string(),
    }
}

fn v4(address: [u8; 16]) -> IpAddr {
    let [a, b, c, d, ..] = address;
    Ipv4Addr::new(a, b, c, d).into()
}

fn v6(address: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(address).into()
}
