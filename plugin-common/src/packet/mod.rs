//! The frame parser: Ethernet, up to two VLAN tags, IPv4 with options, IPv6 with extension
//! headers, fragments, and the first bytes of the transport header.
//!
//! It is fail-closed and complete: it returns what the receiver of the frame would make of it, or
//! says why it cannot. It never guesses, never reads past the frame, and its loops are bounded.
//! Hooks give it bytes through [`Frame`]; it knows nothing of them.

pub mod options;
#[cfg(test)]
mod tests;

use core::ops::ControlFlow;

/// IP protocol numbers ([IANA](https://www.iana.org/assignments/protocol-numbers)).
pub mod protocol {
    /// IPv6 hop-by-hop options.
    pub const HOP_BY_HOP: u8 = 0;
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 routing header: see [`SOURCE_ROUTE`](super::SOURCE_ROUTE).
    pub const ROUTING: u8 = 43;
    /// IPv6 fragment header.
    pub const FRAGMENT: u8 = 44;
    /// The authentication header (RFC 4302).
    pub const AUTHENTICATION: u8 = 51;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
    /// IPv6 destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// Flags of TCP ([RFC 9293](https://www.rfc-editor.org/rfc/rfc9293#section-3.1)).
pub mod tcp_flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// The first packet of a connection, in each direction.
    pub const SYN: u8 = 0x02;
    /// The connection is given up.
    pub const RST: u8 = 0x04;
    /// The acknowledgement field counts.
    pub const ACK: u8 = 0x10;
}

/// `EtherType`s that the parser knows.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// Address resolution.
    pub const ARP: u16 = 0x0806;
    /// A VLAN tag (802.1Q).
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// A service VLAN tag (802.1ad).
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// The type of the IPv6 routing header that is [`Unreadable::SourceRoute`].
pub const SOURCE_ROUTE: u8 = 0;

/// VLAN tags that are looked through.
pub const MAX_VLAN_TAGS: u32 = 2;
/// Extension headers that are looked through; the frame is [`Unreadable::Malformed`] beyond.
pub const MAX_EXTENSION_HEADERS: u64 = 8;

/// The bytes of a frame, from the Ethernet header on.
pub trait Frame {
    /// Length on the wire in bytes, which may be more than the hook can read at once.
    fn wire_len(&self) -> u32;

    /// Whether the frame stands for several segments, so that its IP length may be 0.
    fn is_gso(&self) -> bool;

    /// The `N` bytes at `offset`, or `None` past the end.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;

    /// As [`options::walk`].
    ///
    /// A hook's to give, since it is a function that is verified by itself there: many bytes, each
    /// of which may be what the one before it made of it.
    fn walk_options(&self, word: u32, walk: u32) -> u32 {
        options::walk(word, walk)
    }
}

/// A frame in memory, for the host side.
#[derive(Clone, Copy, Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Frame for Bytes<'_> {
    fn wire_len(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }

    fn is_gso(&self) -> bool {
        false
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = usize::try_from(offset).ok()?;
        self.0.get(start..start.checked_add(N)?)?.try_into().ok()
    }
}

/// Why a frame cannot be judged by what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// The frame ends before its headers do.
    Truncated,
    /// A header contradicts itself, or there are more of them than the parser follows.
    Malformed,
    /// Neither IPv4, IPv6 nor ARP behind at most two VLAN tags.
    UnknownEthertype,
    /// It names routers to go by, and so may go elsewhere than its destination says: an IPv4 packet
    /// with a source route, or an IPv6 packet with a routing header of type 0 (RFC 5095).
    SourceRoute,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    Whole,
    /// All of it, behind a fragment header that says so (RFC 6946).
    Atomic,
    /// The first part, which carries the transport header.
    First,
    /// A later part, which does not.
    Later,
}

