//! TC by rules: the parts of a decision, each a function that the verifier looks at by itself.
//!
//! A function that is verified by itself (Linux 5.6) takes numbers and the context and returns a
//! number. What is larger is in memory of this CPU's own: the packet, which is read once. A program
//! at TC is not interrupted by another of its CPU.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::programs::TcContext;
use plugin_common::abi::{Block, Observer, RuleImage};
use plugin_common::connection::flow::{self, FlowState, Said};
use plugin_common::connection::{self, Context, Decision, NO_RULE, Of};
use plugin_common::identity::Standing;
use plugin_common::packet::{Frame as _, Packet, parse_into};
use plugin_common::presets::Presets;
use plugin_common::rules::{Question, Ruling, Tables};
use plugin_common::verdict::{Reason, verdict};

use crate::capture;
use crate::clock;
use crate::judge::{self, TC_DROP, TC_NEXT};
use crate::maps;
use crate::packet::TcFrame;
use crate::report::{Outcome, report};

/// Judges a frame at TC by presets alone.
#[inline(always)]
#[must_use]
pub fn presets(ctx: &TcContext, observer: Observer, presets: Presets) -> i32 {
    let skb = ctx.skb.skb;
    // Not within the next call: of what is called, and what that calls, Linux 5.10 adds up the stacks,
    // each in steps of 32 bytes, and takes 512 in all.
    if presets.needs_frame() {
        ebpf_netns_read(skb);
    }
    ebpf_netns_presets(skb, observer as u32, presets.bits())
}

/// Judges a frame at TC by presets and rules.
#[inline(always)]
#[must_use]
pub fn tc(ctx: &TcContext, observer: Observer, presets: Presets, rules: u32) -> i32 {
    let skb = ctx.skb.skb;
    let direction = u32::from(matches!(observer, Observer::Egress));
    ebpf_netns_read(skb);
    let (Some(packet), Some(image)) = (maps::packet(), maps::image(rules)) else {
        return TC_DROP;
    };
    let frame = TcFrame(ctx);
    let decision = by_presets_and_rules(skb, packet, presets, (rules, image), direction);
    let (segments, length, ifindex) = (frame.segments(), frame.wire_len(), frame.ifindex());
    if decision.rule != NO_RULE {
        maps::hit(decision.rule, segments, length);
    }
    // The last layer's, if that is audited, is the one that decided too.
    if decision.audited != NO_RULE && decision.audited != decision.rule {
        maps::hit(decision.audited, segments, length);
    }
    let reason = decision.reason;
    if presets.contains(Presets::CAPTURE) {
        capture::tc(skb, observer, reason, (decision.rule, decision.audited));
    }
    judge::ebpf_netns_count(ifindex, observer as u32, reason as u32, segments, length);
    if decision.log || presets.reports() {
        let outcome = Outcome { ifindex, observer, reason, rule: decision.rule, length };
        let log = decision.log || presets.contains(Presets::LOG);
        report(packet, &outcome, log, presets.watches(reason));
    }
    if decision.reason.passes() { TC_NEXT } else { TC_DROP }
}

#[inline(always)]
fn by_presets_and_rules(
    skb: *mut __sk_buff,
    packet: &Packet,
    presets: Presets,
    (rules, image): (u32, &RuleImage),
    direction: u32,
) -> Decision {
    let none = |reason| Decision { reason, rule: NO_RULE, audited: NO_RULE, log: false };
    let reason = verdict(presets, packet);
    if !reason.passes() {
        return none(reason);
    }
    if let Some(unreadable) = packet.unreadable {
        return none(Reason::from(unreadable));
    }
    let parts = Parts { skb, rules, image, direction, now: clock::now() };
    connection::judge(&parts, packet, image.epoch, direction != 0)
}

/// The parts of a decision, each of them a function of the kernel.
struct Parts<'a> {
    skb: *mut __sk_buff,
    rules: u32,
    image: &'a RuleImage,
    /// 1 for what the container sends.
    direction: u32,
    now: u32,
}

impl Context for Parts<'_> {
    #[inline(always)]
    fn standing(&self) -> Standing {
        Standing::from_number(ebpf_netns_standing(self.skb, self.rules, self.direction))
    }

    #[inline(always)]
    fn fingerprint(&self, of: Of) -> u64 {
        ebpf_netns_tell(self.skb, of as u32, self.direction)
    }

    #[inline(always)]
    fn touch(&self, fingerprint: u64, said: Said) -> Option<FlowState> {
        touch(self.image, fingerprint, (said, self.direction != 0), (ANY_EPOCH, self.now))
    }

    #[inline(always)]
    fn find(&self, fingerprint: u64) -> Option<FlowState> {
        state(ebpf_netns_find(connection::bucket(self.image, fingerprint), fingerprint, self.now))
    }

    #[inline(always)]
    fn keep(&self, fingerprint: u64, state: FlowState) -> bool {
        keep(self.image, fingerprint, state, self.now)
    }

    #[inline(always)]
    fn forget(&self, fingerprint: u64) {
        ebpf_netns_forget(connection::bucket(self.image, fingerprint), fingerprint);
    }

    #[inline(always)]
    fn ruling(&self, egress: bool) -> Ruling {
        Ruling::from_number(ebpf_netns_ask(self.rules, egress.into(), self.direction))
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        self.now
    }
}

