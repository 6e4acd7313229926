//! The object that the daemon loads.
#![no_std]
#![no_main]

plugin_ebpf::policy!(XdpFrame);
