//! As `drop-icmp`, for kernels before Linux 5.18.
#![no_std]
#![no_main]

use plugin_common::presets::Presets;

plugin_ebpf::preset!(DirectXdpFrame, xdp_drop_icmp, tc_drop_icmp, Presets::DROP_ICMP);
