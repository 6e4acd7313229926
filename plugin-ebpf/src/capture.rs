//! Frames for whoever captures them: copies what was decided over into the ring buffers of those who
//! want it. It decides nothing, and nothing of it is run for an interface that nobody captures on.
//!
//! A ring buffer is there only while its capture is, in a map of maps. What is reserved of one must be
//! of a size that the verifier knows: so there are rooms of several sizes, and a frame is copied once,
//! into the smallest that it fits into.

use core::hint::black_box;

use aya_ebpf::bindings::{__sk_buff, BPF_F_NO_PREALLOC, xdp_md};
use aya_ebpf::btf_maps::{Array, HashMap, HashOfMaps, RingBuf};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::btf_map;
use aya_ebpf::programs::{TcContext, XdpContext};
use plugin_common::abi::Observer;
use plugin_common::capture::{
    Head, MAX_CAPTURED, MAX_CAPTURES, MAX_SNAPLEN_DIRECT, SMALL_ROOM, TEMPLATE_BYTES, Wish, Wishes,
};
use plugin_common::connection::NO_RULE;
use plugin_common::verdict::Reason;

use crate::judge;
use crate::maps::atomic_add;
use crate::packet::{AtXdp, Copied, TcFrame};

type Ring = RingBuf<(), TEMPLATE_BYTES>;

#[btf_map]
static CAPTURES: HashMap<u32, Wishes, MAX_CAPTURED, { BPF_F_NO_PREALLOC as usize }> =
    HashMap::new();

#[btf_map]
static CAPTURE_RINGS: HashOfMaps<u32, Ring, MAX_CAPTURES> = HashOfMaps::new();

#[btf_map]
static CAPTURE_LOST: Array<u64, MAX_CAPTURES> = Array::new();

/// Hands a frame at TC to who captures on its interface, with the rule that decided and the audited one
/// that would have dropped it.
#[inline(always)]
pub(crate) fn tc(
    skb: *mut __sk_buff,
    observer: Observer,
    reason: Reason,
    (rule, audited): (u32, u32),
) {
    ebpf_netns_capture(skb, observer as u32 | (reason as u32) << 8, rule, audited);
}

/// Hands a frame at XDP to who captures on its interface.
#[inline(always)]
pub(crate) fn xdp(ctx: &XdpContext, reason: Reason) {
    ebpf_netns_capture_xdp(ctx.ctx, reason as u32);
}

// Declared by `policy`: each verified by itself.
unsafe extern "C" {
    safe fn ebpf_netns_capture(skb: *mut __sk_buff, told: u32, rule: u32, audited: u32) -> u32;
    safe fn ebpf_netns_keep_frame(
        skb: *mut __sk_buff,
        told: u32,
        snaplen: u32,
        rule: u32,
        audited: u32,
    ) -> u32;
    safe fn ebpf_netns_capture_xdp(ctx: *mut xdp_md, reason: u32) -> u32;
    safe fn ebpf_netns_keep_frame_xdp(ctx: *mut xdp_md, told: u32, snaplen: u32) -> u32;
}

/// What the functions of the kernel do, which [`policy`](crate::policy) declares.
///
/// What is told of a frame travels in a word: the observer, from bit 8 on the reason, from bit 24 on the
/// place of the capture.
pub mod parts {
    use super::*;

    /// Asks who wants a frame at TC.
    #[inline(always)]
    pub fn capture(skb: *mut __sk_buff, told: u32, rule: u32, audited: u32) -> u32 {
        let frame = TcContext::new(skb);
        let keep = |place: u32, snaplen| {
            ebpf_netns_keep_frame(skb, told | place << 24, snaplen, rule, audited);
        };
        each(TcFrame(&frame).ifindex(), told, keep)
    }

    /// Keeps a frame at TC for one of them.
    #[inline(always)]
    pub fn keep_frame(
        skb: *mut __sk_buff,
        told: u32,
        snaplen: u32,
        rule: u32,
        audited: u32,
    ) -> u32 {
        let ctx = TcContext::new(skb);
        let frame = TcFrame(&ctx);
        let (ifindex, segments) = (frame.ifindex(), frame.segments());
        let head = head(&frame, told, Head { ifindex, segments, rule, audited, ..Head::default() });
        keep(&frame, told >> 24, snaplen, head)
    }

