//! The preset `drop-all` as an object of its own, for `ip link` and `tc`.
#![no_std]
#![no_main]

use plugin_common::presets::Presets;

plugin_ebpf::preset!(XdpFrame, xdp_drop_all, tc_drop_all, Presets::DROP_ALL);
