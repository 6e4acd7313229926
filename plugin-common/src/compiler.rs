//! Dealing with the compiler.

/// The same number, of which the compiler knows nothing: it would make a comparison, and so a branch,
/// of what is arithmetic here to have none.
#[inline(always)]
#[cfg(target_arch = "bpf")]
pub(crate) fn opaque(mut number: u64) -> u64 {
    // SAFETY: the number is put in its own place.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) number, options(nomem, nostack, pure)) };
    number
}

#[inline(always)]
#[cfg(not(target_arch = "bpf"))]
pub(crate) const fn opaque(number: u64) -> u64 {
    number
}
