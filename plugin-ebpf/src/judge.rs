//! What every program does with a frame: read it, decide, count, report, answer.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::programs::{TcContext, XdpContext};
use plugin_common::abi::Observer;
use plugin_common::connection::NO_RULE;
use plugin_common::packet::{Frame, Packet, parse};
use plugin_common::presets::Presets;
use plugin_common::verdict::{Reason, verdict};

use crate::capture;
use crate::packet::{AtXdp, TcFrame};
use crate::report::{Outcome, report};

/// To the next program of the chain: `TCX_NEXT`, which clsact calls `TC_ACT_UNSPEC`. `TC_ACT_OK`
/// would end the chain and skip other people's programs.
pub(crate) const TC_NEXT: i32 = -1;
/// `TC_ACT_SHOT`.
pub(crate) const TC_DROP: i32 = 2;

/// Judges a frame at XDP.
#[inline(always)]
#[must_use]
pub fn xdp<'a, F: AtXdp<'a>>(ctx: &'a XdpContext, presets: Presets) -> u32 {
    let seen = Seen { ifindex: ifindex(ctx), observer: Observer::Xdp, segments: 1 };
    let reason = judge(&F::of(ctx), seen, presets);
    if presets.contains(Presets::CAPTURE) {
        capture::xdp(ctx, reason);
    }
    if reason.passes() { XDP_PASS } else { XDP_DROP }
}

/// The interface that a program at XDP is attached to.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "the kernel's field has 32 bits")]
pub fn ifindex(ctx: &XdpContext) -> u32 {
    ctx.ingress_ifindex() as u32
}

/// Judges a frame at TC.
#[inline(always)]
#[must_use]
pub fn tc(ctx: &TcContext, observer: Observer, presets: Presets) -> i32 {
    let frame = TcFrame(ctx);
    if judge(&frame, Seen::at_tc(&frame, observer), presets).passes() { TC_NEXT } else { TC_DROP }
}

/// As [`tc`], of a frame that was read already, if anything asks for its contents.
#[inline(always)]
pub(crate) fn tc_read(
    ctx: &TcContext,
    packet: &Packet,
    observer: Observer,
    presets: Presets,
) -> i32 {
    let frame = TcFrame(ctx);
    let reason = decide(&frame, packet, Seen::at_tc(&frame, observer), presets);
    if presets.contains(Presets::CAPTURE) {
        capture::tc(ctx.skb.skb, observer, reason, (NO_RULE, NO_RULE));
    }
    if reason.passes() { TC_NEXT } else { TC_DROP }
}

/// Where a frame is seen, and how many packets it stands for.
struct Seen {
    ifindex: u32,
    observer: Observer,
    segments: u32,
}

impl Seen {
    #[inline(always)]
    fn at_tc(frame: &TcFrame<'_>, observer: Observer) -> Self {
        Self { ifindex: frame.ifindex(), observer, segments: frame.segments() }
    }
}

#[inline(always)]
fn judge<F: Frame>(frame: &F, seen: Seen, presets: Presets) -> Reason {
    // Where nothing asks for the contents, the parser is not run, and its result not looked at.
    let packet = if presets.needs_frame() { parse(frame) } else { Packet::EMPTY };
    decide(frame, &packet, seen, presets)
}

#[inline(always)]
fn decide<F: Frame>(frame: &F, packet: &Packet, seen: Seen, presets: Presets) -> Reason {
    let Seen { ifindex, observer, segments } = seen;
    let reason = verdict(presets, packet);
    let length = frame.wire_len();
    ebpf_netns_count(ifindex, observer as u32, reason as u32, segments, length);
    if presets.reports() {
        let outcome = Outcome { ifindex, observer, reason, rule: NO_RULE, length };
        report(packet, &outcome, presets.contains(Presets::LOG), presets.watches(reason));
    }
    reason
}

// Declared by `object`: see `maps::count`.
unsafe extern "C" {
    pub(crate) safe fn ebpf_netns_count(
        ifindex: u32,
        observer: u32,
        reason: u32,
        packets: u32,
        bytes: u32,
    ) -> u32;
}
