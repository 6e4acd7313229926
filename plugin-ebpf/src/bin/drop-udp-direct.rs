//! As `drop-udp`, for kernels before Linux 5.18.
#![no_std]
#![no_main]

use plugin_common::presets::Presets;

plugin_ebpf::preset!(DirectXdpFrame, xdp_drop_udp, tc_drop_udp, Presets::DROP_UDP);
