//! The frames of the two hooks, as the parser wants them.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::programs::{TcContext, XdpContext};
use plugin_common::packet::Frame;

use crate::verifier::forget;

/// A frame at XDP, read in place.
pub struct XdpFrame<'a>(pub &'a XdpContext);

/// No header that the parser follows starts beyond this offset; the verifier wants a bound.
const MAX_OFFSET: u32 = 0x7fff;

impl XdpFrame<'_> {
    /// The interface that the program is attached to.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the kernel's field has 32 bits")]
    pub fn ifindex(&self) -> u32 {
        self.0.ingress_ifindex() as u32
    }
}

impl Frame for XdpFrame<'_> {
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "a frame has 64 KiB at most")]
    fn wire_len(&self) -> u32 {
        (self.0.data_end() - self.0.data()) as u32
    }

    /// Generic XDP linearises a GSO packet, whose IP length is then its own; native never has one.
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
}
