//! The kernel programs of ebpf-netns.
//!
//! Each binary of this package is one BPF object: `policy`, whose programs look their policy up
//! by interface and serve every container, and one object a preset, to be attached by hand with
//! `ip link` or `tc`. They share what is here: the frames of the two hooks ([`packet`]), the maps
//! ([`maps`]) and the judge ([`judge`]). What is decided is decided in `plugin_common`.
#![no_std]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    clippy::inline_always,
    reason = "BPF has no calls that pass a frame: each program is one function"
)]

pub mod capture;
pub mod clock;
pub mod exec;
pub mod fast;
pub mod judge;
pub mod maps;
pub mod packet;
mod report;
pub mod rules;
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

/// Declares what every object has: the licence, which the kernel reads, and the functions that
/// count and that walk options.
#[macro_export]
macro_rules! object {
    () => {
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_count(
            ifindex: u32,
            observer: u32,
            reason: u32,
            packets: u32,
            bytes: u32,
        ) -> u32 {
            $crate::maps::count(ifindex, observer, reason, packets, bytes)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_options(word: u32, walk: u32) -> u32 {
            $crate::plugin_common::packet::options::walk(word, walk)
        }

        #[unsafe(link_section = "license")]
        #[unsafe(no_mangle)]
        static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
    };
}

/// Declares the three programs of the object that the daemon loads, which read a frame at XDP as
/// `$frame` does. Each looks up the policy of the interface it runs on; an interface without one is
/// closed.
#[macro_export]
macro_rules! policy {
    ($frame:ident) => {
        $crate::object!();

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
            let verdict = ebpf_netns_fast_out(ctx.skb.skb);
            if verdict != $crate::fast::UNDECIDED {
                return verdict;
            }
            let policy = $crate::maps::policy($crate::packet::TcFrame(&ctx).ifindex());
            let observer = $crate::plugin_common::abi::Observer::Egress;
            if policy.rules == 0 {
                return $crate::rules::presets(&ctx, observer, policy.egress);
            }
            $crate::rules::tc(&ctx, observer, policy.egress, policy.rules)
        }

        /// TC egress of the host-side veth: what the container receives.
        #[$crate::aya_ebpf::macros::classifier]
        #[inline(always)]
        fn ebpf_netns_in(ctx: $crate::aya_ebpf::programs::TcContext) -> i32 {
            let verdict = ebpf_netns_fast_in(ctx.skb.skb);
            if verdict != $crate::fast::UNDECIDED {
                return verdict;
            }
            let policy = $crate::maps::policy($crate::packet::TcFrame(&ctx).ifindex());
            let observer = $crate::plugin_common::abi::Observer::Ingress;
            if policy.rules == 0 {
                return $crate::rules::presets(&ctx, observer, policy.ingress);
            }
            $crate::rules::tc(&ctx, observer, policy.ingress, policy.rules)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_fast_out(skb: *mut $crate::aya_ebpf::bindings::__sk_buff) -> i32 {
            $crate::fast::tc::<true>(skb)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_fast_in(skb: *mut $crate::aya_ebpf::bindings::__sk_buff) -> i32 {
            $crate::fast::tc::<false>(skb)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_capture(
            skb: *mut $crate::aya_ebpf::bindings::__sk_buff,
            told: u32,
            rule: u32,
            audited: u32,
        ) -> u32 {
            $crate::capture::parts::capture(skb, told, rule, audited)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_keep_frame(
            skb: *mut $crate::aya_ebpf::bindings::__sk_buff,
            told: u32,
            snaplen: u32,
            rule: u32,
            audited: u32,
        ) -> u32 {
            $crate::capture::parts::keep_frame(skb, told, snaplen, rule, audited)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_capture_xdp(
            ctx: *mut $crate::aya_ebpf::bindings::xdp_md,
            reason: u32,
        ) -> u32 {
            $crate::capture::parts::capture_xdp(ctx, reason)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_keep_frame_xdp(
            ctx: *mut $crate::aya_ebpf::bindings::xdp_md,
            told: u32,
            snaplen: u32,
        ) -> u32 {
            let ctx = $crate::aya_ebpf::programs::XdpContext::new(ctx);
            $crate::capture::parts::keep_frame_xdp::<$crate::packet::$frame<'_>>(
                &ctx, told, snaplen,
            )
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_presets(
            skb: *mut $crate::aya_ebpf::bindings::__sk_buff,
            observer: u32,
            presets: u32,
        ) -> i32 {
            $crate::rules::parts::presets(skb, observer, presets)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_read(skb: *mut $crate::aya_ebpf::bindings::__sk_buff) -> u32 {
            $crate::rules::parts::read(skb)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_standing(
            skb: *mut $crate::aya_ebpf::bindings::__sk_buff,
            rules: u32,
            direction: u32,
        ) -> u32 {
            $crate::rules::parts::standing(skb, rules, direction)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_tell(
            skb: *mut $crate::aya_ebpf::bindings::__sk_buff,
            of: u32,
            direction: u32,
        ) -> u64 {
            $crate::rules::parts::tell(skb, of, direction)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_touch(
            bucket: u32,
            fingerprint: u64,
            said: u32,
            now: u32,
            epoch: u32,
        ) -> u64 {
            $crate::rules::parts::touch(bucket, fingerprint, said, now, epoch)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_find(bucket: u32, fingerprint: u64, now: u32) -> u64 {
            $crate::rules::parts::find(bucket, fingerprint, now)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_keep(bucket: u32, fingerprint: u64, state: u64, now: u32) -> u32 {
            $crate::rules::parts::keep(bucket, fingerprint, state, now)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_forget(bucket: u32, fingerprint: u64) -> u32 {
            $crate::rules::parts::forget(bucket, fingerprint)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_ask(rules: u32, egress: u32, direction: u32) -> u64 {
            $crate::rules::parts::ask(rules, egress, direction)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_ask_egress_4(rules: u32, remote: u32, service: u32) -> u64 {
            $crate::rules::parts::ask_4::<true>(rules, remote, service)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_ask_egress_6(
            rules: u32,
            high: u64,
            low: u64,
            service: u32,
        ) -> u64 {
            $crate::rules::parts::ask_6::<true>(rules, high, low, service)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_ask_ingress_4(rules: u32, remote: u32, service: u32) -> u64 {
            $crate::rules::parts::ask_4::<false>(rules, remote, service)
        }

        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn ebpf_netns_ask_ingress_6(
            rules: u32,
            high: u64,
            low: u64,
            service: u32,
        ) -> u64 {
            $crate::rules::parts::ask_6::<false>(rules, high, low, service)
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
        $crate::object!();

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
