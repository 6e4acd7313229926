//! The preset `drop-tcp` as an object of its own, for `ip link` and `tc`.
#![no_std]
#![no_main]

use plugin_common::presets::Presets;

plugin_ebpf::preset!(XdpFrame, xdp_drop_tcp, tc_drop_tcp, Presets::DROP_TCP);