/// What the parser read.
///
/// Flat and always initialised, whatever the outcome: the kernel's verifier refuses a program that
/// copies the unused half of an enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Why the protocol cannot be told, in which case the other fields hold what was read before
    /// that was noticed.
    pub unreadable: Option<Unreadable>,
    /// `EtherType` behind any VLAN tags.
    pub ethertype: u16,
    /// 4, 6, or 0 for ARP.
    pub ip_version: u8,
    /// IP protocol behind any extension headers.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Which part of the datagram this is.
    pub fragment: Fragment,
    /// Source address in network byte order; IPv4 takes the first four bytes.
    pub source: [u8; 16],
    /// Destination address, as `source`.
    pub destination: [u8; 16],
    /// Source port of TCP, UDP and SCTP; the type of ICMP; else 0.
    pub source_port: u16,
    /// Destination port of TCP, UDP and SCTP; the code of ICMP; else 0.
    pub destination_port: u16,
    /// The flags of TCP ([`tcp_flag`]); else 0.
    pub tcp_flags: u8,
    /// Offset in bytes of what all fragments of a datagram have in common beside addresses and
    /// protocol: two bytes in IPv4, four in IPv6; 0 where it is no fragment.
    pub identification: u32,
    /// Offset in bytes of what follows the IP headers, or the `EtherType` where it is not IP.
    pub payload: u32,
    /// Offset at which the IP packet ends by its own word.
    pub end: u32,
}

impl Packet {
    /// Nothing read yet.
    pub const EMPTY: Self = Self {
        unreadable: None,
        ethertype: 0,
        ip_version: 0,
        protocol: 0,
        hop_limit: 0,
        fragment: Fragment::Whole,
        source: [0; 16],
        destination: [0; 16],
        source_port: 0,
        destination_port: 0,
        tcp_flags: 0,
        identification: 0,
        payload: 0,
        end: 0,
    };
}

/// Where the next header stands, and where the IP packet says that it ends.
#[derive(Clone, Copy)]
struct Position {
    offset: u32,
    end: u32,
}

/// Reads a frame.
#[inline(always)]
#[must_use]
pub fn parse<F: Frame>(frame: &F) -> Packet {
    let mut packet = Packet::EMPTY;
    parse_into(frame, &mut packet);
    packet
}

/// As [`parse`], into a place that holds some packet.
#[inline(always)]
pub fn parse_into<F: Frame>(frame: &F, packet: &mut Packet) {
    *packet = Packet::EMPTY;
    packet.unreadable = read(frame, packet).err();
}

#[inline(always)]
fn read<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Unreadable> {
    let offset = ethernet(frame, packet)?;
    packet.payload = offset;
    match packet.ethertype {
        ethertype::IPV4 => ipv4(frame, offset, packet),
        ethertype::IPV6 => ipv6(frame, offset, packet),
        ethertype::ARP => Ok(()),
        _ => Err(Unreadable::UnknownEthertype),
    }
}

/// Reads the `EtherType` behind any VLAN tags; returns the offset of what follows it.
#[inline(always)]
fn ethernet<F: Frame>(frame: &F, packet: &mut Packet) -> Result<u32, Unreadable> {
    const HEADER: u32 = 14;
    const TAG: u32 = 4;
    packet.ethertype = be16(frame.load(12).ok_or(Unreadable::Truncated)?);
    let mut offset = HEADER;
    for _ in 0..MAX_VLAN_TAGS {
        if packet.ethertype != ethertype::VLAN && packet.ethertype != ethertype::SERVICE_VLAN {
            break;
        }
        packet.ethertype = be16(frame.load(offset + 2).ok_or(Unreadable::Truncated)?);
        offset += TAG;
    }
    Ok(offset)
}

