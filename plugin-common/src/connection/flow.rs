//! The table of connections of one interface.
//!
//! A bucket has eight ways; a connection is in the bucket that its fingerprint names, or in none. The
//! fingerprint has 64 bits of a strongly universal hash over addresses, ports and protocol, with a
//! secret that changes with each boot: no one who does not know it finds two connections with the same
//! fingerprint but by trying, once in 2^64 times (Lemire and Kaser, "Strongly universal string
//! hashing is fast", 2014).
//!
//! Nothing is locked. Another processor may put another connection into the same way at the same
//! time: one of the two is then not in the table, and judged by the rules again.

use crate::abi::FlowSecret;
use crate::packet::{protocol, tcp_flag};

/// Connections in a bucket.
pub const WAYS: usize = 8;

/// One unit of time: 2^30 nanoseconds.
pub const TICK_SHIFT: u32 = 30;

/// How long a connection is kept in the table after its last packet, in units of 2^30 ns (1.07 s).
pub mod timeout {
    /// TCP, assured: one day.
    pub const TCP: u32 = 80_000;
    /// TCP, not assured yet: whoever began has not spoken since it was answered.
    pub const TCP_OPENING: u32 = 60;
    /// TCP, both sides have ended it, or one has for so long.
    pub const TCP_CLOSING: u32 = 120;
    /// TCP, reset.
    pub const TCP_RESET: u32 = 10;
    /// UDP, not assured yet, as a question and its answer are; also the other parts of a fragmented
    /// datagram.
    pub const UDP_OPENING: u32 = 30;
    /// UDP, assured.
    pub const UDP: u32 = 180;
    /// An echo and its answers.
    pub const ICMP: u32 = 30;
    /// Any other protocol.
    pub const OTHER: u32 = 600;
}

/// What a connection is told by. Addresses and ports are those of the container and of the other
/// side, whichever of them sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// 4 or 6.
    pub ip_version: u8,
    /// The IP protocol, or [`Self::FRAGMENTS`].
    pub protocol: u8,
    /// The container's address in network byte order; IPv4 takes the first word.
    pub local: [u32; 4],
    /// The other side's.
    pub remote: [u32; 4],
    /// The container's port and the other side's; of an echo its number, of fragments the
    /// datagram's.
    pub ports: u32,
    /// 0, but for the fragments of a datagram, which are those of one protocol and direction.
    pub extra: u32,
}

impl Tuple {
    /// Stands for the protocol where a tuple is of a datagram's fragments: reserved by IANA.
    pub const FRAGMENTS: u8 = 255;

    /// The fingerprint, which is never 0.
    #[inline(always)]
    #[must_use]
    pub fn fingerprint(&self, secret: &FlowSecret) -> u64 {
        let kind = u32::from(self.ip_version) << 8 | u32::from(self.protocol);
        let [l0, l1, l2, l3] = self.local;
        let [r0, r1, r2, r3] = self.remote;
        let FlowSecret(secret) = secret;
        let [k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, rest @ ..] = secret;
        let [m0, m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11] = rest;
        let mut one =
            sum(*k0, &[(k1, l0), (k2, r0), (k3, self.ports), (k4, kind), (k5, self.extra)]);
        let mut other =
            sum(*m0, &[(m1, l0), (m2, r0), (m3, self.ports), (m4, kind), (m5, self.extra)]);
        if self.ip_version == 6 {
            one = sum(one, &[(k6, l1), (k7, l2), (k8, l3), (k9, r1), (k10, r2), (k11, r3)]);
            other = sum(other, &[(m6, l1), (m7, l2), (m8, l3), (m9, r1), (m10, r2), (m11, r3)]);
        }
        let fingerprint = one >> 32 << 32 | other >> 32;
        if fingerprint == 0 { 1 } else { fingerprint }
    }
}

/// Adds products; the upper half of the sum is the hash.
#[inline(always)]
fn sum(start: u64, terms: &[(&u64, u32)]) -> u64 {
    terms
        .iter()
        .fold(start, |sum, (key, word)| sum.wrapping_add(key.wrapping_mul(u64::from(*word))))
}

/// How a connection stands: one word, so that it is read and written whole.
///
/// Bits 0 to 31 are the time at which it is forgotten, 32 to 35 what the side that began has sent,
/// 36 to 39 what the other has, 40 to 62 the policy that allowed it ([`EPOCH`]), 63 which side began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowState(pub u64);

/// The bits of a policy's number that a connection is kept with: enough that no connection outlasts
/// as many policies.
pub const EPOCH: u32 = (1 << 23) - 1;

const FIRST_AT: u32 = 32;
const OTHER_AT: u32 = 36;
const EPOCH_AT: u32 = 40;
const BEGAN_AT: u32 = 63;
/// The bits that say what a side has sent.
const SIDE: u64 = 0xf;

/// Something was sent.
const SPOKE: u64 = 1;
/// TCP: the sender has ended.
const ENDED: u64 = 2;
/// TCP: the sender has reset.
const RESET: u64 = 4;
/// In the bits of a packet: it begins a connection. In those of who began: it is assured.
const BEGINS: u64 = 8;
/// Whoever began has heard the answer: it has gone on since. What only pretends to be another's never
/// comes to that, since it is not sent the answer.
const ASSURED: u64 = BEGINS;

