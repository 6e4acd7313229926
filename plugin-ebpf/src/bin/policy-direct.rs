//! As `policy`, for kernels before Linux 5.18.
#![no_std]
#![no_main]

plugin_ebpf::policy!(DirectXdpFrame);
