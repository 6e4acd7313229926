//! What rules make of a packet: whether it is its sender's own, whether it belongs to a connection
//! that they allowed, and, if it begins one, whether they allow that. Pure.

pub mod fast;
pub mod flow;
#[cfg(test)]
mod tests;

use self::flow::{FlowState, Said, Tuple};
use crate::abi::{FlowSecret, RuleImage};
use crate::compiler::opaque;
use crate::identity::{self, Standing};
use crate::packet::{Fragment, Frame, Packet, protocol};
use crate::rules::{self, Question, Ruling};
use crate::verdict::Reason;

/// The parts of a decision over one packet, each of which may look at more than the packet.
///
/// In the kernel each is a function that the verifier looks at by itself: together they would be too
/// much for it. What they do is in this crate: [`standing`], [`fingerprint`], [`rules::decide`] over a
/// [`question`], and the functions of [`flow`].
pub trait Context {
    /// Whether the packet is its sender's own.
    fn standing(&self) -> Standing;

    /// The fingerprint of the packet's connection; 0 if it is too short for one.
    fn fingerprint(&self, of: Of) -> u64;

    /// How a connection stood before this packet, which is noted, but for one that begins another
    /// connection where this one has ended.
    fn touch(&self, fingerprint: u64, said: Said) -> Option<FlowState>;

    /// How a connection stands.
    fn find(&self, fingerprint: u64) -> Option<FlowState>;

    /// Keeps a connection, or that another policy allowed it; false where there is no room.
    fn keep(&self, fingerprint: u64, state: FlowState) -> bool;

    /// Forgets a connection.
    fn forget(&self, fingerprint: u64);

    /// What the rules for connections that one side begins make of the packet.
    fn ruling(&self, egress: bool) -> Ruling;

    /// The time, in units of [`flow::TICK_SHIFT`].
    fn now(&self) -> u32;
}

/// Whose fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The packet's own connection; of a later fragment, its datagram.
    Packet,
    /// The connection of the packet that this one quotes.
    Quoted,
    /// The datagram of which the packet is a part.
    Datagram,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it passes, and why not.
    pub reason: Reason,
    /// The counter of the rule that decided; [`NO_RULE`] if none was asked.
    pub rule: u32,
    /// The counter of the rule that would have denied it, but for an audit; [`NO_RULE`] if none.
    pub audited: u32,
    /// Whether it is to be reported.
    pub log: bool,
}

/// Stands for no rule.
pub const NO_RULE: u32 = u32::MAX;

impl Decision {
    const fn of(reason: Reason) -> Self {
        Self { reason, rule: NO_RULE, audited: NO_RULE, log: false }
    }
}

/// Decides over a packet that could be read, and that no preset drops.
#[inline(always)]
pub fn judge<C: Context>(
    context: &C,
    packet: &Packet,
    epoch: u32,
    from_container: bool,
) -> Decision {
    let epoch = epoch & flow::EPOCH;
    match context.standing() {
        Standing::Refused(reason) => return Decision::of(reason),
        Standing::Needed => return Decision::of(Reason::Passed),
        Standing::Ordinary => {}
    }
    let quoted = matches!(packet.fragment, Fragment::Whole) && is_error(packet);
    let later = matches!(packet.fragment, Fragment::Later);
    let fingerprint = context.fingerprint(if quoted { Of::Quoted } else { Of::Packet });
    if fingerprint == 0 {
        return Decision::of(Reason::Malformed);
    }
    let said = Said::new(if later { Tuple::FRAGMENTS } else { packet.protocol }, packet.tcp_flags);
    let found = if quoted {
        // What it quotes went the other way, and is not heard of again by that.
        context.find(fingerprint)
    } else {
        context.touch(fingerprint, said)
    };
    let found = found.filter(|before| !before.gives_way(said));
    // Neither says what a policy that has changed would have to know of what it belongs to. The
    // connection's next packet does, and what is lost of a datagram is sent again.
    let found = found.filter(|before| before.epoch() == epoch || !(quoted || later));
    match found {
        Some(before) if before.epoch() == epoch => {
            let passed = Decision::of(Reason::Passed);
            with_fragments(context, packet, epoch, from_container, passed)
        }
        None if later => Decision::of(Reason::LoneFragment),
        Some(before) => {
            // A policy that has changed judges the connections that it finds, by the rules for who
            // began.
            let decision = by_rules(context.ruling(before.from_container()));
            if !decision.reason.passes() {
                context.forget(fingerprint);
                return decision;
            }
            let state = before.heard(from_container, said, context.now()).with_epoch(epoch);
            context.keep(fingerprint, state);
            with_fragments(context, packet, epoch, from_container, decision)
        }
        None => {
            let decision = by_rules(context.ruling(from_container));
            if quoted || !decision.reason.passes() || !is_tracked(packet) {
                return decision;
            }
            if !can_be_kept(&decision, said, packet.destination_port) {
                return decision;
            }
            let state = FlowState::begin(from_container, epoch, said, context.now());
            if !context.keep(fingerprint, state) {
                return Decision { reason: Reason::FlowTableFull, ..decision };
            }
            with_fragments(context, packet, epoch, from_container, decision)
        }
    }
}