impl FlowState {
    /// A connection that begins with this packet.
    #[inline(always)]
    #[must_use]
    pub fn begin(from_container: bool, epoch: u32, said: Said, now: u32) -> Self {
        Self(u64::from(from_container) << BEGAN_AT).with_epoch(epoch).heard(
            from_container,
            said,
            now,
        )
    }

    /// Whether the container began.
    #[inline(always)]
    #[must_use]
    pub const fn from_container(self) -> bool {
        self.0 >> BEGAN_AT != 0
    }

    /// Which policy allowed it.
    #[inline(always)]
    #[must_use]
    pub const fn epoch(self) -> u32 {
        (self.0 >> EPOCH_AT) as u32 & EPOCH
    }

    /// The same, allowed by another policy.
    #[inline(always)]
    #[must_use]
    pub const fn with_epoch(self, epoch: u32) -> Self {
        Self(self.0 & !((EPOCH as u64) << EPOCH_AT) | ((epoch & EPOCH) as u64) << EPOCH_AT)
    }

    /// Whether it is to be forgotten. Times are compared as on a clock face.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
    pub const fn is_over(self, now: u32) -> bool {
        (self.0 as u32).wrapping_sub(now) > u32::MAX / 2
    }

    /// Whether whoever began has gone on after the answer.
    #[inline(always)]
    #[must_use]
    pub const fn is_assured(self) -> bool {
        self.side(FIRST_AT) & ASSURED != 0
    }

    /// Whether it has ended, so that the same ports may begin another.
    #[inline(always)]
    #[must_use]
    pub const fn has_ended(self) -> bool {
        let (first, second) = (self.side(FIRST_AT), self.side(OTHER_AT));
        (first | second) & RESET != 0 || first & second & ENDED != 0
    }

    /// Whether a packet begins another connection in its place.
    #[inline(always)]
    #[must_use]
    pub const fn gives_way(self, said: Said) -> bool {
        said.begins() && self.has_ended()
    }

    /// After another packet.
    #[inline(always)]
    #[must_use]
    pub fn heard(self, from_container: bool, said: Said, now: u32) -> Self {
        let is_first = self.from_container() == from_container;
        let place = if is_first { FIRST_AT } else { OTHER_AT };
        let mut bits = u64::from(said.flags) & SIDE & !BEGINS;
        if is_first && self.side(OTHER_AT) != 0 && !said.begins() {
            bits |= ASSURED;
        }
        let state = Self(self.0 | bits << place);
        let lifetime = lifetime(said.protocol, state.side(FIRST_AT), state.side(OTHER_AT));
        Self(state.0 & !0xffff_ffff | u64::from(now.wrapping_add(lifetime)))
    }

    /// The one state that a packet of an assured connection leaves as it is, but for who began: it
    /// has been heard of in this unit of time, and nobody has ended. No state where the packet says
    /// more than that its sender goes on.
    #[inline(always)]
    #[must_use]
    pub const fn steady(epoch: u32, said: Said, now: u32) -> Self {
        if said.flags as u64 != SPOKE {
            return Self(0);
        }
        let lifetime = if said.protocol == protocol::TCP { timeout::TCP } else { timeout::UDP };
        let sides = (SPOKE | ASSURED) << FIRST_AT | SPOKE << OTHER_AT;
        Self(sides | now.wrapping_add(lifetime) as u64).with_epoch(epoch)
    }

    /// Whether both are the same, but for who began.
    #[inline(always)]
    const fn is_but_for_who_began(self, other: Self) -> bool {
        (self.0 ^ other.0) << (u64::BITS - BEGAN_AT) == 0
    }

    /// What a side has sent.
    #[inline(always)]
    const fn side(self, place: u32) -> u64 {
        self.0 >> place & SIDE
    }

    /// The time at which it is forgotten.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is wanted")]
    pub const fn expires(self) -> u32 {
        self.0 as u32
    }
}

/// What a packet says of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    /// The protocol.
    pub protocol: u8,
    /// What it says, in bits.
    pub flags: u8,
}

impl Said {
    /// Of a packet of this protocol, with these flags if it is TCP.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "there are four of them")]
    pub const fn new(protocol: u8, tcp_flags: u8) -> Self {
        let mut flags = SPOKE;
        if protocol == protocol::TCP && tcp_flags & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN
        {
            flags |= BEGINS;
        }
        if tcp_flags & tcp_flag::FIN != 0 {
            flags |= ENDED;
        }
        if tcp_flags & tcp_flag::RST != 0 {
            flags |= RESET;
        }
        Self { protocol, flags: flags as u8 }
    }

    /// Whether it begins a connection, also where one with the same ports has just ended.
    #[inline(always)]
    #[must_use]
    pub const fn begins(self) -> bool {
        self.flags as u64 & BEGINS != 0
    }
}

