//! The kernel programs of ebpf-netns.
//!
//! Each binary of this package is one BPF object: `policy`, whose programs look their policy up
//! by interface and serve every container, and one object a preset, to be attached by hand with
//! `ip link` or `tc`. They share what is here: the frames of the two hooks ([`packet`]), the maps
//! ([`maps`]) and the judge ([`judge`]). What is decided is decided in `plugin_common`.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "BPF has no calls that pass a frame: each program is one function"
)]

pub mod judge;
pub mod maps;
pub mod packet;
mod verifier;

#[doc(hidden)]
pub use aya_ebpf;
#[doc(hidden)]
pub use plugin_common;

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Declares the licence of the object, which the kernel reads.
#[macro_export]
macro_rules! license {
    () => {
        #[unsafe(link_section = "license")]
        #[unsafe(no_mangle)]
        static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
    };
}

/// Declares the three programs of the object that the daemon loads, which read a frame at XDP as
/// `$frame` does. Each looks up the policy of the interface it runs on; an interface without one
/// is closed.
#[macro_export]
macro_rules! policy {
    ($frame:ident) => {
        $crate::license!();

        /// XDP on the host-side veth: what the container sends.
        #[$crate::aya_ebpf::macros::xdp]
        #[inline(always)]
        fn ebpf_netns_xdp(ctx: $crate::aya_ebpf::programs::XdpContext) -> u32 {
            let policy = $crate::maps::policy($crate::judge::ifindex(&ctx));
            $crate::judge::xdp::<$crate::packet::$frame<'_>>(&ctx, policy.xdp)
        }

        /// TC ingress of the host-side veth: what the container sends.
        #[$crate::aya_ebpf::macros::classifier]
        #[inline(always)]
        fn ebpf_netns_out(ctx: $crate::aya_ebpf::programs::TcContext) -> i32 {
            let policy = $crate::maps::policy($crate::packet::TcFrame(&ctx).ifindex());
            $crate::judge::tc(&ctx, $crate::plugin_common::abi::Observer::Egress, policy.egress)
        }

        /// TC egress of the host-side veth: what the container receives.
        #[$crate::aya_ebpf::macros::classifier]
        #[inline(always)]
        fn ebpf_netns_in(ctx: $crate::aya_ebpf::programs::TcContext) -> i32 {
            let policy = $crate::maps::policy($crate::packet::TcFrame(&ctx).ifindex());
            $crate::judge::tc(&ctx, $crate::plugin_common::abi::Observer::Ingress, policy.ingress)
        }
    };
}

/// Declares the two programs of a preset's own object: one for XDP, which reads a frame as
/// `$frame` does, and one for TC.
///
/// They stand alone in the sections `xdp` and `classifier`, where `ip link … sec xdp` and
/// `tc filter … sec classifier` look for them.
#[macro_export]
macro_rules! preset {
    ($frame:ident, $xdp:ident, $tc:ident, $presets:expr) => {
        $crate::license!();

        /// Applies the preset to what the interface receives.
        #[$crate::aya_ebpf::macros::xdp]
        #[inline(always)]
        fn $xdp(ctx: $crate::aya_ebpf::programs::XdpContext) -> u32 {
            $crate::judge::xdp::<$crate::packet::$frame<'_>>(&ctx, $presets)
        }

        /// Applies the preset to what passes the side that the program is attached to.
        #[$crate::aya_ebpf::macros::classifier]
        #[inline(always)]
        fn $tc(ctx: $crate::aya_ebpf::programs::TcContext) -> i32 {
            $crate::judge::tc(&ctx, $crate::plugin_common::abi::Observer::Tc, $presets)
        }
    };
}
