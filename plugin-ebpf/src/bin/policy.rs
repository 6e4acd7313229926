//! The object that the daemon loads: three programs that serve every container, each looking up
//! the policy of the interface it runs on. An interface without one is closed.
#![no_std]
#![no_main]
#![expect(clippy::needless_pass_by_value, reason = "aya's macros hand the context over by value")]

use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use plugin_common::abi::Observer;
use plugin_ebpf::{
    judge, license, maps,
    packet::{TcFrame, XdpFrame},
};

license!();

/// XDP on the host-side veth: what the container sends.
#[xdp]
fn ebpf_netns_xdp(ctx: XdpContext) -> u32 {
    judge::xdp(&ctx, maps::policy(XdpFrame(&ctx).ifindex()).xdp)
}

/// TC ingress of the host-side veth: what the container sends.
#[classifier]
fn ebpf_netns_out(ctx: TcContext) -> i32 {
    judge::tc(&ctx, Observer::Egress, maps::policy(TcFrame(&ctx).ifindex()).egress)
}

/// TC egress of the host-side veth: what the container receives.
#[classifier]
fn ebpf_netns_in(ctx: TcContext) -> i32 {
    judge::tc(&ctx, Observer::Ingress, maps::policy(TcFrame(&ctx).ifindex()).ingress)
}
