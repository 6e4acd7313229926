//! Dealing with the kernel's verifier.

use core::hint::black_box;

/// The same number, of which the verifier no longer knows how it came about, given another that it
/// knows nothing of: to it, a number with something unknown in it twice is unknown.
///
/// It then follows the program once where it would follow it for each value or range of the
/// number, and sees the bound that is checked next, the same on every path.
#[inline(always)]
#[must_use]
pub(crate) fn forget(number: u32, unknown: u32) -> u32 {
    black_box(number ^ unknown) ^ unknown
}