#[inline(always)]
fn lifetime(number: u8, first: u64, second: u64) -> u32 {
    match number {
        protocol::TCP if (first | second) & RESET != 0 => timeout::TCP_RESET,
        protocol::TCP if (first | second) & ENDED != 0 => timeout::TCP_CLOSING,
        protocol::TCP if first & ASSURED == 0 => timeout::TCP_OPENING,
        protocol::TCP => timeout::TCP,
        protocol::UDP if first & ASSURED == 0 => timeout::UDP_OPENING,
        protocol::UDP => timeout::UDP,
        protocol::ICMP | protocol::ICMPV6 => timeout::ICMP,
        Tuple::FRAGMENTS => timeout::UDP_OPENING,
        _ => timeout::OTHER,
    }
}

/// A bucket of the table. A way is less than [`WAYS`].
pub trait Bucket {
    /// The fingerprint in a way; 0 where there is none.
    fn fingerprint(&self, way: usize) -> u64;
    /// The state in a way.
    fn state(&self, way: usize) -> FlowState;
    /// Puts a fingerprint into a way.
    fn set_fingerprint(&self, way: usize, fingerprint: u64);
    /// Puts a state into a way.
    fn set_state(&self, way: usize, state: FlowState);
}

/// Does something for each way, with its number as a constant.
macro_rules! each_way {
    ($way:ident, $body:block) => {
        each_way!(@ $way, $body, 0 1 2 3 4 5 6 7)
    };
    (@ $way:ident, $body:block, $($number:literal)*) => {
        $({
            const $way: usize = $number;
            $body
        })*
    };
}

/// What is in a bucket of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// It stands as [`FlowState::steady`] says.
    Steady,
    /// It stands otherwise, or is over.
    Other(FlowState),
}

/// Looks a connection up, for a packet of TCP or UDP that most often changes nothing.
#[inline(always)]
pub fn look<B: Bucket>(bucket: &B, fingerprint: u64, steady: FlowState) -> Found {
    each_way!(WAY, {
        if bucket.fingerprint(WAY) == fingerprint {
            let state = bucket.state(WAY);
            // Another processor may have put another connection there meanwhile.
            if state.is_but_for_who_began(steady) && bucket.fingerprint(WAY) == fingerprint {
                return Found::Steady;
            }
            return Found::Other(state);
        }
    });
    Found::Nothing
}

/// Notes a packet of a connection that is in the bucket, if it is to be noted there, and returns how
/// the connection stood before; `None` if it is not there, or not any more.
#[inline(always)]
pub fn touch<B: Bucket>(
    bucket: &B,
    fingerprint: u64,
    from_container: bool,
    said: Said,
    now: u32,
    noted: impl Fn(FlowState) -> bool,
) -> Option<FlowState> {
    each_way!(WAY, {
        if bucket.fingerprint(WAY) == fingerprint {
            let before = bucket.state(WAY);
            if before.is_over(now) {
                return None;
            }
            let after = before.heard(from_container, said, now);
            if after != before && noted(before) {
                bucket.set_state(WAY, after);
            }
            // Another processor may have put another connection there meanwhile.
            return (bucket.fingerprint(WAY) == fingerprint).then_some(before);
        }
    });
    None
}

/// How a connection stands that is in the bucket.
#[inline(always)]
pub fn find<B: Bucket>(bucket: &B, fingerprint: u64, now: u32) -> Option<FlowState> {
    each_way!(WAY, {
        if bucket.fingerprint(WAY) == fingerprint {
            let state = bucket.state(WAY);
            return (!state.is_over(now)).then_some(state);
        }
    });
    None
}

/// Puts a connection into the bucket, or puts another state in its place: into a way that is
/// free, or else into that of the connection which has ended, or is not assured, and is the next to be
/// forgotten. False when every connection there is assured and goes on.
#[inline(always)]
#[expect(unused_assignments, reason = "the last way is as the others")]
pub fn insert<B: Bucket>(bucket: &B, fingerprint: u64, state: FlowState, now: u32) -> bool {
    let mut best = WAYS;
    let mut left = u32::MAX;
    each_way!(WAY, {
        let found = bucket.fingerprint(WAY);
        let there = bucket.state(WAY);
        if found == fingerprint {
            bucket.set_state(WAY, state);
            return true;
        }
        let remains = if found == 0 || there.is_over(now) {
            0
        } else if there.has_ended() || !there.is_assured() {
            there.expires().wrapping_sub(now).saturating_add(1)
        } else {
            u32::MAX
        };
        if remains < left {
            left = remains;
            best = WAY;
        }
    });
    each_way!(WAY, {
        if best == WAY {
            // In this order: whoever finds the fingerprint finds its state.
            bucket.set_fingerprint(WAY, 0);
            bucket.set_state(WAY, state);
            bucket.set_fingerprint(WAY, fingerprint);
            return true;
        }
    });
    false
}

/// Takes a connection out of the bucket.
#[inline(always)]
#[expect(clippy::needless_return, reason = "the last way is as the others")]
pub fn remove<B: Bucket>(bucket: &B, fingerprint: u64) {
    each_way!(WAY, {
        if bucket.fingerprint(WAY) == fingerprint {
            bucket.set_fingerprint(WAY, 0);
            return;
        }
    });
}