/// Notes a packet of a connection, whichever policy allowed it.
const ANY_EPOCH: u32 = u32::MAX;
const _: () = assert!(ANY_EPOCH > flow::EPOCH);

/// How a connection stood before a packet, which is noted if this policy allowed it.
#[inline(always)]
pub(crate) fn touch(
    image: &RuleImage,
    fingerprint: u64,
    (said, sent): (Said, bool),
    (epoch, now): (u32, u32),
) -> Option<FlowState> {
    let bucket = connection::bucket(image, fingerprint);
    let packet = u32::from(said.protocol) << 16 | u32::from(said.flags) << 8 | u32::from(sent);
    state(ebpf_netns_touch(bucket, fingerprint, packet, now, epoch))
}

/// Keeps a connection.
#[inline(always)]
pub(crate) fn keep(image: &RuleImage, fingerprint: u64, state: FlowState, now: u32) -> bool {
    let bucket = connection::bucket(image, fingerprint);
    ebpf_netns_keep(bucket, fingerprint, state.0, now) != 0
}

/// Asks the rules. Each side's table is at a place that is a constant in a function of its own.
#[inline(always)]
pub(crate) fn ask(rules: u32, egress: bool, question: &Question) -> Ruling {
    let Question { remote: [first, second, third, fourth], service, ip_version } = *question;
    Ruling::from_number(if ip_version == 4 {
        if egress {
            ebpf_netns_ask_egress_4(rules, first, service)
        } else {
            ebpf_netns_ask_ingress_4(rules, first, service)
        }
    } else {
        let high = u64::from(first) << 32 | u64::from(second);
        let low = u64::from(third) << 32 | u64::from(fourth);
        if egress {
            ebpf_netns_ask_egress_6(rules, high, low, service)
        } else {
            ebpf_netns_ask_ingress_6(rules, high, low, service)
        }
    })
}

// Declared by `policy`.
unsafe extern "C" {
    safe fn ebpf_netns_presets(skb: *mut __sk_buff, observer: u32, presets: u32) -> i32;
    safe fn ebpf_netns_read(skb: *mut __sk_buff) -> u32;
    safe fn ebpf_netns_standing(skb: *mut __sk_buff, rules: u32, direction: u32) -> u32;
    safe fn ebpf_netns_tell(skb: *mut __sk_buff, of: u32, direction: u32) -> u64;
    safe fn ebpf_netns_touch(bucket: u32, fingerprint: u64, said: u32, now: u32, epoch: u32)
    -> u64;
    safe fn ebpf_netns_find(bucket: u32, fingerprint: u64, now: u32) -> u64;
    safe fn ebpf_netns_keep(bucket: u32, fingerprint: u64, state: u64, now: u32) -> u32;
    safe fn ebpf_netns_forget(bucket: u32, fingerprint: u64) -> u32;
    safe fn ebpf_netns_ask(rules: u32, egress: u32, direction: u32) -> u64;
    safe fn ebpf_netns_ask_egress_4(rules: u32, remote: u32, service: u32) -> u64;
    safe fn ebpf_netns_ask_ingress_4(rules: u32, remote: u32, service: u32) -> u64;
    safe fn ebpf_netns_ask_egress_6(rules: u32, high: u64, low: u64, service: u32) -> u64;
    safe fn ebpf_netns_ask_ingress_6(rules: u32, high: u64, low: u64, service: u32) -> u64;
}

/// A state that is there has a bit set.
#[inline(always)]
const fn state(number: u64) -> Option<FlowState> {
    if number == 0 { None } else { Some(FlowState(number)) }
}

/// The rules' tables.
struct InMaps;

impl Tables for InMaps {
    #[inline(always)]
    fn block(&self, number: u32) -> Option<&Block> {
        maps::block(number)
    }

    #[inline(always)]
    fn leaf(&self, number: u32) -> Option<u32> {
        maps::leaf(number)
    }
}

/// What the functions of the kernel do, which [`policy`](crate::policy) declares: only objects that
/// the daemon loads are to have them.
pub mod parts {
    use super::*;

