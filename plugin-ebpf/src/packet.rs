//! The frames of the two hooks, as the parser wants them.

use core::{hint::black_box, mem::MaybeUninit};

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use plugin_common::capture::{MAX_SNAPLEN, MAX_SNAPLEN_DIRECT, MIN_KEPT, SMALL_ROOM};
use plugin_common::connection::fast::{Head, Linear};
use plugin_common::packet::Frame;

use crate::verifier::forget;

/// A frame at XDP, in one of the two ways to read it.
pub trait AtXdp<'a>: Frame {
    /// The frame that a program was called for.
    fn of(ctx: &'a XdpContext) -> Self;
}

/// A frame of which bytes can be copied.
pub trait Copied: Frame {
    /// The most that can be.
    const MOST: u32;

    /// Copies the first bytes to where there is room for so many; false if it cannot be.
    fn copy<const ROOM: usize>(&self, to: *mut u8, length: u32) -> bool;
}

/// A frame at XDP, read in place where headers nearly always are, and else by
/// `bpf_xdp_load_bytes` (Linux 5.18).
///
/// An offset into a packet that is not a constant takes `CAP_PERFMON`, and so does the difference
/// of its two ends. A helper takes neither, but a call costs more than reading in place does.
pub struct XdpFrame<'a> {
    ctx: &'a XdpContext,
    length: u32,
}

impl<'a> AtXdp<'a> for XdpFrame<'a> {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a frame has 64 KiB at most")]
    fn of(ctx: &'a XdpContext) -> Self {
        // SAFETY: the context is the one that the kernel handed the program.
        let length = unsafe { bpf_xdp_get_buff_len(ctx.ctx) } as u32;
        Self { ctx, length }
    }
}

impl Frame for XdpFrame<'_> {
    #[inline(always)]
    fn wire_len(&self) -> u32 {
        self.length
    }

    /// Generic XDP linearises a GSO packet, whose IP length is then its own; native never has one.
    #[inline(always)]
    fn is_gso(&self) -> bool {
        false
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        macro_rules! read {
            ($offset:expr, $($place:literal)*) => {
                match $offset {
                    $($place => self.in_place::<$place, N>(),)*
                    _ => self.copied(offset),
                }
            };
        }
        // Where types, extension headers and ports, and IP headers begin: behind up to two tags.
        match N {
            2 => read!(offset, 12 16 20),
            4 => read!(
                forget(offset, self.length),
                34 38 42 46 50 54 58 62 66 70 74 78 82 86 90 94 98 102 106 110 114 118
            ),
            _ => read!(forget(offset, self.length), 14 18 22),
        }
    }

    #[inline(always)]
    fn walk_options(&self, word: u32, walk: u32) -> u32 {
        ebpf_netns_options(word, walk)
    }
}

impl Copied for XdpFrame<'_> {
    const MOST: u32 = MAX_SNAPLEN;

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a room has 64 KiB at most")]
    fn copy<const ROOM: usize>(&self, to: *mut u8, length: u32) -> bool {
        if length == 0 || length > ROOM as u32 {
            return false;
        }
        // SAFETY: the context is the kernel's, and there is room for so many bytes, as just checked.
        unsafe { bpf_xdp_load_bytes(self.ctx.ctx, 0, to.cast(), length) == 0 }
    }
}

impl XdpFrame<'_> {
    /// The bytes at a place that is a constant.
    #[inline(always)]
    fn in_place<const PLACE: usize, const N: usize>(&self) -> Option<[u8; N]> {
        let start = self.ctx.data() + PLACE;
        let bytes = if start + N > self.ctx.data_end() {
            None
        } else {
            // SAFETY: `start..start + N` lies within the packet, as just checked; an array of
            // bytes has no alignment.
            Some(unsafe { (start as *const [u8; N]).read() })
        };
        // Keeps the compiler from making one place of all of them again.
        black_box(());
        bytes
    }

    /// The bytes at any place.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a header has some bytes")]
    fn copied<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<[u8; N]>::uninit();
        let to = bytes.as_mut_ptr().cast();
        // SAFETY: the context is the kernel's, and `bytes` has room for `N` bytes.
        let failed = unsafe { bpf_xdp_load_bytes(self.ctx.ctx, offset, to, N as u32) };
        if failed != 0 {
            return None;
        }
        // SAFETY: the helper has filled all of it.
        Some(unsafe { bytes.assume_init() })
    }
}