/// Whether a connection is kept that begins with this packet, as far as it is known to.
///
/// Of one of TCP that began before it was watched nobody can tell who did. A rule that allows it
/// says that it may be the sender. Where there are no rules for what the sender begins, that must not
/// let through what the other side's rules forbid: then it is the sender if the other side's port is
/// none that is given to whoever begins
/// ([`ip_local_port_range`](https://docs.kernel.org/networking/ip-sysctl.html)).
#[inline(always)]
fn can_be_kept(decision: &Decision, said: Said, port: u16) -> bool {
    const FIRST_EPHEMERAL: u16 = 32_768;
    decision.rule != NO_RULE
        || said.protocol != protocol::TCP
        || said.begins()
        || port < FIRST_EPHEMERAL
}

/// The other fragments of an allowed datagram pass with its first one.
#[inline(always)]
fn with_fragments<C: Context>(
    context: &C,
    packet: &Packet,
    epoch: u32,
    from_container: bool,
    decision: Decision,
) -> Decision {
    if !matches!(packet.fragment, Fragment::First) {
        return decision;
    }
    let said = Said::new(Tuple::FRAGMENTS, 0);
    let state = FlowState::begin(from_container, epoch, said, context.now());
    if context.keep(context.fingerprint(Of::Datagram), state) {
        decision
    } else {
        Decision { reason: Reason::FlowTableFull, ..decision }
    }
}

/// What follows from what the rules say.
#[inline(always)]
fn by_rules(ruling: Ruling) -> Decision {
    let reason = if ruling.is_broken() {
        Reason::Closed
    } else if ruling.allowed() {
        Reason::Passed
    } else if ruling.is_last() {
        Reason::NoRule
    } else {
        Reason::Denied
    };
    Decision {
        reason,
        rule: ruling.rule().unwrap_or(NO_RULE),
        audited: ruling.audited().unwrap_or(NO_RULE),
        log: ruling.log(),
    }
}

/// Whether a packet is its sender's own: [`Context::standing`].
#[inline(always)]
pub fn standing<F: Frame>(
    frame: &F,
    packet: &Packet,
    image: &RuleImage,
    from_container: bool,
) -> Standing {
    if from_container {
        identity::sent(frame, packet, &image.endpoint)
    } else {
        identity::received(packet)
    }
}

/// The fingerprint of a packet's connection: [`Context::fingerprint`].
#[inline(always)]
pub fn fingerprint<F: Frame>(
    frame: &F,
    packet: &Packet,
    secret: &FlowSecret,
    of: Of,
    from_container: bool,
) -> u64 {
    let told = match of {
        Of::Quoted => quote(frame, packet, from_container, secret),
        Of::Packet => tell(frame, packet, from_container, secret),
        Of::Datagram => datagram(frame, packet, from_container, secret),
    };
    told.unwrap_or(0)
}

/// What the rules for connections that one side begins are asked about a packet.
#[inline(always)]
#[must_use]
pub fn question(packet: &Packet, egress: bool, from_container: bool) -> Question {
    Question {
        remote: pick(from_container, &packet.destination, &packet.source),
        service: service(packet, egress != from_container),
        ip_version: packet.ip_version.into(),
    }
}

/// The bucket of a connection.
///
/// A fingerprint grows by the same with each port: what is not mixed again would fill some buckets
/// with the connections to one peer, and leave others empty.
#[inline(always)]
#[must_use]
pub fn bucket(image: &RuleImage, fingerprint: u64) -> u32 {
    const ODD: u64 = 0xff51_afd7_ed55_8ccd;
    let mixed = (fingerprint ^ fingerprint >> 33).wrapping_mul(ODD);
    let low = (mixed >> 40 ^ mixed >> 20) & 0xffff_ffff;
    image.flows + (low as u32 & image.flows_mask)
}