#[inline(always)]
fn ipv4<F: Frame>(frame: &F, start: u32, packet: &mut Packet) -> Result<(), Unreadable> {
    const MORE_FRAGMENTS: u16 = 0x2000;
    const OFFSET_MASK: u16 = 0x1fff;
    let [version_ihl, _, len0, len1, _, _, frag0, frag1, ttl, protocol, _, _, addresses @ ..]: [u8;
        20] = frame.load(start).ok_or(Unreadable::Truncated)?;
    let header_len = u32::from(version_ihl & 0x0f) * 4;
    if version_ihl >> 4 != 4 || header_len < 20 {
        return Err(Unreadable::Malformed);
    }
    let at = Position {
        offset: start + header_len,
        end: ip_end(frame, start, be16([len0, len1]).into(), header_len)?,
    };
    let [s0, s1, s2, s3, d0, d1, d2, d3] = addresses;
    // Not the zeros again, which are there: filling them is a call, of 25 ns in the kernel.
    let ([ps0, ps1, ps2, ps3, ..], [pd0, pd1, pd2, pd3, ..]) =
        (&mut packet.source, &mut packet.destination);
    (*ps0, *ps1, *ps2, *ps3) = (s0, s1, s2, s3);
    (*pd0, *pd1, *pd2, *pd3) = (d0, d1, d2, d3);
    packet.ip_version = 4;
    packet.hop_limit = ttl;
    let fragment = be16([frag0, frag1]);
    packet.fragment = if fragment & OFFSET_MASK != 0 {
        Fragment::Later
    } else if fragment & MORE_FRAGMENTS != 0 {
        Fragment::First
    } else {
        Fragment::Whole
    };
    if !matches!(packet.fragment, Fragment::Whole) {
        packet.identification = start + 4;
    }
    packet.protocol = protocol;
    if header_len > 20 {
        walk_options(frame, start + 20, version_ihl.into())?;
    }
    upper_layers(frame, at, packet)
}

/// Walks the options that begin at `start`, for the first byte of the header, in which is their
/// length.
///
/// A function of its own in the kernel too, and given that byte: were it the length, the verifier
/// would follow what comes after it for each length. Not a loop: see [`follow_all`].
#[inline(never)]
fn walk_options<F: Frame>(frame: &F, start: u32, version_ihl: u32) -> Result<(), Unreadable> {
    let words = version_ihl & 0x0f;
    let mut walk = options::BEGIN;
    macro_rules! walk {
        ($($word:literal)*) => {
            $(
                if words <= $word {
                    return options::end(walk);
                }
                walk = walk_word(frame, start + 4 * ($word - 5), walk);
            )*
        };
    }
    walk!(5 6 7 8 9 10 11 12 13 14);
    options::end(walk)
}

/// Walks the options of one word. A function of its own in the kernel too, as [`follow`].
#[inline(never)]
fn walk_word<F: Frame>(frame: &F, offset: u32, walk: u32) -> u32 {
    match frame.load(offset) {
        Some(word) => frame.walk_options(u32::from_be_bytes(word), walk),
        None => options::TRUNCATED,
    }
}

#[inline(always)]
fn ipv6<F: Frame>(frame: &F, start: u32, packet: &mut Packet) -> Result<(), Unreadable> {
    const HEADER: u32 = 40;
    let [version, _, _, _, len0, len1, next_header, hop_limit, addresses @ ..]: [u8; 40] =
        frame.load(start).ok_or(Unreadable::Truncated)?;
    if version >> 4 != 6 {
        return Err(Unreadable::Malformed);
    }
    let [source, destination] = halves(addresses);
    packet.ip_version = 6;
    packet.hop_limit = hop_limit;
    packet.source = source;
    packet.destination = destination;
    let payload_len = u32::from(be16([len0, len1]));
    // A length of 0 means a jumbogram, which only segmentation offload makes here.
    let total = if payload_len == 0 && frame.is_gso() { 0 } else { HEADER + payload_len };
    let at = Position { offset: start + HEADER, end: ip_end(frame, start, total, HEADER)? };
    packet.protocol = next_header;
    upper_layers(frame, at, packet)
}

