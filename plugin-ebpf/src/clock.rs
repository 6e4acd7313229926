//! The time, where a tick of the kernel is exact enough.

use aya_ebpf::Global;
use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_ns};
use plugin_common::connection::flow::TICK_SHIFT;

/// What the loader knows of the kernel's own ticks ([`plugin_common::abi::JIFFY_GLOBAL`]): how many
/// nanoseconds one takes; 0 where it has not said.
#[unsafe(no_mangle)]
static JIFFY_NS: Global<u64> = Global::new(0);

/// As many nanoseconds as the ticks were ahead when the machine started.
#[unsafe(no_mangle)]
static JIFFIES_AHEAD_NS: Global<u64> = Global::new(0);

/// The time in units of 2^30 ns, which never goes back.
#[inline(always)]
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "it is a face of a clock, and goes round")]
pub fn now() -> u32 {
    (nanoseconds() >> TICK_SHIFT) as u32
}

/// The time in nanoseconds, as exact as it can be told: a call.
#[inline(always)]
#[must_use]
pub fn exactly() -> u64 {
    // SAFETY: the helper takes no argument and returns a number.
    unsafe { bpf_ktime_get_ns() }
}

/// The time in nanoseconds, as exact as the kernel's ticks are.
///
/// By its count of them, which the verifier reads in place (Linux 5.6). Both globals are constants to
/// it, and what is not called with them it takes out.
#[inline(always)]
#[must_use]
pub fn nanoseconds() -> u64 {
    let jiffy = JIFFY_NS.load();
    if jiffy == 0 {
        exactly()
    } else {
        // SAFETY: as above.
        let jiffies = unsafe { bpf_jiffies64() };
        jiffies.wrapping_mul(jiffy).wrapping_sub(JIFFIES_AHEAD_NS.load())
    }
}