    /// [`judge::tc`], of a frame that was read if it has to be.
    #[inline(always)]
    pub fn presets(skb: *mut __sk_buff, observer: u32, presets: u32) -> i32 {
        let observer =
            if observer == Observer::Egress as u32 { Observer::Egress } else { Observer::Ingress };
        let Some(packet) = maps::packet() else { return TC_DROP };
        judge::tc_read(&TcContext::new(skb), packet, observer, Presets::from_bits(presets))
    }

    /// Reads the packet.
    #[inline(always)]
    pub fn read(skb: *mut __sk_buff) -> u32 {
        let ctx = TcContext::new(skb);
        let Some(packet) = maps::packet_mut() else { return 1 };
        parse_into(&TcFrame(&ctx), packet);
        0
    }

    /// [`connection::standing`].
    #[inline(always)]
    pub fn standing(skb: *mut __sk_buff, rules: u32, direction: u32) -> u32 {
        let ctx = TcContext::new(skb);
        let (Some(packet), Some(image)) = (maps::packet(), maps::image(rules)) else {
            return Standing::Refused(Reason::Closed).number();
        };
        connection::standing(&TcFrame(&ctx), packet, image, direction != 0).number()
    }

    /// [`connection::fingerprint`].
    #[inline(always)]
    pub fn tell(skb: *mut __sk_buff, of: u32, direction: u32) -> u64 {
        let ctx = TcContext::new(skb);
        let (Some(packet), Some(secret)) = (maps::packet(), maps::secret()) else { return 0 };
        let of = match of {
            number if number == Of::Packet as u32 => Of::Packet,
            number if number == Of::Quoted as u32 => Of::Quoted,
            _ => Of::Datagram,
        };
        connection::fingerprint(&TcFrame(&ctx), packet, secret, of, direction != 0)
    }

    /// [`flow::touch`].
    #[inline(always)]
    #[must_use]
    pub fn touch(bucket: u32, fingerprint: u64, said: u32, now: u32, epoch: u32) -> u64 {
        let Some(bucket) = maps::bucket(bucket) else { return 0 };
        let packet = Said { protocol: (said >> 16 & 0xff) as u8, flags: (said >> 8 & 0xff) as u8 };
        let noted = |before: FlowState| {
            (epoch == ANY_EPOCH || before.epoch() == epoch) && !before.gives_way(packet)
        };
        let before = flow::touch(&bucket, fingerprint, said & 1 != 0, packet, now, noted);
        before.map_or(0, |state| state.0)
    }

    /// [`flow::find`].
    #[inline(always)]
    #[must_use]
    pub fn find(bucket: u32, fingerprint: u64, now: u32) -> u64 {
        let Some(bucket) = maps::bucket(bucket) else { return 0 };
        flow::find(&bucket, fingerprint, now).map_or(0, |state| state.0)
    }

    /// [`flow::insert`].
    #[inline(always)]
    #[must_use]
    pub fn keep(bucket: u32, fingerprint: u64, state: u64, now: u32) -> u32 {
        let Some(bucket) = maps::bucket(bucket) else { return 0 };
        flow::insert(&bucket, fingerprint, FlowState(state), now).into()
    }

    /// [`flow::remove`].
    #[inline(always)]
    #[must_use]
    pub fn forget(bucket: u32, fingerprint: u64) -> u32 {
        if let Some(bucket) = maps::bucket(bucket) {
            flow::remove(&bucket, fingerprint);
        }
        0
    }

    /// Asks the rules for connections that one side begins about the packet.
    #[inline(always)]
    #[must_use]
    pub fn ask(rules: u32, egress: u32, direction: u32) -> u64 {
        let Some(packet) = maps::packet() else { return Ruling::BROKEN.number() };
        let egress = egress != 0;
        let question = connection::question(packet, egress, direction != 0);
        super::ask(rules, egress, &question).number()
    }

    /// [`rules::decide`](plugin_common::rules::decide) over IPv4.
    #[inline(always)]
    #[must_use]
    pub fn ask_4<const EGRESS: bool>(rules: u32, remote: u32, service: u32) -> u64 {
        decide::<EGRESS>(rules, &Question { remote: [remote, 0, 0, 0], service, ip_version: 4 })
    }

    /// [`rules::decide`](plugin_common::rules::decide) over IPv6.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "they are halves")]
    pub fn ask_6<const EGRESS: bool>(rules: u32, high: u64, low: u64, service: u32) -> u64 {
        let remote = [(high >> 32) as u32, high as u32, (low >> 32) as u32, low as u32];
        decide::<EGRESS>(rules, &Question { remote, service, ip_version: 6 })
    }

    #[inline(always)]
    fn decide<const EGRESS: bool>(rules: u32, question: &Question) -> u64 {
        let Some(image) = maps::image(rules) else { return Ruling::BROKEN.number() };
        let table = if EGRESS { &image.egress } else { &image.ingress };
        plugin_common::rules::decide(&InMaps, table, question).number()
    }
}
