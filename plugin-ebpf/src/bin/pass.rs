//! The preset `pass` as an object of its own, for `ip link` and `tc`.
#![no_std]
#![no_main]

use plugin_common::presets::Presets;

plugin_ebpf::preset!(XdpFrame, xdp_pass, tc_pass, Presets::PASS);
