//! The frames: what they look like, and how one is known again.

use plugin_common::{
    frames::build::{Ipv4, ethernet},
    packet::{ethertype, protocol},
};

/// The run of frames that were sent while their interface was up and not operational yet: the kernel
/// tells the bridge at the other end when it has time for that (`linkwatch`), and drops them before.
pub const EARLY: u64 = 0;

/// No other traffic has this in it.
const MAGIC: [u8; 8] = *b"eNETNSch";
/// An `EtherType` that is free for experiments, and so one that no policy knows.
pub(super) const EXPERIMENTAL: u16 = 0x88b5;
/// The head of an ARP frame for Ethernet and IPv4 of an operation that does not exist.
const NOT_ANY_ARP: [u8; 8] = [0, 1, 8, 0, 6, 4, 0xff, 0xff];
/// An IPv4 header without options.
const IPV4_HEADER: usize = 20;
/// Where its checksum is.
const CHECKSUM: usize = 10;
/// Ethernet header and an IPv4 header without options.
const IPV4_PAYLOAD: usize = 14 + IPV4_HEADER;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// UDP over IPv4.
    Udp,
    /// ICMP over IPv4.
    Icmp,
    /// ARP.
    Arp,
    /// A protocol that no policy knows.
    Strange,
}

impl Kind {
    /// Every kind, in the order in which they are sent.
    pub const ALL: [Self; 4] = [Self::Udp, Self::Icmp, Self::Arp, Self::Strange];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Arp => "arp",
            Self::Strange => "strange",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One numbered frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The sender, as the harness counts them.
    pub sender: u32,
    /// Which run of the sender, so that a restarted container is told apart.
    pub run: u64,
    /// The index of the sender's interface, in its namespace.
    pub interface: u32,
    /// What it carries.
    pub kind: Kind,
    /// Counts from 0 for each interface and kind.
    pub number: u64,
}

impl Frame {
    /// The bytes to send.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let Self { sender, run, interface, kind, number } = *self;
        let mut payload = MAGIC.to_vec();
        payload.extend(sender.to_be_bytes());
        payload.extend(run.to_be_bytes());
        payload.extend(interface.to_be_bytes());
        payload.extend(number.to_be_bytes());
        let ipv4 = |number, header: &[u8]| {
            let mut packet = Ipv4::new(number).packet(&[header, &payload].concat());
            // Bridges that ask netfilter (`bridge-nf-call-iptables`) drop a wrong one: it would
            // never be counted.
            let checksum = checksum(packet.get(..IPV4_HEADER).unwrap_or_default());
            for (byte, new) in packet.iter_mut().skip(CHECKSUM).zip(checksum.to_be_bytes()) {
                *byte = new;
            }
            ethernet(ethertype::IPV4, &packet)
        };
        let mut bytes = match kind {
            // From port 9 to port 9, "discard".
            Kind::Udp => ipv4(protocol::UDP, &[0, 9, 0, 9, 0, 40, 0, 0]),
            // An echo reply, which nobody answers.
            Kind::Icmp => ipv4(protocol::ICMP, &[0; 8]),
            Kind::Arp => ethernet(ethertype::ARP, &[&NOT_ANY_ARP[..], &[0; 20], &payload].concat()),
            Kind::Strange => ethernet(EXPERIMENTAL, &payload),
        };
        for byte in bytes.iter_mut().take(6) {
            *byte = 0xff;
        }
        bytes
    }

    /// Reads a frame of ours; anything else is none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let ethertype = u16::from_be_bytes(*bytes.get(12..)?.first_chunk()?);
        let (kind, payload) = match ethertype {
            ethertype::IPV4 => {
                let kind = match *bytes.get(14 + 9)? {
                    protocol::UDP => Kind::Udp,
                    protocol::ICMP => Kind::Icmp,
                    _ => return None,
                };
                (kind, IPV4_PAYLOAD + 8)
            }
            ethertype::ARP => (Kind::Arp, 14 + 28),
            EXPERIMENTAL => (Kind::Strange, 14),
            _ => return None,
        };
        let payload = bytes.get(payload..)?.strip_prefix(&MAGIC)?;
        let (sender, rest) = payload.split_first_chunk()?;
        let (run, rest) = rest.split_first_chunk()?;
        let (interface, rest) = rest.split_first_chunk()?;
        Some(Self {
            sender: u32::from_be_bytes(*sender),
            run: u64::from_be_bytes(*run),
            interface: u32::from_be_bytes(*interface),
            kind,
            number: u64::from_be_bytes(*rest.first_chunk()?),
        })
    }
}

/// The checksum of the Internet (RFC 1071) over a header whose own is 0.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).filter_map(<[u8]>::first_chunk::<2>);
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let carried = |sum: u32| (sum >> 16) + (sum & 0xffff);
    let [_, _, high, low] = carried(carried(sum)).to_be_bytes();
    !u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_a_known_header() {
        let header = "4500 0073 0000 4000 4011 0000 c0a8 0001 c0a8 00c7";
        let bytes: Vec<u8> = header
            .split(' ')
            .flat_map(|word| u16::from_str_radix(word, 16).unwrap().to_be_bytes())
            .collect();
        assert_eq!(checksum(&bytes), 0xb861);
    }

    #[test]
    fn a_frame_of_each_kind_is_known_again() {
        for kind in Kind::ALL {
            let frame = Frame { sender: 7, run: u64::MAX - 1, interface: 42, kind, number: 99 };
            let bytes = frame.bytes();
            assert_eq!(Frame::parse(&bytes), Some(frame), "{kind:?}");
            assert_eq!(bytes[..6], [0xff; 6], "{kind:?} is sent to everybody");
            assert_eq!(Frame::parse(&bytes[..bytes.len() - 1]), None, "{kind:?}: cut off");
            assert_eq!(Kind::named(kind.name()), Some(kind));
        }
    }

    #[test]
    fn frames_of_others_are_not_ours() {
        let mut bytes =
            Frame { sender: 1, run: 2, interface: 3, kind: Kind::Strange, number: 4 }.bytes();
        bytes[14] ^= 1;
        assert_eq!(Frame::parse(&bytes), None, "another magic");
        assert_eq!(Frame::parse(&[]), None);
    }
}
