//! The time, for connections.

use aya_ebpf::helpers::{bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use plugin_common::connection::flow::TICK_SHIFT;

/// A clock that never goes back.
pub trait Clock {
    /// The time in nanoseconds.
    fn now() -> u64;
}

/// As of the last tick of the kernel, which costs next to nothing (Linux 5.11).
pub struct Coarse;

/// Exact, for older kernels.
pub struct Exact;

impl Clock for Coarse {
    #[inline(always)]
    fn now() -> u64 {
        // SAFETY: the helper takes no argument and returns a number.
        unsafe { bpf_ktime_get_coarse_ns() }
    }
}

impl Clock for Exact {
    #[inline(always)]
    fn now() -> u64 {
        // SAFETY: as above.
        unsafe { bpf_ktime_get_ns() }
    }
}

/// In units of 2^30 ns.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "it is a face of a clock, and goes round")]
pub(crate) const fn ticks(nanoseconds: u64) -> u32 {
    (nanoseconds >> TICK_SHIFT) as u32
}
