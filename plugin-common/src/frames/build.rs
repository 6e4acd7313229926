//! Putting frames together, wrong ones too: every length and number can be a lie.
//!
//! Checksums are 0. No hook looks at them, and what a container sends mostly has none yet.

use std::vec::Vec;

use crate::packet::{ethertype, protocol};

/// Every frame's source address, from TEST-NET-1.
pub const SOURCE_V4: [u8; 4] = [192, 0, 2, 1];
/// Every frame's destination address, from TEST-NET-2.
pub const DESTINATION_V4: [u8; 4] = [198, 51, 100, 2];
/// Every frame's source address, from the documentation prefix.
pub const SOURCE_V6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// Every frame's destination address, as above.
pub const DESTINATION_V6: [u8; 16] = [0x20, 0x01, 0x0d, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
/// Source port of TCP and UDP.
pub const SOURCE_PORT: u16 = 40_000;
/// Destination port of TCP and UDP.
pub const DESTINATION_PORT: u16 = 443;

/// An Ethernet frame.
#[must_use]
pub fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    tagged(&[], ethertype, payload)
}

/// An Ethernet frame behind VLAN tags, named by their `EtherType`s, outermost first.
#[must_use]
pub fn tagged(tags: &[u16], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    const VLAN_ID: [u8; 2] = [0, 42];
    let mut frame = Vec::from([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend(VLAN_ID);
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An IPv4 header. What is not said follows from what is: a builder of correct packets, until a
/// field is set to something else.
#[derive(Clone, Debug)]
pub struct Ipv4 {
    /// Protocol number.
    pub protocol: u8,
    /// The version field.
    pub version: u8,
    /// Header length in words of 4 bytes, if not the real one.
    pub ihl: Option<u8>,
    /// Total length, if not the real one.
    pub total_len: Option<u16>,
    /// Flags and fragment offset: see [`MORE_FRAGMENTS`].
    pub fragment: u16,
    /// What the fragments of a datagram have in common.
    pub identification: u16,
    /// Who sends it.
    pub source: [u8; 4],
    /// Whom it is for.
    pub destination: [u8; 4],
    /// Options, of a length that is a multiple of 4.
    pub options: Vec<u8>,
}

/// The flag "more fragments" of IPv4; the lower 13 bits are the offset in units of 8 bytes.
pub const MORE_FRAGMENTS: u16 = 0x2000;

impl Ipv4 {
    /// A header of 20 bytes, of a packet that is not a fragment.
    #[must_use]
    pub fn new(protocol: u8) -> Self {
        Self {
            protocol,
            version: 4,
            ihl: None,
            total_len: None,
            fragment: 0,
            identification: 7,
            source: SOURCE_V4,
            destination: DESTINATION_V4,
            options: Vec::new(),
        }
    }

    /// The packet.
    #[must_use]
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let Self { protocol, version, ihl, total_len, fragment, .. } = *self;
        let Self { identification, source, destination, ref options, .. } = *self;
        let header_len = 20 + options.len();
        let ihl = ihl.unwrap_or(low_byte(header_len / 4));
        let total_len = total_len.unwrap_or(low_word(header_len + payload.len()));
        let mut packet = Vec::from([version << 4 | ihl & 0x0f, 0]);
        packet.extend(total_len.to_be_bytes());
        packet.extend(identification.to_be_bytes());
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0]);
        packet.extend(source);
        packet.extend(destination);
        packet.extend(options);
        packet.extend(payload);
        packet
    }

    /// The packet in an Ethernet frame.
    #[must_use]
    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet(ethertype::IPV4, &self.packet(payload))
    }
}

/// An IPv6 header with its extension headers; as with [`Ipv4`], what is not said is correct.
#[derive(Clone, Debug)]
pub struct Ipv6 {
    /// Number of the protocol behind the extension headers.
    pub upper: u8,
    /// The version field.
    pub version: u8,
    /// Payload length, if not the real one.
    pub payload_len: Option<u16>,
    /// The hop limit.
    pub hop_limit: u8,
    /// Who sends it.
    pub source: [u8; 16],
    /// Whom it is for.
    pub destination: [u8; 16],
    /// The extension headers.
    pub extensions: Vec<Extension>,
}

impl Ipv6 {
    /// A header without extensions, and with the hop limit that neighbour discovery needs.
    #[must_use]
    pub fn new(upper: u8) -> Self {
        Self {
            upper,
            version: 6,
            payload_len: None,
            hop_limit: 255,
            source: SOURCE_V6,
            destination: DESTINATION_V6,
            extensions: Vec::new(),
        }
    }