/// What a rule calls a service: the protocol, with the port of who is asked, or the type.
#[inline(always)]
fn service(packet: &Packet, reversed: bool) -> u32 {
    let number = match packet.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP if reversed => packet.source_port,
        protocol::TCP | protocol::UDP | protocol::SCTP => packet.destination_port,
        protocol::ICMP | protocol::ICMPV6 if reversed => {
            request(packet.protocol, packet.source_port)
        }
        protocol::ICMP | protocol::ICMPV6 => packet.source_port,
        _ => 0,
    };
    rules::service(packet.ip_version, packet.protocol, number)
}

/// Of the packet's connection; `None` if the packet is too short for one.
#[inline(always)]
fn tell<F: Frame>(
    frame: &F,
    packet: &Packet,
    from_container: bool,
    secret: &FlowSecret,
) -> Option<u64> {
    if matches!(packet.fragment, Fragment::Later) {
        return datagram(frame, packet, from_container, secret);
    }
    let (ports, extra) = match packet.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            (ports(packet.source_port, packet.destination_port, from_container), 0)
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let [high, low] = frame.load::<2>(packet.payload + 4)?;
            let number = u32::from(u16::from_be_bytes([high, low]));
            (number, query(packet.protocol, packet.source_port, from_container))
        }
        _ => (0, 0),
    };
    let (ip_version, protocol) = (packet.ip_version, packet.protocol);
    let local = pick(from_container, &packet.source, &packet.destination);
    let remote = pick(from_container, &packet.destination, &packet.source);
    Some(Tuple { ip_version, protocol, local, remote, ports, extra }.fingerprint(secret))
}

/// One of two addresses. Without a branch, of which the compiler would make an offset into the packet
/// that is not a constant.
#[inline(always)]
fn pick(first: bool, one: &[u8; 16], other: &[u8; 16]) -> [u32; 4] {
    let mask = u64::from(first).wrapping_neg();
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (words(one), words(other));
    [select(mask, a0, b0), select(mask, a1, b1), select(mask, a2, b2), select(mask, a3, b3)]
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "both have 32 bits")]
fn select(mask: u64, one: u32, other: u32) -> u32 {
    let mask = opaque(mask);
    (u64::from(one) & mask | u64::from(other) & !mask) as u32
}

/// An address as words in network byte order.
#[inline(always)]
fn words(address: &[u8; 16]) -> [u32; 4] {
    let [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3] = *address;
    [
        u32::from_ne_bytes([a0, a1, a2, a3]),
        u32::from_ne_bytes([b0, b1, b2, b3]),
        u32::from_ne_bytes([c0, c1, c2, c3]),
        u32::from_ne_bytes([d0, d1, d2, d3]),
    ]
}

#[inline(always)]
fn ports(source: u16, destination: u16, from_container: bool) -> u32 {
    let (local, remote) =
        if from_container { (source, destination) } else { (destination, source) };
    u32::from(local) << 16 | u32::from(remote)
}

/// Of the fragments of a datagram, but for the first.
#[inline(always)]
fn datagram<F: Frame>(
    frame: &F,
    packet: &Packet,
    from_container: bool,
    secret: &FlowSecret,
) -> Option<u64> {
    let identification = if packet.ip_version == 4 {
        u32::from(u16::from_be_bytes(frame.load(packet.identification)?))
    } else {
        u32::from_be_bytes(frame.load(packet.identification)?)
    };
    let tuple = Tuple {
        ip_version: packet.ip_version,
        protocol: Tuple::FRAGMENTS,
        local: words(&packet.source),
        remote: words(&packet.destination),
        ports: identification,
        extra: u32::from(packet.protocol) << 8 | u32::from(from_container),
    };
    Some(tuple.fingerprint(secret))
}