/// A frame at XDP, read in place at every offset: for kernels without that helper, and with
/// `CAP_PERFMON`.
pub struct DirectXdpFrame<'a>(&'a XdpContext);

/// No header that the parser follows starts beyond this offset; the verifier wants a bound.
const MAX_OFFSET: u32 = 0x7fff;

impl<'a> AtXdp<'a> for DirectXdpFrame<'a> {
    #[inline(always)]
    fn of(ctx: &'a XdpContext) -> Self {
        Self(ctx)
    }
}

impl Frame for DirectXdpFrame<'_> {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a frame has 64 KiB at most")]
    fn wire_len(&self) -> u32 {
        (self.0.data_end() - self.0.data()) as u32
    }

    /// As for [`XdpFrame`].
    #[inline(always)]
    fn is_gso(&self) -> bool {
        false
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // The verifier would follow the parser for every range that an offset can have, which in a
        // chain of extension headers is fifteen times the work.
        let offset = forget(offset, self.0.rx_queue_index());
        if offset > MAX_OFFSET {
            return None;
        }
        let start = self.0.data() + offset as usize;
        if start + N > self.0.data_end() {
            return None;
        }
        // SAFETY: `start..start + N` lies within the packet, as just checked; an array of bytes
        // has no alignment.
        Some(unsafe { (start as *const [u8; N]).read() })
    }

    #[inline(always)]
    fn walk_options(&self, word: u32, walk: u32) -> u32 {
        ebpf_netns_options(word, walk)
    }
}

impl Copied for DirectXdpFrame<'_> {
    const MOST: u32 = MAX_SNAPLEN_DIRECT;

    #[inline(always)]
    fn copy<const ROOM: usize>(&self, to: *mut u8, length: u32) -> bool {
        // What is in a large room is longer than a large stride.
        if ROOM > SMALL_ROOM {
            self.copy_by::<64, ROOM>(to, length as usize)
        } else {
            self.copy_by::<8, ROOM>(to, length as usize)
        }
    }
}

const _: () = assert!(MIN_KEPT >= 8 && SMALL_ROOM >= 64);

impl DirectXdpFrame<'_> {
    /// Copies so many bytes, which are as many as a stride at least.
    #[inline(always)]
    fn copy_by<const STRIDE: usize, const ROOM: usize>(&self, to: *mut u8, length: usize) -> bool {
        let mut at = 0;
        while at + STRIDE <= ROOM && at + STRIDE < length {
            if !self.copy_at::<STRIDE, ROOM>(to, at) {
                return false;
            }
            at += STRIDE;
        }
        // The rest is fewer, and so is copied with some that are there already. The verifier is to know no
        // more of the place than the bound, or it would look at it anew for each length.
        self.copy_at::<STRIDE, ROOM>(to, black_box(length).wrapping_sub(STRIDE))
    }

    #[inline(always)]
    fn copy_at<const STRIDE: usize, const ROOM: usize>(&self, to: *mut u8, at: usize) -> bool {
        if at > ROOM - STRIDE {
            return false;
        }
        // Else the compiler would add this up anew, and the verifier not know that it was checked.
        let start = black_box(self.0.data() + at);
        if start + STRIDE > self.0.data_end() {
            return false;
        }
        // SAFETY: `start..start + STRIDE` lies within the packet, as just checked.
        let bytes = unsafe { (start as *const [u8; STRIDE]).read() };
        // SAFETY: there is room for `ROOM` bytes, as the caller says, and so for these.
        let place = unsafe { to.add(at) };
        // SAFETY: as above.
        unsafe { place.cast::<[u8; STRIDE]>().write(bytes) };
        // Keeps the compiler from making a call of the loop.
        black_box(());
        true
    }
}