    /// A header with these extensions.
    #[must_use]
    pub fn with(extensions: &[Extension], upper: u8) -> Self {
        Self { extensions: extensions.to_vec(), ..Self::new(upper) }
    }

    /// The packet.
    #[must_use]
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let Self { upper, version, payload_len, hop_limit, .. } = *self;
        let Self { source, destination, ref extensions, .. } = *self;
        let (first, mut body) = chain(extensions, upper);
        body.extend(payload);
        let mut packet = Vec::from([version << 4, 0, 0, 0]);
        packet.extend(payload_len.unwrap_or(low_word(body.len())).to_be_bytes());
        packet.extend([first, hop_limit]);
        packet.extend(source);
        packet.extend(destination);
        packet.extend(body);
        packet
    }

    /// The packet in an Ethernet frame.
    #[must_use]
    pub fn frame(&self, payload: &[u8]) -> Vec<u8> {
        ethernet(ethertype::IPV6, &self.packet(payload))
    }
}

/// An extension header of IPv6, or the authentication header of IPv4.
#[derive(Clone, Debug)]
pub struct Extension {
    /// Its own number, which the header before it names.
    pub number: u8,
    /// All of it but its first byte, which names what follows.
    pub rest: Vec<u8>,
}

impl Extension {
    /// A header of 8 bytes in the general format: hop-by-hop, routing, destination options.
    #[must_use]
    pub fn new(number: u8) -> Self {
        Self::of_length(number, 0)
    }

    /// A header in the general format, of `8 * (1 + units)` bytes.
    #[must_use]
    pub fn of_length(number: u8, units: u8) -> Self {
        const PADDING: [u8; 6] = [1, 4, 0, 0, 0, 0];
        let mut rest = Vec::from([units]);
        rest.extend(PADDING);
        rest.resize(8 * (1 + usize::from(units)) - 1, 0);
        Self { number, rest }
    }

    /// An authentication header of `4 * (2 + words)` bytes.
    #[must_use]
    pub fn authentication(words: u8) -> Self {
        let mut rest = Vec::from([words]);
        rest.resize(4 * (2 + usize::from(words)) - 1, 0);
        Self { number: protocol::AUTHENTICATION, rest }
    }

    /// A fragment header; `offset` is in units of 8 bytes.
    #[must_use]
    pub fn fragment(offset: u16, more: bool) -> Self {
        let field = offset << 3 | u16::from(more);
        let mut rest = Vec::from([0]);
        rest.extend(field.to_be_bytes());
        rest.extend([0, 0, 0, 7]);
        Self { number: protocol::FRAGMENT, rest }
    }
}

/// The number of the first header of a chain, and its bytes up to the protocol `upper`.
#[must_use]
pub fn chain(extensions: &[Extension], upper: u8) -> (u8, Vec<u8>) {
    let numbers = extensions.iter().map(|extension| extension.number);
    let first = numbers.clone().next().unwrap_or(upper);
    let following = numbers.skip(1).chain([upper]);
    let mut bytes = Vec::new();
    for (extension, next) in extensions.iter().zip(following) {
        bytes.push(next);
        bytes.extend(&extension.rest);
    }
    (first, bytes)
}

/// The smallest header of TCP: ports, no options, and SYN.
#[must_use]
pub fn tcp() -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(SOURCE_PORT.to_be_bytes());
    header.extend(DESTINATION_PORT.to_be_bytes());
    header.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    header
}

/// A UDP datagram with four bytes of payload.
#[must_use]
pub fn udp() -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(SOURCE_PORT.to_be_bytes());
    datagram.extend(DESTINATION_PORT.to_be_bytes());
    datagram.extend([0, 12, 0, 0]);
    datagram.extend(*b"ping");
    datagram
}

/// An ICMP message of either version: a header of 8 bytes.
#[must_use]
pub fn icmp(message: u8, code: u8) -> Vec<u8> {
    Vec::from([message, code, 0, 0, 0, 0, 0, 0])
}

/// A message of neighbour discovery: an ICMP header, and room for what each type needs behind it.
#[must_use]
pub fn neighbour_discovery(message: u8, code: u8) -> Vec<u8> {
    let mut bytes = icmp(message, code);
    bytes.resize(40, 0);
    bytes
}

/// Something that `protocol` could carry.
#[must_use]
pub fn transport(protocol: u8) -> Vec<u8> {
    match protocol {
        protocol::TCP => tcp(),
        protocol::UDP => udp(),
        protocol::ICMP => icmp(8, 0),
        protocol::ICMPV6 => icmp(128, 0),
        _ => Vec::from([0; 24]),
    }
}

/// A length that is known to fit a byte.
fn low_byte(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// A length that is known to fit 16 bits.
fn low_word(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}