/// Of the connection of the packet that an error quotes; `None` if the quote is too short, or if the
/// error does not go to who sent that: anybody else could be sent anything under its cover. The
/// quoted packet went the other way.
#[inline(always)]
fn quote<F: Frame>(
    frame: &F,
    packet: &Packet,
    from_container: bool,
    secret: &FlowSecret,
) -> Option<u64> {
    const ERROR: u32 = 8;
    let start = packet.payload + ERROR;
    let from_container = !from_container;
    let (source, destination): ([u8; 16], [u8; 16]);
    let (protocol, header) = if packet.ip_version == 4 {
        const LATER: u16 = 0x1fff;
        let [version_ihl, _] = frame.load::<2>(start)?;
        let [high, low] = frame.load::<2>(start + 6)?;
        let [_, protocol] = frame.load::<2>(start + 8)?;
        let length = u32::from(version_ihl & 0x0f) * 4;
        if version_ihl >> 4 != 4 || length < 20 || u16::from_be_bytes([high, low]) & LATER != 0 {
            return None;
        }
        let [s0, s1, s2, s3] = frame.load::<4>(start + 12)?;
        let [d0, d1, d2, d3] = frame.load::<4>(start + 16)?;
        source = [s0, s1, s2, s3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        destination = [d0, d1, d2, d3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        (protocol, length)
    } else {
        let [version, _] = frame.load::<2>(start)?;
        let [next_header, _] = frame.load::<2>(start + 6)?;
        if version >> 4 != 6 {
            return None;
        }
        source = frame.load(start + 8)?;
        destination = frame.load(start + 24)?;
        (next_header, 40)
    };
    if source != packet.destination {
        return None;
    }
    let [p0, p1, p2, p3] = frame.load::<4>(start + header)?;
    let (ports, extra) = match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            let (source, destination) =
                (u16::from_be_bytes([p0, p1]), u16::from_be_bytes([p2, p3]));
            (ports(source, destination, from_container), 0)
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let [high, low] = frame.load::<2>(start + header + 4)?;
            let number = u32::from(u16::from_be_bytes([high, low]));
            (number, query(protocol, u16::from(p0), from_container))
        }
        _ => (0, 0),
    };
    let local = pick(from_container, &source, &destination);
    let remote = pick(from_container, &destination, &source);
    let ip_version = packet.ip_version;
    Some(Tuple { ip_version, protocol, local, remote, ports, extra }.fingerprint(secret))
}

/// Types of ICMP of both versions that this tells apart.
mod icmp {
    pub(super) const ECHO_REPLY: u16 = 0;
    pub(super) const UNREACHABLE: u16 = 3;
    pub(super) const ECHO: u16 = 8;
    pub(super) const TIME_EXCEEDED: u16 = 11;
    pub(super) const PARAMETER_PROBLEM: u16 = 12;
    pub(super) const TIMESTAMP: u16 = 13;
    pub(super) const TIMESTAMP_REPLY: u16 = 14;
    pub(super) const FIRST_ERROR_6: u16 = 1;
    pub(super) const LAST_ERROR_6: u16 = 4;
    pub(super) const ECHO_6: u16 = 128;
    pub(super) const ECHO_REPLY_6: u16 = 129;
}

/// Whether it is an error about another packet.
#[inline(always)]
fn is_error(packet: &Packet) -> bool {
    match (packet.ip_version, packet.protocol) {
        (4, protocol::ICMP) => matches!(
            packet.source_port,
            icmp::UNREACHABLE | icmp::TIME_EXCEEDED | icmp::PARAMETER_PROBLEM
        ),
        (6, protocol::ICMPV6) => {
            packet.source_port >= icmp::FIRST_ERROR_6 && packet.source_port <= icmp::LAST_ERROR_6
        }
        _ => false,
    }
}

/// Tells the connections of ICMP apart: the question, and whether the container asks it (1) or is
/// asked (2); of any other message, the message and who sends it.
#[inline(always)]
fn query(protocol: u8, number: u16, from_container: bool) -> u32 {
    let question = request(protocol, number);
    let who = if question != number {
        1 + u32::from(from_container)
    } else if is_question(protocol, number) {
        2 - u32::from(from_container)
    } else {
        // Of no connection that is kept.
        4 + u32::from(from_container)
    };
    u32::from(question) << 3 | who
}

/// The type of the question that an answer of ICMP is to.
#[inline(always)]
const fn request(protocol: u8, number: u16) -> u16 {
    match (protocol, number) {
        (protocol::ICMP, icmp::ECHO_REPLY) => icmp::ECHO,
        (protocol::ICMP, icmp::TIMESTAMP_REPLY) => icmp::TIMESTAMP,
        (protocol::ICMPV6, icmp::ECHO_REPLY_6) => icmp::ECHO_6,
        (_, other) => other,
    }
}

/// Whether a message of ICMP is a question, to which there is an answer.
#[inline(always)]
const fn is_question(protocol: u8, number: u16) -> bool {
    matches!(
        (protocol, number),
        (protocol::ICMP, icmp::ECHO | icmp::TIMESTAMP) | (protocol::ICMPV6, icmp::ECHO_6)
    )
}

/// Whether answers to it are let through because it was.
#[inline(always)]
fn is_tracked(packet: &Packet) -> bool {
    match packet.protocol {
        protocol::ICMP | protocol::ICMPV6 => is_question(packet.protocol, packet.source_port),
        _ => true,
    }
}