/// A frame at TC.
///
/// It is read by `bpf_skb_load_bytes`, which reaches bytes in page fragments too: a packet may
/// have no more than its Ethernet header in the linear part.
pub struct TcFrame<'a>(pub &'a TcContext);

impl TcFrame<'_> {
    #[inline(always)]
    fn skb(&self) -> *const __sk_buff {
        self.0.skb.skb
    }

    /// The interface that the program is attached to.
    #[inline(always)]
    #[must_use]
    pub fn ifindex(&self) -> u32 {
        // SAFETY: the kernel hands the program a valid `__sk_buff`.
        unsafe { (*self.skb()).ifindex }
    }

    /// Packets that this one becomes on the wire.
    #[inline(always)]
    #[must_use]
    pub fn segments(&self) -> u32 {
        // SAFETY: as above.
        let segments = unsafe { (*self.skb()).gso_segs };
        if segments == 0 { 1 } else { segments }
    }
}

impl Frame for TcFrame<'_> {
    #[inline(always)]
    fn wire_len(&self) -> u32 {
        self.0.len()
    }

    #[inline(always)]
    fn is_gso(&self) -> bool {
        // SAFETY: the kernel hands the program a valid `__sk_buff`.
        unsafe { (*self.skb()).gso_size != 0 }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.0.load(offset as usize).ok()
    }

    #[inline(always)]
    fn walk_options(&self, word: u32, walk: u32) -> u32 {
        ebpf_netns_options(word, walk)
    }
}

impl Copied for TcFrame<'_> {
    const MOST: u32 = MAX_SNAPLEN;

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a room has 64 KiB at most")]
    fn copy<const ROOM: usize>(&self, to: *mut u8, length: u32) -> bool {
        if length == 0 || length > ROOM as u32 {
            return false;
        }
        // SAFETY: the context is the kernel's, and there is room for so many bytes, as just checked.
        unsafe { bpf_skb_load_bytes(self.skb().cast(), 0, to.cast(), length) == 0 }
    }
}

// Declared by `object`.
unsafe extern "C" {
    safe fn ebpf_netns_options(word: u32, walk: u32) -> u32;
}

/// The part of a frame at TC that lies in one piece, as all headers do most often.
pub struct InPlace<'a>(pub &'a TcContext);

/// The beginning of a frame.
pub struct Beginning(usize);

impl Linear for InPlace<'_> {
    type Head = Beginning;

    #[inline(always)]
    fn head<const N: usize>(&self) -> Option<Beginning> {
        let start = self.0.data();
        if start + N > self.0.data_end() { None } else { Some(Beginning(start)) }
    }
}

/// Reads a number in place, at whatever place it stands: where the compiler knows that it need not be
/// aligned, it takes it together out of bytes.
macro_rules! read {
    ($bits:literal $name:literal, $start:expr, $at:expr) => {{
        let number: u64;
        // SAFETY: the place lies within what was looked at before this was made.
        unsafe {
            core::arch::asm!(
                concat!("{number} = *(", $name, " *)({start} + {at})"),
                number = out(reg) number,
                start = in(reg) $start,
                at = const $at,
                options(pure, readonly, nostack),
            );
        }
        // SAFETY: so many bits were read, and the kernel's machine sets the others to zero.
        unsafe { core::hint::assert_unchecked(number < 1 << $bits) };
        number
    }};
}

#[cfg(target_arch = "bpf")]
#[expect(clippy::cast_possible_truncation, reason = "no more is read")]
impl Head for Beginning {
    #[inline(always)]
    fn byte<const AT: usize>(&self) -> u8 {
        read!(8 "u8", self.0, AT) as u8
    }

    #[inline(always)]
    fn half<const AT: usize>(&self) -> u16 {
        read!(16 "u16", self.0, AT) as u16
    }

    #[inline(always)]
    fn word<const AT: usize>(&self) -> u32 {
        read!(32 "u32", self.0, AT) as u32
    }
}

#[cfg(not(target_arch = "bpf"))]
impl Head for Beginning {
    fn byte<const AT: usize>(&self) -> u8 {
        0
    }

    fn half<const AT: usize>(&self) -> u16 {
        0
    }

    fn word<const AT: usize>(&self) -> u32 {
        0
    }
}
