//! As `drop-tcp`, for kernels before Linux 5.18.
#![no_std]
#![no_main]

use plugin_common::presets::Presets;

plugin_ebpf::preset!(DirectXdpFrame, xdp_drop_tcp, tc_drop_tcp, Presets::DROP_TCP);
