//! The preset `log` as an object of its own, for `ip link` and `tc`.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "the entry points that aya's macros generate carry none")]

use plugin_common::presets::Presets;

plugin_ebpf::preset!(xdp_log, tc_log, Presets::LOG);
