//! The short way for packets as nearly all are: TCP or UDP behind an Ethernet and an IP header alone,
//! whole, and from the container's own address. Each part is read once, at a place that is a
//! constant. Whatever is otherwise is left to [`super::judge`], which decides over everything; what
//! is decided here, that would decide alike.

use super::flow::{self, FlowState, Found, Said, Tuple};
use super::{Decision, NO_RULE, by_rules, can_be_kept};
use crate::abi::{Endpoint, FlowSecret, RuleImage};
use crate::packet::{ethertype, protocol};
use crate::rules::{self, Question, Ruling};
use crate::verdict::Reason;

/// A frame of which the beginning can be read in place.
pub trait Linear {
    /// The beginning.
    type Head: Head;

    /// The first `N` bytes, if they can be.
    fn head<const N: usize>(&self) -> Option<Self::Head>;
}

/// The beginning of a frame, of which only bytes that are there may be read. Numbers are as they stand
/// in memory: in network byte order.
pub trait Head {
    /// One byte.
    fn byte<const AT: usize>(&self) -> u8;
    /// Two bytes.
    fn half<const AT: usize>(&self) -> u16;
    /// Four bytes.
    fn word<const AT: usize>(&self) -> u32;
}

/// A packet as nearly all are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Plain {
    /// What its connection is told by.
    tuple: Tuple,
    /// What it says of it.
    said: Said,
    /// The port of whom it is sent to.
    port: u16,
}

/// Decides over a packet that the container has sent, or is sent; `None` where that takes the long
/// way, for which nothing has been changed.
///
/// From the version of IP on, each has a way of its own to the end: where they met again, all that is
/// known of either would be put into memory.
#[inline(always)]
pub fn judge<L: Linear, K: Known, const SENT: bool>(
    frame: &L,
    length: u32,
    (image, secret): (&RuleImage, &FlowSecret),
    known: &K,
) -> Option<Decision> {
    const V4: u16 = ethertype::IPV4.to_be();
    const V6: u16 = ethertype::IPV6.to_be();
    let head = frame.head::<34>()?;
    if SENT && !is_own_mac(&head, &image.endpoint) {
        return None;
    }
    match head.half::<12>() {
        V4 => {
            let plain = read_v4::<L, SENT>(frame, &head, length, &image.endpoint)?;
            decide::<K, SENT>(known, &plain, (plain.tuple.fingerprint(secret), image.epoch))
        }
        V6 => {
            let plain = read_v6::<L, SENT>(frame, length, &image.endpoint)?;
            decide::<K, SENT>(known, &plain, (plain.tuple.fingerprint(secret), image.epoch))
        }
        _ => None,
    }
}

/// Two ports as they stand one after the other.
const fn ports(source: u16, destination: u16) -> u32 {
    (source as u32) << 16 | destination as u32
}

const ETHERNET: u32 = 14;
const TCP_HEADER: u32 = 20;
const UDP_HEADER: u32 = 8;

#[inline(always)]
fn is_own_mac<H: Head>(head: &H, endpoint: &Endpoint) -> bool {
    let [m0, m1, m2, m3, m4, m5] = endpoint.mac;
    endpoint.checked != 0
        && head.word::<6>() == u32::from_ne_bytes([m0, m1, m2, m3])
        && head.half::<10>() == u16::from_ne_bytes([m4, m5])
}

#[inline(always)]
fn read_v4<L: Linear, const SENT: bool>(
    frame: &L,
    head: &L::Head,
    length: u32,
    endpoint: &Endpoint,
) -> Option<Plain> {
    const VERSION_AND_LENGTH: u8 = 0x45;
    const HEADER: u32 = 20;
    const FRAGMENTED: u16 = 0x3fff_u16.to_be();
    const SERVER_TO_CLIENT: u32 = ports(67, 68);
    let total = u32::from(u16::from_be(head.half::<16>()));
    let is_part = head.half::<20>() & FRAGMENTED != 0;
    if head.byte::<14>() != VERSION_AND_LENGTH || is_part || ETHERNET + total > length {
        return None;
    }
    let (source, destination) = (head.word::<26>(), head.word::<30>());
    if SENT {
        let [own, ..] = endpoint.v4;
        if source == 0 || source != own {
            return None;
        }
    }
    let (local, remote) = if SENT { (source, destination) } else { (destination, source) };
    let (local, remote) = ([local, 0, 0, 0], [remote, 0, 0, 0]);
    match head.byte::<23>() {
        protocol::TCP if total >= HEADER + TCP_HEADER => {
            let head = frame.head::<54>()?;
            let ports = u32::from_be(head.word::<34>());
            Some(Plain::new::<SENT>((4, protocol::TCP), (local, remote), ports, head.byte::<47>()))
        }
        protocol::UDP if total >= HEADER + UDP_HEADER => {
            let ports = u32::from_be(frame.head::<42>()?.word::<34>());
            if SENT && ports == SERVER_TO_CLIENT {
                return None;
            }
            Some(Plain::new::<SENT>((4, protocol::UDP), (local, remote), ports, 0))
        }
        _ => None,
    }
}