    /// Asks who wants a frame at XDP.
    #[inline(always)]
    pub fn capture_xdp(ctx: *mut xdp_md, reason: u32) -> u32 {
        let told = Observer::Xdp as u32 | reason << 8;
        let keep = |place: u32, snaplen| {
            ebpf_netns_keep_frame_xdp(ctx, told | place << 24, snaplen);
        };
        each(judge::ifindex(&XdpContext::new(ctx)), told, keep)
    }

    /// Keeps a frame at XDP for one of them.
    #[inline(always)]
    pub fn keep_frame_xdp<'a, F: AtXdp<'a> + Copied>(
        ctx: &'a XdpContext,
        told: u32,
        snaplen: u32,
    ) -> u32 {
        let (frame, ifindex) = (F::of(ctx), judge::ifindex(ctx));
        let (rule, audited, segments) = (NO_RULE, NO_RULE, 1);
        let head = head(&frame, told, Head { ifindex, segments, rule, audited, ..Head::default() });
        keep(&frame, told >> 24, snaplen, head)
    }
}

/// Calls for each capture that wants a frame, with its place and how much it wants. Each place is a
/// constant.
#[inline(always)]
fn each(ifindex: u32, told: u32, keep: impl Fn(u32, u32)) -> u32 {
    // SAFETY: the entry lives until the program ends (RCU), and is only ever replaced.
    let Some(Wishes([first, second, third, fourth])) = (unsafe { CAPTURES.get(ifindex) }) else {
        return 0;
    };
    let (observer, passed) = (told & 0xff, told >> 8 & 0xffff == Reason::Passed as u32);
    let ask = |place, wish: &Wish| {
        if wish.wants(observer, passed) {
            keep(place, wish.snaplen);
        }
    };
    ask(0, first);
    ask(1, second);
    ask(2, third);
    ask(3, fourth);
    0
}

#[inline(always)]
fn head<F: Copied>(frame: &F, told: u32, known: Head) -> Head {
    Head {
        // SAFETY: the helper takes no argument and returns a number.
        time_ns: unsafe { bpf_ktime_get_ns() },
        observer: told & 0xff,
        reason: told >> 8 & 0xffff,
        length: frame.wire_len(),
        ..known
    }
}

/// A frame as a ring buffer has it.
#[repr(C)]
struct Record<const ROOM: usize> {
    head: Head,
    frame: [u8; ROOM],
}

/// Keeps a frame; counts it as lost where there is no room. Whoever captures and has ended meanwhile has
/// no ring buffer any more.
#[inline(always)]
fn keep<F: Copied>(frame: &F, place: u32, snaplen: u32, mut head: Head) -> u32 {
    // SAFETY: only its address is used, which lives until the program ends (RCU).
    let Some(ring) = (unsafe { CAPTURE_RINGS.get(&place) }) else { return 0 };
    head.captured = head.length.min(snaplen).min(F::MOST);
    // Copying without a helper is work for the verifier, which it does once a room.
    let every = F::MOST > MAX_SNAPLEN_DIRECT;
    let kept = match head.captured {
        0..=88 => put::<SMALL_ROOM, F>(ring, frame, &head),
        89..=592 => put::<592, F>(ring, frame, &head),
        593..=1536 if every => put::<1536, F>(ring, frame, &head),
        593..=2048 => put::<2048, F>(ring, frame, &head),
        2049..=8192 if every => put::<8192, F>(ring, frame, &head),
        8193..=32_768 if every => put::<32_768, F>(ring, frame, &head),
        _ => every && put::<65_536, F>(ring, frame, &head),
    };
    if !kept && let Some(lost) = CAPTURE_LOST.get_ptr_mut(place) {
        atomic_add(lost, 1);
    }
    0
}

#[inline(always)]
fn put<const ROOM: usize, F: Copied>(ring: &Ring, frame: &F, head: &Head) -> bool {
    let Some(mut entry) = ring.reserve_untyped::<Record<ROOM>>(0) else { return false };
    let record = entry.as_mut_ptr();
    // SAFETY: the room is there, and aligned to eight bytes.
    unsafe { (&raw mut (*record).head).write(*head) };
    // SAFETY: as above.
    let to = unsafe { (&raw mut (*record).frame).cast::<u8>() };
    // The verifier is to see the bound once more, right before it counts.
    if frame.copy::<ROOM>(to, black_box(head.captured)) {
        entry.submit(0);
        true
    } else {
        entry.discard(0);
        false
    }
}