#[inline(always)]
fn halves(addresses: [u8; 32]) -> [[u8; 16]; 2] {
    let [mut source, mut destination] = [[0; 16]; 2];
    let (first, second) = addresses.split_at(16);
    source.copy_from_slice(first);
    destination.copy_from_slice(second);
    [source, destination]
}

/// The offset at which the IP packet ends by its own word, which must lie within the frame: what
/// follows is padding, and what is missing was cut off.
#[inline(always)]
fn ip_end<F: Frame>(
    frame: &F,
    start: u32,
    total_len: u32,
    header_len: u32,
) -> Result<u32, Unreadable> {
    let room = frame.wire_len().saturating_sub(start);
    let total_len = if total_len == 0 && frame.is_gso() { room } else { total_len };
    if total_len < header_len {
        return Err(Unreadable::Malformed);
    }
    if total_len > room {
        return Err(Unreadable::Truncated);
    }
    Ok(start + total_len)
}

/// Follows extension headers from the one that `packet.protocol` names to the protocol, and reads
/// the ports.
///
/// The set of headers is the one that Linux follows
/// ([`ipv6_ext_hdr`](https://elixir.bootlin.com/linux/v6.12/source/net/ipv6/exthdrs_core.c#L14)):
/// any other number is the protocol that the receiver would deliver to.
#[inline(always)]
fn upper_layers<F: Frame>(frame: &F, at: Position, packet: &mut Packet) -> Result<(), Unreadable> {
    let mut walk = Walk { at, first: true };
    if is_extension(packet.ip_version, packet.protocol) {
        match follow_all(frame, &mut walk, packet) {
            ControlFlow::Break(end) => end?,
            ControlFlow::Continue(()) => return Err(Unreadable::Malformed),
        }
    }
    transport(frame, walk.at, packet)
}

/// How far the extension headers were followed.
struct Walk {
    at: Position,
    /// Whether the header there is the first behind the IP header.
    first: bool,
}

/// Whether another extension header follows, or how it ended. It fits into a register.
type Followed = ControlFlow<Result<(), Unreadable>>;

/// Follows extension headers, [`MAX_EXTENSION_HEADERS`] of them at most.
///
/// Not a loop: for who lacks `CAP_PERFMON`, the verifier also tries what a processor may do that
/// guesses a branch wrong, and so never leaves one.
#[inline(always)]
fn follow_all<F: Frame>(frame: &F, walk: &mut Walk, packet: &mut Packet) -> Followed {
    follow(frame, walk, packet)?;
    follow(frame, walk, packet)?;
    follow(frame, walk, packet)?;
    follow(frame, walk, packet)?;
    follow(frame, walk, packet)?;
    follow(frame, walk, packet)?;
    follow(frame, walk, packet)?;
    follow(frame, walk, packet)
}

/// Reads the extension header that `packet.protocol` names, and puts the next number in its place.
///
/// A function of its own in the kernel too, which keeps the program small.
#[inline(never)]
fn follow<F: Frame>(frame: &F, walk: &mut Walk, packet: &mut Packet) -> Followed {
    match extension(frame, walk, packet) {
        Ok(()) if is_extension(packet.ip_version, packet.protocol) => ControlFlow::Continue(()),
        end => ControlFlow::Break(end),
    }
}