#[inline(always)]
fn read_v6<L: Linear, const SENT: bool>(
    frame: &L,
    length: u32,
    endpoint: &Endpoint,
) -> Option<Plain> {
    const HEADER: u32 = 40;
    const SERVER_TO_CLIENT: u32 = ports(547, 546);
    let head = frame.head::<54>()?;
    let payload = u32::from(u16::from_be(head.half::<18>()));
    if head.byte::<14>() >> 4 != 6 || ETHERNET + HEADER + payload > length {
        return None;
    }
    let source = [head.word::<22>(), head.word::<26>(), head.word::<30>(), head.word::<34>()];
    let destination = [head.word::<38>(), head.word::<42>(), head.word::<46>(), head.word::<50>()];
    if SENT && !is_own_v6(source, endpoint) {
        return None;
    }
    let (local, remote) = if SENT { (source, destination) } else { (destination, source) };
    match head.byte::<20>() {
        protocol::TCP if payload >= TCP_HEADER => {
            let head = frame.head::<74>()?;
            let ports = u32::from_be(head.word::<54>());
            Some(Plain::new::<SENT>((6, protocol::TCP), (local, remote), ports, head.byte::<67>()))
        }
        protocol::UDP if payload >= UDP_HEADER => {
            let ports = u32::from_be(frame.head::<62>()?.word::<54>());
            if SENT && ports == SERVER_TO_CLIENT {
                return None;
            }
            Some(Plain::new::<SENT>((6, protocol::UDP), (local, remote), ports, 0))
        }
        _ => None,
    }
}

#[inline(always)]
fn is_own_v6([s0, s1, s2, s3]: [u32; 4], endpoint: &Endpoint) -> bool {
    let [own, ..] = &endpoint.v6;
    let [o0, o1, o2, o3] = super::words(own);
    s0 | s1 | s2 | s3 != 0 && s0 == o0 && s1 == o1 && s2 == o2 && s3 == o3
}

impl Plain {
    /// `ports` are the source's and the destination's.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
    fn new<const SENT: bool>(
        (ip_version, protocol): (u8, u8),
        (local, remote): ([u32; 4], [u32; 4]),
        ports: u32,
        tcp_flags: u8,
    ) -> Self {
        let by_side = if SENT { ports } else { ports.rotate_left(16) };
        Self {
            tuple: Tuple { ip_version, protocol, local, remote, ports: by_side, extra: 0 },
            said: Said::new(protocol, tcp_flags),
            port: ports as u16,
        }
    }
}

impl Plain {
    /// What the rules are asked about it.
    #[inline(always)]
    fn question(&self) -> Question {
        let Tuple { ip_version, protocol, remote, .. } = self.tuple;
        let service = rules::service(ip_version, protocol, self.port);
        Question { remote, service, ip_version: ip_version.into() }
    }
}

/// What is known beside the packet.
pub trait Known {
    /// What there is of a connection: [`flow::look`].
    fn look(&self, fingerprint: u64, steady: FlowState) -> Found;

    /// How a connection stood before this packet, which is noted if that was under this policy and no
    /// other connection begins.
    fn touch(&self, fingerprint: u64, said: Said, epoch: u32) -> Option<FlowState>;

    /// Keeps a connection; false where there is no room.
    fn keep(&self, fingerprint: u64, state: FlowState) -> bool;

    /// What the rules for what the sender begins say.
    fn ruling(&self, question: &Question) -> Ruling;

    /// The time, in units of [`flow::TICK_SHIFT`].
    fn now(&self) -> u32;
}

#[inline(always)]
fn decide<K: Known, const SENT: bool>(
    known: &K,
    plain: &Plain,
    (fingerprint, epoch): (u64, u32),
) -> Option<Decision> {
    let epoch = epoch & flow::EPOCH;
    let gives_way = |before: FlowState| before.gives_way(plain.said);
    let steady = FlowState::steady(epoch, plain.said, known.now());
    let before = match known.look(fingerprint, steady) {
        Found::Steady => return Some(Decision::of(Reason::Passed)),
        Found::Other(before) if !gives_way(before) => {
            known.touch(fingerprint, plain.said, epoch).filter(|before| !gives_way(*before))
        }
        Found::Other(_) | Found::Nothing => None,
    };
    match before {
        Some(before) if before.epoch() == epoch => Some(Decision::of(Reason::Passed)),
        Some(_) => None,
        None => begin::<K, SENT>(known, plain, (fingerprint, epoch)),
    }
}

/// Decides over a packet of no connection that is known.
#[inline(always)]
fn begin<K: Known, const SENT: bool>(
    known: &K,
    plain: &Plain,
    (fingerprint, epoch): (u64, u32),
) -> Option<Decision> {
    let decision = by_rules(known.ruling(&plain.question()));
    if decision.log || decision.audited != NO_RULE {
        return None;
    }
    if !decision.reason.passes() || !can_be_kept(&decision, plain.said, plain.port) {
        return Some(decision);
    }
    let state = FlowState::begin(SENT, epoch, plain.said, known.now());
    if known.keep(fingerprint, state) {
        Some(decision)
    } else {
        Some(Decision { reason: Reason::FlowTableFull, ..decision })
    }
}