#[inline(always)]
fn extension<F: Frame>(frame: &F, walk: &mut Walk, packet: &mut Packet) -> Result<(), Unreadable> {
    let number = packet.protocol;
    // What follows in a later fragment is payload: the protocol is in the first one alone.
    // Hop-by-hop options stand first or nowhere (RFC 8200, 4.1).
    let hidden = matches!(packet.fragment, Fragment::Later);
    let misplaced = number == protocol::HOP_BY_HOP && !walk.first;
    if hidden || misplaced {
        return Err(Unreadable::Malformed);
    }
    let [following, length, offset_high, offset_low] = load_within(frame, walk.at)?;
    // The fixed part alone is three words, of which the length leaves out two.
    if number == protocol::AUTHENTICATION && length == 0 {
        return Err(Unreadable::Malformed);
    }
    if number == protocol::FRAGMENT {
        if !matches!(packet.fragment, Fragment::Whole) {
            return Err(Unreadable::Malformed);
        }
        packet.fragment = ipv6_fragment(be16([offset_high, offset_low]));
        packet.identification = walk.at.offset + 4;
    }
    walk.at.offset += extension_len(number, length);
    if walk.at.offset > walk.at.end {
        return Err(Unreadable::Truncated);
    }
    // The third byte of a routing header is its type.
    if number == protocol::ROUTING && offset_high == SOURCE_ROUTE {
        return Err(Unreadable::SourceRoute);
    }
    packet.protocol = following;
    walk.first = false;
    Ok(())
}

#[inline(always)]
const fn is_extension(ip_version: u8, number: u8) -> bool {
    match number {
        protocol::AUTHENTICATION => true,
        protocol::HOP_BY_HOP
        | protocol::ROUTING
        | protocol::FRAGMENT
        | protocol::DESTINATION_OPTIONS => ip_version == 6,
        _ => false,
    }
}

/// Length in bytes of an extension header: in units of 8 bytes beyond the first, in units of 4
/// beyond the second for the authentication header, and fixed for the fragment header.
#[inline(always)]
const fn extension_len(number: u8, length: u8) -> u32 {
    match number {
        protocol::FRAGMENT => 8,
        protocol::AUTHENTICATION => (length as u32 + 2) * 4,
        _ => (length as u32 + 1) * 8,
    }
}

/// The last three bits of the field are flags, the lowest of them "more fragments".
#[inline(always)]
const fn ipv6_fragment(field: u16) -> Fragment {
    if field & 0xfff8 != 0 {
        Fragment::Later
    } else if field & 1 != 0 {
        Fragment::First
    } else {
        Fragment::Atomic
    }
}

/// Reads the ports, or type and code. The smallest header of the protocol must be there, also in
/// a first fragment, which otherwise could move its flags into the second (RFC 1858).
#[inline(always)]
fn transport<F: Frame>(frame: &F, at: Position, packet: &mut Packet) -> Result<(), Unreadable> {
    packet.payload = at.offset;
    packet.end = at.end;
    if matches!(packet.fragment, Fragment::Later) {
        return Ok(());
    }
    let smallest = match packet.protocol {
        protocol::TCP => 20,
        protocol::UDP | protocol::ICMP | protocol::ICMPV6 => 8,
        protocol::SCTP => 12,
        _ => return Ok(()),
    };
    if at.end - at.offset < smallest {
        return Err(Unreadable::Truncated);
    }
    let [b0, b1, b2, b3] = load_within(frame, at)?;
    if packet.protocol == protocol::TCP {
        let flags = Position { offset: at.offset + 12, end: at.end };
        let [_, flags, ..] = load_within(frame, flags)?;
        packet.tcp_flags = flags;
    }
    if matches!(packet.protocol, protocol::TCP | protocol::UDP | protocol::SCTP) {
        packet.source_port = be16([b0, b1]);
        packet.destination_port = be16([b2, b3]);
    } else {
        packet.source_port = u16::from(b0);
        packet.destination_port = u16::from(b1);
    }
    Ok(())
}

/// The four bytes at the position, within the IP packet.
#[inline(always)]
fn load_within<F: Frame>(frame: &F, at: Position) -> Result<[u8; 4], Unreadable> {
    if at.offset + 4 > at.end {
        return Err(Unreadable::Truncated);
    }
    frame.load(at.offset).ok_or(Unreadable::Truncated)
}

#[inline(always)]
const fn be16(bytes: [u8; 2]) -> u16 {
    u16::from_be_bytes(bytes)
}
